//! A lab's place on this machine: a lock file, a prefix for everything it makes, and the removal of all of it.
//!
//! The lock holds the owner's process id and start time, so that a lock of a process that is gone is known to be
//! free. Leftovers are found by prefix and ended by process id; nothing is ever looked for by a program's name.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::exec::Tool;
use crate::proc::Identity;

/// Where every lab of this machine has its lock: namespaces belong to the machine, not to a source tree.
const LOCKS: &str = "/run/filial-lab";
/// How many labs may run at once; the index is a byte of its addresses.
const MAX_LABS: usize = 64;

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    owner: Identity,
    prefix: String,
    /// The run folder, for people.
    folder: PathBuf,
    /// Short-lived files outside the source tree (databases, trackers' lists).
    temp: PathBuf,
}

/// A taken place.
#[derive(Debug)]
pub(crate) struct Claim {
    index: u8,
    record: Record,
    lock: PathBuf,
}

/// A lab that was found on this machine.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its prefix.
    pub prefix: String,
    /// Its run folder.
    pub folder: PathBuf,
    /// Whether its owner still runs.
    pub alive: bool,
}

impl Claim {
    /// Takes a free index, having removed what labs left whose owner is gone, and an empty run folder: the wanted one,
    /// or with a number behind its name while another lab runs there.
    pub(crate) fn take(wanted: &Path) -> Result<Self, LabError> {
        let guard = guard()?;
        clean_locked()?;
        let folder = free_folder(wanted)?;
        for index in 0..MAX_LABS {
            let prefix = format!("fl{index:02x}");
            let lock = Path::new(LOCKS).join(format!("{prefix}.lock"));
            if lock.exists() {
                continue;
            }
            let temp = std::env::temp_dir().join(format!("filial-lab-{prefix}"));
            let record = Record { owner: Identity::own(), prefix, folder: folder.clone(), temp };
            write_record(&lock, &record)?;
            // Leftovers of a lab whose lock was lost, as after a crash of the machine's /run.
            remove_everything(&record)?;
            std::fs::create_dir_all(&record.temp).map_err(LabError::file("create", &record.temp))?;
            empty(&folder)?;
            drop(guard);
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            return Ok(Self { index, record, lock });
        }
        Err(LabError::TooManyLabs(MAX_LABS))
    }

    /// The lab's number, unlike every other running lab's.
    pub(crate) fn index(&self) -> u8 {
        self.index
    }

    /// Every namespace and interface of the lab begins with this and a hyphen.
    pub(crate) fn prefix(&self) -> &str {
        &self.record.prefix
    }

    /// The run folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.record.folder
    }

    /// A folder for what other users must reach, removed with the lab.
    pub(crate) fn temp(&self) -> &Path {
        &self.record.temp
    }

    /// Ends and removes everything, then frees the index.
    pub(crate) fn release(&self) -> Result<(), LabError> {
        let _guard = guard()?;
        if read_record(&self.lock).as_ref() != Some(&self.record) {
            return Ok(()); // Already released.
        }
        remove_everything(&self.record)?;
        std::fs::remove_file(&self.lock).map_err(LabError::file("remove", &self.lock))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(e) = self.release() {
            eprintln!("the lab left something behind ({e}): `lab clean` removes it");
        }
    }
}

/// Waits until `stdin` ends, which it does when the lab's process is gone for whatever reason, and then removes
/// whatever that lab left. Run as `lab undertaker PREFIX` by every lab.
///
/// # Errors
/// Something could not be removed.
pub fn undertake(mut stdin: impl std::io::Read) -> Result<(), LabError> {
    let mut byte = [0; 64];
    while matches!(stdin.read(&mut byte), Ok(n) if n > 0) {}
    clean()
}

/// Removes what labs left whose owner is gone.
///
/// # Errors
/// Something could not be removed.
pub fn clean() -> Result<(), LabError> {
    let _guard = guard()?;
    clean_locked()
}

/// The labs of this machine.
///
/// # Errors
/// The folder of locks cannot be read.
pub fn found() -> Result<Vec<Found>, LabError> {
    let records = records()?.into_iter();
    Ok(records.map(|(_, r)| Found { alive: r.owner.is_alive(), prefix: r.prefix, folder: r.folder }).collect())
}

