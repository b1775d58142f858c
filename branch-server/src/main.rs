//! Parses arguments, loads settings, runs.

use std::path::PathBuf;
use std::process::ExitCode;

use access::console::{BootstrapArgs, or_stdin};
use branch_server::Deps;
use branch_server::config::{EXAMPLE, Inputs, PROGRAM, Settings};
use branch_server::http::table;
use branch_server::upstream::identity::Files;
use clap::{Args, CommandFactory, Parser, Subcommand};
use fleet_types::OperatorName;
use service_kit::manual::{self, Manual};
use service_kit::{Shutdown, SystemClock, config, edge, output, telemetry};

/// The branch server of Filial: mirrors what head office plans, seeds it to the terminals, relays their reports.
#[derive(Parser)]
#[command(version, about, after_long_help = after_help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// A TOML file, or a folder of them; may be repeated, later ones win. $FILIAL_BRANCH_SERVER__SECTION__KEY wins
    /// over all.
    #[arg(
        long,
        value_name = "FILE_OR_DIR",
        default_value = "/etc/filial/branch-server/branch-server.toml",
        global = true
    )]
    config: Vec<PathBuf>,
    /// Load and check the configuration, then stop.
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(Manual),
    /// Print the API's description (OpenAPI 3.1, JSON).
    Openapi,
    /// Create this branch's first admin and exit; refused once there is an admin.
    #[command(after_help = "Example:\n  branch-server bootstrap --name ann --password-file -\n  \
        branch-server bootstrap --name setup --token-file /root-only/token")]
    Bootstrap(BootstrapArgs),
    /// Set a new password for an admin when no other admin can, and exit.
    ///
    /// The admin's sessions end and its tokens are revoked. The change is recorded in the audit.
    #[command(after_help = "Example:\n  branch-server recover ann --password-file -")]
    Recover {
        /// The operator's name.
        name: OperatorName,
        /// File with the new password on the first line; - is standard input.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
}

fn after_help() -> String {
    format!(
        "Example configuration:\n\n{}\nFirst start: put the join token that `filial branch add NAME` prints at \
         head office into\nhead_office.join_token_file. After enrolment the server generates the \
         terminals' token in\nterminals.join_token_file. `branch-server bootstrap` creates the first \
         admin of the branch.\n\n{}",
        EXAMPLE.lines().map(|line| format!("  {line}\n")).collect::<String>(),
        edge::EXIT_CODES
    )
}

fn main() -> ExitCode {
    match start(manual::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => edge::report(PROGRAM, error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Openapi) = arguments.command {
        return Ok(output::line(serde_json::to_string_pretty(&table::document())?)?);
    }
    if let Some(Command::Manual(manual)) = arguments.command {
        return Ok(manual.run(manual::named(Arguments::command()))?);
    }
    let settings: Settings = config::settings::<Inputs, _>(PROGRAM, &arguments.run.config)?;
    if arguments.run.check {
        // The server writes some of them itself, so that they may come later.
        for secret in settings.secret_files() {
            config::check_private_if_present(secret)?;
        }
        Files::new(&settings.state_folder).check_key()?;
        return Ok(output::line("The configuration is valid.")?);
    }
    telemetry::init(&settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(Command::Bootstrap(arguments)) = arguments.command {
        let prepared = arguments.prepare()?;
        let made = runtime.block_on(branch_server::bootstrap(&settings, &SystemClock, prepared.wish.clone()));
        return Ok(output::line(prepared.settle(made)?)?);
    }
    if let Some(Command::Recover { name, password_file }) = arguments.command {
        let password = config::read_secret_file(&or_stdin(password_file))?;
        let (sessions, tokens) = runtime.block_on(branch_server::recover(&settings, &SystemClock, &name, &password))?;
        let said = format!("{name} has a new password. Sessions ended: {sessions}; tokens revoked: {tokens}.");
        return Ok(output::line(said)?);
    }
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let deps = Deps::real(&settings)?;
        branch_server::run(settings, deps, shutdown).await?;
        anyhow::Ok(())
    })
}
