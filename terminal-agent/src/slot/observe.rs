//! Looks at what the state needs, and changes nothing.

use std::time::Duration;

use bootslot::{BootState, running_slot};
use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot};
use service_kit::edge::chain;
use trust::plans::expired;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::health::{self, Times};
use crate::branch::wanted::{PlanInForce, wanted};
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::session::Session;
use crate::model::health::judge;
use crate::model::reasons::of_error;
use crate::model::request::{Answer, Request};
use crate::model::seen::{BootSeen, Known, Observation, Transfer, WorkSeen};
use crate::model::state::State;
use crate::model::update::Update;
use crate::model::wanted::{Running, Wanted};
use crate::ports::{HelperTrouble, Ports};
use crate::swarm::peers::TorrentLook;
use crate::swarm::transfer;

/// Looks at everything that the state needs.
///
/// The look at the torrent is to be judged before a decision is made.
pub async fn observe(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    session: &Session,
    plan: PlanInForce<'_>,
) -> (Observation, Option<TorrentLook>) {
    let (now, uptime) = (ports.clock.now(), ports.clock.uptime());
    let running = running(ports, settings);
    let mut seen = Observation {
        boot_id: known(ports.host.boot_id()),
        boot: boot(ports).await,
        wanted: what_is_wanted(ports, settings, journal, plan, &running, now),
        running,
        plan_refused: plan.refused.cloned().or_else(|| version_unknown(ports, plan)),
        unjudged: journal.state.update().map_or(0, |u| journal.memory.unjudged_trials(&u.payload.sha256)),
        trouble: journal.trouble.clone(),
        retry_in: session.retry_at.map_or(Duration::ZERO, |at| at.saturating_sub(uptime)),
        restart_asked: session.restart_asked.map(|at| uptime.saturating_sub(at)),
        droppable: droppable(settings, journal, session, now, uptime),
        ..Observation::nothing()
    };
    let mut torrent = None;
    match &journal.state {
        State::Fetching { update, .. } => {
            seen.work = work(session);
            if seen.work.is_some_and(|w| w.done < w.total) {
                (seen.transfer, torrent) = look_at_torrent(ports, settings, update, session, uptime).await;
            }
        }
        State::Trying { update, boot, .. }
            if boot.verdict.is_none()
                && seen.running == Known::Is(update.target)
                && seen.boot_id == Known::Is(boot.boot_id.clone())
                && seen.boot != BootSeen::Is(BootState::settled(update.target)) =>
        {
            let checks = health::check(ports, update, boot, Times { judged: plan.time, newest: journal.newest }).await;
            seen.health = Known::Is(judge(&checks));
        }
        _ => {}
    }
    (seen, torrent)
}

fn known<T, E: std::error::Error + 'static>(result: Result<T, E>) -> Known<T> {
    result.map_or_else(|error| Known::Unknown(chain(&error)), Known::Is)
}

/// The slot that runs, by the kernel command line and nothing else.
pub fn running(ports: &Ports, settings: &Settings) -> Known<Slot> {
    match ports.host.kernel_command_line() {
        Ok(line) => known(running_slot(&line, &settings.slots.roots())),
        Err(error) => Known::Unknown(chain(&error)),
    }
}

async fn boot(ports: &Ports) -> BootSeen {
    match ports.helper.ask(Request::Look).await {
        Ok(Answer::Boot(state)) => BootSeen::Is(state),
        Ok(other) => BootSeen::Unknown(format!("the root helper answered {other:?}")),
        Err(HelperTrouble::Refused(reason)) if reason.code == ReasonCode::BootStateInvalid => {
            BootSeen::Invalid(reason.text)
        }
        Err(trouble) => BootSeen::Unknown(trouble.to_string()),
    }
}

/// Why a plan that is followed cannot be read: the version that runs is not known.
fn version_unknown(ports: &Ports, plan: PlanInForce<'_>) -> Option<Reason> {
    let error = plan.plan.and(ports.host.image_version().err())?;
    Some(of_error(ReasonCode::RunningVersionUnknown, &error))
}

fn what_is_wanted(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    plan: PlanInForce<'_>,
    running: &Known<Slot>,
    now: DateTime<Utc>,
) -> Wanted {
    let (Some(verified), Some(recipient), Known::Is(slot)) = (plan.plan, plan.recipient, running) else {
        return Wanted::Unknown;
    };
    if expired(verified.plan(), plan.time) {
        return Wanted::Unknown;
    }
    // Without a version nothing can be compared: what runs is not guessed from what was installed.
    let Ok(version) = ports.host.image_version() else { return Wanted::Unknown };
    let running = Running { slot: *slot, version };
    wanted(verified, recipient, &running, &journal.memory, &settings.retry, &journal.state, now)
}

/// The first artifact that is no longer wanted, or whose retention has expired.
fn droppable(
    settings: &Settings,
    journal: &Journal,
    session: &Session,
    now: DateTime<Utc>,
    uptime: Duration,
) -> Option<Digest> {
    if session.drop_at.is_some_and(|at| uptime < at) {
        return None;
    }
    let current = journal.state.update().filter(|_| journal.state.is_active()).map(|u| u.artifact.sha256);
    let over = |since: DateTime<Utc>| now - since >= settings.retention;
    let mut held = journal.artifacts.iter().filter(|(artifact, _)| Some(**artifact) != current);
    held.find(|(_, held)| held.drop_now || held.unwanted_since.is_some_and(over)).map(|(artifact, _)| *artifact)
}

fn work(session: &Session) -> Option<WorkSeen> {
    let applier = session.work.as_ref()?.applier.as_ref()?;
    Some(WorkSeen { done: applier.done() - applier.pending(), total: applier.total() })
}

async fn look_at_torrent(
    ports: &Ports,
    settings: &Settings,
    update: &Update,
    session: &Session,
    uptime: Duration,
) -> (Known<Option<Transfer>>, Option<TorrentLook>) {
    let look = match transfer::look(ports, settings, &update.artifact).await {
        Known::Is(Some(look)) => look,
        Known::Is(None) => return (Known::Is(None), None),
        Known::Unknown(why) => return (Known::Unknown(why), None),
    };
    let pieces = match ports.swarm.pieces(&update.artifact.info_hash).await {
        Ok(Some(pieces)) => pieces,
        Ok(None) => return (Known::Is(None), None),
        Err(error) => return (Known::Unknown(chain(&error)), None),
    };
    let Some(applier) = session.work.as_ref().and_then(|w| w.applier.as_ref()) else {
        return (Known::Unknown("the segments are being written".into()), Some(look));
    };
    let seen = transfer::transfer(look.status(), &pieces, applier, &session.refused, uptime);
    (Known::Is(Some(seen)), Some(look))
}
