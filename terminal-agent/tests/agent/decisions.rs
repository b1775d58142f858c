//! Every combination of what can be seen, in every state: what is decided is always allowed and never dangerous.

use std::time::Duration;

use bootslot::{BootState, Trial};
use fleet_types::{Digest, InfoHash, Slot, Version};
use terminal_agent::model::event::Event;
use terminal_agent::model::health::Health;
use terminal_agent::model::limits::{Limits, UNJUDGED_TRIALS};
use terminal_agent::model::memory::Trouble;
use terminal_agent::model::seen::{BootSeen, Known, Observation, Transfer, WorkSeen};
use terminal_agent::model::state::{State, next};
use terminal_agent::model::update::{Intent, Retry, TrialBoot, Update, Verdict};
use terminal_agent::model::wanted::Wanted;
use terminal_agent::slot::decide::{Action, decide};
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

const OLD: Slot = Slot::A;
const TARGET: Slot = Slot::B;
const NOW: Duration = Duration::from_secs(1_000);

fn update(version: u64) -> Update {
    let digest = Digest::new([version as u8; 32]);
    Update {
        serial: 7,
        product: "kiosk".parse().unwrap(),
        version: Version::new(version, 0, 0),
        manifest: digest,
        payload: PayloadRef { name: "rootfs".into(), sha256: digest, length: 100 },
        artifact: ArtifactRef {
            sha256: digest,
            length: 50,
            index_sha256: digest,
            index_length: 10,
            info_hash: InfoHash::new([version as u8; 20]),
        },
        target: TARGET,
    }
}

fn limits() -> Limits {
    let s = Duration::from_secs;
    Limits {
        attempts: 3,
        trial_attempts: 3,
        restarts: 2,
        restart_patience: s(300),
        verifies: 2,
        batch: 4,
        idle_poll: s(60),
        engine_poll: s(1),
        health_poll: s(5),
        branch_wait: s(100),
        trial_deadline: s(200),
    }
}

fn states() -> Vec<State> {
    let (u, v) = (|| update(1), || Verdict::new(Reason::new("x", "x"), Retry::Later));
    let mut states = vec![
        State::Idle,
        State::Assigned { update: u() },
        State::Installing { update: u(), total: 5 },
        State::Ready { update: u(), total: 5 },
        State::Confirmed { update: u(), total: 5 },
        State::Failed { update: u(), done: 1, total: 5, verdict: v() },
        State::RolledBack { update: u(), total: 5, verdict: v(), evidence: None },
        State::Withdrawn { update: u(), reason: Reason::new("x", "x") },
    ];
    for (done, verifies) in [(3, 0), (3, 2), (5, 0)] {
        states.push(State::Fetching { update: u(), done, total: 5, verifies });
    }
    for (restarts, again) in [(0, 0), (2, 0), (1, 2)] {
        let intent = Intent { boot_id: "this".into(), restarts, again, failed_before: None };
        states.push(State::Activating { update: u(), total: 5, intent });
    }
    for verdict in [None, Some(v())] {
        for tried in [10, 150, 500] {
            let since = NOW - Duration::from_secs(tried);
            let (boot_id, begun_in) = ("this".into(), Some("before".into()));
            let boot = TrialBoot { boot_id, since, failed_before: None, verdict: verdict.clone(), begun_in };
            states.push(State::Trying { update: u(), total: 5, boot });
        }
    }
    states
}

fn boots() -> Vec<BootSeen> {
    let mut boots = vec![BootSeen::Invalid("x".into()), BootSeen::Unknown("x".into())];
    for default in Slot::ALL {
        boots.push(BootSeen::Is(BootState::settled(default)));
        for left in [0, 2] {
            let trial = Some(Trial { slot: default.other(), left });
            boots.push(BootSeen::Is(BootState { default, trial }));
        }
    }
    boots
}

fn healths() -> Vec<Known<Health>> {
    let why = || Reason::new("x", "x");
    let not_yet = |branch_silent, others| Known::Is(Health::NotYet { why: why(), branch_silent, others });
    vec![
        Known::Unknown("x".into()),
        Known::Is(Health::Healthy),
        Known::Is(Health::Unhealthy(why())),
        not_yet(true, false),
        not_yet(true, true),
        not_yet(false, true),
    ]
}

