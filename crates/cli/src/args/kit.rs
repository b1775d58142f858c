//! The kit's command line.

use std::path::PathBuf;

use clap::Subcommand;
use fleet_types::BranchName;

#[derive(Debug, Subcommand)]
pub(crate) enum KitCommand {
    /// At head office: write what a branch needs to follow its newest plan into a folder, such as a USB stick
    ///
    /// Signed metadata, plan, and the plan's artifacts. Whoever takes it up verifies it as if it had come over the link, so
    /// it needs no guarding; it lasts as long as the metadata's timestamp, seven days unless set otherwise. The same command
    /// again writes only what is missing.
    #[command(after_help = "Example:\n  filial kit export north /media/usb")]
    Export {
        /// The branch
        branch: BranchName,
        /// The folder to write to; made if it is not there
        folder: PathBuf,
    },
    /// At a branch: bring a kit to its branch server, and take the reports that wait there back into the folder
    ///
    /// --server names the branch server, which has to prove that it is that of the kit's branch (or of --at). The same command again goes
    /// on with what is missing.
    #[command(after_help = "Example:\n  filial kit import /media/usb --server https://192.168.10.2:7003")]
    Import {
        /// The folder that `filial kit export` wrote
        folder: PathBuf,
    },
    /// At head office: hand in the reports that came back in a kit's folder
    ///
    /// Reports that came over the link meanwhile count once.
    #[command(after_help = "Example:\n  filial kit reports /media/usb")]
    Reports {
        /// The folder that `filial kit import` was given
        folder: PathBuf,
    },
}
