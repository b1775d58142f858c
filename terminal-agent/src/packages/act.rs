//! Performs exactly one action on a package; nothing is recorded here.

use service_kit::edge::chain;
use trust::plans::Claim;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::decide::PackageAction;
use super::place::{Place, PlaceError};
use super::prepare::{prepare, read_index};
use crate::branch::fetch::{SPARE, Unfit};
use crate::branch::plans::Plans;
use crate::config::agent::Settings;
use crate::model::package::Package;
use crate::model::reasons::{data_unavailable, engine_unavailable, failed, of_error, reason, transfer_trouble};
use crate::model::update::{Retry, Verdict};
use crate::model::wanted::Recipient;
use crate::ports::Ports;
use crate::swarm::files::ArtifactFiles;

/// What came of an action on a package.
#[derive(Debug)]
pub enum PackageOutcome {
    /// It worked; the journal's entry is to be this.
    Changed(Box<Package>),
    /// Nothing to record.
    Done,
    /// The package is gone.
    Removed,
    /// It failed. If the package itself is at fault, it is left alone.
    Failed {
        /// Why.
        reason: Reason,
        /// The package itself is at fault.
        refused: bool,
    },
}

impl PackageOutcome {
    const fn failed(reason: Reason) -> Self {
        Self::Failed { reason, refused: false }
    }

    fn changed(package: &Package, edit: impl FnOnce(&mut Package)) -> Self {
        let mut package = package.clone();
        edit(&mut package);
        Self::Changed(Box::new(package))
    }
}

impl From<Unfit> for PackageOutcome {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Waits(reason) | Unfit::Failed(reason) => Self::failed(reason),
            Unfit::Refused(Verdict { reason, retry }) => Self::Failed { reason, refused: retry != Retry::Later },
        }
    }
}

/// What actions on packages work with.
#[derive(Clone, Copy)]
pub struct PackageContext<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// The settings.
    pub settings: &'a Settings,
    /// The plan that is followed.
    pub plans: &'a Plans,
    /// This terminal; `None` before it enrolled.
    pub recipient: Option<&'a Recipient>,
}

/// Performs one action on `package`.
pub async fn act(action: &PackageAction, package: &Package, context: PackageContext<'_>) -> PackageOutcome {
    let PackageContext { ports, settings, .. } = context;
    match action {
        PackageAction::Wait(_) => PackageOutcome::Done,
        PackageAction::Prepare(_) => match prepare(ports, settings, package).await {
            Ok(()) => PackageOutcome::changed(package, |p| (p.prepared, p.trouble) = (true, None)),
            Err(unfit) => unfit.into(),
        },
        PackageAction::AddTorrent(_) => add_torrent(ports, settings, package).await,
        PackageAction::Note(_, have) => PackageOutcome::changed(package, |p| p.have_bytes = *have),
        PackageAction::Complain(_, says) => {
            PackageOutcome::changed(package, |p| p.trouble = says.as_deref().map(transfer_trouble))
        }
        PackageAction::Unpack(_) => unpack(package, context).await,
        PackageAction::Complete(_) => PackageOutcome::changed(package, mark_complete),
        PackageAction::Lost(key) => {
            tracing::warn!(key, "a package is not where it was unpacked: it is unpacked again");
            PackageOutcome::changed(package, |p| p.complete = false)
        }
        PackageAction::Remove(_) => remove(settings, package),
    }
}

async fn add_torrent(ports: &Ports, settings: &Settings, package: &Package) -> PackageOutcome {
    let torrent = match std::fs::read(ArtifactFiles::of(settings, &package.artifact).torrent()) {
        Ok(torrent) => torrent,
        // The data partition lost it: it is fetched again.
        Err(_) => return PackageOutcome::changed(package, |p| p.prepared = false),
    };
    match ports.swarm.add(&torrent, &settings.engine.download_dir).await {
        Ok(hash) if hash == package.artifact.info_hash => PackageOutcome::Done,
        Ok(_) => PackageOutcome::changed(package, |p| p.prepared = false),
        Err(error) => PackageOutcome::failed(engine_unavailable(chain(&error))),
    }
}

