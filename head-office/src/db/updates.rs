//! Tables `updates` and `moves`: the updates of terminals and every move of each.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, TerminalName, UpdateState};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use wire::v1::fleet::{Move, TerminalUpdate};
use wire::v1::reports::{Reason, UpdateReport};

use super::row::{self, get, reason_columns, signed, text, text_opt, unsigned};

/// Most moves of one update that are kept and shown. An honest update makes about eight.
const MAX_MOVES: i64 = 100;

/// Moves of one update that a list of terminals shows, without their reasons: a thousand terminals that go in circles, with long
/// reasons, must not make a list too long to be read.
const LISTED_MOVES: i64 = 20;

/// Most updates of one terminal that are kept.
const MAX_UPDATES: i64 = 200;

/// Of how many of a terminal's failed boots the last lines are kept.
const MAX_EVIDENCE: i64 = 10;

service_kit::statements! {
    NEWEST_FOR_UPDATE = "SELECT id, serial, payload_sha256, state, position FROM updates
        WHERE branch = $1 AND terminal = $2 AND product = $3 ORDER BY id DESC LIMIT 1 FOR UPDATE";
    INSERT = "INSERT INTO updates (branch, terminal, product, serial, version, payload_sha256, state, segments_done,
            segments_total, reason_code, reason_text, since, reason_json, position)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id";
    // A branch must not fill the table with inventions.
    FORGET = "DELETE FROM updates WHERE branch = $1 AND terminal = $2 AND id NOT IN
        (SELECT id FROM updates WHERE branch = $1 AND terminal = $2 ORDER BY id DESC LIMIT $3)";
    ADVANCE = "UPDATE updates SET serial = $2, segments_done = $4, segments_total = $5, reason_code = $6,
            reason_text = $7, reason_json = $9, position = $10, since = CASE WHEN state = $3 THEN since ELSE $8 END, state = $3 WHERE id = $1";
    ADD_MOVE = "INSERT INTO moves (update_id, from_state, to_state, at, reason_code, reason_text, evidence, reason_json)
        SELECT $1, $2, $3, $4, $5, $6, $8, $9 WHERE (SELECT count(*) FROM moves WHERE update_id = $1) < $7";
    // Of the same kind: a terminal must not fill the table with logs.
    FORGET_EVIDENCE = "UPDATE moves SET evidence = NULL WHERE id IN (SELECT m.id FROM moves m
        JOIN updates u ON u.id = m.update_id WHERE u.branch = $1 AND u.terminal = $2 AND m.evidence IS NOT NULL
        ORDER BY m.id DESC OFFSET $3)";
    EVIDENCE = "SELECT evidence FROM moves WHERE update_id = $1 AND evidence IS NOT NULL ORDER BY id DESC LIMIT 1";
    // One look into the index for each terminal, however many updates it ever had.
    NEWEST_OF = "SELECT u.id, u.branch, u.terminal, u.product, u.serial, u.version, u.payload_sha256, u.state,
            u.segments_done, u.segments_total, u.reason_code, u.reason_text, u.reason_json, u.since
        FROM unnest($1::text[], $2::text[]) AS t (branch, name)
        CROSS JOIN LATERAL (SELECT * FROM updates WHERE branch = t.branch AND terminal = t.name
            ORDER BY id DESC LIMIT 1) AS u";
    NEWEST_OF_TERMINAL = "SELECT id, branch, terminal, product, serial, version, payload_sha256, state, segments_done,
            segments_total, reason_code, reason_text, reason_json, since
        FROM updates WHERE branch = $1 AND terminal = $2 ORDER BY id DESC LIMIT 1";
    MOVES = "SELECT update_id, from_state, to_state, at, reason_code, reason_text, reason_json FROM moves
        WHERE update_id = ANY($1) ORDER BY id";
    NEWEST_MOVES = "SELECT update_id, from_state, to_state, at FROM (
            SELECT update_id, id, from_state, to_state, at,
                row_number() OVER (PARTITION BY update_id ORDER BY id DESC) AS nth FROM moves WHERE update_id = ANY($1)
        ) AS m WHERE nth <= $2 ORDER BY id";
    // Their moves go with them.
    REMOVE_OF_BRANCH = "DELETE FROM updates WHERE branch = $1";
    REMOVE_OF_TERMINAL = "DELETE FROM updates WHERE branch = $1 AND terminal = $2";
    STANDS = "SELECT u.branch, u.terminal, u.product, u.payload_sha256, u.state FROM terminals t
        JOIN assignments a ON a.branch = t.branch
        CROSS JOIN LATERAL (SELECT * FROM updates WHERE branch = t.branch AND terminal = t.name AND product = a.product
            ORDER BY id DESC LIMIT 1) AS u
        WHERE t.branch = ANY($1)";
}

