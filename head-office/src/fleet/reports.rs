//! Reports of branches: numbered, stored in a transaction, each counts once.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::database::GenericClient;
use trust::{PublicKey, Refusal};
use wire::clip_reason;
use wire::v1::numbering;
use wire::v1::reports::{Batch, NotTaken, Numbered, Reason, Report};
use wire::v1::shape::{self, ShapeError};

use super::carried::{self, Bearer};
use super::report_error::ReportError;
use super::{branch_audits, states};
use crate::db;
use crate::db::branch_stores::Room;
use crate::db::branches::{Change, HeldRow};
use crate::db::incidents::NewIncident;
use crate::db::reports::Numbering;

/// Most refusals that one report may tell of: beyond what an hour has, it is a lie that would make the count useless.
const MAX_TIMES: u64 = 1_000_000;

/// Most terminals of one branch.
pub const MAX_TERMINALS: i64 = 10_000;

/// What storing a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Up to which number everything is stored.
    pub through: u64,
    /// The branch's plan may have to change.
    pub terminals_changed: bool,
    /// The renewal of a torrent was requested.
    pub renewal_requested: bool,
    /// How many reports were of a kind that this version does not know.
    pub unknown: u64,
    /// States of terminals that do not count.
    pub not_taken: Vec<NotTaken>,
}

/// Stores a batch of a branch.
///
/// `c` must be a transaction: the branch is held until it ends, so that a repeated delivery waits and then finds its
/// reports stored.
///
/// # Errors
/// As [`ReportError`].
pub async fn store<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    batch: Batch,
    bearer: Bearer,
    now: DateTime<Utc>,
) -> Result<Stored, ReportError> {
    shape::check(&batch)?;
    let Batch { epoch, reports } = batch;
    if !db::branches::lock(c, branch).await? {
        return Err(ReportError::UnknownBranch(branch.clone()));
    }
    let mut stored =
        Stored { through: 0, terminals_changed: false, renewal_requested: false, unknown: 0, not_taken: Vec::new() };
    if reports.is_empty() {
        // Nothing to store, and no numbering begins with nothing.
        stored.through = db::reports::through(c, branch, epoch).await?;
        return Ok(stored);
    }
    let Numbering { through: before, mut recent, elsewhere, superseded, is_only } =
        db::reports::open(c, branch, epoch, now).await?;
    carried::judge_numbering(bearer, before, is_only)?;
    numbering::judge(&recent, before, superseded, &reports)?;
    stored.through = before;
    let mut found = Found::default();
    for numbered in reports.into_iter().filter(|r| r.seq > before) {
        let counts = carried::judge(bearer, &numbered)?;
        stored.through = numbered.seq;
        let digest = numbering::digest(&numbered);
        recent.push(digest);
        if elsewhere.contains(&digest) {
            // Stored under a number of another numbering: a sender that began a new numbering sends what it has again.
            continue;
        }
        match counts {
            Ok(()) => store_one(c, branch, numbered, now, &mut found).await?,
            Err(not_taken) => found.not_taken.push(not_taken),
        }
    }
    let Found { terminals_changed, lost, unknown, first_unknown, not_taken, reused } = found;
    if let Some(first) = not_taken.first() {
        // One line for all of them, as below.
        tracing::warn!(%branch, count = not_taken.len(), code = %first.code, first = first.text, "states that do not count");
    }
    (stored.terminals_changed, stored.unknown, stored.not_taken) = (terminals_changed, unknown, not_taken);
    if let Some(first) = reused.first() {
        // One line for all of them, as below.
        tracing::warn!(%branch, count = reused.len(), first, "numbers of reports were used twice there");
    }
    if let Some((seq, kind)) = first_unknown {
        // One line for all of them: a batch must not flood the log.
        tracing::warn!(%branch, unknown, seq, kind, "skipped reports of kinds that this version does not know");
    }
    if !lost.is_empty() {
        db::torrent_renewals::request(c, branch, &lost, now).await?;
        stored.renewal_requested = true;
    }
    if stored.through > before {
        db::reports::advance(c, branch, epoch, stored.through, &recent).await?;
    }
    Ok(stored)
}

/// What the reports of a batch amount to.
#[derive(Default)]
struct Found {
    terminals_changed: bool,
    /// Artifacts of which the branch had a complete copy, and has it no more.
    lost: BTreeSet<Digest>,
    unknown: u64,
    /// Number and kind of the first unknown report.
    first_unknown: Option<(u64, String)>,
    /// States of terminals that do not count.
    not_taken: Vec<NotTaken>,
    /// Machines that used numbers of reports twice.
    reused: Vec<String>,
}

