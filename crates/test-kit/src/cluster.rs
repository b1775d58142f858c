//! A PostgreSQL server that is thrown away.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::wait_for_blocking;

/// Where Debian has PostgreSQL 15's programs.
pub const PG_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Set by `with-postgres`.
///
/// The connection parameters of the run's shared cluster, without `dbname`.
pub const SHARED_CLUSTER: &str = "FILIAL_TEST_PG";

/// The superuser of every throwaway cluster.
const SUPERUSER: &str = "filial";

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A folder cannot be made.
    #[error("cannot prepare a folder for PostgreSQL")]
    Folder(#[source] io::Error),
    /// A program cannot be run.
    #[error("cannot run {program}: is Debian's package postgresql-15 installed?")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
}

/// A PostgreSQL server in a temporary folder, on a socket only, without fsync.
///
/// Stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    stop: mpsc::Sender<()>,
    keeper: std::thread::JoinHandle<()>,
}

impl Cluster {
    /// Makes and starts one; as root, under the user `postgres`, since PostgreSQL refuses root.
    ///
    /// Blocking.
    ///
    /// # Errors
    /// As [`ClusterError`].
    pub fn start() -> Result<Self, ClusterError> {
        let folder = tempfile::Builder::new().prefix("filial-pg-").tempdir().map_err(ClusterError::Folder)?;
        give_to_postgres(folder.path()).map_err(ClusterError::Folder)?;
        let data = folder.path().join("data");
        let initdb = format!("{PG_BIN}/initdb");
        let output = unprivileged(&initdb)
            .args(["--no-sync", "--no-instructions", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"])
            .args(["-U", SUPERUSER, "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .map_err(|source| ClusterError::Run { program: initdb, source })?;
        if !output.status.success() {
            return Err(ClusterError::Initdb(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let mut cluster = Self { folder, server: None };
        cluster.resume()?;
        Ok(cluster)
    }

    /// Connection parameters for tokio-postgres and libpq, without `dbname`.
    pub fn parameters(&self) -> String {
        format!("host={} user={SUPERUSER}", self.folder.path().display())
    }

    /// Connection parameters for `database`.
    pub fn url(&self, database: &str) -> String {
        format!("{} dbname={database}", self.parameters())
    }

    /// Starts the server again after [`Cluster::stop`]. Blocking.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn resume(&mut self) -> Result<(), ClusterError> {
        if self.server.is_some() {
            return Ok(());
        }
        let folder = self.folder.path().to_owned();
        let (started, is_started) = mpsc::channel();
        let (stop, is_stopped) = mpsc::channel();
        // A dedicated thread: the kernel ends the server when the thread that started it ends, so that a killed
        // test leaves no server, and a test's own threads come and go.
        let keeper = std::thread::spawn(move || match spawn(&folder) {
            Ok(mut child) => {
                let _ = started.send(Ok(()));
                let _ = is_stopped.recv();
                end(&mut child);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        });
        self.server = Some(Server { stop, keeper });
        let program = format!("{PG_BIN}/postgres");
        let outcome = is_started.recv().unwrap_or_else(|_| Err(io::Error::other("the keeper thread died")));
        outcome.map_err(|source| ClusterError::Run { program, source })?;
        self.wait_until_ready();
        Ok(())
    }

    /// Stops the server, as if it crashed politely; data stays. Blocking.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.stop.send(());
            let _ = server.keeper.join();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "pg_isready is a process, and this is its adapter")]
    fn wait_until_ready(&self) {
        wait_for_blocking("PostgreSQL to accept connections", Duration::from_secs(60), || {
            let status = Command::new(format!("{PG_BIN}/pg_isready"))
                .arg("-q")
                .arg("-h")
                .arg(self.folder.path())
                .status()
                .map_err(|e| e.to_string())?;
            if status.success() { Ok(()) } else { Err(self.log()) }
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(folder: &Path) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let mut command = unprivileged(&format!("{PG_BIN}/postgres"));
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    for setting in [
        "listen_addresses=",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_connections=300",
        "shared_buffers=64MB",
        "autovacuum=off",
    ] {
        command.arg("-c").arg(setting);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// SIGINT: PostgreSQL's fast shutdown, which does not wait for clients.
fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::INT);
    }
    let _ = child.wait();
}

/// Runs by `setpriv`, so that the child's process id is the server's and it dies with us.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that starts PostgreSQL")]
fn unprivileged(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(program);
    command
}

fn give_to_postgres(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = service_kit::users::find("postgres")?.ok_or_else(|| io::Error::other("there is no user postgres"))?;
    std::os::unix::fs::chown(folder, Some(owner.uid), Some(owner.gid))?;
    // The socket must be reachable for the tests under any user.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}
