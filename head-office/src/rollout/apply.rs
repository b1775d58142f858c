//! Does what [`super::plan`] decided: loads the branch, seals the plan, stores it and wakes the branch, in one
//! transaction. Idempotent: with nothing changed it changes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, outbox};
use uuid::Uuid;
use wire::v1::plan::Plan;
use wire::v1::sync::Event;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

use super::plan::{self, Assignment, Fleet, Image, Previous, Proposal, Terminal};
use crate::db;

/// Most terminals of one branch that are planned for.
pub const MAX_TERMINALS: i64 = 10_000;

/// What became of a look at a branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the plan should say.
    pub proposal: Proposal,
    /// The plan, if a new one was issued.
    pub issued: Option<Plan>,
}

/// The audience of a branch's events.
pub fn audience(branch: &BranchName) -> String {
    format!("branch:{branch}")
}

/// Brings the branch's plan up to date. `c` must be a transaction: the branch is held until it ends.
///
/// # Errors
/// As every statement.
pub async fn refresh<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    now: DateTime<Utc>,
    life: TimeDelta,
) -> Result<Outcome, DatabaseError> {
    db::branches::lock(c, branch).await?;
    let fleet = load(c, branch).await?;
    let proposal = plan::propose(&fleet);
    let previous = db::plans::newest(c, branch).await?.map(|row| Previous {
        serial: row.serial,
        issued: row.issued,
        expires: row.expires,
        steps: row.steps,
    });
    let issued = plan::issue(branch, &proposal, previous.as_ref(), now, life);
    if let Some(plan) = &issued {
        let envelope = Envelope::unsigned(PLAN_PAYLOAD_TYPE, plan).map_err(|e| DatabaseError::value("envelope", e))?;
        db::plans::insert(c, plan, &envelope).await?;
        wake(c, branch, now).await?;
        tracing::info!(%branch, serial = plan.serial, steps = plan.steps.len(), "plan issued");
    }
    Ok(Outcome { proposal, issued })
}

/// Tells the branch to look again.
///
/// # Errors
/// As every statement.
pub async fn wake<C: GenericClient>(c: &C, branch: &BranchName, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    let body = serde_json::to_value(Event::LookAgain).map_err(|e| DatabaseError::value("body", e))?;
    outbox::append(c, &audience(branch), &body, now).await.map(drop)
}

async fn load<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Fleet, DatabaseError> {
    let rows = db::assignments::of_branches(c, &[branch.as_str()]).await?;
    let releases: Vec<Uuid> = rows.iter().map(|r| r.release).collect();
    let payloads = db::payloads::of_releases(c, &releases).await?;
    let assignments = rows
        .into_iter()
        .map(|row| Assignment {
            images: payloads.iter().filter(|p| p.release == row.release).filter_map(image).collect(),
            product: row.product,
            version: row.version,
            manifest: row.manifest,
            downgrade: row.downgrade,
            at: row.at,
        })
        .collect();
    let terminals = db::terminals::of_branch(c, branch, MAX_TERMINALS).await?;
    let terminals =
        terminals.into_iter().map(|t| Terminal { name: t.name, model: t.model, slot_bytes: t.slot_bytes }).collect();
    Ok(Fleet { assignments, terminals })
}

fn image(row: &db::payloads::PayloadRow) -> Option<Image> {
    // Components and packages are not for slots; a published release's payloads all have artifacts.
    let artifact = row.artifact.clone().filter(|_| row.kind == "slot-image")?;
    Some(Image { compatible: row.compatible.clone(), payload: row.payload.clone(), artifact })
}
