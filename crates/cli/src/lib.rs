//! `filial`, the operator's command line: packs, validates, uploads, assigns and watches releases.
//!
//! It must never take a token on the command line, print a token it was given, judge by other rules than head office, report
//! an upload as done that head office does not hold in full, or print anything but JSON on standard output under `--json`.

mod args;
mod ask;
mod commands;
mod credentials;
mod failure;
mod files;
mod output;
mod server;
mod status;
mod upload;

use std::process::ExitCode;

use service_kit::manual::{self, ManualError};

use args::{Args, Command};
use failure::Failure;

/// Returns the command-line definition, for documentation and tests.
pub fn command() -> clap::Command {
    manual::named(<Args as clap::CommandFactory>::command())
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let args = manual::parse::<Args>();
    let (json, token_file) = (args.global.json, args.global.token_file.clone());
    match run(args).map_err(|failure| failure.with_token_file(token_file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let Args { global, command } = args;
    match command {
        Command::Release(command) => commands::release::run(&global, command),
        Command::Trust(command) => commands::trust::run(&global, command),
        Command::Branch(command) => commands::fleet::branch(&global, command),
        Command::Terminal(command) => commands::fleet::terminal(&global, command),
        Command::Assign(assign) => commands::fleet::assign(&global, assign),
        Command::Unassign(unassign) => commands::fleet::unassign(&global, unassign),
        Command::Torrent(command) => commands::torrent::run(&global, command),
        Command::Kit(command) => commands::kit::run(&global, command),
        Command::Incidents(options) => commands::incidents::run(&global, &options),
        Command::Status(options) => status::run(&global, options),
        Command::Login(args) => commands::login::login(&global, &args),
        Command::Logout => commands::login::logout(&global),
        Command::Token(command) => commands::tokens::run(&global, command),
        Command::Operator(command) => commands::operators::run(&global, command),
        Command::Audit(command) => commands::audit::run(&global, command),
        Command::Manual(manual) => manual.run(self::command()).map_err(|error| match error {
            ManualError::Output(error) => Failure::Output(error),
            ManualError::Page { path, source } => Failure::Write { path, source },
        }),
    }
}
