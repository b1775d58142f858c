//! Head office is told of the room in the store: at start, and when it changed.

use std::sync::Arc;

use branch_server::jobs::room;
use branch_server::sync::room::StoreRoom;
use chrono::TimeDelta;
use service_kit::FixedClock;
use test_kit::wait_for;
use wire::v1::reports::Report;

use crate::support::{Branch, Options, PATIENCE};

fn stores(branch: &Branch) -> Vec<(u64, u64)> {
    let counted = branch.head_office.with(|s| s.counted.clone());
    let store = |r: &Report| match r {
        Report::Store { capacity_bytes, free_bytes, .. } => Some((*capacity_bytes, *free_bytes)),
        _ => None,
    };
    counted.iter().filter_map(|r| store(&r.report)).collect()
}

async fn waiting(branch: &Branch) -> u64 {
    branch.status().await["head_office"]["reports_waiting"].as_u64().unwrap()
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
async fn only_changes_of_note_are_told_and_not_too_often() {
    let clock = Arc::new(FixedClock::new("2030-01-01T08:00:00Z".parse().unwrap()));
    let branch = Branch::start(Options { clock: clock.clone(), ..Options::default() }).await;
    let mut told = None;
    room::once(&branch.app, &mut told).await.unwrap();
    assert_eq!(waiting(&branch).await, 1);
    let first = told.unwrap();
    clock.advance(TimeDelta::seconds(61));
    room::once(&branch.app, &mut told).await.unwrap();
    assert_eq!(told, Some(first), "nothing of note changed");
    // As if much more had been told: a change of note, which waits until the last report is a minute old.
    let twice = StoreRoom { capacity: 2 * first.1.capacity, free: 2 * first.1.free, held: 0 };
    told = Some((first.0 + TimeDelta::seconds(61), twice));
    room::once(&branch.app, &mut told).await.unwrap();
    assert_eq!(told.unwrap().1, twice, "too early");
    clock.advance(TimeDelta::seconds(60));
    room::once(&branch.app, &mut told).await.unwrap();
    assert!(told.unwrap().1.capacity < twice.capacity);
    // As if the disk had just been full: what came back is told at once.
    told = Some((told.unwrap().0, StoreRoom { free: 0, ..told.unwrap().1 }));
    room::once(&branch.app, &mut told).await.unwrap();
    assert!(told.unwrap().1.free > 0);
    assert_eq!(waiting(&branch).await, 1, "folded into the one that waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_cannot_be_learned_is_not_told() {
    let branch = Branch::start(Options::default()).await;
    std::fs::remove_dir(branch.dir.path().join("store")).unwrap();
    let mut told = None;
    room::once(&branch.app, &mut told).await.unwrap();
    assert_eq!((told, waiting(&branch).await), (None, 0));
}
