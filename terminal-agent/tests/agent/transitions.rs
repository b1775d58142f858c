//! Every state with every event: the moves of the table, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_types::{Digest, InfoHash, Slot, UpdateState, Version};
use terminal_agent::model::event::Event;
use terminal_agent::model::state::{State, next};
use terminal_agent::model::update::{Intent, Retry, TrialBoot, Update, Verdict};
use wire::ReasonCode;
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

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
        target: Slot::B,
    }
}

fn intent(boot_id: &str) -> Intent {
    Intent { boot_id: boot_id.into(), restarts: 0, again: 0, failed_before: None }
}

fn verdict(code: &str) -> Verdict {
    Verdict::new(Reason::new(code, "because"), Retry::Later)
}

fn trial(verdict: Option<Verdict>) -> State {
    let boot = TrialBoot { boot_id: "b".into(), since: Duration::ZERO, failed_before: None, verdict, begun_in: None };
    State::Trying { update: update(1), total: 5, boot }
}

/// Every state, by a name; `trying` and `fetching` in the variants in which they answer differently.
fn states() -> BTreeMap<&'static str, State> {
    let u = || update(1);
    BTreeMap::from([
        ("idle", State::Idle),
        ("assigned", State::Assigned { update: u() }),
        ("fetching", State::Fetching { update: u(), done: 3, total: 5, verifies: 0 }),
        ("fetching, all there", State::Fetching { update: u(), done: 5, total: 5, verifies: 0 }),
        ("installing", State::Installing { update: u(), total: 5 }),
        ("ready", State::Ready { update: u(), total: 5 }),
        ("activating", State::Activating { update: u(), total: 5, intent: intent("a") }),
        ("trying", trial(None)),
        ("trying, lost", trial(Some(verdict("unhealthy")))),
        ("confirmed", State::Confirmed { update: u(), total: 5 }),
        ("failed", State::Failed { update: u(), done: 1, total: 5, verdict: verdict("x") }),
        ("rolled-back", State::RolledBack { update: u(), total: 5, verdict: verdict("x"), evidence: None }),
        ("withdrawn", State::Withdrawn { update: u(), reason: Reason::new("x", "x") }),
    ])
}

fn events() -> Vec<Event> {
    vec![
        Event::Assign(Box::new(update(2))),
        Event::Prepared { total: 5 },
        Event::Progress { done: 4 },
        Event::VerifyAsked,
        Event::AllWritten,
        Event::ReadBack,
        Event::Activate(intent("c")),
        Event::RestartAsked,
        Event::TrialBooted { boot_id: "d".into(), since: Duration::from_secs(3) },
        Event::Unhealthy(verdict("unhealthy")),
        Event::Confirmed,
        Event::FellBack { verdict: verdict("fell-back"), evidence: None },
        Event::Fail(verdict("slot-too-small")),
        Event::Withdraw(Reason::new(ReasonCode::Superseded, "x")),
        Event::Delivered(Box::new(update(3))),
    ]
}

/// The whole table in words: state, event, state.
const TABLE: &[(&str, &str, &str)] = &[
    ("idle", "assign", "assigned"),
    ("assigned", "prepared", "fetching"),
    ("assigned", "fail", "failed"),
    ("assigned", "withdraw", "withdrawn"),
    ("fetching", "prepared", "fetching"),
    ("fetching", "progress", "fetching"),
    ("fetching", "verify-asked", "fetching"),
    ("fetching", "fail", "failed"),
    ("fetching", "withdraw", "withdrawn"),
    ("fetching, all there", "prepared", "fetching"),
    ("fetching, all there", "progress", "fetching"),
    ("fetching, all there", "verify-asked", "fetching"),
    ("fetching, all there", "all-written", "installing"),
    ("fetching, all there", "fail", "failed"),
    ("fetching, all there", "withdraw", "withdrawn"),
    ("installing", "read-back", "ready"),
    ("installing", "fail", "failed"),
    ("installing", "withdraw", "withdrawn"),
    ("ready", "activate", "activating"),
    ("ready", "fail", "failed"),
    ("ready", "withdraw", "withdrawn"),
    ("activating", "activate", "activating"),
    ("activating", "restart-asked", "activating"),
    ("activating", "trial-booted", "trying"),
    ("activating", "fell-back", "rolled-back"),
    ("activating", "fail", "failed"),
    ("activating", "withdraw", "withdrawn"),
    ("trying", "trial-booted", "trying"),
    ("trying", "unhealthy", "trying"),
    ("trying", "confirmed", "confirmed"),
    ("trying", "fell-back", "rolled-back"),
    ("trying, lost", "trial-booted", "trying"),
    ("trying, lost", "fell-back", "rolled-back"),
    ("confirmed", "assign", "assigned"),
    ("failed", "assign", "assigned"),
    ("rolled-back", "assign", "assigned"),
    ("withdrawn", "assign", "assigned"),
    ("idle", "delivered", "confirmed"),
    ("confirmed", "delivered", "confirmed"),
    ("failed", "delivered", "confirmed"),
    ("rolled-back", "delivered", "confirmed"),
    ("withdrawn", "delivered", "confirmed"),
];

