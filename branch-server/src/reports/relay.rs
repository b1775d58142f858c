//! Reports to head office: queued in the transaction of what they report, numbered without gaps, sent in order,
//! forgotten when acknowledged. They survive head office being away, answering twice, and forgetting.
//!
//! A report that was never sent may still be folded into a newer one of the same subject, so that a week of progress
//! does not fill the disk; one that was sent never changes, so that a repetition says the same.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use service_kit::database::{DatabaseError, GenericClient, Pool, begin, commit, connection};
use uuid::Uuid;
use wire::Code;
use wire::v1::reports::{Batch, MAX_BATCH, Numbered, Reason, Report};
use wire::v1::shape::MAX_NUMBER;

use crate::db::{relay_queue, reused_numbers, site};
use crate::upstream::head_office::{HeadOffice, UpstreamError};

/// Why reports were not delivered.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Head office.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An acknowledgement that cannot be true.
    #[error("Head office acknowledged report {through} although report {first} was sent: see head office's log.")]
    Acknowledged {
        /// What it acknowledged.
        through: u64,
        /// The first that was sent.
        first: u64,
    },
}

/// What a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing waits.
    Nothing,
    /// So many were acknowledged; more may wait.
    Delivered(u64),
    /// Head office has another end of this numbering: the reports that wait got a new one. Send again.
    Renumbered,
    /// Head office does not take the batch as a whole: send one at a time to find out which.
    OneByOne,
    /// Head office does not take the oldest report: it was set aside, into the log. Send again.
    SetAside,
}

/// The subject of a terminal's denial, before its name.
pub const DENIED: &str = "denied/";

/// What a newer report may replace.
fn subject(report: &Report) -> String {
    match report {
        Report::TerminalSeen { facts, .. } => format!("seen/{}", facts.name),
        Report::Running { terminal, .. } => format!("running/{terminal}"),
        Report::Update { terminal, .. } => format!("update/{terminal}"),
        Report::Artifact { artifact, .. } => format!("artifact/{artifact}"),
        Report::Store { .. } => "store".to_owned(),
        Report::PlanRefused { .. } => "plan".to_owned(),
        Report::AuditHead { .. } => "audit".to_owned(),
        Report::TerminalRefusesPlan { terminal, .. } => format!("refuses/{terminal}"),
        Report::Package { terminal, package: p } => {
            format!("package/{terminal}/{}/{}/{}", p.product, p.version, p.name)
        }
        Report::BadPeer { terminal, artifact, .. } => {
            let who = terminal.as_ref().map_or_else(|| "branch".to_owned(), ToString::to_string);
            format!("bad-peer/{who}/{artifact}")
        }
        Report::NumbersReused { terminal, .. } => {
            format!("reused/{}", terminal.as_ref().map_or("", TerminalName::as_str))
        }
        Report::TerminalDenied { terminal, .. } => format!("{DENIED}{terminal}"),
        Report::Unknown(_) => "unknown".to_owned(),
    }
}

