//! A head office and a branch server of it as processes, with what honest callers and attackers need to reach them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value, json};
use service_kit::client::{JsonClient, Timeouts};
use service_kit::server::Role;
use service_kit::{Secret, token};
use tempfile::TempDir;
use test_kit::{Daemon, Leaf, TestDatabase, free_port, wait_for};
use trust::SigningKey;
use trust::certificates::{Identity, Suffix, TlsKey, certificate_from_pem, client_config, none_denied, request_to_pem};
use wire::v1::fleet::BranchAdded;
use wire::v1::paths;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use crate::support::daemons::Daemons;
use crate::support::program::{EnrolledBranch, Program, program};
use crate::support::tls::Line;
use crate::support::{PATIENCE, database, facts, token_of};

/// The secret that terminals of the branch enrol with.
const JOIN: &str = "terminals-join-of-north";

/// Most memory that head office or a branch server may ever hold, in bytes, as in `tests/e2e` (size).
pub const MEMORY: u64 = 100 << 20;

/// The same while hundreds of connections hold as much as one may, as in the tests of service-kit (floods).
pub const MEMORY_OF_CONNECTIONS: u64 = 200 << 20;

/// How many of them /proc counts in a second, on every Linux of today.
const TICKS: u64 = 100;

/// Two branches of one head office: north has a server, south and east are played by the test.
pub struct Site {
    pub office: Program,
    pub branch: BranchServer,
    /// The branch that goes on working.
    pub south: EnrolledBranch,
    /// The branch in other hands.
    pub east: EnrolledBranch,
    /// Terminals of north: one that goes on working, one in other hands.
    pub honest: Terminal,
    pub hostile: Terminal,
    pub database: TestDatabase,
    _daemons: Daemons,
}

impl Site {
    /// Starts both servers and enrols everybody. No daemon runs: nothing is distributed here.
    pub async fn start() -> Self {
        let (database, daemons) = (database().await, Daemons::prepare());
        let mut office = Program::new(&database.url(), &daemons);
        office.launch();
        office.wait_until_it_answers().await;
        let (south, east) = (office.enrol_as("south").await, office.enrol_as("east").await);
        let branch = BranchServer::start(&office).await;
        let (honest, hostile) = (branch.enrol("till-1").await, branch.enrol("till-9").await);
        Self { office, branch, south, east, honest, hostile, database, _daemons: daemons }
    }

    /// The operators' listeners of both servers, and what a stranger needs to speak to them.
    pub fn people(&self) -> [(SocketAddr, Arc<ClientConfig>); 2] {
        [(self.office.doors()[0], self.office.line.config(None)), (self.branch.doors[0], self.branch.tls(None))]
            .map(|(to, tls)| (to, Arc::new(tls)))
    }

    /// The machines' listeners of both servers, and what a stranger needs to speak to them.
    pub fn machines(&self) -> [(SocketAddr, Arc<ClientConfig>); 2] {
        [(self.office.doors()[1], self.office.line.config(None)), (self.branch.doors[1], self.branch.tls(None))]
            .map(|(to, tls)| (to, Arc::new(tls)))
    }

    /// The time that both servers spent on processors so far.
    pub fn spent(&self) -> Duration {
        spent(self.office.running.as_ref().unwrap()) + spent(&self.branch.running)
    }

    /// Asserts that neither server ever held more bytes than this, and says what they held.
    pub fn memory(&self, most: u64) -> String {
        let office = peak(self.office.running.as_ref().unwrap());
        let branch = peak(&self.branch.running);
        let text = format!("head office held {} MiB, the branch server {} MiB", office >> 20, branch >> 20);
        assert!(office.max(branch) <= most, "{text}; {} MiB is the bound", most >> 20);
        text
    }
}

/// The time that a process spent on processors (proc(5)), in user and system mode.
fn spent(process: &Daemon) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let ticks = text.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * 1000 / TICKS)
}

