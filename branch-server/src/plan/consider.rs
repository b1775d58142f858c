//! Considers an offered plan: accepts it as the branch's plan, or refuses it and says why. Called by the poll of head
//! office and by the import of a kit.

use std::sync::Arc;

use access::audit::{Audit, Change};
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use serde_json::json;
use service_kit::Clock;
use service_kit::database::{DatabaseError, Pool, Transaction, begin, commit, connection};
use service_kit::edge::chain;
use service_kit::server::Caller;
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use trust::client::Fetch;
use wire::v1::plan::Plan;
use wire::v1::reports::Report;
use wire::v1::sync::Sync as Offer;
use wire::{Envelope, PLAN_PAYLOAD_TYPE, Reason};

use super::judge::{Accepted, Judge, Refusal, judge};
use super::metadata::Metadata;
use crate::db::{plan, site};
use crate::metrics::BranchMetrics;
use crate::reports::relay;
use crate::signals::Signals;
use crate::terminals::calls::call_terminals;
use crate::text::presentable;

/// Why an offer could not be considered.
#[derive(Debug, thiserror::Error)]
pub enum ConsiderError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The trust store cannot be written.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    TrustStore(trust::Refusal),
    /// The task that verifies the plan broke.
    #[error("The plan was not verified: an internal task failed. See the log.")]
    Task(#[from] JoinError),
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Considered {
    /// No other plan than the current one was offered.
    Nothing,
    /// The offered plan is the branch's plan now.
    Kept,
    /// It is refused, or the metadata that came with it is.
    Refused(Refusal),
}

/// The plan of this branch and what it is judged by. Offers are considered one after the other.
pub struct Plans {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signed metadata.
    pub metadata: Arc<Metadata>,
    /// What is counted.
    pub metrics: BranchMetrics,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Where operators' changes are recorded.
    pub audit: Arc<Audit>,
    /// Held while an offer is judged: of two plans that are judged at once, the older one must not be kept last.
    pub considering: Mutex<()>,
}

/// What an operator brings with an offer that did not come over the link.
pub struct ByHand {
    /// The metadata of the offer.
    pub metadata: Arc<dyn Fetch>,
    /// Who brings it.
    pub caller: Caller,
    /// What the audit says of it.
    pub change: Change,
}

impl Plans {
    /// Accepts what is offered, or says why not.
    ///
    /// # Errors
    /// The database or the trust store fails.
    pub async fn consider(
        &self,
        branch: BranchName,
        offer: Offer,
        by_hand: Option<ByHand>,
    ) -> Result<Considered, ConsiderError> {
        let _alone = self.considering.lock().await;
        let now = self.clock.now();
        let kept = plan::read(&connection(&self.pool).await?).await?;
        // Verified when it was accepted; that it or the metadata may have expired since does not take it away.
        let is_kept = |offered: &Envelope| kept.as_ref().is_some_and(|k| k.envelope == *offered);
        let new = offer.plan.filter(|offered| !is_kept(offered));
        let carried = by_hand.as_ref().map(|by_hand| by_hand.metadata.clone());
        let fresh = match carried.is_some() || new.is_some() || self.metadata.believed().is_due(offer.metadata, now) {
            true => self.refresh(carried).await,
            false => Ok(()),
        };
        let Some(offered) = new else {
            if let (Err(refusal), Some(_)) = (fresh, &by_hand) {
                return Ok(Considered::Refused(Refusal::NotFresh(refusal)));
            }
            if let Some(by_hand) = by_hand {
                let mut client = connection(&self.pool).await?;
                self.record(begin(&mut client).await?, by_hand, None).await?;
            }
            // None is offered yet, or none any more: the branch follows the plan that it has.
            self.note_refusal(None, None).await?;
            return Ok(Considered::Nothing);
        };
        if let Err(refusal) = fresh {
            return Ok(self.refuse(&offered, Refusal::NotFresh(refusal)).await?);
        }
        let (believed, floors) = (self.metadata.believed(), kept.map(|k| k.floors).unwrap_or_default());
        let (at, envelope) = (believed.time(now), offered.clone());
        let judged = spawn_blocking(move || {
            let trusted = believed.trusted.as_ref();
            judge(&envelope, Judge { branch: &branch, trusted, floors: &floors, now: at })
        });
        match judged.await? {
            Ok(accepted) => self.keep(&accepted, &offered, by_hand, now).await.map(|()| Considered::Kept),
            Err(refusal) => Ok(self.refuse(&offered, refusal).await?),
        }
    }

    /// Brings the signed metadata up to date. A failure is logged once, and shown for as long as it lasts.
    async fn refresh(&self, carried: Option<Arc<dyn Fetch>>) -> Result<(), trust::Refusal> {
        let before = self.metadata.believed().trouble.as_ref().map(trust::Refusal::why);
        let updated = match carried {
            Some(carried) => self.metadata.update_from(carried, self.clock.now()).await,
            None => self.metadata.update(self.clock.now()).await,
        };
        match &updated {
            Err(refusal) if before != Some(refusal.why()) => {
                tracing::error!(
                    code = refusal.code(),
                    reason = refusal.sentence(),
                    "the signed metadata could not be updated"
                );
            }
            Ok(()) if before.is_some() => tracing::info!("the signed metadata is up to date again"),
            _ => {}
        }
        updated
    }

    /// Makes an accepted plan the branch's plan, with its floors, in one transaction.
    async fn keep(
        &self,
        accepted: &Accepted,
        envelope: &Envelope,
        by_hand: Option<ByHand>,
        now: DateTime<Utc>,
    ) -> Result<(), ConsiderError> {
        self.note_refusal(None, None).await?;
        let plan = accepted.plan.plan();
        let mut client = connection(&self.pool).await?;
        let tx = begin(&mut client).await?;
        plan::replace(&tx, plan, envelope, &accepted.floors, now).await?;
        call_terminals(&tx, now).await?;
        match by_hand {
            Some(by_hand) => self.record(tx, by_hand, Some(plan.serial)).await?,
            None => commit(tx).await?,
        }
        let (steps, packages) = (plan.steps.len(), plan.packages.len());
        tracing::info!(serial = plan.serial, steps, packages, "new plan");
        self.signals.pass.notify_one();
        // The plan key also proves that this time has passed.
        self.metadata.raise_floor(plan.issued).await.map_err(ConsiderError::TrustStore)
    }

    /// Commits what an operator brought, with its row of the audit: `serial` is that of the plan that is new with it.
    async fn record(&self, tx: Transaction<'_>, by_hand: ByHand, serial: Option<u64>) -> Result<(), DatabaseError> {
        let metadata = self.metadata.believed().version();
        let change = by_hand.change.after(json!({ "new_plan": serial, "metadata": metadata }));
        self.audit.commit(tx, &by_hand.caller, change).await
    }

    async fn refuse(&self, offered: &Envelope, refusal: Refusal) -> Result<Considered, DatabaseError> {
        let reason = Reason::new(refusal.code(), presentable(&chain(&refusal)));
        let serial = offered.open::<Plan>(PLAN_PAYLOAD_TYPE).ok().map(|plan| plan.serial);
        // Logged once, not at every poll.
        if self.note_refusal(serial, Some(&reason)).await? {
            tracing::error!(code = %reason.code, reason = reason.sentence(), "plan refused");
            self.metrics.plans_refused.inc();
        }
        Ok(Considered::Refused(refusal))
    }

    /// Records why the offered plan is refused, or that no plan is, and reports a change to head office.
    async fn note_refusal(&self, serial: Option<u64>, why: Option<&Reason>) -> Result<bool, DatabaseError> {
        let mut client = connection(&self.pool).await?;
        let tx = begin(&mut client).await?;
        let news = site::set_plan_refused(&tx, why).await?;
        if news {
            let report = Report::PlanRefused { serial, reason: why.cloned() };
            relay::queue(&tx, self.clock.now(), &report).await?;
        }
        commit(tx).await?;
        self.signals.relay.notify_one();
        Ok(news)
    }
}
