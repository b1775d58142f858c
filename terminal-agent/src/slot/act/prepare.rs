//! Manifest, index and torrent of an update: fetched from an untrusted mirror, checked against the plan, kept.

use artifact::{Index, max_index_len};
use fleet_types::{Digest, ProductName, Version};
use release::{Manifest, Payload, PayloadKind};
use service_kit::client::ClientError;
use service_kit::durable;
use service_kit::edge::chain;
use sha2::{Digest as _, Sha256};
use swarm::Torrent;
use wire::Code;
use wire::ReasonCode;
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::package::Package;
use crate::model::state::State;
use crate::model::update::{Retry, Update};
use crate::ports::Ports;
use crate::slot::outcome::Outcome;
use crate::swarm::files::{ArtifactFiles, artifact_files, check_index};

/// Most bytes of a manifest that are fetched.
const MAX_MANIFEST: usize = 256 * 1024;

/// Room on the data partition beyond the artifact itself: the index, journals, the log.
pub const SPARE: u64 = 16 * 1024 * 1024;

type Step<T> = Result<T, Outcome>;

/// Fetches, checks and keeps everything that writing needs.
pub async fn prepare(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    session: &mut Session,
    update: &Update,
) -> Outcome {
    session.work = None;
    match try_prepare(ports, settings, journal, update).await {
        Ok(total) => Outcome::Event(Event::Prepared { total }),
        Err(outcome) => outcome,
    }
}

async fn try_prepare(ports: &Ports, settings: &Settings, journal: &Journal, update: &Update) -> Step<u64> {
    let manifest = fetch_manifest(ports, &update.manifest).await?;
    fits_terminal(&manifest, update, ports, settings)?;
    fits_slot(ports, update)?;
    fits_data(ports, settings, &update.artifact)?;
    let index = fetch_index(ports, &update.artifact, &update.payload).await?;
    let segments = check_index(&index, &update.artifact, &update.payload)
        .map_err(|why| Outcome::bounded(Reason::new(ReasonCode::IndexRefused, why), Retry::Later))?;
    let torrent = fetch_torrent(ports, settings, &update.artifact).await?;
    let kept = keep(settings, journal, update, &index, &torrent);
    kept.map_err(|why| Outcome::bounded(Reason::new(ReasonCode::DataUnwritable, why), Retry::Later))?;
    Ok(segments.segments().len() as u64)
}

/// What a failed request means: a branch that is silent or has not got it yet is waited for.
fn not_fetched(what: &str, error: &ClientError) -> Outcome {
    let text = format!("{what}: {}", chain(error));
    match error.code() {
        Some(Code::NotHeldYet | Code::NotFound) => Outcome::waits(Reason::new(ReasonCode::NotHeldYet, text)),
        Some(Code::Unauthenticated | Code::Forbidden) => Outcome::waits(Reason::new(ReasonCode::NotEnrolled, text)),
        _ if error.is_transient() => Outcome::waits(Reason::new(ReasonCode::BranchUnreachable, text)),
        _ => Outcome::bounded(Reason::new(ReasonCode::BranchRefuses, text), Retry::Later),
    }
}

async fn fetch_manifest(ports: &Ports, planned: &Digest) -> Step<Manifest> {
    let bytes = ports.branch.manifest(planned, MAX_MANIFEST).await;
    let bytes = bytes.map_err(|e| not_fetched("the manifest", &e))?;
    let found = Digest::new(Sha256::digest(&bytes).into());
    if found != *planned {
        let refused = Reason::of(ReasonCode::ManifestRefused).with("found", found).with("planned", planned);
        return Err(Outcome::bounded(refused, Retry::Later));
    }
    Manifest::parse(&bytes)
        .map_err(|e| Outcome::fail(Reason::new(ReasonCode::ManifestInvalid, chain(&e)), Retry::NextPlan))
}

/// Returns the payload that the plan names.
///
/// Fails if the manifest says otherwise, or the release needs a newer agent.
fn planned_payload<'a>(
    manifest: &'a Manifest,
    (product, version): (&ProductName, &Version),
    planned: &PayloadRef,
) -> Step<&'a Payload> {
    let mismatch = |text: String| Err(Outcome::fail(Reason::new(ReasonCode::ManifestMismatch, text), Retry::NextPlan));
    if manifest.product != *product || manifest.version != *version {
        let found = format!("{} {}", manifest.product, manifest.version);
        return mismatch(format!("The manifest describes {found}, but the plan names {product} {version}."));
    }
    let Some(payload) = manifest.payloads.iter().find(|p| p.name.as_str() == planned.name) else {
        return mismatch(format!("The manifest has no payload {}, which the plan names.", planned.name));
    };
    if payload.sha256 != planned.sha256 || payload.size != planned.length {
        return mismatch(format!(
            "Payload {} has another digest or size in the plan than in the manifest.",
            payload.name
        ));
    }
    if let Some(min) = &manifest.min_agent {
        let agent: Result<Version, _> = env!("CARGO_PKG_VERSION").parse();
        if !agent.is_ok_and(|agent| agent >= *min) {
            let too_old = Reason::of(ReasonCode::AgentTooOld).with("needed", min);
            return Err(Outcome::fail(too_old.with("agent", env!("CARGO_PKG_VERSION")), Retry::NextPlan));
        }
    }
    Ok(payload)
}

