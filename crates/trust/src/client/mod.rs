//! The client's side of TUF: from a root that was pinned to metadata that may be believed, through any mirror.
//!
//! tough does the workflow. Around it, for reasons that README.md lists: it starts from the newest root that was verified,
//! in a scratch folder; expiry is judged here, against the later of clock and time floor; what was accepted is kept in one
//! file that a rename replaces; each file has a bound in bytes and in time.

mod bridge;
mod state;
mod trusted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use tough::{ExpirationEnforcement, RepositoryLoader};
use url::Url;

use crate::refusal::{Refusal, Why, refuse};
use crate::repository::RoleName;
use crate::repository::schema::{self, MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP};
use crate::repository::store::{read_bounded, storage};
use bridge::{BASE, Bridge};
use state::{Accepted, State};

pub use trusted::{Trusted, authorise};

/// The bytes of one file as they arrive.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;

/// Why a file did not come, in the words of the caller's transport.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Where metadata files come from: an HTTP client, a folder of the USB kit.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Begins to fetch the file of this name, such as `timestamp.json`; nothing if the source says that it has none. The
    /// length and the time are bounded by the caller of this method: it drops the body.
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError>;
}

/// Bounds of one update, beside those on the length of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one file may take.
    pub deadline: Duration,
    /// Most new roots in one go; the next update goes on from there.
    pub roots: u64,
}

impl Default for Limits {
    /// A minute for each file, 64 roots.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), roots: 64 }
    }
}

/// What a machine believes, kept in one file.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    state: State,
    trusted: Option<Trusted>,
}

impl Client {
    /// Begins with the root that was pinned at provisioning and the time floor that came with it, and keeps both in a new
    /// file at `path`. Blocking.
    ///
    /// # Errors
    /// The file is there already or cannot be written, or the root is none or not signed by its own holders.
    pub fn provision(path: &Path, root: &[u8], floor: DateTime<Utc>) -> Result<Self, Refusal> {
        if path.exists() {
            return refuse(Why::Storage, format!("There is a trust store at {} already.", path.display()));
        }
        let state = State::begin(root, floor)?;
        state.write(path)?;
        Ok(Self { path: path.to_owned(), state, trusted: None })
    }

    /// Reads what was kept, and verifies its signatures anew. Blocking.
    ///
    /// # Errors
    /// The file is not there, or is damaged: it is not passed over, for what it knows of versions protects from replays.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let state = State::read(path)?;
        let named = |r: Refusal| Refusal::new(r.why(), format!("The trust store {}: {}", path.display(), r.sentence()));
        let trusted = state.trusted().map_err(named)?;
        Ok(Self { path: path.to_owned(), state, trusted })
    }

    /// What a program does at its start: opens the store at `path`, or provisions it from the root file if there is no store
    /// yet. Nothing is known of the time then but what is verified later. Blocking.
    ///
    /// # Errors
    /// As [`Client::open`], or as [`Client::provision`]; a missing root file says which and where it comes from.
    pub fn take_up(path: &Path, root: &Path) -> Result<Self, Refusal> {
        let there = path.try_exists().map_err(|e| storage(path, &e))?;
        if there {
            return Self::open(path);
        }
        match root.try_exists() {
            Ok(false) => refuse(Why::NoRootFile, format!("There is no root file at {}.", root.display())),
            Ok(true) => {
                let of_file = |r: Refusal| {
                    Refusal::new(r.why(), format!("The root file {} cannot be used: {}", root.display(), r.sentence()))
                };
                let bytes = read_bounded(root, MAX_ROOT)?;
                // Judged before it is kept, so that what is said names the right file.
                State::begin(&bytes, DateTime::UNIX_EPOCH).map_err(of_file)?;
                Self::provision(path, &bytes, DateTime::UNIX_EPOCH)
            }
            Err(error) => Err(storage(root, &error)),
        }
    }

    /// What was accepted last, if anything was. Its expiry was judged when it was accepted.
    pub const fn trusted(&self) -> Option<&Trusted> {
        self.trusted.as_ref()
    }

    /// The version of the newest timestamp role that was accepted, to be compared with what a source says that it has.
    pub fn timestamp_version(&self) -> Option<u64> {
        self.trusted.as_ref().and_then(|t| t.version(&RoleName::Timestamp))
    }

    /// The newest time ever verified.
    pub const fn floor(&self) -> DateTime<Utc> {
        self.state.floor
    }

    /// The time to judge by: the clock, or the floor if the clock is behind it.
    pub fn time(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        clock.max(self.state.floor)
    }

    /// Raises the floor to a time that was verified elsewhere, such as the one at which an accepted plan was issued.
    /// Blocking.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn raise_floor(&mut self, verified: DateTime<Utc>) -> Result<(), Refusal> {
        if verified > self.state.floor {
            let mut next = self.state.clone();
            next.floor = verified;
            next.write(&self.path)?;
            self.state = next;
        }
        Ok(())
    }

    /// What a mirror serves: every root that is known here, and the accepted files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.files()
    }

    /// The whole workflow (TUF 1.0, 5): new roots, timestamp, snapshot, targets, all delegated roles. Only what is new is
    /// fetched: if nothing is, the timestamp and the question for a newer root are all that crosses the link. What is accepted is
    /// durable before this returns. If it was dropped half way through, open the client anew before the next update.
    ///
    /// # Errors
    /// Each attack has its own [`Why`]; what was accepted before stays, but for verified newer roots, which are kept.
    pub async fn update(
        &mut self,
        source: Arc<dyn Fetch>,
        limits: Limits,
        clock: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let bridge = Bridge::new(source, limits.deadline, self.state.held());
        let scratch = self.state.scratch()?;
        let loaded = load(&bridge, self.state.newest_root(), scratch.path(), limits).await;
        let mut next = self.state.clone();
        // Roots in the scratch folder were verified before they came there: they hold whatever comes after them.
        next.take_roots(&bridge.seen(), scratch.path())?;
        let judged = loaded.and_then(|()| self.judge(&mut next, &bridge, clock));
        if next != self.state {
            let (path, copy) = (self.path.clone(), next.clone());
            let written = tokio::task::spawn_blocking(move || copy.write(&path)).await;
            written.map_err(|e| Refusal::new(Why::Storage, format!("The trust store was not written: {e}.")))??;
            self.state = next;
        }
        self.trusted = Some(judged?);
        Ok(())
    }

    /// What tough does not judge, or not as we need it. `next` takes what is accepted.
    fn judge(&self, next: &mut State, bridge: &Bridge, clock: DateTime<Utc>) -> Result<Trusted, Refusal> {
        let newer_root = next.newest_version() > self.state.floor_root;
        // A newer root resets the floor: so a machine recovers from a floor that a stolen key had raised too far.
        let floor = if newer_root { DateTime::<Utc>::MIN_UTC } else { self.state.floor };
        let files = bridge.seen().into_iter().filter(|(name, _)| !name.ends_with(".root.json")).collect();
        let accepted = Accepted { root: next.newest_version(), files };
        let trusted = Trusted::verify(next.newest_root(), &accepted.files)?;
        trusted.check_fresh(clock.max(floor))?;
        if let Some(issued) = trusted.issued()? {
            next.floor = issued.max(floor);
            next.floor_root = next.newest_version();
        }
        next.accepted = Some(accepted);
        Ok(trusted)
    }
}

