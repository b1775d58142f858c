//! What the world looks like, as a value. What could not be found out is said to be unknown, with the reason, and
//! never filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use bootslot::{BootState, running_slot};
use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot};
use service_kit::edge::chain;
use trust::plans::expired;
use wire::v1::reports::Reason;

use crate::config::Settings;
use crate::decide::{Action, Limits};
use crate::health::{self, Health};
use crate::helper::{Answer, INVALID, Request};
use crate::journal::Journal;
pub use crate::journal::Trouble;
use crate::peers;
use crate::ports::{HelperTrouble, Ports};
use crate::session::{Refused, Session};
use crate::state::{State, Update, Verdict};
use crate::wanted::{Me, Running, Wanted, wanted};

/// A fact, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// Known.
    Is(T),
    /// Not known, because.
    Unknown(String),
}

impl<T> Known<T> {
    fn from<E: std::error::Error + 'static>(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Is(value),
            Err(error) => Self::Unknown(chain(&error)),
        }
    }
}

/// The bootloader's state as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSeen {
    /// Known.
    Is(BootState),
    /// Its store is there and holds none: a fresh one can be made.
    Invalid(String),
    /// Not known, because: its store is out of reach.
    Unknown(String),
}

/// How far the files of the update in hand are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkSeen {
    /// Segments written and synced.
    pub done: u64,
    /// Segments in all.
    pub total: u64,
}

/// How the torrent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// All of it is here and verified.
    pub complete: bool,
    /// Segments that are to be written and whose bytes are here.
    pub ready: Vec<u64>,
    /// Everything that is still to be written was here, complete, and did not check.
    pub refused: bool,
    /// What the engine complains of.
    pub trouble: Option<String>,
}

/// Everything that a decision is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The slot that runs, from the kernel command line alone.
    pub running: Known<Slot>,
    /// Which boot this is.
    pub boot_id: Known<String>,
    /// The bootloader's state.
    pub boot: BootSeen,
    /// What the plan wants.
    pub wanted: Wanted,
    /// Why the plan that the branch server offers is not the one that is followed.
    pub plan_refused: Option<Reason>,
    /// The files of the update in hand; `None`: not here, or not in order.
    pub work: Option<WorkSeen>,
    /// The torrent; `None` if the engine does not have it.
    pub transfer: Known<Option<Transfer>>,
    /// The trial's health.
    pub health: Known<Health>,
    /// Failures of the step at hand.
    pub trouble: Option<Trouble>,
    /// How long until it may be tried again; zero is now.
    pub retry_in: Duration,
    /// How long ago this process asked for a restart.
    pub restart_asked: Option<Duration>,
    /// An artifact whose time is over.
    pub droppable: Option<Digest>,
    /// The bounds in force.
    pub limits: Limits,
}

impl Observed {
    /// Nothing is known, nothing is wanted: what tests fill in.
    pub fn nothing(limits: Limits) -> Self {
        let unknown = || "not looked at".to_owned();
        Self {
            running: Known::Unknown(unknown()),
            boot_id: Known::Unknown(unknown()),
            boot: BootSeen::Unknown(unknown()),
            wanted: Wanted::Unknown,
            plan_refused: None,
            work: None,
            transfer: Known::Unknown(unknown()),
            health: Known::Unknown(unknown()),
            trouble: None,
            retry_in: Duration::ZERO,
            restart_asked: None,
            droppable: None,
            limits,
        }
    }

    /// Waiting out the backoff of a failure.
    pub fn hold(&self) -> Option<Action> {
        let why = self.trouble.as_ref().map(|t| t.verdict.reason.clone());
        (!self.retry_in.is_zero()).then_some(Action::Wait { time: self.retry_in, why })
    }

    /// Why the update is given up, if its step failed often enough.
    pub fn given_up(&self, limits: &Limits) -> Option<Verdict> {
        let trouble = self.trouble.as_ref().filter(|t| t.bounded && t.count >= limits.attempts)?;
        let text = format!("{} (tried {} times)", trouble.verdict.reason.text, trouble.count);
        Some(Verdict { reason: Reason::new(&trouble.verdict.reason.code, text), then: trouble.verdict.then })
    }
}

