//! Imports a kit: its content is judged as if it had come over the link.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::audit::{Audit, Change};
use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::{BranchName, Digest};
use futures_util::stream;
use serde_json::json;
use service_kit::Clock;
use service_kit::database::{DatabaseError, Pool, begin, connection};
use service_kit::edge::chain;
use service_kit::server::{ApiError, Caller, Missing};
use trust::client::{Body, Fetch, FetchError};
use wire::Code;
use wire::v1::kit::{CarriedArtifact, Imported, KIT_FORMAT, Kit, WantedArtifact};
use wire::v1::sync::Sync as Offer;

use super::consider::{ByHand, ConsiderError, Considered, Plans};
use super::metadata::Metadata;
use crate::artifacts::describe;
use crate::artifacts::descriptions::keep_description;
use crate::artifacts::failure::ActionError;
use crate::artifacts::library::Library;
use crate::artifacts::model::{Stage, Wanted, wanted};
use crate::db::{artifacts, manifests, plan};
use crate::signals::Signals;
use crate::text::presentable;
use crate::upstream::head_office::UpstreamError;

/// Most files of metadata and artifacts in a kit, of each.
const MAX_FILES: usize = 10_000;

/// What a kit carries, for those who fetch.
struct Carried {
    metadata: BTreeMap<String, Bytes>,
    artifacts: BTreeMap<Digest, CarriedArtifact>,
    manifests: BTreeMap<Digest, Bytes>,
}

#[async_trait]
impl Fetch for Carried {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        Ok(self.metadata.get(name).cloned().map(|bytes| Box::pin(stream::iter([Ok(bytes)])) as Body))
    }
}

impl Carried {
    fn artifact(&self, artifact: &Digest) -> Result<&CarriedArtifact, UpstreamError> {
        self.artifacts.get(artifact).ok_or(UpstreamError::NotCarried)
    }
}

#[async_trait]
impl Library for Carried {
    async fn index(&self, artifact: &Digest, max: usize) -> Result<Bytes, UpstreamError> {
        let index = &self.artifact(artifact)?.index.0;
        // Truncated to the limit: its digest then differs from the plan's too.
        Ok(Bytes::copy_from_slice(&index[..index.len().min(max)]))
    }

    async fn torrent(&self, artifact: &Digest) -> Result<Bytes, UpstreamError> {
        Ok(Bytes::copy_from_slice(&self.artifact(artifact)?.torrent.0))
    }

    async fn manifest(&self, manifest: &Digest) -> Result<Bytes, UpstreamError> {
        self.manifests.get(manifest).cloned().ok_or(UpstreamError::NotCarried)
    }
}

/// What the import of kits uses.
pub struct Kits {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The branch's plan.
    pub plans: Arc<Plans>,
    /// Signed metadata.
    pub metadata: Arc<Metadata>,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Where operators' changes are recorded.
    pub audit: Arc<Audit>,
}

impl Kits {
    /// Judges the kit's metadata and plan, describes what the plan names, and says which files are wanted.
    ///
    /// # Errors
    /// It is for another branch or of another format, or what it carries is refused: nothing changed then but what is shown.
    pub async fn import(&self, branch: Option<BranchName>, kit: Kit, caller: Caller) -> Result<Imported, ApiError> {
        let Some(branch) = branch else {
            let detail = "This branch server has not enrolled at head office, so it cannot import a kit.";
            return Err(ApiError::new(
                Code::NotReady,
                detail,
                "Enrol it once over the network; after that it works without.",
            ));
        };
        if kit.format != KIT_FORMAT {
            return Err(ApiError::bad_field("format", format!("is {}, this server knows {KIT_FORMAT}", kit.format)));
        }
        if kit.branch != branch {
            let detail = format!("This kit is for branch {}, this is branch {branch}.", kit.branch);
            return Err(ApiError::new(
                Code::OtherBranch,
                detail,
                format!("Write one with `filial kit export {branch}`."),
            ));
        }
        if kit.metadata.len().max(kit.artifacts.len()).max(kit.manifests.len()) > MAX_FILES {
            return Err(ApiError::bad_field("kit", format!("has more than {MAX_FILES} files")));
        }
        let offer = Offer { plan: kit.plan, available: Vec::new(), metadata: None, denied: None };
        let carried = Arc::new(Carried {
            metadata: kit.metadata.into_iter().map(|(name, blob)| (name, blob.0.into())).collect(),
            artifacts: kit.artifacts.into_iter().map(|a| (a.artifact, a)).collect(),
            manifests: kit.manifests.into_iter().map(|(digest, blob)| (digest, blob.0.into())).collect(),
        });
        let before = plan::read(&connection(&self.pool).await?).await?.map(|kept| kept.serial);
        let change = Change::of(format!("kit of {}", kit.made_at.format("%Y-%m-%d %H:%M UTC")));
        let change = change.before(json!({ "plan": before, "metadata": self.metadata.believed().version() }));
        let by_hand = ByHand { metadata: carried.clone(), caller, change };
        let new_plan = match self.plans.consider(branch, offer, Some(by_hand)).await {
            Ok(Considered::Refused(refusal)) => {
                let remedy = "Write a new kit at head office with `filial kit export` and import that.";
                return Err(ApiError::new(Code::KitRefused, presentable(&refusal.to_string()), remedy));
            }
            Ok(considered) => considered == Considered::Kept,
            Err(ConsiderError::Database(error)) => return Err(error.into()),
            Err(error) => return Err(ApiError::internal(error)),
        };
        tracing::info!(made_at = %kit.made_at, new_plan, "kit imported");
        let imported = self.describe_all(&carried, new_plan).await;
        self.signals.pass.notify_one();
        imported
    }

