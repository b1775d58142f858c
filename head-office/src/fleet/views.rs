//! Branches and terminals as operators see them.

use std::collections::{HashMap, HashSet};

use fleet_types::{BranchName, Digest, ProductName, TerminalName, UpdateState};
use service_kit::database::{DatabaseError, GenericClient};
use service_kit::edge::chain;
use wire::v1::confirmed::confirmed;
use wire::v1::fleet::{Assigned, Branch, BranchArtifact, BranchAudit, BranchSpace, Terminal};
use wire::{Reason, ReasonCode};

use crate::db;
use crate::db::branches::{BranchRow, HeldRow};
use crate::db::plans::PlanRow;
use crate::db::terminal_packages::CompleteRow;
use crate::db::terminals::TerminalRow;
use crate::db::updates::{StandRow, UpdateRow};

/// Some branches, in the order given.
///
/// # Errors
/// The database failed.
pub async fn branches<C: GenericClient>(c: &C, rows: Vec<BranchRow>) -> Result<Vec<Branch>, DatabaseError> {
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    let mut assignments: HashMap<BranchName, Vec<Assigned>> = HashMap::new();
    for row in db::assignments::of_branches(c, &names).await? {
        assignments.entry(row.branch).or_default().push(Assigned { product: row.product, version: row.version });
    }
    let (mut plans, mut unreadable) = (HashMap::new(), HashMap::new());
    for (branch, plan) in db::plans::newest_of(c, &names).await? {
        match plan {
            Ok(plan) => drop(plans.insert(branch, plan)),
            Err(error) => {
                tracing::error!(%branch, error = chain(&error), "the newest plan of a branch cannot be read");
                let why = Reason::of(ReasonCode::PlanUnreadable).with("error", chain(&error));
                unreadable.insert(branch, why);
            }
        }
    }
    let mut held: HashMap<BranchName, Vec<HeldRow>> = HashMap::new();
    for row in db::branches::artifacts(c, &names).await? {
        held.entry(row.branch.clone()).or_default().push(row);
    }
    let mut stands: HashMap<BranchName, Vec<StandRow>> = HashMap::new();
    for row in db::updates::stands(c, &names).await? {
        stands.entry(row.branch.clone()).or_default().push(row);
    }
    // Only of branches whose plans have packages.
    let packaged: Vec<&str> = plans.iter().filter(|(_, p)| !p.packages.is_empty()).map(|(b, _)| b.as_str()).collect();
    let mut complete: HashMap<BranchName, Vec<CompleteRow>> = HashMap::new();
    for row in db::terminal_packages::complete(c, &packaged).await? {
        complete.entry(row.branch.clone()).or_default().push(row);
    }
    let counts: HashMap<BranchName, u64> = db::terminals::count(c, &names).await?.into_iter().collect();
    let mut refusals: HashMap<BranchName, Reason> = db::plan_refusals::of(c, &names).await?.into_iter().collect();
    let stores: HashMap<BranchName, BranchSpace> = db::branch_stores::of(c, &names).await?.into_iter().collect();
    let audits: HashMap<BranchName, BranchAudit> = db::branch_audits::of(c, &names).await?.into_iter().collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let plan = plans.get(&row.name);
            let held = held.get(&row.name).map_or(&[][..], Vec::as_slice);
            let stands = stands.get(&row.name).map_or(&[][..], Vec::as_slice);
            let complete = complete.get(&row.name).map_or(&[][..], Vec::as_slice);
            Branch {
                enrolled: row.enrolled.is_some(),
                denied: row.denied,
                last_heard: row.last_heard,
                plan_serial: plan.map(|p| p.serial),
                plan_refused: refusals.remove(&row.name),
                plan_unreadable: unreadable.remove(&row.name),
                assignments: assignments.remove(&row.name).unwrap_or_default(),
                artifacts: plan.map(|p| artifacts(p, held)).unwrap_or_default(),
                store: stores.get(&row.name).copied(),
                audit: audits.get(&row.name).copied(),
                terminals: counts.get(&row.name).copied().unwrap_or_default(),
                confirmed: plan.map_or(0, |p| count_confirmed(p, stands, complete)),
                name: row.name,
            }
        })
        .collect())
}

