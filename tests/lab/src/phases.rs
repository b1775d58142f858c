//! Exactly where a part is: it is made to stand still, and what it left is read meanwhile.
//!
//! Nothing here asks a program. What counts is what would be found after a kill at that instant: rows in head office's
//! database, lengths of files, positions in files that are open, a terminal's journal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet_types::{BranchName, InfoHash, ReleaseState, TerminalRef, UpdateState};
use rustix::process::Signal;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use wire::Envelope;
use wire::v1::releases::Progress;

use crate::error::LabError;
use crate::lab::Lab;
use crate::part::{Part, Place};
use crate::process::PartState;

/// How long the threads of a process may take to stand still: one in the middle of a disk access ends that first.
const STANDS_STILL: Duration = Duration::from_secs(30);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(1);
/// How long statements of a frozen program may take to end.
const SETTLES: Duration = Duration::from_secs(10);

const NEWEST: &str = "SELECT r.id, r.state, r.archive_bytes, r.progress,
        (SELECT j.state->>'stage' FROM jobs j
          WHERE j.subject = r.id::text AND j.kind = 'publish' AND j.done_at IS NULL),
        ARRAY(SELECT a.info_hash FROM payloads p JOIN artifacts a ON a.sha256 = p.artifact_sha256
               WHERE p.release_id = r.id),
        (SELECT sum(p.length)::bigint FROM payloads p WHERE p.release_id = r.id)
    FROM releases r ORDER BY r.created_at DESC, r.id LIMIT 1";
const BUSY: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE usename = 'head_office' AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock'";
const PUBLISHED: &str = "SELECT DISTINCT a.info_hash FROM releases r JOIN payloads p ON p.release_id = r.id
    JOIN artifacts a ON a.sha256 = p.artifact_sha256 WHERE r.state = 'published'";
const UPDATED: &str = "SELECT state FROM updates WHERE branch = $1 AND terminal = $2 ORDER BY id DESC LIMIT 1";
const FOLLOWED: &str = "SELECT envelope FROM signed_plan";
const HOLD: &str = "SELECT id FROM releases WHERE id = $1 FOR UPDATE";

/// The newest release as head office's database holds it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its id.
    pub id: Uuid,
    /// Its state.
    pub state: ReleaseState,
    /// Length of its archive in bytes.
    pub archive_bytes: u64,
    /// What is being done, as last stored.
    pub progress: Option<Progress>,
    /// How far the job that publishes it is, beyond encoding.
    pub stage: Option<String>,
    /// The torrents of its artifacts, as far as they are made.
    pub hashes: Vec<InfoHash>,
    /// Bytes of its payloads together, once known.
    pub payload_bytes: u64,
}

/// A locked database row: changes of that release wait until this is dropped.
#[derive(Debug)]
pub struct Held {
    _client: Client,
}

/// Where an update stands by the terminal's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    /// The state's name.
    pub state: String,
    /// The version, if there is an update.
    pub version: Option<String>,
    /// Segments written and checked.
    pub done: u64,
    /// Segments in all.
    pub total: u64,
    /// Restarts that were asked for in this activation.
    pub restarts: u64,
}