/// Two labs must not look at the locks at the same time. Released when dropped.
fn guard() -> Result<File, LabError> {
    let path = Path::new(LOCKS).join("guard");
    std::fs::create_dir_all(LOCKS).map_err(LabError::file("create", LOCKS))?;
    let file = File::create(&path).map_err(LabError::file("create", &path))?;
    file.lock().map_err(LabError::file("lock", &path))?;
    Ok(file)
}

fn clean_locked() -> Result<(), LabError> {
    for (lock, record) in records()? {
        if !record.owner.is_alive() {
            remove_everything(&record)?;
            std::fs::remove_file(&lock).map_err(LabError::file("remove", &lock))?;
        }
    }
    Ok(())
}

fn records() -> Result<Vec<(PathBuf, Record)>, LabError> {
    let Ok(entries) = std::fs::read_dir(LOCKS) else { return Ok(Vec::new()) };
    let mut locks: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    locks.retain(|p| p.extension().is_some_and(|e| e == "lock"));
    locks.sort();
    Ok(locks.into_iter().filter_map(|lock| Some((lock.clone(), read_record(&lock)?))).collect())
}

fn free_folder(wanted: &Path) -> Result<PathBuf, LabError> {
    let taken: Vec<PathBuf> = records()?.into_iter().map(|(_, record)| record.folder).collect();
    let name = wanted.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = (2..).map(|n| wanted.with_file_name(format!("{name}-{n}")));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    Ok(names.find(|folder| !taken.contains(folder)).unwrap_or_else(|| wanted.to_owned()))
}

fn empty(folder: &Path) -> Result<(), LabError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(LabError::file("empty", folder)(e)),
        _ => {}
    }
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs).map_err(LabError::file("create", &logs))
}

fn read_record(lock: &Path) -> Option<Record> {
    let record: Record = serde_json::from_slice(&std::fs::read(lock).ok()?).ok()?;
    // A name that is not ours must never reach a removal.
    let named = |name: &str| record.temp.file_name().is_some_and(|f| f == format!("filial-lab-{name}").as_str());
    (record.prefix.len() == 4 && record.prefix.starts_with("fl") && named(&record.prefix)).then_some(record)
}

fn write_record(lock: &Path, record: &Record) -> Result<(), LabError> {
    let text = serde_json::to_vec(record).map_err(|e| LabError::file("write", lock)(e.into()))?;
    let mut file = File::create_new(lock).map_err(LabError::file("create", lock))?;
    file.write_all(&text).map_err(LabError::file("write", lock))
}

fn remove_everything(record: &Record) -> Result<(), LabError> {
    let mine = format!("{}-", record.prefix);
    let list = Tool::new("ip").args(["netns", "list"]).run()?;
    for namespace in list.lines().filter_map(|l| l.split_whitespace().next()).filter(|n| n.starts_with(&mine)) {
        end_processes(namespace)?;
        Tool::new("ip").args(["netns", "delete", namespace]).run()?;
    }
    let links = Tool::new("ip").args(["-oneline", "link", "show"]).run()?;
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.trim().to_owned());
    for link in links.lines().filter_map(name).filter(|l| l.starts_with(&mine)) {
        // Gone already when its other end's namespace went.
        let _ = Tool::new("ip").args(["link", "delete", &link]).output()?;
    }
    crate::volumes::unmount_all(&record.prefix)?;
    match std::fs::remove_dir_all(&record.temp) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LabError::file("remove", &record.temp)(e)),
        _ => Ok(()),
    }
}

/// Kills whatever runs in a namespace, until nothing does.
fn end_processes(namespace: &str) -> Result<(), LabError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let pids = Tool::new("ip").args(["netns", "pids", namespace]).run()?;
        let alive: Vec<Identity> =
            pids.split_whitespace().filter_map(|p| Identity::of(p.parse().ok()?)).filter(|p| p.is_alive()).collect();
        if alive.is_empty() || Instant::now() > deadline {
            return Ok(());
        }
        for process in alive {
            process.signal(Signal::KILL);
        }
        std::thread::yield_now();
    }
}
