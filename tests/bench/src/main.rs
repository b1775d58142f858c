//! `bench`: figures of this system, each beside a named peer or limit measured in the same run on the same machine.
//!
//! Two sections: how fast a branch's terminals get an artifact over a shaped uplink (the whole lab, beside plain aria2
//! and the floor of the link), and how fast updates are ingested, encoded and applied (beside `sha256sum` and `zstd`).
//!
//! What it must never do: judge. It asserts no time and no ratio, so that a busy machine cannot fail it; it fails only
//! if something could not be measured, or if what arrived was not what was sent. And it leaves nothing behind.

mod apply;
mod aria2;
mod data;
mod exec;
mod figure;
mod lan;
mod rates;
mod say;
mod scratch;
mod shared;
mod stack;
mod swarms;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use service_kit::Shutdown;

use figure::Results;
use say::say;
use scratch::Scratch;

/// Figures of this system beside named peers and limits of the same run.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        make bench                             everything, with optimised programs; about five minutes, as root\n  \
        make bench ARGS=\"--only rates\"        ingest, encode and apply beside sha256sum and zstd; needs no root\n  \
        make bench ARGS=--json > bench.json    the same figures as JSON"
)]
struct Arguments {
    /// Measure one section only.
    #[arg(long)]
    only: Option<Section>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// The folder with the programs to measure; the bench's own if not given.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The LAN swarm: our stack, and plain aria2.
    Swarm,
    /// The LAN swarm with plain aria2 alone.
    Aria2,
    /// Ingest, encode and apply.
    Rates,
}

impl Arguments {
    fn wants(&self, section: Section) -> bool {
        self.only.is_none_or(|only| only == section)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        say("built without optimisation: these figures are the compiler's; `make bench` builds an optimised profile");
    }
    match measure_and_print(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            say(format_args!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures what was asked for and prints it; false if part of it could not be measured.
fn measure_and_print(arguments: &Arguments) -> Result<bool> {
    let scratch = Scratch::new()?;
    lan::remove_left();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let measured = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
        tokio::select! {
            results = Box::pin(measure(arguments, &scratch, &shutdown)) => Ok(results),
            () = shutdown.stopped() => bail!("stopped; everything is being removed"),
        }
    });
    // An encoder that was told to stop does so after its segment.
    runtime.shutdown_timeout(Duration::from_secs(20));
    drop(scratch);
    let results = measured?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&results).context("cannot write the figures as JSON")?
    } else {
        results.table()
    };
    println!("{text}");
    Ok(results.failed.is_empty())
}

/// One section after the other, so that none disturbs another; what fails does not keep the rest from being measured.
async fn measure(arguments: &Arguments, scratch: &Scratch, shutdown: &Shutdown) -> Results {
    let mut results = Results::new();
    if arguments.wants(Section::Rates) {
        results.take("rates", Box::pin(rates::measure(scratch, shutdown)).await);
    }
    if arguments.wants(Section::Swarm) || arguments.only == Some(Section::Aria2) {
        match shared::Shared::prepare(scratch, shutdown).await {
            Err(e) => results.take("swarm", Err(e)),
            Ok(shared) => {
                results.take("swarm, aria2", Box::pin(swarms::aria2(&shared, scratch)).await);
                if arguments.wants(Section::Swarm) {
                    results
                        .take("swarm, our stack", Box::pin(swarms::stack(&shared, arguments.programs.clone())).await);
                }
            }
        }
    }
    results
}
