//! Performs exactly one action through the ports. What came of it is an event for the transition table, nothing to
//! record, or trouble to be counted; no state is changed here.

pub mod prepare;
pub mod trial;
pub mod write;

use std::time::Duration;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use artifact::{PayloadId, ReadBackError, read_back};
use fleet_types::{Digest, Slot};
use service_kit::edge::chain;

use super::context::Context;
use super::decide::Action;
use super::evidence::{self, FailedTrial};
use super::outcome::{Outcome, of_helper};
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::session::Session;
use crate::model::event::Event;
use crate::model::reasons::{engine_unavailable, failed, of_error};
use crate::model::request::Request;
use crate::model::seen::Refused;
use crate::model::state::State;
use crate::model::update::{Intent, Retry, Update, Verdict};
use crate::ports::{HelperTrouble, Ports};
use crate::swarm::files::ArtifactFiles;

/// Performs exactly one action.
pub async fn act(action: Action, context: Context<'_>, session: &mut Session) -> Outcome {
    let Context { ports, settings, journal, .. } = context;
    let update = match (&action, journal.state.update()) {
        (Action::Move(event), _) => return Outcome::Event(event.clone()),
        (Action::Wait { .. }, _) => return Outcome::Done,
        (Action::ReadBoot, _) => return read_boot(ports).await,
        (Action::Settle, _) => return ask_helper(ports, Request::Settle).await,
        (Action::Confirm, _) => return ask_helper(ports, Request::Confirm).await,
        (Action::GiveUp, _) => return ask_helper(ports, Request::GiveUp).await,
        (Action::Restart | Action::RestartIntoTrial, _) => return restart(ports, session).await,
        (Action::CheckRunning(update), _) => return trial::check_running(context, update).await,
        (Action::Drop(artifact), _) => return drop_artifact(ports, settings, journal, session, *artifact).await,
        (_, Some(update)) => update.clone(),
        (action, None) => return Outcome::Later(format!("{action:?} without an update: this is a defect")),
    };
    match action {
        Action::Prepare => prepare::prepare(ports, settings, journal, session, &update).await,
        Action::AddTorrent => add_torrent(ports, settings, session, &update).await,
        Action::WriteSegments { numbers, complete } => {
            session.complete = complete;
            write::segments(ports, settings, session, &update, numbers).await
        }
        Action::Verify => verify(ports, settings, session, &update).await,
        Action::ReadBack => check_slot(ports, session, &update).await,
        Action::BeginActivation => begin_activation(ports).await,
        Action::StartTrial => trial::start(context, &update).await,
        Action::FallBack { verdict, begun_in } => fall_back(context, update.target, begun_in, verdict).await,
        _ => Outcome::Done,
    }
}

async fn read_boot(ports: &Ports) -> Outcome {
    match ports.helper.ask(Request::Look).await {
        Ok(_) => Outcome::Done,
        // An unusable block is repaired, once the next observation has seen it.
        Err(HelperTrouble::Refused(reason)) if reason.code == ReasonCode::BootStateInvalid => Outcome::Done,
        Err(trouble) => of_helper(&trouble),
    }
}

async fn ask_helper(ports: &Ports, request: Request) -> Outcome {
    ports.helper.ask(request).await.map_or_else(|trouble| of_helper(&trouble), |_| Outcome::Done)
}

async fn restart(ports: &Ports, session: &mut Session) -> Outcome {
    match ports.helper.ask(Request::Restart).await {
        Ok(_) => {
            session.restart_asked = Some(ports.clock.uptime());
            Outcome::Done
        }
        Err(trouble) => of_helper(&trouble),
    }
}

async fn add_torrent(ports: &Ports, settings: &Settings, session: &mut Session, update: &Update) -> Outcome {
    if session.work.is_none() {
        return Outcome::Done;
    }
    // From the disk: it may have come again since, with another tracker.
    let Ok(torrent) = std::fs::read(ArtifactFiles::of(settings, &update.artifact).torrent()) else {
        session.work = None;
        return Outcome::Done;
    };
    match ports.swarm.add(&torrent, &settings.engine.download_dir).await {
        Ok(hash) if hash == update.artifact.info_hash => Outcome::Done,
        Ok(hash) => Outcome::bounded(Reason::of(ReasonCode::EngineConfused).with("hash", hash), Retry::Later),
        Err(error) => Outcome::waits(engine_unavailable(chain(&error))),
    }
}

