//! A branch server on free ports with a database of its own; head office is [`crate::head_office::HeadOfficeDouble`].

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branch_server::app::App;
use branch_server::config::{Inputs, Settings};
use branch_server::{Deps, build, listeners};
use chrono::DateTime;
use fleet_types::TerminalName;
use reqwest::StatusCode;
use serde_json::Value;
use service_kit::client::{JsonClient, Timeouts};
use service_kit::server::bind;
use service_kit::{Clock, Shutdown, SystemClock};
use swarm::Engine;
use tempfile::TempDir;
use test_kit::{Leaf, TestDatabase, write_secret};
use trust::SigningKey;
use trust::certificates::{
    Anchor, FleetTime, Identity, Suffix, TlsKey, certificate_from_pem, client_config, none_denied, request_to_pem,
};
use wire::v1::audit::{AuditPage, Entry, Verifier};
use wire::v1::paths;
use wire::v1::sync::{EnrolRequest, EnrolResponse, TerminalFacts};
use wire::{Code, Problem};

use crate::head_office::HeadOfficeDouble;

mod databases;

pub use databases::{database, empty_database, give_tokens};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const VIEWER: &str = "viewer-token";
pub const OPERATOR: &str = "operator-token";
pub const ADMIN: &str = "admin-token";
/// The secret part of the token that terminals enrol with.
pub const JOIN: &str = "terminals-join-of-north";

pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    File::create(path).unwrap().write_all(bytes.as_ref()).unwrap();
}

/// A folder that daemons running as other users may look into.
pub fn open_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("filial-branch.").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What differs from test to test.
pub struct Options {
    pub engine_url: String,
    /// The engine in place of the one that the settings name.
    pub engine: Option<Arc<dyn Engine>>,
    pub tracker_url: String,
    pub access_list: Option<std::path::PathBuf>,
    pub pid_file: Option<std::path::PathBuf>,
    pub clock: Arc<dyn Clock>,
    /// By which its terminals' certificates, and its own for them, are judged and made; none: by that of its link too.
    pub tls_clock: Option<Arc<dyn Clock>>,
    /// Most bytes that artifacts may take.
    pub budget_bytes: Option<u64>,
    /// Most terminals that may enrol with one join token.
    pub join_uses: u32,
    /// How long a request may take to arrive.
    pub request_seconds: f64,
    /// How long head office may take for an answer.
    pub head_office_seconds: f64,
    /// The file of token hashes that an earlier version read.
    pub tokens_file: Option<std::path::PathBuf>,
}

impl Default for Options {
    /// Nobody is behind these addresses: port 9 discards.
    fn default() -> Self {
        Self {
            engine_url: "http://127.0.0.1:9/transmission/rpc".into(),
            engine: None,
            tracker_url: "http://127.0.0.1:9/announce".into(),
            access_list: None,
            pid_file: None,
            clock: Arc::new(SystemClock),
            tls_clock: None,
            budget_bytes: None,
            join_uses: 1_000,
            request_seconds: 30.0,
            head_office_seconds: 30.0,
            tokens_file: None,
        }
    }
}

/// A branch server; its jobs run only once [`Branch::start_jobs`] was called.
pub struct Branch {
    pub app: Arc<App>,
    pub operators: SocketAddr,
    pub machines: SocketAddr,
    pub dir: TempDir,
    pub head_office: HeadOfficeDouble,
    pub shutdown: Shutdown,
    http: reqwest::Client,
    database: TestDatabase,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    _stop: StopWhenDropped,
}

