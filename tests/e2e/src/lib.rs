//! Shared support of the end-to-end tests: labs with quick timing, small images, expectations.
//!
//! The tests are in `tests/labs`, one file a promise, and `tests/vm`. They need root (network namespaces) and the real daemons;
//! each starts its own lab and leaves nothing behind. This crate must never reach into a program: it uses the
//! lab, the programs' APIs and the files that they leave.

pub mod phase;
pub mod phases;
pub mod promise;
pub mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use fleet_types::{TerminalRef, UpdateState, Version};
use lab::{Lab, LabOptions, Part, ReleaseSpec, SmallImage, small_image};
use serde_json::Value;
use wire::v1::fleet::Terminal;

/// The default deadline: generous, because other suites may use the processors meanwhile; never a measure.
pub const PATIENCE: Duration = Duration::from_secs(360);

/// Timing of an agent under test.
const QUICK_AGENT: &str = "[timing]
poll_seconds = 1.0
event_spread_seconds = 0.1
engine_poll_seconds = 0.5
progress_seconds = 0.5
retry_min_seconds = 0.2
retry_max_seconds = 2.0
request_seconds = 5.0

[retry]
wait_seconds = 2.0
";

/// Timing of a branch server under test.
const QUICK_BRANCH: &str = "[sync]
poll_seconds = 2.0
pass_seconds = 0.5
retry_seconds = 0.3
retry_max_seconds = 2.0

[relay]
progress_seconds = 0.5
";

/// A folder for the images of one test, removed with it.
pub struct Images {
    folder: tempfile::TempDir,
}

impl Images {
    /// Creates an empty folder.
    ///
    /// # Errors
    /// The temporary folder cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { folder: tempfile::tempdir().context("cannot create a folder for images")? })
    }

    /// Makes a small image.
    ///
    /// # Errors
    /// mksquashfs failed.
    pub fn make(&self, image: &SmallImage) -> anyhow::Result<PathBuf> {
        Ok(small_image(self.folder.path(), image)?)
    }

    /// Makes a healthy small image with `noise` incompressible bytes.
    ///
    /// # Errors
    /// mksquashfs failed.
    pub fn healthy(&self, version: &str, noise: usize) -> anyhow::Result<PathBuf> {
        self.make(&SmallImage::new(version).with_noise(noise))
    }
}

/// Options of a lab with quick timing and slots of `slot_bytes`.
///
/// # Errors
/// Never in practice.
pub fn quick(
    name: &str,
    image: PathBuf,
    branches: usize,
    terminals: usize,
    slot_bytes: u64,
) -> anyhow::Result<LabOptions> {
    let mut options = LabOptions::new(name, image)?.sized(branches, terminals);
    options.slot_bytes = Some(slot_bytes);
    options.extra.terminal_agent = QUICK_AGENT.to_owned();
    options.extra.branch_server = QUICK_BRANCH.to_owned();
    Ok(options)
}

/// Parses a version that a test names.
///
/// # Panics
/// The version is invalid, which is a mistake in the test.
pub fn version(text: &str) -> Version {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// Publishes `image` as `version` and assigns it to every branch.
///
/// # Errors
/// Head office refused, or it took too long.
pub async fn bring_out(lab: &Lab, version: &str, image: PathBuf) -> anyhow::Result<()> {
    let spec = ReleaseSpec::new(version, image)?;
    lab.publish(&spec, PATIENCE).await?;
    lab.assign_all(&spec.version).await?;
    Ok(())
}

/// Waits until every terminal is confirmed on `version`.
///
/// # Errors
/// It took too long, or a part ended.
pub async fn all_confirmed(lab: &Lab, version: &str) -> anyhow::Result<Vec<Terminal>> {
    let wanted = self::version(version);
    let what = format!("every terminal to be confirmed on {version}");
    Ok(lab.wait_terminals(&what, PATIENCE, |t| is(t, &wanted, UpdateState::Confirmed)).await?)
}

/// Whether a terminal's newest update is this version in this state.
pub fn is(terminal: &Terminal, version: &Version, state: UpdateState) -> bool {
    terminal.update.as_ref().is_some_and(|u| u.version == *version && u.state == state)
}

/// Whether a terminal's newest update was ever in a state, by head office's history.
pub fn ever_was(terminal: &Terminal, state: UpdateState) -> bool {
    terminal.update.as_ref().is_some_and(|u| u.state == state || u.history.iter().any(|m| m.to == state))
}

/// Segments written and checked, and segments in total, of the newest update.
pub fn segments(terminal: &Terminal) -> (u64, u64) {
    terminal.update.as_ref().map_or((0, 0), |u| (u.segments_done, u.segments_total))
}

/// The lines of a terminal's log of events.
///
/// # Errors
/// The log cannot be read.
pub fn events(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<Vec<Value>> {
    let path = lab.data_path(terminal)?.join("agent/events.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The most memory that a part's process ever held: `VmHWM` in bytes (proc(5)).
///
/// # Errors
/// The part does not run.
pub fn peak_memory(lab: &Lab, part: &Part) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/status", lab.pid(part)?);
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).with_context(|| format!("no VmHWM in {path}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmHWM:{line}"))?;
    Ok(kib * 1024)
}