/// The most memory that a process ever held: `VmHWM` in bytes (proc(5)).
fn peak(process: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The branch server of north as operators run it.
pub struct BranchServer {
    running: Daemon,
    /// Its operators' and its machines' listener.
    pub doors: [SocketAddr; 2],
    pub database: TestDatabase,
    line: Line,
    _dir: TempDir,
}

impl BranchServer {
    async fn start(office: &Program) -> Self {
        let added: BranchAdded = office.operators.post(paths::BRANCHES, &json!({ "name": "north" })).await.unwrap();
        let (dir, database) = (tempfile::tempdir().unwrap(), TestDatabase::empty().await);
        let doors = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            service_kit::durable::write_secret_file(&path, text.as_bytes()).unwrap();
            path
        };
        let secret = token_of(Role::Admin);
        let tokens = format!("[[token]]\nname = \"desk\"\nrole = \"admin\"\nsha256 = \"{}\"\n", token::hash(secret));
        let path = |name: &str| dir.path().join(name);
        // Port 9 discards: no BitTorrent daemon and no tracker.
        let config = format!(
            "[operators]\nlisten = \"{}\"\ntokens_file = {:?}\n[machines]\nlisten = \"{}\"\n[database]\nurl = {:?}\n\
             [state]\nfolder = {:?}\n[head_office]\nurl = \"https://{}\"\njoin_token_file = {:?}\n\
             [trust]\nroot = {:?}\n[terminals]\njoin_token_file = {:?}\n[store]\nfolder = {:?}\n\
             [engine.transmission]\nurl = \"http://127.0.0.1:9/transmission/rpc\"\nuser = \"filial\"\npassword_file = {:?}\n\
             [tracker]\nlan_announce_url = \"http://127.0.0.1:9/announce\"\naccess_list = {:?}\n\
             [sync]\npoll_seconds = 1\npass_seconds = 0.5\nretry_seconds = 0.2\nretry_max_seconds = 1\n",
            doors[0],
            file("tokens.toml", &tokens),
            doors[1],
            database.url(),
            path("state"),
            office.doors()[1],
            file("join-token", &added.join_token),
            office.dir.path().join("trust/root.json"),
            file("terminals-join-token", JOIN),
            path("store"),
            file("password", "secret"),
            path("access-list"),
        );
        let config = file("branch-server.toml", &config);
        let arguments = ["--config", config.to_str().unwrap()];
        let running = Daemon::start(&program("branch-server"), &arguments, &path("log")).unwrap();
        let line = office.line.clone();
        let operators = secure(doors[0], tls(&line, None)).with_token(Secret::new(secret));
        wait_for("the branch server to enrol", PATIENCE, async || {
            // Until then the console cannot prove whose it is.
            let asked = operators.get::<Value>(paths::STATUS).await;
            asked.map(drop).map_err(|error| format!("{error}\n{}", running.log()))
        })
        .await;
        Self { running, doors, database, line, _dir: dir }
    }

    /// How a machine with this certificate, or a stranger, speaks to it.
    pub fn tls(&self, own: Option<&Leaf>) -> ClientConfig {
        tls(&self.line, own)
    }

    /// Enrols a terminal.
    pub async fn enrol(&self, name: &str) -> Terminal {
        let key = TlsKey::from_signing_key(&SigningKey::generate().unwrap()).unwrap();
        let enrolment = EnrolRequest {
            join_token: Some(JOIN.to_owned()),
            certificate_request: request_to_pem(&key.request().unwrap()),
            terminal: Some(facts(name, "kiosk-x86")),
            certificate: None,
        };
        let stranger = secure(self.doors[1], self.tls(None));
        // The branch server completes its join token a moment after it enrolled.
        let answer: EnrolResponse =
            wait_for("the terminal to enrol", PATIENCE, async || stranger.post(paths::ENROL, &enrolment).await).await;
        let chain = [&answer.certificate, &answer.intermediate].map(|pem| certificate_from_pem(pem).unwrap());
        Terminal { leaf: Leaf { chain: chain.to_vec(), key }, enrolment }
    }
}

/// A terminal of north.
pub struct Terminal {
    pub leaf: Leaf,
    /// What it enrolled with.
    pub enrolment: EnrolRequest,
}

fn tls(line: &Line, own: Option<&Leaf>) -> ClientConfig {
    let north = Identity::Branch("north".parse().unwrap());
    client_config(own.map(Leaf::own), line.anchor(), Suffix::default(), north, none_denied(), line.time()).unwrap()
}

/// A client of a listener.
pub fn secure(to: SocketAddr, tls: ClientConfig) -> JsonClient {
    JsonClient::secure(&format!("https://{to}"), tls, Timeouts::default()).unwrap()
}
