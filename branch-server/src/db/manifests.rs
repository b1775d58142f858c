//! Table `manifests`: releases' manifests, byte for byte.

use std::collections::BTreeSet;

use fleet_types::Digest;

use super::rows::{digest, get};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};

service_kit::statements! {
    READ = "select body from manifests where sha256 = $1";
    INSERT = "insert into manifests (sha256, body) values ($1, $2) on conflict do nothing";
    HERE = "select sha256 from manifests";
    PRUNE = "delete from manifests m
         where sha256 <> all ($1) and not exists (select from artifacts a where a.manifest = m.sha256)";
}

/// A manifest's bytes.
pub async fn read(client: &impl GenericClient, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(client, READ, &[&&sha256.as_bytes()[..]]).await?.map(|row| get(&row, "body")).transpose()
}

/// Keeps a manifest whose digest was checked.
pub async fn insert(client: &impl GenericClient, sha256: &Digest, body: &[u8]) -> Result<(), DatabaseError> {
    execute(client, INSERT, &[&&sha256.as_bytes()[..], &body]).await.map(drop)
}

/// The manifests that are here.
pub async fn here(client: &impl GenericClient) -> Result<BTreeSet<Digest>, DatabaseError> {
    query(client, HERE, &[]).await?.iter().map(|row| digest(row, "sha256")).collect()
}

/// Forgets the manifests that are neither an artifact's nor among `named`, those of the plan.
pub async fn prune(client: &impl GenericClient, named: &BTreeSet<Digest>) -> Result<u64, DatabaseError> {
    let named: Vec<&[u8]> = named.iter().map(|d| &d.as_bytes()[..]).collect();
    execute(client, PRUNE, &[&named]).await
}
