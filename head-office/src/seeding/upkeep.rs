//! Keeps tracker and BitTorrent daemon in step with the database: at start and periodically, since both can forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, InfoHash};
use service_kit::Clock;
use service_kit::database::connection;
use swarm::TorrentStatus;
use wire::v1::plan::ArtifactRef;

use super::lonely::Lonely;
use super::seeder::{SeedError, Seeder};
use super::tracker::Tracker;
use crate::db;
use crate::db::torrent_renewals::RenewalRow;

/// Within this time a torrent is renewed at most twice for one branch, and for all of them once in [`FIRST_WAIT`].
///
/// While the daemon verifies it again, it serves no branch. What one branch asks for puts no other off for long.
const RENEWAL_INTERVAL: TimeDelta = TimeDelta::minutes(10);

/// So long after the first renewal the branch should have something.
///
/// Transmission takes every peer for a seed of which it hears when the tracker counts nobody who fetches: it must not ask
/// before the branch announced its loss.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);

/// A torrent is renewed at most so often for one request. After that something else keeps the branch from fetching.
const TRIES: u32 = 5;

/// Most torrents that are looked at in one pass for being without peers.
const AT_ONCE: usize = 64;

type Renewal = (DateTime<Utc>, BranchName);

/// Returns the time before which a torrent is not renewed for this branch, by the renewals of it within
/// [`RENEWAL_INTERVAL`], the oldest first.
fn not_before(renewals: &[Renewal], branch: &BranchName) -> Option<DateTime<Utc>> {
    let mut own = renewals.iter().filter(|(_, whose)| whose == branch).map(|(at, _)| *at);
    let own = match (own.next(), own.next()) {
        (Some(first), Some(_)) => Some(first + RENEWAL_INTERVAL),
        (only, _) => only.map(|at| at + FIRST_WAIT),
    };
    own.max(renewals.last().map(|(at, _)| *at + FIRST_WAIT))
}

/// Returns until when the renewal of a torrent that the daemon verifies is put off.
///
/// A renewed torrent is verified from the beginning: renewals for one branch after the other would keep it from serving any.
fn while_verifying(status: Option<&TorrentStatus>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    status.is_some_and(|status| status.verifying).then_some(now + FIRST_WAIT)
}

/// The task `seeding`: lists what must be listed and seeds what must be seeded.
pub struct Upkeep {
    seeder: Seeder,
    tracker: Arc<Tracker>,
    clock: Arc<dyn Clock>,
    /// After a start the tracker is told even if the file is right.
    ///
    /// It may have missed the last signal.
    listed_once: bool,
    /// Whether the trackers of every torrent were compared since the start.
    seeded_once: bool,
    /// When this process renewed each torrent within [`RENEWAL_INTERVAL`], and for whom.
    renewed: BTreeMap<Digest, Vec<Renewal>>,
    lonely: Lonely,
    /// Where the next pass begins to look for torrents without peers.
    looked: usize,
}

impl Upkeep {
    /// Makes the task.
    pub fn new(seeder: &Seeder, tracker: &Arc<Tracker>, clock: &Arc<dyn Clock>) -> Self {
        let (seeder, tracker, clock) = (seeder.clone(), tracker.clone(), clock.clone());
        Self {
            seeder,
            tracker,
            clock,
            listed_once: false,
            seeded_once: false,
            renewed: BTreeMap::new(),
            lonely: Lonely::default(),
            looked: 0,
        }
    }

    /// Compares daemon and tracker with the database once and mends what differs.
    ///
    /// # Errors
    /// As [`SeedError`]; the next pass goes on.
    pub async fn pass(&mut self) -> Result<(), SeedError> {
        self.list().await?;
        // In this order: whatever the daemon was given had its row before.
        let held: BTreeSet<_> = self.seeder.engine.list().await?.into_iter().collect();
        let (wanted, listed) = {
            let client = connection(&self.seeder.pool).await?;
            let listed: BTreeSet<_> = db::artifacts::listed(&client).await?.into_iter().collect();
            (db::artifacts::seeded(&client).await?, listed)
        };
        // Put away while the daemon was still loading its torrents, or of a database that was restored since.
        for stray in held.difference(&listed) {
            self.seeder.engine.remove(stray, false).await?;
            tracing::warn!(hash = %stray, "removed a torrent from the BitTorrent daemon that the database does not know");
        }
        let renewed = self.renew(&wanted).await?;
        self.seed(&wanted, &held, &renewed).await?;
        self.seeded_once = true;
        self.announce_again(&wanted).await
    }

