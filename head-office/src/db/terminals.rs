//! Table `terminals`.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ModelName, Slot, TerminalName, TerminalRef, Version};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use trust::PublicKey;
use wire::v1::sync::TerminalFacts;

use super::row::{get, signed, text, text_opt, unsigned};

service_kit::statements! {
    // A terminal that was removed while it was denied is denied when it comes back.
    UPSERT = "INSERT INTO terminals (branch, name, model, slot_bytes, data_bytes, agent_version, created_at, last_heard,
            denied_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7, (SELECT denied_at FROM denied_names WHERE branch = $1 AND name = $2))
        ON CONFLICT (branch, name)
        DO UPDATE SET model = $3, slot_bytes = $4, data_bytes = $5, agent_version = $6, last_heard = $7";
    SET_RUNNING = "UPDATE terminals SET slot = $3, version = $4, last_heard = $5 WHERE branch = $1 AND name = $2";
    HEARD = "UPDATE terminals SET last_heard = $3 WHERE branch = $1 AND name = $2";
    OF_BRANCH = "SELECT branch, name, model, slot_bytes, agent_version, slot, version, last_heard, report_key,
        asked_key, denied_at FROM terminals WHERE branch = $1 AND name > $2 ORDER BY name LIMIT $3";
    OF_BRANCHES = "SELECT t.branch, t.name, t.model, t.slot_bytes, t.agent_version, t.slot, t.version, t.last_heard,
        t.report_key, t.asked_key, t.denied_at
        FROM unnest($1::text[]) AS b (name)
        CROSS JOIN LATERAL (SELECT * FROM terminals WHERE branch = b.name ORDER BY name LIMIT $2) AS t";
    SHARES = "SELECT t.branch, t.name, t.model, t.slot_bytes, t.agent_version, t.slot, t.version, t.last_heard,
        t.report_key, t.asked_key, t.denied_at
        FROM unnest($1::text[], $2::bigint[]) AS b (name, most)
        CROSS JOIN LATERAL (SELECT * FROM terminals WHERE branch = b.name ORDER BY name LIMIT b.most) AS t
        ORDER BY t.branch, t.name";
    // The first key stays; another one waits. Answers with the key in force.
    PIN = "UPDATE terminals SET report_key = coalesce(report_key, $3),
        asked_key = CASE WHEN report_key <> $3 THEN $3 END WHERE branch = $1 AND name = $2 RETURNING report_key";
    KEYS = "SELECT report_key, asked_key FROM terminals WHERE branch = $1 AND name = $2";
    ACCEPT_KEY = "UPDATE terminals SET report_key = asked_key, asked_key = NULL
        WHERE branch = $1 AND name = $2 AND asked_key = $3";
    ASKING = "SELECT branch, name, model, slot_bytes, agent_version, slot, version, last_heard, report_key,
        asked_key, denied_at FROM terminals WHERE asked_key IS NOT NULL ORDER BY branch, name LIMIT $1";
    HEARD_SINCE = "SELECT name FROM terminals WHERE branch = $1 AND last_heard > $2 ORDER BY name LIMIT $3";
    REMOVE_OF_BRANCH = "DELETE FROM terminals WHERE branch = $1";
    ALL = "SELECT branch, name, model, slot_bytes, agent_version, slot, version, last_heard, report_key,
        asked_key, denied_at FROM terminals WHERE (branch, name) > ($1, $2) ORDER BY branch, name LIMIT $3";
    COUNT_ALL = "SELECT count(*) FROM terminals";
    FIND = "SELECT branch, name, model, slot_bytes, agent_version, slot, version, last_heard, report_key,
        asked_key, denied_at FROM terminals WHERE branch = $1 AND name = $2";
    COUNT = "SELECT branch, count(*) FROM terminals WHERE branch = ANY($1) GROUP BY branch";
    // What a denied terminal says of itself does not count.
    SMALLEST_SLOTS = "SELECT branch, name, model, slot_bytes FROM (SELECT branch, name, model, slot_bytes,
            row_number() OVER (PARTITION BY model ORDER BY slot_bytes, branch, name) AS nth
            FROM terminals WHERE denied_at IS NULL) AS t
        WHERE nth <= $1 ORDER BY model, nth";
    SET_DENIED = "UPDATE terminals SET denied_at = CASE WHEN $3 THEN coalesce(denied_at, $4) END
        WHERE branch = $1 AND name = $2";
    REMOVE = "DELETE FROM terminals WHERE branch = $1 AND name = $2";
}

