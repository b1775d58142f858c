//! Does what [`super::plan`] decided: loads the branch, signs the plan, stores it and wakes the branch, in one
//! transaction. Idempotent: with nothing changed it changes nothing.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient};
use uuid::Uuid;
use wire::v1::plan::Plan;

use super::plan::{self, Assignment, Fleet, Payload, Previous, Proposal, Terminal};
use crate::db;
use crate::db::plans::PlanRow;
use crate::fleet::events::{audience, wake};
use crate::trust::Trust;

/// Most terminals of one branch that are planned for.
pub const MAX_TERMINALS: i64 = 10_000;

/// Branches that are planned for with one set of statements.
const BATCH: usize = 100;

/// What plans are issued with.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Signs them.
    pub trust: Trust,
    /// How long they are accepted.
    pub life: TimeDelta,
}

/// What became of a look at a branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the plan should say.
    pub proposal: Proposal,
    /// The plan, if a new one was issued.
    pub issued: Option<Plan>,
}

/// Brings the branch's plan up to date. `c` must be a transaction: the branch is held until it ends.
///
/// # Errors
/// As every statement.
pub async fn refresh<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Outcome, DatabaseError> {
    let outcome = refresh_batch(c, std::slice::from_ref(branch), now, issuer).await?.pop();
    outcome.ok_or_else(|| DatabaseError::value("branch", "one branch gives one outcome"))
}

/// [`refresh`] of many branches, given in order of their names; the outcomes in the same order. The number of statements
/// grows with every [`BATCH`] branches, not with each.
///
/// # Errors
/// As every statement.
pub async fn refresh_all<C: GenericClient>(
    c: &C,
    branches: &[BranchName],
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Vec<Outcome>, DatabaseError> {
    let mut outcomes = Vec::with_capacity(branches.len());
    for batch in branches.chunks(BATCH) {
        outcomes.extend(refresh_batch(c, batch, now, issuer).await?);
    }
    Ok(outcomes)
}

async fn refresh_batch<C: GenericClient>(
    c: &C,
    branches: &[BranchName],
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Vec<Outcome>, DatabaseError> {
    let names: Vec<&str> = branches.iter().map(BranchName::as_str).collect();
    db::branches::lock_all(c, &names).await?;
    let audit = db::audit::head(c).await?;
    let mut fleets = load(c, &names).await?;
    let mut previous: HashMap<BranchName, Previous> =
        db::plans::newest_of(c, &names).await?.into_iter().map(|row| from_row(row, issuer)).collect();
    let (mut outcomes, mut issued, mut replaced) = (Vec::new(), Vec::new(), BTreeSet::new());
    for branch in branches {
        let fleet = fleets.remove(branch).unwrap_or_default();
        let previous = previous.remove(branch);
        let proposal = plan::propose(&fleet);
        let plan = plan::issue(branch, &proposal, previous.as_ref(), now, issuer.life);
        let plan = plan.map(|plan| Plan { audit: Some(audit), ..plan });
        if let Some(plan) = &plan {
            let envelope = issuer.trust.seal(plan).map_err(|e| DatabaseError::value("envelope", e))?;
            issued.push((plan.clone(), envelope));
            let named = previous.iter().flat_map(|p| p.steps.iter().chain(&p.packages));
            replaced.extend(named.map(|step| step.artifact.sha256));
            let (steps, packages) = (plan.steps.len(), plan.packages.len());
            tracing::info!(%branch, serial = plan.serial, steps, packages, "plan issued");
        }
        outcomes.push(Outcome { proposal, issued: plan });
    }
    if !issued.is_empty() {
        db::plans::insert_all(c, &issued).await?;
        // Those that the new plan names again are seen to be named as long as it is the newest.
        db::artifacts::named_until(c, &replaced.into_iter().collect::<Vec<_>>(), now).await?;
        let audiences: Vec<String> = issued.iter().map(|(plan, _)| audience(&plan.branch)).collect();
        wake(c, &audiences, now).await?;
    }
    Ok(outcomes)
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
    for row in db::terminals::of_branches(c, branches, MAX_TERMINALS).await? {
        let terminal = Terminal { name: row.name, model: row.model, slot_bytes: row.slot_bytes };
        fleets.entry(row.branch).or_default().terminals.push(terminal);
    }
    Ok(fleets)
}

fn from_row(row: PlanRow, issuer: &Issuer) -> (BranchName, Previous) {
    let PlanRow { branch, serial, issued, expires, steps, packages, signers } = row;
    let sealed = issuer.trust.sealed(signers.iter().map(String::as_str));
    (branch, Previous { serial, issued, expires, steps, packages, sealed })
}

fn payload(row: &db::payloads::PayloadRow) -> Option<Payload> {
    // A published release's payloads all have artifacts.
    let artifact = row.artifact.clone()?;
    Some(Payload { compatible: row.compatible.clone(), payload: row.payload.clone(), artifact })
}
