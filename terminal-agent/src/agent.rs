//! The loop: observe, decide, persist, act. One action a turn, so that each can be interrupted and repeated.

use std::path::Path;
use std::time::Duration;

use bootslot::BootState;
use rand::random;
use service_kit::reserve;
use service_kit::retry::bound_after;
use tokio::sync::Notify;
use trust::plans::VerifiedPlan;
use uuid::Uuid;
use wire::v1::reports::{Reason, Report, UpdateReport};

use crate::accepted::{Accepted, AcceptedError};
use crate::act::{self, Outcome};
use crate::config::Settings;
use crate::decide::{Action, decide};
use crate::event_log::EventLog;
use crate::identity::Files;
use crate::journal::{FORMAT, Held, Journal, JournalError, Keeper, Trouble};
use crate::metadata::Metadata;
use crate::observe::observe;
use crate::ports::Ports;
use crate::session::Session;
use crate::state::{Event, Forbidden, State, next};
use crate::talk::Talk;

/// Why a turn could not be completed. The state is as it was before; the next turn tries again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The journal could not be used: nothing was done that it does not know of.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The trust store could not be used, or the root file that it begins with: nothing new is believed.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Trust(trust::Refusal),
    /// The accepted plan could not be read or kept.
    #[error(transparent)]
    Accepted(#[from] AcceptedError),
    /// A decision did not fit the transition table.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

/// How often to see whether somebody asked for a look at once.
const GO_ON: Duration = Duration::from_secs(2);

/// The agent.
pub struct Agent {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) keeper: Keeper,
    pub(crate) session: Session,
    pub(crate) talk: Talk,
    pub(crate) metadata: Metadata,
    pub(crate) accepted: Accepted,
    log: EventLog,
}

impl Agent {
    /// Takes up where the journal says.
    ///
    /// # Errors
    /// The journal, the trust store or the accepted plan cannot be used.
    pub fn new(ports: Ports, settings: Settings) -> Result<Self, AgentError> {
        // So that a full disk, which others fill too, can be told of: reports go through the journal.
        if let Err(error) = reserve::keep(&settings.paths.state_dir) {
            tracing::warn!(%error, "no room is kept: should the disk be full, nothing can be noted or told");
        }
        let keeper = Keeper::open(&settings.paths.journal(), Uuid::new_v4(), ports.clock.now())?;
        let log = EventLog::new(settings.paths.events());
        let metadata = Metadata::open(&settings, ports.clock.uptime()).map_err(AgentError::Trust)?;
        ports.branch.not_before(metadata.believed.floor());
        let files = Files::new(&settings.paths.state_dir);
        let identity = files.read(&settings.identity.name);
        let talk = Talk::new(files, identity, &settings.timing);
        talk.authenticate(&ports);
        let accepted = Accepted::open(&settings.paths.accepted())?;
        let session = Session::default();
        let mut agent = Self { ports, settings, keeper, session, talk, metadata, accepted, log };
        agent.restore_plan()?;
        Ok(agent)
    }

    /// What the journal says now.
    pub fn journal(&self) -> &Journal {
        self.keeper.journal()
    }

    /// Somebody said that there is something new.
    pub fn look_again(&mut self) {
        let spread = self.settings.timing.event_spread.mul_f64(random());
        self.talk.sync_soon(self.ports.clock.uptime() + spread);
        // What waits for the branch to have something may go on; what failed here keeps its distance.
        if self.journal().trouble.as_ref().is_some_and(|t| !t.bounded) {
            self.session.retry_at = None;
        }
        self.session.packages.wake();
    }

