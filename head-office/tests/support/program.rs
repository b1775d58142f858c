//! The real program, to be killed, frozen and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::{EncodeOptions, FileRange, PayloadId};
use head_office::config::TlsSettings;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use service_kit::client::JsonClient;
use service_kit::server::Role;
use service_kit::{Clock as _, SystemClock};
use tempfile::TempDir;
use test_kit::{BranchKey, Daemon, Leaf, free_port, wait_for};
use uuid::Uuid;
use wire::v1::releases::Release;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};
use wire::v1::sync::BranchEnrolRequest;

use super::daemons::Daemons;
use super::tls::{Line, enrolment, try_enrol};
use super::{PATIENCE, facts, token_of};

pub const SEGMENT: u32 = 65_536;
pub const LEVEL: i32 = 19;

/// The folder of the programs that tests start; without it they start those that were built with them.
const PROGRAMS: &str = "FILIAL_PROGRAMS";

/// The path of a program of this workspace that was built from its sources of now.
pub fn program(name: &str) -> String {
    let beside = || Path::new(env!("CARGO_BIN_EXE_head-office")).parent().unwrap().to_owned();
    let path = std::env::var_os(PROGRAMS).map_or_else(beside, PathBuf::from).join(name);
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let built = changed(&path).unwrap_or_else(|| panic!("there is no {}: build it first", path.display()));
    // As Cargo lists them beside a program.
    let sources = std::fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let newer =
        sources.split_whitespace().skip(1).find(|source| changed(Path::new(source)).is_some_and(|at| at > built));
    assert_eq!(newer, None, "{} is older than its source: build it again", path.display());
    path.to_str().unwrap().to_owned()
}

/// A branch server that enrolled.
pub struct EnrolledBranch {
    pub client: JsonClient,
    /// The numbering of its reports.
    pub epoch: Uuid,
    /// What it proves itself with.
    pub leaf: Leaf,
    /// What it enrolled with.
    pub enrolment: BranchEnrolRequest,
}

/// Head office as operators run it: its own process, its own configuration file.
pub struct Program {
    pub dir: TempDir,
    pub store: PathBuf,
    /// Where its operators' listener answers plain TCP, carried over TLS.
    pub address: SocketAddr,
    pub line: Line,
    ports: [u16; 2],
    pub running: Option<Daemon>,
    pub operators: JsonClient,
    pub machines: JsonClient,
}

impl Program {
    pub fn new(database: &str, daemons: &Daemons) -> Self {
        Self::with(database, daemons, None, 1 << 20)
    }

