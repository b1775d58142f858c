//! Makes moves durable, together with what they teach and the report of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::random;
use service_kit::retry::bound_after;
use trust::planned;
use trust::plans::VerifiedPlan;
use wire::ReasonCode;
use wire::v1::reports::{Reason, Report, UpdateReport};

use crate::branch::certify::Enrolment;
use crate::config::agent::Settings;
use crate::error::AgentError;
use crate::memory::events::EventLog;
use crate::memory::journal::{FORMAT, Held, Journal};
use crate::memory::keeper::Keeper;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::memory::{OTHER_CONTENT, Trouble};
use crate::model::reasons::DETAIL;
use crate::model::state::{State, next};
use crate::model::update::{Retry, Verdict};
use crate::ports::Clock;

/// Time between two renewals of a waiting reason's text, which may hold a number that changes at each look.
const RENEW_WAITING: Duration = Duration::from_secs(60);

/// Records what happens to the update.
pub struct Recorder<'a> {
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// The settings.
    pub settings: &'a Settings,
    /// The journal.
    pub keeper: &'a mut Keeper,
    /// What is kept in memory only.
    pub session: &'a mut Session,
    /// Signs reports.
    pub enrolment: &'a Enrolment,
    /// The plan that is followed.
    pub plan: Option<&'a VerifiedPlan>,
    /// The log of events.
    pub log: &'a EventLog,
}

