//! The agent's ports, strict: what must never be asked fails the test.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bootslot::GrubEnv;
use chrono::{DateTime, Utc};
use fleet_types::Version;
use terminal_agent::config::agent::Settings;
use terminal_agent::helper::boot::{Devices, HelperSetup};
use terminal_agent::helper::server::Helper;
use terminal_agent::model::boots::EarlyRecord;
use terminal_agent::model::request::{Answer, Request};
use terminal_agent::ports::{
    BootLogs, Clock, DropInEnd, DropInResult, DropIns, HelperTrouble, Host, PortError, Ports, Power, Room, RootHelper,
};
use tokio::sync::Mutex;

use super::branch::FakeBranch;
use super::disks::{FakeBoot, FakeDisks};
use super::swarm::FakeSwarm;
use super::world::{Port, World, boot_id};

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

pub fn told() -> io::Error {
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
        not_before: settings.not_before,
        branch: "north".parse().unwrap(),
        terminal: settings.identity.name.clone(),
        slots: settings.slots.roots(),
        attempts: settings.limits.trial_attempts,
        confirmed: world.path("confirmed"),
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
