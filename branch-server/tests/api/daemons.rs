//! A real transmission-daemon and a real opentracker on loopback, and what tests ask of a branch server beside them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use branch_server::artifacts::model::Stage;
use branch_server::config::Settings;
use branch_server::db::artifacts;
use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::connection;
use service_kit::{Clock, SystemClock};
use swarm::tracker::{TrackerConf, TrackerRole, render_conf};
use swarm::{DaemonOptions, Engine, EngineRole, daemon_arguments, daemon_settings, write_daemon_settings};
use tempfile::TempDir;
use test_kit::{Daemon, free_port, wait_for};
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::reports::{Reason, Report};

use crate::fixture::Fixture;
use crate::head_office::HeadOfficeDouble;
use crate::plans::plan;
use crate::support::{Branch, Options, PATIENCE, open_dir, write};

/// Both daemons in one folder.
pub struct Daemons {
    pub dir: TempDir,
    pub engine: Option<Daemon>,
    pub tracker: Option<Daemon>,
    rpc_port: u16,
    peer_port: u16,
    tracker_port: u16,
}

/// The machine's clock, ahead by so much. It goes on: what failed once and rests must have its next turn.
#[derive(Default)]
pub struct Later(Mutex<TimeDelta>);

impl Later {
    /// So much more ahead.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Later {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + *self.0.lock().unwrap()
    }
}

impl Daemons {
    pub fn start() -> Self {
        let mut this = Self::with_tracker();
        this.start_engine();
        this
    }

    /// The tracker only: for an engine that needs no daemon.
    pub fn with_tracker() -> Self {
        let (dir, tracker_port) = (open_dir(), free_port());
        write(&dir.path().join("access.list"), "");
        std::fs::create_dir(dir.path().join("config")).unwrap();
        let mut this =
            Self { dir, engine: None, tracker: None, rpc_port: free_port(), peer_port: free_port(), tracker_port };
        this.start_tracker();
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn start_engine(&mut self) {
        self.engine = None;
        let options = DaemonOptions {
            rpc_port: self.rpc_port,
            rpc_password: "correct horse".into(),
            peer_port: self.peer_port,
            bind_address: std::net::Ipv4Addr::LOCALHOST,
            download_dir: self.dir.path().to_owned(),
            ..DaemonOptions::default()
        };
        write_daemon_settings(&self.path("config"), &daemon_settings(EngineRole::Branch, &options)).unwrap();
        let config = self.path("config").display().to_string();
        let args = [&["-f", "-g", config.as_str()], daemon_arguments(EngineRole::Branch)].concat();
        self.engine = Some(Daemon::start("transmission-daemon", &args, &self.path("engine.log")).unwrap());
    }

    /// Ends the engine in order: it remembers what it had.
    pub fn stop_engine(&mut self) {
        self.engine.take().unwrap().stop();
    }

    pub fn start_tracker(&mut self) {
        self.tracker = None;
        let conf = TrackerConf {
            role: TrackerRole::Branch,
            listen: vec![format!("127.0.0.1:{}", self.tracker_port).parse().unwrap()],
            access_list: self.path("access.list"),
            user: "nobody".into(),
        };
        let path = self.path("opentracker.conf");
        write(&path, render_conf(&conf).unwrap());
        let path = path.display().to_string();
        let tracker = Daemon::start("opentracker", &["-f", &path], &self.path("tracker.log")).unwrap();
        write(&self.path("tracker.pid"), format!("{}\n", tracker.id()));
        self.tracker = Some(tracker);
    }

    pub fn lan(&self) -> String {
        format!("http://127.0.0.1:{}/announce", self.tracker_port)
    }

    pub fn options(&self) -> Options {
        Options {
            engine_url: format!("http://127.0.0.1:{}/transmission/rpc", self.rpc_port),
            tracker_url: self.lan(),
            access_list: Some(self.path("access.list")),
            pid_file: Some(self.path("tracker.pid")),
            ..Options::default()
        }
    }

    /// The trackers that the daemon itself has for a torrent, in its own words.
    pub async fn trackers(&self, hash: &str) -> Vec<(u64, String)> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{}/transmission/rpc", self.rpc_port);
        let ask = |session: String| {
            let body = format!(
                "{{\"method\":\"torrent-get\",\"arguments\":{{\"ids\":[\"{hash}\"],\"fields\":[\"trackers\"]}}}}"
            );
            http.post(&url)
                .basic_auth("filial", Some("correct horse"))
                .header("X-Transmission-Session-Id", session)
                .body(body)
        };
        // Not up yet.
        let Ok(first) = ask(String::new()).send().await else { return Vec::new() };
        let session = first.headers()["x-transmission-session-id"].to_str().unwrap().to_owned();
        let answer: serde_json::Value = ask(session).send().await.unwrap().json().await.unwrap();
        let trackers = answer["arguments"]["torrents"][0]["trackers"].as_array().cloned().unwrap_or_default();
        let one = |t: serde_json::Value| (t["tier"].as_u64().unwrap(), t["announce"].as_str().unwrap().to_owned());
        trackers.into_iter().map(one).collect()
    }
}

/// Serves everything of `fixture` and a plan that names it.
pub fn publish(head_office: &HeadOfficeDouble, serial: u64, fixtures: &[&Fixture]) {
    for f in fixtures {
        let sha256 = f.step.artifact.sha256;
        head_office.serve(paths::artifact_index(&sha256), f.index.clone());
        head_office.serve(paths::artifact_torrent(&sha256), f.torrent.clone());
        head_office.serve(paths::manifest(&f.step.manifest), f.manifest.clone());
    }
    let steps = fixtures.iter().map(|f| f.step.clone()).collect();
    head_office.offer(&Plan { steps, ..plan(serial) });
    head_office.call();
}

pub async fn stage(branch: &Branch, fixture: &Fixture) -> Option<Stage> {
    let client = connection(&branch.app.pool).await.unwrap();
    artifacts::read(&client, &fixture.step.artifact.sha256).await.unwrap().map(|r| r.stage)
}

pub async fn wait_for_stage(branch: &Branch, fixture: &Fixture, expected: Option<Stage>) {
    wait_for(&format!("{expected:?}"), PATIENCE, async || match stage(branch, fixture).await {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}; {}", branch.status().await["branches"][0]["artifacts"])),
    })
    .await;
}

pub fn store(branch: &Branch, fixture: &Fixture) -> PathBuf {
    branch.app.store.path(&fixture.step.artifact.sha256)
}

/// Reports about the artifact that reached head office.
pub fn told(branch: &Branch, fixture: &Fixture) -> Vec<(bool, Option<Reason>)> {
    let about = fixture.step.artifact.sha256;
    branch.head_office.with(|s| {
        let artifacts = s.counted.iter().filter_map(|n| match &n.report {
            Report::Artifact { artifact, complete, trouble, .. } if *artifact == about => {
                Some((*complete, trouble.clone()))
            }
            _ => None,
        });
        artifacts.collect()
    })
}

pub fn engine(settings: &Settings) -> Arc<dyn Engine> {
    settings.engine.open().unwrap()
}
