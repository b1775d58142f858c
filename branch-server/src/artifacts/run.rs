//! Performs what [`super::plan`] and [`super::watch`] decide: one pass looks at everything, decides, and acts. Each
//! action may be repeated, and what a stop interrupted is found by the next pass, also after a restart.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash};
use service_kit::database::{Connection, DatabaseError, begin, commit};
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use service_kit::steady::SteadyTime;
use swarm::TorrentStatus;
use tokio::task::spawn_blocking;
use wire::v1::plan::Plan;

use super::action::Action;
use super::descriptions::{keep_description, renew_torrent};
use super::failure::ActionError;
use super::library::OverTheLink;
use super::look::{Records, View, look};
use super::model::{Stage, Wanted, manifests as named_manifests, wanted};
use super::parts::Parts;
use super::peers::{Guarded, Peers};
use super::plan::{Rules, Seen, decide};
use super::progress::Progress;
use super::trouble::{Trouble, Waiting};
use super::watch::{Answer, Look, Step, after_look};
use super::{check, describe};
use crate::db::{artifacts, manifests, plan};
use crate::terminals::calls::call_terminals;
use crate::text::presentable;

/// Longer than any branch is without a plan.
const FOREVER: TimeDelta = TimeDelta::days(36_500);

/// Makes passes, one after the other.
pub struct Runner {
    parts: Parts,
    /// What the tracker was last told; none before the first time, so that a start always tells it.
    listed: Option<BTreeSet<InfoHash>>,
    /// The manifests that the plan names, and by which artifacts.
    named: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Artifacts and manifests that could not be fetched: how often, and until when they rest.
    retries: BTreeMap<Digest, (Backoff, DateTime<Utc>)>,
    progress: Progress,
    peers: Peers,
    /// When each artifact was added again after a look.
    added: BTreeMap<Digest, DateTime<Utc>>,
    /// Artifacts that the daemon was asked to look for on the disk since they were last held.
    verified: BTreeSet<Digest>,
    /// Whether the clock jumped: nothing is dropped by an age that did not pass.
    steady: SteadyTime,
    /// Whether the room in the store could be learned the last time: said when it changes, not at every pass.
    room_known: bool,
}

impl Runner {
    /// For this program.
    pub fn new(parts: Parts) -> Self {
        let (progress, peers) = (Progress::new(parts.clone()), Peers::new(parts.clone()));
        let (named, retries, added, verified) = Default::default();
        let steady = SteadyTime::open(&parts.settings.state_folder, parts.settings.store.retention);
        Self { parts, listed: None, named, retries, progress, peers, added, verified, steady, room_known: true }
    }

    /// Makes one pass: looks, decides, acts. Returns the actions.
    ///
    /// # Errors
    /// The database is gone. A failure about one artifact becomes its trouble and delays no other.
    pub async fn pass(&mut self) -> Result<Vec<Action>, DatabaseError> {
        let client = self.parts.client().await?;
        let plan = plan::read(&client).await?.map(|stored| stored.open()).transpose()?;
        self.named = plan.as_ref().map_or_else(BTreeMap::new, named_manifests);
        let here = manifests::here(&client).await?;
        let records: Records =
            artifacts::all(&client).await?.into_iter().map(|r| (r.wanted.artifact.sha256, r)).collect();
        if let Err(error) = self.relist(&client).await {
            tracing::warn!(error = %chain(&error), "the tracker's access list is not up to date");
        }
        drop(client);
        let actions = self.look_and_decide(plan.as_ref(), &here, &records).await;
        for action in &actions {
            if self.parts.shutdown.is_stopping() {
                break;
            }
            self.perform(action, &records).await?;
        }
        Ok(actions)
    }

    /// Looks at engine and disk, and decides what to do about `plan`.
    async fn look_and_decide(
        &mut self,
        plan: Option<&Plan>,
        here: &BTreeSet<Digest>,
        records: &Records,
    ) -> Vec<Action> {
        let View { known, foreign, disk } = look(&self.parts, records).await;
        let room_known = disk.free_bytes.is_some();
        if std::mem::replace(&mut self.room_known, room_known) != room_known {
            tracing::warn!(folder = %self.parts.store.folder().display(), room_known, "free space of the store");
        }
        let missing = self.named.clone().into_iter().filter(|(manifest, _)| !here.contains(manifest)).collect();
        let backoffs = self.retries.iter().map(|(digest, (_, until))| (*digest, *until)).collect();
        let wanted = plan.map_or_else(Vec::new, wanted);
        let seen = Seen {
            wanted: &wanted,
            known: &known,
            missing: &missing,
            backoffs: &backoffs,
            foreign: &foreign,
            disk: &disk,
        };
        let (settings, now) = (&self.parts.settings, self.parts.clock.now());
        // Without a plan it is unknown what is not wanted, as after an update to signed plans: nothing is dropped then.
        let retention = if plan.is_some() { settings.store.retention } else { FOREVER };
        let steady = self.steady.look(&*self.parts.clock);
        let rules = Rules { retention, steady, fetch_at_once: settings.sync.fetch_at_once };
        decide(seen, rules, now)
    }

