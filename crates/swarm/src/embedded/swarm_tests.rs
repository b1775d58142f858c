use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::*;
use crate::PieceSet;
use crate::embedded::events::Closing;
use crate::embedded::shape::{BLOCK_LENGTH, Block, Shape};

const PIECE: u32 = 2 * BLOCK_LENGTH;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn shape(pieces: u32) -> Shape {
    Shape::new(PIECE, u64::from(PIECE) * u64::from(pieces)).unwrap()
}

fn core(pieces: u32, policy: Policy, complete: bool) -> Core {
    let bits = if complete { Bits::from_bitfield(&vec![0xff; pieces as usize], pieces) } else { Bits::new(pieces) };
    let held = PieceSet::new(bits.to_bitfield(), u64::from(PIECE), shape(pieces).total()).unwrap();
    Core::new(shape(pieces), policy, &held, 7)
}

fn connect(core: &mut Core, peer: u64, pieces: &[u32], now: Duration) -> Vec<Action> {
    let connection = ConnectionId(peer);
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, peer as u8), 6881));
    let mut actions = core.handle(Event::Connected { connection, address, upstream: false }, now);
    for piece in pieces {
        actions.extend(receive(core, peer, Message::Have(*piece), now));
    }
    actions.extend(receive(core, peer, Message::Unchoke, now));
    actions
}

fn receive(core: &mut Core, peer: u64, message: Message, now: Duration) -> Vec<Action> {
    core.handle(Event::Received { connection: ConnectionId(peer), message }, now)
}

