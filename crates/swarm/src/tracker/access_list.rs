//! The list of torrents that opentracker accepts: written whole, reloaded, and confirmed by asking.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::InfoHash;
use reqwest::Client;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{sleep, timeout};

use super::announce::{AnnounceError, Announcement, Event, announce};

/// What the process behind the pid file must be called, so that a reused pid never signals another program.
const TRACKER_COMM: &str = "opentracker";
/// The first line of the list. An empty file would leave opentracker with the hashes it had: it cannot be mapped, which
/// the tracker takes for a file that is gone.
const HEADER: &str = "# The torrents this tracker accepts. Written by Filial, read again by opentracker on SIGHUP.\n";
/// The port of the announce that only asks. Discard: a peer that learns of it in that moment finds nothing there.
const ASKING_PORT: u16 = 9;
/// How long one announce may take, and how long to wait before the next.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// From this pause on the tracker is told again before the next announce: it may have been told while it started, and
/// systemd's path units miss a change that comes while they act on the one before.
const TELL_AGAIN: Duration = Duration::from_millis(400);

/// Where the list is, and how its tracker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessListSettings {
    /// The file that `access.whitelist` names.
    pub path: PathBuf,
    /// How the tracker learns that the file changed.
    pub reload: Reload,
    /// The tracker's announce address, such as `http://127.0.0.1:6969/announce`.
    pub announce_url: String,
    /// How long [`AccessList::confirm`] asks before it gives up.
    pub deadline: Duration,
}

/// How the tracker is told to read its list again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// SIGHUP to the process that this file names: only where we may signal it (same user, or root).
    PidFile(PathBuf),
    /// Something else watches the file: the root `.path` unit of opentracker-conf.
    Watcher,
}

/// The access list of one opentracker.
#[derive(Debug, Clone)]
pub struct AccessList {
    settings: AccessListSettings,
    client: Client,
}

impl AccessList {
    /// For these settings. Touches nothing yet.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(settings: AccessListSettings) -> Result<Self, AccessListError> {
        let client = Client::builder()
            .no_proxy()
            .timeout(ASK_TIMEOUT)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|source| AccessListError::Client { source })?;
        Ok(Self { settings, client })
    }

    /// Makes the tracker accept exactly `hashes`: writes the list whole, durably and atomically, then has it read.
    /// Also when nothing changed, since the tracker may have missed the last time. Returns once it was told, which is
    /// before it knows: [`Self::confirm`] waits for that.
    ///
    /// # Errors
    /// If the list cannot be written, or the tracker not told; the list then stands and the next call tells it.
    pub async fn replace(&self, hashes: &BTreeSet<InfoHash>) -> Result<(), AccessListError> {
        let settings = self.settings.clone();
        // opentracker needs the line feed after the last hash too: without it that hash is not accepted.
        let lines = hashes.iter().map(|hash| format!("{hash}\n"));
        let text: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
        tokio::task::spawn_blocking(move || {
            write_list(&settings.path, text.as_bytes())?;
            match &settings.reload {
                Reload::PidFile(pid_file) => hang_up(pid_file),
                // The rename told the watcher.
                Reload::Watcher => Ok(()),
            }
        })
        .await
        .map_err(|error| AccessListError::Write { path: self.settings.path.clone(), source: io::Error::other(error) })?
    }

    /// Waits until the tracker accepts `hash`: a plain announce until it is let in, then a stopped one so that peers
    /// do not learn of us. While it refuses, it is told again and again to read its list.
    ///
    /// # Errors
    /// If it does not within the deadline, with the last thing the tracker said.
    pub async fn confirm(&self, hash: &InfoHash) -> Result<(), AccessListError> {
        let mut last = None;
        let source = match timeout(self.settings.deadline, self.ask_until_accepted(hash, &mut last)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(elapsed) => last.unwrap_or_else(|| AnnounceError::Unreachable {
                url: self.settings.announce_url.clone(),
                source: Box::new(elapsed),
            }),
        };
        Err(AccessListError::NotAccepted {
            hash: *hash,
            path: self.settings.path.clone(),
            deadline: self.settings.deadline,
            source: Box::new(source),
        })
    }

    /// Asks until the tracker accepts `hash`; `last` keeps its last answer.
    async fn ask_until_accepted(&self, hash: &InfoHash, last: &mut Option<AnnounceError>) -> Result<(), AnnounceError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask(hash).await {
                Ok(()) => return Ok(()),
                // Invalid addresses are not retried.
                Err(error @ AnnounceError::BadUrl { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(%hash, %error, "the tracker does not accept the torrent yet");
                    *last = Some(error);
                }
            }
            sleep(pause).await;
            if pause >= TELL_AGAIN {
                self.tell_again().await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The hashes in the file now; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read. Lines that are not a hash are skipped.
    pub fn read(&self) -> Result<BTreeSet<InfoHash>, AccessListError> {
        match fs::read_to_string(&self.settings.path) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(source) => Err(AccessListError::Read { path: self.settings.path.clone(), source }),
        }
    }

    async fn tell_again(&self) {
        let settings = self.settings.clone();
        let task = tokio::task::spawn_blocking(move || match &settings.reload {
            Reload::PidFile(pid_file) => hang_up(pid_file),
            // Opened for writing and closed: the watcher sees a change, the content stays.
            Reload::Watcher => fs::OpenOptions::new()
                .append(true)
                .open(&settings.path)
                .map(drop)
                .map_err(|source| AccessListError::Write { path: settings.path, source }),
        });
        if let Ok(Err(error)) = task.await {
            // Whether it matters shows in the next announce.
            tracing::debug!(%error, "the tracker was not told again");
        }
    }

    async fn ask(&self, hash: &InfoHash) -> Result<(), AnnounceError> {
        let url = &self.settings.announce_url;
        let plain = Announcement { hash: *hash, event: Event::None, port: ASKING_PORT, left: 0, want: 0 };
        announce(&self.client, url, &plain).await?;
        announce(&self.client, url, &Announcement { event: Event::Stopped, ..plain }).await?;
        Ok(())
    }
}

