//! Table `updates`: the newest update of each terminal.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, TerminalName};
use tokio_postgres::Row;
use wire::v1::reports::{Reason, UpdateReport};

use super::rows::{self, Params, digest, get, parsed, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};

service_kit::statements! {
    ALL = "select terminal, serial, product, version, payload, state, segments_done, segments_total, reason_code,
             reason_text, reason_json, since
         from updates";
    READ = "select terminal, serial, product, version, payload, state, segments_done, segments_total, reason_code,
             reason_text, reason_json, since
         from updates where terminal = $1";
    FORGET = "delete from updates where terminal = $1";
    WRITE = "insert into updates (terminal, serial, product, version, payload, state, segments_done, segments_total,
             reason_code, reason_text, since, reason_json)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (terminal) do update set serial = excluded.serial, product = excluded.product,
             version = excluded.version, payload = excluded.payload, state = excluded.state,
             segments_done = excluded.segments_done, segments_total = excluded.segments_total,
             reason_code = excluded.reason_code, reason_text = excluded.reason_text,
             reason_json = excluded.reason_json, since = excluded.since";
}

/// A row.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands; `from` is not kept here but among its moves.
    pub update: UpdateReport,
    /// Since when, by the terminal's clock.
    pub since: DateTime<Utc>,
}

impl Record {
    /// Whether `report` is about the same attempt at the same payload.
    pub fn is_same(&self, report: &UpdateReport) -> bool {
        let begins = report.from.is_none() && report.state != self.update.state;
        self.payload() == report.payload && self.update.product == report.product && !begins
    }

    fn payload(&self) -> Digest {
        self.update.payload
    }
}

/// A reason out of its three columns.
pub(super) fn reason(row: &Row) -> Result<Option<Reason>, DatabaseError> {
    rows::reason(row, Some("reason_code"), "reason_text", "reason_json")
}

fn record(row: &Row) -> Result<Record, DatabaseError> {
    Ok(Record {
        update: UpdateReport {
            serial: unsigned(row, "serial")?,
            product: parsed(row, "product")?,
            version: parsed(row, "version")?,
            payload: digest(row, "payload")?,
            from: None,
            state: parsed(row, "state")?,
            segments_done: unsigned(row, "segments_done")?,
            segments_total: unsigned(row, "segments_total")?,
            reason: reason(row)?,
            // Head office keeps what is proven, and what was found of a failed boot.
            proof: None,
            position: None,
            evidence: None,
        },
        since: get(row, "since")?,
    })
}

/// Every terminal's newest update.
pub async fn all(client: &impl GenericClient) -> Result<BTreeMap<TerminalName, Record>, DatabaseError> {
    let rows = query(client, ALL, &[]).await?;
    rows.iter().map(|row| Ok((parsed(row, "terminal")?, record(row)?))).collect()
}

/// One terminal's newest update.
pub async fn read(client: &impl GenericClient, terminal: &TerminalName) -> Result<Option<Record>, DatabaseError> {
    query_opt(client, READ, &[&terminal.as_str()]).await?.as_ref().map(record).transpose()
}

/// Forgets a terminal's newest update.
pub async fn forget(client: &impl GenericClient, terminal: &TerminalName) -> Result<(), DatabaseError> {
    execute(client, FORGET, &[&terminal.as_str()]).await.map(drop)
}

/// Records a terminal's newest update.
pub async fn write(
    client: &impl GenericClient,
    terminal: &TerminalName,
    update: &UpdateReport,
    since: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let reason = update.reason.as_ref();
    let params: Params<'_> = &[
        &terminal.as_str(),
        &signed(update.serial),
        &update.product.as_str(),
        &update.version.to_string(),
        &&update.payload.as_bytes()[..],
        &update.state.as_str(),
        &signed(update.segments_done),
        &signed(update.segments_total),
        &reason.map(|r| r.code.as_str()),
        &reason.map(|r| r.text.as_str()),
        &since,
        &rows::reason_json(reason, "reason_json")?,
    ];
    execute(client, WRITE, params).await.map(drop)
}