impl Recorder<'_> {
    fn journal(&self) -> &Journal {
        self.keeper.journal()
    }

    /// Makes a move of the transition table durable.
    ///
    /// The move, what it teaches and its report are written at once.
    pub fn apply(&mut self, event: Event) -> Result<(), AgentError> {
        let now = self.clock.now();
        let old = self.journal().state.clone();
        let new = next(old.clone(), event.clone())?;
        if new == old && self.journal().trouble.is_none() {
            return Ok(());
        }
        let before = self.journal().trouble.as_ref().filter(|_| matches!(event, Event::Assign(_)));
        let report = self.report(&old, &new, new.reason().or(before.map(|t| &t.verdict.reason)).cloned());
        let moved = old.public() != new.public() || matches!(event, Event::Assign(_) | Event::Delivered(_));
        let artifact = new.update().map(|update| update.artifact.sha256);
        let named = self.plan.zip(artifact).is_some_and(|(plan, artifact)| {
            planned::entries(plan.plan()).any(|step| step.artifacts.contains(&artifact))
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
                journal.tell(now, report);
            }
        })?;
        self.session.retry_at = None;
        self.log(&old, &event, moved);
        Ok(())
    }

    fn log(&mut self, old: &State, event: &Event, moved: bool) {
        let (now, journal) = (self.clock.now(), self.keeper.journal());
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
            position: None,
            evidence: new.evidence().cloned(),
        };
        let clock = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        self.enrolment.sign(&mut update, clock.max(self.journal().position.saturating_add(1)));
        Some(Report::Update { terminal: self.settings.identity.name.clone(), update })
    }

    /// Counts a failure of the step at hand, and sets when it may be tried again.
    pub fn trouble(&mut self, verdict: Verdict, bounded: bool) -> Result<(), AgentError> {
        let now = self.clock.now();
        let before = self.journal().trouble.as_ref().filter(|t| t.bounded == bounded).map_or(0, |t| t.count);
        let trouble = Trouble { count: before.saturating_add(1), bounded, verdict };
        let Reason { code, text, params } = &trouble.verdict.reason;
        let (state, detail) = (self.journal().state.name(), params.get(DETAIL));
        tracing::warn!(state, count = trouble.count, %code, text, detail, "a step failed");
        let timing = &self.settings.timing;
        let bound = bound_after(trouble.count, timing.retry_min, timing.retry_max);
        self.session.retry_at = Some(self.clock.uptime() + bound.mul_f64(0.5 + random::<f64>() / 2.0));
        self.keeper.change(now, |j| j.trouble = Some(trouble))?;
        Ok(())
    }

    /// Forgets the failures of the step at hand.
    pub fn success(&mut self) -> Result<(), AgentError> {
        self.session.retry_at = None;
        if self.journal().trouble.is_some() {
            self.keeper.change(self.clock.now(), |j| j.trouble = None)?;
        }
        Ok(())
    }

    /// Records why the update waits.
    ///
    /// It is reported when it changes, not each time it is found again.
    pub fn waiting(&mut self, why: Option<Reason>) -> Result<(), AgentError> {
        let journal = self.journal();
        let code = |r: &Option<Reason>| r.as_ref().map(|r| r.code.clone());
        if code(&journal.waiting) == code(&why) {
            let (same, uptime) = (journal.waiting == why, self.clock.uptime());
            let early = self.session.waiting_renewed.is_some_and(|at| uptime.saturating_sub(at) < RENEW_WAITING);
            if !same && !early {
                // Its newest text may name another file or cause: shown here, neither logged nor reported again.
                self.session.waiting_renewed = Some(uptime);
                self.keeper.change(self.clock.now(), |j| j.waiting = why)?;
            }
            return Ok(());
        }
        if let Some(Reason { code, text, params }) = &why {
            tracing::info!(state = journal.state.name(), %code, text, detail = params.get(DETAIL), "waiting");
        }
        let active = journal.state.is_active() && why.is_some();
        let report = self.report(&journal.state, &journal.state, why.clone()).filter(|_| active);
        self.session.waiting_renewed = Some(self.clock.uptime());
        let now = self.clock.now();
        self.keeper.change(now, |j| {
            j.waiting = why;
            if let Some(report) = report {
                j.tell(now, report);
            }
        })?;
        Ok(())
    }

    /// Records the artifact in hand before any of it reaches the disk or the engine.
    ///
    /// So it is always known what to remove.
    pub fn held(&mut self) -> Result<(), AgentError> {
        let Some(update) = self.journal().state.update() else { return Ok(()) };
        let artifact = update.artifact.sha256;
        let held = Held { info_hash: update.artifact.info_hash, unwanted_since: None, drop_now: false };
        if self.journal().artifacts.get(&artifact) != Some(&held) {
            self.keeper.change(self.clock.now(), |j| _ = j.artifacts.insert(artifact, held))?;
        }
        Ok(())
    }

    /// Forgets an artifact that is gone from the engine and the disk.
    pub fn dropped(&mut self, artifact: fleet_types::Digest) -> Result<(), AgentError> {
        self.keeper.change(self.clock.now(), |j| _ = j.artifacts.remove(&artifact))?;
        Ok(())
    }

    /// Records that a slot was delivered with something else than the plan wants, or could not be read.
    ///
    /// The reason stays as trouble until the update begins, and goes into its first report.
    pub fn differs(&mut self, slot: fleet_types::Slot, unreadable: Option<Reason>) -> Result<(), AgentError> {
        match &unreadable {
            None => tracing::warn!(
                %slot, "the running slot has the version that the plan names and other content: it is installed"
            ),
            Some(why) => {
                tracing::error!(%slot, text = why.text, detail = why.params.get(DETAIL), "the slot is not readable")
            }
        }
        self.session.retry_at = None;
        let verdict = unreadable.map(|reason| Verdict::new(reason, Retry::Later));
        self.keeper.change(self.clock.now(), |j| {
            j.memory.confirmed.insert(slot, OTHER_CONTENT);
            j.trouble = verdict.map(|verdict| Trouble { count: 1, bounded: true, verdict });
        })?;
        Ok(())
    }

    /// Puts off the removal of an artifact.
    pub fn drop_later(&mut self, why: &str, wait: Duration) {
        tracing::warn!(why, "an artifact that is no longer wanted could not be removed yet");
        self.session.drop_at = Some(self.clock.uptime() + wait);
    }
}

/// Applies what a move teaches for later updates.
///
/// `named`: the plan still names the artifact.
fn learn(journal: &mut Journal, old: &State, event: &Event, named: bool, now: DateTime<Utc>) {
    if let Event::Delivered(update) = event {
        journal.memory.confirm(update.target, update.payload.sha256);
    }
    let Some(update) = old.update() else { return };
    let drop = |journal: &mut Journal| {
        if let Some(held) = journal.artifacts.get_mut(&update.artifact.sha256) {
            held.drop_now = true;
        }
    };
    match event {
        // From here on the slot is written to: what it held is history.
        Event::Prepared { .. } => _ = journal.memory.confirmed.remove(&update.target),
        Event::Confirmed => journal.memory.confirm(update.target, update.payload.sha256),
        Event::FellBack { verdict, .. } => journal.memory.learn_trial(update, verdict, now),
        Event::Fail(verdict) => {
            journal.memory.learn(update, verdict, now);
            if verdict.reason.code == ReasonCode::ArtifactDoesNotCheck {
                drop(journal);
            }
        }
        Event::Withdraw(_) if !named => drop(journal),
        _ => {}
    }
}
