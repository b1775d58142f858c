//! Parses arguments, loads settings, runs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use chrono::TimeDelta;
use clap::{CommandFactory, Parser, Subcommand};
use fleet_types::{ProductName, Version};
use service_kit::manual::{self, Manual};
use service_kit::{Clock as _, Shutdown, SystemClock, config, edge, output, telemetry};
use swarm::EngineRole;
use terminal_agent::adapters;
use terminal_agent::config::agent::Settings;
use terminal_agent::config::inputs::Inputs;
use terminal_agent::config::{EXAMPLE, PROGRAM};
use terminal_agent::memory::journal::Journal;
use terminal_agent::memory::status;
use terminal_agent::packages::place::Place;
use terminal_agent::packages::wrapper::{self, EXIT_NOT_YET, Refusal, Wish};

/// Fetches updates from the branch server into the slot that does not run, tries them, and confirms or goes back.
#[derive(Parser)]
#[command(version, after_long_help = after_help())]
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
    /// Run as the service until told to stop (the default); or run a command once a package is complete
    ///
    /// Started by root it becomes the agent's user first, who owns what packages hold.
    ///
    /// With PRODUCT and COMMAND: runs the command in the folder of the package that the plan names for this terminal, if
    /// that is complete and was checked, and ends with the command's exit code (128 + n if signal n ended it). The
    /// environment has FILIAL_PACKAGE (the folder), FILIAL_PRODUCT and FILIAL_VERSION. If it is not complete, the
    /// service is asked to go on with it at once, and the exit code is 75, so that any scheduler can try again.
    #[command(after_help = RUN_HELP)]
    Run {
        /// The package's product
        #[arg(requires = "command")]
        product: Option<ProductName>,
        /// The version; by default the version that the plan names
        #[arg(long, value_name = "VERSION", requires = "product")]
        version: Option<Version>,
        /// The payload's name; needed if the release has several packages
        #[arg(long, value_name = "PAYLOAD", requires = "product")]
        name: Option<String>,
        /// Read the whole package first, and compare it with the record of what was unpacked
        #[arg(long, requires = "product")]
        verify: bool,
        /// The command and its arguments, after `--`
        #[arg(last = true, requires = "product")]
        command: Vec<OsString>,
    },
    /// List the packages of this terminal: product, version, name, state, bytes
    #[command(after_help = "Example:\n  terminal-agent packages\n  terminal-agent packages --json")]
    Packages {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the state of the update.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the settings of this terminal's BitTorrent daemon, which must not run meanwhile
    ///
    /// With what the agent's own settings say of the daemon (how it is reached, folder of artifacts), and the policy of a
    /// terminal. The file gets the owner of FOLDER, because it holds the password.
    #[command(after_help = "Example:\n  terminal-agent daemon-settings /var/lib/transmission")]
    DaemonSettings {
        /// The daemon's configuration folder (its `--config-dir`)
        folder: PathBuf,
    },
    /// Check the configuration and exit.
    CheckConfig,
}

fn after_help() -> String {
    format!("{}\n\nA complete configuration:\n\n{EXAMPLE}", edge::EXIT_CODES)
}

const RUN_HELP: &str = "Example:
  terminal-agent run
  terminal-agent run tools -- ./install.sh --quiet
  terminal-agent run tools --version 1.4.0 --verify -- ./install.sh

Exit codes besides those of COMMAND:
  2   the arguments cannot be used, or several packages fit
  69  no plan names such a package for this terminal
  75  it is not complete yet: try again";