async fn unpack(package: &Package, context: PackageContext<'_>) -> PackageOutcome {
    let PackageContext { ports, settings, .. } = context;
    let key = package.key();
    if let Some(reason) = no_room(ports, settings, package) {
        return PackageOutcome::Failed { reason, refused: false };
    }
    let Ok(index) = read_index(settings, package) else {
        return PackageOutcome::changed(package, |p| p.prepared = false);
    };
    if let Err(reason) = authorise(package, context) {
        return PackageOutcome::Failed { reason, refused: false };
    }
    let place = Place::of(&settings.paths.data_dir, package);
    let file = settings.engine.download_dir.join(package.artifact.file_name());
    let unpacked = tokio::task::spawn_blocking(move || place.install(&file, &index)).await;
    match unpacked {
        Ok(Ok(record)) => {
            tracing::info!(key, files = record.files, "package unpacked");
            PackageOutcome::changed(package, mark_complete)
        }
        Ok(Err(error @ PlaceError::Segment(_))) => {
            // The engine took it for complete: it is to look again, and to fetch what is wrong.
            let verified = ports.swarm.verify(&package.artifact.info_hash).await;
            tracing::warn!(key, asked = verified.is_ok(), error = chain(&error), "the artifact is invalid");
            PackageOutcome::failed(of_error(ReasonCode::ArtifactDoesNotCheck, &error))
        }
        Ok(Err(error)) => {
            let (code, refused) = match &error {
                PlaceError::Held => return PackageOutcome::failed(Reason::of(ReasonCode::PackageInUse)),
                PlaceError::Tree(_) | PlaceError::Digest { .. } => (ReasonCode::PackageRefused, true),
                PlaceError::Artifact(_) => (ReasonCode::ArtifactUnreadable, false),
                PlaceError::Full(_) => (ReasonCode::DataFull, false),
                _ => (ReasonCode::DataUnwritable, false),
            };
            PackageOutcome::Failed { reason: of_error(code, &error), refused }
        }
        Err(error) => {
            let sentence = "Unpacking the package broke off. It is tried again.";
            PackageOutcome::failed(failed(ReasonCode::UnpackingBroke, sentence, chain(&error)))
        }
    }
}

/// The last word before a package is put into its place.
///
/// A plan's `downgrade` says nothing of packages.
fn authorise(package: &Package, context: PackageContext<'_>) -> Result<(), Reason> {
    let claim = Claim {
        terminal: &context.settings.identity.name,
        product: &package.product,
        manifest: package.manifest,
        payload: package.payload.sha256,
        installed: None,
    };
    context.plans.authorise(context.recipient, claim, context.ports).map_err(|refusal| reason(&refusal))
}

/// Why it cannot be unpacked now, if there is not enough space.
///
/// Unpacked it takes about as much as packed.
fn no_room(ports: &Ports, settings: &Settings, package: &Package) -> Option<Reason> {
    let free = match ports.host.room(&settings.paths.data_dir) {
        Ok(room) => room.free,
        Err(error) => return Some(data_unavailable(&error)),
    };
    let needed = package.payload.length.saturating_add(SPARE);
    let full = || Reason::of(ReasonCode::DataFull).with("free", free).with("needed", needed);
    (free < needed).then(full)
}

fn remove(settings: &Settings, package: &Package) -> PackageOutcome {
    match Place::of(&settings.paths.data_dir, package).remove() {
        Ok(()) => PackageOutcome::Removed,
        Err(PlaceError::Held) => PackageOutcome::failed(Reason::of(ReasonCode::PackageInUse)),
        Err(error) => PackageOutcome::failed(of_error(ReasonCode::DataUnwritable, &error)),
    }
}

fn mark_complete(package: &mut Package) {
    (package.complete, package.trouble, package.have_bytes) = (true, None, package.artifact.length);
}
