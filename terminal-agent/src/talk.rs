//! Talking to the branch server: identity, plan, reports. Nothing here decides; a branch that is silent is asked
//! again later and stops nothing that is under way.

use std::time::Duration;

use fleet_types::{Digest, Slot, TerminalName};
use rand::random;
use service_kit::client::ClientError;
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use tokio::sync::Notify;
use trust::plans::VerifiedPlan;
use trust::{Refusal, Why};
use uuid::Uuid;
use wire::v1::reports::{MAX_BATCH, Reason, Report, UpdateReport};
use wire::v1::sync::{Sync, TerminalFacts};
use wire::{Code, Envelope};

use crate::agent::{Agent, AgentError};
use crate::believed::reason;
use crate::config::Timing;
use crate::identity::{Files as IdentityFiles, Identity};
use crate::journal::Announced;
use crate::observe::{self, Known};
use crate::packages;
use crate::ports::Ports;
use crate::reports::Reports;
use crate::session::Files;
use crate::wanted::Me;

/// When to talk next. Times are times since the machine started.
pub(crate) struct Talk {
    pub(crate) files: IdentityFiles,
    pub(crate) identity: Option<Identity>,
    /// The branch server does not know this terminal any more (its database was lost): it is to enrol again.
    pub(crate) lost: bool,
    sync_at: Duration,
    sync_failures: Backoff,
    deliver_at: Duration,
    deliver_failures: Backoff,
    /// What was last refused, so that the log says it once.
    refused: Option<String>,
}

impl Talk {
    pub(crate) fn new(files: IdentityFiles, identity: Option<Identity>, timing: &Timing) -> Self {
        let backoff = Backoff::new(timing.retry_min, timing.retry_max);
        Self {
            files,
            identity,
            lost: false,
            sync_at: Duration::ZERO,
            sync_failures: backoff.clone(),
            deliver_at: Duration::ZERO,
            deliver_failures: backoff,
            refused: None,
        }
    }

    /// Who reads plans here; nobody before this terminal enrolled.
    pub(crate) fn me(&self) -> Option<Me> {
        self.identity.as_ref().map(Identity::me)
    }

    /// Signs what this terminal reports of an update. A report without a signature is not believed by head office, and said
    /// all the same: the branch shows it.
    pub(crate) fn prove(&self, terminal: &TerminalName, update: &mut UpdateReport) {
        let Some(identity) = &self.identity else { return };
        let failed = |r: &Refusal| tracing::error!(code = r.code(), reason = r.sentence(), "a report cannot be signed");
        let Ok(signer) = self.files.signer().inspect_err(failed) else { return };
        update.proof = Some(signer.sign_text(&update.statement(&identity.branch, terminal)));
        let statement = update.evidence_statement(&identity.branch, terminal);
        if let (Some(evidence), Some(statement)) = (&mut update.evidence, statement) {
            evidence.proof = Some(signer.sign_text(&statement));
        }
    }

    pub(crate) fn sync_soon(&mut self, at: Duration) {
        self.sync_at = self.sync_at.min(at);
    }

    /// How long until there is something to talk about.
    pub(crate) fn next(&self, uptime: Duration, reports: &Reports) -> Duration {
        let sync = self.sync_at.saturating_sub(uptime);
        if self.identity.is_none() || reports.is_empty() {
            return sync;
        }
        sync.min(self.deliver_at.saturating_sub(uptime))
    }
}

impl Agent {
    /// Says once a boot what runs here.
    pub(crate) fn announce_running(&mut self) -> Result<(), AgentError> {
        let (Known::Is(slot), Ok(boot_id), Ok(version)) =
            (observe::running(&self.ports, &self.settings), self.ports.host.boot_id(), self.ports.host.image_version())
        else {
            return Ok(());
        };
        let announced = Announced { boot_id, slot, version };
        if self.keeper.journal().announced.as_ref() == Some(&announced) {
            return Ok(());
        }
        let terminal = self.settings.identity.name.clone();
        let now = self.ports.clock.now();
        tracing::info!(%slot, version = %announced.version, "running");
        // What was never told is told when enrolling.
        let told = self.keeper.journal().facts.as_ref();
        let facts = self.facts().ok().filter(|facts| told.is_some_and(|told| told != facts));
        self.keeper.change(now, |journal| {
            let version = announced.version.clone();
            if let Some(facts) = facts {
                journal.reports.push(now, Report::TerminalSeen { facts: facts.clone(), key: None });
                journal.facts = Some(facts);
            }
            journal.reports.push(now, Report::Running { terminal, slot, version });
            journal.announced = Some(announced);
        })?;
        Ok(())
    }

    /// Enrols if need be, and asks for the plan, when it is time.
    pub(crate) async fn talk_if_due(&mut self) -> Result<(), AgentError> {
        let uptime = self.ports.clock.uptime();
        if uptime < self.talk.sync_at {
            return Ok(());
        }
        let (asked, poll) = (self.ask().await, self.settings.timing.poll);
        let failed = match asked {
            Ok(offer) => {
                let to_come = self.consider(offer).await?;
                self.report_refusal(to_come)?;
                to_come
            }
            Err(why) => {
                self.say_once(why);
                true
            }
        };
        let rest = if failed {
            self.talk.sync_failures.next().max(Duration::from_millis(50)).min(poll)
        } else {
            self.talk.sync_failures.reset();
            poll.mul_f64(0.5 + random::<f64>() / 2.0)
        };
        self.talk.sync_at = self.ports.clock.uptime() + rest;
        Ok(())
    }

