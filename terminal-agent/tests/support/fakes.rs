//! The agent's ports, strict: what must never be asked fails the test.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact::ImageDisk;
use async_trait::async_trait;
use bootslot::{BootError, BootSlots, BootState, GrubEnv};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot, Version};
use service_kit::client::{ByteStream, ClientError};
use terminal_agent::config::agent::Settings;
use terminal_agent::helper::boot::{Devices, HelperSetup};
use terminal_agent::helper::server::Helper;
use terminal_agent::model::boots::EarlyRecord;
use terminal_agent::model::identity::Identity;
use terminal_agent::model::request::{Answer, Request};
use terminal_agent::ports::{
    BootLogs, Branch, Clock, Disks, DropInEnd, DropInResult, DropIns, HelperTrouble, Host, PortError, Ports, Power,
    Room, RootHelper,
};
use tokio::sync::{Mutex, Notify};
use trust::certificates::{Anchor, Peer, TlsKey, request_from_pem, request_key, request_signer};
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{Acknowledged, Batch, Report};
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync};
use wire::{Code, Problem};

use super::release::{FOREIGN_TRACKER, TRACKER, TestRelease, digest};
use super::swarm::FakeSwarm;
use super::world::{JOIN, Port, World, boot_id};

pub fn ports(world: &Arc<World>, settings: &Settings) -> Ports {
    Ports {
        disks: Arc::new(FakeDisks(world.clone())),
        branch: Arc::new(FakeBranch(world.clone())),
        swarm: Arc::new(FakeSwarm(world.clone())),
        helper: Arc::new(InProcess { world: world.clone(), settings: settings.clone(), helper: Mutex::default() }),
        clock: Arc::new(FakeClock(world.clone())),
        host: Arc::new(FakeHost(world.clone())),
        drop_ins: Arc::new(FakeDropIns(world.clone())),
        boot_logs: Arc::new(FakeBootLogs(world.clone())),
    }
}

fn told() -> io::Error {
    io::Error::other("told to fail")
}

/// What the root helper acts through.
pub fn hands(world: &Arc<World>) -> Devices {
    Devices {
        disks: Arc::new(FakeDisks(world.clone())),
        boot: Arc::new(FakeBoot(world.clone(), GrubEnv::new(world.path("grubenv")))),
        host: Arc::new(FakeHost(world.clone())),
        power: Arc::new(FakePower(world.clone())),
    }
}

/// The root helper itself, opened when it is first asked: only the socket between it and the agent is missing.
struct InProcess {
    world: Arc<World>,
    settings: Settings,
    helper: Mutex<Option<Helper>>,
}

#[async_trait]
impl RootHelper for InProcess {
    async fn ask(&self, request: Request) -> Result<Answer, HelperTrouble> {
        self.world.kill.dead();
        if self.world.fails(Port::Helper) {
            return Err(HelperTrouble::Away("told to be away".into()));
        }
        let now = self.world.lock().now;
        let mut helper = self.helper.lock().await;
        if helper.is_none() {
            let setup = setup(&self.world, &self.settings, "helper");
            *helper = Some(Helper::open(setup, hands(&self.world)).unwrap());
        }
        helper.as_mut().unwrap().answer(request, &[], now).await.map_err(HelperTrouble::Refused)
    }
}

/// What the root helper knows by itself, with its state in this folder.
pub fn setup(world: &World, settings: &Settings, folder: &str) -> HelperSetup {
    let state = world.path(folder);
    std::fs::create_dir_all(&state).unwrap();
    HelperSetup {
        state,
        root: settings.trust_root.clone(),
        branch: "north".parse().unwrap(),
        terminal: settings.identity.name.clone(),
        slots: settings.slots.roots(),
        attempts: settings.limits.trial_attempts,
        confirmed: world.path("confirmed"),
    }
}

struct FakeBoot(Arc<World>, GrubEnv);

impl BootSlots for FakeBoot {
    fn read(&self) -> Result<BootState, BootError> {
        self.0.kill.dead();
        if self.0.fails(Port::BootRead) {
            return Err(BootError::Read { path: self.1.path.clone(), source: told() });
        }
        self.1.read()
    }

    fn write(&self, state: &BootState) -> Result<(), BootError> {
        self.0.kill.point();
        if self.0.fails(Port::BootWrite) {
            return Err(BootError::Write { path: self.1.path.clone(), source: told() });
        }
        self.1.write(state)?;
        self.0.kill.point();
        Ok(())
    }

