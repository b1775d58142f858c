//! Reports to head office: queued in the transaction of what they report, numbered without gaps, sent in order,
//! forgotten when acknowledged. They survive head office being away, answering twice, and forgetting.
//!
//! A report that was never sent may still be folded into a newer one of the same subject, so that a week of progress
//! does not fill the disk; one that was sent never changes, so that a repetition says the same.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use service_kit::database::{DatabaseError, GenericClient, Pool, begin, commit, connection};
use wire::Code;
use wire::v1::reports::{Batch, MAX_BATCH, Numbered, Reason, Report};

use crate::db::{relay_queue, site};
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
    #[error("Head office acknowledged report {through} where {first} to {last} were sent: see head office's log.")]
    Acknowledged {
        /// What it acknowledged.
        through: u64,
        /// The first that was sent.
        first: u64,
        /// The last that was sent.
        last: u64,
    },
}

/// What a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing waits.
    Nothing,
    /// So many were acknowledged; more may wait.
    Delivered(u64),
    /// Head office misses earlier reports: those that wait got a new numbering. Send again.
    Renumbered,
    /// Head office does not take the batch as a whole: send one at a time to find out which.
    OneByOne,
    /// Head office does not take the oldest report: it was set aside, into the log. Send again.
    SetAside,
}