struct StopWhenDropped(Shutdown);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn settings(dir: &Path, database: &str, head_office: &HeadOfficeDouble, options: &Options) -> Settings {
    let path = |name: &str| dir.join(name).display().to_string();
    if !dir.join("password").exists() {
        write_secret(&dir.join("password"), "correct horse").unwrap();
        write_secret(&dir.join("terminals-join"), JOIN).unwrap();
        write_secret(&dir.join("join"), head_office.join_token()).unwrap();
        write(&dir.join("root.json"), head_office.with(|s| s.fleet.root_file().to_vec()));
    }
    let access_list = options.access_list.clone().unwrap_or_else(|| dir.join("access-list"));
    let pid_file = options.pid_file.as_ref().map(|p| format!("pid_file = {:?}\n", p.display().to_string()));
    let tokens_file = options.tokens_file.as_ref().map(|p| format!("tokens_file = {:?}\n", p.display().to_string()));
    let text = format!(
        "[operators]\nlisten = \"127.0.0.1:0\"\n{}[machines]\nlisten = \"127.0.0.1:0\"\n\
         [database]\nurl = {database:?}\npool_size = 8\n[state]\nfolder = {:?}\n\
         [head_office]\nurl = \"https://{}\"\njoin_token_file = {:?}\nrequest_seconds = {}\n\
         [trust]\nroot = {:?}\n[terminals]\njoin_token_file = {:?}\njoin_token_uses = {}\nmax = 5\n[store]\nfolder = {:?}\n{}\
         [engine.transmission]\nurl = {:?}\nuser = \"filial\"\npassword_file = {:?}\n\
         [tracker]\nlan_announce_url = {:?}\naccess_list = {access_list:?}\nconfirm_deadline_seconds = 20\n{}\
         [sync]\npoll_seconds = 1\npass_seconds = 0.2\nretry_seconds = 0.1\nretry_max_seconds = 0.5\n\
         [relay]\nprogress_seconds = 0.1\n[requests]\ntimeout_seconds = {}\n",
        tokens_file.unwrap_or_default(),
        path("state"),
        head_office.address,
        path("join"),
        options.head_office_seconds,
        path("root.json"),
        path("terminals-join"),
        options.join_uses,
        path("store"),
        options.budget_bytes.map(|bytes| format!("budget_bytes = {bytes}\n")).unwrap_or_default(),
        options.engine_url,
        path("password"),
        options.tracker_url,
        pid_file.unwrap_or_default(),
        options.request_seconds,
    );
    let file = dir.join("branch-server.toml");
    write(&file, text);
    let inputs: Inputs = service_kit::config::load_with("branch-server", &[file], []).unwrap();
    Settings::try_from(inputs).unwrap()
}

impl Branch {
    /// One that enrolled already, with default options.
    pub async fn enrolled() -> Self {
        let branch = Self::start(Options::default()).await;
        branch.app.poll.once().await.unwrap();
        branch
    }

    pub async fn start(options: Options) -> Self {
        let (database, dir) = (database().await, open_dir());
        Self::start_with(options, database, dir, HeadOfficeDouble::start().await).await
    }

    pub async fn start_with(
        options: Options,
        database: TestDatabase,
        dir: TempDir,
        head_office: HeadOfficeDouble,
    ) -> Self {
        let settings = settings(dir.path(), &database.url(), &head_office, &options);
        let real = Deps::real(&settings).unwrap();
        let own = options.tls_clock.map(|clock| FleetTime::new(clock, DateTime::UNIX_EPOCH));
        let engine = options.engine.unwrap_or(real.engine);
        let deps = Deps { clock: options.clock, time: own.unwrap_or(real.time), engine, ..real };
        let shutdown = Shutdown::new();
        let app = build(settings, deps, &shutdown).await.unwrap();
        let bound = bind(listeners(&app)).unwrap();
        let [operators, machines] = *bound.addresses() else { panic!("two listeners") };
        let stopping = shutdown.clone();
        let tasks = Mutex::new(vec![tokio::spawn(async move { bound.run(stopping).await.unwrap() })]);
        let _stop = StopWhenDropped(shutdown.clone());
        // What the console proves is tls.rs's subject; here whoever answers there is spoken to.
        let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
        Self { app, operators, machines, dir, head_office, shutdown, http, database, tasks, _stop }
    }

    /// Stops it as a restart would, and starts it again on the same database, folder and head office.
    pub async fn restart(self, options: Options) -> Self {
        self.shutdown.stop();
        for task in self.tasks.into_inner().unwrap() {
            task.await.unwrap();
        }
        self.app.pool.close();
        let Self { database, dir, head_office, .. } = self;
        Self::start_with(options, database, dir, head_office).await
    }

    /// Tries to start another one by the same settings: why it does not.
    pub async fn refused_start(&self) -> String {
        let settings = Settings::clone(&self.app.settings);
        let deps = Deps::real(&settings).unwrap();
        let refused = build(settings, deps, &Shutdown::new()).await.err();
        service_kit::edge::chain(&refused.unwrap_or_else(|| panic!("it started")))
    }

    /// Where its database is.
    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// Starts the background jobs; they end with the branch server.
    pub fn start_jobs(&self) {
        let ended = tokio::spawn(branch_server::background::start(&self.app).ended());
        self.tasks.lock().unwrap().push(ended);
    }