fn troubles() -> Vec<(Option<Trouble>, Duration)> {
    let trouble =
        |count, bounded| Some(Trouble { count, bounded, verdict: Verdict::new(Reason::new("x", "x"), Retry::Later) });
    let (now, later) = (Duration::ZERO, Duration::from_secs(5));
    vec![
        (None, now),
        (trouble(1, true), now),
        (trouble(1, true), later),
        (trouble(9, true), now),
        (trouble(9, false), later),
    ]
}

fn transfers() -> Vec<(Option<WorkSeen>, Known<Option<Transfer>>)> {
    let work = |done| Some(WorkSeen { done, total: 5 });
    let transfer = |complete, ready: &[u64], refused| {
        Known::Is(Some(Transfer { complete, ready: ready.to_vec(), refused, trouble: None }))
    };
    vec![
        (None, Known::Unknown("x".into())),
        (work(3), Known::Unknown("x".into())),
        (work(3), Known::Is(None)),
        (work(3), transfer(false, &[1, 2, 4], false)),
        (work(3), transfer(false, &[], false)),
        (work(3), transfer(true, &[], true)),
        (work(4), transfer(true, &[], false)),
        (work(5), transfer(true, &[], false)),
    ]
}

/// Calls `look` with everything that can be seen.
fn for_everything_seen(mut look: impl FnMut(&Observation)) {
    let running = [Known::Is(OLD), Known::Is(TARGET), Known::Unknown("x".into())];
    let boot_ids = [Known::Is("this".to_owned()), Known::Is("other".to_owned()), Known::Unknown("x".into())];
    // The payload in hand, by another artifact; and another payload.
    let same = Update { artifact: update(3).artifact, ..update(1) };
    let delivered = Wanted::Check(Box::new(Update { target: OLD, ..update(2) }));
    let wanted = [
        Wanted::Unknown,
        Wanted::Nothing(None),
        Wanted::Step(Box::new(same)),
        Wanted::Step(Box::new(update(2))),
        delivered,
    ];
    let asked = [None, Some(Duration::from_secs(5)), Some(Duration::from_secs(900))];
    let mut seen = Observation::nothing();
    for running in &running {
        seen.running = running.clone();
        for boot_id in &boot_ids {
            seen.boot_id = boot_id.clone();
            for boot in boots() {
                seen.boot = boot;
                for wanted in &wanted {
                    seen.wanted = wanted.clone();
                    for (trouble, retry_in) in troubles() {
                        (seen.trouble, seen.retry_in) = (trouble, retry_in);
                        for asked in asked {
                            seen.restart_asked = asked;
                            seen.unjudged = if asked.is_some() { UNJUDGED_TRIALS - 1 } else { 0 };
                            // Only one of these two matters in any state.
                            for health in healths() {
                                seen.health = health;
                                look(&seen);
                            }
                            for (work, transfer) in transfers() {
                                (seen.work, seen.transfer) = (work, transfer);
                                look(&seen);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn whatever_is_seen_the_decision_is_allowed_and_never_dangerous() {
    let states = states();
    let mut looked = 0u64;
    for_everything_seen(|seen| {
        for state in &states {
            looked += 1;
            let action = decide(state, seen, &limits(), NOW);
            if let Err(why) = judge(state, seen, &action) {
                panic!("{why}\nstate {state:#?}\nseen {seen:#?}\naction {action:#?}");
            }
        }
    });
    assert!(looked > 1_000_000, "only {looked} combinations");
}

fn judge(state: &State, seen: &Observation, action: &Action) -> Result<(), String> {
    let check = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
    let runs = |slot| seen.running == Known::Is(slot);
    match action {
        Action::Move(event) => {
            next(state.clone(), event.clone()).map_err(|e| e.to_string())?;
            judge_move(state, seen, event)
        }
        Action::FallBack { verdict, .. } => {
            let event = Event::FellBack { verdict: verdict.clone(), evidence: None };
            next(state.clone(), event).map_err(|e| e.to_string())?;
            check(runs(OLD), "rolled back although the old slot does not run")?;
            // No state here holds a verdict that blames.
            let blames = verdict.retry == Retry::Never;
            check(blames == (seen.unjudged + 1 == UNJUDGED_TRIALS), "blamed at another trial than the last one")
        }
        Action::Prepare | Action::AddTorrent | Action::WriteSegments { .. } | Action::Verify | Action::ReadBack => {
            check(runs(OLD), "the target is touched while it may be running")?;
            check(seen.boot == BootSeen::Is(BootState::settled(OLD)), "the target is touched while it may be booted")
        }
        Action::StartTrial => {
            let activating = matches!(state, State::Activating { .. });
            check(activating && runs(OLD), "a trial out of its place")?;
            check(matches!(seen.boot, BootSeen::Is(_)), "a trial is set by guess")
        }
        Action::Settle => {
            check(!matches!(seen.running, Known::Unknown(_)), "the boot state is written by guess")?;
            check(!matches!(seen.boot, BootSeen::Unknown(_)), "an unreadable boot block is replaced")?;
            let trial = matches!(seen.boot, BootSeen::Is(BootState { trial: Some(t), .. }) if runs(t.slot));
            check(!trial, "a slot on trial becomes the default without being confirmed")?;
            let lost = matches!(state, State::Trying { boot, .. } if boot.verdict.is_some());
            check(!lost, "a lost trial is not given up")
        }
        Action::Confirm => {
            check(matches!(state, State::Trying { .. }) && runs(TARGET), "confirmed although it is not on trial")?;
            check(seen.health == Known::Is(Health::Healthy), "a slot becomes the default without being healthy")
        }
        Action::GiveUp => {
            let lost = matches!(state, State::Trying { boot, .. } if boot.verdict.is_some());
            check(lost && runs(TARGET), "another slot than the running one becomes the default")
        }
        Action::Restart | Action::RestartIntoTrial => {
            let recent = seen.restart_asked.is_some_and(|ago| ago < limits().restart_patience);
            check(!recent, "a restart is asked for again at once")?;
            let counted = *action == Action::RestartIntoTrial;
            check(counted == matches!(state, State::Activating { .. }), "a restart into the trial is not counted")
        }
        Action::CheckRunning(_) => {
            let idle = !state.is_active();
            check(idle && !matches!(seen.running, Known::Unknown(_)), "a slot is compared during an update")
        }
        Action::Wait { time, .. } => check(!time.is_zero(), "a wait of no time would spin"),
        _ => Ok(()),
    }
}

fn judge_move(state: &State, seen: &Observation, event: &Event) -> Result<(), String> {
    let check = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
    let runs = |slot| seen.running == Known::Is(slot);
    match event {
        Event::Confirmed => {
            check(runs(TARGET), "confirmed although another slot runs")?;
            check(seen.boot == BootSeen::Is(BootState::settled(TARGET)), "confirmed although it is not the default")
        }
        Event::TrialBooted { .. } => check(runs(TARGET), "a trial although another slot runs"),
        Event::AllWritten => check(seen.work.is_some_and(|w| w.done == w.total), "not all is written"),
        Event::Withdraw(reason) if reason.code == "superseded" => {
            let set = matches!(seen.boot, BootSeen::Is(BootState { trial: Some(_), .. }));
            let activating = matches!(state, State::Activating { .. });
            check(!(activating && set), "withdrawn with the trial still set")?;
            let same = matches!(&seen.wanted, Wanted::Step(step) if step.payload == update(1).payload);
            check(!same, "withdrawn although the same payload is wanted")
        }
        Event::Unhealthy(verdict) => {
            let silent = matches!(seen.health, Known::Is(Health::NotYet { branch_silent: true, .. }));
            check(!(silent && verdict.retry == Retry::Never), "a digest is blamed for a silent branch")?;
            let bad = matches!(seen.health, Known::Is(Health::Unhealthy(_)));
            check(bad == (verdict.retry == Retry::Never), "a digest is blamed without a check that failed")
        }
        _ => Ok(()),
    }
}
