//! `lab soak`: random faults for minutes while releases go out; then all faults are lifted and everything must converge.
//! The seed determines the schedule of faults and the operator's actions, not the timing.

mod log;
mod memory;
mod operator;
mod schedule;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use lab::{DiskSizes, Lab, LabOptions, Part, Rate, SmallImage};
use serde_json::json;

use self::log::Log;
use memory::Peaks;
use operator::{Operator, first_line};
use schedule::{Fault, Places};

/// How often the state is printed.
const BEAT: Duration = Duration::from_secs(5);

/// Timing of programs that are watched instead of left alone for years.
const AGENT: &str = "[timing]\npoll_seconds = 2.0\nevent_spread_seconds = 0.1\nengine_poll_seconds = 0.5\n\
                     progress_seconds = 0.5\nretry_min_seconds = 0.2\nretry_max_seconds = 5.0\nrequest_seconds = 10\n\
                     branch_wait_seconds = 120\n\n[retry]\nwait_seconds = 2.0\n\n[retention]\nhours = 0.02\n";
const BRANCH: &str = "[sync]\npoll_seconds = 5.0\npass_seconds = 0.5\nretry_seconds = 0.3\nretry_max_seconds = 5.0\n\n\
                      [relay]\nprogress_seconds = 0.5\n\n[store]\nretention_hours = 0\n";
const HEAD_OFFICE: &str = "[uploads]\nreserve_bytes = 8388608\n";
const DISKS: DiskSizes =
    DiskSizes { head_office: 512 << 20, branch: 416 << 20, database: 192 << 20, terminal: 96 << 20 };
const SLOT: u64 = 24 << 20;

/// Options of `lab soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArguments {
    /// How many minutes to inject faults.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// The seed of the schedule.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many branches.
    #[arg(long, default_value_t = 2)]
    branches: usize,
    /// How many terminals in each branch.
    #[arg(long, default_value_t = 2)]
    terminals: usize,
    /// Rate of each branch's WAN link, both ways.
    #[arg(long, default_value = "20mbit")]
    wan: Rate,
    /// Write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Name of the run folder under target/lab.
    #[arg(long, default_value = "soak")]
    name: String,
    /// Print the schedule and stop.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(arguments: SoakArguments) -> anyhow::Result<()> {
    let length = Duration::from_secs(arguments.minutes.saturating_mul(60));
    let places = Places::new(arguments.branches, arguments.terminals);
    let faults = schedule::schedule(arguments.seed, length, &places);
    if arguments.dry_run {
        for (at, index, order) in schedule::timeline(&faults) {
            println!("{at:5} s  #{index:<4} {order}");
        }
        return Ok(());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("Cannot start the runtime")?;
    runtime.block_on(async {
        tokio::select! {
            done = Box::pin(soak(&arguments, &faults, length)) => done,
            // Dropping the soak drops the lab, which ends and removes everything.
            done = crate::demo::interrupted() => {
                done?;
                anyhow::bail!("Interrupted. Every part was ended and every network removed.");
            }
        }
    })
}

fn options(arguments: &SoakArguments, image: PathBuf) -> anyhow::Result<LabOptions> {
    let mut options = LabOptions::new(&arguments.name, image)?.sized(arguments.branches, arguments.terminals);
    options.wan = arguments.wan;
    options.slot_bytes = Some(SLOT);
    options.disks = Some(DISKS);
    options.clocks = true;
    options.extra.head_office = HEAD_OFFICE.into();
    options.extra.branch_server = BRANCH.into();
    options.extra.terminal_agent = AGENT.into();
    Ok(options)
}

/// What was seen while it ran.
#[derive(Default)]
struct Watched {
    peaks: Peaks,
    /// Parts that ended by themselves, and how.
    ended: BTreeMap<Part, String>,
}

