//! `lab`: the whole stack on this machine. See the crate's documentation for what it does and how it ends.

use anyhow::Context;
use clap::{Parser, Subcommand};

/// The whole of Filial on one machine: real programs and daemons, network namespaces, shaped links.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the labs of this machine.
    List,
    /// Remove what labs left that ended badly; running ones are not touched.
    Clean,
    /// Wait for the end of standard input, then clean. Every lab starts one of these.
    #[command(hide = true)]
    Undertaker,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::List => {
            for lab in lab::found().context("cannot list the labs")? {
                let state = if lab.alive { "running" } else { "left over" };
                println!("{}  {state:<10} {}", lab.prefix, lab.folder.display());
            }
        }
        Command::Clean => lab::clean().context("cannot remove everything")?,
        Command::Undertaker => lab::undertake(std::io::stdin()).context("cannot remove everything")?,
    }
    Ok(())
}