fn requests(actions: &[Action], peer: u64) -> Vec<Block> {
    let of = |action: &Action| match action {
        Action::Send { connection, message: Message::Request(block) } if connection.0 == peer => Some(*block),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn sends(core: &mut Core, peer: u64, block: Block, byte: u8, now: Duration) -> Vec<Action> {
    let data = Bytes::from(vec![byte; block.length as usize]);
    receive(core, peer, Message::Piece { piece: block.piece, begin: block.begin, data }, now)
}

fn closes(actions: &[Action]) -> Vec<(u64, Closing)> {
    let of = |action: &Action| match action {
        Action::Close { connection, why } => Some((connection.0, *why)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn blames(actions: &[Action]) -> Vec<(u64, u32, u64)> {
    let of = |action: &Action| match action {
        Action::Blame { connection, piece, bytes, .. } => Some((connection.0, *piece, *bytes)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

#[test]
fn a_plain_core_greets_with_its_bitfield_and_a_revealing_one_hides_it() {
    let greeting = connect(&mut core(9, Policy::PLAIN, true), 1, &[], MS(0));
    let bitfield = Message::Bitfield(vec![0xff, 0x80]);
    let send = |message| Action::Send { connection: ConnectionId(1), message };
    assert_eq!(greeting, [send(bitfield), send(Message::Unchoke)]);
    let hidden = connect(&mut core(9, Policy::REVEAL, true), 1, &[], MS(0));
    assert_eq!(hidden, [send(Message::Unchoke), send(Message::Have(0)), send(Message::Have(1))]);
}

#[test]
fn what_was_not_revealed_is_not_served() {
    let mut server = core(9, Policy::REVEAL, true);
    connect(&mut server, 1, &[], MS(0));
    let block = |piece| Block { piece, begin: 0, length: BLOCK_LENGTH };
    assert_eq!(receive(&mut server, 1, Message::Request(block(5)), MS(1)), []);
    let upload = Action::Upload { connection: ConnectionId(1), block: block(0) };
    assert_eq!(receive(&mut server, 1, Message::Request(block(0)), MS(1)), [upload]);
}

#[test]
fn a_peer_that_queues_more_than_any_client_needs_is_disconnected() {
    let mut server = core(2, Policy::PLAIN, true);
    connect(&mut server, 1, &[], MS(0));
    let block = Block { piece: 0, begin: 0, length: BLOCK_LENGTH };
    for _ in 0..2_048 {
        assert_eq!(receive(&mut server, 1, Message::Request(block), MS(1)).len(), 1);
    }
    let actions = receive(&mut server, 1, Message::Request(block), MS(1));
    assert_eq!(closes(&actions), [(1, Closing::TooManyRequests)]);
    assert_eq!(receive(&mut server, 1, Message::Request(block), MS(1)), []);
}

#[test]
fn requests_beyond_a_piece_and_late_bitfields_end_the_connection() {
    let mut server = core(2, Policy::PLAIN, true);
    connect(&mut server, 1, &[], MS(0));
    let block = Block { piece: 1, begin: PIECE - 1, length: 2 };
    assert_eq!(closes(&receive(&mut server, 1, Message::Request(block), MS(1))), [(1, Closing::Invalid)]);
    connect(&mut server, 2, &[1], MS(0));
    let actions = receive(&mut server, 2, Message::Bitfield(vec![0xc0]), MS(1));
    assert_eq!(closes(&actions), [(2, Closing::LateBitfield)]);
}

#[test]
fn a_canceled_block_leaves_the_queue_once() {
    let mut server = core(2, Policy::PLAIN, true);
    connect(&mut server, 1, &[], MS(0));
    let block = Block { piece: 0, begin: 0, length: BLOCK_LENGTH };
    receive(&mut server, 1, Message::Request(block), MS(1));
    let canceled = Action::CancelUpload { connection: ConnectionId(1), block };
    assert_eq!(receive(&mut server, 1, Message::Cancel(block), MS(1)), [canceled]);
    assert_eq!(receive(&mut server, 1, Message::Cancel(block), MS(1)), []);
}

#[test]
fn the_first_piece_of_a_peer_is_verified_before_the_second_is_requested() {
    let mut terminal = core(4, Policy::PLAIN, false);
    let first = requests(&connect(&mut terminal, 1, &[0, 1, 2, 3], MS(0)), 1);
    assert_eq!(first.len(), 2, "the blocks of one piece");
    let piece = first[0].piece;
    let mut actions = sends(&mut terminal, 1, first[0], 0, MS(1));
    actions.extend(sends(&mut terminal, 1, first[1], 0, MS(2)));
    assert!(matches!(actions.as_slice(), [Action::Check { .. }]), "{actions:?}");
    let actions = terminal.handle(Event::Stored { piece }, MS(3));
    assert_eq!(requests(&actions, 1).len(), 6, "the blocks of all others");
}

#[test]
fn the_only_source_of_a_corrupt_piece_is_blamed_and_disconnected() {
    let mut terminal = core(2, Policy::PLAIN, false);
    let blocks = requests(&connect(&mut terminal, 1, &[0], MS(0)), 1);
    blocks.iter().for_each(|block| drop(sends(&mut terminal, 1, *block, 9, MS(1))));
    let actions = terminal.handle(Event::Mismatched { piece: 0, bytes: vec![9; PIECE as usize] }, MS(2));
    assert_eq!(blames(&actions), [(1, 0, u64::from(PIECE))]);
    assert_eq!(closes(&actions), [(1, Closing::Corrupt)]);
}

/// Two peers send one block each. Which one was wrong shows when a third sends the whole piece.
#[test]
fn in_a_mixed_piece_only_the_sender_of_the_wrong_block_is_blamed() {
    let mut terminal = core(1, Policy::PLAIN, false);
    let blocks = requests(&connect(&mut terminal, 1, &[0], MS(0)), 1);
    sends(&mut terminal, 1, blocks[0], 9, MS(1));
    terminal.handle(Event::Closed { connection: ConnectionId(1) }, MS(2));
    let rest = requests(&connect(&mut terminal, 2, &[0], MS(3)), 2);
    assert_eq!(rest, blocks[1..]);
    sends(&mut terminal, 2, rest[0], 1, MS(4));
    let failed = [vec![9; BLOCK_LENGTH as usize], vec![1; BLOCK_LENGTH as usize]].concat();
    let actions = terminal.handle(Event::Mismatched { piece: 0, bytes: failed }, MS(5));
    assert_eq!(blames(&actions), [], "it is not known yet");
    let whole = requests(&connect(&mut terminal, 3, &[0], MS(6)), 3);
    assert_eq!(whole, blocks, "from one source");
    whole.iter().for_each(|block| drop(sends(&mut terminal, 3, *block, 1, MS(7))));
    let actions = terminal.handle(Event::Stored { piece: 0 }, MS(8));
    assert_eq!(blames(&actions), [(1, 0, u64::from(BLOCK_LENGTH))]);
    assert_eq!(terminal.peers().count(), 2, "the honest ones stay");
}

#[test]
fn pieces_of_a_silent_peer_go_to_others() {
    let mut terminal = core(1, Policy::PLAIN, false);
    let blocks = requests(&connect(&mut terminal, 1, &[0], MS(0)), 1);
    assert_eq!(requests(&connect(&mut terminal, 2, &[0], MS(10)), 2), []);
    assert_eq!(requests(&terminal.handle(Event::Tick, MS(90)), 2), []);
    let actions = terminal.handle(Event::Tick, MS(140));
    assert_eq!(requests(&actions, 2), blocks);
    let canceled = Action::Send { connection: ConnectionId(1), message: Message::Cancel(blocks[0]) };
    assert!(actions.contains(&canceled), "{actions:?}");
}

#[test]
fn storage_that_fails_pauses_the_transfer_and_then_it_goes_on() {
    let mut terminal = core(2, Policy::PLAIN, false);
    let blocks = requests(&connect(&mut terminal, 1, &[0, 1], MS(0)), 1);
    blocks.iter().for_each(|block| drop(sends(&mut terminal, 1, *block, 0, MS(1))));
    assert_eq!(terminal.handle(Event::NotStored { piece: blocks[0].piece }, MS(2)), []);
    assert_eq!(requests(&terminal.handle(Event::Tick, MS(500)), 1), []);
    assert_eq!(requests(&terminal.handle(Event::Tick, MS(1_100)), 1).len(), 2);
}

#[test]
fn lost_pieces_are_fetched_again() {
    let mut terminal = core(2, Policy::PLAIN, true);
    connect(&mut terminal, 1, &[0, 1], MS(0));
    let actions = terminal.handle(Event::Lost { pieces: vec![1] }, MS(1));
    assert_eq!(requests(&actions, 1).iter().map(|block| block.piece).collect::<Vec<_>>(), [1, 1]);
    assert!(!terminal.is_complete() && !terminal.has(1));
}

#[test]
fn preferred_pieces_come_first_among_equally_rare_ones() {
    let mut terminal = core(9, Policy::PLAIN, false);
    terminal.prefer([6]);
    let first = requests(&connect(&mut terminal, 1, &[2, 3, 6], MS(0)), 1);
    // Connecting, it heard of piece 2 first, but the peer unchoked at the end.
    assert_eq!(first[0].piece, 6);
}

#[test]
fn pieces_in_memory_are_bounded_whatever_peers_offer() {
    let policy = Policy { memory: u64::from(PIECE) * 5, ..Policy::PLAIN };
    let mut terminal = core(100, policy, false);
    let all: Vec<u32> = (0..99).collect();
    let mut asked = 0;
    for peer in 1..50 {
        asked += requests(&connect(&mut terminal, peer, &all, MS(0)), peer).len();
    }
    assert_eq!((asked, terminal.in_memory()), (10, u64::from(PIECE) * 5));
}

/// Its place among the pieces with one copy outlived it, and the search for a second receiver never ended.
#[test]
fn the_piece_of_a_peer_that_left_is_shown_to_the_next() {
    let mut server = core(9, Policy::REVEAL, true);
    connect(&mut server, 1, &[0], MS(0));
    server.handle(Event::Closed { connection: ConnectionId(1) }, MS(5));
    let mut actions = connect(&mut server, 2, &[], MS(10));
    actions.extend(server.handle(Event::Tick, MS(2_000)));
    let shown = Action::Send { connection: ConnectionId(2), message: Message::Have(0) };
    assert!(actions.contains(&shown), "{actions:?}");
}