/// The newest update of a terminal and which payload it installs.
#[derive(Debug, Clone)]
pub struct UpdateRow {
    id: i64,
    /// The branch.
    pub branch: BranchName,
    /// The terminal.
    pub terminal: TerminalName,
    /// The update; its history is filled by [`with_history`].
    pub update: TerminalUpdate,
}

/// What a terminal has of a product.
#[derive(Debug, Clone)]
pub struct StandRow {
    /// The branch.
    pub branch: BranchName,
    /// The terminal.
    pub terminal: TerminalName,
    /// The product.
    pub product: ProductName,
    /// The payload of its newest update.
    pub payload: Digest,
    /// Where that stands.
    pub state: UpdateState,
}

fn from_row(row: &Row) -> Result<UpdateRow, DatabaseError> {
    Ok(UpdateRow {
        id: get(row, "id")?,
        branch: text(row, "branch")?,
        terminal: text(row, "terminal")?,
        update: TerminalUpdate {
            serial: unsigned(row, "serial")?,
            product: text(row, "product")?,
            version: text(row, "version")?,
            state: text(row, "state")?,
            segments_done: unsigned(row, "segments_done")?,
            segments_total: unsigned(row, "segments_total")?,
            reason: reason(row)?,
            since: get(row, "since")?,
            history: Vec::new(),
            evidence: None,
        },
    })
}

fn reason(row: &Row) -> Result<Option<Reason>, DatabaseError> {
    row::reason(row, Some("reason_code"), "reason_text", "reason_json")
}

/// What is known of a terminal's newest update of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Of the plan that ordered it, or of a later one that names the same payload.
    pub serial: u64,
    /// What it installs.
    pub payload: Digest,
    /// Where its state stands among those of the terminal; none of agents that do not say it.
    pub position: Option<u64>,
}

/// The newest update of a terminal's product, held until the transaction ends.
#[derive(Debug)]
pub struct Newest {
    id: i64,
    /// What it is.
    pub known: Known,
    state: UpdateState,
}

/// Returns the newest update of a terminal's product and holds it.
///
/// # Errors
/// As every statement.
pub async fn newest_for_update<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    product: &ProductName,
) -> Result<Option<Newest>, DatabaseError> {
    let row = query_opt(c, NEWEST_FOR_UPDATE, &[&branch.as_str(), &terminal.as_str(), &product.as_str()]).await?;
    row.map(|row| {
        let position = get::<Option<i64>>(&row, "position")?.map(i64::unsigned_abs);
        let known = Known { serial: unsigned(&row, "serial")?, payload: text(&row, "payload_sha256")?, position };
        Ok(Newest { id: get(&row, "id")?, known, state: text(&row, "state")? })
    })
    .transpose()
}

/// Stores a report of an update, which must concern a known terminal.
///
/// A new update if it says it is the first move or speaks of another payload than the newest; a move if the state
/// differs from the stored one.
///
/// # Errors
/// As every statement.
pub async fn record<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    newest: Option<&Newest>,
    report: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let names: [&(dyn ToSql + Sync); 3] = [&branch.as_str(), &terminal.as_str(), &report.product.as_str()];
    let (version, payload) = (report.version.to_string(), report.payload.to_string());
    let (code, words, json) = reason_columns(report.reason.as_ref(), "reason_json")?;
    let (serial, done, total) = (signed(report.serial), signed(report.segments_done), signed(report.segments_total));
    let (state, from) = (report.state.as_str(), report.from.map(|s| s.as_str()));
    let position = report.position.as_ref().map(|position| signed(position.number));
    let continued = newest.filter(|newest| report.from.is_some() && newest.known.payload == report.payload);
    let (id, moved): (i64, bool) = if let Some(Newest { id, state: before, .. }) = continued {
        execute(c, ADVANCE, &[id, &serial, &state, &done, &total, &code, &words, &at, &json, &position]).await?;
        (*id, *before != report.state)
    } else {
        let rest: [&(dyn ToSql + Sync); 11] =
            [&serial, &version, &payload, &state, &done, &total, &code, &words, &at, &json, &position];
        let row = query_one(c, INSERT, &[&names[..], &rest[..]].concat()).await?;
        execute(c, FORGET, &[&branch.as_str(), &terminal.as_str(), &MAX_UPDATES]).await?;
        (get(&row, "id")?, true)
    };
    if moved {
        let evidence = report.evidence.as_ref().map(serde_json::to_string).transpose();
        let evidence = evidence.map_err(|e| DatabaseError::unwritable("moves.evidence", e))?;
        execute(c, ADD_MOVE, &[&id, &from, &state, &at, &code, &words, &MAX_MOVES, &evidence, &json]).await?;
        if evidence.is_some() {
            execute(c, FORGET_EVIDENCE, &[&branch.as_str(), &terminal.as_str(), &MAX_EVIDENCE]).await?;
        }
    }
    Ok(())
}

