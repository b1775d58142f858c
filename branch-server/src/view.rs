//! The operators' view of this branch, read from the tables.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, ProductName, TerminalName, UpdateState};
use serde::{Deserialize, Serialize};
use service_kit::database::{DatabaseError, GenericClient};
use trust::repository::RoleName;
use wire::v1::confirmed::confirmed;
use wire::v1::fleet::{Assigned, Branch, BranchArtifact, Terminal, TerminalUpdate};
use wire::v1::numbering;
use wire::v1::plan::Plan;
use wire::v1::status::{Alert, Status, TaskStatus};
use wire::{Reason, ReasonCode};

use crate::db::{artifacts, moves, plan, reused_numbers, site, terminals, updates};
use crate::model::Stage;
use crate::plan::metadata::Believed;
use crate::reports::relay;
use crate::text::presentable;

/// Most terminals in a list.
pub const MAX_TERMINALS: u64 = 10_000;

/// Most alerts in the picture.
const MAX_ALERTS: u64 = 20;

/// This branch: the shape of head office's status as far as it applies, and what only the branch knows.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchStatus {
    /// This branch and its terminals; releases are head office's matter, the list is empty.
    #[serde(flatten)]
    pub status: Status,
    /// How dealings with head office stand.
    pub head_office: HeadOfficeStatus,
    /// The signed metadata that is believed.
    #[serde(default)]
    pub metadata: MetadataStatus,
    /// The plan that is followed.
    pub plan: Option<PlanStatus>,
}

/// The signed metadata that is believed: without fresh one no new plan is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MetadataStatus {
    /// Version of the root.
    pub root: Option<u64>,
    /// Version of the timestamp.
    pub timestamp: Option<u64>,
    /// When the first of root, timestamp, snapshot and targets expires.
    pub expires: Option<DateTime<Utc>>,
    /// When it was last brought up to date, since this start.
    pub updated: Option<DateTime<Utc>>,
    /// Why it was not since: what happened, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

fn metadata(believed: &Believed) -> MetadataStatus {
    let version = |role| believed.trusted.as_ref().and_then(|t| t.version(&role));
    MetadataStatus {
        root: version(RoleName::Root),
        timestamp: version(RoleName::Timestamp),
        expires: believed.trusted.as_ref().map(|t| t.expires().1),
        updated: believed.updated,
        trouble: believed.trouble.as_ref().map(|r| presentable(&format!("{} {}", r.sentence(), r.remedy()))),
    }
}

/// How dealings with head office stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeadOfficeStatus {
    /// Whether this server enrolled.
    pub enrolled: bool,
    /// Whether the last request was answered as it should.
    pub reachable: bool,
    /// When it last was.
    pub last_contact: Option<DateTime<Utc>>,
    /// Why the last request was not, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Why the newest plan of head office was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_refused: Option<Reason>,
    /// Reports that wait for it.
    pub reports_waiting: u64,
    /// When the oldest of them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports_oldest: Option<DateTime<Utc>>,
}

/// The plan that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanStatus {
    /// Its serial.
    pub serial: u64,
    /// When head office made it.
    pub issued: DateTime<Utc>,
    /// When this branch accepted it.
    pub accepted: DateTime<Utc>,
    /// After this it would not be accepted any more.
    pub expires: DateTime<Utc>,
}

/// Every terminal of the branch, by name.
///
/// # Errors
/// As every statement.
pub async fn all_terminals(client: &impl GenericClient, branch: &BranchName) -> Result<Vec<Terminal>, DatabaseError> {
    let mut updates = updates::all(client).await?;
    let mut moves = moves::all(client).await?;
    let list = terminals::all(client, MAX_TERMINALS).await?.into_iter().map(|record| {
        let name = record.facts.name;
        let update = updates.remove(&name).map(|u| TerminalUpdate {
            serial: u.update.serial,
            product: u.update.product,
            version: u.update.version,
            state: u.update.state,
            segments_done: u.update.segments_done,
            segments_total: u.update.segments_total,
            reason: u.update.reason,
            since: u.since,
            history: moves.remove(&name).unwrap_or_default(),
            // That is for head office, which can tell whether it is proven.
            evidence: None,
        });
        Terminal {
            packages: Vec::new(),
            denied: record.denied,
            plan_refused: None,
            key: None,
            asked_key: None,
            branch: branch.clone(),
            model: record.facts.model,
            slot_bytes: record.facts.slot_bytes,
            agent_version: record.facts.agent_version,
            slot: record.slot,
            version: record.version,
            update,
            last_heard: Some(record.last_heard),
            name,
        }
    });
    Ok(list.collect())
}

