//! Arguments of `filial kit`.

use std::path::PathBuf;

use clap::Subcommand;
use fleet_types::BranchName;

#[derive(Debug, Subcommand)]
pub(crate) enum KitCommand {
    /// At head office: write a branch's newest plan and its artifacts to a folder
    ///
    /// The folder, such as a USB stick, holds the signed metadata, the plan and its artifacts. The branch verifies it as if it had come over the
    /// link, so the stick needs no protection. It is valid as long as the metadata's timestamp: seven days by default.
    /// Repeating the command writes only what is missing.
    #[command(after_help = "Example:\n  filial kit export north /media/usb")]
    Export {
        /// The branch
        branch: BranchName,
        /// The folder to write to; created if it does not exist
        folder: PathBuf,
    },
    /// At a branch: import a kit, and write the queued reports back to the folder
    ///
    /// --server names the branch server, which must prove that it serves the kit's branch (or --at). Repeating the command
    /// continues with what is missing.
    #[command(after_help = "Example:\n  filial kit import /media/usb --server https://192.168.10.2:7003")]
    Import {
        /// The folder that `filial kit export` wrote
        folder: PathBuf,
    },
    /// At head office: submit the reports that came back in a kit's folder
    ///
    /// Reports that have also arrived over the link are counted once.
    #[command(after_help = "Example:\n  filial kit reports /media/usb")]
    Reports {
        /// The folder that `filial kit import` was given
        folder: PathBuf,
    },
}