    async fn perform(&mut self, action: &Action, records: &Records) -> Result<(), DatabaseError> {
        if !matches!(action, Action::Watch(_) | Action::Wait { .. }) {
            tracing::info!(%action, "doing");
        }
        let done = match action {
            Action::Name(artifact) => self.set_unnamed(artifact, None).await,
            Action::Unname(artifact) => self.set_unnamed(artifact, Some(self.parts.clock.now())).await,
            Action::Retitle(wanted) => self.retitle(wanted).await,
            Action::Redescribe(wanted) => self.redescribe(records.get(&wanted.artifact.sha256), wanted).await,
            Action::Manifest(manifest) => self.manifest(manifest).await,
            Action::Fetch(wanted) => self.fetch(wanted).await,
            Action::Place(artifact) => self.place(records.get(artifact)).await,
            Action::Watch(artifact) => self.watch(records.get(artifact)).await,
            Action::Seed(artifact) => self.add(records.get(artifact)).await,
            Action::Stop(artifact) => self.stop(records.get(artifact)).await,
            Action::Drop(artifact) => self.drop_artifact(records.get(artifact)).await,
            Action::Release(hash) => self.parts.engine.remove(hash, false).await.map_err(Into::into),
            Action::Sweep(artifact) => self.evict(artifact).await,
            Action::Wait { wanted, why } => self.wait(wanted, why, records).await,
        };
        match done {
            Ok(()) => Ok(()),
            Err(ActionError::Database(error)) => Err(error),
            Err(error) => self.failed(action, &error).await,
        }
    }

    /// Records a failure as the artifact's trouble, and starts its backoff.
    async fn failed(&mut self, action: &Action, error: &ActionError) -> Result<(), DatabaseError> {
        let text = chain(error);
        tracing::warn!(%action, error = %text, "failed");
        let until = action.backs_off().map(|digest| self.back_off(digest));
        let Some(artifact) = action.subject() else { return Ok(()) };
        let client = self.parts.client().await?;
        let Some(record) = artifacts::read(&client, artifact).await? else { return Ok(()) };
        if let Some(until) = until {
            artifacts::back_off(&client, artifact, until).await?;
        }
        drop(client);
        self.progress
            .note(&record, record.have_bytes, false, Some(Trouble::Failed { error: presentable(&text) }.reason()))
            .await
    }

    /// Starts the next backoff of an artifact or manifest; returns its end.
    fn back_off(&mut self, digest: &Digest) -> DateTime<Utc> {
        let (sync, now) = (&self.parts.settings.sync, self.parts.clock.now());
        let fresh = || (Backoff::new(sync.retry, sync.retry_max), now);
        let (backoff, until) = self.retries.entry(*digest).or_insert_with(fresh);
        *until = now + TimeDelta::from_std(backoff.next()).unwrap_or(TimeDelta::minutes(1));
        *until
    }

    async fn set_unnamed(&self, artifact: &Digest, since: Option<DateTime<Utc>>) -> Result<(), ActionError> {
        Ok(artifacts::set_unnamed_since(&self.parts.client().await?, artifact, since).await?)
    }

    async fn retitle(&self, wanted: &Wanted) -> Result<(), ActionError> {
        Ok(artifacts::retitle(&self.parts.client().await?, wanted).await?)
    }

