//! Scenarios of the planner: what is wanted, known and free goes in, a readable list comes out.

use proptest::prelude::*;

use super::super::model::{Stray, available, manifests, wanted};
use super::*;
use fleet_types::Version;
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan};

pub(super) const GIB: u64 = 1 << 30;
pub(super) const RULES: Rules =
    Rules { retention: TimeDelta::days(3), steady: DateTime::<Utc>::MIN_UTC, fetch_at_once: 2 };

fn digest(n: u8) -> Digest {
    Digest::new([n; 32])
}

pub(super) fn now() -> DateTime<Utc> {
    "2030-01-10T12:00:00Z".parse().unwrap()
}

pub(super) fn days(n: i64) -> TimeDelta {
    TimeDelta::days(n)
}

pub(super) fn want(n: u8, length: u64) -> Wanted {
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

pub(super) fn know(n: u8, stage: Stage, engine: InEngine) -> Known {
    Known {
        wanted: want(n, GIB),
        stage,
        have_bytes: 0,
        engine,
        unnamed_since: None,
        retry_after: None,
        stalled: false,
        in_use: false,
        carried: false,
    }
}

pub(super) fn roomy() -> Disk {
    Disk { free_bytes: Some(100 * GIB), ..Disk::default() }
}

fn act(wanted: &[Wanted], known: &[Known], disk: &Disk) -> Vec<Action> {
    let (missing, foreign, backoffs) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    decide(Seen { wanted, known, missing: &missing, backoffs: &backoffs, foreign: &foreign, disk }, RULES, now())
}

fn verb(action: &Action) -> String {
    action.to_string().split(':').next().unwrap_or_default().to_owned()
}

pub(super) fn run(wanted: &[Wanted], known: &[Known], disk: &Disk) -> Vec<String> {
    act(wanted, known, disk).iter().map(verb).collect()
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
fn what_was_brought_by_hand_is_put_in_place_before_anything_else_happens_to_it() {
    let brought = |stage, engine| Known {
        carried: true,
        // It rested because the link is down.
        retry_after: Some(now() + TimeDelta::hours(1)),
        ..know(1, stage, engine)
    };
    for (stage, engine, expected) in [
        (Stage::Described, InEngine::Absent, "place 01010101"),
        (Stage::Listed, InEngine::Present, "place 01010101"),
        (Stage::Listed, InEngine::Unknown, "place 01010101"),
        (Stage::Held, InEngine::Present, "place 01010101"),
        // Without a description no file can be imported.
        (Stage::Wanted, InEngine::Absent, "wait 01010101"),
        (Stage::Dropping, InEngine::Present, "drop 01010101"),
    ] {
        assert_eq!(run(&[want(1, GIB)], &[brought(stage, engine)], &roomy()), [expected], "{stage:?} {engine:?}");
    }
}

#[test]
fn so_many_arrive_at_once_in_the_order_of_the_plan_and_a_stalled_one_holds_up_nobody() {
    let wanted: Vec<Wanted> = (1..=4).map(|n| want(n, GIB)).collect();
    assert_eq!(run(&wanted, &[], &roomy()), ["fetch 01010101", "fetch 02020202", "wait 03030303", "wait 04040404"]);
    let arriving = |n| know(n, Stage::Listed, InEngine::Present);
    let two = [arriving(3), Known { stalled: true, ..arriving(4) }];
    assert_eq!(run(&wanted, &two, &roomy()), ["fetch 01010101", "wait 02020202", "watch 03030303", "watch 04040404"]);
    let held = know(1, Stage::Held, InEngine::Present);
    assert_eq!(run(&wanted, &[held], &roomy())[..3], ["watch 01010101", "fetch 02020202", "fetch 03030303"]);
    let why = Waiting::Turn { others: 2 };
    assert!(act(&wanted, &[], &roomy()).contains(&Action::Wait { wanted: want(4, GIB), why }));
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
    let expected = Waiting::NoRoom { needs: GIB, room: GIB / 2 };
    let waits = Action::Wait { wanted: want(2, GIB), why: expected };
    assert_eq!(act(&[want(2, GIB)], &[held], &disk), [Action::Watch(want(1, GIB).artifact.sha256), waits]);
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
        carried: BTreeSet::new(),
    };
    // 3 lies there in half and needs room only for the other half.
    assert_eq!(run(&[want(3, 2 * GIB)], &[], &disk), ["sweep 01010101", "fetch 03030303"]);
}

#[test]
fn a_torrent_that_no_record_knows_is_taken_out_of_the_engine() {
    let foreign = BTreeSet::from([[9; 20].into()]);
    let (disk, missing, backoffs) = (roomy(), BTreeMap::new(), BTreeMap::new());
    let seen = Seen { wanted: &[], known: &[], missing: &missing, backoffs: &backoffs, foreign: &foreign, disk: &disk };
    assert_eq!(decide(seen, RULES, now()), [Action::Release([9; 20].into())]);
}

#[test]
fn another_release_of_the_same_artifact_is_only_retitled() {
    let mut w = want(1, GIB);
    w.version = Version::new(9, 0, 0);
    w.manifest = digest(201);
    let k = know(1, Stage::Held, InEngine::Present);
    assert_eq!(run(&[w], &[k], &roomy()), ["retitle 01010101", "watch 01010101"]);
}

#[test]
fn another_torrent_of_the_same_artifact_is_described_again() {
    let mut w = want(1, GIB);
    w.artifact.info_hash = [77; 20].into();
    let k = know(1, Stage::Held, InEngine::Present);
    assert_eq!(run(&[w], &[k], &roomy()), ["redescribe 01010101"]);
}

#[test]
fn a_manifest_is_fetched_by_itself_only_if_no_description_brings_it() {
    let (foreign, disk) = (BTreeSet::new(), roomy());
    let backoffs = std::cell::RefCell::new(BTreeMap::new());
    let missing = BTreeMap::from([(digest(201), BTreeSet::from([digest(1)]))]);
    let verbs = |stage| {
        let (wanted, known) = ([want(1, GIB)], [know(1, stage, InEngine::Present)]);
        let seen = Seen {
            wanted: &wanted,
            known: &known,
            missing: &missing,
            backoffs: &backoffs.borrow(),
            foreign: &foreign,
            disk: &disk,
        };
        decide(seen, RULES, now()).iter().map(verb).collect::<Vec<_>>()
    };
    assert_eq!(verbs(Stage::Wanted), ["fetch 01010101"]);
    assert_eq!(verbs(Stage::Held), ["watch 01010101", "manifest c9c9c9c9"]);
    backoffs.borrow_mut().insert(digest(201), now() + TimeDelta::seconds(1));
    assert_eq!(verbs(Stage::Held), ["watch 01010101"], "it failed a moment ago");
    backoffs.borrow_mut().insert(digest(201), now());
    assert_eq!(verbs(Stage::Held), ["watch 01010101", "manifest c9c9c9c9"]);
}

fn step(w: &Wanted) -> wire::v1::plan::Step {
    wire::v1::plan::Step {
        terminals: vec!["till-1".parse().unwrap()],
        product: w.product.clone(),
        version: w.version.clone(),
        manifest: w.manifest,
        payload: w.payload.clone(),
        artifact: w.artifact.clone(),
        downgrade: false,
    }
}

fn plan_of(steps: Vec<wire::v1::plan::Step>) -> Plan {
    Plan {
        format: 1,
        branch: "north".parse().unwrap(),
        serial: 1,
        issued: now(),
        expires: now(),
        steps,
        packages: Vec::new(),
        audit: None,
    }
}

#[test]
fn an_artifact_that_two_steps_name_is_wanted_once_with_both_manifests() {
    let one = want(1, GIB);
    let two = Wanted { manifest: digest(201), ..one.clone() };
    let plan = plan_of(vec![step(&one), step(&two)]);
    let offered = wanted(&plan);
    assert_eq!(offered, std::slice::from_ref(&one));
    let both = BTreeSet::from([digest(200), digest(201)]);
    assert_eq!(manifests(&plan).into_keys().collect::<BTreeSet<_>>(), both);
    // Available only with all of its manifests, and only as the plan describes it.
    assert_eq!(available(&plan, &offered, &both), [digest(1)]);
    assert_eq!(available(&plan, &offered, &BTreeSet::from([digest(200)])), []);
    let mut other = one.clone();
    other.artifact.info_hash = [77; 20].into();
    assert_eq!(available(&plan, &[other], &both), []);
}

#[test]
fn packages_are_wanted_after_the_steps_and_each_with_its_manifest() {
    let (image, package) = (want(2, GIB), want(1, GIB));
    let loose = Wanted { manifest: digest(201), ..image.clone() };
    let plan = Plan { packages: vec![step(&package), step(&loose)], ..plan_of(vec![step(&image)]) };
    assert_eq!(wanted(&plan), [image.clone(), package.clone()], "an artifact that is both is wanted once");
    assert_eq!(manifests(&plan)[&digest(201)], BTreeSet::from([digest(2)]));
    let here = BTreeSet::from([digest(200)]);
    assert_eq!(available(&plan, &[image, package], &here), [digest(1)], "the other lacks a package's manifest");
}

fn stages() -> impl Strategy<Value = Stage> {
    prop::sample::select(vec![Stage::Wanted, Stage::Described, Stage::Listed, Stage::Held, Stage::Dropping])
}

fn known() -> impl Strategy<Value = Vec<Known>> {
    let engine = prop::sample::select(vec![InEngine::Unknown, InEngine::Absent, InEngine::Present]);
    let one = (0..8u8, stages(), engine, prop::option::of(-10..10i64), prop::option::of(-5..5i64));
    let all = prop::collection::vec(one, 0..8);
    all.prop_map(|list| {
        let records = list.into_iter().map(|(n, stage, engine, unnamed, retry)| {
            let unnamed_since = unnamed.map(|d| now() + days(d));
            let retry_after = retry.map(|d| now() + days(d));
            (n, Known { unnamed_since, retry_after, ..know(n, stage, engine) })
        });
        records.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

proptest! {
    #[test]
    fn whatever_is_seen_no_rule_is_broken(
        names in prop::collection::btree_set(0..8u8, 0..8),
        known in known(),
        free in prop::option::of(0..12u64),
        budget in prop::option::of(0..12u64),
    ) {
        let wanted: Vec<Wanted> = names.iter().map(|n| want(*n, GIB)).collect();
        let free_bytes = free.map(|f| f * GIB + RESERVE_BYTES);
        let budget_bytes = budget.map(|b| b * GIB);
        let disk = Disk { free_bytes, budget_bytes, strays: Vec::new(), carried: BTreeSet::new() };
        let actions = act(&wanted, &known, &disk);
        let stage = |a: &Digest| known.iter().find(|k| k.artifact() == *a).map(|k| k.stage);
        let mut admitted = 0;
        for action in &actions {
            match action {
                Action::Drop(a) => {
                    let named = wanted.iter().any(|w| w.artifact.sha256 == *a);
                    prop_assert!(!named || stage(a) == Some(Stage::Dropping), "dropped what the plan names");
                    let k = known.iter().find(|k| k.artifact() == *a).unwrap();
                    // The rules say that the clock never jumped, so what is from the future is old.
                    let over = k.unnamed_since.is_some_and(|since| since > now() || now() - since >= days(3));
                    prop_assert!(over || k.stage == Stage::Dropping, "dropped before its retention was over");
                }
                Action::Fetch(w) => {
                    prop_assert!(wanted.contains(w), "fetched what no plan names");
                    admitted += u64::from(stage(&w.artifact.sha256) != Some(Stage::Listed));
                }
                _ => {}
            }
        }
        prop_assert!(admitted == 0 || free.is_some_and(|free| admitted <= free), "used room that is not there");
        prop_assert!(budget.is_none_or(|budget| admitted <= budget), "used more than the budget");
        // Each artifact that the plan names is dealt with, unless its removal is finished first.
        for w in &wanted {
            let about = actions.iter().filter(|a| a.to_string().contains(&w.artifact.sha256.short())).count();
            prop_assert!(about >= 1, "nothing is done about {}", w.artifact.sha256.short());
        }
    }
}
