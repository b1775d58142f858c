//! Manifest, index and torrent of an update: fetched, checked against the plan and this machine, kept.

use release::{Manifest, PayloadKind};
use service_kit::durable;
use service_kit::edge::chain;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::branch::fetch::{Unfit, fetch_files, fetch_manifest, fits_data, keep_files, planned_payload};
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::reasons::{data_unwritable, of_error};
use crate::model::state::State;
use crate::model::update::{Retry, Update};
use crate::ports::Ports;
use crate::slot::outcome::Outcome;
use crate::swarm::files::ArtifactFiles;

type Step<T> = Result<T, Outcome>;

impl From<Unfit> for Outcome {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Waits(reason) => Self::waits(reason),
            Unfit::Failed(reason) => Self::bounded(reason, Retry::Later),
            Unfit::Refused(verdict) => Self::Event(Event::Fail(verdict)),
        }
    }
}

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
    let fetched = fetch_files(ports, settings, &update.artifact, &update.payload).await?;
    forget_segments(settings, journal, update).map_err(|why| Outcome::bounded(data_unwritable(why), Retry::Later))?;
    keep_files(settings, &update.artifact, &fetched)?;
    Ok(fetched.parsed.segments().len() as u64)
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
        let running =
            running.map_err(|e| Outcome::bounded(of_error(ReasonCode::RunningVersionUnknown, &e), Retry::Later))?;
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

/// Forgets all segments ever written to a new update's slot: whatever was there is about to be overwritten.
fn forget_segments(settings: &Settings, journal: &Journal, update: &Update) -> Result<(), String> {
    let root = ArtifactFiles::root(settings);
    std::fs::create_dir_all(&root).map_err(|e| format!("cannot create {}: {e}", root.display()))?;
    if !matches!(journal.state, State::Assigned { .. }) {
        return Ok(());
    }
    let folders = std::fs::read_dir(&root).map_err(|e| format!("cannot read {}: {e}", root.display()))?;
    for folder in folders.filter_map(Result::ok) {
        let name = format!("segments-{}", update.target);
        match std::fs::remove_file(folder.path().join(name)) {
            Ok(()) => durable::sync_dir(&folder.path()).map_err(|e| chain(&e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("cannot forget an old journal in {}: {e}", folder.path().display())),
        }
    }
    Ok(())
}
