//! Arguments of `filial branch`, `filial terminal`, `filial assign` and `filial unassign`.

use std::path::PathBuf;

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
        /// Its name
        branch: BranchName,
    },
    /// Add a branch and print the join token of its server, once
    #[command(after_help = "Example:\n  filial branch add north --join-token-file north.join")]
    Add {
        /// Its name
        branch: BranchName,
        /// For how many hours the join token may be used, 1 to 8760 [default: as head office is set]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8760))]
        join_token_hours: Option<u32>,
        /// Write the join token into this file, readable by its owner only, instead of printing it
        #[arg(long, value_name = "FILE")]
        join_token_file: Option<PathBuf>,
    },
    /// Remove a branch with its terminals and their history; its server is refused from now on
    #[command(after_help = "Example:\n  filial branch remove north")]
    Remove {
        /// Its name
        branch: BranchName,
        /// Also if terminals of it were heard within the last 24 hours
        #[arg(long)]
        force: bool,
    },
    /// Deny the certificate of a branch's server: it is refused until it is allowed again
    #[command(after_help = "Example:\n  filial branch deny north --reason \"The server was stolen\"")]
    Deny {
        /// Its name
        branch: BranchName,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let the certificate of a branch's server count again
    #[command(after_help = "Example:\n  filial branch allow north --reason \"It was found\"")]
    Allow {
        /// Its name
        branch: BranchName,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TerminalCommand {
    /// List terminals
    #[command(after_help = "Example:\n  filial terminal list --branch north")]
    List {
        /// Only those of this branch
        #[arg(long)]
        branch: Option<BranchName>,
    },
    /// Show one terminal with the history of its update
    #[command(after_help = "Example:\n  filial terminal show north/till-1")]
    Show {
        /// BRANCH/NAME
        terminal: TerminalRef,
    },
    /// Believe a terminal's new key: its disk was replaced, and its branch server certified another
    ///
    /// Until then the states that it reports are not taken.
    #[command(
        after_help = "Example:\n  filial terminal accept-key north/till-1 9b2e... --reason \"New disk, ticket 17\""
    )]
    AcceptKey {
        /// BRANCH/NAME
        terminal: TerminalRef,
        /// The key that `filial terminal show` says it asks with
        key: String,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Deny a terminal's certificate at its branch server: it is refused from now on, whatever key it has
    ///
    /// Talks to the branch server: `--server` is its address, `--at` its branch.
    #[command(
        after_help = "Example:\n  filial terminal deny till-1 --at north --server https://10.1.0.1:7003 --reason Stolen"
    )]
    Deny {
        /// Its name in the branch
        terminal: TerminalName,
        /// Why; for the branch server's log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a terminal in again at its branch server, by the key that it has or by another one
    ///
    /// Talks to the branch server: `--server` is its address, `--at` its branch.
    #[command(
        after_help = "Example:\n  filial terminal allow till-1 --at north --server https://10.1.0.1:7003 --key 9b2e..."
    )]
    Allow {
        /// Its name in the branch
        terminal: TerminalName,
        /// The key by which it is known from now on [default: the one that it has]
        #[arg(long)]
        key: Option<String>,
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
    /// Allow a version below the one that runs there
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