    /// With its store somewhere else, and with so many bytes of the disk that uploads leave free.
    pub fn with(database: &str, daemons: &Daemons, store: Option<&Path>, reserve: u64) -> Self {
        let dir = super::daemons::open_dir();
        let store = store.map_or_else(|| dir.path().join("store"), Path::to_owned);
        let (operators, machines) = (free_port(), free_port());
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            test_kit::write_secret(&path, text).unwrap();
            path
        };
        let password = file("password", "secret\n");
        let trust = dir.path().join("trust");
        super::trust::make(&trust, SystemClock.now(), true, 1, 1);
        let config = format!(
            "[operators]\nlisten = \"127.0.0.1:{operators}\"\n\
             [machines]\nlisten = \"127.0.0.1:{machines}\"\n[database]\nurl = \"{database}\"\n\
             [trust]\nmetadata = {:?}\nkeys = {:?}\nsigning = \"online\"\n\
             [store]\nfolder = {store:?}\n[state]\nfolder = {:?}\n[uploads]\nreserve_bytes = {reserve}\n\
             [encoding]\nlevel = {LEVEL}\nworkers = 1\nsegment_bytes = {SEGMENT}\n\
             [engine.transmission]\nurl = \"{}\"\nuser = \"filial\"\npassword_file = {password:?}\n\
             [tracker]\nannounce_url = \"{}\"\naccess_list = {:?}\npid_file = {:?}\nconfirm_deadline_seconds = 2\n",
            trust.join("metadata"),
            trust.join("online"),
            dir.path().join("state"),
            daemons.rpc_url(),
            daemons.announce_url(),
            daemons.access_list(),
            daemons.pid_file(),
        );
        file("config.toml", &config);
        // As at its first start, so that it is known before it runs.
        let settings = TlsSettings { folder: dir.path().join("state/tls"), public: None };
        head_office::trust::tls::authority(&settings, SystemClock.now()).unwrap();
        let line = Line::new(&settings.folder, Arc::new(SystemClock));
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            dir,
            store,
            address: line.tunnel(at(operators), None),
            running: None,
            operators: line.client(at(operators), Some(token_of(Role::Admin)), None),
            machines: line.client(at(machines), None, None),
            line,
            ports: [operators, machines],
        }
    }

    /// At the operators' listener without a token.
    pub fn stranger(&self) -> JsonClient {
        self.line.client(self.doors()[0], None, None)
    }

    /// The operators' and the machines' listener.
    pub fn doors(&self) -> [SocketAddr; 2] {
        self.ports.map(|port| ([127, 0, 0, 1], port).into())
    }

    pub fn launch(&mut self) {
        let config = self.dir.path().join("config.toml");
        let arguments = ["--config", config.to_str().unwrap()];
        let log = self.dir.path().join("log");
        self.running = Some(Daemon::start(&program("head-office"), &arguments, &log).unwrap());
    }

    /// SIGKILL, then again from the start.
    pub async fn kill_and_restart(&mut self) {
        self.running = None;
        self.launch();
        self.wait_until_it_answers().await;
    }

    pub async fn wait_until_it_answers(&self) {
        wait_for("head office to answer", PATIENCE, async || {
            match self.operators.request(Method::GET, "/healthz").send().await {
                Ok(answer) if answer.status() == 200 => Ok(()),
                _ => Err(self.log()),
            }
        })
        .await;
    }

    pub async fn wait_for_release(&self, what: &str, id: Uuid, is_so: impl Fn(&Release) -> bool) -> Release {
        wait_for(what, PATIENCE, async || match self.operators.get::<Release>(&format!("/v1/releases/{id}")).await {
            Ok(release) if is_so(&release) => Ok(release),
            other => Err(format!("{other:?}\n{}", self.log())),
        })
        .await
    }

    pub fn log(&self) -> String {
        self.running.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Enrols a branch with one terminal, so that the rules know its model, and room in its store. Its next report is the third.
    pub async fn enrol(&self) -> EnrolledBranch {
        self.enrol_as("north").await
    }

    /// The same under this name.
    pub async fn enrol_as(&self, name: &str) -> EnrolledBranch {
        let body = serde_json::json!({ "name": name });
        let added: wire::v1::fleet::BranchAdded = self.operators.post("/v1/branches", &body).await.unwrap();
        let key = BranchKey::generate().unwrap();
        let answer = try_enrol(&self.machines, Some(&added.join_token), &key).await.unwrap();
        let leaf = key.leaf(&answer.branch, &answer.certificate, SystemClock.now()).unwrap();
        let branch = self.line.client(self.doors()[1], None, Some(&leaf));
        let seen = Report::TerminalSeen { facts: facts("till-1", "kiosk-x86"), key: None };
        let store = Report::Store { capacity_bytes: 1 << 30, free_bytes: 1 << 30, held_bytes: 0 };
        let numbered = |(seq, report)| Numbered { seq, at: super::begin(), report };
        let reports = [(1, seen), (2, store)].map(numbered).into();
        let epoch = Uuid::new_v4();
        branch.post::<_, Acknowledged>("/v1/reports", &Batch { epoch, reports }).await.unwrap();
        EnrolledBranch { client: branch, epoch, leaf, enrolment: enrolment(Some(&added.join_token), &key) }
    }

    /// What lies in the store of an upload.
    pub fn stored(&self, id: Uuid) -> Vec<u8> {
        std::fs::read(self.store.join(format!("uploads/{id}.upd"))).unwrap()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.running.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

/// The artifact as an uninterrupted encoder makes it.
pub fn undisturbed(dir: &Path, image: &Path, payload: PayloadId) -> artifact::Encoded {
    let options = EncodeOptions { segment_size: SEGMENT, level: LEVEL, workers: 2 };
    let source = FileRange::whole(std::fs::File::open(image).unwrap()).unwrap();
    artifact::encode(&source, payload, &dir.join("work"), &dir.join("out.seg"), &options, &|_| {}, &|| false).unwrap()
}
