//! Log-ins, tokens, operators and the audit, as types.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use fleet_types::OperatorName;
use uuid::Uuid;
use wire::v1::operators::OperatorRole;

#[derive(Debug, ClapArgs)]
pub(crate) struct LoginArgs {
    /// Your name
    pub(crate) name: OperatorName,
    /// File with your password; without, it is asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// For how many days; what is kept is a token, not the password
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make an API token and print it, once
    #[command(
        after_help = "Example:\n  filial token create ci --role release-manager --scope uploads,releases --days 30"
    )]
    Create {
        /// What it is for
        name: String,
        /// What it may do: at most what you may
        #[arg(long, default_value = "viewer")]
        role: OperatorRole,
        /// The only groups of routes that it may use, such as releases, uploads, branches [default: all of its role]
        #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
        scope: Option<Vec<String>>,
        /// After how many days it expires
        #[arg(long)]
        days: Option<u32>,
        /// For this service; only admins may
        #[arg(long)]
        operator: Option<OperatorName>,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
        /// Write the token into this file, readable by its owner only, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List tokens, without the tokens themselves
    #[command(after_help = "Example:\n  filial token list --operator ci")]
    List {
        /// Of this operator; only admins may [default: yours]
        #[arg(long)]
        operator: Option<OperatorName>,
    },
    /// Revoke a token: it lets nobody in any more
    #[command(after_help = "Example:\n  filial token revoke 7f2c1a52-0000-4000-8000-000000000001")]
    Revoke {
        /// Its id, as the list shows it
        id: Uuid,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Add a person, with a first password, or a service, which acts by tokens alone
    #[command(after_help = "Example:\n  filial operator add ann --role operator --password-file ann.password\n  \
        filial operator add ci --role release-manager --service")]
    Add {
        /// Its name
        name: OperatorName,
        /// What it may do
        #[arg(long)]
        role: OperatorRole,
        /// A service
        #[arg(long, conflicts_with = "password_file")]
        service: bool,
        /// File with the first password; without, it is asked for
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// List operators
    #[command(after_help = "Example:\n  filial operator list")]
    List,
    /// Change what an operator may do
    #[command(after_help = "Example:\n  filial operator role ann release-manager --reason \"New duties\"")]
    Role {
        /// Its name
        name: OperatorName,
        /// What it may do from now on
        role: OperatorRole,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Keep an operator out: its sessions end and its tokens are refused
    #[command(after_help = "Example:\n  filial operator disable ann --reason \"Left the company\"")]
    Disable {
        /// Its name
        name: OperatorName,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let an operator in again
    #[command(after_help = "Example:\n  filial operator enable ann")]
    Enable {
        /// Its name
        name: OperatorName,
        /// Why; kept in the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Change your own password, or as an admin another's
    #[command(
        after_help = "Example:\n  filial operator password\n  filial operator password ann --password-file new.password"
    )]
    Password {
        /// Whose [default: yours]
        name: Option<OperatorName>,
        /// File with the new password; without, it is asked for
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// File with your current password; without, it is asked for
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        current_file: Option<PathBuf>,
        /// Why; kept in the audit
        #[arg(long, requires = "name")]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List who changed what, newest first
    #[command(after_help = "Example:\n  filial audit list --limit 20")]
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=500))]
        limit: u64,
        /// Only those before this number, as the page before says
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
    },
    /// Check that no row was changed, removed, reordered or cut off; exit code 1 if one was
    ///
    /// Asks head office for all rows and its anchor, or reads an export: then no server is needed.
    #[command(after_help = "Example:\n  filial audit verify --anchor audit-anchor.json\n  \
        filial audit verify --file audit.jsonl --anchor audit-anchor.json")]
    Verify {
        /// An export, instead of asking head office
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// An anchor that was kept elsewhere (audit-anchor.json of head office's state folder); may be repeated
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
    },
    /// Write all rows as lines of JSON
    #[command(after_help = "Example:\n  filial audit export --out audit.jsonl")]
    Export {
        /// The file to write [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}