    /// One turn: talk to the branch if it is time, then perform one action. Answers how long to rest.
    pub async fn turn(&mut self) -> Duration {
        match self.try_turn().await {
            Ok(pause) => pause.min(self.talk.next(self.ports.clock.uptime(), &self.journal().reports)),
            // As long as the journal cannot be written, not even what is due is done: no reason to hurry.
            Err(error) => {
                tracing::error!(error = service_kit::edge::chain(&error), "the turn was not completed");
                self.settings.timing.retry_max.min(Duration::from_secs(10))
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Duration, AgentError> {
        self.announce_running()?;
        self.talk_if_due().await?;
        let me = self.talk.me();
        self.session.time = self.metadata.believed.time(self.ports.clock.now());
        let seen = observe(&self.ports, &self.settings, self.keeper.journal(), me.as_ref(), &mut self.session).await;
        self.report_bad_data()?;
        let uptime = self.ports.clock.uptime();
        let action = decide(&self.keeper.journal().state, &seen, &self.settings.limits, uptime);
        let at_rest = matches!(action, Action::Wait { .. }) && !self.journal().state.is_active();
        let mut pause = self.perform(action).await?;
        // An update of the slot goes first, and waits for nothing of this.
        if at_rest {
            pause = pause.min(self.packages_turn().await?);
        }
        self.deliver_reports().await?;
        Ok(pause)
    }

    /// Persists what the action intends, performs it, and persists what came of it.
    async fn perform(&mut self, action: Action) -> Result<Duration, AgentError> {
        let pause = match &action {
            Action::Wait { time, why } => {
                self.note_waiting(why.clone())?;
                return Ok(*time);
            }
            Action::Prepare => {
                self.note_held()?;
                Duration::ZERO
            }
            Action::AddTorrent | Action::Verify => self.settings.limits.engine_poll,
            _ => Duration::ZERO,
        };
        tracing::debug!(?action, state = self.journal().state.name(), "acting");
        if let Some(event) = act::intent(&action, &self.journal().state) {
            self.apply(event)?;
        }
        let outcome = match self.authorise_trial(&action) {
            Ok(()) if matches!(action, Action::WriteBoot(BootState { trial: Some(_), .. })) => {
                self.ask_for_trial().await
            }
            Ok(()) => act::act(action, &self.ports, &self.settings, self.keeper.journal(), &mut self.session).await,
            Err(refused) => refused,
        };
        match outcome {
            Outcome::Event(event) => self.apply(event)?,
            Outcome::Done => self.note_success()?,
            Outcome::Dropped(artifact) => {
                let now = self.ports.clock.now();
                self.keeper.change(now, |j| _ = j.artifacts.remove(&artifact))?;
            }
            Outcome::Trouble { verdict, bounded } => {
                self.note_trouble(Trouble { count: 1, bounded, verdict })?;
            }
            Outcome::Later(why) => {
                tracing::warn!(why, "an artifact that nobody wants could not be removed yet");
                self.session.drop_at = Some(self.ports.clock.uptime() + self.settings.timing.retry_max);
            }
        }
        Ok(pause)
    }

    /// Takes an event to the transition table, and makes the move, what it teaches and its report durable at once.
    fn apply(&mut self, event: Event) -> Result<(), AgentError> {
        let now = self.ports.clock.now();
        let old = self.journal().state.clone();
        let new = next(old.clone(), event.clone())?;
        if new == old && self.journal().trouble.is_none() {
            return Ok(());
        }
        let report = self.report(&old, &new, new.reason().cloned());
        let moved = old.public() != new.public() || matches!(event, Event::Assign(_));
        let named =
            self.session.plan.as_ref().map(VerifiedPlan::plan).is_some_and(|p| {
                new.update().is_some_and(|u| p.entries().any(|s| s.artifact.sha256 == u.artifact.sha256))
            });
        self.keeper.change(now, |journal| {
            learn(journal, &old, &event, named, now);
            // Here the slot that runs is the confirmed one, so that no trial leads back to an older agent.
            if matches!(event, Event::Confirmed | Event::Assign(_)) {
                journal.format = FORMAT;
            }
            journal.state = new;
            journal.trouble = None;
            journal.waiting = None;
            if moved {
                journal.since = now;
            }
            if let Some(report) = report {
                journal.reports.push(now, report);
            }
        })?;
        self.session.retry_at = None;
        self.log(&old, &event, moved);
        Ok(())
    }

    fn log(&mut self, old: &State, event: &Event, moved: bool) {
        let (now, journal) = (self.ports.clock.now(), self.keeper.journal());
        let (from, to, reason) = (old.name(), journal.state.name(), journal.state.reason());
        if let (Event::Progress { .. }, (done, total)) = (event, journal.state.segments()) {
            tracing::info!(done, total, torrent_complete = self.session.complete, "segments written");
            self.log.segments(now, done, total, self.session.complete);
        }
        if moved {
            let version = journal.state.update().map(|u| u.version.to_string());
            let reason = reason.map(|r| r.text.as_str());
            tracing::info!(from, to, version, reason, "moved");
            self.log.moved(now, from, to, version, reason);
            // A restart that was asked for in one state says nothing about the next.
            self.session.restart_asked = None;
        }
    }

    /// The report of a move, or of progress within a state.
    fn report(&self, old: &State, new: &State, reason: Option<Reason>) -> Option<Report> {
        let (update, state) = (new.update()?, new.public()?);
        let same = old.update().is_some_and(|o| o.payload.sha256 == update.payload.sha256)
            && (old.is_active() || !new.is_active());
        let (segments_done, segments_total) = new.segments();
        let terminal = self.settings.identity.name.clone();
        let mut update = UpdateReport {
            serial: update.serial,
            product: update.product.clone(),
            version: update.version.clone(),
            payload: update.payload.sha256,
            from: old.public().filter(|_| same),
            state,
            segments_done,
            segments_total,
            reason,
            proof: None,
            evidence: new.evidence().cloned(),
        };
        self.talk.prove(&terminal, &mut update);
        Some(Report::Update { terminal, update })
    }

    fn note_trouble(&mut self, new: Trouble) -> Result<(), AgentError> {
        let now = self.ports.clock.now();
        let before = self.journal().trouble.as_ref().filter(|t| t.bounded == new.bounded).map_or(0, |t| t.count);
        let trouble = Trouble { count: before.saturating_add(1), ..new };
        let Reason { code, text, .. } = &trouble.verdict.reason;
        tracing::warn!(state = self.journal().state.name(), count = trouble.count, %code, text, "did not work");
        let timing = &self.settings.timing;
        let bound = bound_after(trouble.count, timing.retry_min, timing.retry_max);
        self.session.retry_at = Some(self.ports.clock.uptime() + bound.mul_f64(0.5 + random::<f64>() / 2.0));
        self.keeper.change(now, |j| j.trouble = Some(trouble))?;
        Ok(())
    }

    fn note_success(&mut self) -> Result<(), AgentError> {
        self.session.retry_at = None;
        if self.journal().trouble.is_some() {
            self.keeper.change(self.ports.clock.now(), |j| j.trouble = None)?;
        }
        Ok(())
    }

    /// What is waited for is worth a report when it changes, not each time it is found again.
    fn note_waiting(&mut self, why: Option<Reason>) -> Result<(), AgentError> {
        let journal = self.journal();
        let code = |r: &Option<Reason>| r.as_ref().map(|r| r.code.clone());
        if code(&journal.waiting) == code(&why) {
            return Ok(());
        }
        let active = journal.state.is_active() && why.is_some();
        let report = self.report(&journal.state, &journal.state, why.clone()).filter(|_| active);
        let now = self.ports.clock.now();
        self.keeper.change(now, |j| {
            j.waiting = why;
            if let Some(report) = report {
                j.reports.push(now, report);
            }
        })?;
        Ok(())
    }

    /// An artifact is written down before anything of it reaches the disk or the engine, so that it is always known
    /// what to remove.
    fn note_held(&mut self) -> Result<(), AgentError> {
        let Some(update) = self.journal().state.update() else { return Ok(()) };
        let artifact = update.artifact.sha256;
        let held = Held { info_hash: update.artifact.info_hash, unwanted_since: None, drop_now: false };
        if self.journal().artifacts.get(&artifact) != Some(&held) {
            self.keeper.change(self.ports.clock.now(), |j| _ = j.artifacts.insert(artifact, held))?;
        }
        Ok(())
    }
}

/// What a move teaches for later updates. `named`: the plan still names the artifact.
fn learn(journal: &mut Journal, old: &State, event: &Event, named: bool, now: chrono::DateTime<chrono::Utc>) {
    let Some(update) = old.update() else { return };
    let drop = |journal: &mut Journal| {
        if let Some(held) = journal.artifacts.get_mut(&update.artifact.sha256) {
            held.drop_now = true;
        }
    };
    match event {
        // From here on the slot is written to: what it held is history.
        Event::Prepared { .. } => _ = journal.memory.confirmed.remove(&update.target),
        Event::Confirmed => {
            journal.memory.setbacks.remove(&update.payload.sha256);
            journal.memory.confirmed.insert(update.target, update.payload.sha256);
        }
        Event::Fail(verdict) | Event::FellBack { verdict, .. } => {
            journal.memory.learn(update, verdict, now);
            if verdict.reason.code == "artifact-does-not-check" {
                drop(journal);
            }
        }
        Event::Withdraw(_) if !named => drop(journal),
        _ => {}
    }
}

/// Waits until `terminal-agent run` asks for a look at once.
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
/// The journal cannot be used at all.
pub async fn run(ports: Ports, settings: Settings, stop: &service_kit::Shutdown) -> Result<(), AgentError> {
    let wake = Notify::new();
    let mut agent = Agent::new(ports, settings)?;
    agent.reseed().await;
    let listen = crate::talk::listen(agent.ports.clone(), agent.settings.timing.clone(), &wake);
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