/// One picture of this branch. `None` before it enrolled has no name to stand under: then the lists are empty.
///
/// # Errors
/// As every statement.
pub async fn status(
    client: &impl GenericClient,
    believed: &Believed,
    background: Vec<TaskStatus>,
    now: DateTime<Utc>,
) -> Result<BranchStatus, DatabaseError> {
    let site = site::read(client).await?;
    let stored = plan::read(client).await?;
    let opened = stored.as_ref().map(plan::StoredPlan::open).transpose()?;
    let (mut branches, mut terminals) = (Vec::new(), Vec::new());
    if let Some(name) = &site.branch {
        terminals = all_terminals(client, name).await?;
        branches.push(branch(client, name, &site, opened.as_ref(), terminals.len() as u64).await?);
    }
    let since = now - TimeDelta::days(numbering::ALERT_DAYS.into());
    let reused = reused_numbers::since(client, since, now, MAX_ALERTS).await?;
    let machine = |terminal: Option<String>| terminal.unwrap_or_else(|| "This branch server".to_owned());
    let mut alerts: Vec<Alert> =
        reused.into_iter().map(|r| numbering::alert(&machine(r.terminal), r.times, r.last_at)).collect();
    let at = site.branch.as_ref().map_or("BRANCH", BranchName::as_str);
    for terminal in terminals::asking(client, MAX_ALERTS).await? {
        alerts.extend(terminal.asked.map(|(key, _)| asking(&terminal.name, &key, at)));
    }
    let (reports_waiting, reports_oldest) = relay::waiting(client).await?;
    Ok(BranchStatus {
        status: Status {
            now,
            releases: Vec::new(),
            branches,
            terminals,
            incidents: Vec::new(),
            alerts,
            background,
            left_out: Default::default(),
        },
        head_office: HeadOfficeStatus {
            enrolled: site.branch.is_some(),
            reachable: site.last_contact.is_some() && site.trouble.is_none(),
            last_contact: site.last_contact,
            trouble: site.trouble,
            plan_refused: site.plan_refused,
            reports_waiting,
            reports_oldest,
        },
        metadata: metadata(believed),
        plan: stored.zip(opened).map(|(stored, plan)| PlanStatus {
            serial: plan.serial,
            issued: plan.issued,
            accepted: stored.accepted,
            expires: plan.expires,
        }),
    })
}

/// The alert that another key asks for a certificate in a terminal's name.
fn asking(terminal: &TerminalName, key: &Digest, branch: &str) -> Alert {
    let reason = Reason::of(ReasonCode::KeyAsked).with("machine", terminal).with("key", key);
    let remedy = format!(
        "If the change is legitimate: `filial terminal allow {terminal} --at {branch} --key {key}`. If not, find the machine that asks, and \
         replace the branch's join token."
    );
    Alert { reason, remedy }
}

async fn branch(
    client: &impl GenericClient,
    name: &BranchName,
    site: &site::Site,
    plan: Option<&Plan>,
    terminals: u64,
) -> Result<Branch, DatabaseError> {
    let mut assignments: Vec<Assigned> = Vec::new();
    for step in plan.iter().flat_map(|p| p.entries()) {
        let assigned = Assigned { product: step.product.clone(), version: step.version.clone() };
        if !assignments.contains(&assigned) {
            assignments.push(assigned);
        }
    }
    let records = artifacts::all(client).await?;
    let shown = records.into_iter().filter(|r| r.unnamed_since.is_none()).map(|r| BranchArtifact {
        artifact: r.wanted.artifact.sha256,
        length: r.wanted.artifact.length,
        product: r.wanted.product,
        version: r.wanted.version,
        have_bytes: r.have_bytes,
        complete: r.stage == Stage::Held,
        trouble: r.trouble,
    });
    let artifacts = shown.collect();
    let confirmed = match plan {
        Some(plan) => count_confirmed(client, plan).await?,
        None => 0,
    };
    Ok(Branch {
        name: name.clone(),
        enrolled: true,
        denied: None,
        last_heard: site.last_contact,
        plan_serial: plan.map(|p| p.serial),
        plan_refused: site.plan_refused.clone(),
        plan_unreadable: None,
        assignments,
        artifacts,
        // Head office shows it, as it was reported.
        store: None,
        audit: None,
        terminals,
        confirmed,
    })
}

/// Counts the terminals that confirmed every step of the plan that names them, as head office does.
async fn count_confirmed(client: &impl GenericClient, plan: &Plan) -> Result<u64, DatabaseError> {
    let updates = updates::all(client).await?;
    let is_confirmed = |terminal: &TerminalName, product: &ProductName, payload: Digest| {
        let update = updates.get(terminal).map(|newest| &newest.update);
        update.is_some_and(|u| u.state == UpdateState::Confirmed && u.product == *product && u.payload == payload)
    };
    // Reports of packages are relayed and not kept here.
    Ok(confirmed(&plan.steps, &plan.packages, is_confirmed, |_, _, _| false).len() as u64)
}