/// Some terminals with their newest updates.
///
/// # Errors
/// The database failed.
pub async fn terminals<C: GenericClient>(c: &C, rows: Vec<TerminalRow>) -> Result<Vec<Terminal>, DatabaseError> {
    let branches: Vec<&str> = rows.iter().map(|r| r.branch.as_str()).collect();
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    let updates = db::updates::newest_of(c, &branches, &names).await?;
    let updates = db::updates::with_newest_moves(c, updates).await?;
    let mut updates: HashMap<_, _> = updates.into_iter().map(|u| ((u.branch.clone(), u.terminal.clone()), u)).collect();
    let mut refusals: HashMap<_, _> = db::terminal_refusals::of(c, &branches, &names).await?.into_iter().collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let key = (row.branch.clone(), row.name.clone());
            Terminal { plan_refused: refusals.remove(&key), ..terminal(row, updates.remove(&key)) }
        })
        .collect())
}

/// One terminal with its newest update, what is left of its failed boot, and its packages.
///
/// # Errors
/// The database failed.
pub async fn one_terminal<C: GenericClient>(c: &C, row: TerminalRow) -> Result<Terminal, DatabaseError> {
    let update = db::updates::newest_of_terminal(c, &row.branch, &row.name).await?;
    let update = match db::updates::with_history(c, update.into_iter().collect()).await?.pop() {
        Some(update) => Some(db::updates::with_evidence(c, update).await?),
        None => None,
    };
    let packages = db::terminal_packages::of_terminal(c, &row.branch, &row.name).await?;
    let refusals = db::terminal_refusals::of(c, &[row.branch.as_str()], &[row.name.as_str()]).await?;
    let plan_refused = refusals.into_iter().next().map(|(_, reason)| reason);
    Ok(Terminal { packages, plan_refused, ..terminal(row, update) })
}

fn terminal(row: TerminalRow, update: Option<UpdateRow>) -> Terminal {
    Terminal {
        branch: row.branch,
        name: row.name,
        model: row.model,
        slot_bytes: row.slot_bytes,
        agent_version: row.agent_version,
        slot: row.slot,
        version: row.version,
        update: update.map(|u| u.update),
        last_heard: Some(row.last_heard),
        packages: Vec::new(),
        denied: row.denied,
        plan_refused: None,
        key: row.key,
        asked_key: row.asked_key,
    }
}

fn artifacts(plan: &PlanRow, held: &[HeldRow]) -> Vec<BranchArtifact> {
    let mut artifacts: Vec<BranchArtifact> = Vec::new();
    for step in plan.entries() {
        if artifacts.iter().any(|a| a.artifact == step.artifact.sha256) {
            continue;
        }
        let held = held.iter().find(|h| h.artifact == step.artifact.sha256);
        artifacts.push(BranchArtifact {
            artifact: step.artifact.sha256,
            product: step.product.clone(),
            version: step.version.clone(),
            length: step.artifact.length,
            have_bytes: held.map_or(0, |h| h.have_bytes),
            complete: held.is_some_and(|h| h.complete),
            trouble: held.and_then(|h| h.trouble.clone()),
        });
    }
    artifacts
}

/// How many terminals of the plan are confirmed on every step that names them, or have the packages if no step does.
fn count_confirmed(plan: &PlanRow, stands: &[StandRow], complete: &[CompleteRow]) -> u64 {
    let done: HashSet<_> = stands
        .iter()
        .filter(|s| s.state == UpdateState::Confirmed)
        .map(|s| (&s.terminal, &s.product, s.payload))
        .collect();
    let has: HashSet<_> = complete.iter().map(|p| (&p.terminal, &p.product, p.payload)).collect();
    let is_confirmed =
        |terminal: &TerminalName, product: &ProductName, payload: Digest| done.contains(&(terminal, product, payload));
    let is_complete =
        |terminal: &TerminalName, product: &ProductName, payload: Digest| has.contains(&(terminal, product, payload));
    confirmed(&plan.steps, &plan.packages, is_confirmed, is_complete).len() as u64
}