/// Why the access list is not in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessListError {
    /// No HTTP client.
    #[error("no HTTP client for the tracker could be made")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// The list could not be read.
    #[error("reading the tracker's access list {} failed", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The list could not be written.
    #[error("writing the tracker's access list {} failed: check the folder's owner and the free space", path.display())]
    Write {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pid file does not name a running opentracker.
    #[error("{} does not name a running opentracker ({found}): start the tracker, or correct the path", path.display())]
    NoTracker {
        /// The pid file.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The tracker could not be signalled.
    #[error(
        "telling opentracker (process {pid}) to read its list again failed: use the .path unit of opentracker-conf"
    )]
    Signal {
        /// Its pid.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// The tracker did not accept the torrent in time.
    #[error(
        "the tracker does not accept torrent {hash} within {} s of listing it in {}: check that it reads this file \
         (access.whitelist) and is told when it changes", deadline.as_secs_f32(), path.display()
    )]
    NotAccepted {
        /// The torrent.
        hash: InfoHash,
        /// The list.
        path: PathBuf,
        /// How long was waited.
        deadline: Duration,
        /// The last answer.
        source: Box<AnnounceError>,
    },
}

fn write_list(path: &Path, text: &[u8]) -> Result<(), AccessListError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".access-list.").tempfile_in(folder)?;
        file.write_all(text)?;
        // The tracker runs as another user, and hashes are public.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| AccessListError::Write { path: path.to_owned(), source })
}

/// SIGHUP to the opentracker that `pid_file` names.
fn hang_up(pid_file: &Path) -> Result<(), AccessListError> {
    let no_tracker = |found: String| AccessListError::NoTracker { path: pid_file.to_owned(), found };
    let text = fs::read_to_string(pid_file).map_err(|error| no_tracker(error.to_string()))?;
    let number = text.trim().parse().ok().filter(|n| *n > 1).ok_or_else(|| no_tracker("no process id in it".into()))?;
    let pid = Pid::from_raw(number).ok_or_else(|| no_tracker("no process id in it".into()))?;
    // A handle first, then the name: should the pid be reused in between, the handle does not follow.
    let handle =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| no_tracker(format!("process {number}: {error}")))?;
    let comm = fs::read_to_string(format!("/proc/{number}/comm")).map_err(|error| no_tracker(error.to_string()))?;
    if comm.trim_end() != TRACKER_COMM {
        return Err(no_tracker(format!("process {number} is `{}`", comm.trim_end())));
    }
    if !survives_hang_up(number) {
        // It is just starting, will read the list by itself, and SIGHUP would end it.
        return Ok(());
    }
    pidfd_send_signal(handle, Signal::HUP)
        .map_err(|error| AccessListError::Signal { pid: number, source: error.into() })
}

/// Whether the process blocks, ignores or catches SIGHUP. opentracker blocks it and has a thread wait for it, but for
/// a moment after its start the signal would still end it.
fn survives_hang_up(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = |line: &str| {
        let (field, mask) = line.split_once(':')?;
        if !matches!(field, "SigBlk" | "SigIgn" | "SigCgt") {
            return None;
        }
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    // SIGHUP is number 1, the lowest bit.
    status.lines().filter_map(mask).any(|mask| mask & 1 == 1)
}
