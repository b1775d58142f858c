//! Parses arguments, loads settings, opens the socket, answers.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use service_kit::manual::Manual;
use service_kit::{config, edge, telemetry};
use terminal_agent::adapters::{MachineClock, hands, user_id};
use terminal_agent::config::{HelperSettings, Inputs, PROGRAM};
use terminal_agent::helper::{Helper, Setup, serve};

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
    /// Read the configuration, say whether it can be used, and end
    CheckConfig,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => edge::report("terminal-helper", error.as_ref()),
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command.unwrap_or(Command::Run { inherited: false });
    if let Command::Manual(manual) = command {
        return Ok(manual.run(Arguments::command())?);
    }
    let inputs: Inputs = config::load(PROGRAM, &arguments.config)?;
    let settings = HelperSettings::try_from(inputs)?;
    match command {
        Command::Run { inherited } => run(settings, inherited),
        Command::Manual(_) | Command::CheckConfig => {
            println!("The root helper of {}/{} can be run so.", settings.branch, settings.machine.identity.name);
            Ok(())
        }
    }
}

/// Ends when it is killed, at any instant: what it does is durable or repeated.
fn run(settings: HelperSettings, inherited: bool) -> anyhow::Result<()> {
    telemetry::init(&settings.machine.telemetry)?;
    let agent = user_id(&settings.agent_user)?;
    let state = &settings.state_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.with_context(|| format!("cannot create {}", state.display()))?;
    let socket = match inherited {
        true => {
            handed_over().context("standard input is no listening socket: see StandardInput= in systemd.exec(5)")?
        }
        false => made_at(&settings.machine.helper_socket, agent)?,
    };
    socket.set_nonblocking(true).context("cannot use the socket")?;
    let setup = Setup {
        state: state.clone(),
        root: settings.machine.trust_root.clone(),
        branch: settings.branch,
        terminal: settings.machine.identity.name.clone(),
        slots: settings.machine.slots.roots(),
        attempts: settings.machine.limits.trial_attempts,
    };
    let helper = Helper::open(setup, hands(&settings.machine))?;
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

/// The agent alone may connect; whoever does is asked for all the same.
fn made_at(path: &Path, agent: u32) -> anyhow::Result<UnixListener> {
    let failed = || format!("cannot make the socket {}", path.display());
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
