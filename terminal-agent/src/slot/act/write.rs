//! Segments out of the partly downloaded file into the inactive slot.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use artifact::{Applier, ApplyError};
use service_kit::edge::chain;

use crate::config::agent::Settings;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::reasons::{failed, of_error};
use crate::model::seen::Refused;
use crate::model::update::{Retry, Update};
use crate::ports::{Disks, Ports};
use crate::slot::outcome::Outcome;
use crate::swarm::files::artifact_files;

/// Writes these segments, and makes them durable together.
///
/// One frame and one segment are in memory at a time.
pub async fn segments(
    ports: &Ports,
    settings: &Settings,
    session: &mut Session,
    update: &Update,
    numbers: Vec<u64>,
) -> Outcome {
    let Some(applier) = session.work.as_mut().and_then(|w| w.applier.take()) else { return Outcome::Done };
    let files = artifact_files(&*ports.swarm, &settings.engine.download_dir, &update.artifact);
    let (disks, update_) = (ports.disks.clone(), update.clone());
    let written = tokio::task::spawn_blocking(move || write(&disks, &update_, &files, applier, &numbers)).await;
    let written = match written {
        Ok(written) => written,
        // The segments' journal tells after loading it again.
        Err(error) => {
            session.work = None;
            let sentence = "Writing to the slot broke off. It continues with the segments that are missing.";
            return Outcome::bounded(failed(ReasonCode::WritingBroke, sentence, chain(&error)), Retry::Later);
        }
    };
    let until = ports.clock.uptime() + settings.limits.engine_poll.max(Duration::from_millis(1));
    for number in written.refused {
        session.refused.insert(number, Refused { until, complete: session.complete });
    }
    let done = written.applier.done() - written.applier.pending();
    if let Some(work) = session.work.as_mut() {
        work.applier = Some(written.applier);
    }
    match written.trouble {
        Some(outcome) => outcome,
        None => Outcome::Event(Event::Progress { done }),
    }
}

struct Written {
    applier: Applier,
    /// Segments that did not check.
    refused: Vec<u64>,
    trouble: Option<Outcome>,
}

fn write(disks: &Arc<dyn Disks>, update: &Update, files: &[PathBuf], mut applier: Applier, numbers: &[u64]) -> Written {
    let mut refused = Vec::new();
    let trouble = write_all(disks, update, files, &mut applier, numbers, &mut refused).err();
    Written { applier, refused, trouble }
}

fn write_all(
    disks: &Arc<dyn Disks>,
    update: &Update,
    files: &[PathBuf],
    applier: &mut Applier,
    numbers: &[u64],
    refused: &mut Vec<u64>,
) -> Result<(), Outcome> {
    let mut disk =
        disks.open(update.target).map_err(|e| Outcome::of_port(ReasonCode::SlotUnavailable, &e, Retry::Later))?;
    let index = applier.index().clone();
    let (mut file, mut frame) = (None, Vec::new());
    let mut first_error = None;
    for number in numbers {
        let Some(segment) = index.segment(*number) else { continue };
        frame.clear();
        if !segment.is_zero() {
            if file.is_none() {
                file = Some(open(files).map_err(|reason| Outcome::bounded(reason, Retry::Later))?);
            }
            // Short: the engine holds the piece and has not written it yet.
            if file.as_ref().is_none_or(|f| segment.read_frame(f, &mut frame).is_err()) {
                refused.push(*number);
                continue;
            }
        }
        match applier.apply(disk.as_mut(), *number, &frame) {
            Ok(()) => {}
            Err(ApplyError::Segment(error)) => {
                tracing::debug!(error = chain(&error), "a segment does not check yet");
                refused.push(*number);
            }
            Err(error) => {
                first_error = Some(error);
                break;
            }
        }
    }
    // What was written before a failure is kept.
    let kept = applier.checkpoint(disk.as_mut());
    match first_error.or(kept.err()) {
        None => Ok(()),
        Some(ApplyError::DeviceTooSmall(error)) => {
            Err(Outcome::fail(of_error(ReasonCode::SlotTooSmall, &error), Retry::NextPlan))
        }
        Some(error @ ApplyError::Journal(_)) => {
            Err(Outcome::bounded(of_error(ReasonCode::JournalUnwritable, &error), Retry::Later))
        }
        Some(error) => Err(Outcome::of_port(ReasonCode::SlotUnwritable, &error, Retry::Later)),
    }
}

/// The artifact as far as it is here: the first of its files that exists.
fn open(files: &[PathBuf]) -> Result<File, Reason> {
    let mut last = (PathBuf::new(), io::Error::from(io::ErrorKind::NotFound));
    for path in files {
        match File::open(path) {
            Ok(file) => return Ok(file),
            Err(error) => {
                let absent = error.kind() == io::ErrorKind::NotFound;
                last = (path.clone(), error);
                if !absent {
                    break;
                }
            }
        }
    }
    let (path, error) = last;
    let sentence = "The downloaded artifact cannot be read. Check `engine.download_dir`, and that the agent's user may read \
                    its files.";
    Err(failed(ReasonCode::ArtifactUnreadable, sentence, format!("{}: {error}", path.display())))
}