    fn create(&self, state: &BootState) -> Result<(), BootError> {
        self.0.kill.point();
        self.1.create(state)
    }
}

struct FakeDisks(Arc<World>);

impl Disks for FakeDisks {
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        assert_ne!(slot, self.0.running(), "nothing ever opens the running slot for writing");
        self.0.kill.point();
        if self.0.fails(Port::DiskOpen) {
            return Err(PortError::with("the slot cannot be opened", told()));
        }
        let file = File::options().read(true).write(true).open(self.0.slot_path(slot)).unwrap();
        Ok(Box::new(FakeDisk { world: self.0.clone(), slot, file }))
    }

    fn length(&self, slot: Slot) -> Result<u64, PortError> {
        let real = std::fs::metadata(self.0.slot_path(slot)).unwrap().len();
        Ok(self.0.lock().fake_slot_length.unwrap_or(real))
    }
}

/// Writes stay in memory until they are synced, as in a drive's cache: a power cut loses them.
struct FakeDisk {
    world: Arc<World>,
    slot: Slot,
    file: File,
}

impl ImageDisk for FakeDisk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world.kill.point();
        assert!(offset + bytes.len() as u64 <= self.length()?, "a write past the end");
        let failing = self.world.fails(Port::DiskWrite);
        let written = if failing { &bytes[..bytes.len() / 3] } else { bytes };
        let mut world = self.world.lock();
        world.slot_writes += 1;
        world.unsynced.entry(self.slot).or_default().push_back((offset, written.to_vec()));
        drop(world);
        self.world.kill.point();
        if failing { Err(told()) } else { Ok(()) }
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.world.kill.dead();
        if self.world.fails(Port::DiskRead) {
            return Err(told());
        }
        assert!(self.world.lock().unsynced.get(&self.slot).is_none_or(|u| u.is_empty()), "read from a cache");
        self.file.read_exact_at(buf, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.world.kill.point();
        let unsynced = self.world.lock().unsynced.remove(&self.slot).unwrap_or_default();
        // After a failed sync the kernel has thrown it all away.
        if self.world.fails(Port::DiskSync) {
            return Err(told());
        }
        for (offset, bytes) in unsynced {
            self.file.write_all_at(&bytes, offset)?;
        }
        self.world.kill.point();
        Ok(())
    }

    fn drop_caches(&mut self) -> io::Result<()> {
        self.sync()
    }
}

struct FakeBranch(Arc<World>);

impl FakeBranch {
    fn call(&self, port: Port) -> Result<(), ClientError> {
        self.0.kill.point();
        self.0.lock().requests += 1;
        if self.0.fails(port) || !self.0.lock().branch_up {
            let url = "https://10.1.0.1:7004".into();
            return Err(ClientError::Silent { url, idle: Duration::from_secs(15) });
        }
        Ok(())
    }

    /// A terminal that presents its certificate.
    fn known(&self, port: Port) -> Result<(), ClientError> {
        self.call(port)?;
        let world = self.0.lock();
        let code = world.turned_away.or(world.known_key.is_none().then_some(Code::Unauthenticated));
        code.map_or(Ok(()), |code| Err(refused(code)))
    }

    fn find(&self, wanted: impl Fn(&TestRelease) -> bool) -> Result<TestRelease, ClientError> {
        let found = self.0.lock().releases.iter().find(|r| wanted(r)).cloned();
        let problem = Problem::new(Code::NotHeldYet, "It is not held here yet.", "Ask again later.");
        found.ok_or_else(|| ClientError::Refused(Box::new(problem)))
    }
}

fn refused(code: Code) -> ClientError {
    ClientError::Refused(Box::new(Problem::new(code, "As the test wants it.", "None.")))
}

#[async_trait]
impl Branch for FakeBranch {
    fn authenticate(&self, identity: &Identity, key: &TlsKey) -> Result<(), ClientError> {
        assert_eq!((identity.branch.as_str(), identity.name.as_str()), ("north", "till-1"));
        let key = request_key(&key.request().unwrap()).unwrap();
        assert_eq!(trust::certificates::fingerprint(&identity.authority), self.0.lock().branch.fingerprint());
        assert!(self.0.lock().known_key.is_none_or(|known| known == key));
        Ok(())
    }

    fn not_before(&self, floor: DateTime<Utc>) {
        self.0.lock().floor = floor;
    }

