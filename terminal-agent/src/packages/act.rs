//! Looks at the packages, performs exactly one action, and persists what came of it.

use std::path::Path;
use std::time::Duration;

use rand::random;
use service_kit::edge::chain;
use service_kit::retry::bound_after;
use wire::v1::reports::{PackageReport, Reason, Report};

use super::decide::{Action, Polls, Seen, Transfer, decide, is_in_hand};
use super::{Key, Package, Place, PlaceError};
use crate::act::{prepare_package, read_index};
use crate::agent::{Agent, AgentError};
use crate::journal::{Held, Journal};
use crate::observe::Known;
use crate::peers;
use crate::session::Files;

/// What came of an action on a package.
enum Came {
    /// It worked; the journal's entry is to be this.
    Now(Box<Package>),
    /// Nothing to record.
    Done,
    /// It is gone.
    Gone,
    /// It did not work. If the package itself is at fault, it is left alone.
    Trouble(Reason, bool),
}

impl Came {
    fn trouble(code: &str, text: impl AsRef<str>) -> Self {
        Self::Trouble(Reason::new(code, text), false)
    }
}

impl Agent {
    /// One thing about packages; answers how long to rest. To be called while the slot is at rest.
    pub(crate) async fn packages_turn(&mut self) -> Result<Duration, AgentError> {
        let (uptime, limits) = (self.ports.clock.uptime(), &self.settings.limits);
        let polls =
            Polls { idle: limits.idle_poll, engine: limits.engine_poll, note: uptime >= self.session.packages.note_at };
        if self.journal().packages.is_empty() {
            return Ok(polls.idle);
        }
        let seen = self.look_at_packages(uptime).await;
        let action = decide(&seen, polls);
        let (key, came) = match action {
            Action::Wait(time) => return Ok(time),
            Action::Prepare(key) => (key.clone(), self.prepare_package(&key).await?),
            Action::AddTorrent(key) => (key.clone(), self.add_package(&key).await),
            Action::Note(key, have) => {
                self.session.packages.note_at = uptime + self.settings.timing.progress;
                let noted = self.changed(&key, |p| p.have_bytes = have);
                (key, noted)
            }
            Action::Unpack(key) => (key.clone(), self.unpack_package(&key).await),
            Action::Complete(key) => {
                let complete = self.changed(&key, is_complete);
                (key, complete)
            }
            Action::Lost(key) => {
                tracing::warn!(key, "a package is not where it was unpacked: it is unpacked again");
                let lost = self.changed(&key, |p| p.complete = false);
                (key, lost)
            }
            Action::Remove(key) => (key.clone(), self.remove_package(&key)),
        };
        self.record(&key, came)?;
        Ok(Duration::ZERO)
    }

    async fn look_at_packages(&mut self, uptime: Duration) -> Vec<Seen> {
        let packages: Vec<Package> = self.journal().packages.values().cloned().collect();
        let mut seen = Vec::with_capacity(packages.len());
        let mut looked = 0;
        for package in packages {
            let key = package.key();
            let mut transfer = Known::Unknown("not looked at".to_owned());
            let rests = self.session.packages.left(&key, uptime);
            let unpacked = Place::of(&self.settings.paths.data_dir, &package).holds(&package.payload.sha256);
            if is_in_hand(&package)
                && package.prepared
                && !unpacked
                && rests.is_zero()
                && looked < super::decide::AT_ONCE
            {
                looked += 1;
                transfer = self.transfer_of(&package, uptime).await;
            }
            seen.push(Seen { unpacked, package, transfer, rests });
        }
        seen
    }

    async fn transfer_of(&mut self, package: &Package, uptime: Duration) -> Known<Option<Transfer>> {
        let status = match self.ports.swarm.status(&package.artifact.info_hash).await {
            Ok(Some(status)) => status,
            Ok(None) => return Known::Is(None),
            Err(error) => return Known::Unknown(chain(&error)),
        };
        let (ports, settings) = (&self.ports, &self.settings);
        if !status.running || peers::watch(ports, settings, &package.artifact, &status, &mut self.session, uptime).await
        {
            return Known::Is(None);
        }
        Known::Is(Some(Transfer { complete: status.complete, have_bytes: status.have_bytes }))
    }

