//! A machine as files, and the root helper of it as a process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bootslot::{BootSlots, BootState, GrubEnv, Trial};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Slot;
use service_kit::{Clock as _, SystemClock};
use terminal_agent::adapters::HelperSocket;
use terminal_agent::model::request::{Evidence, Request};
use test_kit::{TestFleet, wait_for_blocking};
use wire::v1::plan::Plan;

use super::release::{v1, v2};

pub const SLOT: u64 = 8 << 20;
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that runs 1.0.0 in slot A and has 2.0.0 in slot B, as files; and the helper of it.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub fleet: TestFleet,
    pub now: DateTime<Utc>,
    pub helper: Option<Child>,
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let scene = Self { dir, fleet: TestFleet::new(now).unwrap(), now, helper: None };
        for (name, image) in [("slot-a", v1().image), ("slot-b", v2().image)] {
            scene.put(name, &image).set_len(SLOT).unwrap();
        }
        scene.put("root.json", scene.fleet.root_file());
        scene.put("os-release", b"IMAGE_VERSION=1.0.0\n");
        scene.put("cmdline", b"root=PARTLABEL=slot-a ro\n");
        scene.block().create(&BootState::settled(Slot::A)).unwrap();
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> File {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    pub fn block(&self) -> GrubEnv {
        GrubEnv::new(self.path("grubenv"))
    }

    /// Starts the helper, for this user, on a socket that it makes; answers once that is there.
    pub fn start(&mut self) {
        self.spawn(rustix::process::geteuid().as_raw(), None);
        wait_for_blocking("the helper to answer", PATIENCE, || self.socket().call(&Request::Look, &[]));
    }

    /// The helper's program with this machine's settings.
    #[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
    fn program(&self, agent: u32) -> Command {
        let path = |name: &str| self.path(name).display().to_string();
        let config = format!(
            r#"
            branch.url = "https://10.1.0.1:7004"
            identity = {{ name = "till-1", model = "kiosk" }}
            trust.root = "{}"
            paths = {{ os_release = "{}", kernel_command_line = "{}" }}
            slots.a = {{ device = "{}", root = "PARTLABEL=slot-a" }}
            slots.b = {{ device = "{}", root = "PARTLABEL=slot-b" }}
            boot = {{ grub_environment = "{}", trial_attempts = 2 }}
            power.reboot_command = ["touch", "{}"]
            helper = {{ branch = "north", socket = "{}", state_dir = "{}", agent_user = "{agent}" }}
            "#,
            path("root.json"),
            path("os-release"),
            path("cmdline"),
            path("slot-a"),
            path("slot-b"),
            path("grubenv"),
            path("restarted"),
            path("socket"),
            path("state"),
        );
        self.put("agent.toml", config.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_terminal-helper"));
        command.arg("--config").arg(self.path("agent.toml"));
        command
    }

    pub fn spawn(&mut self, agent: u32, inherited: Option<UnixListener>) {
        let mut command = self.program(agent);
        command.arg("run");
        command.stderr(File::options().create(true).append(true).open(self.path("log")).unwrap());
        match inherited {
            Some(socket) => command.arg("--inherited").stdin(Stdio::from(OwnedFd::from(socket))),
            None => command.stdin(Stdio::null()),
        };
        self.helper = Some(command.spawn().unwrap());
    }

    /// `terminal-helper end-trial`, as systemd asks it.
    pub fn end_trial(&self, arguments: &[&str]) -> Output {
        self.program(0).arg("end-trial").args(arguments).output().unwrap()
    }

    pub fn kill(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            helper.kill().unwrap();
            helper.wait().unwrap();
        }
    }

    pub fn socket(&self) -> HelperSocket {
        HelperSocket::new(&self.path("socket"))
    }

    /// The code of the refusal, empty if there was none.
    pub fn ask(&self, request: &Request, body: &[u8]) -> String {
        self.socket().call(request, body).map_or_else(|trouble| trouble.reason().code.to_string(), |_| String::new())
    }

    pub fn plan(&self, branch: &str, terminal: &str) -> Plan {
        let mut step = v2().step();
        step.terminals = vec![terminal.parse().unwrap()];
        Plan {
            format: 1,
            branch: branch.parse().unwrap(),
            serial: 100,
            issued: self.now,
            expires: self.now + TimeDelta::days(30),
            steps: vec![step],
            packages: Vec::new(),
            audit: None,
        }
    }

    /// What an honest agent has once head office ordered this.
    pub fn evidence(&mut self, plan: &Plan) -> Request {
        let plan = self.fleet.order(plan, self.now).unwrap();
        let metadata: BTreeMap<_, _> = self.fleet.files();
        let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
        Request::Accept(Evidence { metadata: metadata.into_iter().map(text).collect(), plan })
    }

    pub fn accepted(&mut self) {
        let evidence = self.evidence(&self.plan("north", "till-1"));
        assert_eq!(self.ask(&evidence, &[]), "");
    }

    pub fn assert_untouched(&self) {
        assert_eq!(self.block().read().unwrap(), BootState::settled(Slot::A));
    }

    pub fn assert_on_trial(&self) {
        let trial = Some(Trial { slot: Slot::B, left: 2 });
        assert_eq!(self.block().read().unwrap(), BootState { default: Slot::A, trial });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}
