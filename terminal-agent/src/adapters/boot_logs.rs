//! The logs of earlier boots: the early records on the data partition, and the system's journal through journalctl(1).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use service_kit::process::one_line;
use wire::v1::evidence::{MAX_LINES, MAX_TAIL};

use super::process;
use crate::model::boots::{EarlyRecord, is_boot_id};
use crate::ports::{BootLogs, PortError};

/// Most files of early records that are read: the initramfs keeps eight.
const MAX_RECORDS: usize = 64;
/// Most bytes of one that are read: it has a line of facts, and 64 KiB of log at most.
const MAX_RECORD: u64 = 68 * 1024;
/// How long journalctl may take.
///
/// A journal on a slow disk takes some seconds to be looked through.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of a list of boots: about a hundred each.
const MAX_LIST: usize = 64 * 1024;

/// A folder of early records, and journalctl.
#[derive(Debug, Clone)]
pub struct MachineBootLogs {
    folder: PathBuf,
    journalctl: OsString,
    /// Which journal; the system's own without.
    directory: Option<PathBuf>,
}

impl MachineBootLogs {
    /// With the early records of this folder, and the system's own journal.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, journalctl: "journalctl".into(), directory: None }
    }

    async fn ask(&self, what: &str, arguments: &[String], keep: usize) -> Result<Vec<u8>, PortError> {
        let directory = self.directory.iter().map(|d| format!("--directory={}", d.display()));
        let common = ["--no-pager", "--quiet"].map(str::to_owned).into_iter();
        let arguments: Vec<String> = arguments.iter().cloned().chain(common).chain(directory).collect();
        let ended = process::run(OsStr::new(&self.journalctl), &arguments, LIMIT, keep).await;
        let ended = ended.map_err(|e| PortError::with(format!("cannot run journalctl to {what}"), e))?;
        match ended.status() {
            Some(status) if status.success() => Ok(ended.output),
            Some(_) => {
                let said = one_line(&ended.errors);
                Err(PortError::new(format!("journalctl cannot {what}: {said}")))
            }
            None => Err(PortError::new(format!("journalctl took longer than {} s to {what}", LIMIT.as_secs()))),
        }
    }
}

/// Reads the records of a folder. Invalid or truncated files are skipped.
fn records(folder: &Path) -> io::Result<Vec<EarlyRecord>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(16 * MAX_RECORDS) {
        let path = entry?.path();
        if records.len() == MAX_RECORDS || path.extension() != Some(OsStr::new("log")) {
            continue;
        }
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_RECORD).read_to_end(&mut bytes));
        match (read, EarlyRecord::parse(&bytes)) {
            (Ok(_), Some(record)) => records.push(record),
            (Ok(_), None) => tracing::warn!(path = %path.display(), "invalid record of a boot: skipped"),
            (Err(error), _) => tracing::warn!(path = %path.display(), %error, "a record of a boot cannot be read"),
        }
    }
    Ok(records)
}

/// The ids in a list of boots.
///
/// Lines that begin with a number and an id, whatever follows and stands above.
fn boots(list: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(list);
    let id = |line: &str| {
        let mut words = line.split_whitespace();
        let (number, id) = (words.next()?, words.next()?);
        (number.parse::<i64>().is_ok() && is_boot_id(id)).then(|| id.to_owned())
    };
    text.lines().filter_map(id).collect()
}

#[async_trait]
impl BootLogs for MachineBootLogs {
    fn early(&self) -> Result<Option<Vec<EarlyRecord>>, PortError> {
        match records(&self.folder) {
            Ok(records) => Ok(Some(records)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(PortError::with(format!("cannot read the records of boots in {}", self.folder.display()), e)),
        }
    }

    async fn journaled(&self) -> Result<Vec<String>, PortError> {
        // Oldest first; if there are more than fit, the last of them.
        let list = self.ask("list the boots", &["--list-boots".to_owned()], MAX_LIST).await?;
        Ok(boots(&list))
    }

    async fn tail(&self, boot_id: &str) -> Result<Vec<u8>, PortError> {
        if !is_boot_id(boot_id) {
            return Err(PortError::new("a boot without an id of the kernel's has no journal"));
        }
        let boot = format!("--boot={}", boot_id.replace('-', ""));
        let arguments = [boot, format!("--lines={MAX_LINES}"), "--output=short-monotonic".to_owned()];
        // More than travels: what is not printable is taken out first.
        self.ask("show the boot that failed", &arguments, 4 * MAX_TAIL).await
    }
}

#[cfg(test)]
#[path = "boot_logs_tests.rs"]
mod tests;