/// The terminal's own judgement: the plan's author may not have known what runs here.
fn fits_terminal(manifest: &Manifest, update: &Update, ports: &Ports, settings: &Settings) -> Step<()> {
    let no = |reason: Reason| Err(Outcome::fail(reason, Retry::NextPlan));
    let payload = planned_payload(manifest, (&update.product, &update.version), &update.payload)?;
    if payload.kind != PayloadKind::SlotImage {
        return no(Reason::of(ReasonCode::NotASlotImage).with("payload", &payload.name).with("kind", payload.kind));
    }
    let model = &settings.identity.model;
    if !payload.compatible.contains(model) {
        return no(Reason::of(ReasonCode::Incompatible).with("payload", &payload.name).with("model", model));
    }
    if let Some(requires) = &manifest.requires {
        let running = ports.host.image_version();
        let running = running
            .map_err(|e| Outcome::bounded(Reason::new(ReasonCode::RunningVersionUnknown, chain(&e)), Retry::Later))?;
        if !requires.contains(&running) {
            return no(Reason::of(ReasonCode::Requires).with("requires", requires).with("running", running));
        }
    }
    Ok(())
}

fn fits_slot(ports: &Ports, update: &Update) -> Step<()> {
    let length = ports.disks.length(update.target);
    let length = length.map_err(|e| Outcome::of_port(ReasonCode::SlotUnavailable, &e, Retry::Later))?;
    if length < update.payload.length {
        let small = Reason::of(ReasonCode::SlotTooSmall).with("slot", update.target).with("slot_bytes", length);
        return Err(Outcome::fail(small.with("image_bytes", update.payload.length), Retry::NextPlan));
    }
    Ok(())
}

