//! Manifest, index and torrent of a payload: fetched from an untrusted mirror, checked against the plan, kept.

use artifact::{Index, max_index_len};
use fleet_types::{Digest, ProductName, Version};
use release::{Manifest, Payload};
use service_kit::client::ClientError;
use service_kit::durable;
use service_kit::edge::chain;
use sha2::{Digest as _, Sha256};
use swarm::{Torrent, TorrentStatus};
use wire::Code;
use wire::ReasonCode;
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

use crate::config::agent::Settings;
use crate::model::reasons::{data_unavailable, data_unwritable, failed, of_error};
use crate::model::update::{Retry, Verdict};
use crate::ports::Ports;
use crate::swarm::files::{ArtifactFiles, artifact_files, check_index};

/// Most bytes of a manifest that are fetched.
const MAX_MANIFEST: usize = 256 * 1024;

/// The sentence about an index that is not what the plan names.
const INDEX_REFUSED: &str = "The branch server's index does not match the plan. It is requested again.";

/// Room on the data partition beyond the artifact itself: the index, journals, the log.
pub const SPARE: u64 = 16 * 1024 * 1024;

/// Why a payload's files could not be had, or do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The branch server is silent or does not hold it yet: waited out.
    Waits(Reason),
    /// It failed and is tried again, a bounded number of times.
    Failed(Reason),
    /// Repeating it does not help.
    Refused(Verdict),
}

impl Unfit {
    /// Refuses the payload for this reason.
    pub const fn refused(reason: Reason, retry: Retry) -> Self {
        Self::Refused(Verdict::new(reason, retry))
    }
}

/// What a failed request means: a branch that is silent or has not got it yet is waited for.
fn not_fetched(what: &str, error: &ClientError) -> Unfit {
    use ReasonCode as C;
    let because = |code, sentence: String| failed(code, sentence, chain(error));
    match error.code() {
        Some(Code::NotHeldYet | Code::NotFound) => Unfit::Waits(because(
            C::NotHeldYet,
            format!("The branch server does not have the {what} yet. It is requested again once it is there."),
        )),
        Some(Code::Unauthenticated | Code::Forbidden) => Unfit::Waits(because(
            C::NotEnrolled,
            "The branch server does not accept this terminal's certificate. Check the terminal's enrolment.".into(),
        )),
        _ if error.is_transient() => Unfit::Waits(because(
            C::BranchUnreachable,
            format!("The branch server did not send the {what}. Check that it runs and that the network leads there."),
        )),
        _ => Unfit::Failed(because(
            C::BranchRefuses,
            format!("The branch server refused to send the {what}. See the branch server's log."),
        )),
    }
}

/// Fetches the manifest with this digest.
///
/// # Errors
/// It did not arrive, is another one, or is invalid.
pub async fn fetch_manifest(ports: &Ports, planned: &Digest) -> Result<Manifest, Unfit> {
    let bytes = ports.branch.manifest(planned, MAX_MANIFEST).await;
    let bytes = bytes.map_err(|e| not_fetched("manifest", &e))?;
    let found = Digest::new(Sha256::digest(&bytes).into());
    if found != *planned {
        let refused = Reason::of(ReasonCode::ManifestRefused).with("found", found).with("planned", planned);
        return Err(Unfit::Failed(refused));
    }
    Manifest::parse(&bytes).map_err(|e| Unfit::refused(of_error(ReasonCode::ManifestInvalid, &e), Retry::NextPlan))
}

/// Returns the payload that the plan names.
///
/// # Errors
/// The manifest says otherwise, or the release needs a newer agent.
pub fn planned_payload<'a>(
    manifest: &'a Manifest,
    (product, version): (&ProductName, &Version),
    planned: &PayloadRef,
) -> Result<&'a Payload, Unfit> {
    let mismatch = |text: String| Err(Unfit::refused(Reason::new(ReasonCode::ManifestMismatch, text), Retry::NextPlan));
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
            return Err(Unfit::refused(too_old.with("agent", env!("CARGO_PKG_VERSION")), Retry::NextPlan));
        }
    }
    Ok(payload)
}