    pub async fn get(&self, address: SocketAddr, path: &str, token: Option<&str>) -> reqwest::Response {
        let mut request = self.http.get(format!("https://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// A terminal's POST, or somebody's without a certificate.
    pub async fn post(&self, path: &str, till: Option<&Till>, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let http = till.map_or(&self.http, |till| &till.http);
        let request = http.post(format!("https://{}{path}", self.machines));
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }

    /// A request of a person.
    pub async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let request = self.http.request(method, format!("https://{}{path}", self.operators)).body(body);
        let request = request.header("content-type", "application/json");
        token.iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap()
    }

    /// A terminal's GET.
    pub async fn ask(&self, path: &str, till: &Till) -> reqwest::Response {
        till.http.get(format!("https://{}{path}", self.machines)).send().await.unwrap()
    }

    /// The key that belongs to a terminal's name in this test, which signs its states too.
    pub fn key(&self, name: &str) -> TlsKey {
        TlsKey::from_signing_key(&self.signer(name)).unwrap()
    }

    /// The same as it signs statements.
    pub fn signer(&self, name: &str) -> SigningKey {
        let file = self.dir.path().join(format!("{name}.pem"));
        if file.exists() { SigningKey::read(&file).unwrap() } else { SigningKey::create(&file).unwrap() }
    }

    /// How whoever presents this certificate, or none, speaks to the machines' listener: it must be `north`'s.
    pub fn tls(&self, own: Option<&Leaf>) -> rustls::ClientConfig {
        let (own, root) = (own.map(Leaf::own), self.head_office.with(|s| s.authority.chain()[0].clone()));
        let (north, time) =
            (Identity::Branch("north".parse().unwrap()), FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH));
        client_config(own, Anchor::Known(root), Suffix::default(), north, none_denied(), time).unwrap()
    }

    /// Asks for a certificate, with a join token or by the key alone.
    pub async fn try_enrol(&self, join: Option<&str>, name: &str, key: &TlsKey) -> reqwest::Response {
        self.post("/v1/enrol", None, serde_json::to_string(&enrolment(join, name, key)).unwrap()).await
    }

    /// Enrols a terminal: the same name always has the same key.
    pub async fn enrol(&self, name: &str) -> Till {
        let key = self.key(name);
        let response = self.try_enrol(Some(JOIN), name, &key).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap());
        self.till(key, response.json().await.unwrap())
    }

    /// Whoever has this key and got this answer.
    pub fn till(&self, key: TlsKey, answer: EnrolResponse) -> Till {
        let chain = [&answer.certificate, &answer.intermediate].map(|pem| certificate_from_pem(pem).unwrap()).to_vec();
        self.presenting(Leaf { chain, key }, answer)
    }

    /// Whoever presents this certificate.
    pub fn presenting(&self, leaf: Leaf, answer: EnrolResponse) -> Till {
        let builder = reqwest::Client::builder().no_proxy().use_preconfigured_tls(self.tls(Some(&leaf)));
        Till { http: builder.build().unwrap(), leaf: Arc::new(leaf), answer }
    }

    /// The same as a client of the programs' own.
    pub fn client(&self, till: &Till) -> JsonClient {
        JsonClient::secure(&format!("https://{}", self.machines), self.tls(Some(&till.leaf)), Timeouts::default())
            .unwrap()
    }

    /// The audit from its first row, checked as a chain.
    pub async fn audit(&self) -> Vec<Entry> {
        let path = format!("{}?after=0&limit=500", paths::AUDIT);
        let page: AuditPage = self.get(self.operators, &path, Some(ADMIN)).await.json().await.unwrap();
        let mut verifier = Verifier::new([]);
        page.entries.iter().for_each(|entry| verifier.push(entry).unwrap());
        page.entries
    }

    /// The operators' status.
    pub async fn status(&self) -> Value {
        let response = self.get(self.operators, "/v1/status", Some(VIEWER)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }
}

/// A terminal with its certificate.
#[derive(Clone)]
pub struct Till {
    pub http: reqwest::Client,
    pub leaf: Arc<Leaf>,
    /// What it was answered.
    pub answer: EnrolResponse,
}

/// What a terminal posts to enrol.
pub fn enrolment(join: Option<&str>, name: &str, key: &TlsKey) -> EnrolRequest {
    EnrolRequest {
        join_token: join.map(str::to_owned),
        certificate_request: request_to_pem(&key.request().unwrap()),
        terminal: join.map(|_| facts(name)),
        certificate: None,
    }
}

pub fn name(text: &str) -> TerminalName {
    text.parse().unwrap()
}

pub fn facts(name: &str) -> TerminalFacts {
    TerminalFacts {
        name: name.parse().unwrap(),
        model: "kiosk".parse().unwrap(),
        slot_bytes: 1 << 30,
        data_bytes: 1 << 31,
        agent_version: "0.1.0".into(),
    }
}

/// Asserts a refusal: its status, its code, that it is problem+json with a remedy and a request id. Returns it.
pub async fn assert_refused(response: reqwest::Response, code: Code) -> Problem {
    let status = response.status().as_u16();
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!((problem.code, status, media.as_str()), (code, code.status(), "application/problem+json"), "{text}");
    assert!(!problem.remedy.is_empty() && problem.request_id.is_some(), "{text}");
    problem
}
