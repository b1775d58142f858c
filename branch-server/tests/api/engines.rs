//! A second engine: in this process, with names of its own for unfinished content, certain of who sent bad data. The server
//! fetches, serves, reports and drops with it, and no daemon of another engine runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use branch_server::artifacts::model::Stage;
use fleet_types::InfoHash;
use service_kit::Clock;
use swarm::tend::{BadData, Measure, Observation, Renewal, Subject};
use swarm::{ContentNames, Engine, EngineError, EngineInfo, Limits, Peer, PieceSet, Torrent, TorrentStatus};
use test_kit::wait_for;
use wire::v1::reports::Report;

use crate::daemons::{Daemons, publish, store, wait_for_stage};
use crate::fixture::Fixture;
use crate::support::{Branch, Options, PATIENCE, write};

const UNFINISHED: &str = ".incoming";

fn culprit() -> IpAddr {
    [10, 1, 0, 66].into()
}

/// One torrent of [`InProcess`].
struct Arriving {
    torrent: Torrent,
    folder: PathBuf,
    content: Vec<u8>,
    have: usize,
    corrupt: u64,
}

impl Arriving {
    fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.torrent.name()))
    }

    fn status(&self) -> TorrentStatus {
        let (have_bytes, total_bytes) = (self.have as u64, self.content.len() as u64);
        let complete = have_bytes == total_bytes;
        let corrupt_bytes = self.corrupt;
        TorrentStatus { have_bytes, total_bytes, complete, corrupt_bytes, running: true, ..TorrentStatus::default() }
    }

    /// Half of what is missing arrives, and at last the rest.
    fn fetch(&mut self) {
        let missing = self.content.len() - self.have;
        self.have += if missing > 1000 { missing / 2 } else { missing };
        write(&self.file(UNFINISHED), &self.content[..self.have]);
        if self.have == self.content.len() {
            fs::rename(self.file(UNFINISHED), self.file("")).unwrap();
        }
    }
}

#[derive(Default)]
struct State {
    content: BTreeMap<InfoHash, Vec<u8>>,
    torrents: BTreeMap<InfoHash, Arriving>,
    added: usize,
    /// Content stops arriving here.
    stop_at: Option<usize>,
    /// Measures that were asked for and not taken yet.
    pending: Vec<Measure>,
    taken: Vec<Measure>,
    blamed: bool,
}

/// An engine without a daemon: content comes from memory, and one bad piece with it.
#[derive(Default)]
struct InProcess(Mutex<State>);

impl InProcess {
    fn of(fixture: &Fixture) -> Arc<Self> {
        let engine = Self::default();
        engine.0.lock().unwrap().content.insert(fixture.step.artifact.info_hash, fixture.file.clone());
        Arc::new(engine)
    }

    fn options(self: &Arc<Self>, daemons: &Daemons) -> Options {
        Options { engine_url: Options::default().engine_url, engine: Some(self.clone()), ..daemons.options() }
    }
}

