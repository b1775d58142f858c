//! The agent: its parts, and the order of a turn.

use std::path::Path;
use std::time::Duration;

use rand::random;
use service_kit::{edge, reserve};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::branch::reports::announce_running;
use crate::branch::talk::{Talk, listen};
use crate::config::agent::Settings;
use crate::error::AgentError;
use crate::memory::events::EventLog;
use crate::memory::journal::Journal;
use crate::memory::keeper::Keeper;
use crate::memory::session::Session;
use crate::packages::sweep::sweep;
use crate::packages::turn::PackagesTurn;
use crate::ports::Ports;
use crate::slot::observe::running;
use crate::slot::turn::SlotTurn;
use crate::swarm::remedies::reseed;

/// How often to see whether `terminal-agent run` asked for a turn at once.
const GO_ON: Duration = Duration::from_secs(2);

/// The agent.
pub struct Agent {
    ports: Ports,
    settings: Settings,
    keeper: Keeper,
    session: Session,
    talk: Talk,
    log: EventLog,
}

impl Agent {
    /// Resumes where the journal says.
    ///
    /// # Errors
    /// The journal, the trust store or the accepted plan cannot be used.
    pub fn new(ports: Ports, settings: Settings) -> Result<Self, AgentError> {
        // A full disk, which other programs fill too, can still be reported: reports go through the journal.
        if let Err(error) = reserve::keep(&settings.paths.state_dir) {
            tracing::warn!(%error, "no disk space is reserved: if the disk fills up, nothing can be recorded or reported");
        }
        let mut keeper = Keeper::open(&settings.paths.journal(), Uuid::new_v4(), ports.clock.now())?;
        let log = EventLog::new(settings.paths.events());
        let talk = Talk::open(&ports, &settings, &mut keeper)?;
        Ok(Self { ports, settings, keeper, session: Session::default(), talk, log })
    }

    /// The journal as it is now.
    pub fn journal(&self) -> &Journal {
        self.keeper.journal()
    }

    /// Asks the branch server soon, because there may be something new.
    pub fn look_again(&mut self) {
        let spread = self.settings.timing.event_spread.mul_f64(random());
        self.talk.sync_soon(self.ports.clock.uptime() + spread);
        // What waits for the branch may go on; what failed here keeps its backoff.
        if self.journal().trouble.as_ref().is_some_and(|t| !t.bounded) {
            self.session.retry_at = None;
        }
        self.session.packages.wake();
    }

    /// One turn: talks to the branch if it is time, then performs one action.
    ///
    /// Returns how long to wait.
    pub async fn turn(&mut self) -> Duration {
        match self.try_turn().await {
            Ok(pause) => pause.min(self.talk.due_in(self.ports.clock.uptime(), &self.journal().reports)),
            // As long as the journal cannot be written, not even what is due is done: no reason to hurry.
            Err(error) => {
                tracing::error!(error = edge::chain(&error), "the turn was not completed");
                self.settings.timing.retry_max.min(Duration::from_secs(10))
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Duration, AgentError> {
        let Self { ports, settings, keeper, session, talk, log } = self;
        announce_running(running(ports, settings), ports, settings, keeper)?;
        talk.sync_if_due(ports, settings, keeper).await?;
        // Packages that the plan names again are known by then.
        if talk.plans().followed().is_some() && !std::mem::replace(&mut session.swept, true) {
            sweep(&settings.paths.data_dir, keeper.journal());
        }
        let turned = SlotTurn { ports, settings, keeper, session, talk, log }.take().await?;
        let mut pause = turned.pause;
        // An update of the slot goes first, and never waits for a package.
        if turned.at_rest {
            pause = pause.min(PackagesTurn { ports, settings, keeper, session, talk }.take().await?);
        }
        talk.deliver(ports, settings, keeper).await?;
        Ok(pause)
    }
}

/// Waits until `terminal-agent run` asks for a turn at once.
async fn asked(go_on: &Path) {
    let mut tick = tokio::time::interval(GO_ON);
    loop {
        tick.tick().await;
        if std::fs::remove_file(go_on).is_ok() {
            return;
        }
    }
}

/// Runs until `stop` is asked for.
///
/// # Errors
/// The journal, the trust store or the accepted plan cannot be used.
pub async fn run(ports: Ports, settings: Settings, stop: &service_kit::Shutdown) -> Result<(), AgentError> {
    let wake = Notify::new();
    let mut agent = Agent::new(ports, settings)?;
    reseed(&agent.ports, &agent.settings, agent.journal().seeded()).await;
    let listen = listen(agent.ports.clone(), agent.settings.timing.clone(), &wake);
    let go_on = agent.settings.paths.go_on();
    let work = async {
        loop {
            let pause = agent.turn().await;
            // A turn without a pause must still let the listener and the signals in.
            tokio::task::yield_now().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wake.notified() => agent.look_again(),
                () = asked(&go_on) => agent.look_again(),
            }
        }
    };
    tokio::select! {
        () = listen => {}
        () = work => {}
        () = stop.stopped() => {}
    }
    Ok(())
}
