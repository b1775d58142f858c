//! Makes reports, and delivers those that the journal holds.

use std::time::Duration;

use fleet_types::{Digest, Slot};
use service_kit::client::ClientError;
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use swarm::BadData;
use uuid::Uuid;
use wire::Code;
use wire::v1::reports::{MAX_ADDRESSES, MAX_BATCH, Report};

use super::certify::Enrolment;
use super::facts::facts;
use crate::config::agent::{Settings, Timing};
use crate::memory::journal::Announced;
use crate::memory::keeper::{JournalError, Keeper};
use crate::memory::queue::Reports;
use crate::model::seen::Known;
use crate::ports::Ports;

/// When reports are delivered next. Times are times since the machine started.
pub struct Delivery {
    at: Duration,
    failures: Backoff,
}

impl Delivery {
    /// Delivers at once, with the backoff of these settings.
    pub fn new(timing: &Timing) -> Self {
        Self { at: Duration::ZERO, failures: Backoff::new(timing.retry_min, timing.retry_max) }
    }

    /// How long until reports may be delivered.
    pub const fn due_in(&self, uptime: Duration) -> Duration {
        self.at.saturating_sub(uptime)
    }

    /// Delivers reports. True if the branch no longer knows this terminal.
    ///
    /// Moves are sent at once, progress at intervals.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn deliver(
        &mut self,
        ports: &Ports,
        settings: &Settings,
        keeper: &mut Keeper,
        enrolment: &mut Enrolment,
    ) -> Result<bool, JournalError> {
        loop {
            let uptime = ports.clock.uptime();
            let reports = &keeper.journal().reports;
            let waits = self.failures.failures() > 0 || !reports.is_urgent();
            if !enrolment.is_enrolled() || reports.is_empty() || (waits && uptime < self.at) {
                return Ok(false);
            }
            // After a refusal one at a time, to find the refused report.
            let most = if self.failures.failures() > 0 { 1 } else { MAX_BATCH };
            let mut numbered = reports.clone();
            if numbered.number(most) {
                keeper.change(ports.clock.now(), |j| j.reports = numbered)?;
            }
            let Some(batch) = keeper.journal().reports.batch(most) else { return Ok(false) };
            let single = batch.reports.len() == 1;
            match ports.branch.report(&batch).await {
                Ok(ack) if ack.through < batch.reports[0].seq => {
                    self.at = uptime + self.failures.next();
                    return Ok(false);
                }
                Ok(ack) if ack.through > keeper.journal().reports.last_sent() => {
                    let (through, sent) = (ack.through, keeper.journal().reports.last_sent());
                    tracing::warn!(
                        through,
                        sent,
                        "the branch server has reports that this terminal has not sent, as after its data was restored \
                         from a copy: the waiting reports are numbered from 1 again"
                    );
                    // With a pause: each answer could be like this one.
                    self.at = uptime + self.failures.next();
                    let (now, terminal) = (ports.clock.now(), Some(settings.identity.name.clone()));
                    keeper.change(now, |j| {
                        j.reports.renumber(Uuid::new_v4(), false);
                        j.reports.push(now, Report::NumbersReused { terminal, times: 1 });
                    })?;
                    return Ok(false);
                }
                Ok(ack) => {
                    if let Some(first) = ack.not_taken.first() {
                        let (count, why) = (ack.not_taken.len(), &first.text);
                        tracing::warn!(count, code = %first.code, first = why, "the branch server did not take reports");
                    }
                    self.failures.reset();
                    self.at = uptime + settings.timing.progress;
                    keeper.change(ports.clock.now(), |j| j.reports.acknowledge(ack.through))?;
                }
                Err(error) => {
                    self.at = uptime + self.failures.next();
                    renumber_refused(&error, single, ports, keeper)?;
                    return Ok(enrolment.note_error(&error, settings));
                }
            }
        }
    }
}

/// Mends the queue after an error of the receiver that would otherwise repeat.
fn renumber_refused(error: &ClientError, single: bool, ports: &Ports, keeper: &mut Keeper) -> Result<(), JournalError> {
    let now = ports.clock.now();
    match error.code() {
        Some(Code::NumberReused) => {
            tracing::warn!(
                "the branch server knows other reports under the same numbers, as after the data of this terminal was \
                 restored from a copy or if a second machine has its identity: reports are numbered from 1 again"
            );
            keeper.change(now, |j| j.reports.renumber(Uuid::new_v4(), false))
        }
        Some(Code::ReportOutOfOrder) => {
            tracing::warn!("the branch server expects another report number: reports are numbered from 1 again");
            keeper.change(now, |j| j.reports.renumber(Uuid::new_v4(), false))
        }
        Some(code) if single && code.is_about_content() => {
            tracing::error!(error = chain(error), "the branch server refuses this report for good: it is dropped");
            keeper.change(now, |j| j.reports.renumber(Uuid::new_v4(), true))
        }
        _ => {
            tracing::debug!(error = chain(error), "reports are not delivered yet");
            Ok(())
        }
    }
}

/// How long until there is something to deliver; `None` if the queue is empty.
pub fn due_in(delivery: &Delivery, reports: &Reports, uptime: Duration) -> Option<Duration> {
    (!reports.is_empty()).then(|| delivery.due_in(uptime))
}

/// Reports once a boot which slot and version run.
///
/// # Errors
/// The journal cannot be written.
pub fn announce_running(
    running: Known<Slot>,
    ports: &Ports,
    settings: &Settings,
    keeper: &mut Keeper,
) -> Result<(), JournalError> {
    let (Known::Is(slot), Ok(boot_id), Ok(version)) = (running, ports.host.boot_id(), ports.host.image_version())
    else {
        return Ok(());
    };
    let announced = Announced { boot_id, slot, version };
    if keeper.journal().announced.as_ref() == Some(&announced) {
        return Ok(());
    }
    let terminal = settings.identity.name.clone();
    let now = ports.clock.now();
    tracing::info!(%slot, version = %announced.version, "running");
    // Before the first enrolment nothing was told: enrolling tells it.
    let told = keeper.journal().facts.as_ref();
    let facts = facts(ports, settings).ok().filter(|facts| told.is_some_and(|told| told != facts));
    keeper.change(now, |journal| {
        let version = announced.version.clone();
        if let Some(facts) = facts {
            journal.reports.push(now, Report::TerminalSeen { facts: facts.clone(), key: None });
            journal.facts = Some(facts);
        }
        journal.reports.push(now, Report::Running { terminal, slot, version });
        journal.announced = Some(announced);
    })
}

/// Queues the report of bad data.
///
/// # Errors
/// The journal cannot be written.
pub fn report_bad_data(
    artifact: Digest,
    bad: BadData,
    ports: &Ports,
    settings: &Settings,
    keeper: &mut Keeper,
) -> Result<(), JournalError> {
    tracing::warn!(%artifact, bytes = bad.wasted_bytes, from = ?bad.candidates, certain = bad.certain, "bad data");
    let mut addresses = bad.candidates;
    addresses.truncate(MAX_ADDRESSES);
    let report = Report::BadPeer {
        terminal: Some(settings.identity.name.clone()),
        artifact,
        addresses,
        wasted_bytes: bad.wasted_bytes,
        certain: bad.certain,
    };
    let now = ports.clock.now();
    keeper.change(now, |journal| journal.reports.push(now, report))
}
