//! Job `publish`: encode → hash → store; signed metadata; then access list → confirmed → seeded and announced → visible to
//! branches.
//!
//! In this order a crash between any two steps leaves nothing that a branch could see and not get or not believe: the metadata
//! may vouch for what no plan names, the tracker may know a torrent without peers, the daemon may seed what no plan
//! names; the next attempt goes on from there.

use std::sync::Arc;
use std::time::Duration;

use artifact::EncodeOptions;
use async_trait::async_trait;
use fleet_types::{Digest, ReleaseState, size};
use serde::{Deserialize, Serialize};
use service_kit::clock::Stopwatch;
use service_kit::database::{DatabaseError, JobContext, JobError, JobHandler, begin, commit, connection};
use service_kit::edge::{chain, is_disk_full};
use tokio::sync::Notify;
use trust::Why;
use uuid::Uuid;
use wire::v1::plan::ArtifactRef;
use wire::{Reason, ReasonCode};

use super::encode::{self, Hashed, PublishError};
use super::meter::{announce, measured};
use super::moves::{PUBLISH, advance, moved, subject};
use super::{signing, uploads};
use crate::db;
use crate::db::payloads::PayloadRow;
use crate::metrics::Counters;
use crate::seeding::seeder::{SeedError, Seeder};
use crate::seeding::tracker::Tracker;
use crate::store::folders::Store;
use crate::store::holds::Reader;
use crate::trust::Trust;

/// How often a daemon that verifies is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a daemon may neither verify nor have all before that is called a failure.
const STUCK: Duration = Duration::from_secs(30);

/// Progress that the payload rows do not record. Every step is checked again all the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    #[default]
    Encoding,
    Signing,
    Listing,
    Seeding,
    Showing,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    stage: Stage,
}

/// The job `publish`.
pub struct Publish {
    /// The folders.
    pub store: Store,
    /// How artifacts are encoded.
    pub options: EncodeOptions,
    /// Signs the metadata that vouches for a release.
    pub trust: Trust,
    /// Lists the torrents.
    pub tracker: Arc<Tracker>,
    /// Seeds the torrents.
    pub seeder: Seeder,
    /// Counts the attempts.
    pub counters: Counters,
    /// Wakes the watch over the metadata.
    pub watch: Arc<Notify>,
    /// Wakes retention.
    pub retire: Arc<Notify>,
}

#[async_trait]
impl JobHandler for Publish {
    fn kind(&self) -> &'static str {
        PUBLISH
    }

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        self.counters.attempt_began(PUBLISH);
        let id = subject(context)?;
        let outcome = self.publish(context, id).await;
        if self.was_withdrawn(context, id).await? {
            // Whatever the outcome, it is not wanted any more.
            self.undo(context, id).await?;
            // What was signed meanwhile the watch over the metadata takes back.
            self.watch.notify_one();
            return Ok(());
        }
        outcome
    }

    async fn failed(&self, context: &JobContext, failure: &str, last: bool) -> Result<(), DatabaseError> {
        self.counters.attempt_failed(PUBLISH);
        let Ok(id) = subject(context) else { return Ok(()) };
        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(()) };
        if last && release.state == ReleaseState::Publishing {
            let reasons = [Reason::new(ReasonCode::PublishingFailed, failure)];
            let withdrawn = advance(&transaction, &release, ReleaseState::Withdrawn, &reasons, context.clock.now());
            if let Err(error) = withdrawn.await {
                tracing::error!(error = %chain(&error), "a release could not be withdrawn");
            }
        } else if release.state == ReleaseState::Publishing {
            let attempt = context.job.attempts;
            let text = format!("Attempt {attempt} to publish failed and will be repeated: {failure}");
            let reason = Reason::of(ReasonCode::PublishingRetried).with("attempt", attempt).with("cause", text);
            db::releases::set_reasons(&transaction, id, &[reason]).await?;
        }
        commit(transaction).await?;
        self.retire.notify_one();
        Ok(())
    }
}

impl Publish {
    /// Everything, from wherever an earlier attempt left off.
    async fn publish(&self, context: &JobContext, id: Uuid) -> Result<(), JobError> {
        if !self.begin(context, id).await? {
            return Ok(());
        }
        // In use until the release is published or the attempt ended.
        let mut in_use = Vec::new();
        for row in self.payloads(context, id).await? {
            self.check(context, id).await?;
            if let Some(artifact) = &row.artifact {
                in_use.push(self.hold(&artifact.sha256)?);
            }
            if !self.is_made(&row).await {
                in_use.push(self.make_artifact(context, id, &row).await?);
            }
            // Also after a kill between the transaction and this.
            let (store, payload) = (self.store.clone(), row.payload.sha256);
            let _ = tokio::task::spawn_blocking(move || encode::clean_up(&store, &payload)).await;
        }
        let rows = self.payloads(context, id).await?;
        self.vouch(context, id, &rows).await?;
        let artifacts: Vec<ArtifactRef> = rows.into_iter().filter_map(|row| row.artifact).collect();
        self.list(context, id, &artifacts).await?;
        self.seed(context, id, &artifacts).await?;
        self.show(context, id).await
    }

