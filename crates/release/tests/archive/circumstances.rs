//! The rules on the fleet, the calendar and the shop's own command: a table each.

use release::{External, Facts, Policy, PreviousRelease, PublishedStep, ReleaseKeys, Running, RunningVersion};
use wire::v1::releases::Verdict::{self, Fail, Pass, Unknown, Warn};

use super::kit::{Tar, expect, fleet, good, good_toml, judge, runs, squashfs, store};

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

/// [`good`] that demands nothing of what is installed.
fn undemanding() -> Vec<u8> {
    let manifest = good_toml().replace("requires = \">=2.2.0\"\n", "");
    Tar::of(&manifest).file("payloads/rootfs.img", &squashfs(9000)).end()
}

fn step(version: &str, requires: &str) -> PublishedStep {
    let requires = (!requires.is_empty()).then(|| requires.parse().unwrap());
    PublishedStep { version: version.parse().unwrap(), requires }
}

fn running(versions: Vec<RunningVersion>, steps: Vec<PublishedStep>) -> Facts {
    Facts { running: Some(Running { versions, beyond: 0 }), steps: Some(steps), ..fleet() }
}

#[track_caller]
fn says(facts: &Facts, policy: &Policy, rule: &str, verdict: Verdict, says: &[&str]) {
    let finding = judge(&good(), facts, policy, rule);
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    for part in says {
        assert!(finding.cause.contains(part) || finding.remedy.contains(part), "{finding:?} does not say {part:?}");
    }
}

#[test]
fn upgrade_path_direct() {
    // The release is 2.4.0 and requires >=2.2.0.
    let path = |versions| running(versions, Vec::new());
    let check =
        |facts: &Facts, verdict, parts: &[&str]| says(facts, &Policy::default(), "upgrade-path", verdict, parts);
    check(&path(Vec::new()), Pass, &[]);
    check(&path(vec![runs(Some("2.2.0"), &["north/a"]), runs(Some("2.3.9"), &["north/b"])]), Pass, &["all terminals"]);
    check(&path(vec![runs(Some("2.4.0"), &["north/a"]), runs(Some("3.0.0"), &["north/b"])]), Pass, &[]);
    check(
        &path(vec![runs(Some("2.1.9"), &["north/a"])]),
        Fail,
        &["1 terminal cannot", "north/a (2.1.9)", "intermediate release"],
    );
    check(&path(vec![runs(None, &["north/a"])]), Warn, &["the version of 1 terminal is not known", "north/a"]);
    let facts = Facts { running: Some(Running { versions: Vec::new(), beyond: 5 }), ..fleet() };
    check(&facts, Warn, &["5 terminals"]);
    check(&Facts { running: None, ..fleet() }, Unknown, &["Head office"]);
    let facts = Facts { steps: None, ..path(vec![runs(Some("1.0.0"), &["north/a"])]) };
    check(&facts, Unknown, &["intermediate releases"]);
    let undemanding = judge(&undemanding(), &Facts::unknown(), &Policy::default(), "upgrade-path");
    assert_eq!(undemanding.verdict, Pass, "{undemanding:?}");
    expect(&Tar::of("format = 1\nproduct = 5\n").end(), "upgrade-path", Unknown, "no valid manifest");
}

#[test]
fn signatures() {
    let check = |keys, verdict, parts: &[&str]| {
        let facts = Facts { release_keys: keys, ..fleet() };
        says(&facts, &Policy::default(), "signatures", verdict, parts);
    };
    check(None, Unknown, &["Head office"]);
    check(Some(ReleaseKeys::Unassigned), Fail, &["have no holders", "filial trust propose", "product-kiosk"]);
    check(
        Some(ReleaseKeys::Holders { threshold: 2, keys: 3 }),
        Pass,
        &["2 of 3 release keys of kiosk must sign 2.4.0"],
    );
    check(Some(ReleaseKeys::Signed), Pass, &["signed 2.4.0"]);
    check(Some(ReleaseKeys::SignedOtherwise), Fail, &["signed other content as 2.4.0", "Use another version"]);
    expect(&Tar::of("format = 1\nproduct = 5\n").end(), "signatures", Unknown, "no valid manifest");
}