    /// Has head office told that a plan is refused, or is no more; what only did not arrive, is no refusal.
    fn report_refusal(&mut self, to_come: bool) -> Result<(), AgentError> {
        let (now, reason) = (self.ports.clock.now(), self.session.plan_refused.clone());
        // The sentence may tell the time, which changes.
        let code = |r: &Option<Reason>| r.as_ref().map(|r| r.code.clone());
        if to_come || code(&reason) == code(&self.keeper.journal().refuses) {
            return Ok(());
        }
        let terminal = self.settings.identity.name.clone();
        self.keeper.change(now, |journal| {
            journal.refuses = reason.clone();
            journal.reports.push(now, Report::TerminalRefusesPlan { terminal, reason });
        })?;
        Ok(())
    }

    pub(crate) fn say_once(&mut self, why: String) {
        if self.talk.refused.as_ref() != Some(&why) {
            tracing::warn!(why, "no new plan from the branch server");
            self.talk.refused = Some(why);
        }
    }

    async fn ask(&mut self) -> Result<Sync, String> {
        self.certify_if_due().await?;
        self.ports.branch.sync().await.map_err(|error| {
            self.note_lost(&error);
            chain(&error)
        })
    }

    /// Brings the metadata up to date if there is newer, and follows a plan that is new and believed. True if something did
    /// not arrive and may do so soon.
    async fn consider(&mut self, offer: Sync) -> Result<bool, AgentError> {
        let is_followed =
            |e: &Envelope| self.session.plan.is_some() && self.accepted.envelope().is_some_and(|kept| kept == e);
        let new = offer.plan.filter(|envelope| !is_followed(envelope));
        let fresh = match new.is_some() || self.metadata.is_due(offer.metadata, self.ports.clock.uptime()) {
            true => self.metadata.update(&self.ports).await,
            false => Ok(()),
        };
        let Some(me) = self.talk.me() else { return Ok(false) };
        let judged = match (new, fresh) {
            // Without fresh metadata no new plan is believed; what was accepted stays.
            (_, Err(refusal)) => Err(refusal),
            (None, Ok(())) => Ok(None),
            (Some(envelope), Ok(())) => {
                let (floors, now) = (self.accepted.floors(), self.ports.clock.now());
                let judged = self.metadata.believed.judge(&envelope, &me.branch, floors, now);
                judged.map(|(plan, floors)| Some((plan, floors, envelope)))
            }
        };
        match judged {
            Ok(accepted) => {
                (self.talk.refused, self.session.plan_refused) = (None, None);
                let Some((plan, floors, envelope)) = accepted else {
                    self.tell_helper().await;
                    return Ok(false);
                };
                // If one of these fails, the same plan is taken once more: it is not followed yet.
                (self.session.plan, self.session.helper_knows) = (None, false);
                self.accepted.replace(envelope, floors)?;
                self.metadata.believed.raise_floor(plan.plan().issued).map_err(AgentError::Trust)?;
                self.ports.branch.not_before(self.metadata.believed.floor());
                self.follow(plan)?;
                self.tell_helper().await;
                Ok(false)
            }
            Err(refusal) => {
                let reason = reason(&refusal);
                self.say_once(format!("{}: {}", reason.code, reason.text));
                self.session.plan_refused = Some(reason);
                Ok(matches!(refusal.why(), Why::Unfetchable | Why::SlowRetrieval))
            }
        }
    }

    /// Goes on with the plan that was accepted before this start. One whose key does not count any more is not followed.
    pub(crate) fn restore_plan(&mut self) -> Result<(), AgentError> {
        let (Some(envelope), Some(me)) = (self.accepted.envelope(), self.talk.me()) else { return Ok(()) };
        match self.metadata.believed.restore(envelope, &me.branch) {
            Ok(plan) => self.follow(plan),
            Err(refusal) => {
                tracing::warn!(code = refusal.code(), reason = refusal.sentence(), "the accepted plan is not followed");
                Ok(())
            }
        }
    }

    /// What the journal says of artifacts and packages becomes what the plan says of them.
    fn follow(&mut self, verified: VerifiedPlan) -> Result<(), AgentError> {
        let (Some(me), now) = (self.talk.me(), self.ports.clock.now()) else { return Ok(()) };
        let plan = verified.plan();
        let named = |artifact: &Digest| plan.entries().any(|s| s.artifact.sha256 == *artifact);
        let mut artifacts = self.keeper.journal().artifacts.clone();
        for (artifact, held) in &mut artifacts {
            held.unwanted_since = if named(artifact) { None } else { held.unwanted_since.or(Some(now)) };
        }
        let packages = packages::accept(&self.keeper.journal().packages, plan, &me);
        let journal = self.keeper.journal();
        if plan.serial != journal.floor || artifacts != journal.artifacts || packages != journal.packages {
            let serial = plan.serial;
            self.keeper.change(now, |journal| {
                journal.floor = serial;
                journal.artifacts = artifacts;
                journal.packages = packages;
            })?;
        }
        if !std::mem::replace(&mut self.session.swept, true) {
            packages::sweep(&self.settings.paths.data_dir, self.keeper.journal());
        }
        self.session.plan = Some(verified);
        Ok(())
    }