    async fn prepare_package(&mut self, key: &Key) -> Result<Came, AgentError> {
        let Some(package) = self.journal().packages.get(key).cloned() else { return Ok(Came::Done) };
        // Written down before anything of it reaches the disk or the engine.
        let held = Held { info_hash: package.artifact.info_hash, unwanted_since: None, drop_now: false };
        if self.journal().artifacts.get(&package.artifact.sha256) != Some(&held) {
            let now = self.ports.clock.now();
            self.keeper.change(now, |j| _ = j.artifacts.insert(package.artifact.sha256, held))?;
        }
        Ok(match prepare_package(&self.ports, &self.settings, &package).await {
            Ok(()) => self.changed(key, |p| {
                p.prepared = true;
                p.trouble = None;
            }),
            Err((reason, refused)) => Came::Trouble(reason, refused),
        })
    }

    async fn add_package(&mut self, key: &Key) -> Came {
        let Some(package) = self.journal().packages.get(key).cloned() else { return Came::Done };
        let torrent = match std::fs::read(Files::of(&self.settings, &package.artifact).torrent()) {
            Ok(torrent) => torrent,
            // The data partition lost it: it is fetched again.
            Err(_) => return self.changed(key, |p| p.prepared = false),
        };
        match self.ports.swarm.add(&torrent, &self.settings.engine.download_dir).await {
            Ok(hash) if hash == package.artifact.info_hash => Came::Done,
            Ok(_) => self.changed(key, |p| p.prepared = false),
            Err(error) => Came::trouble("engine-unavailable", chain(&error)),
        }
    }

    async fn unpack_package(&mut self, key: &Key) -> Came {
        let Some(package) = self.journal().packages.get(key).cloned() else { return Came::Done };
        if let Some(reason) = self.no_room(&package) {
            return Came::Trouble(reason, false);
        }
        let Ok(index) = read_index(&self.settings, &package) else {
            return self.changed(key, |p| p.prepared = false);
        };
        if let Err(reason) = self.authorise_package(&package) {
            return Came::Trouble(reason, false);
        }
        let place = Place::of(&self.settings.paths.data_dir, &package);
        let file = self.settings.engine.download_dir.join(package.artifact.file_name());
        let unpacked = tokio::task::spawn_blocking(move || place.install(&file, &index)).await;
        match unpacked {
            Ok(Ok(record)) => {
                tracing::info!(key, files = record.files, "package unpacked");
                self.changed(key, is_complete)
            }
            Ok(Err(error @ PlaceError::Segment(_))) => {
                // The engine took it for complete: it is to look again, and to fetch what is wrong.
                let verified = self.ports.swarm.verify(&package.artifact.info_hash).await;
                tracing::warn!(key, asked = verified.is_ok(), error = chain(&error), "the artifact does not check");
                Came::trouble("artifact-does-not-check", chain(&error))
            }
            Ok(Err(error)) => {
                let (code, refused) = match &error {
                    PlaceError::Tree(_) | PlaceError::Digest { .. } => ("package-refused", true),
                    PlaceError::Artifact(_) => ("artifact-unreadable", false),
                    PlaceError::Full(_) => ("data-full", false),
                    PlaceError::Held => ("package-in-use", false),
                    _ => ("data-unwritable", false),
                };
                Came::Trouble(Reason::new(code, chain(&error)), refused)
            }
            Err(error) => Came::trouble("unpacking-broke", chain(&error)),
        }
    }

    /// Why it cannot be unpacked now, if it is for want of room. What it takes unpacked is about what it takes packed.
    fn no_room(&self, package: &Package) -> Option<Reason> {
        let data = &self.settings.paths.data_dir;
        let free = match self.ports.host.room(data) {
            Ok(room) => room.free,
            Err(error) => return Some(Reason::new("data-unavailable", chain(&error))),
        };
        let needed = package.payload.length.saturating_add(crate::act::SPARE);
        let text = format!("the data partition has {free} bytes free and {needed} are needed: make room");
        (free < needed).then(|| Reason::new("data-full", text))
    }

