//! Does what [`super::plan`] decided: one pass looks at everything, decides, and acts. Each action may be repeated,
//! and what a stop interrupted is found by the next pass, also that of the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash};
use service_kit::database::{Connection, DatabaseError, connection};
use service_kit::retry::Backoff;

use super::calls::call_terminals;
use super::descriptions::{OverTheLink, keep_description};
use super::failure::ActionError;
use super::peers::Peers;
use super::plan::{self, Action, InEngine, Known, Rules, Seen, Stage, Waiting, Wanted};
use super::progress::{Progress, in_the_way};
use super::{check, describe};
use crate::app::App;
use crate::db::{self, artifacts, manifests};
use service_kit::edge::chain;

/// Longer than any branch is without a plan.
const FOR_EVER: TimeDelta = TimeDelta::days(36_500);

/// Makes passes, one after the other.
pub struct Runner {
    app: Arc<App>,
    /// What the tracker was last told; none before the first time, so that a start always tells it.
    listed: Option<BTreeSet<InfoHash>>,
    /// The manifests that the plan names, and by which artifacts.
    named: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Artifacts and manifests that could not be fetched: how often, and until when they rest.
    retries: BTreeMap<Digest, (Backoff, DateTime<Utc>)>,
    progress: Progress,
    peers: Peers,
    /// Artifacts that the daemon was asked to look for on the disk since they were last held.
    verified: BTreeSet<Digest>,
    /// Whether the room in the store could be learned the last time: said when it changes, not at every pass.
    room_known: bool,
}

impl Runner {
    /// For this program.
    pub fn new(app: Arc<App>) -> Self {
        let (progress, peers) = (Progress::new(app.clone()), Peers::new(app.clone()));
        let (named, retries, verified) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { app, listed: None, named, retries, progress, peers, verified, room_known: true }
    }

