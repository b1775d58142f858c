//! Scenarios of the planner: a branch goes in, a readable plan comes out.
#![expect(clippy::unwrap_used, reason = "tests")]

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash};
use head_office::rollout::plan::{
    Assignment, Fleet, Health, Payload, Previous, Proposal, Terminal, issue, next_serial, propose,
};
use proptest::prelude::*;
use wire::v1::plan::{ArtifactRef, PayloadRef};

const MIB: u64 = 1 << 20;

fn now() -> DateTime<Utc> {
    "2030-01-01T08:00:00Z".parse().unwrap()
}

fn life() -> TimeDelta {
    TimeDelta::days(30)
}

fn image(models: &[&str], length: u64) -> Payload {
    let digest = |n: u8| Digest::new([n; 32]);
    Payload {
        compatible: models.iter().map(|m| m.parse().unwrap()).collect(),
        payload: PayloadRef { name: "rootfs".into(), sha256: digest(1), length },
        artifact: ArtifactRef {
            sha256: digest(2),
            length: length / 3,
            index_sha256: digest(3),
            index_length: 100,
            info_hash: InfoHash::new([4; 20]),
        },
    }
}

/// `product version [models] assigned so many minutes after eight`.
fn assignment(product: &str, version: &str, models: &[&str], minute: i64) -> Assignment {
    Assignment {
        product: product.parse().unwrap(),
        version: version.parse().unwrap(),
        manifest: Digest::new([9; 32]),
        downgrade: false,
        at: now() + TimeDelta::minutes(minute),
        images: vec![image(models, 300 * MIB)],
        packages: Vec::new(),
    }
}

/// `name:model:slot in MiB`, separated by spaces.
fn terminals(text: &str) -> Vec<Terminal> {
    text.split_whitespace()
        .map(|t| {
            let mut parts = t.split(':');
            let mut part = || parts.next().unwrap();
            Terminal {
                name: part().parse().unwrap(),
                model: part().parse().unwrap(),
                slot_bytes: part().parse::<u64>().unwrap() * MIB,
                updates: Vec::new(),
                health: Health::default(),
            }
        })
        .collect()
}

fn readable(proposal: &Proposal) -> String {
    let mut text = String::new();
    for step in &proposal.steps {
        let names: Vec<&str> = step.terminals.iter().map(|t| t.as_str()).collect();
        text += &format!("{} {} for {}\n", step.product, step.version, names.join(", "));
    }
    for package in &proposal.packages {
        let names: Vec<&str> = package.terminals.iter().map(|t| t.as_str()).collect();
        text += &format!("{} {} {} on {}\n", package.product, package.version, package.payload.name, names.join(", "));
    }
    for excluded in &proposal.excluded {
        text += &format!("not {} on {}: {}\n", excluded.product, excluded.terminal, excluded.why);
    }
    text
}

fn plan(assignments: &[Assignment], terminals_text: &str) -> String {
    readable(&propose(&Fleet { assignments: assignments.to_vec(), terminals: terminals(terminals_text) }))
}

#[test]
fn a_release_goes_to_every_terminal_of_its_models_in_the_order_of_their_names() {
    let text = plan(&[assignment("kiosk", "2.0.0", &["k1", "k2"], 0)], "till-2:k1:512 till-1:k2:512 till-3:k1:512");
    assert_eq!(text, "kiosk 2.0.0 for till-1, till-2, till-3\n");
}

#[test]
fn who_gets_nothing_is_named_with_the_reason() {
    let text = plan(&[assignment("kiosk", "2.0.0", &["k1"], 0)], "till-1:k1:512 till-2:k9:512 till-3:k1:256");
    assert_eq!(
        text,
        "kiosk 2.0.0 for till-1\n\
         not kiosk on till-2: the release has no image for model k9\n\
         not kiosk on till-3: its slot has 256.0 MiB, the image 300.0 MiB\n"
    );
}

#[test]
fn each_model_gets_its_own_image() {
    let mut both = assignment("kiosk", "2.0.0", &["k1"], 0);
    both.images.push(image(&["k2"], 100 * MIB));
    let proposal = propose(&Fleet { assignments: vec![both], terminals: terminals("a:k2:128 b:k1:512") });
    assert_eq!(readable(&proposal), "kiosk 2.0.0 for b\nkiosk 2.0.0 for a\n");
    assert_eq!(proposal.steps[1].payload.length, 100 * MIB);
}

#[test]
fn two_products_never_fight_over_one_slot_the_later_assignment_has_it() {
    let assignments = [assignment("sign", "1.0.0", &["k1"], 5), assignment("kiosk", "2.0.0", &["k1", "k2"], 0)];
    assert_eq!(
        plan(&assignments, "till-1:k1:512 till-2:k2:512"),
        "kiosk 2.0.0 for till-2\n\
         sign 1.0.0 for till-1\n\
         not kiosk on till-1: its slot goes to sign, which was assigned later\n\
         not sign on till-2: the release has no image for model k2\n"
    );
}

#[test]
fn nothing_is_planned_for_nobody() {
    assert_eq!(plan(&[assignment("kiosk", "2.0.0", &["k1"], 0)], ""), "");
    assert_eq!(plan(&[], "till-1:k1:512"), "");
}

fn package(name: &str, models: &[&str]) -> Payload {
    let mut package = image(models, MIB);
    package.payload.name = name.into();
    package
}

