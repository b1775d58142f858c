//! The real cores of a server and its terminals in a simulated network: deterministic, in simulated time.

mod load;
mod network;
mod scenes;

use std::time::Duration;

use proptest::prelude::*;

use network::{Kind, Network, Node, Outcome};
use scenes::Scene;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn run(scene: &Scene) -> Outcome {
    Network::new(scene).run()
}

#[test]
fn six_terminals_complete_within_1_10_of_the_floor_and_take_one_copy() {
    let outcome = run(&Scene::lan(6, 100_000_000, 128 << 10));
    eprintln!("6 x 100 MB at 200 Mbit/s: {outcome}");
    assert!(outcome.all_complete(), "{outcome}");
    assert!(outcome.factor() <= 1.10, "{outcome}");
    assert!(outcome.copies() <= 1.10, "{outcome}");
    assert!(outcome.first_byte() <= MS(100), "{outcome}");
}

#[test]
fn a_mute_a_slow_and_a_dead_peer_cost_the_others_little() {
    let mute = Scene::lan(6, 50_000_000, 64 << 10).with(2, Node { kind: Kind::Mute, ..Node::LAN });
    let slow =
        Scene::lan(6, 50_000_000, 64 << 10).with(2, Node { up: 10_000_000 / 8, down: 10_000_000 / 8, ..Node::LAN });
    let dead = Scene::lan(6, 50_000_000, 64 << 10).with(3, Node { dies: Some(MS(700)), ..Node::LAN });
    for (name, scene, copies) in [("mute", mute, 1.15), ("slow", slow, 1.15), ("dead", dead, 1.15)] {
        let outcome = run(&scene);
        eprintln!("5 terminals and a {name} one, 50 MB at 200 Mbit/s: {outcome}");
        assert!(outcome.healthy_complete() && outcome.copies() <= copies, "{name}: {outcome}");
        assert!(outcome.factor() <= 1.20, "{name}: {outcome}");
    }
}

#[test]
fn twenty_terminals_complete_within_1_15_of_the_floor() {
    let outcome = run(&Scene::lan(20, 30_000_000, 64 << 10));
    eprintln!("20 x 30 MB at 200 Mbit/s: {outcome}");
    assert!(outcome.all_complete() && outcome.factor() <= 1.15 && outcome.copies() <= 1.10, "{outcome}");
}

#[test]
fn terminals_follow_a_branch_that_fetches_over_a_thin_wan() {
    for wan in [20_000_000, 50_000_000] {
        let outcome = run(&Scene::wan(6, 10_000_000, 64 << 10, wan));
        eprintln!("6 x 10 MB behind {} Mbit/s: {outcome}", wan / 1_000_000);
        assert!(outcome.all_complete(), "{outcome}");
        assert!(outcome.last() <= outcome.branch_done().mul_f64(1.05) + MS(50), "{outcome}");
        assert!(outcome.upstream_copies() <= 1.01 && outcome.copies() <= 1.15, "{outcome}");
    }
}

#[test]
fn isolated_terminals_get_everything_from_the_server() {
    let outcome = run(&Scene::lan(4, 4_000_000, 64 << 10).isolated());
    eprintln!("4 x 4 MB, isolated from each other: {outcome}");
    assert!(outcome.all_complete() && outcome.copies() <= 4.2, "{outcome}");
}

#[test]
fn a_late_joiner_is_fed_by_the_terminals() {
    let outcome = run(&Scene::lan(6, 10_000_000, 64 << 10).with(6, Node { joins: MS(20_000), ..Node::LAN }));
    eprintln!("6 x 10 MB, one 20 s late: {outcome}");
    assert!(outcome.all_complete() && outcome.copies() <= 1.15, "{outcome}");
}

