//! A head office for a test: real PostgreSQL, real listeners on free ports, and on request real daemons.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test support")]

pub mod archive;
pub mod daemons;
pub mod people;
pub mod program;
pub mod tls;
pub mod trust;
pub mod tus;

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact::EncodeOptions;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, ReleaseState};
use head_office::config::{
    AccessSettings, EncodeSettings, PlanSettings, Settings, Signing, StoreSettings, TlsSettings, TrackerSettings,
    UploadSettings,
};
use head_office::{Deps, start};
use reqwest::Method;
use service_kit::client::JsonClient;
use service_kit::database::{DatabaseSettings, Pool, RunnerSettings, connect, connection};
use service_kit::server::{Limits, Role};
use service_kit::telemetry::TelemetrySettings;
use service_kit::{Clock as _, FixedClock, Shutdown, token};
use swarm::{AccessListSettings, EngineSettings, Reload, TransmissionSettings};
use tempfile::TempDir;
use test_kit::{BranchKey, Leaf, TestDatabase, free_port, wait_for};
use tokio::task::JoinHandle;
use uuid::Uuid;
use wire::v1::fleet::BranchAdded;
use wire::v1::operators::Token;
use wire::v1::releases::Release;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};
use wire::v1::sync::TerminalFacts;

use tls::{Line, try_enrol};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// One token for each role of people.
pub const TOKENS: [(Role, &str); 4] = [
    (Role::Viewer, "viewer-token"),
    (Role::Operator, "operator-token"),
    (Role::ReleaseManager, "manager-token"),
    (Role::Admin, "admin-token"),
];

pub fn token_of(role: Role) -> &'static str {
    TOKENS.iter().find(|(r, _)| *r == role).unwrap().1
}

/// A database with head office's schema, and a service with its token for each role of people.
pub async fn database() -> TestDatabase {
    TestDatabase::from_template("head_office", async |url| prepare(&url).await).await
}

/// Gives a database head office's schema, and a service with its token for each role of people.
pub async fn prepare(url: &str) {
    let pool = pool(url).await;
    head_office::db::migrate(&pool).await.unwrap();
    for (role, secret) in TOKENS {
        give_token(&pool, role, secret).await;
    }
    pool.close();
}

/// A database with head office's schema and no operators.
pub async fn empty_database() -> TestDatabase {
    TestDatabase::from_template("head_office_empty", async |url| {
        let pool = pool(&url).await;
        head_office::db::migrate(&pool).await.unwrap();
        pool.close();
    })
    .await
}

/// A service called as its role, with this token.
async fn give_token(pool: &Pool, role: Role, secret: &str) {
    let client = connection(pool).await.unwrap();
    let (operator, role) = (role.as_str().parse().unwrap(), role.operator().unwrap());
    head_office::db::operators::insert(&client, &operator, role, None, "test", begin()).await.unwrap();
    let (made, expires) = (begin(), begin() + TimeDelta::days(36_500));
    let (id, name, scope, last_used, revoked) = (Uuid::new_v4(), "test".to_owned(), None, None, None);
    let kept = Token { id, operator, name, role, scope, made, expires, last_used, revoked };
    head_office::db::tokens::insert(&client, &kept, &token::hash(secret)).await.unwrap();
}

pub async fn pool(url: &str) -> Pool {
    let settings = DatabaseSettings { pool_size: 4, ..DatabaseSettings::new(url) };
    connect(&settings, &Shutdown::new()).await.unwrap()
}

/// A time to begin at: any, but the same in every run.
pub fn begin() -> DateTime<Utc> {
    "2030-01-01T08:00:00Z".parse().unwrap()
}

pub struct Office {
    pub dir: TempDir,
    pub database: TestDatabase,
    pub settings: Settings,
    pub clock: Arc<FixedClock>,
    pub operators: SocketAddr,
    pub machines: SocketAddr,
    shutdown: Shutdown,
    running: Option<JoinHandle<()>>,
}

