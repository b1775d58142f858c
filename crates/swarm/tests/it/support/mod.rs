//! Real daemons for the tests: started here, stopped by process id when dropped, also on a panic.

pub mod net;

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use swarm::tracker::{TrackerConf, TrackerRole, render_conf};
use swarm::{
    AccessList, AccessListSettings, DaemonOptions, Engine, EngineRole, Reload, TransmissionEngine,
    TransmissionSettings, daemon_settings, write_daemon_settings,
};
use tempfile::TempDir;

pub use test_kit::{free_port, skip};
use tokio::time::{Instant, sleep};

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const PASSWORD: &str = "correct horse";

/// Waits until `condition` gives something, or panics with what it was waiting for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A folder that the daemons' users may look into.
pub fn open_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("filial-swarm.").tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Bytes that do not repeat with any piece length.
pub fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// A child that does not outlive its test.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let out = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits for that.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// A transmission-daemon with its own folder.
pub struct Daemon {
    pub running: Option<Running>,
    pub dir: TempDir,
    pub options: DaemonOptions,
    role: EngineRole,
    namespace: Option<String>,
}

impl Daemon {
    /// On loopback: RPC works, peers do not (the daemon refuses 127.0.0.0/8).
    pub fn on_loopback(role: EngineRole) -> Self {
        Self::start(role, Ipv4Addr::LOCALHOST, free_port(), free_port(), None)
    }

    pub fn start(
        role: EngineRole,
        bind_address: Ipv4Addr,
        rpc_port: u16,
        peer_port: u16,
        namespace: Option<&str>,
    ) -> Self {
        let dir = open_dir();
        let download_dir = dir.path().join("content");
        fs::create_dir(&download_dir).unwrap();
        fs::create_dir(dir.path().join("config")).unwrap();
        let options = DaemonOptions {
            rpc_port,
            rpc_user: "filial".into(),
            rpc_password: PASSWORD.into(),
            peer_port,
            bind_address,
            download_dir,
            ..DaemonOptions::default()
        };
        let mut daemon = Self { running: None, dir, options, role, namespace: namespace.map(str::to_owned) };
        daemon.restart();
        daemon
    }

    pub fn config_dir(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    pub fn content_dir(&self) -> &Path {
        &self.options.download_dir
    }

    pub fn settings(&self) -> serde_json::Value {
        daemon_settings(self.role, &self.options)
    }

    pub fn restart(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop();
        }
        write_daemon_settings(&self.config_dir(), &self.settings()).unwrap();
        let mut command = net::command(self.namespace.as_deref(), "transmission-daemon");
        command.args(["-f", "-g"]).arg(self.config_dir());
        self.running = Some(Running::start(command, self.dir.path().join("daemon.log")));
    }

    pub fn engine(&self) -> TransmissionEngine {
        self.engine_with(PASSWORD, Duration::from_secs(20))
    }

    pub fn engine_with(&self, password: &str, timeout: Duration) -> TransmissionEngine {
        TransmissionEngine::new(TransmissionSettings {
            url: format!("http://127.0.0.1:{}/transmission/rpc", self.options.rpc_port),
            user: "filial".into(),
            password: password.into(),
            timeout,
        })
        .unwrap()
    }

    /// Its engine, once it answers.
    pub async fn ready(&self) -> TransmissionEngine {
        let engine = self.engine();
        until("the daemon answers", || async { engine.info().await.ok() }).await;
        engine
    }
}

/// An opentracker with its list and pid file.
pub struct Tracker {
    pub running: Running,
    pub dir: TempDir,
    pub url: String,
}

impl Tracker {
    pub fn start(role: TrackerRole, address: SocketAddrV4, namespace: Option<&str>) -> Self {
        let dir = open_dir();
        let access_list = dir.path().join("access.list");
        File::create(&access_list).unwrap();
        let conf = TrackerConf { role, listen: vec![address], access_list, user: "nobody".into() };
        let path = dir.path().join("opentracker.conf");
        fs::write(&path, render_conf(&conf).unwrap()).unwrap();
        let mut command = net::command(namespace, "opentracker");
        command.arg("-f").arg(path);
        let running = Running::start(command, dir.path().join("tracker.log"));
        fs::write(dir.path().join("pid"), format!("{}\n", running.pid())).unwrap();
        Self { running, dir, url: format!("http://{address}/announce") }
    }

    pub fn settings(&self) -> AccessListSettings {
        AccessListSettings {
            path: self.dir.path().join("access.list"),
            reload: Reload::PidFile(self.dir.path().join("pid")),
            announce_url: self.url.clone(),
            deadline: PATIENCE,
        }
    }

    pub fn access_list(&self) -> AccessList {
        AccessList::new(self.settings()).unwrap()
    }

    /// Waits until it listens.
    pub async fn ready(&self) {
        let address = self.url.trim_start_matches("http://").trim_end_matches("/announce").to_owned();
        until("the tracker listens", || async { tokio::net::TcpStream::connect(&address).await.ok() }).await;
    }
}
