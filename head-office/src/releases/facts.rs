//! What the rules may know: gathered from the database in the transaction that judges, and bounded however large the
//! fleet is.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use fleet_types::{ModelName, Version};
use release::{External, Facts, Manifest, PreviousRelease, PublishedStep, Scan, SmallestSlot};
use service_kit::database::{DatabaseError, GenericClient};
use uuid::Uuid;

use crate::db;

/// Most releases that are looked at as steps on the way, newest first.
///
/// Each costs a look at its manifest.
const MAX_STEPS: usize = 256;

/// Most terminals of a model that a refusal names, those with the smallest slots.
const MAX_NAMED: i64 = 8;

/// Gathers everything that the rules ask for, at `now`.
///
/// # Errors
/// The database failed.
pub async fn gather<C: GenericClient>(
    c: &C,
    scan: &Scan,
    external: Option<External>,
    now: DateTime<Utc>,
) -> Result<Facts, DatabaseError> {
    let mut slots: BTreeMap<ModelName, SmallestSlot> = BTreeMap::new();
    for (model, bytes, terminal) in db::terminals::smallest_slots(c, MAX_NAMED).await? {
        // The smallest comes first.
        slots.entry(model).or_insert_with(|| SmallestSlot::new(bytes)).terminals.push((terminal, bytes));
    }
    let facts = Facts { now: Some(now), models: Some(slots), external, ..Facts::unknown() };
    let Some(manifest) = scan.manifest() else { return Ok(facts) };
    let product = &manifest.product;
    let models: BTreeSet<&ModelName> = manifest.payloads.iter().flat_map(|p| &p.compatible).collect();
    let models: Vec<ModelName> = models.into_iter().cloned().collect();
    let running = db::facts::running(c, &models, product).await?;
    let published = db::facts::published(c, product).await?;
    let far = |v: &Version| manifest.requires.as_ref().is_some_and(|r| *v < manifest.version && !r.contains(v));
    let steps = match running.versions.iter().filter_map(|r| r.version.as_ref()).any(far) {
        true => steps(c, &published).await?,
        // No version needs a step between.
        false => Vec::new(),
    };
    Ok(Facts {
        published: Some(db::releases::taken_versions(c, product).await?),
        withdrawn: Some(db::payloads::of_withdrawn(c, product, &manifest.version).await?),
        running: Some(running),
        steps: Some(steps),
        branches: db::facts::stores(c, &models, product).await?,
        previous: Some(previous(c, &published, &manifest.version).await?),
        ..facts
    })
}

/// What the published releases demand. A release whose manifest cannot be read is left out.
async fn steps<C: GenericClient>(c: &C, published: &[(Uuid, Version)]) -> Result<Vec<PublishedStep>, DatabaseError> {
    let mut steps = Vec::new();
    for (id, version) in published.iter().take(MAX_STEPS) {
        let manifest = db::facts::manifest(c, *id).await?;
        if let Some(Ok(manifest)) = manifest.as_deref().map(Manifest::parse) {
            steps.push(PublishedStep { version: version.clone(), requires: manifest.requires });
        }
    }
    Ok(steps)
}

/// The newest of the published releases below `version`.
async fn previous<C: GenericClient>(
    c: &C,
    published: &[(Uuid, Version)],
    version: &Version,
) -> Result<Option<PreviousRelease>, DatabaseError> {
    let below = published.iter().filter(|(_, v)| v < version).max_by(|a, b| a.1.cmp(&b.1));
    let Some((id, version)) = below else { return Ok(None) };
    let bytes = db::facts::payload_bytes(c, *id).await?;
    Ok(Some(PreviousRelease { version: version.clone(), bytes }))
}
