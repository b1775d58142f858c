//! The root helper as a process, over its socket, asked by an agent that was taken over, by somebody else, and by an honest
//! one whose helper is killed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bootslot::{BootSlots, BootState, GrubEnv, Trial};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, Slot};
use service_kit::{Clock as _, SystemClock};
use support::release::{TestRelease, digest, v1, v2};
use terminal_agent::adapters::{HelperDisks, HelperSocket};
use terminal_agent::helper::{Evidence, LENGTHS, MAX_BODY, Order, Request, read_answer};
use terminal_agent::ports::{Disks, HelperTrouble};
use test_kit::{TestFleet, wait_for_blocking};
use wire::v1::plan::Plan;

const SLOT: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that runs 1.0.0 in slot A and has 2.0.0 in slot B, as files; and the helper of it.
struct Scene {
    dir: tempfile::TempDir,
    fleet: TestFleet,
    now: DateTime<Utc>,
    helper: Option<Child>,
}

impl Scene {
    fn new() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> File {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn block(&self) -> GrubEnv {
        GrubEnv::new(self.path("grubenv"))
    }

    /// Starts the helper, for this user, on a socket that it makes; answers once that is there.
    fn start(&mut self) {
        self.spawn(rustix::process::geteuid().as_raw(), None);
        wait_for_blocking("the helper to answer", PATIENCE, || self.socket().call(&Request::Look, &[]));
    }

    #[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
    fn spawn(&mut self, agent: u32, inherited: Option<UnixListener>) {
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
        command.arg("--config").arg(self.path("agent.toml")).arg("run");
        command.stderr(File::options().create(true).append(true).open(self.path("log")).unwrap());
        match inherited {
            Some(socket) => command.arg("--inherited").stdin(Stdio::from(OwnedFd::from(socket))),
            None => command.stdin(Stdio::null()),
        };
        self.helper = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            helper.kill().unwrap();
            helper.wait().unwrap();
        }
    }

    fn socket(&self) -> HelperSocket {
        HelperSocket::new(&self.path("socket"))
    }

    /// The code of the refusal, empty if there was none.
    fn ask(&self, request: &Request, body: &[u8]) -> String {
        self.socket().call(request, body).map_or_else(|trouble| trouble.reason().code, |_| String::new())
    }

