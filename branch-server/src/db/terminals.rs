//! Table `terminals`: who enrolled here, and what runs there.

use chrono::{DateTime, Utc};
use fleet_types::{Slot, TerminalName, Version};
use tokio_postgres::Row;
use wire::v1::sync::TerminalFacts;

use super::{Params, get, parsed, parsed_opt, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};

service_kit::statements! {
    ALL = "select name, model, slot_bytes, data_bytes, agent_version, last_heard, slot, version
         from terminals order by name limit $1";
    COUNT = "select count(*) as count from terminals";
    FACTS = "select name, model, slot_bytes, data_bytes, agent_version, last_heard, slot, version
         from terminals where name = $1";
    BY_TOKEN = "select name from terminals where token_sha256 = $1";
    LOCK = "select name from terminals where name = $1 for update";
    ENROL = "insert into terminals (name, model, slot_bytes, data_bytes, agent_version, token_sha256, enrolled, last_heard)
         values ($1, $2, $3, $4, $5, $6, $7, $7)
         on conflict (name) do update set model = excluded.model, slot_bytes = excluded.slot_bytes,
             data_bytes = excluded.data_bytes, agent_version = excluded.agent_version,
             token_sha256 = excluded.token_sha256, enrolled = excluded.enrolled, last_heard = excluded.last_heard";
    SET_FACTS = "update terminals set model = $2, slot_bytes = $3, data_bytes = $4, agent_version = $5 where name = $1";
    HEARD = "update terminals set last_heard = greatest(last_heard, $2) where name = $1";
    RUNNING = "update terminals set slot = $2, version = $3 where name = $1";
}

/// A row, without its token.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it says of itself.
    pub facts: TerminalFacts,
    /// When it was last heard.
    pub last_heard: DateTime<Utc>,
    /// The slot it runs from, once reported.
    pub slot: Option<Slot>,
    /// The version it runs, once reported.
    pub version: Option<Version>,
}

fn record(row: &Row) -> Result<Record, DatabaseError> {
    Ok(Record {
        facts: TerminalFacts {
            name: parsed(row, "name")?,
            model: parsed(row, "model")?,
            slot_bytes: unsigned(row, "slot_bytes")?,
            data_bytes: unsigned(row, "data_bytes")?,
            agent_version: get(row, "agent_version")?,
        },
        last_heard: get(row, "last_heard")?,
        slot: parsed_opt(row, "slot")?,
        version: parsed_opt(row, "version")?,
    })
}

/// The first `limit` terminals by name.
pub async fn all(client: &impl GenericClient, limit: u64) -> Result<Vec<Record>, DatabaseError> {
    query(client, ALL, &[&signed(limit)]).await?.iter().map(record).collect()
}

/// How many there are.
pub async fn count(client: &impl GenericClient) -> Result<u64, DatabaseError> {
    unsigned(&query_one(client, COUNT, &[]).await?, "count")
}

/// One terminal.
pub async fn read(client: &impl GenericClient, name: &TerminalName) -> Result<Option<Record>, DatabaseError> {
    query_opt(client, FACTS, &[&name.as_str()]).await?.as_ref().map(record).transpose()
}

/// Whose token has this SHA-256.
pub async fn by_token(
    client: &impl GenericClient,
    token_sha256: &[u8; 32],
) -> Result<Option<TerminalName>, DatabaseError> {
    query_opt(client, BY_TOKEN, &[&&token_sha256[..]]).await?.map(|row| parsed(&row, "name")).transpose()
}

/// Locks a terminal until the transaction ends, so that its reports are taken one batch after the other.
pub async fn lock(tx: &impl GenericClient, name: &TerminalName) -> Result<bool, DatabaseError> {
    Ok(query_opt(tx, LOCK, &[&name.as_str()]).await?.is_some())
}

/// Enrols a terminal with the SHA-256 of its token. One of the same name gets the new token; its old one ends.
pub async fn enrol(
    client: &impl GenericClient,
    facts: &TerminalFacts,
    token_sha256: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let params: Params<'_> = &[
        &facts.name.as_str(),
        &facts.model.as_str(),
        &signed(facts.slot_bytes),
        &signed(facts.data_bytes),
        &facts.agent_version,
        &&token_sha256[..],
        &now,
    ];
    execute(client, ENROL, params).await.map(drop)
}

/// Records what a terminal says of itself.
pub async fn set_facts(client: &impl GenericClient, facts: &TerminalFacts) -> Result<(), DatabaseError> {
    let params: Params<'_> = &[
        &facts.name.as_str(),
        &facts.model.as_str(),
        &signed(facts.slot_bytes),
        &signed(facts.data_bytes),
        &facts.agent_version,
    ];
    execute(client, SET_FACTS, params).await.map(drop)
}

/// A terminal was heard at `now`.
pub async fn heard(client: &impl GenericClient, name: &TerminalName, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(client, HEARD, &[&name.as_str(), &now]).await.map(drop)
}

/// What a terminal runs.
pub async fn set_running(
    client: &impl GenericClient,
    name: &TerminalName,
    slot: Slot,
    version: &Version,
) -> Result<(), DatabaseError> {
    execute(client, RUNNING, &[&name.as_str(), &slot.as_str(), &version.to_string()]).await.map(drop)
}