impl Office {
    /// Without daemons: whatever needs them fails and is tried again.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings of its own.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = daemons::open_dir();
        let database = database().await;
        let mut settings = settings(dir.path(), &database.url());
        change(&mut settings);
        let folder = dir.path().join("trust");
        if !folder.exists() {
            trust::make(&folder, begin(), true, 1, 1);
        }
        let clock = Arc::new(FixedClock::new(begin()));
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut office = Self {
            dir,
            database,
            settings,
            clock,
            operators: nowhere,
            machines: nowhere,
            shutdown: Shutdown::new(),
            running: None,
        };
        office.resume().await;
        office
    }

    /// Whose releases are signed elsewhere: two of three keys of each product, in `trust/offline`.
    pub async fn offline() -> Self {
        Self::with(|settings| {
            settings.trust.signing = Signing::Offline;
            let folder = settings.trust.metadata.parent().unwrap();
            trust::make(folder, begin(), false, 3, 2);
        })
        .await
    }

    /// Where its keys and metadata lie.
    pub fn trust(&self) -> std::path::PathBuf {
        self.dir.path().join("trust")
    }

    /// Starts again after [`Office::stop`], on other ports.
    pub async fn resume(&mut self) {
        self.shutdown = Shutdown::new();
        let engine = self.settings.engine.open().unwrap();
        let jobs = RunnerSettings {
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(200),
            ..RunnerSettings::default()
        };
        let deps = Deps { clock: self.clock.clone(), engine, jobs };
        let running = start(self.settings.clone(), deps, self.shutdown.clone()).await.unwrap();
        (self.operators, self.machines) = (running.operators(), running.machines());
        self.running = Some(tokio::spawn(async move { running.run().await.unwrap() }));
    }

    pub async fn stop(&mut self) {
        self.shutdown.stop();
        let Some(running) = self.running.take() else { return };
        running.await.unwrap();
        // A process lets go of its store as it ends; here worker threads may hold on to it for a moment longer.
        let lock = self.settings.store.state_folder.join("lock");
        wait_for("the store to be let go of", PATIENCE, async || {
            File::open(&lock).map_err(TryLockError::Error)?.try_lock()
        })
        .await;
    }

    pub async fn pool(&self) -> Pool {
        pool(&self.database.url()).await
    }

    /// As a person with this role.
    pub fn as_role(&self, role: Role) -> JsonClient {
        self.client(Some(token_of(role)))
    }

    /// At the operators' listener with this token or none.
    pub fn client(&self, token: Option<&str>) -> JsonClient {
        self.line().client(self.operators, token, None)
    }

    /// How it is spoken to.
    pub fn line(&self) -> Line {
        Line::new(&self.settings.tls.folder, self.clock.clone())
    }

    pub fn admin(&self) -> JsonClient {
        self.as_role(Role::Admin)
    }

    /// At the operators' listener without a token.
    pub fn stranger(&self) -> JsonClient {
        self.client(None)
    }

    /// At the machines' listener without a certificate, with this token or none.
    pub fn machine(&self, token: Option<&str>) -> JsonClient {
        self.line().client(self.machines, token, None)
    }

    /// At the machines' listener with a fresh certificate of this branch.
    pub fn as_branch(&self, branch: &Branch) -> JsonClient {
        self.line().client(self.machines, None, Some(&self.leaf(branch)))
    }

    /// A fresh certificate of this branch.
    pub fn leaf(&self, branch: &Branch) -> Leaf {
        branch.key.leaf(&branch.name, &branch.certificate, self.clock.now()).unwrap()
    }

    pub async fn add_branch(&self, name: &str) -> BranchAdded {
        self.admin().post("/v1/branches", &serde_json::json!({ "name": name })).await.unwrap()
    }

    /// Adds a branch, enrols its server and gives it terminals of one model.
    pub async fn branch(&self, name: &str, model: &str, terminals: &[&str]) -> Branch {
        let added = self.add_branch(name).await;
        let (key, machines) = (BranchKey::generate().unwrap(), self.machine(None));
        let answer = try_enrol(&machines, Some(&added.join_token), &key).await.unwrap();
        let (name, certificate) = (answer.branch, answer.certificate);
        let mut branch = Branch { name, key, certificate, client: machines, epoch: Uuid::new_v4(), seq: 0 };
        branch.client = self.as_branch(&branch);
        branch.store(1 << 30, 1 << 30).await;
        for terminal in terminals {
            branch.seen(terminal, model).await;
        }
        branch
    }

    pub async fn release(&self, id: Uuid) -> Release {
        self.admin().get(&format!("/v1/releases/{id}")).await.unwrap()
    }

    pub async fn wait_for_state(&self, id: Uuid, wanted: ReleaseState) -> Release {
        wait_for(&format!("release {id} to be {wanted}"), PATIENCE, async || {
            let release = self.release(id).await;
            if release.state == wanted { Ok(release) } else { Err(format!("{release:?}")) }
        })
        .await
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.shutdown.stop();
        let Some(running) = self.running.take() else { return };
        // Its background work must not write into a folder that is being removed.
        tokio::task::block_in_place(|| {
            let ended = async { tokio::time::timeout(Duration::from_secs(5), running).await.map(drop) };
            let _ = tokio::runtime::Handle::current().block_on(ended);
        });
    }
}