/// Looks at everything that the state needs.
pub async fn observe(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    me: Option<&Me>,
    session: &mut Session,
) -> Observed {
    let (now, uptime) = (ports.clock.now(), ports.clock.uptime());
    let running = running(ports, settings);
    let mut seen = Observed {
        boot_id: Known::from(ports.host.boot_id()),
        boot: boot(ports).await,
        wanted: what_is_wanted(ports, settings, journal, me, session, &running, now),
        running,
        plan_refused: session.plan_refused.clone(),
        trouble: journal.trouble.clone(),
        retry_in: session.retry_at.map_or(Duration::ZERO, |at| at.saturating_sub(uptime)),
        restart_asked: session.restart_asked.map(|at| uptime.saturating_sub(at)),
        droppable: droppable(settings, journal, session, now, uptime),
        ..Observed::nothing(settings.limits.clone())
    };
    match &journal.state {
        State::Fetching { update, .. } => {
            session.load(settings, update);
            seen.work = work(session);
            if seen.work.is_some_and(|w| w.done < w.total) {
                seen.transfer = transfer(ports, settings, update, session, uptime).await;
            }
        }
        State::Trying { update, boot, .. }
            if boot.verdict.is_none()
                && seen.running == Known::Is(update.target)
                && seen.boot_id == Known::Is(boot.boot_id.clone())
                && seen.boot != BootSeen::Is(BootState::settled(update.target)) =>
        {
            let checks = health::check(ports, update, boot, journal.newest).await;
            seen.health = Known::Is(health::judge(&checks));
        }
        _ => {}
    }
    seen
}

/// The slot that runs, by the kernel command line and nothing else.
pub fn running(ports: &Ports, settings: &Settings) -> Known<Slot> {
    match ports.host.kernel_command_line() {
        Ok(line) => Known::from(running_slot(&line, &settings.slots.roots())),
        Err(error) => Known::Unknown(chain(&error)),
    }
}

async fn boot(ports: &Ports) -> BootSeen {
    match ports.helper.ask(Request::Look).await {
        Ok(Answer::Boot(state)) => BootSeen::Is(state),
        Ok(other) => BootSeen::Unknown(format!("the root helper answered {other:?}")),
        Err(HelperTrouble::Refused(reason)) if reason.code == INVALID => BootSeen::Invalid(reason.text),
        Err(trouble) => BootSeen::Unknown(trouble.to_string()),
    }
}

fn what_is_wanted(
    ports: &Ports,
    settings: &Settings,
    journal: &Journal,
    me: Option<&Me>,
    session: &Session,
    running: &Known<Slot>,
    now: DateTime<Utc>,
) -> Wanted {
    let (Some(plan), Some(me), Known::Is(slot)) = (&session.plan, me, running) else { return Wanted::Unknown };
    if expired(plan.plan(), session.time) {
        return Wanted::Unknown;
    }
    // Without a version nothing can be compared: what runs is not guessed from what was installed.
    let Ok(version) = ports.host.image_version() else { return Wanted::Unknown };
    let current = journal.state.update().filter(|_| journal.state.is_active()).map(|u| &u.payload.sha256);
    let running = Running { slot: *slot, version };
    wanted(plan, me, &running, &journal.memory, &settings.retry, current, now)
}

/// The first artifact that nobody wants any more, or whose retention is over.
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

async fn transfer(
    ports: &Ports,
    settings: &Settings,
    update: &Update,
    session: &mut Session,
    uptime: Duration,
) -> Known<Option<Transfer>> {
    let hash = &update.artifact.info_hash;
    let status = match ports.swarm.status(hash).await {
        Ok(Some(status)) => status,
        Ok(None) => return Known::Is(None),
        Err(error) => return Known::Unknown(chain(&error)),
    };
    let pieces = match ports.swarm.pieces(hash).await {
        Ok(Some(pieces)) => pieces,
        Ok(None) => return Known::Is(None),
        Err(error) => return Known::Unknown(chain(&error)),
    };
    if peers::watch(ports, settings, &update.artifact, &status, session, uptime).await {
        return Known::Is(None);
    }
    if !status.running && session.starts_again(status.trouble.is_some()) {
        return Known::Is(None);
    }
    session.complete = status.complete;
    let Some(applier) = session.work.as_ref().and_then(|w| w.applier.as_ref()) else {
        return Known::Unknown("the segments are being written".into());
    };
    let mut transfer = Transfer { complete: status.complete, trouble: status.trouble, ..Transfer::default() };
    // What was held is not known to be held while it is being hashed again.
    if !status.verifying {
        let here = |s: &artifact::Segment| pieces.has_range(s.frame_offset, u64::from(s.frame_length));
        let worth = |s: &artifact::Segment| is_worth_a_try(&session.refused, s.number, status.complete, uptime);
        transfer.ready = applier.missing().filter(|s| here(s) && worth(s)).map(|s| s.number).collect();
        let stuck = |s: &artifact::Segment| session.refused.get(&s.number).is_some_and(|r| r.complete);
        transfer.refused = status.complete && applier.missing().all(stuck);
    }
    Known::Is(Some(transfer))
}

/// A segment that did not check is looked at again after a while; once the torrent is complete, once more only.
fn is_worth_a_try(refused: &BTreeMap<u64, Refused>, number: u64, complete: bool, uptime: Duration) -> bool {
    refused.get(&number).is_none_or(|r| uptime >= r.until && !(complete && r.complete))
}
