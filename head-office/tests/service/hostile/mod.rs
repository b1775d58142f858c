//! Malicious requests. Each is refused with its own code, a sentence that names what is wrong and a
//! remedy; afterwards every table and every file is as before.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod bodies;
mod callers;
mod floods;
mod http;
mod reports;
mod routes;
mod world;

use std::collections::BTreeSet;

use wire::Code;

use crate::hostile::world::{Case, World};

/// Sends the cases one after the other and compares before and after; the codes that came back.
async fn run(world: &World, cases: Vec<Case>) -> BTreeSet<&'static str> {
    let mut codes = BTreeSet::new();
    let mut before = world.snapshot().await;
    for case in cases {
        let answer = case.request.send(world.address(case.to)).await;
        case.judge(&answer);
        codes.insert(case.code.as_str());
        let after = world.snapshot().await;
        assert_eq!(before, after, "{} left something behind", case.name);
        before = after;
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_hostile_requests_and_more_change_nothing() {
    let world = World::start().await;
    let groups: [fn(&World) -> Vec<Case>; 5] =
        [callers::cases, http::cases, bodies::cases, reports::cases, routes::cases];
    let (mut count, mut codes) = (0, BTreeSet::new());
    for group in groups {
        let cases = group(&world);
        count += cases.len();
        codes.extend(run(&world, cases).await);
    }
    println!("{count} hostile requests at head office, {} codes: {codes:?}", codes.len());
    assert!(count >= 40, "{count}");
    assert!(codes.len() >= 18, "{codes:?}");
    assert!(!codes.contains(Code::Internal.as_str()));
}
