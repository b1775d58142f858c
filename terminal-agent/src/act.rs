//! Performs exactly one action through the ports. What came of it is an event for the transition table, nothing to
//! record, or trouble to be counted; no state is changed here.

mod prepare;
mod write;

use std::time::Duration;

use artifact::{PayloadId, ReadBackError, read_back};
use bootslot::BootState;
use fleet_types::{Digest, Slot};
use service_kit::edge::chain;

pub(crate) use self::prepare::{SPARE, prepare_package, read_index};
use crate::config::Settings;
use crate::decide::Action;
use crate::evidence::{self, Trial};
use crate::helper::{INVALID, Request};
use crate::journal::Journal;
use crate::ports::{HelperTrouble, Ports};
use crate::session::{Files, Refused, Session};
use crate::state::{Event, Intent, State, Then, TrialBoot, Update, Verdict};

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something happened that the transition table wants to know.
    Event(Event),
    /// Done; the next observation shows what came of it.
    Done,
    /// An artifact is gone from the engine and the disk.
    Dropped(Digest),
    /// It did not work. If `bounded`, failing often enough ends the update with this verdict.
    Trouble {
        /// Why, and what follows.
        verdict: Verdict,
        /// Whether it is counted against the update.
        bounded: bool,
    },
    /// Housekeeping did not work; it has time.
    Later(String),
}

impl Outcome {
    /// Trouble that ends the update when it repeats.
    pub(crate) fn bounded(code: &str, text: impl AsRef<str>, then: Then) -> Self {
        Self::Trouble { verdict: Verdict::new(code, text, then), bounded: true }
    }