/// The moves that the real table makes: every sampled state with every sampled event.
fn moves() -> BTreeSet<(&'static str, &'static str, &'static str)> {
    let mut moves = BTreeSet::new();
    for (name, state) in states() {
        for event in events() {
            match next(state.clone(), event.clone()) {
                Ok(after) => _ = moves.insert((name, event.name(), after.name())),
                Err(refused) => {
                    assert!(refused.to_string().contains(event.name()), "{refused} does not name {}", event.name());
                }
            }
        }
    }
    moves
}

#[test]
fn the_real_table_makes_exactly_the_expected_moves() {
    let (found, expected) = (moves(), TABLE.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!(expected.len(), TABLE.len(), "a row stands twice");
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "the table does not make {missing:?}");
    let further: Vec<_> = found.difference(&expected).collect();
    assert!(further.is_empty(), "the table also makes {further:?}");
}

/// The variant's place in the enum: a new variant does not compile until it has one, and then needs a sample.
const fn place_of_state(state: &State) -> usize {
    match state {
        State::Idle => 0,
        State::Assigned { .. } => 1,
        State::Fetching { .. } => 2,
        State::Installing { .. } => 3,
        State::Ready { .. } => 4,
        State::Activating { .. } => 5,
        State::Trying { .. } => 6,
        State::Confirmed { .. } => 7,
        State::Failed { .. } => 8,
        State::RolledBack { .. } => 9,
        State::Withdrawn { .. } => 10,
    }
}

/// As [`place_of_state`].
const fn place_of_event(event: &Event) -> usize {
    match event {
        Event::Assign(_) => 0,
        Event::Prepared { .. } => 1,
        Event::Progress { .. } => 2,
        Event::VerifyAsked => 3,
        Event::AllWritten => 4,
        Event::ReadBack => 5,
        Event::Activate(_) => 6,
        Event::RestartAsked => 7,
        Event::TrialBooted { .. } => 8,
        Event::Unhealthy(_) => 9,
        Event::Confirmed => 10,
        Event::FellBack { .. } => 11,
        Event::Fail(_) => 12,
        Event::Withdraw(_) => 13,
        Event::Delivered(_) => 14,
    }
}

#[test]
fn every_state_and_every_event_has_a_sample() {
    let sampled: BTreeSet<usize> = states().values().map(place_of_state).collect();
    assert!(sampled.into_iter().eq(0..11));
    let sampled: BTreeSet<usize> = events().iter().map(place_of_event).collect();
    assert!(sampled.into_iter().eq(0..15));
    let names: Vec<&str> = states().values().map(State::name).collect();
    for state in UpdateState::ALL {
        assert!(names.contains(&state.as_str()), "no sample is {state}");
    }
}

#[test]
fn only_a_trial_that_is_not_lost_is_confirmed() {
    let moves = moves();
    let from = |to_confirmed: bool| {
        let found = moves.iter().filter(|(_, e, to)| *to == "confirmed" && (*e == "delivered") != to_confirmed);
        found.map(|(from, _, _)| *from).collect::<Vec<_>>()
    };
    assert_eq!(from(true), ["trying"]);
    assert_eq!(from(false), ["confirmed", "failed", "idle", "rolled-back", "withdrawn"], "only between updates");
    let from: Vec<&str> = moves.iter().filter(|(_, e, _)| *e == "trial-booted").map(|(from, _, _)| *from).collect();
    assert_eq!(from, ["activating", "trying", "trying, lost"]);
}

#[test]
fn counts_that_bound_retries_survive_their_moves() {
    let State::Fetching { verifies, .. } = ["x"; 3].iter().fold(states()["fetching"].clone(), |state, _| {
        let state = next(state, Event::VerifyAsked).unwrap();
        next(state, Event::Prepared { total: 5 }).unwrap()
    }) else {
        panic!("not fetching")
    };
    assert_eq!(verifies, 3, "preparing again does not forget the verifications");
    let State::Activating { intent, .. } = ["x"; 3].iter().fold(states()["activating"].clone(), |state, _| {
        let state = next(state, Event::RestartAsked).unwrap();
        next(state, Event::Activate(intent("z"))).unwrap()
    }) else {
        panic!("not activating")
    };
    assert_eq!((intent.restarts, intent.again, intent.boot_id.as_str()), (3, 3, "z"));
}

#[test]
fn the_first_verdict_of_a_trial_stands() {
    let lost = next(trial(None), Event::Unhealthy(verdict("first"))).unwrap();
    assert!(next(lost.clone(), Event::Unhealthy(verdict("second"))).is_err());
    assert!(next(lost.clone(), Event::Confirmed).is_err(), "a lost trial is never confirmed");
    assert_eq!(lost.reason().unwrap().code, "first");
}

#[test]
fn progress_beyond_the_total_is_refused() {
    let state = states()["fetching"].clone();
    assert!(next(state.clone(), Event::Progress { done: 6 }).is_err());
    assert!(next(state, Event::AllWritten).is_err(), "not all are written");
}