#[test]
fn packages_go_to_every_terminal_that_they_are_for_by_name_whatever_has_the_slot() {
    let mut both = assignment("kiosk", "2.0.0", &["k1"], 0);
    both.packages = vec![package("tools", &["k1", "k2"]), package("fonts", &[])];
    let sign = assignment("sign", "1.0.0", &["k1"], 5);
    assert_eq!(
        plan(&[both, sign], "till-3:k9:512 till-2:k2:512 till-1:k1:512"),
        "sign 1.0.0 for till-1\n\
         kiosk 2.0.0 fonts on till-1, till-2, till-3\n\
         kiosk 2.0.0 tools on till-1, till-2\n\
         not kiosk on till-1: its slot goes to sign, which was assigned later\n\
         not kiosk on till-2: the release has no image for model k2\n\
         not kiosk on till-3: the release has no image for model k9\n\
         not sign on till-2: the release has no image for model k2\n\
         not sign on till-3: the release has no image for model k9\n"
    );
}

#[test]
fn a_release_of_packages_alone_needs_no_slot() {
    let mut tools = assignment("tools", "1.0.0", &[], 9);
    (tools.images, tools.packages) = (Vec::new(), vec![package("tools", &["k1"])]);
    let kiosk = assignment("kiosk", "2.0.0", &["k1"], 0);
    assert_eq!(
        plan(&[tools.clone(), kiosk], "till-1:k1:512 till-2:k2:1"),
        "kiosk 2.0.0 for till-1\n\
         tools 1.0.0 tools on till-1\n\
         not kiosk on till-2: the release has no image for model k2\n\
         not tools on till-2: the release has no package for model k2\n",
        "the slot stays with the product that has an image, though the other was assigned later"
    );
    let branch = "north".parse().unwrap();
    let proposal = propose(&Fleet { assignments: vec![tools], terminals: terminals("till-1:k1:512") });
    let first = issue(&branch, &proposal, None, now(), life()).unwrap();
    assert!(first.steps.is_empty() && first.packages.len() == 1);
    let before = previous(&proposal, first.serial);
    assert_eq!(issue(&branch, &proposal, Some(&before), now(), life()), None);
    assert!(issue(&branch, &Proposal::default(), Some(&before), now(), life()).is_some(), "taken back is said");
}

fn one_step() -> Proposal {
    propose(&Fleet {
        assignments: vec![assignment("kiosk", "2.0.0", &["k1"], 0)],
        terminals: terminals("till-1:k1:512"),
    })
}

fn previous(proposal: &Proposal, serial: u64) -> Previous {
    Previous {
        serial,
        issued: now(),
        expires: now() + life(),
        steps: proposal.steps.clone(),
        packages: proposal.packages.clone(),
        sealed: true,
    }
}

#[test]
fn a_plan_is_issued_once_and_again_only_if_it_says_something_else() {
    let branch = "north".parse().unwrap();
    let proposal = one_step();
    let first = issue(&branch, &proposal, None, now(), life()).unwrap();
    assert_eq!((first.serial, first.expires), (now().timestamp_millis() as u64, now() + life()));
    let before = previous(&proposal, first.serial);
    assert_eq!(issue(&branch, &proposal, Some(&before), now() + TimeDelta::days(14), life()), None);
    let empty = issue(&branch, &Proposal::default(), Some(&before), now(), life()).unwrap();
    assert!(empty.steps.is_empty() && empty.serial > first.serial, "taking everything back is said, too");
    assert_eq!(issue(&branch, &Proposal::default(), None, now(), life()), None);
}

#[test]
fn a_plan_past_half_of_its_life_is_issued_anew() {
    let branch = "north".parse().unwrap();
    let proposal = one_step();
    let before = previous(&proposal, 7);
    let later = now() + TimeDelta::days(16);
    let anew = issue(&branch, &proposal, Some(&before), later, life()).unwrap();
    assert_eq!((anew.steps, anew.expires), (before.steps, later + life()));
}

#[test]
fn a_plan_that_no_present_key_signed_is_issued_anew() {
    let branch = "north".parse().unwrap();
    let proposal = one_step();
    let before = Previous { sealed: false, ..previous(&proposal, 7) };
    let anew = issue(&branch, &proposal, Some(&before), now(), life()).unwrap();
    assert_eq!(anew.steps, before.steps);
    assert!(anew.serial > before.serial);
}

proptest! {
    #[test]
    fn serials_rise_whatever_the_clock_does(last in 0u64..(1 << 62), seconds in -4_000_000_000i64..8_000_000_000) {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let serial = next_serial(Some(last), now);
        prop_assert!(serial > last);
        prop_assert!(i128::from(serial) >= i128::from(now.timestamp_millis()));
    }

    #[test]
    fn every_terminal_is_named_at_most_once_and_every_pair_is_accounted_for(
        models in prop::collection::vec(0usize..3, 0..12),
        wanted in prop::collection::vec(prop::collection::vec(0usize..3, 0..3), 0..4),
    ) {
        const MODELS: [&str; 3] = ["k1", "k2", "k3"];
        let text: String = models.iter().enumerate().map(|(n, m)| format!("till-{n}:{}:512 ", MODELS[*m])).collect();
        let assignments: Vec<Assignment> = wanted
            .iter()
            .enumerate()
            .map(|(n, w)| {
                let models: Vec<&str> = w.iter().map(|m| MODELS[*m]).collect();
                assignment(&format!("product-{n}"), "1.0.0", &models, n as i64)
            })
            .collect();
        let fleet = Fleet { assignments: assignments.clone(), terminals: terminals(&text) };
        let proposal = propose(&fleet);
        let mut named: Vec<_> = proposal.steps.iter().flat_map(|s| s.terminals.clone()).collect();
        let pairs = named.len() + proposal.excluded.len();
        prop_assert_eq!(pairs, assignments.len() * models.len());
        named.sort();
        let before = named.len();
        named.dedup();
        prop_assert_eq!(named.len(), before, "a terminal has one slot to give");
        prop_assert_eq!(&propose(&fleet), &proposal, "the same in, the same out");
    }
}
