//! Reports of branches: numbered, stored in a transaction, each counts once.

use chrono::{DateTime, Datelike, Utc};
use fleet_types::{BranchName, Digest, TerminalName, UpdateState};
use service_kit::database::{GenericClient, begin, commit, connection};
use service_kit::server::{ApiError, Caller};
use trust::{PublicKey, Refusal};
use wire::v1::evidence::MAX_TRIED;
use wire::v1::reports::{
    Acknowledged, Batch, MAX_ADDRESSES, MAX_BATCH, MAX_PAYLOAD_NAME, Numbered, PackageReport, Reason, Report,
    UpdateReport,
};
use wire::{Code, clip_reason};

use crate::access::audit::Change;
use crate::app::App;
use crate::db;
use crate::db::branch_stores::Room;
use crate::db::branches::HeldRow;
use crate::db::incidents::NewIncident;
use crate::http::errors::ApiResult;
use crate::rollout::tick::{self, MAX_TERMINALS};

/// Longest code of a reason, in characters.
/// The years in which something may have happened: clocks of machines are wrong, but PostgreSQL must hold them.
const FIRST_YEAR: i32 = 1970;
/// See `FIRST_YEAR`.
const LAST_YEAR: i32 = 9999;
/// Longest version text of an agent, in characters.
const MAX_AGENT_VERSION: usize = 64;

/// Stores a batch of a branch. What a person brought is written into the audit with it.
pub async fn take(
    app: &App,
    branch: &BranchName,
    batch: Batch,
    brought: Option<(&Caller, Change)>,
) -> ApiResult<Acknowledged> {
    let Batch { epoch, reports } = batch;
    check_shape(&reports)?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let now = app.clock.now();
    // Held until the commit: a repeated delivery waits here and then finds its reports stored.
    if !db::branches::lock(&transaction, branch).await? {
        return Err(ApiError::not_found(format_args!("branch {branch}")));
    }
    if reports.is_empty() {
        // Nothing to store, and no numbering begins with nothing.
        return Ok(Acknowledged { through: db::reports::through(&transaction, branch, epoch).await? });
    }
    let stored = db::reports::open(&transaction, branch, epoch, now).await?;
    if let Some(first) = reports.first().filter(|r| r.seq > stored + 1) {
        let detail = format!("Report {} came, {} is the next.", first.seq, stored + 1);
        return Err(ApiError::new(Code::ReportOutOfOrder, detail, format!("Send the reports from {} on.", stored + 1)));
    }
    let (mut fleet_changed, mut lost) = (false, Vec::new());
    let mut through = stored;
    for numbered in reports.into_iter().filter(|r| r.seq > stored) {
        through = numbered.seq;
        fleet_changed |= store(&transaction, branch, numbered, now, &mut lost).await?;
    }
    if through > stored {
        db::reports::advance(&transaction, branch, epoch, through).await?;
    }
    let mut issued = false;
    if fleet_changed {
        issued = tick::refresh(&transaction, branch, now, &app.issuer()).await?.issued.is_some();
    }
    match brought {
        Some((caller, change)) => app.audit.commit(transaction, caller, change).await?,
        None => commit(transaction).await?,
    }
    app.renewals.ask(lost);
    if issued {
        app.counters.plan_issued();
    }
    Ok(Acknowledged { through })
}

fn check_shape(reports: &[Numbered]) -> ApiResult<()> {
    if reports.len() > MAX_BATCH {
        let detail = format!("The batch has {} reports, at most {MAX_BATCH} are taken.", reports.len());
        return Err(ApiError::new(Code::BatchTooLong, detail, "Send them in several requests."));
    }
    if let Some(odd) = reports.iter().find(|r| !(FIRST_YEAR..=LAST_YEAR).contains(&r.at.year())) {
        let why = format!("report {} is of the year {}", odd.seq, odd.at.year());
        return Err(ApiError::bad_field("at", format!("{why}; write a time from {FIRST_YEAR} to {LAST_YEAR}")));
    }
    let gap = reports.windows(2).any(|pair| pair[0].seq.checked_add(1) != Some(pair[1].seq));
    if gap || reports.first().is_some_and(|r| r.seq == 0) {
        return Err(ApiError::bad_field("reports", "their numbers must begin at 1 or above and rise by one"));
    }
    Ok(())
}

