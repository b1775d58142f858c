//! Everything outside the agent, as one value that tests look at and break.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash, Slot, UpdateState};
use swarm::tend::{Measure, Subject};
use terminal_agent::model::boots::EarlyRecord;
use terminal_agent::ports::DropInEnd;
use test_kit::{TestBranch, TestFleet};
use trust::certificates::Peer;
use wire::Envelope;
use wire::v1::plan::Plan;
use wire::v1::reports::{Numbered, Report};

use super::release::{TRACKER, TestRelease, digest};

/// The secret part of the join token.
pub const JOIN: &str = "join-me-if-you-can";

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    Helper,
    BootRead,
    BootWrite,
    DiskOpen,
    DiskWrite,
    DiskSync,
    DiskRead,
    Enrol,
    Sync,
    Metadata,
    Manifest,
    Index,
    Torrent,
    Report,
    Healthy,
    SwarmAdd,
    SwarmStatus,
    SwarmPieces,
    SwarmVerify,
    SwarmTend,
    SwarmRemove,
    Restart,
    CommandLine,
    BootId,
    ImageVersion,
    Room,
    FailedUnits,
    DropIns,
    BootLogs,
}

/// Ends the agent at the n-th call of a port: the call does not return, and neither does any after it.
#[derive(Debug, Default)]
pub struct Kill {
    left: AtomicI64,
    armed: AtomicBool,
    tripped: AtomicBool,
    pub calls: AtomicI64,
}

/// What a killed process panics with.
pub struct Killed;

impl Kill {
    pub fn after(&self, calls: i64) {
        self.left.store(calls, Ordering::SeqCst);
        self.tripped.store(false, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    pub fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.tripped.store(false, Ordering::SeqCst);
    }

    pub fn tripped(&self) -> bool {
        self.tripped.load(Ordering::SeqCst)
    }

    /// Once before and once after the effect of a call.
    pub fn point(&self) {
        self.dead();
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.armed.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.tripped.store(true, Ordering::SeqCst);
            self.dead();
        }
    }

    /// A dead process does nothing more, not even look at the clock.
    pub fn dead(&self) {
        if self.tripped() {
            std::panic::resume_unwind(Box::new(Killed));
        }
    }
}

/// Files of metadata by name, and what is said of their version.
pub type Served = (BTreeMap<String, Vec<u8>>, Option<u64>);

pub struct Inner {
    pub now: DateTime<Utc>,
    pub uptime: Duration,
    pub running: Slot,
    pub boots: u64,
    pub restart: bool,
    pub branch_up: bool,
    /// What head office orders: signed when it is asked for, with everything that it names.
    pub plan: Option<Plan>,
    /// What a compromised branch server hands out in its place.
    pub forged: Option<Envelope>,
    /// The fleet's keys, and what they signed.
    pub fleet: TestFleet,
    /// The metadata that a compromised branch server serves in place of the fleet's, and what it says of its version.
    pub mirror: Option<Served>,
    pub releases: Vec<TestRelease>,
    pub faults: BTreeMap<Port, u32>,
    pub reports: Vec<Numbered>,
    /// Who certifies terminals.
    pub branch: TestBranch,
    /// The key of the terminal as the branch server knows it, and of whom each of its certificates was asked for.
    pub known_key: Option<Digest>,
    /// Whether the branch server lets a terminal in that it does not know, by its certificate; older ones do not.
    pub readmits: bool,
    /// By which it proves what it reports.
    pub signer: Option<trust::PublicKey>,
    pub certified: Vec<Peer>,
    /// What the branch server says of this terminal's identity instead of answering.
    pub turned_away: Option<wire::Code>,
    /// The newest time ever verified, as the branch's port was told.
    pub floor: DateTime<Utc>,
    pub epochs: Vec<uuid::Uuid>,
    /// What the branch server answers to reports of a numbering that another machine continued.
    pub continued: Option<(uuid::Uuid, Result<u64, wire::Code>)>,
    pub drop_ins: BTreeMap<String, DropInEnd>,
    pub failed_units: Vec<String>,
    pub unsynced: BTreeMap<Slot, VecDeque<(u64, Vec<u8>)>>,
    pub slot_writes: u64,
    pub requests: u64,
    pub torrents: BTreeMap<InfoHash, super::swarm::FakeTorrent>,
    pub pieces_a_look: usize,
    pub corrupt_next: Option<u64>,
    pub verifies: u32,
    /// How often the engine was given a torrent.
    pub adds: u32,
    /// The error with which the engine stops every torrent that runs.
    pub stops_with: Option<String>,
    /// What the engine was asked to observe and has not judged yet.
    pub subjects: Vec<Subject>,
    /// Where the branch's tracker is now.
    pub tracker: String,
    /// What its next judgements are; nothing when there are no more.
    pub judgements: VecDeque<Vec<Measure>>,
    /// Measures that it asked for and that were not taken yet.
    pub pending: Vec<(InfoHash, Measure)>,
    /// Measures that were taken.
    pub measures: Vec<Measure>,
    pub free: u64,
    pub fake_slot_length: Option<u64>,
    pub restart_works: bool,
    /// What the initramfs of both slots keep of boots; `None`: they keep nothing.
    pub early: Option<Vec<EarlyRecord>>,
    /// The boots that the system's journal has lines of, oldest first, and the lines.
    pub journaled: Vec<(String, String)>,
}

