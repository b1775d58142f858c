//! The client: verified updates of what a machine believes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tough::{ExpirationEnforcement, RepositoryLoader};
use url::Url;

use super::bridge::{self, BASE, Bridge};
use super::fetch::{Fetch, Limits};
use super::state::{Accepted, State};
use crate::metadata::files::{read_bounded, storage};
use crate::metadata::names::RoleName;
use crate::metadata::schema::{MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP};
use crate::metadata::trusted::Trusted;
use crate::refusal::{Refusal, Why, refuse};

/// What a machine believes, kept in one file.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    state: State,
    trusted: Option<Trusted>,
    /// A time that has passed for certain, such as that of the machine's image; not kept in the file.
    shipped: DateTime<Utc>,
}

impl Client {
    /// Creates the state file with the pinned root and the time floor. Blocking.
    ///
    /// # Errors
    /// The file exists or cannot be written, or the root is invalid or not signed by its own holders.
    pub fn provision(path: &Path, root: &[u8], floor: DateTime<Utc>) -> Result<Self, Refusal> {
        if path.exists() {
            return refuse(Why::Storage, format!("A trust store already exists at {}.", path.display()));
        }
        let state = State::begin(root, floor)?;
        state.write(path)?;
        Ok(Self { path: path.to_owned(), state, trusted: None, shipped: DateTime::UNIX_EPOCH })
    }

    /// Opens the stored state and verifies its signatures again. Blocking.
    ///
    /// # Errors
    /// The file is not there, or is damaged: it is not passed over, for what it knows of versions protects from replays.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let state = State::read(path)?;
        let named = |r: Refusal| Refusal::new(r.why(), format!("The trust store {}: {}", path.display(), r.sentence()));
        let trusted = state.trusted().map_err(named)?;
        Ok(Self { path: path.to_owned(), state, trusted, shipped: DateTime::UNIX_EPOCH })
    }

    /// What a program does at its start.
    ///
    /// Opens the store at `path`, or provisions it from the root file if there is no store yet. Nothing is known of
    /// the time then but what is verified later. Blocking.
    ///
    /// # Errors
    /// As [`Client::open`], or as [`Client::provision`]; a missing root file says which and where it comes from.
    pub fn open_or_provision(path: &Path, root: &Path) -> Result<Self, Refusal> {
        let there = path.try_exists().map_err(|e| storage(path, &e))?;
        if there {
            return Self::open(path);
        }
        match root.try_exists() {
            Ok(false) => refuse(Why::NoRootFile, format!("The root file {} is missing.", root.display())),
            Ok(true) => {
                let of_file = |r: Refusal| {
                    Refusal::new(r.why(), format!("The root file {} is not valid: {}", root.display(), r.sentence()))
                };
                let bytes = read_bounded(root, MAX_ROOT)?;
                let bytes = without_mark(&bytes);
                // Judged before it is kept, so that what is said names the right file.
                State::begin(bytes, DateTime::UNIX_EPOCH).map_err(of_file)?;
                Self::provision(path, bytes, DateTime::UNIX_EPOCH)
            }
            Err(error) => Err(storage(root, &error)),
        }
    }

    /// What was accepted last, if anything was. Its expiry was judged when it was accepted.
    pub const fn trusted(&self) -> Option<&Trusted> {
        self.trusted.as_ref()
    }

    /// Returns the version of the newest accepted timestamp.
    pub fn timestamp_version(&self) -> Option<u64> {
        self.trusted.as_ref().and_then(|t| t.version(&RoleName::Timestamp))
    }

    /// The newest time ever verified, or the one of [`Client::judge_not_before`] if that is later.
    pub fn floor(&self) -> DateTime<Utc> {
        self.state.floor.max(self.shipped)
    }

    /// Judges by no earlier time than this from now on, such as the time of the machine's image.
    ///
    /// It comes from a configuration and is not kept: once a mistaken one is corrected there, it no longer counts.
    pub const fn judge_not_before(&mut self, shipped: DateTime<Utc>) {
        self.shipped = shipped;
    }

    /// The time to judge by: the clock, or the floor if the clock is behind it.
    pub fn time(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        clock.max(self.floor())
    }

    /// Raises the floor to a verified time, such as an accepted plan's issue date. Blocking.
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

    /// Whether `root`, the content of a root file, is one of the roots that this state was built on.
    ///
    /// # Errors
    /// It is not a root file, or not signed by its own holders.
    pub fn knows_root(&self, root: &[u8]) -> Result<bool, Refusal> {
        let root = without_mark(root);
        let version = State::begin(root, DateTime::UNIX_EPOCH)?.newest_version();
        Ok(self.state.files().get(&RoleName::Root.file(version)).is_some_and(|held| held == root))
    }

    /// The whole workflow (TUF 1.0, 5).
    ///
    /// New roots, timestamp, snapshot, targets, all delegated roles. Only what is new is fetched: if nothing is, the
    /// timestamp and the question for a newer root are all that crosses the link. What is accepted is durable before
    /// this returns. After a dropped call, open the client again before the next update.
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
            written.map_err(|e| Refusal::new(Why::Storage, format!("Cannot write the trust store: {e}.")))??;
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
        trusted.check_fresh(clock.max(floor).max(self.shipped))?;
        if let Some(issued) = trusted.issued()? {
            next.floor = issued.max(floor);
            next.floor_root = next.newest_version();
        }
        next.accepted = Some(accepted);
        Ok(trusted)
    }
}

async fn load(bridge: &Bridge, root: &[u8], scratch: &Path, limits: Limits) -> Result<(), Refusal> {
    let base = Url::parse(BASE).map_err(|e| Refusal::new(Why::Crypto, format!("{BASE} is not a URL: {e}.")))?;
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

/// The same without what editors of Windows add: a byte order mark in front, ends of lines behind.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_end()
}