    /// Records that an operator brought the file of an artifact, which is in the store now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn brought(&self, artifact: &Digest, length: u64, caller: &Caller) -> Result<(), DatabaseError> {
        let mut client = connection(&self.pool).await?;
        let change = Change::of(format!("artifact {artifact}")).after(json!({ "brought_bytes": length }));
        self.audit.commit(begin(&mut client).await?, caller, change).await
    }

    async fn describe_all(&self, carried: &Carried, new_plan: bool) -> Result<Imported, ApiError> {
        let client = connection(&self.pool).await?;
        let stored = plan::read(&client).await?;
        let followed = stored.map(|stored| stored.open()).transpose()?;
        drop(client);
        let mut wants = Vec::new();
        for wanted in followed.iter().flat_map(wanted) {
            if !carried.artifacts.contains_key(&wanted.artifact.sha256) {
                continue;
            }
            if self.describe_one(carried, &wanted).await? {
                wants.push(WantedArtifact { artifact: wanted.artifact.sha256, length: wanted.artifact.length });
            }
        }
        if let Some(plan) = &followed {
            let client = connection(&self.pool).await?;
            let here = manifests::here(&client).await?;
            for step in plan.entries().filter(|step| !here.contains(&step.manifest)) {
                if carried.manifests.contains_key(&step.manifest) {
                    let body =
                        describe::fetch_manifest(carried, &step.manifest).await.map_err(|e| refused(&e.into()))?;
                    manifests::insert(&client, &step.manifest, &body).await?;
                }
            }
        }
        let metadata = self.metadata.believed().version();
        Ok(Imported { serial: followed.map(|plan| plan.serial), new_plan, metadata, wants })
    }

    /// Describes an artifact; true if its file is wanted.
    async fn describe_one(&self, carried: &Carried, wanted: &Wanted) -> Result<bool, ApiError> {
        let kept = keep_description(&self.pool, carried, wanted).await.map_err(|e| refused(&e))?;
        let Some(record) = kept else { return Ok(false) };
        if record.retry_after.is_some() {
            // It is in backoff because the link is down.
            artifacts::back_off(&connection(&self.pool).await?, &wanted.artifact.sha256, self.clock.now()).await?;
        }
        let same = record.wanted.artifact == wanted.artifact;
        Ok(same && matches!(record.stage, Stage::Described | Stage::Listed))
    }
}

fn refused(error: &ActionError) -> ApiError {
    let remedy = "Write a new kit at head office with `filial kit export` and import that.";
    ApiError::new(Code::KitRefused, presentable(&chain(error)), remedy)
}

/// The record of an artifact whose file may be brought.
///
/// # Errors
/// No plan names it, or it is here already.
pub async fn awaited(pool: &Pool, artifact: &Digest) -> Result<Result<artifacts::Record, ApiError>, DatabaseError> {
    let record = artifacts::read(&connection(pool).await?, artifact).await?;
    Ok(match record {
        Some(record) if record.unnamed_since.is_none() => match record.stage {
            Stage::Described | Stage::Listed => Ok(record),
            Stage::Held => {
                let detail = format!("Artifact {artifact} is here already.");
                Err(ApiError::new(Code::WrongState, detail, "Continue with the next file."))
            }
            Stage::Wanted | Stage::Dropping => {
                let detail = format!("Artifact {artifact} is not described here yet.");
                Err(ApiError::new(Code::WrongState, detail, "Import the kit first with `filial kit import`."))
            }
        },
        _ => Err(ApiError::not_found(Missing::Other("planned artifact"), &artifact)),
    })
}