/// What the host's boot id is in the n-th boot.
pub fn boot_id(boot: u64) -> String {
    format!("boot-{boot}")
}

fn early_record(boot: u64, slot: Slot, trial: bool) -> EarlyRecord {
    let log = format!("[    0.000000] Linux\n[    1.000000] kernel of boot {boot}\n").into_bytes();
    EarlyRecord { boot_id: boot_id(boot), slot, trial, seq: boot, log }
}

pub struct World {
    dir: tempfile::TempDir,
    inner: Mutex<Inner>,
    pub kill: Kill,
}

impl World {
    pub fn new(running: &TestRelease) -> std::sync::Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["state", "data", "downloads"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (name, image) in [("slot-a", running.image.as_slice()), ("slot-b", b"IMAGE_VERSION=0.0.0\nold".as_slice())]
        {
            let mut slot = File::create(dir.path().join(name)).unwrap();
            slot.write_all(image).unwrap();
            slot.set_len(400_000).unwrap();
        }
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let branch = TestBranch::new("north", now).unwrap();
        let token = branch.join_token(JOIN).unwrap();
        test_kit::write_secret(&dir.path().join("join-token"), token.expose()).unwrap();
        let fleet = TestFleet::new(now).unwrap();
        File::create(dir.path().join("root.json")).unwrap().write_all(fleet.root_file()).unwrap();
        let inner = Inner {
            now,
            uptime: Duration::from_secs(30),
            running: Slot::A,
            boots: 1,
            restart: false,
            branch_up: true,
            plan: None,
            forged: None,
            fleet,
            mirror: None,
            releases: Vec::new(),
            faults: BTreeMap::new(),
            reports: Vec::new(),
            branch,
            known_key: None,
            readmits: false,
            signer: None,
            certified: Vec::new(),
            turned_away: None,
            floor: DateTime::UNIX_EPOCH,
            epochs: Vec::new(),
            continued: None,
            drop_ins: BTreeMap::new(),
            failed_units: vec!["old.service".into()],
            unsynced: BTreeMap::new(),
            slot_writes: 0,
            requests: 0,
            torrents: BTreeMap::new(),
            pieces_a_look: 4,
            corrupt_next: None,
            verifies: 0,
            adds: 0,
            stops_with: None,
            subjects: Vec::new(),
            tracker: TRACKER.into(),
            judgements: VecDeque::new(),
            pending: Vec::new(),
            measures: Vec::new(),
            free: 1 << 30,
            fake_slot_length: None,
            restart_works: true,
            early: Some(vec![early_record(1, Slot::A, false)]),
            journaled: vec![(boot_id(1), "the old slot runs\n".into())],
        };
        std::sync::Arc::new(Self { dir, inner: Mutex::new(inner), kill: Kill::default() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn slot_path(&self, slot: Slot) -> PathBuf {
        self.path(if slot == Slot::A { "slot-a" } else { "slot-b" })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A killed agent may have held it; what it guards is whole after each statement.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next calls of a port fail, this many.
    pub fn fail(&self, port: Port, times: u32) {
        self.lock().faults.insert(port, times);
    }

    /// Whether this call is to fail.
    pub fn fails(&self, port: Port) -> bool {
        match self.lock().faults.get_mut(&port) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// A newer plan that wants exactly this.
    pub fn offer(&self, release: &TestRelease) {
        self.plan(&[release]);
        self.lock().releases.push(release.clone());
    }

    pub fn plan(&self, releases: &[&TestRelease]) {
        let mut world = self.lock();
        let serial = world.plan.as_ref().map_or(100, |p| p.serial + 1);
        world.plan = Some(Plan {
            format: 1,
            branch: "north".parse().unwrap(),
            serial,
            issued: world.now,
            expires: world.now + TimeDelta::days(30),
            steps: releases.iter().map(|r| r.step()).collect(),
            packages: Vec::new(),
            audit: None,
        });
    }

    pub fn edit_plan(&self, edit: impl FnOnce(&mut Plan)) {
        edit(self.lock().plan.as_mut().unwrap());
    }

    /// The plan as head office signs it, and everything that it names.
    pub fn order(&self) -> Envelope {
        let mut world = self.lock();
        let (plan, now) = (world.plan.clone().unwrap(), world.now);
        world.fleet.order(&plan, now).unwrap()
    }

    pub fn advance(&self, by: Duration) {
        let mut world = self.lock();
        world.now += TimeDelta::from_std(by).unwrap();
        world.uptime += by;
    }

    pub fn running(&self) -> Slot {
        self.lock().running
    }

    pub fn writes(&self) -> u64 {
        self.lock().slot_writes
    }

    pub fn take_restart(&self) -> bool {
        std::mem::take(&mut self.lock().restart)
    }

    pub fn boot(&self, slot: Slot) {
        self.boot_on_trial(slot, false);
    }

    pub fn boot_on_trial(&self, slot: Slot, trial: bool) {
        let mut world = self.lock();
        world.running = slot;
        world.boots += 1;
        let record = early_record(world.boots, slot, trial);
        world.early.iter_mut().for_each(|records| records.push(record.clone()));
        world.uptime = Duration::from_secs(20);
        world.now += TimeDelta::seconds(25);
    }

    /// Power is gone: what no sync confirmed never reached the medium.
    pub fn forget_unsynced(&self) {
        self.lock().unsynced.clear();
    }

    pub fn slot_digest(&self, slot: Slot, length: usize) -> Digest {
        let mut bytes = vec![0; length];
        File::open(self.slot_path(slot)).unwrap().read_exact(&mut bytes).unwrap();
        digest(&bytes)
    }

    pub fn flip_byte(&self, slot: Slot, at: u64) {
        let file = File::options().read(true).write(true).open(self.slot_path(slot)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// The moves that the branch server was told of, progress left out.
    pub fn moves(&self) -> Vec<(Option<UpdateState>, UpdateState)> {
        let moves = |n: &Numbered| match &n.report {
            Report::Update { update, .. } if update.from != Some(update.state) => Some((update.from, update.state)),
            _ => None,
        };
        self.lock().reports.iter().filter_map(moves).collect()
    }

    /// The slot sizes that were told after enrolling.
    pub fn told_facts(&self) -> Vec<u64> {
        let facts = |n: &Numbered| match &n.report {
            Report::TerminalSeen { facts, .. } => Some(facts.slot_bytes),
            _ => None,
        };
        self.lock().reports.iter().filter_map(facts).collect()
    }

    /// The last moves end with these states.
    pub fn assert_reported(&self, ends: &[UpdateState]) {
        let states: Vec<UpdateState> = self.moves().into_iter().map(|(_, to)| to).collect();
        assert!(states.ends_with(ends), "reported {states:?}");
    }
}