/// What a newer report may replace.
fn subject(report: &Report) -> String {
    match report {
        Report::TerminalSeen { facts, .. } => format!("seen/{}", facts.name),
        Report::Running { terminal, .. } => format!("running/{terminal}"),
        Report::Update { terminal, .. } => format!("update/{terminal}"),
        Report::Artifact { artifact, .. } => format!("artifact/{artifact}"),
        Report::Store { .. } => "store".to_owned(),
        Report::PlanRefused { .. } => "plan".to_owned(),
        Report::TerminalRefusesPlan { terminal, .. } => format!("refuses/{terminal}"),
        Report::Package { terminal, package: p } => {
            format!("package/{terminal}/{}/{}/{}", p.product, p.version, p.name)
        }
        Report::BadPeer { terminal, artifact, .. } => {
            let who = terminal.as_ref().map_or_else(|| "branch".to_owned(), ToString::to_string);
            format!("bad-peer/{who}/{artifact}")
        }
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
            let wasted_bytes = wasted_bytes.saturating_add(*more);
            (waiting.at, Report::BadPeer { terminal, artifact, addresses, wasted_bytes, certain: *certain })
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
pub async fn deliver(pool: &Pool, head_office: &dyn HeadOffice, limit: usize) -> Result<Delivery, RelayError> {
    let Some(batch) = take(pool, limit.clamp(1, MAX_BATCH)).await? else { return Ok(Delivery::Nothing) };
    let (Some(first), Some(last)) = (batch.reports.first(), batch.reports.last()) else { return Ok(Delivery::Nothing) };
    match head_office.report(&batch).await {
        Ok(answer) if (first.seq..=last.seq).contains(&answer.through) => {
            if let Some(not_taken) = answer.not_taken.first() {
                // One line for all of them: a terminal must not flood the log.
                let (count, why) = (answer.not_taken.len(), &not_taken.text);
                tracing::warn!(count, code = %not_taken.code, first = why, "head office did not take states of terminals");
            }
            let client = connection(pool).await?;
            Ok(Delivery::Delivered(relay_queue::delete_through(&client, answer.through).await?))
        }
        Ok(answer) => Err(RelayError::Acknowledged { through: answer.through, first: first.seq, last: last.seq }),
        Err(error) => refused(pool, &batch, error).await,
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

/// Some refusals would stay for ever: those are resolved, all others are errors to be tried again.
async fn refused(pool: &Pool, batch: &Batch, error: UpstreamError) -> Result<Delivery, RelayError> {
    match error.code() {
        Some(Code::ReportOutOfOrder) => {
            tracing::warn!(%error, "head office misses earlier reports: beginning a new numbering");
            renumber(pool, None).await?;
            Ok(Delivery::Renumbered)
        }
        Some(code) if code.is_about_content() => {
            let [only] = &batch.reports[..] else { return Ok(Delivery::OneByOne) };
            // Every later report would wait behind it for ever: confirmations matter more than one line.
            tracing::error!(%error, report = ?only, "head office does not take a report: set aside");
            renumber(pool, Some(only.seq)).await?;
            Ok(Delivery::SetAside)
        }
        _ => Err(error.into()),
    }
}

/// Numbers what waits from 1 under a new epoch, without the report `leave_out` at its head. None of it is stored at
/// head office: it asked for something earlier, or refused.
async fn renumber(pool: &Pool, leave_out: Option<u64>) -> Result<(), DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    site::lock(&tx).await?;
    if let Some(seq) = leave_out {
        relay_queue::delete_through(&tx, seq).await?;
    }
    let first = relay_queue::oldest(&tx).await?.map_or(1, |(seq, _)| seq);
    let count = relay_queue::shift(&tx, first - 1).await?;
    site::renumber(&tx, count).await?;
    commit(tx).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{UpdateState, Version};
    use wire::ReasonCode;
    use wire::v1::reports::{PackageReport, UpdateReport};

    fn at(second: u32) -> DateTime<Utc> {
        format!("2030-01-10T12:00:{second:02}Z").parse().unwrap()
    }

    fn update(state: UpdateState, from: Option<UpdateState>, done: u64) -> Report {
        let update = UpdateReport {
            serial: 7,
            product: "till".parse().unwrap(),
            version: Version::new(2, 0, 0),
            payload: [2; 32].into(),
            from,
            state,
            segments_done: done,
            segments_total: 10,
            reason: None,
            proof: None,
            evidence: None,
        };
        Report::Update { terminal: "till-1".parse().unwrap(), update }
    }

    fn artifact(have_bytes: u64, complete: bool, trouble: Option<&str>) -> Report {
        Report::Artifact {
            artifact: [1; 32].into(),
            have_bytes,
            complete,
            trouble: trouble.map(|t| Reason::new("x", t)),
        }
    }

    fn waits(report: Report) -> Numbered {
        Numbered { seq: 4, at: at(1), report }
    }

    #[test]
    fn progress_within_a_state_is_folded_and_keeps_the_move_and_its_time() {
        use UpdateState::{Assigned, Fetching};
        let waiting = waits(update(Fetching, Some(Assigned), 0));
        let folded = fold(&waiting, at(9), &update(Fetching, Some(Fetching), 5)).unwrap();
        assert_eq!(folded, Numbered { seq: 4, at: at(1), report: update(Fetching, Some(Assigned), 5) });
    }

    #[test]
    fn a_move_is_never_folded_away() {
        use UpdateState::{Assigned, Fetching, Installing};
        let waiting = waits(update(Fetching, Some(Assigned), 10));
        assert_eq!(fold(&waiting, at(9), &update(Installing, Some(Fetching), 10)), None);
    }

    #[test]
    fn of_a_package_only_the_newest_waits() {
        let package = |name: &str, trouble: bool| {
            let package = PackageReport {
                product: "tools".parse().unwrap(),
                version: Version::new(1, 0, 0),
                name: name.to_owned(),
                payload: [3; 32].into(),
                have_bytes: 5,
                total_bytes: 10,
                complete: false,
                removed: false,
                trouble: trouble.then(|| Reason::new("data-full", "make room")),
            };
            Report::Package { terminal: "till-1".parse().unwrap(), package }
        };
        let waiting = waits(package("tools", true));
        let folded = fold(&waiting, at(9), &package("tools", false)).unwrap();
        assert_eq!(folded, Numbered { seq: 4, at: at(9), report: package("tools", false) });
        assert_eq!(fold(&waiting, at(9), &package("other", true)), None);
    }

    #[test]
    fn of_the_room_in_the_store_only_the_newest_waits() {
        let store = |free_bytes| Report::Store { capacity_bytes: 9, free_bytes, held_bytes: 0 };
        let folded = fold(&waits(store(5)), at(9), &store(4)).unwrap();
        assert_eq!(folded, Numbered { seq: 4, at: at(9), report: store(4) });
    }

    #[test]
    fn another_payload_or_serial_is_not_the_same_update() {
        let waiting = waits(update(UpdateState::Fetching, None, 1));
        let mut other = update(UpdateState::Fetching, None, 1);
        let Report::Update { update, .. } = &mut other else { unreachable!() };
        update.serial = 8;
        update.reason = Some(Reason::new("x", "y"));
        assert_eq!(fold(&waiting, at(9), &other), None);
    }

    #[test]
    fn an_artifacts_progress_is_folded_but_not_its_trouble_or_completion() {
        let waiting = waits(artifact(5, false, None));
        assert_eq!(fold(&waiting, at(9), &artifact(6, false, None)).unwrap().report, artifact(6, false, None));
        assert_eq!(fold(&waiting, at(9), &artifact(6, false, Some("stuck"))), None);
        assert_eq!(fold(&waiting, at(9), &artifact(6, true, None)), None);
        let full = |free: u64| {
            let trouble = Some(Reason::of(ReasonCode::StoreFull).with("free", free).with("needed", 9_u64 << 30));
            Report::Artifact { artifact: [1; 32].into(), have_bytes: 5, complete: false, trouble }
        };
        let waiting = waits(full(2 << 30));
        assert_eq!(fold(&waiting, at(9), &full((2 << 30) + 1)).unwrap().report, full((2 << 30) + 1), "reads the same");
        assert_eq!(fold(&waiting, at(9), &full(1 << 30)).unwrap().report, full(1 << 30), "free space is no news");
        assert_eq!(fold(&waiting, at(9), &update(UpdateState::Assigned, None, 0)), None);
    }

    #[test]
    fn the_same_bad_peer_again_is_one_report_with_the_bytes_of_both() {
        let bad = |address: u8, wasted_bytes| Report::BadPeer {
            terminal: Some("till-1".parse().unwrap()),
            artifact: [1; 32].into(),
            addresses: vec![[10, 0, 0, address].into()],
            wasted_bytes,
            certain: true,
        };
        let waiting = Numbered { seq: 3, at: at(1), report: bad(9, 5) };
        assert_eq!(fold(&waiting, at(2), &bad(9, 7)).unwrap().report, bad(9, 12));
        assert_eq!(fold(&waiting, at(2), &bad(8, 7)), None, "another address is another report");
    }
}
