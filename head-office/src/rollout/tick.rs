//! Keeps every branch's plan as the planner wants it: loads branches, asks [`super::plan`], signs, stores and wakes, in one
//! transaction. Idempotent: with nothing changed it changes nothing. No other code calls the planner.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient};
use tokio::sync::Notify;
use trust::Refusal;
use uuid::Uuid;
use wire::v1::plan::Plan;

use super::plan::{self, Assignment, Fleet, Health, Payload, Previous, Proposal, Terminal, Update};
use crate::db;
use crate::db::plans::PlanRow;
use crate::fleet::events::{audience, wake};
use crate::fleet::reports::MAX_TERMINALS;
use crate::trust::Trust;

/// Branches that are planned for with one set of statements.
pub(super) const BATCH: usize = 100;

/// Why plans could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A plan could not be signed.
    #[error("cannot sign the plan of branch {branch}")]
    Sign {
        /// The branch.
        branch: BranchName,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The planner left a branch out.
    #[error(
        "the planner gave no plan for branch {branch}: a defect of head office; report it, the previous plan stays"
    )]
    NotPlanned {
        /// The branch.
        branch: BranchName,
    },
}

/// What plans are issued with.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Signs them.
    pub trust: Trust,
    /// How long they are accepted.
    pub life: TimeDelta,
}

impl Issuer {
    /// Whether a plan is due for a new one although nothing changed.
    ///
    /// It has passed half of its life, or present keys did not sign it.
    fn is_due(&self, plan: &PlanRow, now: DateTime<Utc>) -> bool {
        plan::is_due(plan.issued, plan.expires, self.is_signed(&plan.signers), now)
    }

    pub(super) fn is_signed(&self, signers: &[String]) -> bool {
        self.trust.sealed(signers.iter().map(String::as_str))
    }
}

/// The result of a tick for many branches.
#[derive(Debug, Default)]
pub struct Ticked {
    /// The outcomes of the branches that did not fail, in the order given.
    pub outcomes: Vec<Outcome>,
    /// The branches whose previous plans cannot be read; they keep them.
    pub failed: Vec<(BranchName, TickError)>,
}

impl Ticked {
    /// Returns how many plans were issued.
    pub fn issued(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.issued.is_some()).count()
    }
}

/// The result of a tick for one branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The branch.
    pub branch: BranchName,
    /// What the plan should say.
    pub proposal: Proposal,
    /// The plan, if a new one was issued.
    pub issued: Option<Plan>,
}

/// Brings one branch's plan up to date.
///
/// `c` must be a transaction: the branch is held until it ends.
///
/// # Errors
/// As [`TickError`].
pub async fn branch<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Outcome, TickError> {
    let Ticked { mut outcomes, mut failed } = batch(c, std::slice::from_ref(branch), now, issuer).await?;
    match (outcomes.pop(), failed.pop()) {
        (Some(outcome), _) => Ok(outcome),
        (None, Some((_, error))) => Err(error),
        (None, None) => Err(TickError::NotPlanned { branch: branch.clone() }),
    }
}

/// Brings the plans of many branches up to date, given in order of their names.
///
/// The number of statements grows with every [`BATCH`] branches, not with each. `c` must be a transaction.
///
/// # Errors
/// As [`TickError`].
pub async fn branches<C: GenericClient>(
    c: &C,
    branches: &[BranchName],
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Ticked, TickError> {
    // Every branch before the first artifact: a tick of another branch holds its branch and then touches an artifact, so
    // that taking a later branch after an artifact could deadlock with it.
    let names: Vec<&str> = branches.iter().map(BranchName::as_str).collect();
    db::branches::lock_all(c, &names).await?;
    let mut ticked = Ticked::default();
    for names in branches.chunks(BATCH) {
        let Ticked { outcomes, failed } = batch(c, names, now, issuer).await?;
        ticked.outcomes.extend(outcomes);
        ticked.failed.extend(failed);
    }
    Ok(ticked)
}

/// Returns the newest plan of a branch. It only reads: if the next plan is due, it calls for the tick that issues it.
///
/// # Errors
/// The database failed.
pub async fn newest<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    now: DateTime<Utc>,
    issuer: &Issuer,
    replan: &Notify,
) -> Result<Option<PlanRow>, DatabaseError> {
    let newest = db::plans::newest(c, branch).await?;
    if newest.as_ref().is_some_and(|plan| issuer.is_due(plan, now)) {
        replan.notify_one();
    }
    Ok(newest)
}

