//! Faults from the command line: a running lab listens on a socket in its run folder, `lab fault` speaks to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::{BranchName, TerminalRef};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::error::LabError;
use crate::lab::Lab;
use crate::part::Part;
use crate::rate::Rate;

/// Longest order, in bytes.
const MAX_ORDER: u64 = 4096;

/// What can be ordered, for the help.
pub const FAULTS: &str = "\
parts                      every part and its state
kill|end|start|restart P   a part: head-office, head-office:postgres, branch-1, branch-1:transmission,
pause|resume P             branch-1:opentracker, branch-1/till-1 (its agent), branch-1/till-1:transmission …
power-cycle T              cut a terminal's power and restore it
power-cut|power-on T       a virtual machine's power, such as branch-1/vm-1's
cut-wan|restore-wan B      a branch's WAN link; restored at the lab's original rate
slow-wan B RATE            the link's rate in both directions, such as 500kbit
lan-rate B RATE            the rate at which the branch server sends into its LAN
cut-terminal T             a terminal's link
restore-terminal T
fill-disk|free-disk P      all free space on a place's disk (head-office, branch-1, branch-1/till-1) or on a
                           database's volume (branch-1:postgres); only in a lab with limited disks
clock P SECONDS            set a place's clock ahead, or behind (-3600); only in a lab with settable clocks
empty-daemon P             its transmission-daemon forgets every torrent
empty-store B              remove every artifact of a branch
env T                      a terminal's boot environment, and its boots so far
poison B                   add a malicious peer to a branch's LAN that serves garbage for the newest release
lie-tracker B LIE          replace the branch's tracker by a lying one: ghosts, wrong-ports, absurd-intervals,
restore-tracker B          failure, truncated, huge, silent; or restore the branch's own
corrupt FILE OFFSET        flip one byte of a file: a slot, an artifact, a journal";

fn socket(folder: &Path) -> PathBuf {
    folder.join("control")
}

/// Carries out what `lab fault` orders, until dropped. Give it the same task as what the lab is busy with.
///
/// # Errors
/// The socket cannot be made.
pub async fn serve(lab: &Lab) -> Result<(), LabError> {
    let path = socket(lab.folder());
    // Left by the one that served before, in this very process.
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).map_err(LabError::file("listen on", &path))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (read, mut write) = stream.into_split();
        let mut order = String::new();
        let mut reader = tokio::io::BufReader::new(read.take(MAX_ORDER));
        let read = reader.read_line(&mut order);
        // A client that connects and sends nothing must not block others.
        if !matches!(tokio::time::timeout(Duration::from_secs(2), read).await, Ok(Ok(_))) {
            continue;
        }
        let answer = match obey(lab, &order).await {
            Ok(text) => format!("ok\n{text}"),
            Err(e) => format!("error\n{e}"),
        };
        let _ = write.write_all(answer.as_bytes()).await;
    }
}

/// Orders a fault of the lab with this run folder; returns what it answered.
///
/// # Errors
/// No lab listens there, or it could not do it.
pub fn order(folder: &Path, words: &[String]) -> Result<String, LabError> {
    let path = socket(folder);
    let mut stream = UnixStream::connect(&path).map_err(|e| {
        LabError::Options(format!("No lab answers at {} ({e}): `lab list` shows the labs that run", path.display()))
    })?;
    let line = format!("{}\n", words.join(" "));
    stream.write_all(line.as_bytes()).map_err(LabError::file("write to", &path))?;
    let mut reader = BufReader::new(stream);
    let mut verdict = String::new();
    reader.read_line(&mut verdict).map_err(LabError::file("read from", &path))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).map_err(LabError::file("read from", &path))?;
    if verdict.trim() == "ok" { Ok(text) } else { Err(LabError::Options(text)) }
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, LabError> {
    text.parse().map_err(|e: T::Err| LabError::Options(e.to_string()))
}