async fn store_one<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    numbered: Numbered,
    now: DateTime<Utc>,
    found: &mut Found,
) -> Result<(), ReportError> {
    let Numbered { seq, at, report } = numbered;
    let unknown = |terminal| tracing::warn!(%branch, %terminal, seq, "a report of an unknown terminal is passed over");
    match report {
        Report::TerminalSeen { facts, key } => {
            refuse_one_too_many(c, branch, &facts.name).await?;
            db::terminals::upsert(c, branch, &facts, now).await?;
            if let Some(key) = key {
                let key: PublicKey = key.parse().map_err(|r: Refusal| ShapeError::field("key", r.sentence()))?;
                if db::terminals::pin(c, branch, &facts.name, &key).await? != Some(key.to_string()) {
                    tracing::warn!(%branch, terminal = %facts.name, %key, "another key of a terminal waits for an operator");
                }
            }
            found.terminals_changed = true;
        }
        Report::Running { terminal, slot, version } => {
            if !db::terminals::set_running(c, branch, &terminal, slot, &version, now).await? {
                unknown(terminal);
            }
        }
        Report::Update { terminal, mut update } => {
            update.reason = update.reason.map(cleaned);
            if db::terminals::heard(c, branch, &terminal, now).await? {
                let doubt = states::take(c, branch, &terminal, &update, at).await?;
                found.not_taken.extend(doubt.map(|doubt| doubt.answer(seq, branch, &terminal)));
            } else {
                unknown(terminal);
            }
        }
        Report::Package { terminal, mut package } => {
            package.trouble = package.trouble.map(cleaned);
            if db::terminals::heard(c, branch, &terminal, now).await? {
                db::terminal_packages::record(c, branch, &terminal, &package, at).await?;
            } else {
                unknown(terminal);
            }
        }
        Report::Artifact { artifact, have_bytes, complete, trouble } => {
            // Only of artifacts that there are: a branch must not fill the table with inventions.
            if db::artifacts::find_published(c, &artifact).await?.is_some() {
                let trouble = trouble.map(cleaned);
                let held = HeldRow { branch: branch.clone(), artifact, have_bytes, complete, trouble };
                match db::branches::set_artifact(c, &held, now).await? {
                    Change::Lost => drop(found.lost.insert(artifact)),
                    Change::Grew => {
                        // In the order of the reports: an earlier loss of this batch is made good.
                        found.lost.remove(&artifact);
                        db::torrent_renewals::helped(c, branch, &artifact).await?;
                    }
                    Change::Same => {}
                }
            }
        }
        Report::Store { capacity_bytes, free_bytes, held_bytes } => {
            let room = Room { capacity: capacity_bytes, free: free_bytes, held: held_bytes };
            db::branch_stores::set(c, branch, room, now).await?;
        }
        Report::PlanRefused { serial, reason: Some(reason) } => {
            let reason = cleaned(reason);
            tracing::warn!(%branch, serial, code = %reason.code, reason = reason.sentence(), "the branch refuses its plan");
            db::plan_refusals::set(c, branch, serial, &reason, at).await?;
        }
        Report::PlanRefused { reason: None, .. } => db::plan_refusals::clear(c, branch).await?,
        Report::TerminalRefusesPlan { terminal, reason } => {
            let reason = reason.map(cleaned);
            if db::terminals::heard(c, branch, &terminal, now).await? {
                tracing::warn!(%branch, %terminal, ?reason, "the terminal refuses its plan, or does no more");
                db::terminal_refusals::set(c, branch, &terminal, reason.as_ref(), at).await?;
            } else {
                unknown(terminal);
            }
        }
        Report::BadPeer { terminal, artifact, addresses, wasted_bytes, certain } => {
            if db::artifacts::find_published(c, &artifact).await?.is_some() {
                let incident = NewIncident { terminal, artifact, addresses, wasted_bytes, certain, at };
                tracing::warn!(%branch, ?incident, "bad data arrived there");
                db::incidents::insert(c, branch, &incident).await?;
            }
        }
        Report::NumbersReused { terminal, times } => {
            let known = match &terminal {
                Some(terminal) => db::terminals::heard(c, branch, terminal, now).await?,
                None => true,
            };
            if known {
                db::reused_numbers::record(c, branch, terminal.as_ref(), times.min(MAX_TIMES), now).await?;
                found.reused.push(terminal.map_or_else(|| branch.to_string(), |terminal| terminal.to_string()));
            }
        }
        Report::TerminalDenied { terminal, denied } => {
            if !denied {
                db::denied_names::forget(c, branch, &terminal).await?;
            }
            if db::terminals::set_denied(c, branch, &terminal, denied, at).await? {
                tracing::warn!(%branch, %terminal, denied, "the terminal is denied at its branch server, or allowed again");
            } else if !denied || !db::denied_names::remember_unknown(c, branch, &terminal, at).await? {
                unknown(terminal);
            }
        }
        Report::AuditHead { head } => branch_audits::take(c, branch, head, at, now).await?,
        Report::Unknown(report) => {
            found.unknown += 1;
            found.first_unknown.get_or_insert_with(|| (seq, report.kind()));
        }
    }
    Ok(())
}

/// A branch must not fill the table with inventions.
async fn refuse_one_too_many<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<(), ReportError> {
    let count = db::terminals::count(c, &[branch.as_str()]).await?.first().map_or(0, |(_, count)| *count);
    if i64::try_from(count).is_ok_and(|count| count < MAX_TERMINALS)
        || db::terminals::find(c, branch, terminal).await?.is_some()
    {
        return Ok(());
    }
    Err(ReportError::TooManyTerminals { branch: branch.clone(), count, terminal: terminal.clone() })
}

/// A reason with a text that PostgreSQL and a person's screen can take.
fn cleaned(reason: Reason) -> Reason {
    let text = fleet_types::printable(clip_reason(&reason.text));
    Reason { code: reason.code.cleaned(), text, ..reason }
}
