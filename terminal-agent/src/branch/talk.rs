//! Talks to the branch server: identity, plan, reports. Takes no decision; a silent branch is asked again later and
//! stops nothing that is under way.

use std::time::Duration;

use rand::random;
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use tokio::sync::Notify;
use wire::ReasonCode;
use wire::v1::reports::{Reason, Report};
use wire::v1::sync::Sync;

use super::certify::Enrolment;
use super::plans::Plans;
use super::reports::{Delivery, due_in};
use crate::config::agent::{Settings, Timing};
use crate::error::AgentError;
use crate::memory::journal::Journal;
use crate::memory::keeper::Keeper;
use crate::memory::queue::Reports;
use crate::model::wanted::Recipient;
use crate::ports::Ports;

/// The conversation with the branch server. Times are times since the machine started.
pub struct Talk {
    enrolment: Enrolment,
    plans: Plans,
    delivery: Delivery,
    sync_at: Duration,
    sync_failures: Backoff,
}

impl Talk {
    /// Resumes the conversation with what is kept on the disk.
    ///
    /// # Errors
    /// The trust store, the accepted plan or the journal cannot be used.
    pub fn open(ports: &Ports, settings: &Settings, keeper: &mut Keeper) -> Result<Self, AgentError> {
        let mut plans = Plans::open(ports, settings)?;
        let enrolment = Enrolment::open(settings);
        enrolment.authenticate(ports);
        plans.restore(enrolment.recipient().as_ref(), ports, keeper)?;
        let timing = &settings.timing;
        let sync_failures = Backoff::new(timing.retry_min, timing.retry_max);
        Ok(Self { enrolment, plans, delivery: Delivery::new(timing), sync_at: Duration::ZERO, sync_failures })
    }

    /// This terminal's identity.
    pub const fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// The plan that is followed.
    pub const fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The recipient of plans; `None` before this terminal enrolled.
    pub fn recipient(&self) -> Option<Recipient> {
        self.enrolment.recipient()
    }

    /// Asks for the plan at `at`, or earlier if that was intended.
    pub fn sync_soon(&mut self, at: Duration) {
        self.sync_at = self.sync_at.min(at);
    }

    /// How long until there is something to talk about.
    pub fn due_in(&self, uptime: Duration, reports: &Reports) -> Duration {
        let sync = self.sync_at.saturating_sub(uptime);
        match due_in(&self.delivery, reports, uptime).filter(|_| self.enrolment.is_enrolled()) {
            Some(delivery) => sync.min(delivery),
            None => sync,
        }
    }

    /// Enrols if need be, and asks for the plan, when it is time.
    ///
    /// # Errors
    /// The journal, the trust store or the accepted plan cannot be written.
    pub async fn sync_if_due(
        &mut self,
        ports: &Ports,
        settings: &Settings,
        keeper: &mut Keeper,
    ) -> Result<(), AgentError> {
        if ports.clock.uptime() < self.sync_at {
            return Ok(());
        }
        let (asked, poll) = (self.ask(ports, settings, keeper).await, settings.timing.poll);
        let failed = match asked {
            Ok(offer) => {
                let recipient = self.enrolment.recipient();
                let incomplete = self.plans.consider(offer, recipient.as_ref(), ports, keeper).await?;
                // What did not arrive is not refused.
                if !incomplete {
                    let reason = self.plans.refused().or(stuck(keeper.journal())).cloned();
                    report_refusal(reason, ports, settings, keeper)?;
                }
                incomplete
            }
            Err(why) => {
                if !self.enrolment.is_enrolled() {
                    self.plans.not_enrolled(&why);
                }
                self.plans.log_once(why);
                true
            }
        };
        let pause = if failed {
            self.sync_failures.next().max(Duration::from_millis(50)).min(poll)
        } else {
            self.sync_failures.reset();
            poll.mul_f64(0.5 + random::<f64>() / 2.0)
        };
        self.sync_at = ports.clock.uptime() + pause;
        Ok(())
    }

    async fn ask(&mut self, ports: &Ports, settings: &Settings, keeper: &mut Keeper) -> Result<Sync, String> {
        self.enrolment.certify_if_due(ports, settings, keeper, self.plans.believed()).await?;
        let answer = ports.branch.sync().await.map_err(|error| {
            self.enrolment.note_error(&error, settings);
            chain(&error)
        })?;
        self.enrolment.settle_token(settings);
        Ok(answer)
    }

    /// Delivers the reports that are due.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn deliver(&mut self, ports: &Ports, settings: &Settings, keeper: &mut Keeper) -> Result<(), AgentError> {
        if self.delivery.deliver(ports, settings, keeper, &mut self.enrolment).await? {
            self.sync_soon(ports.clock.uptime());
        }
        Ok(())
    }
}

/// Why the plan's update cannot begin, though the plan is followed.
///
/// Trouble with an update that has begun is in the update's own reports. Trouble that occurred once is not reported: it may pass.
fn stuck(journal: &Journal) -> Option<&Reason> {
    use ReasonCode as C;
    if journal.state.is_active() {
        return None;
    }
    let trouble = journal.trouble.as_ref().filter(|t| t.count > 1).map(|t| &t.verdict.reason);
    let unknown = |r: &&Reason| r.code == C::RunningSlotUnknown || r.code == C::RunningVersionUnknown;
    trouble.or(journal.waiting.as_ref().filter(unknown))
}

/// Reports to head office that a plan is refused or cannot be begun, or no longer.
fn report_refusal(
    reason: Option<Reason>,
    ports: &Ports,
    settings: &Settings,
    keeper: &mut Keeper,
) -> Result<(), AgentError> {
    // The sentence may tell the time, which changes.
    let code = |r: Option<&Reason>| r.map(|r| r.code.clone());
    if code(reason.as_ref()) == code(keeper.journal().refuses.as_ref()) {
        return Ok(());
    }
    let terminal = settings.identity.name.clone();
    let now = ports.clock.now();
    keeper.change(now, |journal| {
        journal.refuses = reason.clone();
        journal.reports.push(now, Report::TerminalRefusesPlan { terminal, reason });
    })?;
    Ok(())
}

/// Holds the event stream for ever, and wakes the agent for each event.
pub async fn listen(ports: Ports, timing: Timing, wake: &Notify) {
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