/// Whether two reasons read the same: parameters alone are no news.
pub fn read_the_same(one: Option<&Reason>, other: Option<&Reason>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.reads_as(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Returns whether two reasons have the same code; their words may differ.
pub fn have_same_code(one: Option<&Reason>, other: Option<&Reason>) -> bool {
    one.map(|reason| &reason.code) == other.map(|reason| &reason.code)
}

/// `waiting` and `new` as one report, if nothing is lost by it: no move of an update, no trouble, no completion.
fn fold(waiting: &Numbered, at: DateTime<Utc>, new: &Report) -> Option<Numbered> {
    let folded = match (&waiting.report, new) {
        (
            Report::Artifact { artifact, complete, trouble, .. },
            Report::Artifact { artifact: artifact2, complete: complete2, trouble: trouble2, .. },
        ) if (artifact, complete) == (artifact2, complete2) && have_same_code(trouble.as_ref(), trouble2.as_ref()) => {
            (at, new.clone())
        }
        // Only the newest room counts.
        (Report::Store { .. }, Report::Store { .. }) => (at, new.clone()),
        // Only the newest counts.
        (Report::PlanRefused { .. }, Report::PlanRefused { .. }) => (at, new.clone()),
        (Report::AuditHead { .. }, Report::AuditHead { .. }) => (at, new.clone()),
        // A disk that is full now and then has the same trouble again and again.
        (Report::Package { terminal, package: old }, Report::Package { terminal: terminal2, package })
            if (terminal, &old.product, &old.version, &old.name)
                == (terminal2, &package.product, &package.version, &package.name) =>
        {
            (at, new.clone())
        }
        (Report::TerminalRefusesPlan { terminal, .. }, Report::TerminalRefusesPlan { terminal: terminal2, .. })
            if terminal == terminal2 =>
        {
            (at, new.clone())
        }
        // Only the newest counts.
        (Report::TerminalDenied { terminal, .. }, Report::TerminalDenied { terminal: terminal2, .. })
            if terminal == terminal2 =>
        {
            (at, new.clone())
        }
        // A terminal's own word on its facts says nothing of its key.
        (Report::TerminalSeen { facts: old, key }, Report::TerminalSeen { facts, key: newer })
            if old.name == facts.name =>
        {
            (at, Report::TerminalSeen { facts: facts.clone(), key: newer.clone().or_else(|| key.clone()) })
        }
        (Report::Update { terminal, update: old }, Report::Update { terminal: terminal2, update })
            if terminal == terminal2
                && (old.serial, old.payload, old.state) == (update.serial, update.payload, update.state)
                && (&old.product, &old.version) == (&update.product, &update.version) =>
        {
            // The move into the state stays, with its time; what is known within the state is the newest.
            let mut update = update.clone();
            update.from = old.from;
            update.evidence = update.evidence.or_else(|| old.evidence.clone());
            (waiting.at, Report::Update { terminal: terminal.clone(), update })
        }
        // The same again, while head office is away: one report, with the bytes of both.
        (
            Report::BadPeer { terminal, artifact, addresses, wasted_bytes, certain },
            Report::BadPeer {
                terminal: terminal2,
                artifact: artifact2,
                addresses: addresses2,
                wasted_bytes: more,
                certain: certain2,
            },
        ) if (terminal, artifact, addresses, certain) == (terminal2, artifact2, addresses2, certain2) => {
            let (terminal, artifact, addresses) = (terminal.clone(), *artifact, addresses.clone());
            // Beyond it head office would refuse the report, and others with it.
            let wasted_bytes = wasted_bytes.checked_add(*more).filter(|sum| *sum <= MAX_NUMBER)?;
            (waiting.at, Report::BadPeer { terminal, artifact, addresses, wasted_bytes, certain: *certain })
        }
        (Report::NumbersReused { terminal, times }, Report::NumbersReused { terminal: terminal2, times: more })
            if terminal == terminal2 =>
        {
            let times = times.saturating_add(*more).min(MAX_NUMBER);
            (at, Report::NumbersReused { terminal: terminal.clone(), times })
        }
        _ => return None,
    };
    Some(Numbered { seq: waiting.seq, at: folded.0, report: folded.1 })
}

/// Queues `report`. `tx` must be the transaction of what is reported.
///
/// # Errors
/// As every statement.
pub async fn queue(tx: &impl GenericClient, at: DateTime<Utc>, report: &Report) -> Result<(), DatabaseError> {
    let sent = site::lock(tx).await?.relay_sent;
    let subject = subject(report);
    if let Some(waiting) = relay_queue::newest(tx, &subject, sent).await?
        && let Some(folded) = fold(&waiting, at, report)
    {
        return relay_queue::rewrite(tx, &folded).await;
    }
    if matches!(report, Report::Update { update, .. } if update.evidence.is_some()) {
        forget_evidence(tx, &subject, sent).await?;
    }
    let seq = site::next_report(tx).await?;
    relay_queue::insert(tx, &Numbered { seq, at, report: report.clone() }, &subject).await
}

/// How many reports of a terminal wait.
///
/// # Errors
/// As every statement.
pub async fn waiting_of(client: &impl GenericClient, terminal: &TerminalName) -> Result<u64, DatabaseError> {
    relay_queue::count(client, terminal).await
}

/// Queues `report` in a separate transaction.
///
/// # Errors
/// As every statement.
pub async fn queue_alone(pool: &Pool, at: DateTime<Utc>, report: &Report) -> Result<(), DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    queue(&tx, at, report).await?;
    commit(tx).await
}

/// Of a terminal's failed boots only the newest waits with its log, however long head office is away: that bounds the queue.
/// The states stay, and their proofs hold without.
async fn forget_evidence(tx: &impl GenericClient, subject: &str, sent: u64) -> Result<(), DatabaseError> {
    for mut waiting in relay_queue::with_evidence(tx, subject, sent).await? {
        if let Report::Update { update, .. } = &mut waiting.report {
            update.evidence = None;
            relay_queue::rewrite(tx, &waiting).await?;
        }
    }
    Ok(())
}

/// How many reports wait, and since when.
///
/// # Errors
/// As every statement.
pub async fn waiting(client: &impl GenericClient) -> Result<(u64, Option<DateTime<Utc>>), DatabaseError> {
    let last = site::read(client).await?.relay_last;
    // Numbers have no gaps, so the difference is the count.
    let oldest = relay_queue::oldest(client).await?;
    Ok(oldest.map_or((0, None), |(seq, at)| ((last + 1).saturating_sub(seq), Some(at))))
}

/// Sends the oldest reports, at most `limit` and [`MAX_BATCH`] of them, and forgets what is acknowledged.
///
/// # Errors
/// Head office is away or refuses; everything waits on.
pub async fn deliver(
    pool: &Pool,
    head_office: &dyn HeadOffice,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Delivery, RelayError> {
    let Some(batch) = take(pool, limit.clamp(1, MAX_BATCH)).await? else { return Ok(Delivery::Nothing) };
    let Some(first) = batch.reports.first() else { return Ok(Delivery::Nothing) };
    match head_office.report(&batch).await {
        Ok(answer) if answer.through >= first.seq => {
            if let Some(not_taken) = answer.not_taken.first() {
                // One line for all of them: a terminal must not flood the log.
                let (count, why) = (answer.not_taken.len(), &not_taken.text);
                tracing::warn!(count, code = %not_taken.code, first = why, "head office did not take states of terminals");
            }
            acknowledged(pool, batch.epoch, answer.through, now).await
        }
        Ok(answer) => Err(RelayError::Acknowledged { through: answer.through, first: first.seq }),
        Err(error) => refused(pool, &batch, error, now).await,
    }
}

/// The oldest reports after `seq`, to be carried to head office by hand; they wait on until head office acknowledges them over
/// the link, which counts each once.
///
/// # Errors
/// As every statement.
pub async fn carry(pool: &Pool, seq: u64) -> Result<Batch, DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    let epoch = site::lock(&tx).await?.relay_epoch;
    let reports = relay_queue::after(&tx, seq, MAX_BATCH).await?;
    if let Some(last) = reports.last() {
        // From now on they do not change.
        site::set_sent(&tx, last.seq).await?;
    }
    commit(tx).await?;
    Ok(Batch { epoch, reports })
}

/// The oldest reports, marked as sent: from now on they do not change.
async fn take(pool: &Pool, limit: usize) -> Result<Option<Batch>, DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    let epoch = site::lock(&tx).await?.relay_epoch;
    let reports = relay_queue::first(&tx, limit).await?;
    let Some(last) = reports.last() else { return Ok(None) };
    site::set_sent(&tx, last.seq).await?;
    commit(tx).await?;
    Ok(Some(Batch { epoch, reports }))
}

