use proptest::prelude::*;

use super::*;

const PIECES: u32 = 19;
const BLOCK: u32 = 16 * 1024;

fn decoder() -> Decoder {
    Decoder::new(PIECES, BLOCK)
}

/// Feeds the bytes in parts of `step` and returns all messages.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Message>, WireError> {
    let mut decoder = decoder();
    let mut messages = Vec::new();
    for part in bytes.chunks(step) {
        decoder.feed(part);
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
    }
    assert!(decoder.buffered() < bytes.len().max(1));
    Ok(messages)
}

/// One message of each kind, and its bytes as BEP 3 writes them.
fn golden() -> Vec<(Message, Vec<u8>)> {
    let block = Block { piece: 3, begin: 0x4000, length: 0x4000 };
    let numbers = [0, 0, 0, 3, 0, 0, 0x40, 0, 0, 0, 0x40, 0];
    let long = |head: &[u8], rest: &[u8]| [head, rest].concat();
    vec![
        (Message::KeepAlive, vec![0, 0, 0, 0]),
        (Message::Choke, vec![0, 0, 0, 1, 0]),
        (Message::Unchoke, vec![0, 0, 0, 1, 1]),
        (Message::Interested, vec![0, 0, 0, 1, 2]),
        (Message::NotInterested, vec![0, 0, 0, 1, 3]),
        (Message::Have(18), vec![0, 0, 0, 5, 4, 0, 0, 0, 18]),
        (Message::Bitfield(vec![0x80, 0x01, 0xe0]), vec![0, 0, 0, 4, 5, 0x80, 0x01, 0xe0]),
        (Message::Request(block), long(&[0, 0, 0, 13, 6], &numbers)),
        (
            Message::Piece { piece: 3, begin: 0x4000, data: Bytes::from_static(b"data") },
            long(&[0, 0, 0, 13, 7], &[0, 0, 0, 3, 0, 0, 0x40, 0, b'd', b'a', b't', b'a']),
        ),
        (Message::Cancel(block), long(&[0, 0, 0, 13, 8], &numbers)),
        (Message::Unknown(20), vec![0, 0, 0, 1, 20]),
    ]
}

#[test]
fn messages_have_the_bytes_of_bep_3() {
    for (message, bytes) in golden() {
        let mut out = Vec::new();
        encode(&message, &mut out);
        assert_eq!(out, bytes, "{message:?}");
        assert_eq!(read(&bytes, bytes.len()), Ok(vec![message]));
    }
}