    /// Forgets how it was described; the data stays on the disk, and is verified when the new torrent is added.
    async fn redescribe(&mut self, record: Option<&artifacts::Record>, wanted: &Wanted) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        self.parts.engine.remove(&record.wanted.artifact.info_hash, false).await?;
        let mut client = self.parts.client().await?;
        let tx = begin(&mut client).await?;
        artifacts::delete(&tx, &record.wanted.artifact.sha256).await?;
        artifacts::insert(&tx, wanted).await?;
        commit(tx).await?;
        self.parts.signals.pass.notify_one();
        Ok(())
    }

    /// Brings a manifest here whose artifact is described already; terminals waited for it.
    async fn manifest(&mut self, manifest: &Digest) -> Result<(), ActionError> {
        let body = describe::fetch_manifest(&OverTheLink(&*self.parts.head_office), manifest).await?;
        let mut client = self.parts.client().await?;
        let tx = begin(&mut client).await?;
        manifests::insert(&tx, manifest, &body).await?;
        call_terminals(&tx, self.parts.clock.now()).await?;
        commit(tx).await?;
        self.retries.remove(manifest);
        Ok(())
    }

    /// Describes, lists and adds, as far as that is not done yet.
    async fn fetch(&mut self, wanted: &Wanted) -> Result<(), ActionError> {
        let artifact = &wanted.artifact;
        let described = keep_description(&self.parts.pool, &OverTheLink(&*self.parts.head_office), wanted).await?;
        let Some(record) = described else { return Ok(()) };
        if record.stage == Stage::Described {
            self.list(&artifact.sha256, &artifact.info_hash).await?;
        }
        self.add(Some(&record)).await?;
        self.retries.remove(&artifact.sha256);
        // Clears what it waited for before.
        Ok(self.progress.note(&record, record.have_bytes, false, None).await?)
    }

    /// Lets the tracker accept it; from then on it is offered to terminals, which are told to look.
    async fn list(&mut self, artifact: &Digest, hash: &InfoHash) -> Result<(), ActionError> {
        let mut client = self.parts.client().await?;
        self.relist(&client).await?;
        self.parts.tracker.confirm(hash).await?;
        let tx = begin(&mut client).await?;
        if artifacts::set_stage(&tx, artifact, Stage::Described, Stage::Listed).await? {
            call_terminals(&tx, self.parts.clock.now()).await?;
        }
        Ok(commit(tx).await?)
    }

    /// Writes the tracker's access list out of the database, if that says something new.
    async fn relist(&mut self, client: &Connection) -> Result<(), ActionError> {
        let hashes = artifacts::listed(client).await?;
        let tracker = self.parts.tracker.clone();
        // The file may have been lost behind our back.
        let on_disk = spawn_blocking(move || tracker.read()).await.map_err(ActionError::Task)?;
        if self.listed.as_ref() != Some(&hashes) || on_disk.is_ok_and(|there| there != hashes) {
            self.parts.tracker.replace(&hashes).await?;
            self.listed = Some(hashes);
        }
        Ok(())
    }

    /// Adds to the engine a torrent that is in both swarms. The tracker must accept it first: an announce that is
    /// refused costs the engine minutes.
    async fn add(&self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        let stored = artifacts::torrent(&self.parts.client().await?, &artifact.sha256).await?;
        let Some((_, Some(torrent))) = stored else { return Ok(()) };
        self.parts.tracker.confirm(&artifact.info_hash).await?;
        let torrent = describe::own_torrent(&torrent, &self.parts.settings.tracker.lan_announce_url)?;
        self.parts.engine.add(&torrent, self.parts.store.folder()).await?;
        Ok(())
    }

    /// The engine lets go of it before its file is another one, and verifies that when it gets it again.
    async fn place(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        self.parts.engine.remove(&artifact.info_hash, false).await?;
        let (store, digest) = (self.parts.store.clone(), artifact.sha256);
        spawn_blocking(move || store.place(&digest)).await.map_err(ActionError::Task)??;
        artifacts::set_progress(&self.parts.client().await?, &artifact.sha256, artifact.length, None).await?;
        self.retries.remove(&artifact.sha256);
        self.parts.signals.pass.notify_one();
        Ok(())
    }

    /// Looks at an artifact that the engine has, and does what that look means.
    async fn watch(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        let status = self.parts.engine.status(&artifact.info_hash).await?;
        let answer = status.as_ref().map(|status| self.answer(status));
        let look = Look {
            stage: record.stage,
            length: artifact.length,
            recorded_bytes: record.have_bytes,
            mismatches: record.mismatches,
            verified: self.verified.contains(&artifact.sha256),
            since_added: self.added.get(&artifact.sha256).map(|at| self.parts.clock.now() - *at),
            answer: answer.as_ref(),
        };
        let (steps, status) = (after_look(look), status.unwrap_or_default());
        for step in steps {
            match step {
                Step::Resume => {
                    self.added.insert(artifact.sha256, self.parts.clock.now());
                    self.add(Some(record)).await?;
                }
                Step::Settle => drop(self.verified.remove(&artifact.sha256)),
                Step::Serve => self.peers.serve(record, &status).await,
                Step::Check => check::start(&self.parts, record),
                Step::Verify => {
                    self.verified.insert(artifact.sha256);
                    self.parts.engine.verify(&artifact.info_hash).await?;
                }
                Step::Guard => match self.peers.guard(record, &status).await? {
                    Guarded::Removed => break,
                    Guarded::Stalled => self.renew_torrent(record, &status).await?,
                    Guarded::Stays => {}
                },
                Step::Damaged => {
                    let client = self.parts.client().await?;
                    artifacts::set_stage(&client, &artifact.sha256, Stage::Held, Stage::Listed).await?;
                }
                Step::Note { have_bytes, complete, trouble } => {
                    self.progress.note(record, have_bytes, complete, trouble.map(|t| t.reason())).await?;
                }
            }
        }
        Ok(())
    }

    /// Head office's tracker may have moved since the torrent came.
    async fn renew_torrent(&self, record: &artifacts::Record, status: &TorrentStatus) -> Result<(), ActionError> {
        let (library, artifact) = (OverTheLink(&*self.parts.head_office), &record.wanted.artifact.sha256);
        let torrent = match renew_torrent(&self.parts.pool, &library, &record.wanted).await {
            Ok(torrent) => torrent,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the torrent could not be asked for again");
                return Ok(());
            }
        };
        // The engine is compared, not what was stored: it may have been away when another torrent was stored.
        let lan = &self.parts.settings.tracker.lan_announce_url;
        if describe::own_trackers(&torrent, lan)?.iter().all(|tracker| status.announces_to(tracker)) {
            return Ok(());
        }
        tracing::info!(%artifact, "head office's tracker has another address: the torrent is added again");
        self.add(Some(record)).await
    }

    /// Returns what a decision needs of the engine's answer.
    fn answer(&self, status: &TorrentStatus) -> Answer {
        Answer {
            have_bytes: status.have_bytes,
            complete: status.complete,
            verifying: status.verifying,
            running: status.running,
            announces_here: status.announces_to(&self.parts.settings.tracker.lan_announce_url),
            rate_down: status.rate_down,
            trouble: status.trouble.clone(),
        }
    }

    async fn stop(&self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        Ok(self.parts.engine.remove(&record.wanted.artifact.info_hash, false).await?)
    }

    /// Out of sight of terminals, then of the tracker, the engine, the disk and the database.
    async fn drop_artifact(&mut self, record: Option<&artifacts::Record>) -> Result<(), ActionError> {
        let Some(record) = record else { return Ok(()) };
        let artifact = &record.wanted.artifact;
        let client = self.parts.client().await?;
        artifacts::set_dropping(&client, &artifact.sha256).await?;
        self.relist(&client).await?;
        drop(client);
        self.parts.engine.remove(&artifact.info_hash, true).await?;
        self.evict(&artifact.sha256).await?;
        let mut client = self.parts.client().await?;
        let tx = begin(&mut client).await?;
        artifacts::delete(&tx, &artifact.sha256).await?;
        manifests::prune(&tx, &self.named.keys().copied().collect()).await?;
        commit(tx).await?;
        self.retries.remove(&artifact.sha256);
        self.added.remove(&artifact.sha256);
        self.progress.forget(&artifact.sha256);
        Ok(())
    }

    async fn evict(&self, artifact: &Digest) -> Result<(), ActionError> {
        let (store, artifact) = (self.parts.store.clone(), *artifact);
        Ok(spawn_blocking(move || store.evict(&artifact)).await.map_err(ActionError::Task)??)
    }

    /// Records why it waits; an artifact in backoff already shows its error.
    async fn wait(&mut self, wanted: &Wanted, why: &Waiting, records: &Records) -> Result<(), ActionError> {
        if matches!(why, Waiting::Backoff { .. }) {
            return Ok(());
        }
        let client = self.parts.client().await?;
        artifacts::insert(&client, wanted).await?;
        let found = match records.get(&wanted.artifact.sha256) {
            Some(record) => Some(record.clone()),
            None => artifacts::read(&client, &wanted.artifact.sha256).await?,
        };
        drop(client);
        let Some(record) = found else { return Ok(()) };
        Ok(self.progress.note(&record, record.have_bytes, record.stage == Stage::Held, Some(why.reason())).await?)
    }
}