/// Fills in what is left of the update's failed boot, if it was rolled back.
///
/// # Errors
/// As every statement.
pub async fn with_evidence<C: GenericClient>(c: &C, mut row: UpdateRow) -> Result<UpdateRow, DatabaseError> {
    if let Some(found) = query_opt(c, EVIDENCE, &[&row.id]).await? {
        let evidence = serde_json::from_str(get(&found, "evidence")?);
        row.update.evidence = Some(evidence.map_err(|e| DatabaseError::value("moves.evidence", e))?);
    }
    Ok(row)
}

/// The newest update of each of some terminals, given as their branches and their names.
///
/// # Errors
/// As every statement.
pub async fn newest_of<C: GenericClient>(
    c: &C,
    branches: &[&str],
    names: &[&str],
) -> Result<Vec<UpdateRow>, DatabaseError> {
    query(c, NEWEST_OF, &[&branches, &names]).await?.iter().map(from_row).collect()
}

/// The newest update of one terminal.
///
/// # Errors
/// As every statement.
pub async fn newest_of_terminal<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<Option<UpdateRow>, DatabaseError> {
    let row = query_opt(c, NEWEST_OF_TERMINAL, &[&branch.as_str(), &terminal.as_str()]).await?;
    row.as_ref().map(from_row).transpose()
}

/// Forgets every update of a branch's terminals, with its moves.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await.map(drop)
}

/// Forgets the updates of a terminal.
///
/// # Errors
/// As every statement.
pub async fn remove_of_terminal<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_TERMINAL, &[&branch.as_str(), &terminal.as_str()]).await.map(drop)
}

/// Fills in every move of `updates`.
///
/// # Errors
/// As every statement.
pub async fn with_history<C: GenericClient>(
    c: &C,
    mut updates: Vec<UpdateRow>,
) -> Result<Vec<UpdateRow>, DatabaseError> {
    let ids: Vec<i64> = updates.iter().map(|u| u.id).collect();
    let mut moves: HashMap<i64, Vec<Move>> = HashMap::new();
    for row in &query(c, MOVES, &[&ids]).await? {
        let step = Move {
            from: text_opt(row, "from_state")?,
            to: text(row, "to_state")?,
            at: get(row, "at")?,
            reason: reason(row)?,
        };
        moves.entry(get(row, "update_id")?).or_default().push(step);
    }
    for update in &mut updates {
        update.update.history = moves.remove(&update.id).unwrap_or_default();
    }
    Ok(updates)
}

/// Fills in the newest moves of `updates`, without their reasons.
///
/// # Errors
/// As every statement.
pub async fn with_newest_moves<C: GenericClient>(
    c: &C,
    mut updates: Vec<UpdateRow>,
) -> Result<Vec<UpdateRow>, DatabaseError> {
    let ids: Vec<i64> = updates.iter().map(|u| u.id).collect();
    let mut moves: HashMap<i64, Vec<Move>> = HashMap::new();
    for row in &query(c, NEWEST_MOVES, &[&ids, &LISTED_MOVES]).await? {
        let (from, to) = (text_opt(row, "from_state")?, text(row, "to_state")?);
        let step = Move { from, to, at: get(row, "at")?, reason: None };
        moves.entry(get(row, "update_id")?).or_default().push(step);
    }
    for update in &mut updates {
        update.update.history = moves.remove(&update.id).unwrap_or_default();
    }
    Ok(updates)
}

/// Returns payload and state of each terminal's newest update of an assigned product.
///
/// # Errors
/// As every statement.
pub async fn stands<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<StandRow>, DatabaseError> {
    let rows = query(c, STANDS, &[&branches]).await?;
    rows.iter()
        .map(|row| {
            Ok(StandRow {
                branch: text(row, "branch")?,
                terminal: text(row, "terminal")?,
                product: text(row, "product")?,
                payload: text(row, "payload_sha256")?,
                state: text(row, "state")?,
            })
        })
        .collect()
}
