//! Table `terminals`: who enrolled here, and what runs there.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot, TerminalName, Version};
use tokio_postgres::Row;
use wire::v1::sync::TerminalFacts;

use super::rows::{Params, digest_opt, get, parsed, parsed_opt, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};

service_kit::statements! {
    ALL = "select name, model, slot_bytes, data_bytes, agent_version, last_heard, slot, version, denied
         from terminals order by name limit $1";
    COUNT = "select count(*) as count from terminals";
    FACTS = "select name, model, slot_bytes, data_bytes, agent_version, last_heard, slot, version, denied
         from terminals where name = $1";
    IDENTITY = "select name, key_sha256, certificate, enrolled, denied, asked_key_sha256, asked
         from terminals where name = $1";
    BY_KEY = "select name, key_sha256, certificate, enrolled, denied, asked_key_sha256, asked
         from terminals where key_sha256 = $1";
    ASKING = "select name, key_sha256, certificate, enrolled, denied, asked_key_sha256, asked
         from terminals where asked is not null and denied is null order by asked desc, name limit $1";
    LOCK = "select name from terminals where name = $1 for update";
    ENROL = "insert into terminals (name, model, slot_bytes, data_bytes, agent_version, key_sha256, enrolled, last_heard)
         values ($1, $2, $3, $4, $5, $6, $7, $7)
         on conflict (name) do update set model = excluded.model, slot_bytes = excluded.slot_bytes,
             data_bytes = excluded.data_bytes, agent_version = excluded.agent_version,
             key_sha256 = excluded.key_sha256, enrolled = excluded.enrolled, last_heard = excluded.last_heard";
    CERTIFIED = "update terminals set certificate = $2 where name = $1";
    ASKED = "update terminals set asked_key_sha256 = $2, asked = $3 where name = $1";
    DENY = "update terminals set denied = coalesce(denied, $2) where name = $1";
    DENIED = "select name, denied from terminals where denied is not null order by name";
    LET_IN = "select name from terminals where denied is null and name = any($1) order by name";
    ALLOW = "update terminals set denied = null, asked_key_sha256 = null, asked = null,
             certificate = case when key_sha256 = coalesce($2, key_sha256) then certificate end,
             key_sha256 = coalesce($2, key_sha256)
         where name = $1";
    SET_FACTS = "update terminals set model = $2, slot_bytes = $3, data_bytes = $4, agent_version = $5 where name = $1";
    HEARD = "update terminals set last_heard = greatest(last_heard, $2) where name = $1";
    RUNNING = "update terminals set slot = $2, version = $3 where name = $1";
}

/// What a terminal says of itself, and what is known of it.
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
    /// Since when it is denied.
    pub denied: Option<DateTime<Utc>>,
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
        denied: get(row, "denied")?,
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

/// By what a terminal is known.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whose it is.
    pub name: TerminalName,
    /// SHA-256 of its public key; none before it enrolled with one.
    pub key: Option<Digest>,
    /// The certificate that was issued last, in DER.
    pub certificate: Option<Vec<u8>>,
    /// When it enrolled.
    pub enrolled: DateTime<Utc>,
    /// Since when it is denied.
    pub denied: Option<DateTime<Utc>>,
    /// Another key that asked in its name, and when last.
    pub asked: Option<(Digest, DateTime<Utc>)>,
}

fn as_identity(row: &Row) -> Result<Identity, DatabaseError> {
    Ok(Identity {
        name: parsed(row, "name")?,
        key: digest_opt(row, "key_sha256")?,
        certificate: get(row, "certificate")?,
        enrolled: get(row, "enrolled")?,
        denied: get(row, "denied")?,
        asked: digest_opt(row, "asked_key_sha256")?.zip(get(row, "asked")?),
    })
}

/// By what this terminal is known.
pub async fn identity(client: &impl GenericClient, name: &TerminalName) -> Result<Option<Identity>, DatabaseError> {
    query_opt(client, IDENTITY, &[&name.as_str()]).await?.as_ref().map(as_identity).transpose()
}

/// The terminal that is known by this key.
pub async fn by_key(client: &impl GenericClient, key: &Digest) -> Result<Option<Identity>, DatabaseError> {
    query_opt(client, BY_KEY, &[&&key.as_bytes()[..]]).await?.as_ref().map(as_identity).transpose()
}

/// The terminals in whose names another key asked, the last first.
pub async fn asking(client: &impl GenericClient, limit: u64) -> Result<Vec<Identity>, DatabaseError> {
    query(client, ASKING, &[&signed(limit)]).await?.iter().map(as_identity).collect()
}

/// Locks a terminal until the transaction ends, so that its reports are taken one batch after the other.
pub async fn lock(tx: &impl GenericClient, name: &TerminalName) -> Result<bool, DatabaseError> {
    Ok(query_opt(tx, LOCK, &[&name.as_str()]).await?.is_some())
}

/// Enrols a terminal with the SHA-256 of its key: from now on that is what it is known by.
pub async fn enrol(
    client: &impl GenericClient,
    facts: &TerminalFacts,
    key: &Digest,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let params: Params<'_> = &[
        &facts.name.as_str(),
        &facts.model.as_str(),
        &signed(facts.slot_bytes),
        &signed(facts.data_bytes),
        &facts.agent_version,
        &&key.as_bytes()[..],
        &now,
    ];
    execute(client, ENROL, params).await.map(drop)
}

/// Keeps the certificate that was issued to a terminal, in DER.
pub async fn certified(
    client: &impl GenericClient,
    name: &TerminalName,
    certificate: &[u8],
) -> Result<(), DatabaseError> {
    execute(client, CERTIFIED, &[&name.as_str(), &certificate]).await.map(drop)
}

/// Another key asks in a terminal's name: the newest such is kept, to be shown.
pub async fn asked(
    client: &impl GenericClient,
    name: &TerminalName,
    key: &Digest,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(client, ASKED, &[&name.as_str(), &&key.as_bytes()[..], &now]).await.map(drop)
}

/// Denies a terminal's identity. `false` if there is no such terminal.
pub async fn deny(client: &impl GenericClient, name: &TerminalName, now: DateTime<Utc>) -> Result<bool, DatabaseError> {
    Ok(execute(client, DENY, &[&name.as_str(), &now]).await? == 1)
}

/// The denied terminals, and since when they are.
pub async fn denied(client: &impl GenericClient) -> Result<Vec<(TerminalName, DateTime<Utc>)>, DatabaseError> {
    let rows = query(client, DENIED, &[]).await?;
    rows.iter().map(|row| Ok((parsed(row, "name")?, get(row, "denied")?))).collect()
}

/// Those of these terminals that are known here and not denied.
pub async fn let_in(client: &impl GenericClient, names: &[TerminalName]) -> Result<Vec<TerminalName>, DatabaseError> {
    let names: Vec<&str> = names.iter().map(TerminalName::as_str).collect();
    query(client, LET_IN, &[&names]).await?.iter().map(|row| parsed(row, "name")).collect()
}

/// Lets a terminal's identity count again, with this key if one is given. `false` if there is no such terminal.
pub async fn allow(
    client: &impl GenericClient,
    name: &TerminalName,
    key: Option<&Digest>,
) -> Result<bool, DatabaseError> {
    let key = key.map(|key| &key.as_bytes()[..]);
    Ok(execute(client, ALLOW, &[&name.as_str(), &key]).await? == 1)
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