    /// Trouble with something that the root helper does: waited out if it does not answer.
    pub(crate) fn of_port(code: &str, error: &(dyn std::error::Error + 'static), then: Then) -> Self {
        match HelperTrouble::is_behind(error) {
            true => Self::waits("helper-unreachable", chain(error)),
            false => Self::bounded(code, chain(error), then),
        }
    }

    /// Trouble that is waited out.
    pub(crate) fn waits(code: &str, text: impl AsRef<str>) -> Self {
        Self::Trouble { verdict: Verdict::new(code, text, Then::Later), bounded: false }
    }

    /// The update ends with this verdict.
    pub(crate) fn fail(code: &str, text: impl AsRef<str>, then: Then) -> Self {
        Self::Event(Event::Fail(Verdict::new(code, text, then)))
    }
}

/// What must be durable before the action is performed.
pub fn intent(action: &Action, state: &State) -> Option<Event> {
    match (action, state) {
        (Action::Restart, State::Activating { .. }) => Some(Event::RestartAsked),
        _ => None,
    }
}

/// Performs one action. The update in hand comes from the journal's state.
pub async fn act(
    action: Action,
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    session: &mut Session,
) -> Outcome {
    let update = match (&action, journal.state.update()) {
        (Action::Move(event), _) => return Outcome::Event(event.clone()),
        (Action::Wait { .. }, _) => return Outcome::Done,
        (Action::ReadBoot, _) => return read_boot(ports).await,
        (Action::WriteBoot(wanted) | Action::RepairBoot(wanted), _) => {
            return write_boot(ports, &journal.state, wanted).await;
        }
        (Action::Restart, _) => return restart(ports, session).await,
        (Action::Drop(artifact), _) => return drop_artifact(ports, settings, journal, session, *artifact).await,
        (_, Some(update)) => update.clone(),
        (action, None) => return Outcome::Later(format!("{action:?} without an update: this is a defect")),
    };
    match action {
        Action::Prepare => prepare::prepare(ports, settings, journal, session, &update).await,
        Action::AddTorrent => add_torrent(ports, settings, session, &update).await,
        Action::WriteSegments(numbers) => write::segments(ports, settings, session, &update, numbers).await,
        Action::Verify => verify(ports, settings, session, &update).await,
        Action::ReadBack => check_slot(ports, session, &update).await,
        Action::BeginActivation => begin_activation(ports).await,
        Action::FallBack(verdict) => fall_back(ports, &journal.state, update.target, verdict).await,
        _ => Outcome::Done,
    }
}

async fn read_boot(ports: &Ports) -> Outcome {
    match ports.helper.ask(Request::Look).await {
        Ok(_) => Outcome::Done,
        // An unusable block is repaired, once the next observation has seen it.
        Err(HelperTrouble::Refused(reason)) if reason.code == INVALID => Outcome::Done,
        Err(trouble) => of_helper(&trouble),
    }
}

/// Has the root helper make the move that leads to the state that is wanted. It knows what runs and decides by itself.
async fn write_boot(ports: &Ports, state: &State, wanted: &BootState) -> Outcome {
    let request = match state {
        State::Trying { update, .. } if wanted.trial.is_none() && wanted.default == update.target => Request::Confirm,
        State::Trying { .. } if wanted.trial.is_none() => Request::GiveUp,
        _ => Request::Settle,
    };
    ports.helper.ask(request).await.map_or_else(|trouble| of_helper(&trouble), |_| Outcome::Done)
}

/// What the root helper's trouble means for anything but a trial.
pub(crate) fn of_helper(trouble: &HelperTrouble) -> Outcome {
    Outcome::of_port(trouble.reason().code.as_str(), trouble, Then::Later)
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

async fn add_torrent(ports: &Ports, settings: &Settings, session: &Session, update: &Update) -> Outcome {
    let Some(work) = &session.work else { return Outcome::Done };
    match ports.swarm.add(&work.torrent, &settings.engine.download_dir).await {
        Ok(hash) if hash == update.artifact.info_hash => Outcome::Done,
        Ok(hash) => {
            Outcome::bounded("engine-confused", format!("the engine answered with torrent {hash}"), Then::Later)
        }
        Err(error) => Outcome::waits("engine-unavailable", chain(&error)),
    }
}

async fn verify(ports: &Ports, settings: &Settings, session: &mut Session, update: &Update) -> Outcome {
    if let Err(error) = ports.swarm.verify(&update.artifact.info_hash).await {
        return Outcome::waits("engine-unavailable", chain(&error));
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
        let mut disk = disks.open(target).map_err(|e| Outcome::of_port("slot-unavailable", &e, Then::Later))?;
        disk.sync().map_err(|e| Outcome::of_port("slot-unwritable", &e, Then::Later))?;
        read_back(disk.as_mut(), &payload, &mut |_| {}).map_err(|error| match error {
            ReadBackError::Mismatch { .. } => Outcome::fail("read-back-mismatch", chain(&error), Then::Blame),
            error => Outcome::of_port("slot-unreadable", &error, Then::Later),
        })
    })
    .await;
    match checked {
        Ok(Ok(())) => Outcome::Event(Event::ReadBack),
        Ok(Err(outcome)) => outcome,
        Err(error) => Outcome::bounded("read-back-broke", chain(&error), Then::Later),
    }
}

async fn begin_activation(ports: &Ports) -> Outcome {
    let boot_id = match ports.host.boot_id() {
        Ok(boot_id) => boot_id,
        Err(error) => return Outcome::bounded("boot-id-unknown", chain(&error), Then::Later),
    };
    match ports.host.failed_units().await {
        Ok(failed_before) => Outcome::Event(Event::Activate(Intent { boot_id, restarts: 0, again: 0, failed_before })),
        Err(error) => Outcome::bounded("failed-units-unknown", chain(&error), Then::Later),
    }
}

/// The old slot runs again: what is left of the boots that failed is found out now, and recorded with the move.
async fn fall_back(ports: &Ports, state: &State, slot: Slot, verdict: Verdict) -> Outcome {
    let begun_in = match state {
        State::Activating { intent, .. } => Some(intent.boot_id.clone()),
        State::Trying { boot: TrialBoot { begun_in, .. }, .. } => begun_in.clone(),
        _ => None,
    };
    let evidence = match ports.host.boot_id() {
        Ok(now) => evidence::collect(&*ports.boot_logs, &Trial { slot, begun_in, now }).await,
        Err(error) => evidence::nothing(slot, &chain(&error)),
    };
    let verdict = evidence::attached(verdict, &evidence);
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
    let files = Files::of_digest(settings, &artifact);
    match std::fs::remove_dir_all(files.folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Outcome::Later(chain(&error)),
        _ => Outcome::Dropped(artifact),
    }
}
