//! `filial`, the operator's command line: pack a release, validate it, upload it, assign it, watch it arrive.
//!
//! What it must never do: take a token on the command line or print one that it was given, judge by other rules than
//! head office, call an upload done that head office does not have in full, or answer `--json` with anything but JSON
//! on standard output.

mod args;
mod ask;
mod commands;
mod credentials;
mod failure;
mod output;
mod server;
mod status;
mod upload;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use failure::Failure;

/// The command-line definition: for documentation and for the test that every command has an example.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let json = args.global.json;
    match run(args) {
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
        Command::Manual(manual) => {
            manual.run(self::command()).map_err(|e| Failure::said(e.to_string(), "Give a folder that can be written."))
        }
    }
}
