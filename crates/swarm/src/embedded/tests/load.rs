//! What events cost in the largest swarm that is expected. Printed; counts are asserted, never time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::network::held_all;
use crate::embedded::{Action, ConnectionId, Core, Event, Message, Policy, Shape};

const PEERS: u64 = 80;

/// A server of 1 GiB in 4,096 pieces: 80 terminals confirm each piece, and it ticks every 10 ms meanwhile.
#[test]
fn a_server_of_4_096_pieces_handles_80_peers() {
    let shape = Shape::new(256 << 10, 1 << 30).unwrap();
    let mut core = Core::new(shape, Policy::REVEAL, &held_all(shape), 1);
    let mut shown = std::collections::VecDeque::new();
    let (mut events, mut ticks, mut tick_time, mut reveals) = (0_u64, 0_u32, Duration::ZERO, 0_u64);
    let (mut now, start) = (Duration::ZERO, Instant::now());
    let mut take = |actions: Vec<Action>, shown: &mut std::collections::VecDeque<u32>| {
        for action in actions {
            if let Action::Send { message: Message::Have(piece), .. } = action {
                reveals += 1;
                shown.push_back(piece);
            }
        }
    };
    for peer in 0..PEERS {
        let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, peer as u8), 6881));
        let connection = ConnectionId(peer);
        take(core.handle(Event::Connected { connection, address, upstream: false }, now), &mut shown);
        take(core.handle(Event::Received { connection, message: Message::Interested }, now), &mut shown);
    }
    while let Some(piece) = shown.pop_front() {
        for peer in 0..PEERS {
            let event = Event::Received { connection: ConnectionId(peer), message: Message::Have(piece) };
            take(core.handle(event, now), &mut shown);
            events += 1;
        }
        now += Duration::from_millis(10);
        let before = Instant::now();
        take(core.handle(Event::Tick, now), &mut shown);
        tick_time += before.elapsed();
        ticks += 1;
    }
    let each = start.elapsed().saturating_sub(tick_time) / u32::try_from(events).unwrap();
    eprintln!("4,096 pieces, 80 peers: {each:?} a HAVE, {:?} a tick, {reveals} reveals", tick_time / ticks);
    assert!(events >= PEERS * 4_096 && reveals <= 4_300, "{events} events, {reveals} reveals");
}