    /// From `approved` to `publishing`; false if there is nothing to publish (any more).
    async fn begin(&self, context: &JobContext, id: Uuid) -> Result<bool, JobError> {
        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(false) };
        match release.state {
            ReleaseState::Publishing => return Ok(true),
            ReleaseState::Approved => {}
            _ => return Ok(false),
        }
        let now = context.clock.now();
        advance(&transaction, &release, ReleaseState::Publishing, &[], now).await.map_err(moved)?;
        commit(transaction).await?;
        Ok(true)
    }

    async fn was_withdrawn(&self, context: &JobContext, id: Uuid) -> Result<bool, JobError> {
        let client = connection(&context.pool).await?;
        Ok(db::releases::find(&client, id).await?.is_some_and(|r| r.state == ReleaseState::Withdrawn))
    }

    /// [`JobError::Interrupted`] once the work is not needed.
    ///
    /// The worker stops, or the release was withdrawn.
    async fn check(&self, context: &JobContext, id: Uuid) -> Result<(), JobError> {
        context.check()?;
        if self.was_withdrawn(context, id).await? { Err(JobError::Interrupted) } else { Ok(()) }
    }

    /// Removes what was begun for a release that was withdrawn.
    ///
    /// What lies in the store already is retention's.
    async fn undo(&self, context: &JobContext, id: Uuid) -> Result<(), JobError> {
        for row in self.payloads(context, id).await? {
            let (store, payload) = (self.store.clone(), row.payload.sha256);
            let _ = tokio::task::spawn_blocking(move || encode::clean_up(&store, &payload)).await;
        }
        uploads::remove(&self.store.upload(id)).await;
        self.retire.notify_one();
        Ok(())
    }

    /// Keeps retention from removing the artifact while the answer lives.
    fn hold(&self, artifact: &Digest) -> Result<Reader, JobError> {
        let text =
            "A withdrawn release's copy of this artifact is being removed; the artifact is encoded again after that.";
        self.store.holds().read(artifact).ok_or_else(|| JobError::Retry(text.to_owned()))
    }

    /// Whether the payload's artifact lies in the store, whole.
    async fn is_made(&self, row: &PayloadRow) -> bool {
        let Some(artifact) = &row.artifact else { return false };
        tokio::fs::metadata(self.store.artifact(artifact)).await.is_ok_and(|m| m.len() == artifact.length)
    }

    async fn payloads(&self, context: &JobContext, id: Uuid) -> Result<Vec<PayloadRow>, JobError> {
        let client = connection(&context.pool).await?;
        Ok(db::payloads::of_releases(&client, &[id]).await?)
    }

    async fn make_artifact(&self, context: &JobContext, id: Uuid, row: &PayloadRow) -> Result<Reader, JobError> {
        let (store, payload) = (self.store.clone(), row.clone());
        let options = self.options;
        let encoded = measured(context, id, "encoding", row.payload.length, move |meter| {
            let progress = |p: artifact::EncodeProgress| meter.set(p.done, p.resumed);
            let encoded = encode::encode(&store, &payload, &options, &progress, &|| meter.is_cancelled());
            encoded.map(|encoded| (encoded, meter.resumed()))
        });
        let (encoded, resumed) = encoded.await?.map_err(|e| failure(&self.store, e))?;
        self.check(context, id).await?;
        tracing::info!(release = %id, payload = row.payload.name, artifact = %encoded.sha256, resumed, "encoded");
        let in_use = self.hold(&encoded.sha256)?;

        let (store, payload) = (self.store.clone(), row.payload.sha256);
        let hashed = measured(context, id, "hashing", encoded.length, move |meter| {
            let hashed = encode::hash(&store, &payload, &encoded, &mut |done| meter.set(done, 0))?;
            encode::place(&store, &payload, &hashed.artifact)?;
            Ok(hashed)
        });
        let Hashed { artifact, torrent } = hashed.await?.map_err(|e| failure(&self.store, e))?;

        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        let (file, now) = (torrent.to_file(&[]), context.clock.now());
        db::artifacts::insert(&transaction, &artifact, &file, &row.payload.sha256, now).await?;
        db::payloads::set_artifact(&transaction, id, &row.payload.name, &artifact.sha256).await?;
        commit(transaction).await?;
        Ok(in_use)
    }

    /// Publishes metadata that vouches for the payloads and their artifacts.
    ///
    /// Head office signs the payloads itself only if it is configured to.
    async fn vouch(&self, context: &JobContext, id: Uuid, rows: &[PayloadRow]) -> Result<(), JobError> {
        context.save_state(&State { stage: Stage::Signing }).await?;
        self.check(context, id).await?;
        announce(context, id, "signing", 0, 1).await?;
        let release = {
            let client = connection(&context.pool).await?;
            db::releases::find(&client, id).await?
        };
        let payloads = release.map(|release| signing::of_rows(&release, rows)).unwrap_or_default();
        if payloads.is_empty() {
            return Err(JobError::GiveUp("The release has no payloads that could be signed.".to_owned()));
        }
        let artifacts = rows.iter().filter_map(signing::artifact_of).collect();
        self.trust.vouch(payloads, artifacts, context.clock.now()).await.map_err(|error| match error.why() {
            Some(Why::NotSigned | Why::ProposalContent) => JobError::GiveUp(error.to_string()),
            _ => JobError::Retry(error.to_string()),
        })
    }

    async fn list(&self, context: &JobContext, id: Uuid, artifacts: &[ArtifactRef]) -> Result<(), JobError> {
        context.save_state(&State { stage: Stage::Listing }).await?;
        announce(context, id, "listing", 0, 1 + artifacts.len() as u64).await?;
        let told = |error| JobError::Retry(format!("{}.", chain(&error)));
        self.tracker.list_all(&context.pool).await.map_err(told)?;
        for (done, artifact) in artifacts.iter().enumerate() {
            self.check(context, id).await?;
            announce(context, id, "listing", 1 + done as u64, 1 + artifacts.len() as u64).await?;
            self.tracker.confirm(&artifact.info_hash).await.map_err(told)?;
        }
        Ok(())
    }

    async fn seed(&self, context: &JobContext, id: Uuid, artifacts: &[ArtifactRef]) -> Result<(), JobError> {
        context.save_state(&State { stage: Stage::Seeding }).await?;
        for artifact in artifacts {
            self.check(context, id).await?;
            announce(context, id, "seeding", 0, artifacts.len() as u64).await?;
            if !self.seeder.add(artifact).await.map_err(unseeded)? {
                return Err(JobError::GiveUp(format!("Artifact {} has no torrent.", artifact.sha256)));
            }
            self.wait_until_seeding(context, id, artifact).await?;
            self.seeder.engine.announce(&artifact.info_hash).await.map_err(|e| unseeded(e.into()))?;
        }
        Ok(())
    }

    /// The daemon verifies what it is given: only then does it seed.
    async fn wait_until_seeding(&self, context: &JobContext, id: Uuid, artifact: &ArtifactRef) -> Result<(), JobError> {
        let mut idle_since = Stopwatch::start();
        loop {
            self.check(context, id).await?;
            let status = self.seeder.engine.status(&artifact.info_hash).await.map_err(|e| unseeded(e.into()))?;
            let Some(status) = status else {
                return Err(JobError::Retry("The BitTorrent daemon forgot the torrent it was given.".into()));
            };
            if status.complete && !status.verifying {
                return Ok(());
            }
            if !status.complete && !status.verifying && (status.have_bytes == 0 || !status.running) {
                // The daemon was killed, and has forgotten what it verified.
                self.seeder.add(artifact).await.map_err(unseeded)?;
            }
            if status.verifying {
                idle_since = Stopwatch::start();
            } else if idle_since.elapsed() > STUCK {
                let trouble = status.trouble.unwrap_or_else(|| "no reason given".to_owned());
                let file = self.store.artifact(artifact);
                return Err(JobError::Retry(format!(
                    "The BitTorrent daemon verified {} of {} bytes of {} and is stuck ({trouble}). Check that it may read the file.",
                    status.have_bytes,
                    status.total_bytes,
                    file.display()
                )));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// From `publishing` to `published`: from this commit on plans may name it.
    ///
    /// Never while the metadata does not vouch for it, whatever became of them since they were signed.
    async fn show(&self, context: &JobContext, id: Uuid) -> Result<(), JobError> {
        context.save_state(&State { stage: Stage::Showing }).await?;
        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        if let Some(release) = db::releases::lock(&transaction, id).await?
            && release.state == ReleaseState::Publishing
        {
            let rows = db::payloads::of_releases(&transaction, &[id]).await?;
            let artifacts: Vec<_> = rows.iter().filter_map(signing::artifact_of).collect();
            if !self.trust.vouches(&signing::of_rows(&release, &rows), &artifacts) {
                return Err(JobError::Retry(
                    "The signed metadata changed meanwhile and does not vouch for the release.".into(),
                ));
            }
            let now = context.clock.now();
            advance(&transaction, &release, ReleaseState::Published, &[], now).await.map_err(moved)?;
        }
        commit(transaction).await?;
        uploads::remove(&self.store.upload(id)).await;
        Ok(())
    }
}

/// A failure to seed, for the job.
///
/// An invalid torrent does not become valid by another attempt.
fn unseeded(error: SeedError) -> JobError {
    match error {
        SeedError::Database(error) => error.into(),
        SeedError::Torrent(..) => JobError::GiveUp(format!("{}.", chain(&error))),
        SeedError::Engine(_) | SeedError::Tracker(_) => JobError::Retry(format!("{}.", chain(&error))),
    }
}

fn failure(store: &Store, error: PublishError) -> JobError {
    if error.is_cancelled() {
        return JobError::Interrupted;
    }
    let text = format!("{}.", chain(&error));
    if is_disk_full(&error) {
        let free = store.free_bytes().unwrap_or(0);
        return JobError::Retry(format!(
            "The disk of head office's store {} is full ({} free). Free space there: publishing continues by \
             itself where it stopped. {text}",
            store.folder().display(),
            size(free)
        ));
    }
    if error.is_final() { JobError::GiveUp(text) } else { JobError::Retry(text) }
}