#[test]
fn a_poisoned_peer_is_named_and_wastes_at_most_a_piece_of_each_terminal() {
    let scene = Scene::lan(6, 10_000_000, 64 << 10).with(2, Node { kind: Kind::Poisoned, ..Node::LAN });
    let outcome = run(&scene);
    eprintln!("5 terminals and a poisoned one, 10 MB: {outcome}");
    assert!(outcome.healthy_complete(), "{outcome}");
    assert!(
        !outcome.blamed.is_empty() && outcome.blamed.iter().all(|(_, guilty, _)| *guilty == 2),
        "{:?}",
        outcome.blamed
    );
    for terminal in [1, 3, 4, 5, 6] {
        let wasted: u64 = outcome.blamed.iter().filter(|(by, ..)| *by == terminal).map(|(.., bytes)| bytes).sum();
        assert!(wasted <= 64 << 10, "terminal {terminal} wasted {wasted} bytes");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scene = Scene::lan(4, 2_000_000, 64 << 10).with(2, Node { kind: Kind::Mute, ..Node::LAN });
    assert_eq!(format!("{}", run(&scene)), format!("{}", run(&scene)));
}

/// A terminal that uploads, with a random link.
fn healthy() -> impl Strategy<Value = Node> {
    linked(1)
}

/// The same with at least so many units of 20 Mbit/s.
fn linked(least: u64) -> impl Strategy<Value = Node> {
    (least..40, 0_u64..1_500, 1_u64..20).prop_map(|(rate, joins, latency)| Node {
        up: rate * 2_500_000,
        down: rate * 2_500_000,
        latency: Duration::from_micros(latency * 250),
        joins: MS(joins),
        ..Node::LAN
    })
}

fn odd() -> impl Strategy<Value = Node> {
    (healthy(), 0_u8..7, 1_u64..2_000).prop_map(|(node, kind, at)| match kind {
        0 => Node { kind: Kind::Mute, ..node },
        1 => Node { kind: Kind::SaysNothing, ..node },
        2 => Node { kind: Kind::Liar, ..node },
        3 => Node { kind: Kind::EagerLiar, ..node },
        4 => Node { kind: Kind::Poisoned, ..node },
        5 => Node { dies: Some(node.joins + MS(at)), ..node },
        _ => Node { leaves: Some(node.joins + MS(at)), ..node },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Whatever the others do: it ends, nothing is lost or wrong, and windows stay bounded (the network asserts them).
    #[test]
    fn healthy_terminals_always_complete(
        good in proptest::collection::vec(healthy(), 1..6), odd in proptest::collection::vec(odd(), 0..4),
        mb in 1_u64..5, piece in prop_oneof![Just(32_u32 << 10), Just(64 << 10), Just(256 << 10)], wan: bool, seed: u64,
    ) {
        let scene = Scene::of(good, odd, mb * 1_000_000 + 12_345, piece, wan, seed);
        let outcome = run(&scene);
        prop_assert!(outcome.healthy_complete(), "{}", outcome);
        prop_assert!(outcome.blamed.iter().all(|(_, guilty, _)| scene.is_poisoned(*guilty)), "{:?}", outcome.blamed);
    }

    /// All but one upload, at least as fast as the server sends: it sends little more than one copy.
    #[test]
    fn the_server_sends_at_most_1_15_copies_if_all_but_one_upload(
        good in proptest::collection::vec(linked(10), 3..7), kind in 0_u8..3, mb in 12_u64..20, seed: u64,
    ) {
        // Alone with the mute one, a server cannot know it: all join at about the same time.
        let good = good.into_iter().map(|node| Node { joins: node.joins / 100, ..node }).collect();
        let odd = Node { kind: [Kind::Normal, Kind::Mute, Kind::Liar][usize::from(kind)], ..Node::LAN };
        let scene = Scene::of(good, vec![odd], mb * 1_000_000, 64 << 10, false, seed);
        let outcome = run(&scene);
        prop_assert!(outcome.healthy_complete(), "{}", outcome);
        prop_assert!(outcome.copies() <= 1.15, "{}", outcome);
    }
}
