//! Long campaigns, and one input by itself.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use fuzz::{Campaign, TARGETS, find};

#[derive(Parser)]
#[command(about = "Mutates hostile files against the parsers of strangers' bytes", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run targets on mutated files.
    Run {
        /// How many inputs a target.
        #[arg(long, default_value_t = 100_000)]
        iterations: u64,
        /// What the inputs follow from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this target; otherwise all.
        #[arg(long)]
        target: Option<String>,
        /// Where failing inputs are written.
        #[arg(long, default_value = "target/fuzz")]
        failures: PathBuf,
        /// Write each input before it is run, for a target that ends the process.
        #[arg(long)]
        keep: bool,
    },
    /// Run one target on one file, then print the most memory that this took, in kB.
    One {
        /// The target.
        target: String,
        /// The file.
        file: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Run { iterations, seed, target, failures, keep } => {
            let campaign = Campaign { iterations, seed, failures, keep };
            let chosen = TARGETS.iter().filter(|t| target.as_deref().is_none_or(|name| name == t.name));
            let mut any = false;
            for target in chosen {
                any = true;
                let inputs = campaign.run(target)?;
                println!("{:<16} {inputs:>9} inputs of seed {seed}", target.name);
            }
            if !any {
                bail!("there is no such target; there are {}", names());
            }
        }
        Command::One { target, file } => {
            let target = find(&target).with_context(|| format!("there is no such target; there are {}", names()))?;
            let input = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            (target.run)(&input);
            let status = std::fs::read_to_string("/proc/self/status").context("cannot read this process's status")?;
            let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("the kernel says no VmHWM")?;
            println!("{}", peak.trim().trim_end_matches(" kB"));
        }
    }
    Ok(())
}

fn names() -> String {
    TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}