fn fits_data(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Step<()> {
    let folder = &settings.engine.download_dir;
    let room = ports.host.room(folder);
    let room = room.map_err(|e| Outcome::bounded(Reason::new(ReasonCode::DataUnavailable, chain(&e)), Retry::Later))?;
    let here: u64 = artifact_files(folder, artifact).iter().map(|file| ports.host.occupied(file)).sum();
    let needed = artifact.length.saturating_sub(here).saturating_add(SPARE);
    if room.free < needed {
        let full = Reason::of(ReasonCode::DataFull).with("free", room.free).with("needed", needed);
        return Err(Outcome::fail(full, Retry::Later));
    }
    Ok(())
}

async fn fetch_index(ports: &Ports, artifact: &ArtifactRef, payload: &PayloadRef) -> Step<bytes::Bytes> {
    let (length, most) = (artifact.index_length, max_index_len(payload.length));
    if length > most {
        let text = format!("The plan names an index of {length} bytes, but this payload's index has at most {most}.");
        return Err(Outcome::fail(Reason::new(ReasonCode::IndexRefused, text), Retry::NextPlan));
    }
    let max = usize::try_from(length).unwrap_or(usize::MAX);
    ports.branch.index(artifact, max).await.map_err(|e| not_fetched("the index", &e))
}

/// The torrent with the trackers of the own branch only.
///
/// Whatever else stands in it, this terminal announces nowhere else.
async fn fetch_torrent(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Step<Vec<u8>> {
    let no = |text: String| Err(Outcome::bounded(Reason::new(ReasonCode::TorrentRefused, text), Retry::Later));
    let bytes = ports.branch.torrent(artifact, swarm::torrent::MAX_TORRENT_LEN).await;
    let bytes = bytes.map_err(|e| not_fetched("the torrent", &e))?;
    let torrent = match Torrent::parse(&bytes) {
        Ok(torrent) => torrent,
        Err(error) => return no(chain(&error)),
    };
    if torrent.info_hash() != artifact.info_hash {
        return no(format!(
            "The torrent has info hash {}, but the plan names {}.",
            torrent.info_hash(),
            artifact.info_hash
        ));
    }
    let named = !torrent.is_folder() && torrent.name() == artifact.file_name();
    if !named || torrent.length() != artifact.length || !torrent.is_private() {
        return no("The torrent does not describe the artifact that the plan names.".into());
    }
    let own: Vec<String> =
        torrent.tiers().iter().flatten().filter(|t| settings.branch.is_own_tracker(t)).cloned().collect();
    if own.is_empty() {
        let text =
            "The torrent names no tracker of this branch. Set branch.tracker_host if the tracker has another address.";
        return no(text.into());
    }
    Ok(torrent.to_file(&[own]))
}

/// Keeps the files.
///
/// A new update forgets all segments ever written to its slot first: whatever was there is about to be overwritten.
fn keep(settings: &Settings, journal: &Journal, update: &Update, index: &[u8], torrent: &[u8]) -> Result<(), String> {
    let root = ArtifactFiles::root(settings);
    std::fs::create_dir_all(&root).map_err(|e| format!("cannot create {}: {e}", root.display()))?;
    if matches!(journal.state, State::Assigned { .. }) {
        let folders = std::fs::read_dir(&root).map_err(|e| format!("cannot read {}: {e}", root.display()))?;
        for folder in folders.filter_map(Result::ok) {
            let name = format!("segments-{}", update.target);
            match std::fs::remove_file(folder.path().join(name)) {
                Ok(()) => durable::sync_dir(&folder.path()).map_err(|e| chain(&e))?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(format!("cannot forget an old journal in {}: {e}", folder.path().display())),
            }
        }
    }
    write(settings, &update.artifact, index, torrent)
}

fn write(settings: &Settings, artifact: &ArtifactRef, index: &[u8], torrent: &[u8]) -> Result<(), String> {
    let files = ArtifactFiles::of(settings, artifact);
    std::fs::create_dir_all(files.folder()).map_err(|e| format!("cannot create {}: {e}", files.folder().display()))?;
    durable::write_file(&files.index(), index).map_err(|e| chain(&e))?;
    durable::write_file(&files.torrent(), torrent).map_err(|e| chain(&e))?;
    durable::sync_dir(&ArtifactFiles::root(settings)).map_err(|e| chain(&e))
}

/// The same for a package, which no slot has a say in: fetched, checked and kept.
///
/// If it does not work, why, and whether it never will.
pub async fn prepare_package(ports: &Ports, settings: &Settings, package: &Package) -> Result<(), (Reason, bool)> {
    try_prepare_package(ports, settings, package).await.map_err(|outcome| match outcome {
        Outcome::Event(Event::Fail(verdict)) => (verdict.reason, verdict.retry != Retry::Later),
        Outcome::Trouble { verdict, .. } => (verdict.reason, false),
        other => (
            Reason::new(
                ReasonCode::NotPrepared,
                format!("The preparation ended with {other:?}. This is a defect: report it."),
            ),
            false,
        ),
    })
}

async fn try_prepare_package(ports: &Ports, settings: &Settings, package: &Package) -> Step<()> {
    let no = |reason: Reason| Err(Outcome::fail(reason, Retry::NextPlan));
    let manifest = fetch_manifest(ports, &package.manifest).await?;
    let payload = planned_payload(&manifest, (&package.product, &package.version), &package.payload)?;
    if payload.kind != PayloadKind::Package {
        return no(Reason::of(ReasonCode::NotAPackage).with("payload", &payload.name).with("kind", payload.kind));
    }
    let model = &settings.identity.model;
    if !payload.compatible.is_empty() && !payload.compatible.contains(model) {
        return no(Reason::of(ReasonCode::Incompatible).with("payload", &payload.name).with("model", model));
    }
    fits_data(ports, settings, &package.artifact)?;
    let index = fetch_index(ports, &package.artifact, &package.payload).await?;
    check_index(&index, &package.artifact, &package.payload)
        .map_err(|why| Outcome::bounded(Reason::new(ReasonCode::IndexRefused, why), Retry::Later))?;
    let torrent = fetch_torrent(ports, settings, &package.artifact).await?;
    write(settings, &package.artifact, &index, &torrent)
        .map_err(|why| Outcome::bounded(Reason::new(ReasonCode::DataUnwritable, why), Retry::Later))
}

/// The index of a package that was prepared.
///
/// # Errors
/// It is not here any more, or damaged; one sentence.
pub fn read_index(settings: &Settings, package: &Package) -> Result<Index, String> {
    let path = ArtifactFiles::of(settings, &package.artifact).index();
    let bytes = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    check_index(&bytes, &package.artifact, &package.payload)
}