    fn plan(&self, branch: &str, terminal: &str) -> Plan {
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
    fn evidence(&mut self, plan: &Plan) -> Request {
        let plan = self.fleet.order(plan, self.now).unwrap();
        let metadata: BTreeMap<_, _> = self.fleet.files();
        let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
        Request::Accept(Evidence { metadata: metadata.into_iter().map(text).collect(), plan })
    }

    fn accepted(&mut self) {
        let evidence = self.evidence(&self.plan("north", "till-1"));
        assert_eq!(self.ask(&evidence, &[]), "");
    }

    fn assert_untouched(&self) {
        assert_eq!(self.block().read().unwrap(), BootState::settled(Slot::A));
    }

    fn assert_on_trial(&self) {
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

fn order(release: &TestRelease) -> Order {
    Order { product: "kiosk".parse().unwrap(), manifest: digest(&release.manifest), payload: release.payload.sha256 }
}

fn activate() -> Request {
    Request::Activate(order(&v2()))
}

#[test]
fn helper_asked_to_activate_an_unverified_slot() {
    let mut scene = Scene::new();
    scene.start();
    assert_eq!(scene.ask(&activate(), &[]), "no-metadata", "nothing was accepted");
    scene.accepted();
    let slot = File::options().write(true).open(scene.path("slot-b")).unwrap();
    let at = v2().image.len() as u64 - 1;
    let genuine = *v2().image.last().unwrap();
    slot.write_all_at(&[genuine ^ 1], at).unwrap();
    assert_eq!(scene.ask(&activate(), &[]), "read-back-mismatch");
    slot.write_all_at(&[genuine], at).unwrap();
    let other = Order { payload: Digest::new([6; 32]), ..order(&v2()) };
    assert_eq!(scene.ask(&Request::Activate(other), &[]), "plan-other-digest");
    assert_eq!(scene.ask(&Request::Activate(order(&v1())), &[]), "plan-other-digest");
    scene.assert_untouched();
    assert_eq!(scene.ask(&activate(), &[]), "");
    scene.assert_on_trial();
}

#[test]
fn another_branchs_and_another_terminals_plan() {
    let mut scene = Scene::new();
    scene.start();
    let evidence = scene.evidence(&scene.plan("south", "till-1"));
    assert_eq!(scene.ask(&evidence, &[]), "plan-wrong-branch");
    assert_eq!(scene.ask(&activate(), &[]), "no-metadata");
    let evidence = scene.evidence(&scene.plan("north", "till-2"));
    assert_eq!(scene.ask(&evidence, &[]), "", "a plan of this branch is accepted whomever it names");
    assert_eq!(scene.ask(&activate(), &[]), "plan-not-for-me");
    scene.assert_untouched();
}

#[test]
fn a_foreign_user_is_not_heard() {
    let mut scene = Scene::new();
    let listener = UnixListener::bind(scene.path("socket")).unwrap();
    // As systemd hands a socket over; the agent is somebody else than this user, be it root.
    scene.spawn(rustix::process::geteuid().as_raw() + 1, Some(listener));
    let evidence = scene.evidence(&scene.plan("north", "till-1"));
    for request in [evidence, activate(), Request::Restart, Request::Write { offset: 0 }, Request::Look] {
        let said = wait_for_blocking("the helper to answer", PATIENCE, || match scene.socket().call(&request, b"x") {
            Err(HelperTrouble::Refused(reason)) => Ok(reason),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(said.code, "foreign-user", "{}", said.text);
        assert!(said.text.contains("check helper.agent_user"), "{}", said.text);
    }
    scene.assert_untouched();
    assert!(!scene.path("restarted").exists());
}

#[test]
fn garbage_oversized_and_slow_requests() {
    let mut scene = Scene::new();
    scene.start();
    let say = |bytes: &[u8], end: bool| {
        let mut stream = UnixStream::connect(scene.path("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // What is refused by its first bytes is not read to its end.
        let _ = stream.write_all(bytes);
        if end {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        read_answer(&mut stream).unwrap().unwrap_err().code
    };
    let framed = |head: &[u8], body: usize| {
        let lengths = [head.len(), body].map(|n| u32::try_from(n).unwrap().to_be_bytes());
        [&lengths.concat(), head].concat()
    };
    assert_eq!(say(&[0xff; 4096], false), "request-too-large");
    assert_eq!(say(&framed(b"{}", MAX_BODY + 1), false), "request-too-large");
    assert_eq!(say(&framed(b"not json", 0), false), "request-malformed");
    assert_eq!(say(&framed(br#"{"ask":"activate","device":"/dev/sda"}"#, 0), false), "request-malformed");
    assert_eq!(say(&framed(br#"{"ask":"look"}"#, 9), true), "request-malformed", "its body never comes");
    assert_eq!(say(b"", true), "request-malformed");
    assert_eq!(say(&[0; LENGTHS - 1], false), "request-too-slow", "it stands still");
    scene.assert_untouched();
    assert_eq!(scene.ask(&Request::Look, &[]), "", "it answers as before");
}

#[test]
fn slots_are_written_through_it_until_one_is_on_trial() {
    let mut scene = Scene::new();
    scene.put("slot-b", b"old").set_len(SLOT).unwrap();
    scene.start();
    scene.accepted();
    assert_eq!(scene.ask(&activate(), &[]), "read-back-mismatch");
    let disks = HelperDisks::new(scene.socket());
    let mut disk = disks.open(Slot::B).unwrap();
    assert_eq!(disk.length().unwrap(), SLOT);
    let image = v2().image;
    disk.write_at(0, &image).unwrap();
    disk.sync().unwrap();
    // More at once than one request takes.
    let mut back = vec![0; 5 << 20];
    disk.drop_caches().unwrap();
    disk.read_at(1, &mut back).unwrap();
    assert_eq!(back[..image.len() - 1], image[1..]);
    assert!(disk.write_at(SLOT, b"x").is_err(), "past the end");
    assert_eq!(scene.ask(&activate(), &[]), "");
    assert_eq!(scene.ask(&Request::Write { offset: 0 }, b"evil"), "boot-not-settled");
    let mut head = [0; 19];
    File::open(scene.path("slot-b")).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"IMAGE_VERSION=2.0.0");
    assert!(!scene.path("restarted").exists());
    assert_eq!(scene.ask(&Request::Restart, &[]), "");
    assert!(scene.path("restarted").exists());
}

#[test]
fn killed_in_the_middle_it_is_asked_again() {
    let mut scene = Scene::new();
    scene.start();
    scene.accepted();
    let mut broken = 0;
    for _ in 0..12 {
        let socket = scene.socket();
        let asked = std::thread::spawn(move || socket.call(&activate(), &[]));
        scene.kill();
        let answer = asked.join().unwrap();
        broken += usize::from(matches!(answer, Err(HelperTrouble::Away(_))));
        // Whatever it was doing: the block holds one state or the other.
        let state = scene.block().read().unwrap();
        assert!(state == BootState::settled(Slot::A) || state.trial.is_some(), "{state:?}");
        scene.start();
    }
    assert!(broken > 0, "it was never killed before it answered: this shows nothing");
    assert_eq!(scene.ask(&activate(), &[]), "", "what it accepted, it has kept");
    scene.assert_on_trial();
    assert_eq!(scene.ask(&Request::Settle, &[]), "");
    scene.assert_untouched();
}