#[test]
fn upgrade_path_names_a_bounded_number_of_terminals() {
    let names: Vec<String> = (0..45).map(|n| format!("north/till-{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let facts = running(vec![runs(Some("1.0.0"), &names)], Vec::new());
    let parts = ["45 terminals cannot", "north/till-00 (1.0.0), north/till-01", "north/till-07 (1.0.0) and 37 more"];
    says(&facts, &Policy::default(), "upgrade-path", Fail, &parts);
}

#[test]
fn upgrade_path_over_releases_between() {
    let from = |version| vec![runs(Some(version), &["north/a", "south/b"]), runs(Some("2.3.0"), &["west/c"])];
    for (version, steps, verdict, part) in [
        (
            "2.0.0",
            vec![step("2.2.0", "")],
            Warn,
            "2 terminals must take 2 steps, 2.2.0 first: north/a (2.0.0), south/b",
        ),
        ("2.0.0", vec![step("2.2.0", ">=2.1.0")], Fail, "2 terminals cannot"),
        ("2.0.0", vec![step("2.2.0", ">=2.1.0"), step("2.1.0", "")], Warn, "must take 3 steps, 2.1.0 first"),
        // The shortest way, and of those the newest release.
        ("2.0.0", vec![step("2.2.0", ""), step("2.3.0", ""), step("2.1.0", "")], Warn, "2 steps, 2.3.0 first"),
        // Releases at or above this one, or below the running version, are not steps.
        ("2.0.0", vec![step("2.4.0", ""), step("2.5.0", "")], Fail, "cannot"),
        ("2.1.5", vec![step("2.1.0", ""), step("2.2.0", "<=2.1.0")], Fail, "cannot"),
    ] {
        says(&running(from(version), steps), &Policy::default(), "upgrade-path", verdict, &[part]);
    }
    let both = [from("2.0.0"), vec![runs(Some("1.0.0"), &["far/x"])]].concat();
    let steps = vec![step("2.2.0", ">=2.0.0"), step("2.0.0", "")];
    says(&running(both, steps), &Policy::default(), "upgrade-path", Warn, &["2.2.0 first", "and 1 more"]);
}

#[test]
fn branch_space() {
    let with = |branches| Facts { branches: Some(branches), ..fleet() };
    let check = |branches, text: &str, verdict, parts: &[&str]| {
        says(&with(branches), &policy(text), "branch-space", verdict, parts);
    };
    // The payload has 9,000 bytes.
    let exact = || store("north", Some((9000, 9000)));
    check(vec![exact()], "", Pass, &["estimate", "100 %", "1 branch."]);
    check(Vec::new(), "", Pass, &["no branch yet"]);
    check(vec![exact(), store("south", Some((9000, 8999)))], "", Warn, &["1 branch must wait", "south"]);
    check(
        vec![exact(), store("south", Some((8999, 8999)))],
        "",
        Fail,
        &["1 branch cannot", "south needs 8.8 KiB, 1 byte more than it has"],
    );
    let half = "[branch-space]\nartifact_percent = 50\n";
    check(vec![store("south", Some((4500, 4500)))], half, Pass, &["50 %"]);
    check(vec![store("south", Some((4499, 4499)))], half, Fail, &["needs 4.4 KiB, 1 byte more than it has"]);
    check(vec![exact(), store("new", None)], "", Warn, &["1 branch never reported", "new"]);
    let many = (0..20).map(|n| store(&format!("b{n:02}"), Some((1, 1)))).collect();
    check(many, "", Fail, &["20 branches", "b07 and 12 more"]);
    let mut others = store("south", Some((1, 1)));
    others.models = vec!["till-arm".parse().unwrap()];
    check(vec![others], "", Pass, &[]);
    says(&Facts { branches: None, ..fleet() }, &Policy::default(), "branch-space", Unknown, &["Head office"]);
}

#[test]
fn size_growth() {
    let previous =
        |bytes| Facts { previous: Some(Some(PreviousRelease { version: "2.3.0".parse().unwrap(), bytes })), ..fleet() };
    for (bytes, text, verdict, part) in [
        (4500, "", Pass, "200 % of the 4.4 KiB of 2.3.0"),
        (4499, "", Warn, "the policy allows 200 %"),
        (9000, "[size-growth]\nwarn_above_percent = 99\n", Warn, "100 %"),
        (u64::MAX, "", Pass, "0 %"),
        (1, "", Warn, "900000 %"),
        (0, "", Pass, "no payload bytes to compare"),
    ] {
        says(&previous(bytes), &policy(text), "size-growth", verdict, &[part]);
    }
    let first = Facts { previous: Some(None), ..fleet() };
    says(&first, &Policy::default(), "size-growth", Pass, &["no published version older"]);
    says(&Facts { previous: None, ..fleet() }, &Policy::default(), "size-growth", Unknown, &["Head office"]);
}

#[test]
fn freeze_calendar() {
    let calendar = policy(
        "[freeze-calendar]\nutc_offset = \"+03:00\"\n[[freeze-calendar.period]]\nstarts = \"0 0 18 24 12 *\"\n\
         lasts_hours = 336\nreason = \"Christmas trade.\"\n",
    );
    let at = |now: &str| Facts { now: Some(now.parse().unwrap()), ..fleet() };
    let check = |now, verdict, parts: &[&str]| says(&at(now), &calendar, "freeze-calendar", verdict, parts);
    check("2030-12-24T14:59:59Z", Pass, &["No freeze"]);
    check("2030-12-24T15:00:00Z", Fail, &["Christmas trade.", "until 2031-01-07 18:00:00 +03:00"]);
    check("2031-01-07T15:00:00Z", Pass, &[]);
    check("1960-12-24T15:00:00Z", Unknown, &["clock"]);
    says(&at("2030-12-24T15:00:00Z"), &Policy::default(), "freeze-calendar", Pass, &[]);
    says(&Facts { now: None, ..fleet() }, &calendar, "freeze-calendar", Unknown, &[]);
    let now = "2030-12-24T15:00:00Z".parse().unwrap();
    assert_eq!(release::freeze(&calendar, now).verdict, Fail, "as approval asks");
    assert_eq!(
        release::freeze(&calendar, now),
        judge(&good(), &at("2030-12-24T15:00:00Z"), &calendar, "freeze-calendar")
    );
}

#[test]
fn external() {
    let command = policy("[external]\ncommand = [\"/bin/true\"]\n");
    let with = |external| Facts { external, ..fleet() };
    let answer = |text: &str| with(Some(External::read(text.as_bytes())));
    let check = |facts: &Facts, verdict, parts: &[&str]| says(facts, &command, "external", verdict, parts);
    check(&answer(r#"{"verdict":"pass","cause":"Agreed."}"#), Pass, &["Agreed."]);
    check(&answer(r#"{"verdict":"warn","cause":"Hm.","remedy":"Ask."}"#), Warn, &["Hm.", "Ask."]);
    check(&answer(r#"{"verdict":"fail","cause":"No."}"#), Fail, &["No.", "policy.toml"]);
    check(&answer(r#"{"verdict":"unknown"}"#), Unknown, &["no cause"]);
    check(&answer("garbage"), Unknown, &["not the expected JSON"]);
    check(&with(Some(External::failed("It did not end."))), Unknown, &["It did not end.", "[external]"]);
    check(&with(None), Unknown, &["not run here"]);
    says(&with(None), &Policy::default(), "external", Pass, &["no external command"]);
    let finding = judge(&Tar::of("format = 1\n").end(), &answer(r#"{"verdict":"pass"}"#), &command, "external");
    assert_eq!(finding.verdict, Unknown, "{finding:?}");
}
