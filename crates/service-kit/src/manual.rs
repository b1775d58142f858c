//! The commands by which a program describes itself: manual pages and shell completions, both out of the definition of
//! its command line, so that they cannot differ from `--help`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use clap_complete::Shell;

/// Flattened into the commands of each program.
#[derive(Debug, Clone, Subcommand)]
pub enum Manual {
    /// Write the manual pages, one for each command, into a folder
    ///
    /// Every program of Filial has this command.
    #[command(after_help = "Example:\n  \
                            filial man ./man1")]
    Man {
        /// The folder; it is made if it is missing
        folder: PathBuf,
    },
    /// Print the completions for a shell
    ///
    /// Every program of Filial has this command. Where they belong is the shell's matter.
    #[command(after_help = "Example:\n  \
                            filial completions bash")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The manual could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct ManualError {
    path: PathBuf,
    source: std::io::Error,
}

impl Manual {
    /// Does it for the program that `program` defines.
    ///
    /// # Errors
    /// A page or standard output cannot be written.
    pub fn run(&self, mut program: clap::Command) -> Result<(), ManualError> {
        match self {
            Self::Man { folder } => man(program, folder),
            Self::Completions { shell } => {
                let name = program.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut program, name, &mut script);
                let out = Path::new("standard output");
                std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(|e| failed(out, e))
            }
        }
    }
}

fn man(program: clap::Command, folder: &Path) -> Result<(), ManualError> {
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    clap_mangen::generate_to(program, folder).map_err(|e| failed(folder, e))
}

fn failed(path: &Path, source: std::io::Error) -> ManualError {
    ManualError { path: path.to_owned(), source }
}