    fn remove_package(&mut self, key: &Key) -> Came {
        let Some(package) = self.journal().packages.get(key) else { return Came::Done };
        match Place::of(&self.settings.paths.data_dir, package).remove() {
            Ok(()) => Came::Gone,
            Err(PlaceError::Held) => Came::trouble("package-in-use", "a command runs in it: it is removed afterwards"),
            Err(error) => Came::trouble("data-unwritable", chain(&error)),
        }
    }

    fn changed(&self, key: &Key, edit: impl FnOnce(&mut Package)) -> Came {
        let Some(mut package) = self.journal().packages.get(key).cloned() else { return Came::Done };
        edit(&mut package);
        Came::Now(Box::new(package))
    }

    /// Makes durable what came of an action, together with the report of it.
    fn record(&mut self, key: &Key, came: Came) -> Result<(), AgentError> {
        let now = self.ports.clock.now();
        let Some(old) = self.journal().packages.get(key).cloned() else { return Ok(()) };
        let new = match came {
            Came::Done => {
                self.session.packages.worked(key);
                return Ok(());
            }
            Came::Gone => {
                tracing::info!(key, "package removed");
                self.session.packages.worked(key);
                let report = self.package_report(&old, true);
                return Ok(self.keeper.change(now, |j| {
                    j.packages.remove(key);
                    j.reports.push(now, report);
                })?);
            }
            Came::Now(new) => {
                self.session.packages.worked(key);
                *new
            }
            Came::Trouble(reason, refused) => {
                let (count, timing) = (self.session.packages.failed(key), &self.settings.timing);
                let rest = bound_after(count, timing.retry_min, timing.retry_max).mul_f64(0.5 + random::<f64>() / 2.0);
                tracing::warn!(key, count, code = %reason.code, text = reason.text, "a package does not get on");
                self.session.packages.rest(key, self.ports.clock.uptime() + rest);
                Package { trouble: Some(reason), refused, ..old.clone() }
            }
        };
        if new == old {
            return Ok(());
        }
        let code = |p: &Package| p.trouble.as_ref().map(|t| t.code.clone());
        let news = (old.prepared, old.complete, code(&old)) != (new.prepared, new.complete, code(&new));
        let report = news.then(|| self.package_report(&new, false));
        self.keeper.change(now, |j| {
            j.packages.insert(key.clone(), new);
            if let Some(report) = report {
                j.reports.push(now, report);
            }
        })?;
        Ok(())
    }

    fn package_report(&self, package: &Package, removed: bool) -> Report {
        Report::Package {
            terminal: self.settings.identity.name.clone(),
            package: PackageReport {
                product: package.product.clone(),
                version: package.version.clone(),
                name: package.payload.name.clone(),
                payload: package.payload.sha256,
                have_bytes: package.have_bytes.min(package.artifact.length),
                total_bytes: package.artifact.length,
                complete: package.complete && !removed,
                removed,
                trouble: package.trouble.clone().filter(|_| !removed),
            },
        }
    }
}

fn is_complete(package: &mut Package) {
    (package.complete, package.trouble, package.have_bytes) = (true, None, package.artifact.length);
}

/// Removes folders of packages that the journal does not know, such as after it was lost. Those that a plan names again
/// are known by then.
pub(crate) fn sweep(data_dir: &Path, journal: &Journal) {
    let root = Place::root(data_dir);
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    for product in folders(&root) {
        for version in folders(&product.path()) {
            let is_of = |p: &Package| {
                (p.product.as_str(), p.version.to_string().as_str())
                    == (&*product.file_name().to_string_lossy(), &*version.file_name().to_string_lossy())
            };
            let held = || std::fs::File::open(version.path()).is_ok_and(|f| f.try_lock().is_err());
            if !journal.packages.values().any(is_of) && !held() {
                tracing::info!(folder = %version.path().display(), "a package that nobody knows is removed");
                if let Err(error) = std::fs::remove_dir_all(version.path()) {
                    tracing::warn!(%error, "it cannot be removed");
                }
            }
        }
    }
}
