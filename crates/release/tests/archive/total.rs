//! Every rule answers whatever the facts are: never a panic, always a bounded sentence, a remedy unless it passes.

use chrono::DateTime;
use fleet_types::{TerminalRef, Version};
use proptest::option;
use proptest::prelude::*;
use release::{
    BranchStore, External, Facts, Policy, PreviousRelease, PublishedStep, RULES, ReleaseKeys, Running, RunningVersion,
    SmallestSlot, StoreRoom,
};

use super::kit::{Tar, good, judge, scan_of};

fn version() -> impl Strategy<Value = Version> {
    (0..4u64, 0..4u64, any::<bool>(), any::<u64>()).prop_map(|(major, minor, rc, patch)| {
        format!("{major}.{minor}.{patch}{}", if rc { "-rc.1" } else { "" }).parse().unwrap()
    })
}

fn terminal() -> impl Strategy<Value = TerminalRef> {
    ("[a-z]{1,32}", "[a-z]{1,32}").prop_map(|(branch, name)| format!("{branch}/{name}").parse().unwrap())
}

fn model() -> impl Strategy<Value = fleet_types::ModelName> {
    "(kiosk-x86-64|[a-z]{1,32})".prop_map(|m| m.parse().unwrap())
}

fn running() -> impl Strategy<Value = Running> {
    let group = (option::of(version()), any::<u64>(), proptest::collection::vec(terminal(), 0..12))
        .prop_map(|(version, terminals, some)| RunningVersion { version, terminals, some });
    (proptest::collection::vec(group, 0..6), any::<u64>()).prop_map(|(versions, beyond)| Running { versions, beyond })
}

fn steps() -> impl Strategy<Value = Vec<PublishedStep>> {
    let requires = option::of("(>=|<|=|\\^|~)[0-3]\\.[0-3]\\.0".prop_map(|r| r.parse().unwrap()));
    let step = (version(), requires).prop_map(|(version, requires)| PublishedStep { version, requires });
    proptest::collection::vec(step, 0..8)
}

fn branches() -> impl Strategy<Value = Vec<BranchStore>> {
    let room =
        (any::<u64>(), any::<u64>()).prop_map(|(capacity_bytes, free_bytes)| StoreRoom { capacity_bytes, free_bytes });
    let branch = ("[a-z]{1,32}", proptest::collection::vec(model(), 0..3), option::of(room))
        .prop_map(|(branch, models, room)| BranchStore { branch: branch.parse().unwrap(), models, room });
    proptest::collection::vec(branch, 0..20)
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![
        ".{0,400}".prop_map(External::failed),
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(|bytes| External::read(&bytes)),
        ("(pass|warn|fail|unknown)", ".{0,400}").prop_map(|(verdict, text)| {
            External::read(
                serde_json::json!({ "verdict": verdict, "cause": text, "remedy": text }).to_string().as_bytes(),
            )
        }),
    ]
}

fn facts() -> impl Strategy<Value = Facts> {
    let now = any::<i64>().prop_map(|s| DateTime::from_timestamp(s % 8_000_000_000_000, 5).unwrap_or_default());
    let slots = proptest::collection::btree_map(model(), any::<u64>().prop_map(SmallestSlot::new), 0..3);
    let previous = (version(), any::<u64>()).prop_map(|(version, bytes)| PreviousRelease { version, bytes });
    let known = (option::of(now), option::of(slots), option::of(proptest::collection::vec(version(), 0..5)));
    let fleet = (option::of(running()), option::of(steps()), option::of(branches()));
    (known, fleet, option::of(option::of(previous)), option::of(external()), option::of(keys())).prop_map(
        |((now, models, published), (running, steps, branches), previous, external, release_keys)| Facts {
            now,
            models,
            withdrawn: published.is_some().then(|| vec![std::collections::BTreeMap::new()]),
            published,
            running,
            steps,
            branches,
            previous,
            release_keys,
            external,
        },
    )
}

fn keys() -> impl Strategy<Value = ReleaseKeys> {
    prop_oneof![
        Just(ReleaseKeys::Unassigned),
        Just(ReleaseKeys::Signed),
        Just(ReleaseKeys::SignedOtherwise),
        any::<(u32, u32)>().prop_map(|(threshold, keys)| ReleaseKeys::Holders { threshold, keys }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let starts =
        prop_oneof!["(0|\\*|5-9) (0|\\*) (0|\\*) (1|31|\\*) (2|\\*) (Fri|\\*)", Just("0 0 18 24 12 * 2020".to_owned())];
    (starts, 1..8784u32, -12..14i32, any::<bool>(), 1..1000u32).prop_map(|(starts, hours, offset, command, percent)| {
        let command = if command { "[\"/bin/true\"]" } else { "[]" };
        Policy::parse(&format!(
            "[external]\ncommand = {command}\n[branch-space]\nartifact_percent = {percent}\n[size-growth]\n\
             warn_above_percent = {percent}\n[freeze-calendar]\nutc_offset = \"{offset:+03}:00\"\n\
             [[freeze-calendar.period]]\nstarts = \"{starts}\"\nlasts_hours = {hours}\nreason = \"Trade.\"\n"
        ))
        .unwrap()
    })
}

proptest! {
    #[test]
    fn every_rule_is_total(facts in facts(), policy in policy(), which in 0..3usize) {
        let archive = match which {
            0 => good(),
            1 => good()[..6000].to_vec(),
            _ => Tar::of("format = 1\n").end(),
        };
        prop_assert!(scan_of(&archive).length > 0);
        for rule in RULES {
            // `judge` asserts the shape of every finding.
            judge(&archive, &facts, &policy, rule.id);
        }
    }
}