#[test]
fn a_handshake_has_the_bytes_of_bep_3() {
    let handshake = Handshake::new([7; 20], *b"-FL0001-0123456789ab");
    let bytes = handshake.encode();
    assert_eq!(&bytes[..28], b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0");
    assert_eq!((&bytes[28..48], &bytes[48..]), (&[7; 20][..], &b"-FL0001-0123456789ab"[..]));
    assert_eq!(Handshake::decode(&bytes), Ok(handshake));
    let mut other = bytes;
    other[1] = b'b';
    assert_eq!(Handshake::decode(&other), Err(WireError::Protocol));
}

#[test]
fn reads_split_anywhere_give_the_same_messages() {
    let (messages, parts): (Vec<_>, Vec<_>) = golden().into_iter().unzip();
    let bytes = parts.concat();
    for step in 1..=bytes.len() {
        assert_eq!(read(&bytes, step).as_ref(), Ok(&messages), "in parts of {step}");
    }
    for at in 0..=bytes.len() {
        let mut decoder = decoder();
        let mut all = Vec::new();
        for part in [&bytes[..at], &bytes[at..]] {
            decoder.feed(part);
            while let Some(message) = decoder.next().unwrap() {
                all.push(message);
            }
        }
        assert_eq!(all, messages, "split at {at}");
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn lengths_that_no_message_of_its_kind_has_are_refused() {
    let too_long = BLOCK + 10;
    let cases: [(&[u8], WireError); 13] = [
        (&[0xff, 0xff, 0xff, 0xff], WireError::TooLong(u32::MAX)),
        (&too_long.to_be_bytes(), WireError::TooLong(too_long)),
        (&[0, 0, 0, 2, 1], WireError::Length { kind: 1, length: 2 }),
        (&[0, 0, 0, 4, 4], WireError::Length { kind: 4, length: 4 }),
        (&[0, 0, 0, 3, 5], WireError::Length { kind: 5, length: 3 }),
        (&[0, 0, 0, 5, 5], WireError::Length { kind: 5, length: 5 }),
        (&[0, 0, 0, 12, 6], WireError::Length { kind: 6, length: 12 }),
        (&[0, 0, 0, 9, 7], WireError::Length { kind: 7, length: 9 }),
        (&[0, 0, 4, 1, 20], WireError::Length { kind: 20, length: 1025 }),
        (&[0, 0, 0, 5, 4, 0, 0, 0, 19], WireError::Piece(19)),
        (&[0, 0, 0, 10, 7, 0, 0, 0, 19, 0, 0, 0, 0, 1], WireError::Piece(19)),
        (&[0, 0, 0, 4, 5, 0, 0, 0x10], WireError::SpareBits),
        (&[0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1], WireError::TooLong(LONGEST_REQUEST + 1)),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(bytes, 1), Err(error), "{bytes:?}");
    }
}

#[test]
fn the_longest_request_and_an_empty_one_are_the_bounds() {
    let request = |length: u32| [&[0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0, 0][..], &length.to_be_bytes()].concat();
    assert!(read(&request(LONGEST_REQUEST), 3).is_ok());
    assert_eq!(read(&request(0), 3), Err(WireError::TooLong(0)));
}

#[test]
fn an_unknown_message_is_passed_over_with_its_content() {
    let mut bytes = vec![0, 0, 4, 0, 20];
    bytes.resize(4 + LONGEST_UNKNOWN, 0xff);
    bytes.extend([0, 0, 0, 1, 1]);
    assert_eq!(read(&bytes, 100), Ok(vec![Message::Unknown(20), Message::Unchoke]));
}

#[test]
fn a_connection_that_failed_stays_failed_and_keeps_nothing() {
    let mut decoder = decoder();
    decoder.feed(&[0xff; 4]);
    assert!(decoder.next().is_err());
    decoder.feed(&[0, 0, 0, 1, 1]);
    assert_eq!((decoder.next(), decoder.buffered()), (Err(WireError::TooLong(u32::MAX)), 0));
}

#[test]
fn memory_does_not_grow_by_an_announced_length_nor_by_a_flood() {
    let mut slow = Decoder::new(PIECES, 1 << 30);
    slow.feed(&[&(1u32 << 30).to_be_bytes()[..], &[7]].concat());
    assert_eq!(slow.next(), Ok(None));
    assert!(slow.buffer.capacity() < 1024, "{} bytes are reserved", slow.buffer.capacity());

    let mut flooded = decoder();
    let flood = [0, 0, 0, 1, 2].repeat(2_000);
    let mut count = 0;
    for _ in 0..100 {
        flooded.feed(&flood);
        while flooded.next().unwrap().is_some() {
            count += 1;
        }
        assert!(flooded.buffer.capacity() <= 64 * 1024, "{} bytes are reserved", flooded.buffer.capacity());
    }
    assert_eq!((count, flooded.buffered()), (200_000, 0));
}

proptest! {
    #[test]
    fn arbitrary_bytes_neither_panic_nor_pile_up(bytes in proptest::collection::vec(any::<u8>(), 0..4096), step in 1usize..97) {
        let mut decoder = decoder();
        for part in bytes.chunks(step) {
            decoder.feed(part);
            while let Ok(Some(_)) = decoder.next() {}
            prop_assert!(decoder.buffered() <= BLOCK as usize + 13);
        }
    }

    /// Lengths and kinds that occur, so that the content is reached.
    #[test]
    fn frames_of_known_kinds_neither_panic_nor_lose_their_place(
        frames in proptest::collection::vec((0u8..10, proptest::collection::vec(0u8..24, 0..20)), 1..40), step in 1usize..50,
    ) {
        let mut bytes = Vec::new();
        for (kind, content) in &frames {
            bytes.extend(u32::try_from(content.len() + 1).unwrap().to_be_bytes());
            bytes.push(*kind);
            bytes.extend(content);
        }
        let whole = read(&bytes, bytes.len());
        prop_assert_eq!(&read(&bytes, step).map_err(|_| ()), &whole.clone().map_err(|_| ()));
        if let Ok(messages) = whole {
            prop_assert_eq!(messages.len(), frames.len());
        }
    }

    #[test]
    fn what_is_written_is_read(piece in 0..PIECES, begin: u32, length in 1..=LONGEST_REQUEST, data in proptest::collection::vec(any::<u8>(), 1..300)) {
        let block = Block { piece, begin, length };
        let messages = vec![
            Message::Request(block), Message::Cancel(block), Message::Have(piece),
            Message::Piece { piece, begin, data: Bytes::from(data) },
        ];
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| encode(message, &mut bytes));
        prop_assert_eq!(read(&bytes, 7), Ok(messages));
    }
}