/// Whether the data partition has room for what is still missing of an artifact.
///
/// # Errors
/// It has not, or its room is not known.
pub fn fits_data(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Result<(), Unfit> {
    let folder = &settings.engine.download_dir;
    let room = ports.host.room(folder);
    let room = room.map_err(|e| Unfit::Failed(data_unavailable(&e)))?;
    let here: u64 = artifact_files(&*ports.swarm, folder, artifact).iter().map(|file| ports.host.occupied(file)).sum();
    let needed = artifact.length.saturating_sub(here).saturating_add(SPARE);
    if room.free < needed {
        let full = Reason::of(ReasonCode::DataFull).with("free", room.free).with("needed", needed);
        return Err(Unfit::refused(full, Retry::Later));
    }
    Ok(())
}

/// An artifact's index and torrent, checked against the plan.
pub struct Fetched {
    /// The index as head office made it.
    pub index: bytes::Bytes,
    /// The same, parsed.
    pub parsed: Index,
    /// The torrent with the trackers of the own branch only.
    pub torrent: Vec<u8>,
}

/// Fetches an artifact's index and torrent.
///
/// # Errors
/// One of them did not arrive, or does not fit the plan.
pub async fn fetch_files(
    ports: &Ports,
    settings: &Settings,
    artifact: &ArtifactRef,
    payload: &PayloadRef,
) -> Result<Fetched, Unfit> {
    let index = fetch_index(ports, artifact, payload).await?;
    let parsed = check_index(&index, artifact, payload)
        .map_err(|why| Unfit::Failed(failed(ReasonCode::IndexRefused, INDEX_REFUSED, why)))?;
    let torrent = fetch_torrent(ports, settings, artifact).await?;
    Ok(Fetched { index, parsed, torrent })
}

async fn fetch_index(ports: &Ports, artifact: &ArtifactRef, payload: &PayloadRef) -> Result<bytes::Bytes, Unfit> {
    let (length, most) = (artifact.index_length, max_index_len(payload.length));
    if length > most {
        let text = format!("The plan names an index of {length} bytes, but this payload's index has at most {most}.");
        return Err(Unfit::refused(Reason::new(ReasonCode::IndexRefused, text), Retry::NextPlan));
    }
    let max = usize::try_from(length).unwrap_or(usize::MAX);
    ports.branch.index(artifact, max).await.map_err(|e| not_fetched("index", &e))
}

/// The torrent with the trackers of the own branch only.
///
/// Whatever else stands in it, this terminal announces nowhere else.
async fn fetch_torrent(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Result<Vec<u8>, Unfit> {
    let no = |text: String| Err(Unfit::Failed(Reason::new(ReasonCode::TorrentRefused, text)));
    let bytes = ports.branch.torrent(artifact, swarm::torrent::MAX_TORRENT_LEN).await;
    let bytes = bytes.map_err(|e| not_fetched("torrent", &e))?;
    let torrent = match Torrent::parse(&bytes) {
        Ok(torrent) => torrent,
        Err(error) => {
            let sentence = "The branch server sent an invalid torrent file. It is requested again.";
            return Err(Unfit::Failed(failed(ReasonCode::TorrentRefused, sentence, chain(&error))));
        }
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

/// Asks for an artifact's torrent again, since its tracker may have moved, and keeps it; true if the engine, which says
/// `status` of the torrent, announces elsewhere.
///
/// The engine is compared, not what was kept: it may have been away when another torrent was kept. Without an answer
/// everything stays as it is.
pub async fn renew_torrent(ports: &Ports, settings: &Settings, artifact: &ArtifactRef, status: &TorrentStatus) -> bool {
    let file = ArtifactFiles::of(settings, artifact).torrent();
    let Ok(kept) = std::fs::read(&file) else { return false };
    let torrent = match fetch_torrent(ports, settings, artifact).await {
        Ok(torrent) => torrent,
        Err(unfit) => {
            tracing::debug!(?unfit, "the torrent could not be asked for again");
            return false;
        }
    };
    if torrent != kept
        && let Err(error) = durable::write_file(&file, &torrent)
    {
        tracing::warn!(error = chain(&error), "the torrent with the tracker of today cannot be kept");
        return false;
    }
    let trackers = Torrent::parse(&torrent).map(|torrent| torrent.tiers().concat()).unwrap_or_default();
    let is_elsewhere = !trackers.iter().all(|tracker| status.announces_to(tracker));
    if is_elsewhere {
        tracing::info!(artifact = %artifact.sha256, "the branch's tracker has another address: the torrent is added again");
    }
    is_elsewhere
}

/// Keeps an artifact's files where [`ArtifactFiles`] looks for them.
///
/// # Errors
/// They cannot be written.
pub fn keep_files(settings: &Settings, artifact: &ArtifactRef, fetched: &Fetched) -> Result<(), Unfit> {
    let write = || {
        let files = ArtifactFiles::of(settings, artifact);
        let folder = files.folder();
        std::fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        durable::write_file(&files.index(), &fetched.index).map_err(|e| chain(&e))?;
        durable::write_file(&files.torrent(), &fetched.torrent).map_err(|e| chain(&e))?;
        durable::sync_dir(&ArtifactFiles::root(settings)).map_err(|e| chain(&e))
    };
    write().map_err(|detail: String| Unfit::Failed(data_unwritable(detail)))
}
