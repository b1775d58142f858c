//! Arguments of `filial login`, `token`, `operator` and `audit`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use fleet_types::OperatorName;
use uuid::Uuid;
use wire::v1::operators::OperatorRole;

use super::values::{page, token_id, whole};

#[derive(Debug, ClapArgs)]
pub(crate) struct LoginArgs {
    /// Your name
    pub(crate) name: OperatorName,
    /// File with your password [default: prompt for it]
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Lifetime of the stored token in days; the password is not stored
    #[arg(long, default_value_t = 1, value_parser = whole::<u32, 1, 366>)]
    pub(crate) days: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create an API token and print it once
    #[command(
        after_help = "Example:\n  filial token create ci --role release-manager --scope uploads,releases --days 30"
    )]
    Create {
        /// Name of the token, such as the job that uses it
        name: String,
        /// Role of the token, not above your own: viewer, operator, release-manager or admin
        #[arg(long, default_value = "viewer")]
        role: OperatorRole,
        /// Restrict it to groups of routes, such as releases,uploads [default: all of its role]
        #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
        scope: Option<Vec<String>>,
        /// Lifetime in days; it ends with your own token or login at the latest, and is at most the server's
        /// `operators.token_days` (366 unless changed) [default: 90]
        #[arg(long, value_name = "DAYS", value_parser = whole::<u32, 1, 3660>)]
        days: Option<u32>,
        /// Issue it for this service; admins only
        #[arg(long)]
        operator: Option<OperatorName>,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
        /// Write the token into this file, readable by its owner only, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List tokens; the secrets are not shown
    #[command(after_help = "Example:\n  filial token list --operator ci")]
    List {
        /// Tokens of this operator; admins only [default: yours]
        #[arg(long)]
        operator: Option<OperatorName>,
    },
    /// Revoke a token: it is refused from now on
    #[command(after_help = "Example:\n  filial token revoke 7f2c1a52-0000-4000-8000-000000000001")]
    Revoke {
        /// Id of the token, from `filial token list`
        #[arg(value_parser = token_id)]
        id: Uuid,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Add a person with an initial password, or a service, which authenticates by tokens only
    #[command(after_help = "Example:\n  filial operator add ann --role operator --password-file ann.password\n  \
        filial operator add ci --role release-manager --service")]
    Add {
        /// Name of the operator
        name: OperatorName,
        /// Role of the operator: viewer, operator, release-manager or admin
        #[arg(long)]
        role: OperatorRole,
        /// Add a service account
        #[arg(long, conflicts_with = "password_file")]
        service: bool,
        /// File with the initial password [default: prompt for it]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// List operators
    #[command(after_help = "Example:\n  filial operator list")]
    List,
    /// Change an operator's role
    #[command(after_help = "Example:\n  filial operator role ann release-manager --reason \"New duties\"")]
    Role {
        /// Name of the operator
        name: OperatorName,
        /// The new role: viewer, operator, release-manager or admin
        role: OperatorRole,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Disable an operator: sessions end and tokens are refused
    #[command(after_help = "Example:\n  filial operator disable ann --reason \"Left the company\"")]
    Disable {
        /// Name of the operator
        name: OperatorName,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Enable a disabled operator again
    #[command(after_help = "Example:\n  filial operator enable ann")]
    Enable {
        /// Name of the operator
        name: OperatorName,
        /// Reason, recorded in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Change your own password, or, as an admin, another operator's
    #[command(
        after_help = "Example:\n  filial operator password\n  filial operator password ann --password-file new.password"
    )]
    Password {
        /// Name of the operator [default: you]
        name: Option<OperatorName>,
        /// File with the new password [default: prompt for it]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// File with your current password [default: prompt for it]
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        current_file: Option<PathBuf>,
        /// Reason, recorded in the audit log
        #[arg(long, requires = "name")]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List entries of the audit log, newest first
    #[command(after_help = "Example:\n  filial audit list --limit 20")]
    List {
        /// Maximum number of entries
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole::<u64, 1, 500>)]
        limit: u64,
        /// Only entries before this number, as printed below the previous page
        #[arg(long, value_name = "NUMBER", value_parser = page)]
        before: Option<u64>,
    },
    /// Verify that no entry was changed, removed, reordered or cut off; exits with 1 if one was
    ///
    /// Reads all entries and the anchor from the server, or an export, which needs no server. With --at, a branch's.
    #[command(after_help = "Example:\n  filial audit verify --anchor audit-anchor.json\n  \
        filial audit verify --file audit.jsonl --anchor audit-anchor.json")]
    Verify {
        /// Verify this export instead of the server's log
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A separately stored copy of the server's audit-anchor.json; may be repeated
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
    },
    /// Export all entries as JSON lines
    #[command(after_help = "Example:\n  filial audit export --out audit.jsonl")]
    Export {
        /// The file to write [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}
