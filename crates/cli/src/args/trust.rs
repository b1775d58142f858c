//! `filial trust` and `filial release sign` as types: who may sign what, and the files that travel to offline keys.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use fleet_types::{ProductName, Version};
use trust::PublicKey;
use trust::repository::RoleName;

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Make the keys of a fleet and its first metadata in a new folder
    ///
    /// Keys in `offline/` sign the root, who holds which role, and releases: carry them away, each to another place. Keys in
    /// `online/` and the folder `metadata/` belong to head office. Machines are provisioned with `root.json`.
    #[command(after_help = "Example:\n  filial trust init ./trust --product kiosk --product till")]
    Init(InitArgs),
    /// Make one key, for whoever shall hold a role; prints its public part
    #[command(after_help = "Example:\n  filial trust key root-4.pem")]
    Key {
        /// The file to write, readable by its owner only
        file: PathBuf,
    },
    /// Say what is signed by whom until when
    #[command(after_help = "Example:\n  filial trust inspect ./trust/metadata")]
    Inspect {
        /// A folder of metadata, or the folder that `filial trust init` made
        folder: PathBuf,
    },
    /// Fetch the metadata in force from head office and verify them, for signing elsewhere
    ///
    /// What was fetched before is remembered in the folder, so that nobody can hand out older metadata than that.
    #[command(after_help = "Example:\n  filial trust fetch ./fleet --root root.json\n  \
        filial release sign kiosk-2.4.0.upd --metadata ./fleet --key product-kiosk-1.pem")]
    Fetch {
        /// The folder to write; the metadata come into `metadata/` in it
        folder: PathBuf,
        /// The root that machines are provisioned with, as `filial trust init` made it
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Propose other holders of a role, a later expiry, or that a release is vouched for no more
    ///
    /// Writes a proposal that the holders sign with `filial trust sign`. A product, `derived` and `plan` get other holders by
    /// the holders of `targets`, and the role is then signed again by the new ones: propose it once more with `--after`.
    #[command(after_help = "Example:\n  filial trust propose ./trust product-kiosk --days 365 --out kiosk.proposal")]
    Propose(ProposeArgs),
    /// Show a proposal and add signatures to it; without a key it is only shown
    #[command(after_help = "Example:\n  filial trust sign root.proposal --key root-1.pem")]
    Sign {
        /// The proposal
        proposal: PathBuf,
        /// File of a key that signs
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
    },
    /// Take proposals that enough holders signed, and publish them
    ///
    /// All are taken or none, also while head office runs: it takes over what is published here. Copies of one proposal that were signed in different places are merged.
    #[command(after_help = "Example:\n  filial trust accept ./trust root.proposal --online ./trust/online")]
    Accept {
        /// The folder of metadata, or the folder that `filial trust init` made
        folder: PathBuf,
        /// The proposals, in the order in which they are taken
        #[arg(required = true)]
        proposals: Vec<PathBuf>,
        /// Folder with snapshot.pem and timestamp.pem
        #[arg(long, value_name = "FOLDER")]
        online: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The folder to make
    pub(crate) folder: PathBuf,
    /// A product that will have releases
    #[arg(long, required = true, value_name = "PRODUCT")]
    pub(crate) product: Vec<ProductName>,
    /// How many root keys to make
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) root_keys: u32,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) root_threshold: u32,
    /// How many release keys to make for each product
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) release_keys: u32,
    /// How many of them must sign a release
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) release_threshold: u32,
    /// Leave the release keys with head office, which then signs what it approves: for small shops
    #[arg(long)]
    pub(crate) online_releases: bool,
    /// Days after which the root must be signed again
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(crate) root_days: u32,
    /// Days after which everything else that is signed offline must be signed again
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(crate) days: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ProposeArgs {
    /// The folder of metadata, or the folder that `filial trust init` made
    pub(crate) folder: PathBuf,
    /// `root`, `targets`, `snapshot`, `timestamp`, `derived`, `plan` or `product-NAME`
    pub(crate) role: RoleName,
    /// Public part of a new holder, as `filial trust key` prints it; without any the holders stay and the expiry moves
    #[arg(long, value_name = "PUBLIC")]
    pub(crate) key: Vec<PublicKey>,
    /// How many of the new holders must sign [default: as many as now]
    #[arg(long, value_name = "N", requires = "key")]
    pub(crate) threshold: Option<u32>,
    /// A release that the product's keys vouch for no more
    #[arg(long, value_name = "VERSION", conflicts_with = "key")]
    pub(crate) withdraw: Vec<Version>,
    /// Days until it must be signed again
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(crate) days: u32,
    /// A signed proposal that is taken before this one
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
    /// The folder of metadata in force, or the folder that `filial trust init` made
    #[arg(long, value_name = "FOLDER")]
    pub(crate) metadata: PathBuf,
    /// File of a release key
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Days until the product's releases must be signed again
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(crate) days: u32,
    /// The proposal to write; if it is there, signatures are added to it [default: PRODUCT-VERSION.proposal]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Post the signatures to head office, where the archive was uploaded
    #[arg(long)]
    pub(crate) post: bool,
}
