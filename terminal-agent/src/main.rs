//! Parses arguments, loads settings, runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use service_kit::manual::Manual;
use service_kit::{Shutdown, config, edge, telemetry};
use terminal_agent::config::{Inputs, PROGRAM, Settings};
use terminal_agent::{adapters, status};

/// Fetches updates from the branch server into the slot that does not run, tries them, and confirms or goes back.
#[derive(Parser)]
#[command(version, after_long_help = edge::EXIT_CODES)]
struct Arguments {
    /// A TOML file, or a folder of them; later ones win.
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/terminal-agent/terminal-agent.toml", global = true)]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(Manual),
    /// Run until told to stop (the default).
    Run,
    /// Show what the journal says.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration, say whether it can be used, and end.
    CheckConfig,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => edge::report(PROGRAM, error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command.unwrap_or(Command::Run);
    if let Command::Manual(manual) = command {
        return Ok(manual.run(Arguments::command())?);
    }
    let inputs: Inputs = config::load(PROGRAM, &arguments.config)?;
    let settings = Settings::try_from(inputs)?;
    match command {
        Command::Manual(_) | Command::Run => run(settings),
        Command::Status { json } => show(&settings, json),
        Command::CheckConfig => {
            println!("The configuration of terminal {} can be used.", settings.identity.name);
            Ok(())
        }
    }
}

fn show(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let path = settings.paths.journal();
    let journal = status::read(&path)?.with_context(|| format!("there is no journal at {} yet", path.display()))?;
    if json {
        println!("{:#}", status::as_json(&journal));
    } else {
        print!("{}", status::as_text(&journal));
    }
    Ok(())
}

fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::init(&settings.telemetry)?;
    for folder in [&settings.paths.state_dir, &settings.paths.data_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // One thread does everything but disk work: an idle agent has to stay small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let ports = adapters::ports(&settings)?;
        let stop = Shutdown::on_signals().context("cannot watch for signals")?;
        terminal_agent::run(ports, settings, &stop).await.map_err(anyhow::Error::from)
    });
    // A read-back that is under way loses nothing by being cut off.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}