    /// Looks, decides, acts; what was decided.
    ///
    /// # Errors
    /// The database is gone. What fails about one artifact becomes its trouble and holds up no other.
    pub async fn pass(&mut self) -> Result<Vec<Action>, DatabaseError> {
        let client = connection(&self.app.pool).await?;
        let stored = db::plan::read(&client).await?;
        let plan = stored.map(|stored| stored.open()).transpose()?;
        let wanted = plan.as_ref().map_or_else(Vec::new, plan::wanted);
        self.named = plan.as_ref().map_or_else(BTreeMap::new, plan::manifests);
        let here = manifests::here(&client).await?;
        let missing = self.named.clone().into_iter().filter(|(manifest, _)| !here.contains(manifest)).collect();
        let records: BTreeMap<Digest, artifacts::Record> =
            artifacts::all(&client).await?.into_iter().map(|r| (r.wanted.artifact.sha256, r)).collect();
        let torrents = match self.app.engine.list().await {
            Ok(list) => Some(BTreeSet::from_iter(list)),
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the engine does not answer");
                None
            }
        };
        let ours: BTreeSet<InfoHash> = records.values().map(|r| r.wanted.artifact.info_hash).collect();
        let (store, names) = (self.app.store.clone(), BTreeSet::from_iter(records.keys().copied()));
        let disk = tokio::task::spawn_blocking(move || store.disk(|artifact| names.contains(artifact))).await;
        let disk = disk.unwrap_or_default();
        let mut known: Vec<Known> = records.values().map(|r| seen(r, torrents.as_ref(), &disk)).collect();
        for k in known.iter_mut().filter(|k| k.unnamed_since.is_some()) {
            k.in_use = self.is_in_use(&k.wanted.artifact).await;
        }
        let foreign = torrents.unwrap_or_default().difference(&ours).copied().collect();
        if std::mem::replace(&mut self.room_known, disk.free_bytes.is_some()) != disk.free_bytes.is_some() {
            tracing::warn!(folder = %self.app.store.folder().display(), known = self.room_known, "room in the store");
        }
        if let Err(error) = self.relist(&client).await {
            tracing::warn!(error = %chain(&error), "the tracker's access list could not be brought up to date");
        }
        drop(client);
        let now = self.app.clock.now();
        let seen = Seen { wanted: &wanted, known: &known, missing: &missing, foreign: &foreign, disk: &disk };
        let settings = &self.app.settings;
        // Without a plan nobody knows what is not wanted, as after an update to signed plans: nothing is given up then.
        let retention = if plan.is_some() { settings.store.retention } else { FOR_EVER };
        let rules = Rules { retention, fetch_at_once: settings.sync.fetch_at_once };
        let actions = plan::decide(seen, rules, now);
        for action in &actions {
            if self.app.shutdown.is_stopping() {
                break;
            }
            self.perform(action, &records).await?;
        }
        Ok(actions)
    }

    async fn perform(
        &mut self,
        action: &Action,
        records: &BTreeMap<Digest, artifacts::Record>,
    ) -> Result<(), DatabaseError> {
        if !matches!(action, Action::Watch(_) | Action::Wait { .. }) {
            tracing::info!(%action, "doing");
        }
        let done = match action {
            Action::Name(artifact) => self.set_unnamed(artifact, None).await,
            Action::Unname(artifact) => self.set_unnamed(artifact, Some(self.app.clock.now())).await,
            Action::Retitle(wanted) => self.retitle(wanted).await,
            Action::Redescribe(wanted) => self.redescribe(records.get(&wanted.artifact.sha256), wanted).await,
            Action::Manifest(manifest) => self.manifest(manifest).await,
            Action::Fetch(wanted) => self.fetch(wanted).await,
            Action::Place(artifact) => self.place(records.get(artifact)).await,
            Action::Watch(artifact) => self.watch(records.get(artifact)).await,
            Action::Seed(artifact) => self.add(records.get(artifact)).await,
            Action::Stop(artifact) => self.stop(records.get(artifact)).await,
            Action::Drop(artifact) => self.drop_artifact(records.get(artifact)).await,
            Action::Release(hash) => self.app.engine.remove(hash, false).await.map_err(Into::into),
            Action::Sweep(artifact) => self.evict(artifact).await,
            Action::Wait { wanted, why } => self.wait(wanted, why, records).await,
        };
        match done {
            Ok(()) => Ok(()),
            Err(ActionError::Database(error)) => Err(error),
            Err(error) => self.failed(action, &error).await,
        }
    }

    /// What failed becomes the artifact's trouble, and it rests for a while.
    async fn failed(&mut self, action: &Action, error: &ActionError) -> Result<(), DatabaseError> {
        let text = chain(error);
        tracing::warn!(%action, error = %text, "failed");
        let (Action::Fetch(Wanted { artifact: wire::v1::plan::ArtifactRef { sha256: artifact, .. }, .. })
        | Action::Place(artifact)
        | Action::Watch(artifact)
        | Action::Seed(artifact)
        | Action::Stop(artifact)
        | Action::Drop(artifact)) = action
        else {
            if let Action::Manifest(manifest) = action {
                self.rest(manifest);
            }
            return Ok(());
        };
        let client = connection(&self.app.pool).await?;
        let Some(record) = artifacts::read(&client, artifact).await? else { return Ok(()) };
        if matches!(action, Action::Fetch(_) | Action::Seed(_)) {
            let until = self.rest(artifact);
            artifacts::rest(&client, artifact, until).await?;
        }
        drop(client);
        self.progress.note(&record, record.have_bytes, false, Some(text)).await
    }

    /// Until when something that failed once more rests.
    fn rest(&mut self, digest: &Digest) -> DateTime<Utc> {
        let (sync, now) = (&self.app.settings.sync, self.app.clock.now());
        let fresh = || (Backoff::new(sync.retry, sync.retry_max), now);
        let (backoff, until) = self.retries.entry(*digest).or_insert_with(fresh);
        *until = now + TimeDelta::from_std(backoff.next()).unwrap_or(TimeDelta::minutes(1));
        *until
    }

    /// Whether somebody reads its file: a check of ours, or a peer that has not all of it.
    async fn is_in_use(&self, artifact: &wire::v1::plan::ArtifactRef) -> bool {
        let fetching = |peers: Vec<swarm::Peer>| peers.iter().any(|peer| peer.progress < 1.0);
        self.app.checks.is_running(&artifact.sha256)
            || self.app.engine.peers(&artifact.info_hash).await.is_ok_and(fetching)
    }

    async fn set_unnamed(&self, artifact: &Digest, since: Option<DateTime<Utc>>) -> Result<(), ActionError> {
        Ok(artifacts::set_unnamed_since(&connection(&self.app.pool).await?, artifact, since).await?)
    }

    async fn retitle(&self, wanted: &Wanted) -> Result<(), ActionError> {
        Ok(artifacts::retitle(&connection(&self.app.pool).await?, wanted).await?)
    }

    /// Forgets how it was described; the data stays on the disk, and is verified when the new torrent is added.
    async fn redescribe(&mut self, record: Option<&artifacts::Record>, wanted: &Wanted) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        self.app.engine.remove(&record.wanted.artifact.info_hash, false).await?;
        let mut client = connection(&self.app.pool).await?;
        let tx = db::begin(&mut client).await?;
        artifacts::delete(&tx, &record.wanted.artifact.sha256).await?;
        artifacts::insert(&tx, wanted).await?;
        db::commit(tx).await?;
        self.app.signals.pass.notify_one();
        Ok(())
    }

    /// Brings a manifest here whose artifact is described already; terminals waited for it.
    async fn manifest(&mut self, manifest: &Digest) -> Result<(), ActionError> {
        let now = self.app.clock.now();
        if self.retries.get(manifest).is_some_and(|(_, until)| *until > now) {
            return Ok(());
        }
        let body = describe::fetch_manifest(&OverTheLink(&*self.app.head_office), manifest).await?;
        let mut client = connection(&self.app.pool).await?;
        let tx = db::begin(&mut client).await?;
        manifests::insert(&tx, manifest, &body).await?;
        call_terminals(&tx, now).await?;
        db::commit(tx).await?;
        self.retries.remove(manifest);
        Ok(())
    }

    /// Describes, lists and adds, as far as that is not done yet.
    async fn fetch(&mut self, wanted: &Wanted) -> Result<(), ActionError> {
        let artifact = &wanted.artifact;
        let described = keep_description(&self.app.pool, &OverTheLink(&*self.app.head_office), wanted).await?;
        let Some(record) = described else { return Ok(()) };
        if record.stage == Stage::Described {
            self.list(&artifact.sha256, &artifact.info_hash).await?;
        }
        self.add(Some(&record)).await?;
        self.retries.remove(&artifact.sha256);
        // What it waited for before is over.
        Ok(self.progress.note(&record, record.have_bytes, false, None).await?)
    }

    /// Lets the tracker accept it; from then on it is offered to terminals, which are told to look.
    async fn list(&mut self, artifact: &Digest, hash: &InfoHash) -> Result<(), ActionError> {
        let mut client = connection(&self.app.pool).await?;
        self.relist(&client).await?;
        self.app.tracker.confirm(hash).await?;
        let tx = db::begin(&mut client).await?;
        if artifacts::set_stage(&tx, artifact, Stage::Described, Stage::Listed).await? {
            call_terminals(&tx, self.app.clock.now()).await?;
        }
        Ok(db::commit(tx).await?)
    }

    /// Writes the tracker's access list out of the database, if that says something new.
    async fn relist(&mut self, client: &Connection) -> Result<(), ActionError> {
        let hashes = artifacts::listed(client).await?;
        let tracker = self.app.tracker.clone();
        // The file may have been lost behind our back.
        let on_disk = tokio::task::spawn_blocking(move || tracker.read()).await.map_err(ActionError::Task)?;
        if self.listed.as_ref() != Some(&hashes) || on_disk.is_ok_and(|there| there != hashes) {
            self.app.tracker.replace(&hashes).await?;
            self.listed = Some(hashes);
        }
        Ok(())
    }

    /// Adds to the engine a torrent that is in both swarms. The tracker must accept it first: an announce that is
    /// refused costs the engine minutes.
    async fn add(&self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        let stored = artifacts::torrent(&connection(&self.app.pool).await?, &artifact.sha256).await?;
        let Some((_, Some(torrent))) = stored else { return Ok(()) };
        self.app.tracker.confirm(&artifact.info_hash).await?;
        let torrent = describe::own_torrent(&torrent, &self.app.settings.tracker.lan_announce_url)?;
        self.app.engine.add(&torrent, self.app.store.folder()).await?;
        Ok(())
    }

    /// The engine lets go of it before its file is another one, and verifies that when it gets it again.
    async fn place(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        self.app.engine.remove(&artifact.info_hash, false).await?;
        let (store, digest) = (self.app.store.clone(), artifact.sha256);
        tokio::task::spawn_blocking(move || store.place(&digest)).await.map_err(ActionError::Task)??;
        artifacts::set_progress(&connection(&self.app.pool).await?, &artifact.sha256, artifact.length, None).await?;
        self.retries.remove(&artifact.sha256);
        self.app.signals.pass.notify_one();
        Ok(())
    }

    /// How far it is; the whole is checked once it is complete.
    async fn watch(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        // Gone since it was listed: the next pass adds it again.
        let Some(status) = self.app.engine.status(&artifact.info_hash).await? else { return Ok(()) };
        if status.verifying {
            return Ok(());
        }
        if !status.running {
            self.add(Some(record)).await?;
        }
        match (record.stage, status.complete) {
            (Stage::Held, true) => {
                self.verified.remove(&artifact.sha256);
                self.peers.serve(record, &status).await;
                Ok(self.progress.note(record, artifact.length, true, None).await?)
            }
            (_, true) => {
                check::start(&self.app, record);
                Ok(())
            }
            // A daemon that was killed may have forgotten what it had: what is on the disk is not fetched twice.
            (stage, false)
                if (stage == Stage::Held || status.have_bytes < record.have_bytes / 2)
                    && self.verified.insert(artifact.sha256) =>
            {
                Ok(self.app.engine.verify(&artifact.info_hash).await?)
            }
            (_, false) => {
                if self.peers.watch(record, &status).await? {
                    return Ok(());
                }
                let client = connection(&self.app.pool).await?;
                let damaged = artifacts::set_stage(&client, &artifact.sha256, Stage::Held, Stage::Listed).await?;
                drop(client);
                let trouble = in_the_way(record, &status, damaged);
                Ok(self.progress.note(record, status.have_bytes, false, trouble).await?)
            }
        }
    }

    async fn stop(&self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        Ok(self.app.engine.remove(&record.wanted.artifact.info_hash, false).await?)
    }

    /// Out of sight of terminals, then of the tracker, the engine, the disk and the database.
    async fn drop_artifact(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        let client = connection(&self.app.pool).await?;
        artifacts::set_dropping(&client, &artifact.sha256).await?;
        self.relist(&client).await?;
        drop(client);
        self.app.engine.remove(&artifact.info_hash, true).await?;
        self.evict(&artifact.sha256).await?;
        let mut client = connection(&self.app.pool).await?;
        let tx = db::begin(&mut client).await?;
        artifacts::delete(&tx, &artifact.sha256).await?;
        manifests::prune(&tx, &self.named.keys().copied().collect()).await?;
        db::commit(tx).await?;
        self.retries.remove(&artifact.sha256);
        self.progress.forget(&artifact.sha256);
        Ok(())
    }

    async fn evict(&self, artifact: &Digest) -> Result<(), ActionError> {
        let (store, artifact) = (self.app.store.clone(), *artifact);
        Ok(tokio::task::spawn_blocking(move || store.evict(&artifact)).await.map_err(ActionError::Task)??)
    }

    /// Makes it visible that and why it waits. One that rests has its trouble already, which says more.
    async fn wait(
        &mut self,
        wanted: &Wanted,
        why: &Waiting,
        records: &BTreeMap<Digest, artifacts::Record>,
    ) -> Result<(), ActionError> {
        if matches!(why, Waiting::Resting { .. }) {
            return Ok(());
        }
        let client = connection(&self.app.pool).await?;
        artifacts::insert(&client, wanted).await?;
        let found = match records.get(&wanted.artifact.sha256) {
            Some(record) => Some(record.clone()),
            None => artifacts::read(&client, &wanted.artifact.sha256).await?,
        };
        drop(client);
        let Some(record) = found else { return Ok(()) };
        Ok(self.progress.note(&record, record.have_bytes, record.stage == Stage::Held, Some(why.to_string())).await?)
    }
}

fn seen(record: &artifacts::Record, torrents: Option<&BTreeSet<InfoHash>>, disk: &plan::Disk) -> Known {
    let artifact = &record.wanted.artifact;
    Known {
        wanted: record.wanted.clone(),
        stage: record.stage,
        have_bytes: record.have_bytes,
        engine: match torrents.map(|t| t.contains(&artifact.info_hash)) {
            None => InEngine::Unknown,
            Some(true) => InEngine::Present,
            Some(false) => InEngine::Absent,
        },
        unnamed_since: record.unnamed_since,
        retry_after: record.retry_after,
        stalled: record.trouble.is_some(),
        in_use: false,
        carried: disk.carried.contains(&artifact.sha256),
    }
}