/// Forgets the reports up to `through`, if so many were sent in `epoch`.
///
/// A number beyond them was given before this database was restored from a copy, or by another server with the same
/// database: it says nothing of the reports that wait here.
async fn acknowledged(pool: &Pool, epoch: Uuid, through: u64, now: DateTime<Utc>) -> Result<Delivery, RelayError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    let site = site::lock(&tx).await?;
    if site.relay_epoch != epoch {
        return Ok(Delivery::Renumbered);
    }
    let delivery = if through > site.relay_sent {
        tracing::warn!(
            through,
            sent = site.relay_sent,
            "head office has reports that this server has not sent, as after its database was restored from a copy: what \
             waits is numbered from 1 again"
        );
        renumber(&tx, None).await?;
        reused_numbers::record(&tx, None, now).await?;
        queue(&tx, now, &Report::NumbersReused { terminal: None, times: 1 }).await?;
        Delivery::Renumbered
    } else {
        Delivery::Delivered(relay_queue::delete_through(&tx, through).await?)
    };
    commit(tx).await?;
    Ok(delivery)
}

/// Some refusals would stay for ever: those are resolved, all others are errors to be tried again.
async fn refused(pool: &Pool, batch: &Batch, error: UpstreamError, now: DateTime<Utc>) -> Result<Delivery, RelayError> {
    match error.code() {
        Some(Code::NumberReused) => {
            tracing::warn!(
                %error,
                "head office knows other reports under the same numbers, as after this database was restored from a copy or if a \
                 second server has this identity: beginning a new numbering"
            );
            renumber_alone(pool, batch.epoch, None, Some(now)).await?;
            Ok(Delivery::Renumbered)
        }
        Some(Code::ReportOutOfOrder) => {
            tracing::warn!(%error, "head office misses earlier reports: beginning a new numbering");
            renumber_alone(pool, batch.epoch, None, None).await?;
            Ok(Delivery::Renumbered)
        }
        Some(code) if code.is_about_content() => {
            let [only] = &batch.reports[..] else { return Ok(Delivery::OneByOne) };
            // Every later report would wait behind it for ever: confirmations matter more than one line.
            tracing::error!(%error, report = ?only, "head office does not take a report: set aside");
            let is_set_aside = renumber_alone(pool, batch.epoch, Some(only.seq), None).await?;
            Ok(if is_set_aside { Delivery::SetAside } else { Delivery::Renumbered })
        }
        _ => Err(error.into()),
    }
}

/// As [`renumber`], in a separate transaction, which also records at `reused` that numbers were used twice. False, and nothing
/// happens, if the numbering is not `epoch` any more: another server with this database was refused too, and was first.
async fn renumber_alone(
    pool: &Pool,
    epoch: Uuid,
    leave_out: Option<u64>,
    reused: Option<DateTime<Utc>>,
) -> Result<bool, DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    if site::lock(&tx).await?.relay_epoch != epoch {
        return Ok(false);
    }
    if let Some(at) = reused {
        reused_numbers::record(&tx, None, at).await?;
    }
    renumber(&tx, leave_out).await?;
    commit(tx).await?;
    Ok(true)
}

/// Numbers what waits from 1 under a new epoch, without the report `leave_out` at its head. `tx` must hold the site's row.
async fn renumber(tx: &impl GenericClient, leave_out: Option<u64>) -> Result<(), DatabaseError> {
    if let Some(seq) = leave_out {
        relay_queue::delete_through(tx, seq).await?;
    }
    let first = relay_queue::oldest(tx).await?.map_or(1, |(seq, _)| seq);
    let count = relay_queue::shift(tx, first - 1).await?;
    site::renumber(tx, count).await
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
