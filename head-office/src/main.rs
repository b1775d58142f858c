//! The program `head-office`: arguments, settings, then [`head_office::run`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use head_office::config::{EXAMPLE, Inputs, PROGRAM, Settings};
use head_office::{Deps, run};
use service_kit::database::RunnerSettings;
use service_kit::manual::Manual;
use service_kit::{Shutdown, SystemClock, config, edge, telemetry};
use swarm::TransmissionEngine;

/// Head office of Filial: takes releases in, publishes them, and tells each branch what to run.
#[derive(Parser)]
#[command(version, after_long_help = after_help())]
struct Arguments {
    /// A TOML file, or a folder whose *.toml are read in the order of their names; may be repeated, later ones win.
    /// $FILIAL_HEAD_OFFICE__SECTION__KEY wins over all.
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/filial/head-office/head-office.toml", global = true)]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(Manual),
    /// Prints the OpenAPI document of the operators' listener.
    Openapi,
    /// Reads the configuration, says what is wrong with it, and ends.
    Check,
}

fn after_help() -> String {
    format!("{}\n\nA complete configuration:\n\n{EXAMPLE}", edge::EXIT_CODES)
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => edge::report(PROGRAM, error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Openapi) = arguments.command {
        println!("{}", serde_json::to_string_pretty(&head_office::api::document())?);
        return Ok(());
    }
    if let Some(Command::Manual(manual)) = arguments.command {
        return Ok(manual.run(Arguments::command())?);
    }
    let inputs: Inputs = config::load(PROGRAM, &arguments.config)?;
    let settings = Settings::try_from(inputs)?;
    if let Some(Command::Check) = arguments.command {
        println!("The configuration is in order.");
        return Ok(());
    }
    telemetry::init(&settings.telemetry)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let engine = TransmissionEngine::new(settings.engine.clone())?;
        let deps = Deps { clock: Arc::new(SystemClock), engine: Arc::new(engine), jobs: RunnerSettings::default() };
        let shutdown = Shutdown::on_signals()?;
        Ok(run(settings, deps, shutdown).await?)
    })
}
