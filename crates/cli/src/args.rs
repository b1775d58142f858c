//! The command line as types. Each command's help ends with an example; a test holds it to that.

pub(crate) mod accounts;
mod fleet;
mod kit;
mod trust;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use fleet_types::BranchName;
use service_kit::manual::Manual;

pub(crate) use self::fleet::{AssignArgs, BranchCommand, TerminalCommand, UnassignArgs};
pub(crate) use self::kit::KitCommand;
pub(crate) use self::trust::{InitArgs, ProposeArgs, ReleaseSignArgs, TrustCommand};
use accounts::{AuditCommand, LoginArgs, OperatorCommand, TokenCommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, or it did not work
  2  the command line is wrong
  3  the server cannot be reached
  4  the checklist rejected the release

Example:
  filial release pack ./kiosk-2.4 && filial release upload kiosk-2.4.0.upd --wait
  filial assign north kiosk 2.4.0 && filial status --watch";

/// Keeps the software of many branch offices current over thin links.
#[derive(Debug, Parser)]
#[command(name = "filial", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Address of head office, or with --at of a branch's server
    #[arg(long, global = true, env = "FILIAL_SERVER", value_name = "URL", default_value = "https://127.0.0.1:7001")]
    pub(crate) server: String,
    /// Speak to the server of this branch (`status`, `terminal list`, `kit import`), which has to prove that it is
    #[arg(long, global = true, env = "FILIAL_AT", value_name = "BRANCH")]
    pub(crate) at: Option<BranchName>,
    /// By what servers are known: the fingerprint that `head-office authority` prints there, or a copy of its
    /// authority.pem [default: that of `filial login`]
    #[arg(long, global = true, env = "FILIAL_AUTHORITY", value_name = "FINGERPRINT_OR_FILE")]
    pub(crate) authority: Option<String>,
    /// File with the access token; a token is never taken from the command line [default: that of `filial login`]
    #[arg(long, global = true, env = "FILIAL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Answer as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    // The environment comes in through here and nowhere else.
    #[arg(long, global = true, env = "XDG_STATE_HOME", hide = true)]
    pub(crate) state_home: Option<PathBuf>,
    #[arg(long, global = true, env = "XDG_CONFIG_HOME", hide = true)]
    pub(crate) config_home: Option<PathBuf>,
    #[arg(long, global = true, env = "HOME", hide = true)]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack, check, upload and look at releases
    #[command(subcommand, after_help = "Example:\n  filial release validate kiosk-2.4.0.upd")]
    Release(ReleaseCommand),
    /// Make keys, say who holds which role, sign and publish; needs no server, but for `fetch`
    #[command(subcommand, after_help = "Example:\n  filial trust init ./trust --product kiosk")]
    Trust(TrustCommand),
    /// Look at branches, add and remove them
    #[command(subcommand, after_help = "Example:\n  filial branch list")]
    Branch(BranchCommand),
    /// Look at terminals
    #[command(subcommand, after_help = "Example:\n  filial terminal show north/till-1")]
    Terminal(TerminalCommand),
    /// Have a branch run a published release
    #[command(
        after_help = "Example:\n  filial assign north kiosk 2.4.0\n  filial assign north kiosk 2.3.0 --downgrade"
    )]
    Assign(AssignArgs),
    /// End an assignment: the branch's plan no longer names the product
    #[command(after_help = "Example:\n  filial unassign north kiosk")]
    Unassign(UnassignArgs),
    /// Make, read and check torrent files of any file or folder; needs no server
    #[command(
        subcommand,
        after_help = "Example:\n  filial torrent create ./photos --tracker http://10.0.0.1:6969/announce"
    )]
    Torrent(TorrentCommand),
    /// Carry releases to a branch without a link by hand, and its reports back
    #[command(subcommand, after_help = "Example:\n  filial kit export north /media/usb")]
    Kit(KitCommand),
    /// List bad data that arrived at branches and terminals, and who may have sent it
    #[command(after_help = "Example:\n  filial incidents --limit 20")]
    Incidents(IncidentsArgs),
    /// Show releases, branches and terminals in one picture
    #[command(after_help = "Example:\n  filial status --watch\n  filial status --watch --json | jq .")]
    Status(StatusArgs),
    /// Log in: a token for this server is kept in a file that only you can read
    ///
    /// The first time, --authority says by what head office is known; that is kept too.
    #[command(
        after_help = "Example:\n  filial login ann --server https://head-office.example:7001 --authority 5d1c..."
    )]
    Login(LoginArgs),
    /// Log out: the token that was kept is revoked and forgotten
    #[command(after_help = "Example:\n  filial logout")]
    Logout,
    /// Make, list and revoke API tokens
    #[command(subcommand, after_help = "Example:\n  filial token list")]
    Token(TokenCommand),
    /// Add, list, change and disable operators
    #[command(subcommand, after_help = "Example:\n  filial operator list")]
    Operator(OperatorCommand),
    /// Read, export and check who changed what
    #[command(subcommand, after_help = "Example:\n  filial audit verify")]
    Audit(AuditCommand),
    #[command(flatten)]
    Manual(Manual),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Make an update archive of a folder with release.toml
    ///
    /// Sizes and digests of the payloads are filled in. Where the file of a package or component tree is a folder, a tar
    /// of it is made. Equal input gives an equal archive.
    #[command(after_help = "Example:\n  filial release pack ./kiosk-2.4 --out kiosk-2.4.0.upd")]
    Pack {
        /// Folder that contains release.toml, or that file itself
        source: PathBuf,
        /// The archive to write [default: PRODUCT-VERSION.upd in the current folder]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show what an update archive says of itself, without checking it
    #[command(after_help = "Example:\n  filial release inspect kiosk-2.4.0.upd")]
    Inspect {
        /// The update archive
        file: PathBuf,
    },
    /// Check an update archive by the rules of head office, here
    ///
    /// Rules that need to know the fleet answer `unknown` here. Exit code 4 if a rule fails.
    #[command(after_help = "Example:\n  filial release validate kiosk-2.4.0.upd --policy policy.toml")]
    Validate {
        /// The update archive
        file: PathBuf,
        /// The rules' parameters, as head office has them [default: those built in]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Sign a release with release keys that stay where they are; needs no server, unless with --post
    ///
    /// Writes a proposal that says what the product's role signs with this release in it. Where more than one signature is
    /// needed, the file travels to the next holder, who gives the same command.
    #[command(
        after_help = "Example:\n  filial release sign kiosk-2.4.0.upd --metadata ./metadata --key product-kiosk-1.pem"
    )]
    Sign(ReleaseSignArgs),
    /// Post signatures that were made elsewhere to head office
    ///
    /// With enough of them, and once its warnings are accepted, the release goes on by itself.
    #[command(after_help = "Example:\n  filial release post-signatures kiosk/2.4.0 kiosk-2.4.0.proposal")]
    PostSignatures {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// The file that `filial release sign` wrote
        proposal: PathBuf,
    },
    /// Upload an update archive; the same command again goes on where it stopped
    #[command(after_help = "Example:\n  filial release upload kiosk-2.4.0.upd --wait")]
    Upload {
        /// The update archive
        file: PathBuf,
        /// Follow checking and publishing to their end; exit code 4 if the release is rejected
        #[arg(long)]
        wait: bool,
        /// How many times in a row to try again when the link drops
        #[arg(long, value_name = "N", default_value_t = 10)]
        retries: u32,
    },
    /// Cancel an upload that is not complete; what arrived of it is removed
    #[command(after_help = "Example:\n  filial release cancel kiosk-2.4.0.upd")]
    Cancel {
        /// The update archive whose upload was begun here, or the release's id
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
    /// Accept the warnings of a release that waits for it
    #[command(after_help = "Example:\n  filial release approve kiosk/2.4.0 --reason \"Agreed with the shop in Perm\"")]
    Approve {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// Why the warnings are acceptable; kept with the release
        #[arg(long)]
        reason: String,
    },
    /// Take a release back: no branch runs it from now on, and its version may be uploaded again
    ///
    /// Branches that have it assigned get a plan without it; terminals that tried it already keep it.
    #[command(after_help = "Example:\n  filial release withdraw kiosk/2.4.0 --reason \"Receipts print twice\"")]
    Withdraw {
        /// Its id, or PRODUCT/VERSION
        release: String,
        /// Why it is taken back; kept with the release
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TorrentCommand {
    /// Make a torrent file; it is private and the same for the same content
    #[command(after_help = "Example:\n  filial torrent create ./photos --tracker http://10.0.0.1:6969/announce")]
    Create {
        /// The file or folder
        path: PathBuf,
        /// The torrent file to write [default: NAME.torrent in the current folder]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Name of the content in the torrent [default: that of the file or folder]
        #[arg(long)]
        name: Option<String>,
        /// Length of a piece in KiB, a power of two [default: by the content's length]
        #[arg(long, value_name = "KIB")]
        piece_length: Option<u32>,
        /// Announce address of a tracker; more than one are tried in this order
        #[arg(long, value_name = "URL")]
        tracker: Vec<String>,
    },
    /// Show what is in a torrent file
    #[command(after_help = "Example:\n  filial torrent inspect photos.torrent")]
    Inspect {
        /// The torrent file
        torrent: PathBuf,
    },
    /// Compare a file or folder with a torrent file, piece by piece
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
    /// How many, newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub(crate) limit: u64,
    /// Only those older than the one with this number, as the page before says
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Keep showing it, in place on a terminal; with --json a line for each change
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// How often to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub(crate) interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds from 0.1 to 3600".to_owned()),
    }
}
