//! Scenarios of the planner: what is wanted, known and free goes in, a readable list comes out.

use super::*;

const GIB: u64 = 1 << 30;

fn digest(n: u8) -> Digest {
    Digest::new([n; 32])
}

fn now() -> DateTime<Utc> {
    "2030-01-10T12:00:00Z".parse().unwrap()
}

fn days(n: i64) -> TimeDelta {
    TimeDelta::days(n)
}

fn want(n: u8, length: u64) -> Wanted {
    Wanted {
        artifact: ArtifactRef {
            sha256: digest(n),
            length,
            index_sha256: digest(n + 100),
            index_length: 100,
            info_hash: [n; 20].into(),
        },
        payload: PayloadRef { name: "root".into(), sha256: digest(n + 50), length: 2 * length },
        manifest: digest(200),
        product: "till".parse().unwrap(),
        version: Version::new(1, 0, n.into()),
    }
}

fn know(n: u8, stage: Stage, engine: InEngine) -> Known {
    Known { artifact: digest(n), length: GIB, stage, have_bytes: 0, engine, unnamed_since: None, retry_after: None }
}

fn roomy() -> Disk {
    Disk { free_bytes: Some(100 * GIB), budget_bytes: None, strays: Vec::new() }
}

fn run(wanted: &[Wanted], known: &[Known], disk: &Disk) -> Vec<String> {
    let verb = |action: &Action| action.to_string().split(':').next().unwrap_or_default().to_owned();
    decide(wanted, known, &BTreeSet::new(), disk, days(3), now()).iter().map(verb).collect()
}

#[test]
fn a_new_artifact_is_fetched_in_the_order_of_the_plan() {
    assert_eq!(run(&[want(2, GIB), want(1, GIB)], &[], &roomy()), ["fetch 02020202", "fetch 01010101"]);
}

#[test]
fn nothing_to_do_is_nothing() {
    assert!(run(&[], &[], &roomy()).is_empty());
}

#[test]
fn each_stage_goes_on_from_where_it_is() {
    for (stage, engine, expected) in [
        (Stage::Wanted, InEngine::Absent, "fetch 01010101"),
        (Stage::Wanted, InEngine::Unknown, "fetch 01010101"),
        (Stage::Described, InEngine::Absent, "fetch 01010101"),
        (Stage::Described, InEngine::Unknown, "fetch 01010101"),
        (Stage::Listed, InEngine::Absent, "fetch 01010101"),
        (Stage::Listed, InEngine::Present, "watch 01010101"),
        (Stage::Listed, InEngine::Unknown, "wait 01010101"),
        (Stage::Held, InEngine::Absent, "seed 01010101"),
        (Stage::Held, InEngine::Present, "watch 01010101"),
        (Stage::Held, InEngine::Unknown, "wait 01010101"),
        (Stage::Dropping, InEngine::Present, "drop 01010101"),
    ] {
        assert_eq!(run(&[want(1, GIB)], &[know(1, stage, engine)], &roomy()), [expected], "{stage:?} {engine:?}");
    }
}

#[test]
fn what_the_plan_stops_naming_is_kept_for_the_retention_and_then_dropped() {
    let mut k = know(1, Stage::Held, InEngine::Present);
    assert_eq!(run(&[], &[k.clone()], &roomy()), ["unname 01010101"]);
    k.unnamed_since = Some(now() - days(3) + TimeDelta::seconds(1));
    assert!(run(&[], &[k.clone()], &roomy()).is_empty(), "one second too early");
    k.unnamed_since = Some(now() - days(3));
    assert_eq!(run(&[], &[k], &roomy()), ["drop 01010101"]);
}

#[test]
fn what_is_named_again_stays_and_its_retention_stops() {
    let k = Known { unnamed_since: Some(now() - days(30)), ..know(1, Stage::Held, InEngine::Present) };
    assert_eq!(run(&[want(1, GIB)], &[k], &roomy()), ["name 01010101", "watch 01010101"]);
}

#[test]
fn an_unnamed_artifact_is_seeded_while_kept_but_not_fetched_further() {
    let since = Some(now() - days(1));
    let held = Known { unnamed_since: since, ..know(1, Stage::Held, InEngine::Absent) };
    let unfinished = Known { unnamed_since: since, ..know(2, Stage::Listed, InEngine::Present) };
    assert_eq!(run(&[], &[held, unfinished], &roomy()), ["seed 01010101", "stop 02020202"]);
}

#[test]
fn a_clock_that_steps_back_drops_nothing() {
    let k = Known { unnamed_since: Some(now() + days(100)), ..know(1, Stage::Held, InEngine::Present) };
    assert!(run(&[], &[k], &roomy()).is_empty());
}