    async fn enrol(&self, anchor: Anchor, peer: Peer, request: &EnrolRequest) -> Result<EnrolResponse, ClientError> {
        self.call(Port::Enrol)?;
        let mut world = self.0.lock();
        let csr = request_from_pem(&request.certificate_request).unwrap();
        let key = request_key(&csr).unwrap();
        assert_eq!(anchor.fingerprint(), world.branch.fingerprint());
        match &request.join_token {
            Some(secret) => {
                let facts = request.terminal.as_ref().unwrap();
                assert_eq!((secret.as_str(), facts.name.as_str()), (JOIN, "till-1"));
                assert_eq!((facts.model.as_str(), facts.slot_bytes), ("kiosk", 400_000));
            }
            None => {
                assert!(request.terminal.is_none() && matches!(anchor, Anchor::Known(_)));
                if world.known_key != Some(key) {
                    return Err(refused(Code::JoinRefused));
                }
            }
        }
        if let Some(code) = world.turned_away.filter(|code| *code != Code::Unauthenticated) {
            return Err(refused(code));
        }
        (world.known_key, world.turned_away) = (Some(key), None);
        world.signer = request_signer(&csr).unwrap();
        world.certified.push(peer);
        let answer = world.branch.certify(&csr, &"till-1".parse().unwrap(), world.now).unwrap();
        drop(world);
        // It may be killed before it hears the answer.
        self.0.kill.point();
        Ok(answer)
    }

    async fn sync(&self) -> Result<Sync, ClientError> {
        self.known(Port::Sync)?;
        let mut world = self.0.lock();
        let (forged, plan, now) = (world.forged.clone(), world.plan.clone(), world.now);
        let plan = forged.or_else(|| plan.map(|p| world.fleet.order(&p, now).unwrap()));
        let metadata = world.mirror.as_ref().map_or_else(|| world.fleet.version(), |(_, hint)| *hint);
        Ok(Sync { plan, available: Vec::new(), metadata })
    }

    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, ClientError> {
        self.known(Port::Metadata)?;
        let world = self.0.lock();
        let file = match &world.mirror {
            Some((files, _)) => files.get(name).cloned(),
            None => world.fleet.files().remove(name),
        };
        Ok(file.map(|bytes| Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))])) as ByteStream))
    }

    async fn manifest(&self, wanted: &Digest, max: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Manifest)?;
        let release = self.find(|r| digest(&r.manifest) == *wanted)?;
        assert!(release.manifest.len() <= max);
        Ok(release.manifest.into())
    }

    async fn index(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Index)?;
        let release = self.find(|r| r.artifact.sha256 == artifact.sha256)?;
        assert!(release.index.len() <= max);
        Ok(release.index.into())
    }

    async fn torrent(&self, artifact: &ArtifactRef, _: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Torrent)?;
        let release = self.find(|r| r.artifact.sha256 == artifact.sha256)?;
        // A mirror that slips in a foreign tracker.
        Ok(release.torrent.to_file(&[vec![TRACKER.into()], vec![FOREIGN_TRACKER.into()]]).into())
    }

    async fn report(&self, batch: &Batch) -> Result<Acknowledged, ClientError> {
        self.known(Port::Report)?;
        let mut world = self.0.lock();
        if world.epochs.last() != Some(&batch.epoch) {
            world.epochs.push(batch.epoch);
            world.reports.clear();
        }
        let begin = world.reports.last().map_or(0, |r| r.seq);
        for report in &batch.reports {
            let last = world.reports.last().map_or(0, |r| r.seq);
            assert!(report.seq <= last + 1, "a gap: {} after {last}", report.seq);
            if let Report::Update { terminal, update } = &report.report {
                let statement = update.statement(&"north".parse().unwrap(), terminal);
                let proof = update.proof.as_deref().unwrap_or_default();
                assert!(world.signer.unwrap().verify_text(&statement, proof), "not signed: {update:?}");
                if let Some(statement) = update.evidence_statement(&"north".parse().unwrap(), terminal) {
                    let proof = update.evidence.as_ref().unwrap().proof.as_deref().unwrap_or_default();
                    assert!(world.signer.unwrap().verify_text(&statement, proof), "not signed: {update:?}");
                }
            }
            match world.reports.iter().find(|r| r.seq == report.seq) {
                Some(known) => assert_eq!(known, report, "a report changed after it was sent"),
                None => world.reports.push(report.clone()),
            }
        }
        let through = world.reports.last().map_or(begin, |r| r.seq);
        drop(world);
        self.0.kill.point();
        Ok(Acknowledged { through })
    }

    async fn healthy(&self) -> Result<(), ClientError> {
        self.call(Port::Healthy)
    }

    async fn listen(&self, _: &Notify) -> Result<(), ClientError> {
        std::future::pending().await
    }
}

