//! What the agent asks of the world, as traits. `adapters/` holds the real ones, `tests/` the strict fakes.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot, Version};
use service_kit::client::{ByteStream, ClientError};
use tokio::sync::Notify;
use trust::certificates::{Anchor, Peer, TlsKey};
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{Acknowledged, Batch, Reason};
use wire::v1::sync::{self, EnrolRequest, EnrolResponse};

use crate::model::boots::EarlyRecord;
use crate::model::identity::Identity;
use crate::model::reasons::helper_unreachable;
use crate::model::request::{Answer, Request};

pub use artifact::ImageDisk;
pub use service_kit::room::Room;
pub use swarm::Engine as Swarm;

/// Everything that the agent acts through.
#[derive(Clone)]
pub struct Ports {
    /// The slots' disks.
    pub disks: Arc<dyn Disks>,
    /// The root helper: boot state and restarts.
    pub helper: Arc<dyn RootHelper>,
    /// The branch server.
    pub branch: Arc<dyn Branch>,
    /// The BitTorrent client.
    pub swarm: Arc<dyn Swarm>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What runs on this machine.
    pub host: Arc<dyn Host>,
    /// The health checks of the slot that runs.
    pub drop_ins: Arc<dyn DropIns>,
    /// What is left of earlier boots.
    pub boot_logs: Arc<dyn BootLogs>,
}

/// A port could not do what was asked: a sentence with cause and next step.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct PortError {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// Without a deeper cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// With its cause.
    pub fn with(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what: what.into(), source: Some(source.into()) }
    }
}

/// Why the root helper did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelperTrouble {
    /// It does not answer, or broke off.
    ///
    /// Nothing is known of what it did, and it may be asked again.
    #[error("the root helper does not answer ({0}): check its log and helper.socket")]
    Away(String),
    /// It refused.
    #[error("{}", .0.text)]
    Refused(Reason),
}

impl HelperTrouble {
    /// As it is shown and reported.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Away(detail) => helper_unreachable(detail),
            Self::Refused(reason) => reason.clone(),
        }
    }

    /// Whether an error comes from a root helper that does not answer.
    pub fn is_behind(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(e) = next {
            // An I/O error does not show what it was made of as its source.
            let inside = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let away = |t: Option<&Self>| matches!(t, Some(Self::Away(_)));
            if away(e.downcast_ref()) || away(inside.and_then(|i| i.downcast_ref())) {
                return true;
            }
            next = e.source();
        }
        false
    }
}

/// The root helper, which alone writes boot state, and restarts the machine.
#[async_trait]
pub trait RootHelper: Send + Sync {
    /// Has it do something that takes no body.
    async fn ask(&self, request: Request) -> Result<Answer, HelperTrouble>;
}

/// The slots' disks.
pub trait Disks: Send + Sync {
    /// Opens the disk of a slot for writing. Only ever asked for the slot that does not run.
    ///
    /// # Errors
    /// It cannot be opened; a slot that is mounted must be refused.
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError>;

    /// Opens the running slot for reading alone.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open_running(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError>;

    /// Length of a slot in bytes, of the running one too.
    ///
    /// # Errors
    /// It cannot be opened.
    fn length(&self, slot: Slot) -> Result<u64, PortError>;
}

/// The branch server, from its machine listener.
#[async_trait]
pub trait Branch: Send + Sync {
    /// Talks as this terminal from now on, and to the server of its branch only.
    ///
    /// # Errors
    /// Certificate and key do not belong together.
    fn authenticate(&self, identity: &Identity, key: &TlsKey) -> Result<(), ClientError>;

    /// The newest time ever verified: certificates are not judged by an earlier one.
    fn not_before(&self, floor: DateTime<Utc>);

    /// Asks the server that `anchor` proves to be `peer` for a certificate.
    async fn enrol(&self, anchor: Anchor, peer: Peer, request: &EnrolRequest) -> Result<EnrolResponse, ClientError>;

    /// What this terminal should run.
    async fn sync(&self) -> Result<sync::Sync, ClientError>;

    /// A release's manifest, at most `max` bytes.
    async fn manifest(&self, digest: &Digest, max: usize) -> Result<Bytes, ClientError>;

    /// An artifact's index, at most `max` bytes.
    async fn index(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError>;

    /// An artifact's LAN torrent, at most `max` bytes.
    async fn torrent(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError>;

    /// Fetches a file of signed metadata by its name, as it arrives.
    ///
    /// `None` if the branch server does not have it.
    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, ClientError>;

    /// Delivers reports.
    async fn report(&self, batch: &Batch) -> Result<Acknowledged, ClientError>;

    /// Whether it answers at all.
    async fn healthy(&self) -> Result<(), ClientError>;

    /// Holds the event stream; wakes the agent when it begins and for each event.
    ///
    /// Returns when it ends.
    async fn listen(&self, wake: &Notify) -> Result<(), ClientError>;
}

/// Restarting the machine.
#[async_trait]
pub trait Power: Send + Sync {
    /// Asks for a restart; the machine goes down some time after this returned.
    async fn restart(&self) -> Result<(), PortError>;
}

/// Time: the wall clock, which may jump, and the monotonic time since the start.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> DateTime<Utc>;

    /// Time since the machine started, suspended time included.
    fn uptime(&self) -> Duration;
}

/// What runs on this machine.
#[async_trait]
pub trait Host: Send + Sync {
    /// The kernel's command line.
    fn kernel_command_line(&self) -> Result<String, PortError>;

    /// A text that differs from boot to boot.
    fn boot_id(&self) -> Result<String, PortError>;

    /// `IMAGE_VERSION` of the running root's os-release.
    fn image_version(&self) -> Result<Version, PortError>;

    /// Room on the file system that holds `path`.
    fn room(&self, path: &Path) -> io::Result<Room>;

    /// Bytes that this file occupies; 0 if it is not there.
    fn occupied(&self, path: &Path) -> u64;

    /// The units that have failed; `None` when they are not looked at.
    async fn failed_units(&self) -> Result<Option<BTreeSet<String>>, PortError>;
}

/// How a drop-in program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropInEnd {
    /// Exit 0.
    Healthy,
    /// Exit 75 (EX_TEMPFAIL).
    NotYet,
    /// Anything else.
    Unhealthy,
    /// Still running at its time limit, and killed.
    TimedOut,
}

/// One drop-in program's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropInResult {
    /// Its file.
    pub program: PathBuf,
    /// How it ended.
    pub end: DropInEnd,
    /// The last of what it printed, bounded.
    pub tail: String,
}

/// The drop-in health checks.
#[async_trait]
pub trait DropIns: Send + Sync {
    /// Runs them all, one after the other in the order of their names.
    ///
    /// # Errors
    /// The folder cannot be read, or a program cannot be started. A folder that is not there holds no programs.
    async fn run(&self) -> Result<Vec<DropInResult>, PortError>;
}

/// What is left of earlier boots of this machine.
#[async_trait]
pub trait BootLogs: Send + Sync {
    /// The early records of boots, in any order; `None` if this machine keeps none.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    fn early(&self) -> Result<Option<Vec<EarlyRecord>>, PortError>;

    /// The boots that the system's journal has lines of, oldest first.
    ///
    /// # Errors
    /// The journal cannot be asked.
    async fn journaled(&self) -> Result<Vec<String>, PortError>;

    /// The end of what the system's journal has of a boot, bounded, as it is.
    ///
    /// # Errors
    /// The journal cannot be asked, or does not know the boot.
    async fn tail(&self, boot_id: &str) -> Result<Vec<u8>, PortError>;
}
