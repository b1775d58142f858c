//! Arguments of `filial trust` and `filial release sign`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use fleet_types::{ProductName, Version};
use trust::PublicKey;
use trust::repository::RoleName;

use super::values::{public_key, role, whole};

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Create the keys of a fleet and its first metadata in a new folder
    ///
    /// Keys in `offline/` sign the root, the delegations and releases: store each in a different place. Keys in `online/` and
    /// the folder `metadata/` belong to head office. Machines are provisioned with `root.json`.
    #[command(after_help = "Example:\n  filial trust init ./trust --product kiosk --product till")]
    Init(InitArgs),
    /// Create one key and print its public part
    #[command(after_help = "Example:\n  filial trust key root-4.pem")]
    Key {
        /// The file to write, readable by its owner only
        file: PathBuf,
    },
    /// Show roles, their holders, expiry dates and signed releases
    #[command(after_help = "Example:\n  filial trust inspect ./trust/metadata")]
    Inspect {
        /// A folder of metadata, or the folder that `filial trust init` made
        folder: PathBuf,
    },
    /// Fetch and verify the current metadata from head office, for signing offline
    ///
    /// The folder remembers the versions it has seen, so that older metadata is refused.
    #[command(after_help = "Example:\n  filial trust fetch ./fleet --root root.json\n  \
        filial release sign kiosk-2.4.0.upd --metadata ./fleet --key product-kiosk-1.pem")]
    Fetch {
        /// The folder to write; metadata goes to `metadata/` below it
        folder: PathBuf,
        /// The root.json that machines are provisioned with, from `filial trust init`
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Propose new holders of a role, a later expiry, or the withdrawal of a signed release
    ///
    /// Writes a proposal that the holders sign with `filial trust sign`. Holders of `targets` replace the holders of a product,
    /// of `derived` and of `plan`; the new holders then sign the role again: propose it once more with --after.
    #[command(after_help = "Example:\n  filial trust propose ./trust product-kiosk --days 365 --out kiosk.proposal")]
    Propose(ProposeArgs),
    /// Show a proposal; with --key, sign it
    #[command(after_help = "Example:\n  filial trust sign root.proposal --key root-1.pem")]
    Sign {
        /// The proposal
        proposal: PathBuf,
        /// Key file to sign with
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
    },
    /// Accept sufficiently signed proposals and publish the metadata
    ///
    /// All are accepted or none. Head office may run meanwhile: it loads the published metadata. Copies of one proposal signed
    /// in different places are merged.
    #[command(after_help = "Example:\n  filial trust accept ./trust root.proposal --online ./trust/online")]
    Accept {
        /// The folder of metadata, or the folder that `filial trust init` made
        folder: PathBuf,
        /// The proposals, in the order in which they apply
        #[arg(required = true)]
        proposals: Vec<PathBuf>,
        /// Folder with snapshot.pem and timestamp.pem
        #[arg(long, value_name = "FOLDER")]
        online: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The folder to create
    pub(crate) folder: PathBuf,
    /// A product that will have releases
    #[arg(long, required = true, value_name = "PRODUCT")]
    pub(crate) product: Vec<ProductName>,
    /// Number of root keys
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole::<u32, 1, 16>)]
    pub(crate) root_keys: u32,
    /// Number of root keys that must sign
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<u32, 1, 16>)]
    pub(crate) root_threshold: u32,
    /// Number of release keys for each product
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<u32, 1, 16>)]
    pub(crate) release_keys: u32,
    /// Number of release keys that must sign a release
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u32, 1, 16>)]
    pub(crate) release_threshold: u32,
    /// Store the release keys at head office, which signs what it approves
    #[arg(long)]
    pub(crate) online_releases: bool,
    /// Lifetime of the root in days
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = whole::<u32, 1, 7300>)]
    pub(crate) root_days: u32,
    /// Lifetime of all other metadata signed offline, in days
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = whole::<u32, 1, 7300>)]
    pub(crate) days: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ProposeArgs {
    /// The folder of metadata, or the folder that `filial trust init` made
    pub(crate) folder: PathBuf,
    /// `root`, `targets`, `snapshot`, `timestamp`, `derived`, `plan` or `product-NAME`
    #[arg(value_parser = role)]
    pub(crate) role: RoleName,
    /// Public key of a new holder; may be repeated [default: keep the holders]
    #[arg(long, value_name = "PUBLIC", value_parser = public_key)]
    pub(crate) key: Vec<PublicKey>,
    /// Number of new holders that must sign [default: unchanged]
    #[arg(long, value_name = "N", requires = "key", value_parser = whole::<u32, 1, 16>)]
    pub(crate) threshold: Option<u32>,
    /// A signed release to withdraw; may be repeated
    #[arg(long, value_name = "VERSION", conflicts_with = "key")]
    pub(crate) withdraw: Vec<Version>,
    /// Lifetime in days
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = whole::<u32, 1, 7300>)]
    pub(crate) days: u32,
    /// A signed proposal to apply before this one; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) after: Vec<PathBuf>,
    /// The proposal to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReleaseSignArgs {
    /// The update archive
    pub(crate) file: PathBuf,
    /// The folder of the current metadata, or the folder made by `filial trust init`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) metadata: PathBuf,
    /// Release key file; may be repeated
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Lifetime of the product's signed releases in days
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = whole::<u32, 1, 7300>)]
    pub(crate) days: u32,
    /// The proposal to write or extend [default: PRODUCT-VERSION.proposal]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Post the signatures to head office
    #[arg(long)]
    pub(crate) post: bool,
}