/// A row.
#[derive(Debug, Clone)]
pub struct TerminalRow {
    /// Its branch.
    pub branch: BranchName,
    /// Its name.
    pub name: TerminalName,
    /// Its model.
    pub model: ModelName,
    /// Size of its smaller slot.
    pub slot_bytes: u64,
    /// Version of its agent.
    pub agent_version: String,
    /// The running slot.
    pub slot: Option<Slot>,
    /// The running version.
    pub version: Option<Version>,
    /// When it was last heard, by its branch's word.
    pub last_heard: DateTime<Utc>,
    /// By which key its states are proven.
    pub key: Option<String>,
    /// Another key, which waits for an operator.
    pub asked_key: Option<String>,
    /// Since when its branch server denies it.
    pub denied: Option<DateTime<Utc>>,
}

fn from_row(row: &Row) -> Result<TerminalRow, DatabaseError> {
    Ok(TerminalRow {
        branch: text(row, "branch")?,
        name: text(row, "name")?,
        model: text(row, "model")?,
        slot_bytes: unsigned(row, "slot_bytes")?,
        agent_version: get(row, "agent_version")?,
        slot: text_opt(row, "slot")?,
        version: text_opt(row, "version")?,
        last_heard: get(row, "last_heard")?,
        key: get(row, "report_key")?,
        asked_key: get(row, "asked_key")?,
        denied: get(row, "denied_at")?,
    })
}

/// Stores what a terminal says of itself.
///
/// # Errors
/// As every statement.
pub async fn upsert<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    facts: &TerminalFacts,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (slot, data) = (signed(facts.slot_bytes), signed(facts.data_bytes));
    let (branch, name, model) = (branch.as_str(), facts.name.as_str(), facts.model.as_str());
    execute(c, UPSERT, &[&branch, &name, &model, &slot, &data, &facts.agent_version, &at]).await.map(drop)
}

/// Pins a terminal's key if it has none, and returns the key in force.
///
/// Another key than the pinned one waits for an operator.
///
/// # Errors
/// As every statement.
pub async fn pin<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    key: &PublicKey,
) -> Result<Option<String>, DatabaseError> {
    let row = query_opt(c, PIN, &[&branch.as_str(), &name.as_str(), &key.to_string()]).await?;
    row.map_or(Ok(None), |row| get(&row, "report_key"))
}

/// By which keys a terminal's states are proven.
#[derive(Debug, Default)]
pub struct Keys {
    /// The one that counts; none before it reported one.
    pub accepted: Option<PublicKey>,
    /// The one that waits for an operator.
    pub asked: Option<PublicKey>,
}

/// Returns the keys of a terminal; none if there is no such terminal.
///
/// # Errors
/// As every statement.
pub async fn keys<C: GenericClient>(c: &C, branch: &BranchName, name: &TerminalName) -> Result<Keys, DatabaseError> {
    let Some(row) = query_opt(c, KEYS, &[&branch.as_str(), &name.as_str()]).await? else { return Ok(Keys::default()) };
    Ok(Keys { accepted: text_opt(&row, "report_key")?, asked: text_opt(&row, "asked_key")? })
}

/// The terminals whose new key waits for an operator, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn asking<C: GenericClient>(c: &C, limit: i64) -> Result<Vec<TerminalRow>, DatabaseError> {
    query(c, ASKING, &[&limit]).await?.iter().map(from_row).collect()
}

/// Accepts the key that waits. False if another key waits, or none.
///
/// # Errors
/// As every statement.
pub async fn accept_key<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    key: &PublicKey,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, ACCEPT_KEY, &[&branch.as_str(), &name.as_str(), &key.to_string()]).await? == 1)
}

/// Stores what runs. False if there is no such terminal.
///
/// # Errors
/// As every statement.
pub async fn set_running<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    slot: Slot,
    version: &Version,
    at: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let version = version.to_string();
    Ok(execute(c, SET_RUNNING, &[&branch.as_str(), &name.as_str(), &slot.as_str(), &version, &at]).await? == 1)
}