impl Lab {
    /// Makes one process stand still and waits until every thread of it does. Its children go on.
    ///
    /// # Errors
    /// It does not run, or does not stand still in time.
    pub async fn freeze(&self, part: &Part) -> Result<(), LabError> {
        self.signal(part, Signal::STOP)?;
        let pid = self.pid(part)?;
        let begun = Instant::now();
        while !stands_still(pid) {
            if self.state(part)? != PartState::Running {
                return Err(LabError::NotRunning(part.to_string()));
            }
            if begun.elapsed() > STANDS_STILL {
                let (what, state) = (format!("{part} to stand still"), self.describe().await);
                return Err(LabError::Deadline { what, waited: begun.elapsed(), state });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets a process that was frozen go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self, part: &Part) -> Result<(), LabError> {
        self.signal(part, Signal::CONT)
    }

    /// Lets a frozen process go on until it has computed for so long, all threads together, or `longest` is over. It is
    /// to be frozen again then.
    ///
    /// # Errors
    /// It does not run.
    pub async fn run_for(&self, part: &Part, computed: Duration, longest: Duration) -> Result<(), LabError> {
        let pid = self.pid(part)?;
        let (before, begun) = (computed_by(pid), Instant::now());
        self.thaw(part)?;
        while begun.elapsed() < longest && computed_by(pid).saturating_sub(before) < computed {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Where a process is in a file that it reads from begin to end; none if it does not have it open.
    ///
    /// # Errors
    /// The part does not exist.
    pub fn position(&self, part: &Part, file: &Path) -> Result<Option<u64>, LabError> {
        Ok(position(self.pid(part)?, file))
    }

    /// The newest release, once no statement of head office is being carried out: freeze head office before.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn recorded(&self) -> Result<Option<Recorded>, LabError> {
        let client = self.database(&Place::HeadOffice).await?;
        let begun = Instant::now();
        loop {
            let busy: i64 = client.query_one(BUSY, &[]).await.map_err(statement)?.get(0);
            if busy == 0 || begun.elapsed() > SETTLES {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let Some(row) = client.query_opt(NEWEST, &[]).await.map_err(statement)? else { return Ok(None) };
        let unreadable = |why: String| LabError::Content { path: PathBuf::from("releases"), why };
        let state: String = row.get(1);
        let hashes: Vec<String> = row.get(5);
        Ok(Some(Recorded {
            id: row.get(0),
            state: state.parse().map_err(|_| unreadable(format!("state {state:?}")))?,
            archive_bytes: unsigned(Some(row.get(2))),
            progress: row.get::<_, Option<Value>>(3).and_then(|v| serde_json::from_value(v).ok()),
            stage: row.get(4),
            hashes: hashes.iter().filter_map(|h| h.parse().ok()).collect(),
            payload_bytes: unsigned(row.get(6)),
        }))
    }

    /// The torrents of every release that branches may be told of.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn visible(&self) -> Result<Vec<InfoHash>, LabError> {
        let client = self.database(&Place::HeadOffice).await?;
        let rows = client.query(PUBLISHED, &[]).await.map_err(statement)?;
        Ok(rows.iter().filter_map(|r| r.get::<_, String>(0).parse().ok()).collect())
    }

    /// The state of a terminal's newest update, as far as head office has heard of it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn updated(&self, terminal: &TerminalRef) -> Result<Option<UpdateState>, LabError> {
        let client = self.database(&Place::HeadOffice).await?;
        let (branch, name) = (terminal.branch.to_string(), terminal.terminal.to_string());
        let row = client.query_opt(UPDATED, &[&branch, &name]).await.map_err(statement)?;
        Ok(row.and_then(|r| r.get::<_, String>(0).parse().ok()))
    }

    /// The plan that a branch server follows, exactly as head office signed it.
    ///
    /// # Errors
    /// The database does not answer, or there is none.
    pub async fn followed(&self, branch: &BranchName) -> Result<Envelope, LabError> {
        let client = self.database(&Place::Branch(branch.clone())).await?;
        let row = client.query_one(FOLLOWED, &[]).await.map_err(statement)?;
        serde_json::from_str(row.get(0)).map_err(|e| LabError::Content {
            path: PathBuf::from("signed_plan"),
            why: format!("it is not a signed envelope: {e}"),
        })
    }

    /// Holds a release's row, so that head office can do everything but move it.
    ///
    /// # Errors
    /// The database does not answer, or the row is already locked.
    pub async fn hold_release(&self, id: Uuid) -> Result<Held, LabError> {
        let client = self.database(&Place::HeadOffice).await?;
        client.batch_execute("BEGIN; SET LOCAL lock_timeout = '2s'").await.map_err(statement)?;
        client.query(HOLD, &[&id]).await.map_err(statement)?;
        Ok(Held { _client: client })
    }

    /// The superuser's access over the socket, which the lab gave itself.
    async fn database(&self, place: &Place) -> Result<Client, LabError> {
        let site = self.site_of(place)?;
        let name = if site.number == 0 { "head_office" } else { "branch_server" };
        let mut config = tokio_postgres::Config::new();
        config.host_path(site.database().join("postgres")).user("postgres").dbname(name);
        config.connect_timeout(Duration::from_secs(3)).application_name("lab");
        let (client, connection) = config.connect(NoTls).await.map_err(statement)?;
        // It ends with the client, or with the server.
        tokio::spawn(async move { connection.await.ok() });
        Ok(client)
    }

    /// The file that lists what a site's tracker accepts.
    ///
    /// # Errors
    /// There is no such site.
    pub fn access_list(&self, place: &Place) -> Result<PathBuf, LabError> {
        Ok(self.site_of(place)?.tracker_folder().join("access-list"))
    }

    /// Where a terminal's update stands, as its journal has it: freeze the agent before.
    ///
    /// # Errors
    /// There is no such terminal, or its journal cannot be read.
    pub fn journaled(&self, terminal: &TerminalRef) -> Result<Journaled, LabError> {
        let path = self.data_path(terminal)?.join("agent/journal.json");
        let text = std::fs::read(&path).map_err(LabError::file("read", &path))?;
        let journal: Value = serde_json::from_slice(&text)
            .map_err(|e| LabError::Content { path: path.clone(), why: format!("it is not a journal: {e}") })?;
        let state = &journal["state"];
        let number = |v: &Value| v.as_u64().unwrap_or(0);
        Ok(Journaled {
            state: state["state"].as_str().unwrap_or_default().to_owned(),
            version: state["update"]["version"].as_str().map(str::to_owned),
            done: number(&state["done"]),
            total: number(&state["total"]),
            restarts: number(&state["intent"]["restarts"]),
        })
    }

    /// Starts a part that is down and makes it stand still at once.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_paused(&self, part: &Part) -> Result<(), LabError> {
        if matches!(self.state(part)?, PartState::Killed | PartState::Ended(_)) {
            self.start_part(part)?;
        }
        self.pause(part)
    }
}

fn unsigned(value: Option<i64>) -> u64 {
    value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0)
}

fn statement(error: tokio_postgres::Error) -> LabError {
    LabError::Api { method: "SQL", url: "head office's database".into(), why: crate::api::chain(&error) }
}

/// The time on a processor of all threads that a process has now.
fn computed_by(pid: i32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = |path: PathBuf| std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse::<u64>().ok();
    Duration::from_nanos(threads.filter_map(|t| nanos(t.path().join("schedstat"))).sum())
}

/// Whether every thread is stopped: a signal reaches each at its own next chance.
fn stands_still(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // A thread that is gone meanwhile does nothing either.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 't', 'Z', 'X']))
    })
}

fn position(pid: i32, file: &Path) -> Option<u64> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let fd = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == file)).last()?;
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_str()?)).ok()?;
    info.lines().find_map(|l| l.strip_prefix("pos:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn the_position_in_an_open_file_is_seen_from_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("read");
        let own = std::process::id().cast_signed();
        let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(100).unwrap();
        assert_eq!(position(own, &path), Some(0));
        file.read_exact(&mut [0; 40]).unwrap();
        assert_eq!(position(own, &path), Some(40));
        file.rewind().unwrap();
        assert_eq!(position(own, &path), Some(0));
        assert_eq!(position(own, &dir.path().join("another")), None);
        assert!(!stands_still(own), "a process that asks does not stand still");
    }
}