async fn soak(arguments: &SoakArguments, faults: &[Fault], length: Duration) -> anyhow::Result<()> {
    let images = tempfile::tempdir().context("Cannot create a folder for images")?;
    let image = lab::small_image(images.path(), &SmallImage::new("1.0.0"))?;
    println!("soak: seed {}, {} min, {} faults; starting the lab", arguments.seed, arguments.minutes, faults.len());
    let lab = Lab::start(options(arguments, image)?).await?;
    let log = Log::new(&lab.folder().join("soak.log"))?;
    log.note(&format!("the lab is up in {}", lab.folder().display()));
    let (watched, acknowledged) = (Mutex::new(Watched::default()), Mutex::new(Vec::new()));
    let mut operator = Operator::new(&lab, &log, images.path(), arguments.seed, &acknowledged);

    let end = Instant::now() + length;
    let phase = async { tokio::join!(break_things(&lab, &log, faults), operator.work(end)) };
    tokio::select! {
        _ = phase => {}
        () = watch(&lab, &log, &watched) => {}
    }
    heal(&lab, &log).await;
    let rest = async {
        let run = verdict::converge(&lab, &log, &mut operator).await?;
        let kept = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verdict::problems(&lab, &run, &kept).await
    };
    let judged = tokio::select! {
        judged = rest => judged,
        () = watch(&lab, &log, &watched) => Ok(Vec::new()),
    };
    let mut watched = watched.into_inner().unwrap_or_else(PoisonError::into_inner);
    watched.peaks.look(&lab);
    let mut problems = judged.unwrap_or_else(|e| vec![format!("{e:#}")]);
    problems.extend(watched.ended.iter().map(|(part, how)| format!("{part} ended unexpectedly: {how}")));
    problems.extend(watched.peaks.problems());
    let wan = verdict::wan_ratios(&lab, operator.assigned()).await.unwrap_or_default();
    wan.iter()
        .for_each(|w| log.note(&format!("WAN of {}: {} times the artifacts it was assigned", w["branch"], w["ratio"])));
    for (program, bytes) in watched.peaks.by_program() {
        log.note(&format!("peak memory of {program}: {:.1} MiB", mebibytes(bytes)));
    }
    let report = json!({
        "seed": arguments.seed, "minutes": arguments.minutes, "branches": arguments.branches,
        "terminals": arguments.terminals, "seconds": log.seconds(), "passed": problems.is_empty(), "problems": problems,
        "faults": faults, "uploads_acknowledged": acknowledged.lock().map_or(0, |a| a.len()), "wan": wan,
        "peak_memory_bytes": watched.peaks.by_program(),
    });
    finish(lab, &log, arguments, &report, problems).await
}

async fn finish(
    lab: Lab,
    log: &Log,
    arguments: &SoakArguments,
    report: &serde_json::Value,
    problems: Vec<String>,
) -> anyhow::Result<()> {
    let folder = lab.folder().to_owned();
    write_report(&folder.join("soak.json"), report)?;
    if let Some(path) = &arguments.report {
        write_report(path, report)?;
    }
    lab.stop().await?;
    if problems.is_empty() {
        log.note(&format!("soak passed: seed {}; logs: {}", arguments.seed, folder.display()));
        return Ok(());
    }
    anyhow::bail!(
        "The soak with seed {} found {} problems. Logs and state: {}\n- {}",
        arguments.seed,
        problems.len(),
        folder.display(),
        problems.join("\n- ")
    )
}

/// Carries the schedule out. An order that cannot be carried out (a part that is just starting) is noted; what matters
/// is what becomes of the whole.
async fn break_things(lab: &Lab, log: &Log, faults: &[Fault]) {
    let begun = tokio::time::Instant::now();
    for (at, index, order) in schedule::timeline(faults) {
        tokio::time::sleep_until(begun + Duration::from_secs(at)).await;
        match lab::obey(lab, &order).await {
            Ok(_) => log.note(&format!("fault #{index}: {order}")),
            Err(e) => log.note(&format!("fault #{index}: {order}: skipped: {}", first_line(&e))),
        }
    }
}

/// Lifts everything, whether or not the schedule did.
async fn heal(lab: &Lab, log: &Log) {
    for branch in lab.branches() {
        let _ = lab.restore_wan(&branch);
    }
    for terminal in lab.terminals() {
        let _ = lab.restore_terminal(&terminal);
    }
    let parts = lab.parts();
    for part in &parts {
        let _ = lab.free_disk(part);
        let _ = lab.set_clock(&part.place, 0);
        let _ = lab.resume(part);
        if let Err(e) = lab.start_part(part) {
            log.note(&format!("{part} cannot be started: {}", first_line(&e)));
        }
    }
    log.note("all faults are lifted");
}

/// Looks every second, says how things stand every few; for ever.
async fn watch(lab: &Lab, log: &Log, watched: &Mutex<Watched>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = Instant::now();
    loop {
        tick.tick().await;
        {
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.peaks.look(lab);
            for part in lab.parts() {
                if let Ok(lab::PartState::Ended(how)) = lab.state(&part)
                    && watched.ended.insert(part.clone(), how.clone()).is_none()
                {
                    log.note(&format!("PROBLEM: {part} ended unexpectedly: {how}"));
                }
            }
        }
        if said.elapsed() >= BEAT {
            said = Instant::now();
            log.note(&format!("… {}", standing(lab).await));
        }
    }
}

/// How things stand, in one line.
async fn standing(lab: &Lab) -> String {
    let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(2), lab.api().status()).await else {
        return "head office does not answer".into();
    };
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for terminal in &status.terminals {
        let update = terminal.update.as_ref();
        let state = update.map_or_else(|| "no update".to_owned(), |u| format!("{} {}", u.version, u.state));
        *states.entry(state).or_default() += 1;
    }
    let terminals: Vec<String> = states.iter().map(|(state, count)| format!("{count}× {state}")).collect();
    let published = status.releases.iter().filter(|r| r.state == fleet_types::ReleaseState::Published).count();
    format!("{published} of {} releases published; terminals: {}", status.releases.len(), terminals.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn write_report(path: &Path, report: &serde_json::Value) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a report need not survive a crash of the machine")]
    std::fs::write(path, format!("{report:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}
