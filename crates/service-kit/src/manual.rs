//! The commands by which a program describes itself: manual pages and shell completions, both out of the definition of
//! its command line, so that they cannot differ from `--help`. And [`parse`], which reads the command line of each program.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Command, Parser, Subcommand};
use clap_complete::Shell;

use crate::output::{self, OutputError};

/// A space at which help is not wrapped; replaced before help is printed.
const FIXED: &str = "\u{a0}";

/// Reads the arguments of the process; prints help and usage errors, and exits, as clap does.
///
/// Examples in help keep their lines at any width of the screen: a wrapped comment would not be TOML. An environment variable
/// that is set to nothing counts as unset.
pub fn parse<P: Parser>() -> P {
    let parsed =
        unwrapped(named(P::command())).mut_args(without_empty).try_get_matches().and_then(|m| P::from_arg_matches(&m));
    parsed.unwrap_or_else(|error| {
        let help = matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::DisplayVersion
        );
        if !help {
            error.exit();
        }
        let text = error.render();
        let text = if coloured() { text.ansi().to_string() } else { text.to_string() };
        let text = text.replace(FIXED, " ");
        if error.use_stderr() {
            output::complain(&text)
        } else {
            drop(output::write(&text))
        }
        std::process::exit(error.exit_code())
    })
}

/// Returns whether standard output is a screen that may show bold text.
fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Fixes the lines of what follows the options in the help of `command` and its subcommands.
fn unwrapped(mut command: Command) -> Command {
    let fixed = |text: &clap::builder::StyledStr| text.to_string().replace(' ', FIXED);
    if let Some(text) = command.get_after_help().map(fixed) {
        command = command.after_help(text);
    }
    if let Some(text) = command.get_after_long_help().map(fixed) {
        command = command.after_long_help(text);
    }
    command.mut_subcommands(unwrapped)
}

fn without_empty(arg: clap::Arg) -> clap::Arg {
    let empty = arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    if empty { arg.env(Resettable::Reset) } else { arg }
}

/// Returns the definition of a program's command line with the program's own name in the examples of [`Manual`].
pub fn named(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let man = format!("Example:\n  {name} man ./man1");
    let completions = format!("Example:\n  {name} completions bash");
    command
        .mut_subcommand("man", |man_command| man_command.after_help(man))
        .mut_subcommand("completions", |completions_command| completions_command.after_help(completions))
}

/// Flattened into the commands of each program.
#[derive(Debug, Clone, Subcommand)]
pub enum Manual {
    /// Write the manual pages, one for each command, into a folder
    ///
    /// Every program of Filial has this command.
    Man {
        /// The folder; created if it is missing
        folder: PathBuf,
    },
    /// Print the completions for a shell
    ///
    /// Every program of Filial has this command. Bash reads the file /etc/bash_completion.d/PROGRAM; other shells have their own
    /// folder for completions.
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The manual could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// A manual page.
    #[error("Cannot write {}: give a folder that you may write to", path.display())]
    Page {
        /// The page, or its folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The completions.
    #[error("Cannot print the completions")]
    Output(#[source] OutputError),
}

impl Manual {
    /// Does it for the program that `program` defines.
    ///
    /// # Errors
    /// A page or standard output cannot be written.
    pub fn run(&self, mut program: Command) -> Result<(), ManualError> {
        match self {
            Self::Man { folder } => man(program, folder),
            Self::Completions { shell } => {
                let name = program.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut program, name, &mut script);
                output::write(&String::from_utf8_lossy(&script)).map_err(ManualError::Output)
            }
        }
    }
}

fn man(program: Command, folder: &Path) -> Result<(), ManualError> {
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    clap_mangen::generate_to(program, folder).map_err(|e| failed(folder, e))
}

fn failed(path: &Path, source: std::io::Error) -> ManualError {
    ManualError::Page { path: path.to_owned(), source }
}
