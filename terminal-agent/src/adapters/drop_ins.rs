//! `health.d`: the health checks that a slot brings along.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::process::one_line;

use super::process;
use crate::ports::{DropInEnd, DropInResult, DropIns, PortError};

/// EX_TEMPFAIL of sysexits.h: try again later.
const NOT_YET: i32 = 75;
/// How much of what a program printed is kept.
const TAIL: usize = 400;
/// Most programs that are run.
const MAX_PROGRAMS: usize = 64;

/// A folder of programs.
#[derive(Debug, Clone)]
pub struct HealthFolder {
    folder: PathBuf,
    limit: Duration,
}

impl HealthFolder {
    /// The programs of this folder, each with this time limit.
    pub fn new(folder: PathBuf, limit: Duration) -> Self {
        Self { folder, limit }
    }

    /// Executable files in the order of their names.
    ///
    /// Hidden files and leftovers of editors are skipped.
    fn programs(&self) -> Result<Vec<PathBuf>, PortError> {
        let failed = |e| PortError::with(format!("cannot read {}", self.folder.display()), e);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut programs = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let meta = std::fs::metadata(&path).map_err(failed)?;
            if meta.is_file()
                && meta.permissions().mode() & 0o111 != 0
                && !name.starts_with('.')
                && !name.ends_with('~')
            {
                programs.push(path);
            }
        }
        if programs.len() > MAX_PROGRAMS {
            let text =
                format!("{} holds {} programs, at most {MAX_PROGRAMS} are run", self.folder.display(), programs.len());
            return Err(PortError::new(text));
        }
        programs.sort();
        Ok(programs)
    }
}

#[async_trait]
impl DropIns for HealthFolder {
    async fn run(&self) -> Result<Vec<DropInResult>, PortError> {
        let mut results = Vec::new();
        for program in self.programs()? {
            let ended = process::run(program.as_os_str(), &[], self.limit, TAIL)
                .await
                .map_err(|e| PortError::with(format!("cannot run {}", program.display()), e))?;
            let end = match ended.status().map(|s| s.code()) {
                None => DropInEnd::TimedOut,
                Some(Some(0)) => DropInEnd::Healthy,
                Some(Some(NOT_YET)) => DropInEnd::NotYet,
                Some(_) => DropInEnd::Unhealthy,
            };
            let said = [ended.errors, ended.output].map(|bytes| one_line(&bytes));
            let tail = said.iter().filter(|s| !s.is_empty()).map(String::as_str).collect::<Vec<_>>().join("; ");
            // The end says most.
            let tail = tail[tail.ceil_char_boundary(tail.len().saturating_sub(2 * TAIL))..].to_owned();
            results.push(DropInResult { program, end, tail });
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn program(dir: &std::path::Path, name: &str, script: &str, mode: u32) {
        let path = dir.join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        writeln!(file, "#!/bin/sh\n{script}").unwrap();
        file.set_permissions(PermissionsExt::from_mode(mode)).unwrap();
    }

    async fn ends(dir: &std::path::Path, limit: Duration) -> Vec<(String, DropInEnd, String)> {
        let results = HealthFolder::new(dir.to_owned(), limit).run().await.unwrap();
        let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
        results.into_iter().map(|r| (name(&r.program), r.end, r.tail)).collect()
    }

    #[tokio::test]
    async fn programs_run_in_order_and_their_exit_codes_count() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "30-bad", "echo out; echo no paper >&2; exit 1", 0o755);
        program(dir.path(), "10-good", "exit 0", 0o755);
        program(dir.path(), "20-wait", "echo warming up; exit 75", 0o755);
        program(dir.path(), "40-off", "exit 1", 0o644);
        program(dir.path(), ".hidden", "exit 1", 0o755);
        let ends = ends(dir.path(), Duration::from_secs(20)).await;
        let expected = [
            ("10-good", DropInEnd::Healthy, ""),
            ("20-wait", DropInEnd::NotYet, "warming up"),
            ("30-bad", DropInEnd::Unhealthy, "no paper; out"),
        ];
        assert_eq!(ends, expected.map(|(n, e, t)| (n.to_owned(), e, t.to_owned())));
    }

    #[tokio::test]
    async fn a_program_and_its_children_end_at_the_time_limit() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "10-hangs", "echo before; sleep 1000 & echo $! > \"$0.pid\"; wait", 0o755);
        let ends = ends(dir.path(), Duration::from_millis(500)).await;
        assert_eq!(ends, [("10-hangs".to_owned(), DropInEnd::TimedOut, "before".to_owned())]);
        let child = std::fs::read_to_string(dir.path().join("10-hangs.pid")).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            stat.map_or(true, |s| s.contains(") Z "))
        };
        until(gone).await;
    }

    async fn until(condition: impl Fn() -> bool) {
        let waited = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("the child still runs");
    }

    #[tokio::test]
    async fn a_flood_of_output_is_cut_and_a_missing_folder_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "10-loud", "head -c 5000000 /dev/zero | tr '\\0' 'я'; echo last; exit 3", 0o755);
        let ends = ends(dir.path(), Duration::from_secs(20)).await;
        assert_eq!(ends[0].1, DropInEnd::Unhealthy);
        assert!(ends[0].2.len() <= 2 * TAIL && ends[0].2.ends_with("last"), "{}", ends[0].2);
        let none = HealthFolder::new(dir.path().join("none"), Duration::from_secs(1)).run().await.unwrap();
        assert!(none.is_empty());
    }
}