    /// What this terminal says of itself.
    pub(crate) fn facts(&self) -> Result<TerminalFacts, String> {
        let identity = &self.settings.identity;
        let length = |slot| self.ports.disks.length(slot).map_err(|e| chain(&e));
        let room = self.ports.host.room(&self.settings.paths.data_dir).map_err(|e| chain(&e))?;
        Ok(TerminalFacts {
            name: identity.name.clone(),
            model: identity.model.clone(),
            slot_bytes: length(Slot::A)?.min(length(Slot::B)?),
            data_bytes: room.total,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Delivers reports: moves at once, progress now and then.
    pub(crate) async fn deliver_reports(&mut self) -> Result<(), AgentError> {
        loop {
            let uptime = self.ports.clock.uptime();
            let reports = &self.keeper.journal().reports;
            let waits = self.talk.deliver_failures.failures() > 0 || !reports.is_urgent();
            if self.talk.identity.is_none() || reports.is_empty() || (waits && uptime < self.talk.deliver_at) {
                return Ok(());
            }
            let mut numbered = reports.clone();
            if numbered.number() {
                self.keeper.change(self.ports.clock.now(), |j| j.reports = numbered)?;
            }
            // After a refusal one at a time, to find the one that is refused.
            let most = if self.talk.refused_reports() { 1 } else { MAX_BATCH };
            let Some(batch) = self.keeper.journal().reports.batch(most) else { return Ok(()) };
            let single = batch.reports.len() == 1;
            match self.ports.branch.report(&batch).await {
                Ok(ack) if ack.through < batch.reports[0].seq => {
                    self.talk.deliver_at = uptime + self.talk.deliver_failures.next();
                    return Ok(());
                }
                Ok(ack) => {
                    self.talk.deliver_failures.reset();
                    self.talk.deliver_at = uptime + self.settings.timing.progress;
                    self.keeper.change(self.ports.clock.now(), |j| j.reports.acknowledge(ack.through))?;
                }
                Err(error) => {
                    self.talk.deliver_at = uptime + self.talk.deliver_failures.next();
                    return self.not_delivered(&error, single);
                }
            }
        }
    }

    fn not_delivered(&mut self, error: &ClientError, single: bool) -> Result<(), AgentError> {
        let now = self.ports.clock.now();
        match error.code() {
            Some(Code::ReportOutOfOrder) => {
                tracing::warn!("the branch server lost the thread of the reports: they are numbered anew");
                self.keeper.change(now, |j| j.reports.renumber(Uuid::new_v4(), false))?;
            }
            Some(code) if single && code.is_about_content() => {
                tracing::error!(error = chain(error), "the branch server will never take this report: it is dropped");
                self.keeper.change(now, |j| j.reports.renumber(Uuid::new_v4(), true))?;
            }
            _ => {
                self.note_lost(error);
                tracing::debug!(error = chain(error), "reports wait");
            }
        }
        Ok(())
    }

    /// Gives the engine back what it should seed, once after a start: it may have lost its memory.
    pub(crate) async fn reseed(&mut self) {
        for (artifact, held) in &self.keeper.journal().artifacts {
            let (files, folder) = (Files::of_digest(&self.settings, artifact), &self.settings.engine.download_dir);
            let content = folder.join(format!("{artifact}.seg"));
            if held.drop_now || !content.exists() || !matches!(self.ports.swarm.status(&held.info_hash).await, Ok(None))
            {
                continue;
            }
            let Ok(torrent) = std::fs::read(files.torrent()) else { continue };
            match self.ports.swarm.add(&torrent, folder).await {
                Ok(_) => tracing::info!(%artifact, "seeding again"),
                Err(error) => tracing::warn!(error = chain(&error), %artifact, "cannot be seeded"),
            }
        }
    }
}

impl Talk {
    fn refused_reports(&self) -> bool {
        self.deliver_failures.failures() > 0
    }
}

/// Holds the event stream for ever, and wakes the agent for each event.
pub(crate) async fn listen(ports: Ports, timing: Timing, wake: &Notify) {
    let mut failures = Backoff::new(timing.retry_min, timing.retry_max);
    loop {
        let begun = ports.clock.uptime();
        match ports.branch.listen(wake).await {
            Ok(()) => tracing::debug!("the event stream ended"),
            Err(error) => tracing::debug!(error = chain(&error), "no event stream"),
        }
        if ports.clock.uptime().saturating_sub(begun) > timing.retry_max {
            failures.reset();
        }
        tokio::time::sleep(failures.next().max(Duration::from_millis(100))).await;
    }
}
