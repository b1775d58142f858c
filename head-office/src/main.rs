//! The program `head-office`: arguments, settings, then [`head_office::run`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use access::console::{BootstrapArgs, or_stdin};
use clap::{CommandFactory, Parser, Subcommand};
use fleet_types::OperatorName;
use head_office::config::{EXAMPLE, Inputs, PROGRAM, Settings};
use head_office::http::table;
use head_office::{Deps, run};
use service_kit::database::RunnerSettings;
use service_kit::manual::{self, Manual};
use service_kit::{Clock as _, Secret, Shutdown, SystemClock, config, edge, output, telemetry};

/// Head office of Filial: publishes releases and tells each branch what to run.
#[derive(Parser)]
#[command(version, after_long_help = after_help())]
struct Arguments {
    /// A TOML file, or a folder whose *.toml files are read in order of their names.
    ///
    /// May be repeated; later files win. $FILIAL_HEAD_OFFICE__SECTION__KEY wins over all files.
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/filial/head-office/head-office.toml", global = true)]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(Manual),
    /// Print the OpenAPI document of the operators' listener.
    Openapi {
        /// The machines' listener instead.
        #[arg(long)]
        machines: bool,
    },
    /// Check the configuration and exit.
    Check,
    /// Print the SHA-256 fingerprint of the fleet's authority and exit.
    ///
    /// Creates the authority at the first call.
    #[command(
        after_help = "Example:\n  head-office authority\n  filial login ann --authority $(head-office authority)"
    )]
    Authority,
    /// Create the first admin and exit; refused once there is an admin.
    #[command(after_help = "Example:\n  head-office bootstrap --name ann --password-file -\n  \
        head-office bootstrap --name setup --token-file /root-only/token")]
    Bootstrap(BootstrapArgs),
    /// Set a new password for an admin when no other admin can, and exit.
    ///
    /// The admin's sessions end and its tokens are revoked. The change is recorded in the audit.
    #[command(after_help = "Example:\n  head-office recover ann --password-file -")]
    Recover {
        /// The operator's name.
        name: OperatorName,
        /// File with the new password on the first line; - is standard input.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
}

fn after_help() -> String {
    format!("{}\n\nA complete configuration:\n\n{EXAMPLE}", edge::EXIT_CODES)
}

fn main() -> ExitCode {
    match start(manual::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => edge::report(PROGRAM, error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Openapi { machines }) = arguments.command {
        let document = if machines { table::machine_document() } else { table::operator_document() };
        output::line(serde_json::to_string_pretty(&document)?)?;
        return Ok(());
    }
    if let Some(Command::Manual(manual)) = arguments.command {
        return Ok(manual.run(manual::named(Arguments::command()))?);
    }
    let settings: Settings = config::settings::<Inputs, _>(PROGRAM, &arguments.config)?;
    if let Some(Command::Check) = arguments.command {
        output::line("The configuration is valid.")?;
        return Ok(());
    }
    if let Some(Command::Authority) = arguments.command {
        let authority = head_office::trust::tls::authority(&settings.tls, SystemClock.now())?;
        output::line(trust::certificates::fingerprint(&authority.chain()[0]))?;
        return Ok(());
    }
    telemetry::init(&settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(Command::Bootstrap(arguments)) = arguments.command {
        return runtime.block_on(bootstrap(settings, arguments));
    }
    if let Some(Command::Recover { name, password_file }) = arguments.command {
        let password = config::read_secret_file(&or_stdin(password_file))?;
        return runtime.block_on(recover(settings, name, password));
    }
    runtime.block_on(async {
        let engine = settings.engine.open()?;
        let deps = Deps { clock: Arc::new(SystemClock), engine, jobs: RunnerSettings::default() };
        let shutdown = Shutdown::on_signals()?;
        Ok(run(settings, deps, shutdown).await?)
    })
}

async fn recover(settings: Settings, name: OperatorName, password: Secret) -> anyhow::Result<()> {
    let (sessions, tokens) = head_office::recover(&settings, &SystemClock, &name, &password).await?;
    Ok(output::line(format!("{name} has a new password. Sessions ended: {sessions}; tokens revoked: {tokens}."))?)
}

async fn bootstrap(settings: Settings, arguments: BootstrapArgs) -> anyhow::Result<()> {
    let prepared = arguments.prepare()?;
    let made = head_office::bootstrap(&settings, &SystemClock, prepared.wish.clone()).await;
    Ok(output::line(prepared.settle(made)?)?)
}
