//! Table `manifests`: releases' manifests, byte for byte.

use fleet_types::Digest;

use super::get;
use service_kit::database::{DatabaseError, GenericClient, execute, query_opt};

service_kit::statements! {
    READ = "select body from manifests where sha256 = $1";
    INSERT = "insert into manifests (sha256, body) values ($1, $2) on conflict do nothing";
    PRUNE = "delete from manifests m where not exists (select from artifacts a where a.manifest = m.sha256)";
}

/// A manifest's bytes.
pub async fn read(client: &impl GenericClient, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(client, READ, &[&&sha256.as_bytes()[..]]).await?.map(|row| get(&row, "body")).transpose()
}

/// Keeps a manifest whose digest was checked.
pub async fn insert(client: &impl GenericClient, sha256: &Digest, body: &[u8]) -> Result<(), DatabaseError> {
    execute(client, INSERT, &[&&sha256.as_bytes()[..], &body]).await.map(drop)
}

/// Forgets the manifests of artifacts that are gone.
pub async fn prune(client: &impl GenericClient) -> Result<u64, DatabaseError> {
    execute(client, PRUNE, &[]).await
}