#[test]
fn an_interrupted_removal_is_finished_before_the_artifact_comes_back() {
    let k = know(1, Stage::Dropping, InEngine::Absent);
    assert_eq!(run(&[want(1, GIB)], &[k], &roomy()), ["drop 01010101"]);
}

#[test]
fn room_is_given_in_the_order_of_the_plan_and_only_once() {
    let disk = Disk { free_bytes: Some(3 * GIB + RESERVE_BYTES), ..roomy() };
    let wanted = [want(1, 2 * GIB), want(2, 2 * GIB), want(3, GIB)];
    assert_eq!(run(&wanted, &[], &disk), ["fetch 01010101", "wait 02020202", "fetch 03030303"]);
}

#[test]
fn bytes_that_are_still_to_arrive_are_spoken_for() {
    let fetching = Known { have_bytes: GIB / 4, ..know(1, Stage::Listed, InEngine::Present) };
    let disk = Disk { free_bytes: Some(GIB + RESERVE_BYTES), ..roomy() };
    let wanted = [want(1, GIB), want(2, GIB / 2)];
    assert_eq!(run(&wanted, &[fetching], &disk), ["watch 01010101", "wait 02020202"]);
}

#[test]
fn a_stopped_artifact_has_no_claim_on_room() {
    let stopped = Known { unnamed_since: Some(now()), ..know(1, Stage::Listed, InEngine::Absent) };
    let disk = Disk { free_bytes: Some(GIB + RESERVE_BYTES), ..roomy() };
    assert_eq!(run(&[want(2, GIB)], &[stopped], &disk), ["fetch 02020202"]);
}

#[test]
fn the_budget_counts_whole_files_and_never_drops_early() {
    let held = Known { unnamed_since: Some(now() - days(1)), ..know(1, Stage::Held, InEngine::Present) };
    let disk = Disk { budget_bytes: Some(GIB + GIB / 2), ..roomy() };
    let actions = decide(&[want(2, GIB)], &[held], &BTreeSet::new(), &disk, days(3), now());
    let expected = Waiting::NoRoom { needs: GIB, room: GIB / 2 };
    assert_eq!(actions, [Action::Wait { wanted: want(2, GIB), why: expected }]);
}

#[test]
fn unknown_room_means_wait() {
    let disk = Disk { free_bytes: None, ..roomy() };
    assert_eq!(run(&[want(1, GIB)], &[], &disk), ["wait 01010101"]);
}

#[test]
fn a_failed_artifact_rests_until_its_time() {
    let mut k = know(1, Stage::Wanted, InEngine::Absent);
    k.retry_after = Some(now() + TimeDelta::seconds(1));
    assert_eq!(run(&[want(1, GIB)], &[k.clone()], &roomy()), ["wait 01010101"]);
    k.retry_after = Some(now());
    assert_eq!(run(&[want(1, GIB)], &[k], &roomy()), ["fetch 01010101"]);
}

#[test]
fn strays_are_swept_after_the_retention_unless_the_plan_wants_them() {
    let stray = |n, age| Stray { artifact: digest(n), bytes: GIB, modified: now() - days(age) };
    let disk = Disk {
        free_bytes: Some(RESERVE_BYTES + GIB),
        budget_bytes: None,
        strays: vec![stray(1, 4), stray(2, 2), stray(3, 4)],
    };
    // 3 lies there in half and needs room only for the other half.
    assert_eq!(run(&[want(3, 2 * GIB)], &[], &disk), ["sweep 01010101", "fetch 03030303"]);
}

#[test]
fn a_torrent_that_no_record_knows_is_taken_out_of_the_engine() {
    let foreign = BTreeSet::from([[9; 20].into()]);
    let actions = decide(&[], &[], &foreign, &roomy(), days(3), now());
    assert_eq!(actions, [Action::Release([9; 20].into())]);
}

#[test]
fn an_artifact_that_two_steps_name_is_wanted_once() {
    let w = want(1, GIB);
    let step = wire::v1::plan::Step {
        terminals: vec!["till-1".parse().unwrap()],
        product: w.product.clone(),
        version: w.version.clone(),
        manifest: w.manifest,
        payload: w.payload.clone(),
        artifact: w.artifact.clone(),
        downgrade: false,
    };
    let plan = Plan {
        format: 1,
        branch: "north".parse().unwrap(),
        serial: 1,
        issued: now(),
        expires: now(),
        steps: vec![step.clone(), step],
    };
    assert_eq!(wanted(&plan), [w]);
}
