//! One turn of the slot's update: look, judge and treat the torrent, decide, persist, act.

use std::time::Duration;

use super::act::act;
use super::context::Context;
use super::decide::{Action, decide};
use super::observe::observe;
use super::outcome::Outcome;
use super::record::Recorder;
use crate::branch::fetch::renew_torrent;
use crate::branch::reports::report_bad_data;
use crate::branch::talk::Talk;
use crate::config::agent::Settings;
use crate::error::AgentError;
use crate::memory::events::EventLog;
use crate::memory::keeper::Keeper;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::seen::{Known, Observation};
use crate::model::state::State;
use crate::ports::Ports;
use crate::swarm::peers::TorrentLook;
use crate::swarm::remedies::apply;

/// What a turn works with.
pub struct SlotTurn<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// The settings.
    pub settings: &'a Settings,
    /// The journal.
    pub keeper: &'a mut Keeper,
    /// What is kept in memory only.
    pub session: &'a mut Session,
    /// The branch server.
    pub talk: &'a Talk,
    /// The log of events.
    pub log: &'a EventLog,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// How long to wait before the next one.
    pub pause: Duration,
    /// No update is under way, and there was nothing to do.
    pub at_rest: bool,
}

impl SlotTurn<'_> {
    /// Performs one action.
    ///
    /// # Errors
    /// The journal cannot be written, or a decision did not fit the transition table.
    pub async fn take(mut self) -> Result<Turned, AgentError> {
        self.load();
        let (mut seen, torrent) = self.look().await;
        if let Some(torrent) = torrent {
            self.treat(&torrent, &mut seen).await?;
        }
        let uptime = self.ports.clock.uptime();
        let state = &self.keeper.journal().state;
        let action = decide(state, &seen, &self.settings.limits, uptime);
        let at_rest = matches!(action, Action::Wait { .. }) && !state.is_active();
        Ok(Turned { pause: self.perform(action).await?, at_rest })
    }

    /// Loads the files of the update in hand, which after a restart are on the disk only.
    fn load(&mut self) {
        if let State::Fetching { update, .. } = &self.keeper.journal().state {
            self.session.load(self.settings, update);
        }
    }

    /// Looks at everything that the state needs, and changes nothing.
    async fn look(&self) -> (Observation, Option<TorrentLook>) {
        let recipient = self.talk.recipient();
        let plan = self.talk.plans().in_force(recipient.as_ref(), self.ports);
        observe(self.ports, self.settings, self.keeper.journal(), self.session, plan).await
    }

    /// Judges the look at the torrent and does what that asks for, before the update itself is decided on.
    ///
    /// A torrent that is to be given to the engine again counts as one that the engine does not have.
    async fn treat(&mut self, torrent: &TorrentLook, seen: &mut Observation) -> Result<(), AgentError> {
        let judge = |observation: &_| self.ports.swarm.judge(observation);
        let applied = apply(self.session.peers.judge(torrent, judge), torrent, self.ports).await;
        if let Some(bad) = applied.report {
            report_bad_data(torrent.artifact.sha256, bad, self.ports, self.settings, self.keeper)?;
        }
        let is_moved =
            applied.is_stalled && renew_torrent(self.ports, self.settings, &torrent.artifact, torrent.status()).await;
        if is_moved || applied.add_again || self.session.peers.starts_again(torrent) {
            seen.transfer = Known::Is(None);
        }
        Ok(())
    }

    /// Persists what the action intends, performs it, and persists what came of it.
    async fn perform(&mut self, action: Action) -> Result<Duration, AgentError> {
        let pause = match &action {
            Action::Wait { time, why } => {
                self.recorder().waiting(why.clone())?;
                return Ok(*time);
            }
            Action::Prepare => {
                self.recorder().held()?;
                Duration::ZERO
            }
            Action::RestartIntoTrial => {
                self.recorder().apply(Event::RestartAsked)?;
                Duration::ZERO
            }
            Action::AddTorrent | Action::Verify => self.settings.limits.engine_poll,
            _ => Duration::ZERO,
        };
        tracing::debug!(?action, state = self.keeper.journal().state.name(), "acting");
        let recipient = self.talk.recipient();
        let context = Context {
            ports: self.ports,
            settings: self.settings,
            journal: self.keeper.journal(),
            plans: self.talk.plans(),
            recipient: recipient.as_ref(),
        };
        let outcome = act(action, context, self.session).await;
        let wait = self.settings.timing.retry_max;
        let mut recorder = self.recorder();
        match outcome {
            Outcome::Event(event) => recorder.apply(event)?,
            Outcome::Done => recorder.success()?,
            Outcome::Dropped(artifact) => recorder.dropped(artifact)?,
            Outcome::Differs { slot, unreadable } => recorder.differs(slot, unreadable)?,
            Outcome::Trouble { verdict, bounded } => recorder.trouble(verdict, bounded)?,
            Outcome::Later(why) => recorder.drop_later(&why, wait),
        }
        Ok(pause)
    }

    fn recorder(&mut self) -> Recorder<'_> {
        Recorder {
            clock: &*self.ports.clock,
            settings: self.settings,
            keeper: self.keeper,
            session: self.session,
            enrolment: self.talk.enrolment(),
            plan: self.talk.plans().followed(),
            log: self.log,
        }
    }
}