    /// Has the tracker told again of what a branch should fetch and no peer does.
    async fn announce_again(&mut self, wanted: &[ArtifactRef]) -> Result<(), SeedError> {
        let client = connection(&self.seeder.pool).await?;
        let seeded: Vec<Digest> = wanted.iter().map(|artifact| artifact.sha256).collect();
        let fetched = db::branches::fetched(&client, &seeded).await?;
        drop(client);
        let fetched: Vec<&ArtifactRef> = wanted.iter().filter(|a| fetched.contains(&a.sha256)).collect();
        self.lonely.keep(&fetched.iter().map(|a| a.info_hash).collect());
        // Beyond the bound they take turns.
        let (from, many) = (self.looked % fetched.len().max(1), fetched.len().min(AT_ONCE));
        self.looked = from + many;
        for artifact in fetched.iter().cycle().skip(from).take(many) {
            let Some(status) = self.seeder.engine.status(&artifact.info_hash).await? else { continue };
            if self.lonely.look(&artifact.info_hash, &status, self.clock.now()) {
                tracing::info!(artifact = %artifact.sha256, "a branch should fetch it and no peer does: it is announced again");
                self.seeder.engine.announce(&artifact.info_hash).await?;
            }
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), SeedError> {
        if self.listed_once {
            self.tracker.repair(&self.seeder.pool).await?;
        } else {
            self.tracker.list_all(&self.seeder.pool).await?;
            self.listed_once = true;
        }
        Ok(())
    }

    /// Renews the torrents that branches asked for, until it helps.
    ///
    /// Those renewed now.
    async fn renew(&mut self, wanted: &[ArtifactRef]) -> Result<BTreeSet<Digest>, SeedError> {
        let now = self.clock.now();
        // A clock that was set back does not prolong the wait.
        self.renewed.values_mut().for_each(|all| all.retain(|(at, _)| *at <= now && now < *at + RENEWAL_INTERVAL));
        self.renewed.retain(|_, all| !all.is_empty());
        let due = {
            let client = connection(&self.seeder.pool).await?;
            db::torrent_renewals::due(&client, now).await?
        };
        let mut renewed = BTreeSet::new();
        for request in &due {
            let again = self.follow(request, wanted, &mut renewed, now).await?;
            // Only now: a kill before this renews once more, a row that was changed before would be forgotten.
            let client = connection(&self.seeder.pool).await?;
            match again {
                Some((renewals, due)) => db::torrent_renewals::put_off(&client, request, renewals, due).await?,
                None => db::torrent_renewals::end(&client, request).await?,
            }
        }
        Ok(renewed)
    }

    /// Renews the torrent of a request, if that may help.
    ///
    /// Returns how often it was renewed for the request, and when to look again; `None`: no more.
    async fn follow(
        &mut self,
        request: &RenewalRow,
        wanted: &[ArtifactRef],
        renewed: &mut BTreeSet<Digest>,
        now: DateTime<Utc>,
    ) -> Result<Option<(u32, DateTime<Utc>)>, SeedError> {
        // What is seeded again later is added again then.
        let Some(artifact) = wanted.iter().find(|a| a.sha256 == request.artifact) else { return Ok(None) };
        if !renewed.contains(&artifact.sha256) {
            let renewals = self.renewed.entry(artifact.sha256).or_default();
            if let Some(not_before) = not_before(renewals, &request.branch).filter(|at| now < *at) {
                return Ok(Some((request.renewals, not_before)));
            }
            let status = self.seeder.engine.status(&artifact.info_hash).await?;
            if let Some(later) = while_verifying(status.as_ref(), now) {
                return Ok(Some((request.renewals, later)));
            }
            let Some(_reader) = self.seeder.store.holds().read(&artifact.sha256) else { return Ok(None) };
            if !self.seeder.renew(artifact).await? {
                return Ok(None);
            }
            let branch = &request.branch;
            tracing::warn!(%branch, artifact = %artifact.sha256, "a branch lost its copy: renewed the torrent to serve it again");
            renewals.push((now, branch.clone()));
            renewed.insert(artifact.sha256);
        }
        let renewals = request.renewals + 1;
        let wait = if renewals == 1 { FIRST_WAIT } else { RENEWAL_INTERVAL };
        Ok((renewals < TRIES).then_some((renewals, now + wait)))
    }

    /// Returns the torrents that announce to the tracker of an earlier configuration.
    async fn outdated(
        &self,
        wanted: &[ArtifactRef],
        held: &BTreeSet<InfoHash>,
    ) -> Result<BTreeSet<InfoHash>, SeedError> {
        let mut outdated = BTreeSet::new();
        for hash in wanted.iter().map(|a| a.info_hash).filter(|hash| held.contains(hash)) {
            let status = self.seeder.engine.status(&hash).await?;
            if status.is_some_and(|status| !status.announces_to(&self.seeder.announce_url)) {
                outdated.insert(hash);
            }
        }
        Ok(outdated)
    }

    /// Adds what the daemon lacks.
    ///
    /// One that was killed comes back with torrents that are stopped or empty.
    async fn seed(
        &self,
        wanted: &[ArtifactRef],
        held: &BTreeSet<InfoHash>,
        renewed: &BTreeSet<Digest>,
    ) -> Result<(), SeedError> {
        let forgotten: BTreeSet<_> = self.seeder.engine.not_seeding().await?.into_iter().collect();
        let outdated = if self.seeded_once { BTreeSet::new() } else { self.outdated(wanted, held).await? };
        let is_idle = |hash| !held.contains(hash) || forgotten.contains(hash) || outdated.contains(hash);
        for artifact in wanted.iter().filter(|a| !renewed.contains(&a.sha256) && is_idle(&a.info_hash)) {
            // Retention cannot put it away while this is held: seeded after that, the tracker would refuse it.
            let Some(_reader) = self.seeder.store.holds().read(&artifact.sha256) else { continue };
            if self.seeder.add(artifact).await? {
                tracing::info!(artifact = %artifact.sha256, "seeding again");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_of_a_torrent_that_is_verified_is_put_off() {
        let now: DateTime<Utc> = "2026-11-30T20:00:00Z".parse().unwrap();
        let status = |verifying| TorrentStatus { verifying, ..TorrentStatus::default() };
        assert_eq!(while_verifying(Some(&status(true)), now), Some(now + FIRST_WAIT));
        assert_eq!(while_verifying(Some(&status(false)), now), None);
        assert_eq!(while_verifying(None, now), None, "it is added");
    }

    #[test]
    fn the_renewals_of_one_branch_put_no_other_off() {
        let start: DateTime<Utc> = "2026-11-30T20:00:00Z".parse().unwrap();
        let after = |seconds| start + TimeDelta::seconds(seconds);
        let [north, south]: [BranchName; 2] = ["north", "south"].map(|name| name.parse().unwrap());
        assert_eq!(not_before(&[], &north), None);
        let once = [(start, north.clone())];
        assert_eq!(not_before(&once, &north), Some(after(30)));
        assert_eq!(not_before(&once, &south), Some(after(30)));
        let twice = [(start, north.clone()), (after(30), north.clone())];
        assert_eq!(not_before(&twice, &north), Some(after(600)));
        assert_eq!(not_before(&twice, &south), Some(after(60)), "the last renewal gets its half minute, no more");
        let between = [(start, north.clone()), (after(30), north.clone()), (after(590), south.clone())];
        assert_eq!(not_before(&between, &north), Some(after(620)));
    }
}
