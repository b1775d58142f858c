//! What QEMU tells of a machine that the machine cannot tell itself: that it was reset, and by whom.
//!
//! QEMU's control socket speaks QMP: lines of JSON (QEMU documentation, "QEMU Machine Protocol"). Its events are kept in
//! a file, a line each, over all starts of the machine.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::MissedTickBehavior;

use crate::error::LabError;

use super::Vm;

/// How often a machine that is off is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The most lines that are kept of one start.
const MOST: usize = 10_000;

/// Keeps the events of a machine; runs until it is aborted.
pub(crate) async fn keep(vm: Arc<Vm>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // It is off, or was cut off: the next start has a socket of its own.
        let Ok(stream) = UnixStream::connect(vm.control_socket()).await else { continue };
        let _ = listen(stream, &vm.events()).await;
    }
}

async fn listen(mut stream: UnixStream, kept: &Path) -> std::io::Result<()> {
    // Until this was said, QEMU tells nothing.
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").await?;
    let mut lines = BufReader::new(stream).lines();
    for _ in 0..MOST {
        let Some(line) = lines.next_line().await? else { break };
        if event(&line).is_some() {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(kept)?;
            file.write_all(format!("{line}\n").as_bytes())?;
        }
    }
    Ok(())
}

fn event(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["event"].is_string().then_some(value)
}

/// The events so far, oldest first.
pub(crate) fn read(kept: &Path) -> Result<Vec<Value>, LabError> {
    match std::fs::read_to_string(kept) {
        Ok(text) => Ok(text.lines().filter_map(event).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(LabError::file("read", kept)(e)),
    }
}
