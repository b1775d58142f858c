//! `powercut`: cuts the power of real machines while they update, and counts the outcome.
//!
//! The machines are the lab's: QEMU with firmware, bootloader, kernel and disk, updated by the real programs. A cut kills
//! QEMU. What lies on the disk then is judged from outside, as the bootloader would take it; then the machine has to come
//! up, and its update to its end, by itself. A second kind of cut replays a recorded update up to a flush and loses, keeps
//! or tears what was written behind it. Every cut is a line of the results file at once, so that a campaign can be
//! interrupted and goes on.
//!
//! This crate must never repair a machine, and never assert a time: everything in one is emulated.

mod campaign;
mod console;
mod cutting;
mod images;
mod judge;
mod phase;
mod plan;
mod points;
mod record;
mod replays;
mod say;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use campaign::Wanted;
use record::Results;
use say::say;
use table::Summary;

/// Power cuts of real machines while they update.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        powercut run --count 40 --seed 1 --replays 20    forty cuts and twenty replays; about an hour, as root\n  \
        powercut run --count 80 --seed 1                 forty more of the same campaign\n  \
        powercut table target/powercut/seed-1.jsonl      the results so far\n\n\
        Exit codes: 0 no brick, no wrong image, every update converged, all cuts and replays done;\n\
        1 otherwise; 2 wrong usage; 3 the campaign itself failed (results stay; the same command resumes it)."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut the power until the requested number is reached.
    Run(RunArguments),
    /// Print the results so far.
    Table {
        /// The results file.
        results: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// How many cuts in total, earlier runs with this results file included.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=400))]
    count: u16,
    /// The seed for phases, moments and replays.
    #[arg(long)]
    seed: u64,
    /// How many replays of a recorded update with torn writes in total.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=400))]
    replays: u16,
    /// How many machines run at once; each takes 640 MiB and most of a processor.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    vms: u16,
    /// The results file; one for each seed.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Table { results, json } => show(&results, json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(3)
        }
    }
}

fn show(path: &std::path::Path, json: bool) -> Result<bool> {
    path.metadata().with_context(|| format!("Cannot read {}", path.display()))?;
    let summary = Summary::of(&Results::read(path)?);
    print(&summary, json)?;
    Ok(summary.is_good())
}

fn run(arguments: RunArguments) -> Result<bool> {
    let own = || lab::source_root().join(format!("target/powercut/seed-{}.jsonl", arguments.seed));
    let wanted = Wanted {
        cuts: usize::from(arguments.count),
        replays: usize::from(arguments.replays),
        seed: arguments.seed,
        machines: usize::from(arguments.vms),
        results: arguments.results.clone().unwrap_or_else(own),
    };
    say(format_args!("{} cuts, {} replays; results in {}", wanted.cuts, wanted.replays, wanted.results.display()));
    let runtime = tokio::runtime::Runtime::new().context("Cannot start the runtime")?;
    let results = runtime.block_on(Box::pin(campaign::run(&wanted)))?;
    let summary = Summary::of(&results);
    print(&summary, arguments.json)?;
    let good = summary.is_good() && summary.reaches(wanted.cuts, wanted.replays);
    say(if good { "good" } else { "NOT GOOD: the results file says what, and the lines above where to look" });
    Ok(good)
}

fn print(summary: &Summary, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(summary).context("cannot write the table as JSON")?);
    } else {
        println!("{summary}");
    }
    Ok(())
}