/// The terminal was heard. False if there is no such terminal.
///
/// # Errors
/// As every statement.
pub async fn heard<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    at: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, HEARD, &[&branch.as_str(), &name.as_str(), &at]).await? == 1)
}

/// The `limit` next terminals of a branch after `after` by name.
///
/// From the first on for an empty `after`.
///
/// # Errors
/// As every statement.
pub async fn of_branch<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    after: &str,
    limit: i64,
) -> Result<Vec<TerminalRow>, DatabaseError> {
    query(c, OF_BRANCH, &[&branch.as_str(), &after, &limit]).await?.iter().map(from_row).collect()
}

/// The terminals of some branches, at most `limit` of each.
///
/// # Errors
/// As every statement.
pub async fn of_branches<C: GenericClient>(
    c: &C,
    branches: &[&str],
    limit: i64,
) -> Result<Vec<TerminalRow>, DatabaseError> {
    query(c, OF_BRANCHES, &[&branches, &limit]).await?.iter().map(from_row).collect()
}

/// The first terminals of some branches by name, of each as many as its share says.
///
/// # Errors
/// As every statement.
pub async fn shares<C: GenericClient>(
    c: &C,
    branches: &[&str],
    shares: &[i64],
) -> Result<Vec<TerminalRow>, DatabaseError> {
    query(c, SHARES, &[&branches, &shares]).await?.iter().map(from_row).collect()
}

/// The terminals of a branch that were heard after `since`, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn heard_since<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<TerminalName>, DatabaseError> {
    query(c, HEARD_SINCE, &[&branch.as_str(), &since, &limit]).await?.iter().map(|row| text(row, "name")).collect()
}

/// Forgets the terminals of a branch, whose updates are forgotten already.
///
/// How many there were.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<u64, DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await
}

/// The `limit` next terminals after the terminal `after` (branch, name) by branch and name.
///
/// From the first on for empty names.
///
/// # Errors
/// As every statement.
pub async fn all<C: GenericClient>(c: &C, after: (&str, &str), limit: i64) -> Result<Vec<TerminalRow>, DatabaseError> {
    query(c, ALL, &[&after.0, &after.1, &limit]).await?.iter().map(from_row).collect()
}

/// How many there are.
///
/// # Errors
/// As every statement.
pub async fn count_all<C: GenericClient>(c: &C) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT_ALL, &[]).await?, "count")
}

/// One terminal.
///
/// # Errors
/// As every statement.
pub async fn find<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
) -> Result<Option<TerminalRow>, DatabaseError> {
    query(c, FIND, &[&branch.as_str(), &name.as_str()]).await?.first().map(from_row).transpose()
}

/// Records whether a terminal is denied. False if there is no such terminal.
///
/// # Errors
/// As every statement.
pub async fn set_denied<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    denied: bool,
    at: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, SET_DENIED, &[&branch.as_str(), &name.as_str(), &denied, &at]).await? == 1)
}

/// Forgets a terminal, whose updates are forgotten already. False if there is no such terminal.
///
/// # Errors
/// As every statement.
pub async fn remove<C: GenericClient>(c: &C, branch: &BranchName, name: &TerminalName) -> Result<bool, DatabaseError> {
    Ok(execute(c, REMOVE, &[&branch.as_str(), &name.as_str()]).await? == 1)
}

/// For each model of the fleet the `limit` smallest slots and who has them, the smallest first.
///
/// # Errors
/// As every statement.
pub async fn smallest_slots<C: GenericClient>(
    c: &C,
    limit: i64,
) -> Result<Vec<(ModelName, u64, TerminalRef)>, DatabaseError> {
    let rows = query(c, SMALLEST_SLOTS, &[&limit]).await?;
    rows.iter()
        .map(|row| {
            let terminal = TerminalRef { branch: text(row, "branch")?, terminal: text(row, "name")? };
            Ok((text(row, "model")?, unsigned(row, "slot_bytes")?, terminal))
        })
        .collect()
}

/// How many terminals some branches have.
///
/// # Errors
/// As every statement.
pub async fn count<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<(BranchName, u64)>, DatabaseError> {
    let rows = query(c, COUNT, &[&branches]).await?;
    rows.iter().map(|row| Ok((text(row, "branch")?, unsigned(row, "count")?))).collect()
}