/// Carries out one order, as `lab fault` gives it.
///
/// # Errors
/// The order is unknown or failed.
pub async fn obey(lab: &Lab, order: &str) -> Result<String, LabError> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let branch = |text: &str| named::<BranchName>(text);
    match words[..] {
        ["parts"] => return Ok(lab.describe().await),
        // For `lab console`, which is no fault.
        ["console", terminal] => return lab.console_socket(&named(terminal)?).map(|path| path.display().to_string()),
        ["env", terminal] => return environment(lab, &named(terminal)?),
        [verb @ ("kill" | "end" | "start" | "restart" | "pause" | "resume"), part] => {
            part_order(lab, verb, &part.parse()?).await?;
        }
        ["power-cycle", terminal] => lab.power_cycle(&named(terminal)?).await?,
        ["power-cut", terminal] => lab.power_cut(&named(terminal)?).await?,
        ["power-on", terminal] => lab.power_on(&named(terminal)?)?,
        ["cut-wan", name] => lab.cut_wan(&branch(name)?)?,
        ["restore-wan", name] => lab.restore_wan(&branch(name)?)?,
        ["slow-wan", name, rate] => lab.set_wan_rate(&branch(name)?, named::<Rate>(rate)?)?,
        ["lan-rate", name, rate] => lab.set_lan_rate(&branch(name)?, named::<Rate>(rate)?)?,
        ["cut-terminal", terminal] => lab.cut_terminal(&named(terminal)?)?,
        ["restore-terminal", terminal] => lab.restore_terminal(&named(terminal)?)?,
        ["fill-disk", part] => lab.fill_disk(&part.parse()?)?,
        ["free-disk", part] => lab.free_disk(&part.parse()?)?,
        ["clock", place, seconds] => lab.set_clock(&place.parse()?, named(seconds)?)?,
        ["empty-daemon", place] => lab.empty_daemon(&place.parse()?).await?,
        ["empty-store", name] => lab.empty_store(&branch(name)?).await?,
        ["poison", name] => return poison(lab, &branch(name)?).await,
        ["lie-tracker", name, lie] => lab.lie_tracker(&branch(name)?, lie.parse()?).await?,
        ["restore-tracker", name] => lab.restore_tracker(&branch(name)?).await?,
        ["corrupt", file, offset] => lab.corrupt(Path::new(file), named(offset)?)?,
        _ => return Err(LabError::Options(format!("Unknown order. Known orders:\n{FAULTS}"))),
    }
    Ok("done".into())
}

async fn part_order(lab: &Lab, verb: &str, part: &Part) -> Result<(), LabError> {
    match verb {
        "kill" => lab.kill(part).await,
        "end" => lab.end(part).await,
        "start" => lab.start_part(part),
        "restart" => lab.restart(part).await,
        "pause" => lab.pause(part),
        _ => lab.resume(part),
    }
}

fn environment(lab: &Lab, terminal: &TerminalRef) -> Result<String, LabError> {
    let boots: Vec<String> = match lab.vms().contains(terminal) {
        true => lab.vm_boots(terminal)?.iter().map(ToString::to_string).collect(),
        false => lab.boots(terminal)?.iter().map(ToString::to_string).collect(),
    };
    Ok(format!("{:?}\n{}", lab.read_env(terminal)?, boots.join("\n")))
}

async fn poison(lab: &Lab, branch: &BranchName) -> Result<String, LabError> {
    let mut releases = lab.api().releases().await?;
    releases.sort_by_key(|r| r.created);
    let mut artifacts = releases.iter().rev().flat_map(|r| &r.payloads).filter_map(|p| p.artifact.as_ref());
    let artifact = artifacts
        .next()
        .ok_or_else(|| LabError::Options("No release is published yet. Publish one, then repeat the order.".into()))?;
    let peer = lab.poisoner(branch, artifact).await?;
    peer.serve(lab).await?;
    Ok(format!("{} at {} serves garbage", peer.part, peer.address()))
}
