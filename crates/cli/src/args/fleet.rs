//! Arguments of `filial branch`, `filial terminal`, `filial assign` and `filial unassign`.

use std::path::PathBuf;

use super::values::whole;
use clap::{Args as ClapArgs, Subcommand};
use fleet_types::{BranchName, ProductName, TerminalName, TerminalRef, Version};

#[derive(Debug, Subcommand)]
pub(crate) enum BranchCommand {
    /// List branches
    #[command(after_help = "Example:\n  filial branch list")]
    List,
    /// Show one branch
    #[command(after_help = "Example:\n  filial branch show north")]
    Show {
        /// Name of the branch
        branch: BranchName,
    },
    /// Add a branch and print its server's join token once
    #[command(after_help = "Example:\n  filial branch add north --join-token-file north.join")]
    Add {
        /// Name of the branch
        branch: BranchName,
        /// Lifetime of the join token in hours, 1 to 8760 [default: head office's setting]
        #[arg(long, value_name = "N", value_parser = whole::<u32, 1, 8760>)]
        join_token_hours: Option<u32>,
        /// Write the join token into this file, readable by its owner only, instead of printing it
        #[arg(long, value_name = "FILE")]
        join_token_file: Option<PathBuf>,
    },
    /// Remove a branch with its terminals and their history; its server is refused from now on
    #[command(after_help = "Example:\n  filial branch remove north")]
    Remove {
        /// Name of the branch
        branch: BranchName,
        /// Remove it even if its terminals reported within the last 24 hours
        #[arg(long)]
        force: bool,
    },
    /// Deny the certificate of a branch server: it is refused until allowed again
    #[command(after_help = "Example:\n  filial branch deny north --reason \"The server was stolen\"")]
    Deny {
        /// Name of the branch
        branch: BranchName,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Allow the certificate of a denied branch server again
    #[command(after_help = "Example:\n  filial branch allow north --reason \"It was found\"")]
    Allow {
        /// Name of the branch
        branch: BranchName,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TerminalCommand {
    /// List terminals
    #[command(after_help = "Example:\n  filial terminal list --branch north")]
    List {
        /// Only terminals of this branch
        #[arg(long)]
        branch: Option<BranchName>,
    },
    /// Show one terminal with its update history
    #[command(after_help = "Example:\n  filial terminal show north/till-1")]
    Show {
        /// BRANCH/NAME
        terminal: TerminalRef,
    },
    /// Accept a terminal's new key, such as after its disk was replaced
    ///
    /// Until the key is accepted, states signed with it are refused.
    #[command(
        after_help = "Example:\n  filial terminal accept-key north/till-1 9b2e... --reason \"New disk, ticket 17\""
    )]
    AcceptKey {
        /// BRANCH/NAME
        terminal: TerminalRef,
        /// The requested key, 64 hexadecimal digits, from `filial terminal show`
        key: String,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Remove a terminal with its history from head office: what it said of itself no longer counts
    ///
    /// Deny a stolen or false terminal at its branch first (`filial terminal deny`), or it comes back. Head office remembers that it
    /// was denied.
    #[command(after_help = "Example:\n  filial terminal remove north/till-1")]
    Remove {
        /// BRANCH/NAME
        terminal: TerminalRef,
        /// Remove it even if it reported within the last 24 hours and is not denied
        #[arg(long)]
        force: bool,
        /// Forget that it was denied: the next server of its branch lets it in again
        ///
        /// The present one still denies it until `filial terminal allow`.
        #[arg(long)]
        allow_again: bool,
    },
    /// Deny a terminal at its branch server: it is refused with any key from now on
    ///
    /// The branch's join token is replaced, because the terminal may have it on its disk: machines that enrol from now on need the
    /// new one. Registered terminals renew by their keys.
    ///
    /// Connects to the branch server: --server is its address, --at its branch.
    #[command(
        after_help = "Example:\n  filial terminal deny till-1 --at north --server https://10.1.0.1:7003 --reason Stolen"
    )]
    Deny {
        /// Name of the terminal within the branch
        terminal: TerminalName,
        /// Reason, recorded in the branch server's audit log
        #[arg(long)]
        reason: Option<String>,
        /// Keep the branch's join token, such as for a broken terminal that was not stolen
        #[arg(long)]
        keep_join_token: bool,
    },
    /// Allow a denied terminal again at its branch server, with its key or a new one
    ///
    /// Connects to the branch server: --server is its address, --at its branch.
    #[command(
        after_help = "Example:\n  filial terminal allow till-1 --at north --server https://10.1.0.1:7003 --key 9b2e..."
    )]
    Allow {
        /// Name of the terminal within the branch
        terminal: TerminalName,
        /// The key that it must use from now on, 64 hexadecimal digits, from `filial status --at BRANCH` [default: its current key]
        #[arg(long)]
        key: Option<String>,
        /// Reason, recorded in the branch server's audit log
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AssignArgs {
    /// The branch
    pub(crate) branch: BranchName,
    /// The product
    pub(crate) product: ProductName,
    /// The version; it must be published
    pub(crate) version: Version,
    /// Allow a version older than the branch's current one
    #[arg(long)]
    pub(crate) downgrade: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UnassignArgs {
    /// The branch
    pub(crate) branch: BranchName,
    /// The product
    pub(crate) product: ProductName,
}
