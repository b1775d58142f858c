//! Head office is told of the room in the store: at start, and when it changed.

use std::sync::Arc;

use branch_server::artifacts::model::{Stage, Wanted, wanted};
use branch_server::artifacts::room_report;
use branch_server::db::{artifacts, relay_queue};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Digest;
use service_kit::FixedClock;
use service_kit::database::connection;
use test_kit::wait_for;
use wire::v1::plan::Plan;
use wire::v1::reports::Report;

use crate::fixture::Fixture;
use crate::plans::plan;
use crate::support::{Branch, Options, PATIENCE};

fn stores(branch: &Branch) -> Vec<(u64, u64)> {
    let counted = branch.head_office.with(|s| s.counted.clone());
    let store = |r: &Report| match r {
        Report::Store { capacity_bytes, free_bytes, .. } => Some((*capacity_bytes, *free_bytes)),
        _ => None,
    };
    counted.iter().filter_map(|r| store(&r.report)).collect()
}

/// The most that the store may take: less than any test machine's disk has.
const BUDGET: u64 = 100_000_000;

/// The reports of the store that are queued: when each was made, capacity, free and held bytes.
async fn queued(branch: &Branch) -> Vec<(DateTime<Utc>, [u64; 3])> {
    let client = connection(&branch.app.pool).await.unwrap();
    let store = |report: &Report| match report {
        Report::Store { capacity_bytes, free_bytes, held_bytes } => Some([*capacity_bytes, *free_bytes, *held_bytes]),
        _ => None,
    };
    let queue = relay_queue::first(&client, 100).await.unwrap();
    queue.iter().filter_map(|numbered| Some((numbered.at, store(&numbered.report)?))).collect()
}

/// An artifact of `length` bytes that begins to arrive: the tracker accepts it, and nothing of it is here.
async fn arrives(branch: &Branch, length: u64) -> Digest {
    let mut step = Fixture::new(1).step;
    step.artifact.length = length;
    let wanted: Wanted = wanted(&Plan { steps: vec![step], ..plan(1) }).remove(0);
    let (client, digest) = (connection(&branch.app.pool).await.unwrap(), wanted.artifact.sha256);
    artifacts::insert(&client, &wanted).await.unwrap();
    artifacts::describe(&client, &digest, b"", b"").await.unwrap();
    assert!(artifacts::set_stage(&client, &digest, Stage::Described, Stage::Listed).await.unwrap());
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_what_room_there_is() {
    let branch = Branch::enrolled().await;
    branch.start_jobs();
    let found =
        wait_for("a report of the store", PATIENCE, async || stores(&branch).first().copied().ok_or("none came")).await;
    assert!(found.0 >= found.1 && found.0 > 0, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_notable_changes_are_reported_at_a_bounded_rate_and_room_that_comes_back_at_once() {
    let start: DateTime<Utc> = "2030-01-01T08:00:00Z".parse().unwrap();
    let clock = Arc::new(FixedClock::new(start));
    let options = Options { clock: clock.clone(), budget_bytes: Some(BUDGET), ..Options::default() };
    let branch = Branch::start(options).await;
    let (after, mut reported) = (|seconds| start + TimeDelta::seconds(seconds), None);
    let mut look = async |seconds: i64| {
        clock.advance(TimeDelta::seconds(seconds));
        room_report::once(&branch.app.artifacts, &mut reported).await.unwrap();
        queued(&branch).await
    };
    let empty = [BUDGET, BUDGET, 0];
    assert_eq!(look(0).await, [(start, empty)]);
    assert_eq!(look(61).await, [(start, empty)], "nothing changed");
    // A change of half a per cent is not notable, half of the store is.
    let small = arrives(&branch, BUDGET / 200).await;
    assert_eq!(look(1).await, [(start, empty)]);
    artifacts::delete(&connection(&branch.app.pool).await.unwrap(), &small).await.unwrap();
    let half = arrives(&branch, BUDGET / 2).await;
    assert_eq!(look(0).await, [(after(62), [BUDGET, BUDGET / 2, 0])], "the last report is more than a minute old");
    let held = [BUDGET, BUDGET / 2, BUDGET / 4];
    let client = connection(&branch.app.pool).await.unwrap();
    artifacts::set_progress(&client, &half, BUDGET / 4, None).await.unwrap();
    assert_eq!(look(59).await, [(after(62), [BUDGET, BUDGET / 2, 0])], "too early");
    assert_eq!(look(1).await, [(after(122), held)]);
    artifacts::delete(&client, &half).await.unwrap();
    assert_eq!(look(1).await, [(after(123), empty)], "room that came back is reported at once");
    let waiting = branch.status().await["head_office"]["reports_waiting"].as_u64().unwrap();
    assert_eq!(waiting, 1, "folded into the one that waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_room_is_not_reported() {
    let branch = Branch::start(Options::default()).await;
    std::fs::remove_dir(branch.dir.path().join("store")).unwrap();
    let mut reported = None;
    room_report::once(&branch.app.artifacts, &mut reported).await.unwrap();
    assert_eq!((reported, queued(&branch).await), (None, Vec::new()));
}
