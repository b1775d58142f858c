//! `lab`: the whole stack on this machine.

mod console;
mod demo;
mod soak;

use std::process::ExitCode;

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
    /// Start head office, branches and terminals, and follow one release until every terminal has confirmed it.
    Demo(demo::DemoArguments),
    /// Inject random faults while releases go out; then verify that everything converges.
    Soak(soak::SoakArguments),
    /// Inject a fault into a running demo, or lift it.
    #[command(after_help = lab::FAULTS)]
    Fault {
        /// Name of its run folder under target/lab.
        #[arg(long, default_value = "demo")]
        name: String,
        /// The order and what it applies to.
        #[arg(required = true)]
        order: Vec<String>,
    },
    /// Type at the console of a running demo's virtual machine.
    Console {
        /// Name of its run folder under target/lab.
        #[arg(long, default_value = "demo")]
        name: String,
        /// The terminal, such as branch-1/vm-1.
        terminal: String,
    },
    /// List the labs of this machine.
    List,
    /// Remove what crashed labs left behind. Running labs are not touched.
    Clean,
    /// Answer announces with a lie. `lab fault lie-tracker` starts one.
    #[command(hide = true)]
    FalseTracker {
        /// Where to listen.
        listen: std::net::SocketAddrV4,
        /// The lie.
        lie: lab::Lie,
    },
    /// Wait for the end of standard input, then clean. Every lab starts one.
    #[command(hide = true)]
    Undertaker,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Soak(arguments) => soak::run(arguments),
        Command::Fault { name, order } => fault(&name, &order),
        Command::Console { name, terminal } => console::attach(&folder_of(&name), &terminal),
        Command::List => list(),
        Command::Clean => lab::clean().map_err(Into::into),
        Command::FalseTracker { listen, lie } => lab::tell_lies(listen, lie).map_err(Into::into),
        Command::Undertaker => lab::undertake(std::io::stdin()).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> anyhow::Result<()> {
    for lab in lab::found()? {
        let state = if lab.alive { "running" } else { "left over" };
        println!("{}  {state:<10} {}", lab.prefix, lab.folder.display());
    }
    Ok(())
}

fn folder_of(name: &str) -> std::path::PathBuf {
    lab::source_root().join("target/lab").join(name)
}

fn fault(name: &str, order: &[String]) -> anyhow::Result<()> {
    let answer = lab::order(&folder_of(name), order)?;
    println!("{answer}");
    Ok(())
}