fn main() -> ExitCode {
    match start(manual::parse()) {
        Ok(code) => code,
        Err(error) => edge::report(PROGRAM, error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let service = Command::Run { product: None, version: None, name: None, verify: false, command: Vec::new() };
    let command = arguments.command.unwrap_or(service);
    if let Command::Manual(manual) = command {
        manual.run(manual::named(Arguments::command()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings: Settings = config::settings::<Inputs, _>(PROGRAM, &arguments.config)?;
    match command {
        Command::Run { product: Some(product), version, name, verify, command } => {
            let folder = &settings.paths.state_dir;
            adapters::command::become_owner_of(folder)
                .with_context(|| format!("cannot run as the user who owns {}", folder.display()))?;
            return run_in_package(&settings, &Wish { product, version, name }, verify, &command);
        }
        Command::Manual(_) | Command::Run { .. } => run(settings)?,
        Command::Status { json } => show(&settings, json)?,
        Command::Packages { json } => list_packages(&settings, json)?,
        Command::DaemonSettings { folder } => {
            let engine = &settings.engine;
            engine.config.write_daemon_settings(EngineRole::Terminal, &engine.download_dir, &folder)?;
        }
        Command::CheckConfig => {
            let (shipped, now) = (settings.not_before, SystemClock.now());
            // Not at a start: a machine without a clock has only this to judge by.
            anyhow::ensure!(
                shipped <= now + TimeDelta::days(1),
                "trust.not_before: {shipped} has not come yet, the clock says {}: correct the one or the other",
                now.format("%Y-%m-%d %H:%M:%S UTC")
            );
            // The agent writes neither, so that both may come later.
            for secret in [settings.branch.join_token_file.as_path(), settings.engine.config.secret_file()] {
                config::check_private_if_present(secret)?;
            }
            output::line(format!("The configuration of terminal {} is valid.", settings.identity.name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn journal(settings: &Settings) -> anyhow::Result<Journal> {
    let path = settings.paths.journal();
    status::read(&path)?.with_context(|| {
        format!(
            "there is no journal at {} yet: the agent has not run. Start it: `systemctl start terminal-agent`",
            path.display()
        )
    })
}

fn list_packages(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let journal = journal(settings)?;
    if json {
        output::line(format!("{:#}", wrapper::as_json(&journal, &settings.paths.data_dir)))?;
    } else {
        output::write(&wrapper::as_text(&journal).to_string())?;
    }
    Ok(())
}

fn run_in_package(settings: &Settings, wish: &Wish, verify: bool, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let journal = status::read(&settings.paths.journal())?;
    let (folder, version, _held) = match hold(settings, journal.as_ref(), wish, verify) {
        Ok(held) => held,
        Err(refusal) => {
            if refusal.code == EXIT_NOT_YET {
                // The service goes on by itself, too, only later: nothing is lost if it cannot be asked.
                let _ = std::fs::File::create(settings.paths.go_on());
            }
            output::complain(&format!("{PROGRAM}: {}\n", refusal.text));
            return Ok(ExitCode::from(refusal.code));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let environment: [(&str, &OsStr); 3] = [
        ("FILIAL_PACKAGE", folder.as_os_str()),
        ("FILIAL_PRODUCT", wish.product.as_str().as_ref()),
        ("FILIAL_VERSION", version.as_ref()),
    ];
    let ended = runtime.block_on(adapters::command::run(command, &folder, &environment));
    let code = ended.with_context(|| format!("cannot run {}", command[0].display()))?;
    Ok(ExitCode::from(code))
}

/// The package's folder, its version, and the guard that keeps it from removal.
fn hold(
    settings: &Settings,
    journal: Option<&Journal>,
    wish: &Wish,
    verify: bool,
) -> Result<(PathBuf, String, std::fs::File), Refusal> {
    let package = wrapper::choose(journal, wish)?;
    let place = Place::of(&settings.paths.data_dir, package);
    let held = place.hold().map_err(|error| Refusal {
        code: EXIT_NOT_YET,
        text: format!("{} cannot be locked: {error}. Try again later.", place.tree().display()),
    })?;
    wrapper::check(&place, package, verify)?;
    Ok((place.tree(), package.version.to_string(), held))
}

fn show(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let journal = journal(settings)?;
    if json {
        output::line(format!("{:#}", status::as_json(&journal)))?;
    } else {
        output::write(&status::as_text(&journal).to_string())?;
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
        terminal_agent::agent::run(ports, settings, &stop).await.map_err(anyhow::Error::from)
    });
    // A read-back that is under way loses nothing by being cut off.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}
