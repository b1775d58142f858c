//! What QEMU tells of a machine that the machine cannot tell itself: that it was reset, and by whom.
//!
//! QEMU's control socket speaks QMP: lines of JSON (QEMU documentation, "QEMU Machine Protocol"). Its events are kept in
//! a file, a line each, over all starts of the machine. A machine that resets ends its QEMU, which is then begun again here.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::MissedTickBehavior;

use crate::error::LabError;

use crate::part::Part;
use crate::process::Processes;

use super::{Vm, qemu};

/// How often a machine that is off is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The most lines that are kept of one start.
const MOST: usize = 10_000;

/// Keeps the events of a machine, and begins it again after a reset; runs until it is aborted.
pub(crate) async fn follow(vm: Arc<Vm>, processes: Processes) {
    let part = Part::machine(&vm.terminal);
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // The next start has a socket of its own.
        let reset = match UnixStream::connect(vm.control_socket()).await {
            Ok(stream) => listen(stream, &vm.events()).await.unwrap_or(false),
            Err(_) if processes.has_ended(&part).unwrap_or(false) => false,
            Err(_) => continue,
        };
        if reset {
            // What fails here ends the next wait: the machine stays off.
            let _ = again(&part, &processes).await;
        }
        let _ = processes.stays_ended(&part);
    }
}

async fn again(part: &Part, processes: &Processes) -> Result<(), LabError> {
    processes.ended(part).await?;
    processes.begin_again(part, qemu::after_reset(processes.recipe(part)?))
}

/// Keeps what one start tells; returns whether it ended with a reset.
async fn listen(mut stream: UnixStream, kept: &Path) -> std::io::Result<bool> {
    // Until this was said, QEMU tells nothing.
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").await?;
    let mut lines = BufReader::new(stream).lines();
    let mut reset = false;
    for _ in 0..MOST {
        // An error is an end too: what was told before it counts.
        let Ok(Some(line)) = lines.next_line().await else { break };
        if let Some(event) = event(&line) {
            reset |= is_reset(&event);
            let file = std::fs::OpenOptions::new().create(true).append(true).open(kept);
            if file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).is_err() {
                break;
            }
        }
    }
    Ok(reset)
}

/// Whether an event tells that the guest, or its watchdog, asked for a reset.
pub(crate) fn is_reset(event: &Value) -> bool {
    event["event"] == "SHUTDOWN" && event["data"]["reason"] == "guest-reset"
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
