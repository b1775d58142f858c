//! Where a run keeps what it makes, and the removal of it: also of what a run left that was killed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Two folders that are named by this process's id and removed with this value.
#[derive(Debug)]
pub(crate) struct Scratch {
    bulk: PathBuf,
    open: PathBuf,
}

impl Scratch {
    /// Makes them, having removed what runs left whose process is gone.
    pub(crate) fn new() -> Result<Self> {
        let (bulk, open) = (lab::source_root().join("target/bench"), std::env::temp_dir());
        remove_left(&bulk, "run-");
        remove_left(&open, "filial-bench-");
        let pid = std::process::id();
        let this = Self { bulk: bulk.join(format!("run-{pid}")), open: open.join(format!("filial-bench-{pid}")) };
        for folder in [&this.bulk, &this.open] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(this)
    }

    /// A new folder for large files, on the disk of the source tree.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        made(self.bulk.join(name))
    }

    /// A new folder that daemons can reach which gave up root: the source tree may lie where they cannot.
    pub(crate) fn open_folder(&self, name: &str) -> Result<PathBuf> {
        made(self.open.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for folder in [&self.bulk, &self.open] {
            if let Err(e) = std::fs::remove_dir_all(folder) {
                crate::say::say(format_args!("{} is left behind: {e}", folder.display()));
            }
        }
    }
}

fn made(path: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Whether a process of this id runs.
pub(crate) fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The id in a name that one of our runs gave, if that run is gone.
pub(crate) fn gone(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let digits = digits.split_once('-').map_or(digits, |(pid, _)| pid);
    digits.parse().ok().filter(|pid| !is_running(*pid))
}

fn remove_left(folder: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|e| gone(&e.file_name().to_string_lossy(), prefix).is_some()) {
        // Best effort: what cannot be removed now is tried again by the next run.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Writes a small file.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a file of a run need not survive a crash")]
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_gone_run_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        // Above the largest id the kernel gives.
        let (left, mine) = ("run-4194999".to_owned(), format!("run-{}", std::process::id()));
        for name in [left.as_str(), &mine, "run-x", "other-4194999"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_left(folder.path(), "run-");
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there(&left));
        assert!(there(&mine) && there("run-x") && there("other-4194999"));
        assert_eq!(gone("fb4194999-c1", "fb"), Some(4_194_999));
    }
}
