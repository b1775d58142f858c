//! Table `moves`: the moves of each terminal's newest update.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use wire::v1::fleet::Move;
use wire::v1::reports::UpdateReport;

use super::rows::{Params, get, parsed, parsed_opt, reason_json, signed};
use super::updates;
use service_kit::database::{DatabaseError, GenericClient, execute, query};

service_kit::statements! {
    ALL = "select terminal, from_state, to_state, at, case when nth <= $1 then reason_code end as reason_code,
             case when nth <= $1 then reason_text end as reason_text, case when nth <= $1 then reason_json end as reason_json
         from (select *, row_number() over (partition by terminal order by ordinal desc) as nth from moves) as numbered
         order by terminal, ordinal";
    INSERT = "insert into moves (terminal, from_state, to_state, at, reason_code, reason_text, reason_json)
         values ($1, $2, $3, $4, $5, $6, $7)";
    CLEAR = "delete from moves where terminal = $1";
    TRIM = "delete from moves where terminal = $1 and ordinal <= (
             select ordinal from moves where terminal = $1 order by ordinal desc offset $2 limit 1)";
}

/// Most moves that are kept of one update. A good one has seven; a terminal that goes in circles must not fill a disk.
pub const KEPT: u64 = 100;

/// Moves of a terminal that are shown with their reasons: those of terminals that go in circles must not make the list too long.
const WITH_REASONS: i64 = 3;

/// Every terminal's moves, oldest first, the newest [`WITH_REASONS`] with their reasons.
pub async fn all(client: &impl GenericClient) -> Result<BTreeMap<TerminalName, Vec<Move>>, DatabaseError> {
    let mut all: BTreeMap<TerminalName, Vec<Move>> = BTreeMap::new();
    for row in query(client, ALL, &[&WITH_REASONS]).await? {
        all.entry(parsed(&row, "terminal")?).or_default().push(Move {
            from: parsed_opt(&row, "from_state")?,
            to: parsed(&row, "to_state")?,
            at: get(&row, "at")?,
            reason: updates::reason(&row)?,
        });
    }
    Ok(all)
}

/// Records a move, and forgets the oldest beyond [`KEPT`].
pub async fn insert(
    client: &impl GenericClient,
    terminal: &TerminalName,
    update: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let reason = update.reason.as_ref();
    let params: Params<'_> = &[
        &terminal.as_str(),
        &update.from.map(|s| s.as_str()),
        &update.state.as_str(),
        &at,
        &reason.map(|r| r.code.as_str()),
        &reason.map(|r| r.text.as_str()),
        &reason_json(reason, "reason_json")?,
    ];
    execute(client, INSERT, params).await?;
    execute(client, TRIM, &[&terminal.as_str(), &signed(KEPT)]).await.map(drop)
}

/// Forgets the moves of a terminal: another update begins.
pub async fn clear(client: &impl GenericClient, terminal: &TerminalName) -> Result<(), DatabaseError> {
    execute(client, CLEAR, &[&terminal.as_str()]).await.map(drop)
}
