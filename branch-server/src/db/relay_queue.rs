//! Table `relay_queue`: reports that head office has not acknowledged.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use wire::v1::reports::{MAX_BATCH_BYTES, Numbered, Report};

use super::rows::{get, parsed, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};

service_kit::statements! {
    INSERT = "insert into relay_queue (seq, at, subject, report, terminal) values ($1, $2, $3, $4, $5)";
    NEWEST = "select seq, at, report from relay_queue where subject = $1 and seq > $2 order by seq desc limit 1";
    // What has no such member is rewritten as it is.
    WITH_EVIDENCE = "select seq, at, report from relay_queue where subject = $1 and seq > $2
             and report like '%\"evidence\":%' order by seq";
    REWRITE = "update relay_queue set at = $2, report = $3 where seq = $1";
    FIRST = "select seq, at, report from relay_queue order by seq limit $1";
    AFTER = "select seq, at, report from relay_queue where seq > $1 order by seq limit $2";
    DELETE = "delete from relay_queue where seq <= $1";
    SHIFT = "update relay_queue set seq = seq - $1";
    COUNT = "select count(*) as count from relay_queue where terminal = $1";
    TERMINALS = "select name from terminals where exists (select from relay_queue where subject = $1 || name)";
    OLDEST = "select seq, at from relay_queue order by seq limit 1";
}

fn numbered(row: &tokio_postgres::Row) -> Result<Numbered, DatabaseError> {
    let report =
        serde_json::from_str(get(row, "report")?).map_err(|e| DatabaseError::value("relay_queue.report", e))?;
    Ok(Numbered { seq: unsigned(row, "seq")?, at: get(row, "at")?, report })
}

fn text(report: &Report) -> Result<String, DatabaseError> {
    serde_json::to_string(report).map_err(|e| DatabaseError::value("relay_queue.report", e))
}

/// Queues a report under its number.
pub async fn insert(client: &impl GenericClient, numbered: &Numbered, subject: &str) -> Result<(), DatabaseError> {
    let (report, terminal) = (text(&numbered.report)?, numbered.report.terminal().map(TerminalName::as_str));
    execute(client, INSERT, &[&signed(numbered.seq), &numbered.at, &subject, &report, &terminal]).await.map(drop)
}

/// The newest report of `subject` whose number is above `sent`.
pub async fn newest(client: &impl GenericClient, subject: &str, sent: u64) -> Result<Option<Numbered>, DatabaseError> {
    query_opt(client, NEWEST, &[&subject, &signed(sent)]).await?.as_ref().map(numbered).transpose()
}

/// The reports of `subject` whose numbers are above `sent` and that may hold what is left of a failed boot.
pub async fn with_evidence(
    client: &impl GenericClient,
    subject: &str,
    sent: u64,
) -> Result<Vec<Numbered>, DatabaseError> {
    query(client, WITH_EVIDENCE, &[&subject, &signed(sent)]).await?.iter().map(numbered).collect()
}

/// How many reports of a terminal wait.
pub async fn count(client: &impl GenericClient, terminal: &TerminalName) -> Result<u64, DatabaseError> {
    unsigned(&query_one(client, COUNT, &[&terminal.as_str()]).await?, "count")
}

/// The terminals whose names end the subject of a report, after this beginning.
pub async fn terminals(client: &impl GenericClient, subjects: &str) -> Result<BTreeSet<TerminalName>, DatabaseError> {
    query(client, TERMINALS, &[&subjects]).await?.iter().map(|row| parsed(row, "name")).collect()
}

/// Puts other content under a number that was never sent.
pub async fn rewrite(client: &impl GenericClient, numbered: &Numbered) -> Result<(), DatabaseError> {
    let report = text(&numbered.report)?;
    execute(client, REWRITE, &[&signed(numbered.seq), &numbered.at, &report]).await.map(drop)
}

/// The oldest `limit` reports, in order; fewer if they are more than a request may hold, but one at least.
pub async fn first(client: &impl GenericClient, limit: usize) -> Result<Vec<Numbered>, DatabaseError> {
    fitting(&query(client, FIRST, &[&signed(limit as u64)]).await?)
}

/// The oldest `limit` reports after `seq`, in order; fewer if they are more than a request may hold, but one at least.
pub async fn after(client: &impl GenericClient, seq: u64, limit: usize) -> Result<Vec<Numbered>, DatabaseError> {
    fitting(&query(client, AFTER, &[&signed(seq), &signed(limit as u64)]).await?)
}

fn fitting(rows: &[tokio_postgres::Row]) -> Result<Vec<Numbered>, DatabaseError> {
    let (mut reports, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += get::<&str>(row, "report")?.len();
        if bytes > MAX_BATCH_BYTES && !reports.is_empty() {
            break;
        }
        reports.push(numbered(row)?);
    }
    Ok(reports)
}

/// Forgets reports up to and with `through`.
pub async fn delete_through(client: &impl GenericClient, through: u64) -> Result<u64, DatabaseError> {
    execute(client, DELETE, &[&signed(through)]).await
}

/// Lowers every number by `by`; how many reports there are.
pub async fn shift(client: &impl GenericClient, by: u64) -> Result<u64, DatabaseError> {
    execute(client, SHIFT, &[&signed(by)]).await
}

/// Number and time of the oldest report that waits.
pub async fn oldest(client: &impl GenericClient) -> Result<Option<(u64, DateTime<Utc>)>, DatabaseError> {
    let row = query_opt(client, OLDEST, &[]).await?;
    row.map(|row| Ok((unsigned(&row, "seq")?, get(&row, "at")?))).transpose()
}
