//! Parses arguments, loads settings, opens the socket, answers.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use rustix::process::geteuid;
use service_kit::config::ConfigError;
use service_kit::manual::{self, Manual};
use service_kit::{Clock as _, SystemClock};
use service_kit::{config, edge, output, reserve, telemetry};
use terminal_agent::adapters::{MachineClock, devices, user_id};
use terminal_agent::config::PROGRAM;
use terminal_agent::config::helper::HelperSettings;
use terminal_agent::config::inputs::Inputs;
use terminal_agent::helper::boot::{Boots, HelperSetup};
use terminal_agent::helper::serve::serve;
use terminal_agent::helper::server::Helper;

/// Writes slots and boot state for the terminal agent, and restarts the machine: nothing that release keys and head office
/// did not sign for this terminal is ever tried.
#[derive(Parser)]
#[command(name = "terminal-helper", version, after_long_help = edge::EXIT_CODES)]
struct Arguments {
    /// The agent's settings: a TOML file, or a folder of them; later ones win. They must belong to root.
    #[arg(long, value_name = "FILE_OR_DIR", default_value = "/etc/terminal-agent/terminal-agent.toml", global = true)]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(Manual),
    /// Answer the agent until told to stop (the default)
    Run {
        /// The socket is standard input, as systemd hands it over (`StandardInput=socket`); without this it is made
        #[arg(long)]
        inherited: bool,
    },
    /// Check the configuration and exit
    CheckConfig,
    /// End the trial of the running slot if it is not confirmed, so that the old slot boots next
    ///
    /// systemd runs this when a trial's deadline passes (terminal-trial.timer), and restarts the machine unless the exit code is 0.
    /// It needs neither the socket nor the agent. A slot that is confirmed, or not on trial, is left alone.
    #[command(after_long_help = END_TRIAL_HELP, after_help = END_TRIAL_HELP)]
    EndTrial {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Exit code of `end-trial`: the trial ended, and the machine has to be restarted.
const EXIT_RESTART: u8 = 10;

const END_TRIAL_HELP: &str = "Example:
  terminal-helper end-trial
  terminal-helper end-trial --json

Exit codes:
  0  the running slot is confirmed or not on trial: nothing was changed
  1  the running slot is not known, or the boot state cannot be read or written; standard error says why
  2  the arguments or the configuration cannot be used
  10 the trial ended: restart the machine, and the old slot boots";

fn main() -> ExitCode {
    match start(manual::parse()) {
        Ok(code) => code,
        Err(error) => edge::report("terminal-helper", error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let command = arguments.command.unwrap_or(Command::Run { inherited: false });
    if let Command::Manual(manual) = command {
        manual.run(manual::named(Arguments::command()))?;
        return Ok(ExitCode::SUCCESS);
    }
    arguments.config.iter().try_for_each(|path| belongs_here(path))?;
    let settings: HelperSettings = config::settings::<Inputs, _>(PROGRAM, &arguments.config)?;
    match command {
        Command::Run { inherited } => run(settings, inherited)?,
        Command::EndTrial { json } => return end_trial(settings, json),
        Command::Manual(_) | Command::CheckConfig => {
            let (branch, name) = (settings.branch, settings.machine.identity.name);
            output::line(format!("The configuration of the root helper for {branch}/{name} is valid."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses settings that other users can write: they name devices and the restart command.
fn belongs_here(path: &Path) -> Result<(), ConfigError> {
    // One that cannot be read is named when it is loaded.
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.chain([path.to_owned()]) {
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.uid() != geteuid().as_raw() || found.mode() & 0o002 != 0 {
            let text = format!(
                "{} belongs to another user or is writable by all users. Give it to root: `chown root`, `chmod 644`",
                path.display()
            );
            return Err(ConfigError::bad("--config", text));
        }
    }
    Ok(())
}

fn end_trial(settings: HelperSettings, json: bool) -> anyhow::Result<ExitCode> {
    telemetry::init(&settings.machine.telemetry)?;
    made_state(&settings.state_dir)?;
    let devices = devices(&settings.machine);
    let ended = Boots::new(setup(settings), devices).end_trial(SystemClock.now());
    let ended = ended.map_err(|reason| anyhow::anyhow!("cannot end the trial ({}): {}", reason.code, reason.text))?;
    if json {
        told(&serde_json::json!({ "outcome": ended, "restart": ended.restart(), "text": ended.sentence() }))?;
    } else {
        told(&ended.sentence())?;
    }
    Ok(if ended.restart() { ExitCode::from(EXIT_RESTART) } else { ExitCode::SUCCESS })
}

/// Prints the outcome. The exit code restarts the machine, so a closed pipe must not change it.
fn told(text: &dyn std::fmt::Display) -> anyhow::Result<()> {
    match output::line(text) {
        Err(error) if !error.is_closed() => Err(error.into()),
        _ => Ok(()),
    }
}

fn made_state(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot create {}", folder.display()))
}

fn setup(settings: HelperSettings) -> HelperSetup {
    let machine = settings.machine;
    HelperSetup {
        state: settings.state_dir,
        // Beside the socket, in a folder of root's that no boot inherits: terminal-trial.service looks there.
        confirmed: machine.helper_socket.with_file_name("confirmed"),
        root: machine.trust_root,
        not_before: machine.not_before,
        branch: settings.branch,
        terminal: machine.identity.name,
        slots: machine.slots.roots(),
        attempts: machine.limits.trial_attempts,
    }
}

/// Ends when it is killed, at any instant: what it does is durable or repeated.
fn run(settings: HelperSettings, inherited: bool) -> anyhow::Result<()> {
    telemetry::init(&settings.machine.telemetry)?;
    let agent = user_id(&settings.agent_user)?;
    made_state(&settings.state_dir)?;
    if let Err(error) = reserve::keep(&settings.state_dir) {
        tracing::warn!(%error, "no disk space is reserved: if the disk fills up, no slot can be tried");
    }
    let socket = match inherited {
        true => {
            handed_over().context("standard input is not a listening socket: see StandardInput= in systemd.exec(5)")?
        }
        false => made_at(&settings.machine.helper_socket, agent)?,
    };
    socket.set_nonblocking(true).context("cannot use the socket")?;
    let devices = devices(&settings.machine);
    let helper = Helper::open(setup(settings), devices)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let socket = tokio::net::UnixListener::from_std(socket).context("cannot use the socket")?;
        tracing::info!(agent, "ready");
        serve(helper, socket, agent, &MachineClock).await.context("the socket failed")
    })
}

fn handed_over() -> anyhow::Result<UnixListener> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    anyhow::ensure!(rustix::net::sockopt::socket_acceptconn(&socket)?, "it does not listen");
    Ok(UnixListener::from(socket))
}

/// Only the agent's user may connect; the peer's user is checked all the same.
fn made_at(path: &Path, agent: u32) -> anyhow::Result<UnixListener> {
    let failed = || format!("cannot create the socket {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    // What a helper before this one left.
    if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        fs::remove_file(path).with_context(failed)?;
    }
    let socket = UnixListener::bind(path).with_context(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).with_context(failed)?;
    chown(path, Some(agent), None).with_context(failed)?;
    Ok(socket)
}