/// Brings the plans of at most [`BATCH`] branches up to date. `c` must be a transaction.
///
/// # Errors
/// As [`TickError`].
pub(super) async fn batch<C: GenericClient>(
    c: &C,
    branches: &[BranchName],
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Ticked, TickError> {
    let names: Vec<&str> = branches.iter().map(BranchName::as_str).collect();
    db::branches::lock_all(c, &names).await?;
    let audit = db::audit::head(c).await?;
    let mut fleets = load(c, &names).await?;
    let mut previous: HashMap<BranchName, Result<PlanRow, DatabaseError>> =
        db::plans::newest_of(c, &names).await?.into_iter().collect();
    let (mut ticked, mut issued, mut replaced) = (Ticked::default(), Vec::new(), BTreeSet::new());
    for branch in branches {
        let fleet = fleets.remove(branch).unwrap_or_default();
        let previous = match previous.remove(branch).transpose() {
            Ok(row) => row.map(|row| from_row(row, issuer)),
            Err(error) => {
                ticked.failed.push((branch.clone(), error.into()));
                continue;
            }
        };
        let proposal = plan::propose(&fleet);
        let plan = plan::issue(branch, &proposal, previous.as_ref(), now, issuer.life);
        let plan = plan.map(|plan| Plan { audit: Some(audit), ..plan });
        if let Some(plan) = &plan {
            let signed = issuer.trust.seal(plan);
            let envelope = signed.map_err(|source| TickError::Sign { branch: branch.clone(), source })?;
            issued.push((plan.clone(), envelope));
            let named = previous.iter().flat_map(|p| p.steps.iter().chain(&p.packages));
            replaced.extend(named.map(|step| step.artifact.sha256));
            let (steps, packages) = (plan.steps.len(), plan.packages.len());
            tracing::info!(%branch, serial = plan.serial, steps, packages, "plan issued");
        }
        ticked.outcomes.push(Outcome { branch: branch.clone(), proposal, issued: plan });
    }
    let done: Vec<&str> = ticked.outcomes.iter().map(|outcome| outcome.branch.as_str()).collect();
    db::delayed_plans::done(c, &done).await?;
    if !issued.is_empty() {
        db::plans::insert_all(c, &issued).await?;
        // Those that the new plan names again are seen to be named as long as it is the newest.
        db::artifacts::named_until(c, &replaced.into_iter().collect::<Vec<_>>(), now).await?;
        let audiences: Vec<String> = issued.iter().map(|(plan, _)| audience(&plan.branch)).collect();
        wake(c, &audiences, now).await?;
    }
    Ok(ticked)
}

async fn load<C: GenericClient>(c: &C, branches: &[&str]) -> Result<HashMap<BranchName, Fleet>, DatabaseError> {
    let rows = db::assignments::of_branches(c, branches).await?;
    let releases: BTreeSet<Uuid> = rows.iter().map(|r| r.release).collect();
    let (mut images, mut packages): (HashMap<Uuid, Vec<Payload>>, HashMap<Uuid, Vec<Payload>>) = Default::default();
    for row in db::payloads::of_releases(c, &releases.into_iter().collect::<Vec<_>>()).await? {
        // Components are not for terminals.
        let of_kind = match row.kind.as_str() {
            "slot-image" => &mut images,
            "package" => &mut packages,
            _ => continue,
        };
        of_kind.entry(row.release).or_default().extend(payload(&row));
    }
    let mut fleets: HashMap<BranchName, Fleet> = HashMap::new();
    for row in rows {
        fleets.entry(row.branch).or_default().assignments.push(Assignment {
            images: images.get(&row.release).cloned().unwrap_or_default(),
            packages: packages.get(&row.release).cloned().unwrap_or_default(),
            product: row.product,
            version: row.version,
            manifest: row.manifest,
            downgrade: row.downgrade,
            at: row.at,
        });
    }
    let mut updates: HashMap<_, Vec<Update>> = HashMap::new();
    for row in db::updates::stands(c, branches).await? {
        let update = Update { product: row.product, payload: row.payload, state: row.state };
        updates.entry((row.branch, row.terminal)).or_default().push(update);
    }
    for row in db::terminals::of_branches(c, branches, MAX_TERMINALS).await? {
        let updates = updates.remove(&(row.branch.clone(), row.name.clone())).unwrap_or_default();
        let health = Health { last_heard: Some(row.last_heard) };
        let terminal = Terminal { name: row.name, model: row.model, slot_bytes: row.slot_bytes, updates, health };
        fleets.entry(row.branch).or_default().terminals.push(terminal);
    }
    Ok(fleets)
}

fn from_row(row: PlanRow, issuer: &Issuer) -> Previous {
    let PlanRow { branch: _, serial, issued, expires, steps, packages, signers } = row;
    let sealed = issuer.is_signed(&signers);
    Previous { serial, issued, expires, steps, packages, sealed }
}

fn payload(row: &db::payloads::PayloadRow) -> Option<Payload> {
    // A published release's payloads all have artifacts.
    let artifact = row.artifact.clone()?;
    Some(Payload { compatible: row.compatible.clone(), payload: row.payload.clone(), artifact })
}
