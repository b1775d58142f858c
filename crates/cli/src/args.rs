//! The command line as types. Every command's help ends with an example, which a test checks.

pub(crate) mod accounts;
mod fleet;
mod kit;
mod trust;
mod values;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use fleet_types::BranchName;
use service_kit::manual::Manual;

pub(crate) use self::fleet::{AssignArgs, BranchCommand, TerminalCommand, UnassignArgs};
pub(crate) use self::kit::KitCommand;
pub(crate) use self::trust::{InitArgs, ProposeArgs, ReleaseSignArgs, TrustCommand};
use self::values::{interval, page, whole};
use accounts::{AuditCommand, LoginArgs, OperatorCommand, TokenCommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command failed or was refused
  2  the command line is wrong
  3  the server cannot be reached
  4  the checklist rejected the release
  5  the release awaits approval or signatures
  130  interrupted by Ctrl-C

Example:
  filial release pack ./kiosk-2.4 && filial release upload kiosk-2.4.0.upd
  filial assign north kiosk 2.4.0 && filial status --watch";

const PACK_HELP: &str = concat!(
    "Example:\n  filial release pack ./kiosk-2.4 --out kiosk-2.4.0.upd\n\nA complete release.toml:\n\n",
    include_str!("args/release.example.toml")
);

/// Keeps the software of many branch offices current over thin links.
#[derive(Debug, Parser)]
#[command(name = "filial", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where head office listens for operators if it runs on this machine.
pub(crate) const HEAD_OFFICE_HERE: &str = "https://127.0.0.1:7001";

#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Address of head office; with --at, of the branch server
    #[arg(long, global = true, env = "FILIAL_SERVER", value_name = "URL", default_value = HEAD_OFFICE_HERE)]
    pub(crate) server: String,
    /// Connect to this branch's server, at the address of --server (`status`, `login`, `token`, `operator`, `audit`, `terminal list|deny|allow`,
    /// `kit import`)
    #[arg(long, global = true, env = "FILIAL_AT", value_name = "BRANCH")]
    pub(crate) at: Option<BranchName>,
    /// Fingerprint of head office's authority, or its authority.pem [default: stored at login]
    #[arg(long, global = true, env = "FILIAL_AUTHORITY", value_name = "FINGERPRINT_OR_FILE")]
    pub(crate) authority: Option<String>,
    /// File with the access token [default: stored at login]
    #[arg(long, global = true, env = "FILIAL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    // The only place where the environment is read.
    #[arg(long, global = true, env = "XDG_STATE_HOME", hide = true)]
    pub(crate) state_home: Option<PathBuf>,
    #[arg(long, global = true, env = "XDG_CONFIG_HOME", hide = true)]
    pub(crate) config_home: Option<PathBuf>,
    #[arg(long, global = true, env = "HOME", hide = true)]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack, validate, upload, sign and inspect releases
    #[command(subcommand, after_help = "Example:\n  filial release validate kiosk-2.4.0.upd")]
    Release(ReleaseCommand),
    /// Create keys, assign roles, sign and publish metadata; only `fetch` needs a server
    #[command(subcommand, after_help = "Example:\n  filial trust init ./trust --product kiosk")]
    Trust(TrustCommand),
    /// List, add, remove and deny branches
    #[command(subcommand, after_help = "Example:\n  filial branch list")]
    Branch(BranchCommand),
    /// List terminals; accept their keys, deny and allow them
    #[command(subcommand, after_help = "Example:\n  filial terminal show north/till-1")]
    Terminal(TerminalCommand),
    /// Assign a published release to a branch
    #[command(
        after_help = "Example:\n  filial assign north kiosk 2.4.0\n  filial assign north kiosk 2.3.0 --downgrade"
    )]
    Assign(AssignArgs),
    /// End an assignment: the branch's next plan omits the product
    #[command(after_help = "Example:\n  filial unassign north kiosk")]
    Unassign(UnassignArgs),
    /// Create, inspect and verify torrent files of any file or folder; needs no server
    #[command(
        subcommand,
        after_help = "Example:\n  filial torrent create ./photos --tracker http://10.0.0.1:6969/announce"
    )]
    Torrent(TorrentCommand),
    /// Carry releases to a branch without a link, and its reports back
    #[command(subcommand, after_help = "Example:\n  filial kit export north /media/usb")]
    Kit(KitCommand),
    /// List corrupt data received by branches and terminals, with the likely senders
    #[command(after_help = "Example:\n  filial incidents --limit 20")]
    Incidents(IncidentsArgs),
    /// Show releases, branches and terminals on one screen
    #[command(after_help = "Example:\n  filial status --watch\n  filial status --watch --json | jq .")]
    Status(StatusArgs),
    /// Log in and store a token for this server in a file that only you can read
    ///
    /// The first login needs --authority, the fingerprint of head office's authority; it is stored too.
    #[command(
        after_help = "Example:\n  filial login ann --server https://head-office.example:7001 --authority 5d1c...\n  \
            filial login ann --at north --server https://10.1.0.1:7003 --authority 5d1c..."
    )]
    Login(LoginArgs),
    /// Log out: revoke the stored token and delete it
    #[command(after_help = "Example:\n  filial logout")]
    Logout,
    /// Create, list and revoke API tokens
    #[command(subcommand, after_help = "Example:\n  filial token list")]
    Token(TokenCommand),
    /// Add, list, change and disable operators
    #[command(subcommand, after_help = "Example:\n  filial operator list")]
    Operator(OperatorCommand),
    /// List, export and verify the audit log
    #[command(subcommand, after_help = "Example:\n  filial audit verify")]
    Audit(AuditCommand),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Pack a folder with release.toml into an update archive
    ///
    /// Fills in sizes and digests of the payloads. A package or component tree given as a folder becomes a tar.
    /// Equal input gives an equal archive. A complete release.toml is shown below; head office's default policy requires
    /// `notes`.
    #[command(after_help = PACK_HELP)]
    Pack {
        /// Folder that contains release.toml, or that file itself
        source: PathBuf,
        /// The archive to write [default: PRODUCT-VERSION.upd in the current folder]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show the manifest of an update archive without checking the payloads
    #[command(after_help = "Example:\n  filial release inspect kiosk-2.4.0.upd")]
    Inspect {
        /// The update archive
        file: PathBuf,
    },
    /// Check an update archive against head office's rules, on this machine
    ///
    /// Rules that need the fleet's state answer `unknown`. Exits with 4 if a rule fails.
    #[command(after_help = "Example:\n  filial release validate kiosk-2.4.0.upd --policy policy.toml")]
    Validate {
        /// The update archive
        file: PathBuf,
        /// The policy file of head office with the rules' limits [default: the built-in policy]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Sign a release with offline release keys; only --post needs a server
    ///
    /// Writes a proposal: the metadata of the product's role with this release added. If more signatures are needed, the
    /// file travels to the next holder, who runs the same command.
    #[command(
        after_help = "Example:\n  filial release sign kiosk-2.4.0.upd --metadata ./metadata --key product-kiosk-1.pem"
    )]
    Sign(ReleaseSignArgs),
    /// Post signatures made elsewhere to head office
    ///
    /// Once it has enough signatures and its warnings are accepted, the release is published.
    #[command(after_help = "Example:\n  filial release post-signatures kiosk/2.4.0 kiosk-2.4.0.proposal")]
    PostSignatures {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// The file that `filial release sign` wrote
        proposal: PathBuf,
    },
    /// Upload an update archive and follow it to its verdict; resumes when repeated
    ///
    /// Prints the checklist. Exits with 0 once published, 4 if rejected, 5 if it awaits approval or signatures. Ctrl-C while
    /// following ends only this command: head office goes on with the release.
    #[command(after_help = "Example:\n  filial release upload kiosk-2.4.0.upd\n  \
        filial release upload kiosk-2.4.0.upd --no-wait --json")]
    Upload {
        /// The update archive
        file: PathBuf,
        /// Return as soon as the archive is complete at head office, before it is checked
        #[arg(long)]
        no_wait: bool,
        // The default; accepted for scripts that give it.
        #[arg(long, hide = true, conflicts_with = "no_wait")]
        wait: bool,
        /// Maximum consecutive retries when the link drops
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<u32, 0, 1_000_000>)]
        retries: u32,
    },
    /// Cancel an incomplete upload and delete what arrived
    #[command(after_help = "Example:\n  filial release cancel kiosk-2.4.0.upd")]
    Cancel {
        /// The update archive whose upload started on this machine, or the release's id
        upload: String,
    },
    /// List releases, newest first
    #[command(after_help = "Example:\n  filial release list")]
    List,
    /// Show one release with its checklist
    #[command(after_help = "Example:\n  filial release show kiosk/2.4.0")]
    Show {
        /// Its id, or PRODUCT/VERSION
        release: String,
    },
    /// Accept the warnings of a release that awaits approval
    #[command(after_help = "Example:\n  filial release approve kiosk/2.4.0 --reason \"Agreed with the shop in Perm\"")]
    Approve {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// Why the warnings are acceptable; stored with the release
        #[arg(long)]
        reason: String,
    },
    /// Withdraw a release: end its assignments
    ///
    /// Branches that have it assigned get a plan without it; terminals that already run it keep it. The same bytes may be
    /// uploaded again; other bytes need another version.
    #[command(after_help = "Example:\n  filial release withdraw kiosk/2.4.0 --reason \"Receipts print twice\"")]
    Withdraw {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// Why it is withdrawn; stored with the release
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TorrentCommand {
    /// Create a torrent file: private, and identical for identical content
    #[command(after_help = "Example:\n  filial torrent create ./photos --tracker http://10.0.0.1:6969/announce")]
    Create {
        /// The file or folder
        path: PathBuf,
        /// The torrent file to write [default: NAME.torrent in the current folder]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Name of the content in the torrent [default: the name of the file or folder]
        #[arg(long)]
        name: Option<String>,
        /// Piece length in KiB, a power of two [default: chosen by the content's length]
        #[arg(long, value_name = "KIB", value_parser = whole::<u32, 1, 1_048_576>)]
        piece_length: Option<u32>,
        /// Announce URL of a tracker; may be repeated, tried in this order
        #[arg(long, value_name = "URL")]
        tracker: Vec<String>,
    },
    /// Show the content of a torrent file
    #[command(after_help = "Example:\n  filial torrent inspect photos.torrent")]
    Inspect {
        /// The torrent file
        torrent: PathBuf,
    },
    /// Verify a file or folder against a torrent file, piece by piece
    #[command(after_help = "Example:\n  filial torrent verify photos.torrent ./photos")]
    Verify {
        /// The torrent file
        torrent: PathBuf,
        /// The file or folder
        path: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct IncidentsArgs {
    /// Maximum number of incidents, newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole::<u64, 1, 200>)]
    pub(crate) limit: u64,
    /// Only incidents older than this number, as printed below the previous page
    #[arg(long, value_name = "NUMBER", value_parser = page)]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Refresh continuously, in place on a terminal; with --json, print one line per change
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Refresh interval in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub(crate) interval: f64,
}