async fn load(bridge: &Bridge, root: &[u8], scratch: &Path, limits: Limits) -> Result<(), Refusal> {
    let base = Url::parse(BASE).map_err(|e| Refusal::new(Why::Crypto, format!("{BASE} is no URL: {e}.")))?;
    let bounds = tough::Limits {
        max_root_size: MAX_ROOT,
        max_targets_size: MAX_TARGETS,
        max_timestamp_size: MAX_TIMESTAMP,
        max_snapshot_size: MAX_SNAPSHOT,
        max_root_updates: limits.roots,
    };
    let loading = RepositoryLoader::new(&root, base.clone(), base)
        .transport(bridge.clone())
        .limits(bounds)
        .datastore(scratch)
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load();
    // What the bridge met is said in its own words: tough only knows that its transport failed.
    let loaded = Box::pin(loading).await;
    loaded.map(|_| ()).map_err(|e| bridge.trouble().unwrap_or_else(|| bridge::refusal(&e)))
}

/// Whether a name is one of metadata at all, for mirrors that are asked for files by name.
pub fn is_metadata_name(name: &str) -> bool {
    role_of(name).is_some()
}

/// The role that a file name belongs to.
fn role_of(name: &str) -> Option<RoleName> {
    if name == "timestamp.json" {
        return Some(RoleName::Timestamp);
    }
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let role: RoleName = role.parse().ok()?;
    let version: u64 = version.parse().ok()?;
    // One spelling only: no leading zeros or signs.
    (role != RoleName::Timestamp && role.file(version) == name).then_some(role)
}

pub(crate) fn max_file(name: &str) -> Option<u64> {
    role_of(name).map(|role| schema::max_file(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_metadata_are_asked_for() {
        for good in ["timestamp.json", "1.root.json", "17.product-kiosk.json", "3.snapshot.json", "9.derived.json"] {
            assert!(is_metadata_name(good), "{good}");
        }
        for bad in [
            "",
            "root.json",
            "01.root.json",
            "1.timestamp.json",
            "../1.root.json",
            "1.root.json/..",
            "1.product-A.json",
            "+1.root.json",
        ] {
            assert!(!is_metadata_name(bad), "{bad}");
        }
    }
}