struct FakePower(Arc<World>);

#[async_trait]
impl Power for FakePower {
    async fn restart(&self) -> Result<(), PortError> {
        self.0.kill.point();
        if self.0.fails(Port::Restart) {
            return Err(PortError::with("the machine does not restart", told()));
        }
        let mut world = self.0.lock();
        world.restart = world.restart_works;
        drop(world);
        self.0.kill.point();
        Ok(())
    }
}

struct FakeClock(Arc<World>);

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.kill.dead();
        self.0.lock().now
    }

    fn uptime(&self) -> Duration {
        self.0.kill.dead();
        self.0.lock().uptime
    }
}

struct FakeHost(Arc<World>);

impl FakeHost {
    fn fails(&self, port: Port) -> Result<(), PortError> {
        self.0.kill.dead();
        if self.0.fails(port) { Err(PortError::with("not to be found out", told())) } else { Ok(()) }
    }
}

#[async_trait]
impl Host for FakeHost {
    fn kernel_command_line(&self) -> Result<String, PortError> {
        self.fails(Port::CommandLine)?;
        Ok(format!("quiet root=PARTLABEL=slot-{} panic=10", self.0.running().to_string().to_lowercase()))
    }

    fn boot_id(&self) -> Result<String, PortError> {
        self.fails(Port::BootId)?;
        Ok(boot_id(self.0.lock().boots))
    }

    fn image_version(&self) -> Result<Version, PortError> {
        self.fails(Port::ImageVersion)?;
        let mut head = [0; 64];
        File::open(self.0.slot_path(self.0.running())).unwrap().read_exact(&mut head).unwrap();
        let line = head.split(|b| *b == b'\n').next().unwrap();
        let line = std::str::from_utf8(line).map_err(|e| PortError::with("not text", e))?;
        let version = line.strip_prefix("IMAGE_VERSION=").ok_or_else(|| PortError::new("no IMAGE_VERSION"))?;
        version.parse().map_err(|e| PortError::with("no version", e))
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        if self.0.fails(Port::Room) {
            return Err(told());
        }
        let free = self.0.lock().free;
        Ok(Room { total: 1 << 30, free })
    }

    fn occupied(&self, path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |m| m.len())
    }

    async fn failed_units(&self) -> Result<Option<BTreeSet<String>>, PortError> {
        self.fails(Port::FailedUnits)?;
        Ok(Some(self.0.lock().failed_units.iter().cloned().collect()))
    }
}

struct FakeDropIns(Arc<World>);

#[async_trait]
impl DropIns for FakeDropIns {
    async fn run(&self) -> Result<Vec<DropInResult>, PortError> {
        self.0.kill.point();
        if self.0.fails(Port::DropIns) {
            return Err(PortError::with("the folder cannot be read", told()));
        }
        let version = FakeHost(self.0.clone()).image_version()?.to_string();
        let end = self.0.lock().drop_ins.get(&version).cloned().unwrap_or(DropInEnd::Healthy);
        Ok(vec![DropInResult { program: "/health.d/10-printer".into(), end, tail: "no paper".into() }])
    }
}

struct FakeBootLogs(Arc<World>);

impl FakeBootLogs {
    fn fails(&self) -> Result<(), PortError> {
        self.0.kill.point();
        let fails = self.0.fails(Port::BootLogs);
        if fails { Err(PortError::with("no log can be read", told())) } else { Ok(()) }
    }
}

#[async_trait]
impl BootLogs for FakeBootLogs {
    fn early(&self) -> Result<Option<Vec<EarlyRecord>>, PortError> {
        self.fails()?;
        Ok(self.0.lock().early.clone())
    }

    async fn journaled(&self) -> Result<Vec<String>, PortError> {
        self.fails()?;
        Ok(self.0.lock().journaled.iter().map(|(boot, _)| boot.clone()).collect())
    }

    async fn tail(&self, boot: &str) -> Result<Vec<u8>, PortError> {
        self.fails()?;
        let world = self.0.lock();
        assert_ne!(boot, boot_id(world.boots), "the log of the boot that runs is no evidence");
        let lines = world.journaled.iter().find(|(id, _)| id == boot).expect("a boot that the journal does not have");
        Ok(lines.1.clone().into_bytes())
    }
}