#[async_trait]
impl Engine for InProcess {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(EngineInfo { name: "in-process".into(), version: "1".into() })
    }

    async fn add(&self, torrent: &[u8], folder: &Path) -> Result<InfoHash, EngineError> {
        let torrent = Torrent::parse(torrent).map_err(EngineError::Torrent)?;
        let (hash, mut state) = (torrent.info_hash(), self.0.lock().unwrap());
        let content = state.content[&hash].clone();
        let arriving = Arriving { torrent, folder: folder.to_owned(), content, have: 0, corrupt: 0 };
        if !state.torrents.contains_key(&hash) {
            state.added += 1;
            state.torrents.insert(hash, arriving);
        }
        Ok(hash)
    }

    async fn status(&self, hash: &InfoHash) -> Result<Option<TorrentStatus>, EngineError> {
        let mut state = self.0.lock().unwrap();
        let (blamed, stop_at) = (state.blamed, state.stop_at.unwrap_or(usize::MAX));
        let Some(torrent) = state.torrents.get_mut(hash) else { return Ok(None) };
        if torrent.have < torrent.content.len().min(stop_at) {
            torrent.fetch();
        }
        torrent.corrupt = if blamed { 0 } else { 16_384 };
        Ok(Some(torrent.status()))
    }

    async fn pieces(&self, _: &InfoHash) -> Result<Option<PieceSet>, EngineError> {
        Ok(None)
    }

    async fn peers(&self, _: &InfoHash) -> Result<Vec<Peer>, EngineError> {
        Ok(Vec::new())
    }

    async fn list(&self) -> Result<Vec<InfoHash>, EngineError> {
        Ok(self.0.lock().unwrap().torrents.keys().copied().collect())
    }

    async fn not_seeding(&self) -> Result<Vec<InfoHash>, EngineError> {
        Ok(Vec::new())
    }

    async fn announce(&self, _: &InfoHash) -> Result<(), EngineError> {
        Ok(())
    }

    async fn set_limits(&self, _: Limits) -> Result<(), EngineError> {
        Ok(())
    }

    async fn verify(&self, _: &InfoHash) -> Result<(), EngineError> {
        Ok(())
    }

    fn content_names(&self) -> ContentNames {
        ContentNames::with_unfinished(UNFINISHED)
    }

    async fn observe(&self, subject: Subject) -> Observation {
        Observation::of(subject)
    }

    fn judge(&self, observation: &Observation) -> Vec<Measure> {
        let mut state = self.0.lock().unwrap();
        if state.blamed || observation.subject.status.corrupt_bytes == 0 {
            return Vec::new();
        }
        assert!(
            !observation.subject.sources.is_empty(),
            "bad data arrived: the engine is told who must not be refused"
        );
        state.blamed = true;
        let bad = BadData { wasted_bytes: 16_384, candidates: vec![culprit()], certain: true };
        let asked = vec![Measure::Report(bad), Measure::Refuse([culprit()].into()), Measure::Renew(Renewal::BadData)];
        state.pending.extend(asked.clone());
        asked
    }

    async fn tend(&self, hash: &InfoHash, measure: &Measure) -> Result<(), EngineError> {
        let mut state = self.0.lock().unwrap();
        let asked = state.pending.iter().position(|pending| pending == measure);
        let measure = state.pending.remove(asked.expect("a measure that was not asked for"));
        if matches!(measure, Measure::Renew(_)) {
            state.torrents.remove(hash);
        }
        state.taken.push(measure);
        Ok(())
    }

    async fn remove(&self, hash: &InfoHash, _: bool) -> Result<(), EngineError> {
        self.0.lock().unwrap().torrents.remove(hash);
        Ok(())
    }
}

fn bad_peers(branch: &Branch) -> Vec<(Vec<IpAddr>, u64, bool)> {
    let bad = |report: &Report| match report {
        Report::BadPeer { addresses, wasted_bytes, certain, .. } => Some((addresses.clone(), *wasted_bytes, *certain)),
        _ => None,
    };
    branch.head_office.with(|s| s.counted.iter().filter_map(|n| bad(&n.report)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_another_engine_fetches_takes_its_measures_and_reports_the_culprit() {
    let (daemons, fixture) = (Daemons::with_tracker(), Fixture::new(1));
    let engine = InProcess::of(&fixture);
    let branch = Branch::start(engine.options(&daemons)).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;
    assert_eq!(fs::read(store(&branch, &fixture)).unwrap(), fixture.file);
    wait_for("the culprit at head office", PATIENCE, async || match bad_peers(&branch) {
        found if found == [(vec![culprit()], 16_384, true)] => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    assert_eq!(branch.get(branch.operators, "/readyz", None).await.status(), 200);
    let state = engine.0.lock().unwrap();
    assert!(state.pending.is_empty() && state.taken.len() == 3, "{:?}", state.taken);
    assert_eq!(state.added, 2, "the renewed torrent is added again");
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_content_of_another_engine_is_removed_with_its_artifact() {
    let (daemons, fixture, next) = (Daemons::with_tracker(), Fixture::new(1), Fixture::new(2));
    let engine = InProcess::of(&fixture);
    {
        let mut state = engine.0.lock().unwrap();
        state.content.insert(next.step.artifact.info_hash, next.file.clone());
        (state.stop_at, state.blamed) = (Some(1), true);
    }
    let clock = Arc::new(crate::daemons::Later::default());
    let branch = Branch::start(Options { clock: clock.clone(), ..engine.options(&daemons) }).await;
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    let unfinished = PathBuf::from(format!("{}{UNFINISHED}", store(&branch, &fixture).display()));
    let there = async || if unfinished.exists() { Ok(()) } else { Err("not there") };
    wait_for("the unfinished file", PATIENCE, there).await;
    publish(&branch.head_office, 8, &[&next]);
    wait_for_stage(&branch, &next, Some(Stage::Listed)).await;
    // Two steps that are no jump of the clock, each with a look.
    for _ in 0..2 {
        clock.advance(chrono::TimeDelta::hours(35));
        let now = clock.now();
        crate::stages::wait_for_clock(&branch, "seen", now).await;
    }
    clock.advance(chrono::TimeDelta::hours(3));
    wait_for_stage(&branch, &fixture, None).await;
    assert!(!unfinished.exists() && !store(&branch, &fixture).exists());
}