/// A branch server, as far as head office sees it.
pub struct Branch {
    pub name: BranchName,
    pub key: BranchKey,
    /// Its intermediate, in PEM.
    pub certificate: String,
    pub client: JsonClient,
    pub epoch: Uuid,
    pub seq: u64,
}

impl Branch {
    pub async fn seen(&mut self, terminal: &str, model: &str) {
        self.report(Report::TerminalSeen { facts: facts(terminal, model), key: None }).await;
    }

    /// The room in its store, in bytes.
    pub async fn store(&mut self, capacity_bytes: u64, free_bytes: u64) {
        self.report(Report::Store { capacity_bytes, free_bytes, held_bytes: 0 }).await;
    }

    /// What a terminal runs.
    pub async fn runs(&mut self, terminal: &str, version: &str) {
        let (terminal, version) = (terminal.parse().unwrap(), version.parse().unwrap());
        self.report(Report::Running { terminal, slot: fleet_types::Slot::A, version }).await;
    }

    pub async fn report(&mut self, report: Report) {
        self.seq += 1;
        let batch = Batch { epoch: self.epoch, reports: vec![Numbered { seq: self.seq, at: begin(), report }] };
        let answer: Acknowledged = self.client.post("/v1/reports", &batch).await.unwrap();
        assert_eq!(answer.through, self.seq);
    }
}

pub fn facts(terminal: &str, model: &str) -> TerminalFacts {
    TerminalFacts {
        name: terminal.parse().unwrap(),
        model: model.parse().unwrap(),
        slot_bytes: 64 << 20,
        data_bytes: 1 << 30,
        agent_version: "0.1.0".into(),
    }
}

/// The status of a bare request.
pub async fn status_of(client: &JsonClient, method: Method, path: &str) -> u16 {
    client.request(method, path).send().await.unwrap().status().as_u16()
}

/// The engine at this RPC.
pub fn engine(url: String, user: &str, password: &str, timeout: Duration) -> EngineSettings {
    EngineSettings::Transmission(TransmissionSettings { url, user: user.into(), password: password.into(), timeout })
}

pub fn settings(dir: &Path, database: &str) -> Settings {
    let nowhere = free_port();
    let announce_url = format!("http://127.0.0.1:{nowhere}/announce");
    Settings {
        operators_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        access: AccessSettings {
            session_idle: TimeDelta::minutes(30),
            session_life: TimeDelta::hours(12),
            token_days: 366,
        },
        machines_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: TlsSettings { folder: dir.join("state/tls"), public: None },
        limits: Limits::default(),
        database: DatabaseSettings::new(database),
        store: StoreSettings {
            folder: dir.join("store"),
            state_folder: dir.join("state"),
            seed_for: TimeDelta::days(3),
            budget_bytes: None,
        },
        encode: EncodeSettings { options: EncodeOptions { segment_size: 64 << 10, level: 1, workers: 1 } },
        engine: engine(format!("http://127.0.0.1:{nowhere}/transmission/rpc"), "", "", Duration::from_secs(5)),
        tracker: TrackerSettings {
            announce_url: announce_url.clone(),
            access_list: AccessListSettings {
                path: dir.join("access-list"),
                reload: Reload::Watcher,
                announce_url,
                deadline: Duration::from_millis(100),
            },
        },
        plan: PlanSettings { life: TimeDelta::days(30) },
        trust: trust::settings(&dir.join("trust"), Signing::Online),
        join_token_life: TimeDelta::hours(72),
        uploads: UploadSettings { max_bytes: 64 << 20, reserve_bytes: 0, abandon_after: TimeDelta::days(7) },
        policy: release::Policy::default(),
        telemetry: TelemetrySettings::default(),
    }
}

/// Puts a release into the database as if it had been published, with one image for `model`.
pub async fn published(office: &Office, product: &str, version: &str, model: &str) -> wire::v1::plan::ArtifactRef {
    archive::insert_published(&office.pool().await, product, version, model).await
}

/// One number out of the database, for what no route shows.
pub async fn count(pool: &Pool, sql: &str) -> i64 {
    connection(pool).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}
