//! The real transmission-daemon and opentracker on loopback. Loopback suffices here: no peers are needed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use head_office::config::Settings;
use swarm::tracker::{TrackerConf, TrackerRole, render_conf};
use swarm::{DaemonOptions, EngineRole, Reload, daemon_settings, write_daemon_settings};
use tempfile::TempDir;
use test_kit::{Daemon, free_port};

/// A folder that the daemons' users may look into.
pub fn open_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("filial-office-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Both daemons; they end when this is dropped.
pub struct Daemons {
    pub engine: Option<Daemon>,
    pub tracker: Option<Daemon>,
    pub dir: TempDir,
    rpc_port: u16,
    tracker_port: u16,
}

impl Daemons {
    pub fn start() -> Self {
        let mut daemons = Self::prepare();
        daemons.start_tracker();
        daemons.start_engine();
        daemons
    }

    /// With everything in its place and nothing started.
    pub fn prepare() -> Self {
        let dir = open_dir();
        let (rpc_port, tracker_port) = (free_port(), free_port());
        for folder in ["config", "content", "tracker"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let options = DaemonOptions {
            rpc_port,
            rpc_password: "secret".into(),
            peer_port: free_port(),
            bind_address: Ipv4Addr::LOCALHOST,
            download_dir: dir.path().join("content"),
            ..DaemonOptions::default()
        };
        let config = dir.path().join("config");
        write_daemon_settings(&config, &daemon_settings(EngineRole::HeadOffice, &options)).unwrap();
        let list = dir.path().join("tracker/access-list");
        std::fs::write(&list, "").unwrap();
        let conf = TrackerConf {
            role: TrackerRole::HeadOffice,
            listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, tracker_port)],
            access_list: list,
            user: "nobody".into(),
        };
        std::fs::write(dir.path().join("tracker/conf"), render_conf(&conf).unwrap()).unwrap();
        Self { engine: None, tracker: None, dir, rpc_port, tracker_port }
    }

    pub fn start_tracker(&mut self) {
        let (conf, log) = (self.dir.path().join("tracker/conf"), self.dir.path().join("tracker.log"));
        let tracker = Daemon::start("opentracker", &["-f", conf.to_str().unwrap()], &log).unwrap();
        std::fs::write(self.pid_file(), format!("{}\n", tracker.id())).unwrap();
        self.tracker = Some(tracker);
    }

    pub fn start_engine(&mut self) {
        let (config, log) = (self.dir.path().join("config"), self.dir.path().join("engine.log"));
        let engine = Daemon::start("transmission-daemon", &["-f", "-g", config.to_str().unwrap()], &log).unwrap();
        self.engine = Some(engine);
    }

    /// Ends the BitTorrent daemon, takes its memory of torrents and starts it again.
    pub fn restart_engine_without_memory(&mut self) {
        self.engine = None;
        let _ = std::fs::remove_dir_all(self.dir.path().join("config/torrents"));
        let _ = std::fs::remove_dir_all(self.dir.path().join("config/resume"));
        self.start_engine();
    }

    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}/transmission/rpc", self.rpc_port)
    }

    /// The number under which the BitTorrent daemon has a torrent: a higher one each time that the torrent is added.
    pub async fn torrent_id(&self, hash: &str) -> Option<u64> {
        let http = reqwest::Client::new();
        let body = serde_json::json!({ "method": "torrent-get", "arguments": { "ids": [hash], "fields": ["id"] } });
        let ask = |session: String| {
            let request = http.post(self.rpc_url()).basic_auth("filial", Some("secret"));
            request.header("X-Transmission-Session-Id", session).body(body.to_string()).send()
        };
        let refused = ask(String::new()).await.unwrap();
        let session = refused.headers()["X-Transmission-Session-Id"].to_str().unwrap().to_owned();
        let answer = ask(session).await.unwrap().text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["arguments"]["torrents"][0]["id"].as_u64()
    }

    pub fn announce_url(&self) -> String {
        format!("http://127.0.0.1:{}/announce", self.tracker_port)
    }

    pub fn access_list(&self) -> PathBuf {
        self.dir.path().join("tracker/access-list")
    }

    /// The hashes in the access list.
    pub fn listed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.access_list()).unwrap();
        text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    }

    pub fn pid_file(&self) -> PathBuf {
        self.dir.path().join("tracker/pid")
    }

    /// Makes a head office use these.
    pub fn apply_to(&self, settings: &mut Settings) {
        settings.engine = super::engine(self.rpc_url(), "filial", "secret", std::time::Duration::from_secs(5));
        settings.tracker.announce_url = self.announce_url();
        settings.tracker.access_list.announce_url = self.announce_url();
        settings.tracker.access_list.path = self.access_list();
        settings.tracker.access_list.reload = Reload::PidFile(self.pid_file());
        settings.tracker.access_list.deadline = super::PATIENCE;
    }
}