/// Stores one report; true if the branch's plan may have to change. `lost`: artifacts that the branch had whole before.
async fn store<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    numbered: Numbered,
    now: DateTime<Utc>,
    lost: &mut Vec<Digest>,
) -> ApiResult<bool> {
    let Numbered { seq, at, report } = numbered;
    let unknown = |terminal| tracing::warn!(%branch, %terminal, seq, "a report of an unknown terminal is passed over");
    match report {
        Report::TerminalSeen { mut facts, key } => {
            facts.agent_version = clean(&facts.agent_version, MAX_AGENT_VERSION);
            refuse_one_too_many(c, branch, &facts.name).await?;
            db::terminals::upsert(c, branch, &facts, now).await?;
            if let Some(key) = key {
                let key: PublicKey = key.parse().map_err(|r: Refusal| ApiError::bad_field("key", r.sentence()))?;
                if db::terminals::pin(c, branch, &facts.name, &key).await? != Some(key.to_string()) {
                    tracing::warn!(%branch, terminal = %facts.name, %key, "another key of a terminal waits for an operator");
                }
            }
            return Ok(true);
        }
        Report::Running { terminal, slot, version } => {
            if !db::terminals::set_running(c, branch, &terminal, slot, &version, now).await? {
                unknown(terminal);
            }
        }
        Report::Update { terminal, mut update } => {
            check_evidence(&update)?;
            update.reason = update.reason.map(cleaned);
            if db::terminals::heard(c, branch, &terminal, now).await? {
                prove(c, branch, &terminal, &update).await?;
                db::updates::record(c, branch, &terminal, &update, at).await?;
            } else {
                unknown(terminal);
            }
        }
        Report::Package { terminal, mut package } => {
            check_package(&package)?;
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
                let trouble = trouble.map(|t| clean(clip_reason(&t), wire::MAX_REASON_LEN));
                let held = HeldRow { branch: branch.clone(), artifact, have_bytes, complete, trouble };
                if db::branches::set_artifact(c, &held, now).await? {
                    lost.push(artifact);
                }
            }
        }
        Report::Store { capacity_bytes, free_bytes, held_bytes } => {
            let room = Room { capacity: capacity_bytes, free: free_bytes, held: held_bytes };
            db::branch_stores::set(c, branch, room, now).await?;
        }
        Report::PlanRefused { serial, reason: Some(reason) } => {
            let reason = clean(clip_reason(&reason), wire::MAX_REASON_LEN);
            tracing::warn!(%branch, serial, reason, "the branch refuses its plan");
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
        Report::BadPeer { terminal, artifact, mut addresses, wasted_bytes, certain } => {
            addresses.truncate(MAX_ADDRESSES);
            if db::artifacts::find_published(c, &artifact).await?.is_some() {
                let incident = NewIncident { terminal, artifact, addresses, wasted_bytes, certain, at };
                tracing::warn!(%branch, ?incident, "bad data arrived there");
                db::incidents::insert(c, branch, &incident).await?;
            }
        }
        Report::Unknown => tracing::warn!(%branch, seq, "skipped a report of a kind that this version does not know"),
    }
    Ok(false)
}

/// Only a terminal says in which state it is, and what it found of a failed boot: its branch server could be in other hands.
async fn prove<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    update: &UpdateReport,
) -> ApiResult<()> {
    let key = db::terminals::key(c, branch, terminal).await?;
    let signed = |statement: &str, proof: Option<&String>| {
        key.as_ref().zip(proof).is_some_and(|(key, proof)| key.verify_text(statement, proof))
    };
    let evidence = update.evidence.as_ref().and_then(|evidence| evidence.proof.as_ref());
    let state = signed(&update.statement(branch, terminal), update.proof.as_ref());
    let log = update.evidence_statement(branch, terminal).is_none_or(|statement| signed(&statement, evidence));
    if state && log {
        return Ok(());
    }
    tracing::warn!(%branch, %terminal, state = %update.state, version = %update.version, "a state that is not proven");
    let detail = match state {
        true => format!("What is told of a failed boot of terminal {branch}/{terminal} is not signed by its key."),
        false => format!("That terminal {branch}/{terminal} is {} is not signed by its key.", update.state),
    };
    let remedy = "If the terminal has a new key, an operator accepts that (filial terminal show, filial terminal accept-key); if it \
        has not, look into its branch server.";
    Err(ApiError::new(Code::ReportNotProven, detail, remedy))
}

/// A branch must not fill the table with inventions.
async fn refuse_one_too_many<C: GenericClient>(c: &C, branch: &BranchName, terminal: &TerminalName) -> ApiResult<()> {
    let count = db::terminals::count(c, &[branch.as_str()]).await?.first().map_or(0, |(_, count)| *count);
    if i64::try_from(count).is_ok_and(|count| count < MAX_TERMINALS)
        || db::terminals::find(c, branch, terminal).await?.is_some()
    {
        return Ok(());
    }
    let detail = format!("Branch {branch} has {count} terminals, as many as a branch may; {terminal} is one more.");
    Err(ApiError::new(Code::TooManyTerminals, detail, "Divide the branch; each part has a branch server of its own."))
}

fn cleaned(reason: Reason) -> Reason {
    Reason { code: reason.code.cleaned(), text: clean(clip_reason(&reason.text), wire::MAX_REASON_LEN), ..reason }
}

fn check_evidence(update: &UpdateReport) -> ApiResult<()> {
    let Some(evidence) = &update.evidence else { return Ok(()) };
    if update.state != UpdateState::RolledBack || evidence.tried > MAX_TRIED {
        let why = format!("belongs to rolled-back, after at most {MAX_TRIED} boots");
        return Err(ApiError::bad_field("evidence", why));
    }
    Ok(())
}

fn check_package(package: &PackageReport) -> ApiResult<()> {
    let max = i64::MAX as u64;
    if package.name.len() > MAX_PAYLOAD_NAME || package.name.chars().any(char::is_control) {
        return Err(ApiError::bad_field("name", format!("must be at most {MAX_PAYLOAD_NAME} printable bytes")));
    }
    if package.have_bytes > max || package.total_bytes > max {
        return Err(ApiError::bad_field("have_bytes, total_bytes", "no package is that large"));
    }
    Ok(())
}

/// Text that PostgreSQL and a person's screen can take.
fn clean(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