async fn verify(ports: &Ports, settings: &Settings, session: &mut Session, update: &Update) -> Outcome {
    if let Err(error) = ports.swarm.verify(&update.artifact.info_hash).await {
        return Outcome::waits(engine_unavailable(chain(&error)));
    }
    // The engine takes a moment to say that it verifies: until then nothing new can be learnt from the file.
    let until = ports.clock.uptime() + (2 * settings.limits.engine_poll).max(Duration::from_secs(2));
    session.refused.values_mut().for_each(|r| *r = Refused { until, complete: false });
    Outcome::Event(Event::VerifyAsked)
}

async fn check_slot(ports: &Ports, session: &mut Session, update: &Update) -> Outcome {
    session.work = None;
    let (disks, target) = (ports.disks.clone(), update.target);
    let payload = PayloadId { sha256: update.payload.sha256, length: update.payload.length };
    let checked = tokio::task::spawn_blocking(move || {
        let mut disk =
            disks.open(target).map_err(|e| Outcome::of_port(ReasonCode::SlotUnavailable, &e, Retry::Later))?;
        disk.sync().map_err(|e| Outcome::of_port(ReasonCode::SlotUnwritable, &e, Retry::Later))?;
        read_back(disk.as_mut(), &payload, &mut |_| {}).map_err(|error| match error {
            ReadBackError::Mismatch { .. } => {
                Outcome::fail(of_error(ReasonCode::ReadBackMismatch, &error), Retry::Never)
            }
            error => Outcome::of_port(ReasonCode::SlotUnreadable, &error, Retry::Later),
        })
    })
    .await;
    match checked {
        Ok(Ok(())) => Outcome::Event(Event::ReadBack),
        Ok(Err(outcome)) => outcome,
        Err(error) => {
            let sentence = "Reading the slot back broke off. It is tried again.";
            Outcome::bounded(failed(ReasonCode::ReadBackBroke, sentence, chain(&error)), Retry::Later)
        }
    }
}

async fn begin_activation(ports: &Ports) -> Outcome {
    let boot_id = match ports.host.boot_id() {
        Ok(boot_id) => boot_id,
        Err(error) => return Outcome::bounded(of_error(ReasonCode::BootIdUnknown, &error), Retry::Later),
    };
    match ports.host.failed_units().await {
        Ok(failed_before) => Outcome::Event(Event::Activate(Intent { boot_id, restarts: 0, again: 0, failed_before })),
        Err(error) => Outcome::bounded(of_error(ReasonCode::FailedUnitsUnknown, &error), Retry::Later),
    }
}

/// Collects what is left of the boots that failed, now that the old slot runs again.
async fn fall_back(context: Context<'_>, slot: Slot, begun_in: Option<String>, verdict: Verdict) -> Outcome {
    let Context { ports, journal, .. } = context;
    let evidence = match ports.host.boot_id() {
        Ok(now) => evidence::collect(&*ports.boot_logs, &FailedTrial { slot, begun_in, now }).await,
        Err(error) => evidence::nothing(slot, &chain(&error)),
    };
    let has_run = matches!(journal.state, State::Trying { .. });
    let verdict = evidence::attached(verdict, &evidence, has_run);
    Outcome::Event(Event::FellBack { verdict, evidence: Some(Box::new(evidence)) })
}

async fn drop_artifact(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    session: &mut Session,
    artifact: Digest,
) -> Outcome {
    if session.work.as_ref().is_some_and(|w| w.artifact == artifact) {
        session.work = None;
    }
    if let Some(held) = journal.artifacts.get(&artifact)
        && let Err(error) = ports.swarm.remove(&held.info_hash, true).await
    {
        return Outcome::Later(chain(&error));
    }
    let files = ArtifactFiles::of_digest(settings, &artifact);
    match std::fs::remove_dir_all(files.folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Outcome::Later(chain(&error)),
        _ => Outcome::Dropped(artifact),
    }
}
