//! The messages of BEP 3, read within bounds and written.
//!
//! Every length that a stranger announces is checked before its bytes are waited for, and memory grows only with the bytes
//! that are there. A message of an unknown kind is passed over within [`LONGEST_UNKNOWN`].

use bytes::{Buf, Bytes, BytesMut};

use super::shape::{Block, LONGEST_REQUEST};

/// Bytes of a handshake.
pub const HANDSHAKE_LENGTH: usize = 68;
/// The longest message of an unknown kind. Extensions are not offered in the handshake, so that none needs more.
pub const LONGEST_UNKNOWN: usize = 1024;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The first bytes of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The extensions that the side offers. This engine offers none.
    pub reserved: [u8; 8],
    /// The torrent.
    pub info_hash: [u8; 20],
    /// The side's peer id.
    pub peer_id: [u8; 20],
}

impl Handshake {
    /// Of this engine, which offers no extension.
    pub const fn new(info_hash: [u8; 20], peer_id: [u8; 20]) -> Self {
        Self { reserved: [0; 8], info_hash, peer_id }
    }

    /// Returns its bytes.
    pub fn encode(&self) -> [u8; HANDSHAKE_LENGTH] {
        let mut bytes = [0; HANDSHAKE_LENGTH];
        let parts = [&PROTOCOL[..], &self.reserved, &self.info_hash, &self.peer_id];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads a handshake.
    ///
    /// # Errors
    /// The bytes are of another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE_LENGTH]) -> Result<Self, WireError> {
        let (protocol, mut rest) = bytes.split_at(PROTOCOL.len());
        if protocol != PROTOCOL {
            return Err(WireError::Protocol);
        }
        let mut handshake = Self { reserved: [0; 8], info_hash: [0; 20], peer_id: [0; 20] };
        rest.copy_to_slice(&mut handshake.reserved);
        rest.copy_to_slice(&mut handshake.info_hash);
        rest.copy_to_slice(&mut handshake.peer_id);
        Ok(handshake)
    }
}

/// A message after the handshake, without its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing but a sign of life.
    KeepAlive,
    /// Requests are not answered any more.
    Choke,
    /// Requests are answered.
    Unchoke,
    /// The other side has pieces that this one lacks.
    Interested,
    /// It has none.
    NotInterested,
    /// One more piece is held.
    Have(u32),
    /// The pieces held at the start, the first in the highest bit of the first byte.
    Bitfield(Vec<u8>),
    /// Asks for a block.
    Request(Block),
    /// A block.
    Piece {
        /// The piece.
        piece: u32,
        /// Offset within the piece.
        begin: u32,
        /// Its bytes.
        data: Bytes,
    },
    /// Takes a request back.
    Cancel(Block),
    /// A message of an unknown kind, whose content is dropped.
    Unknown(u8),
}

/// Why bytes are not messages of this torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The handshake is of another protocol.
    #[error("the handshake is not one of BitTorrent")]
    Protocol,
    /// A length that no message of this torrent has.
    #[error("a message of {0} bytes is longer than any of this torrent")]
    TooLong(u32),
    /// A length that a message of this kind does not have.
    #[error("a message of kind {kind} has {length} bytes")]
    Length {
        /// The kind.
        kind: u8,
        /// Bytes, that of the kind included.
        length: u32,
    },
    /// A piece beyond the last.
    #[error("a message names piece {0}, which the torrent does not have")]
    Piece(u32),
    /// Bits beyond the last piece are set.
    #[error("the bitfield has bits beyond the last piece")]
    SpareBits,
}

const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;

/// Appends a message with its length to `out`.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let short = |out: &mut Vec<u8>, kind, numbers: &[u32]| {
        head(out, kind, numbers.len() * 4);
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    };
    match message {
        Message::KeepAlive => out.extend_from_slice(&[0; 4]),
        Message::Choke => short(out, CHOKE, &[]),
        Message::Unchoke => short(out, UNCHOKE, &[]),
        Message::Interested => short(out, INTERESTED, &[]),
        Message::NotInterested => short(out, NOT_INTERESTED, &[]),
        Message::Have(piece) => short(out, HAVE, &[*piece]),
        Message::Bitfield(bits) => {
            head(out, BITFIELD, bits.len());
            out.extend_from_slice(bits);
        }
        Message::Request(block) => short(out, REQUEST, &[block.piece, block.begin, block.length]),
        Message::Piece { piece, begin, data } => {
            out.extend_from_slice(&piece_head(*piece, *begin, data.len()));
            out.extend_from_slice(data);
        }
        Message::Cancel(block) => short(out, CANCEL, &[block.piece, block.begin, block.length]),
        Message::Unknown(kind) => short(out, *kind, &[]),
    }
}

/// Returns what precedes the bytes of a block on the wire, for a sender that holds them elsewhere.
pub fn piece_head(piece: u32, begin: u32, length: usize) -> [u8; 13] {
    let mut bytes = [0; 13];
    let total = u32::try_from(length + 9).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&total.to_be_bytes());
    bytes[4] = PIECE;
    bytes[5..9].copy_from_slice(&piece.to_be_bytes());
    bytes[9..].copy_from_slice(&begin.to_be_bytes());
    bytes
}

fn head(out: &mut Vec<u8>, kind: u8, content: usize) {
    let total = u32::try_from(content + 1).unwrap_or(u32::MAX);
    out.extend_from_slice(&total.to_be_bytes());
    out.push(kind);
}

/// Turns the bytes of one connection into messages, however they are split.
///
/// Its buffer holds at most what was fed since the last message that was taken, so feed what one read returned and take
/// messages until there is none.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    pieces: u32,
    longest_block: u32,
    failed: Option<WireError>,
}

impl Decoder {
    /// Of a torrent with this many pieces, from a peer of which no longer block is requested.
    pub fn new(pieces: u32, longest_block: u32) -> Self {
        Self { buffer: BytesMut::new(), pieces, longest_block, failed: None }
    }

    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the number of bytes that wait to become a message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the next message, if it is there completely. After an error every later call returns the same.
    ///
    /// # Errors
    /// The bytes break the protocol; the connection cannot be read any further.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end at the first gap")]
    pub fn next(&mut self) -> Result<Option<Message>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.message().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
        })
    }

    fn message(&mut self) -> Result<Option<Message>, WireError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if length == 0 {
            self.buffer.advance(4);
            return Ok(Some(Message::KeepAlive));
        }
        // Before the kind is there, the longest message of any kind is the bound.
        if length > self.longest() {
            return Err(WireError::TooLong(length));
        }
        let Some(&kind) = rest.first() else { return Ok(None) };
        if !self.fits(kind, length) {
            return Err(WireError::Length { kind, length });
        }
        let whole = length as usize + 4;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let mut content = self.buffer.split_to(whole).freeze();
        content.advance(5);
        self.read(kind, content).map(Some)
    }

    fn bitfield_length(&self) -> u32 {
        self.pieces.div_ceil(8)
    }

    fn longest(&self) -> u32 {
        let unknown = u32::try_from(LONGEST_UNKNOWN).unwrap_or(u32::MAX);
        (self.longest_block.saturating_add(9)).max(self.bitfield_length() + 1).max(unknown)
    }

    /// Reports if a message of this kind may have this length.
    fn fits(&self, kind: u8, length: u32) -> bool {
        match kind {
            CHOKE | UNCHOKE | INTERESTED | NOT_INTERESTED => length == 1,
            HAVE => length == 5,
            BITFIELD => length == self.bitfield_length() + 1,
            REQUEST | CANCEL => length == 13,
            PIECE => (10..=self.longest_block.saturating_add(9)).contains(&length),
            _ => length as usize <= LONGEST_UNKNOWN,
        }
    }

    fn read(&self, kind: u8, mut content: Bytes) -> Result<Message, WireError> {
        Ok(match kind {
            CHOKE => Message::Choke,
            UNCHOKE => Message::Unchoke,
            INTERESTED => Message::Interested,
            NOT_INTERESTED => Message::NotInterested,
            HAVE => Message::Have(self.piece(&mut content)?),
            BITFIELD => Message::Bitfield(self.bitfield(&content)?),
            REQUEST => Message::Request(self.block(content)?),
            CANCEL => Message::Cancel(self.block(content)?),
            PIECE => {
                let piece = self.piece(&mut content)?;
                Message::Piece { piece, begin: content.get_u32(), data: content }
            }
            other => Message::Unknown(other),
        })
    }

    fn piece(&self, content: &mut Bytes) -> Result<u32, WireError> {
        let piece = content.get_u32();
        if piece < self.pieces { Ok(piece) } else { Err(WireError::Piece(piece)) }
    }

    fn block(&self, mut content: Bytes) -> Result<Block, WireError> {
        let piece = self.piece(&mut content)?;
        let block = Block { piece, begin: content.get_u32(), length: content.get_u32() };
        if (1..=LONGEST_REQUEST).contains(&block.length) { Ok(block) } else { Err(WireError::TooLong(block.length)) }
    }

    fn bitfield(&self, content: &[u8]) -> Result<Vec<u8>, WireError> {
        let spare = 0xff_u8.checked_shr(self.pieces % 8).unwrap_or(0);
        let last = content.last().copied().unwrap_or(0);
        if !self.pieces.is_multiple_of(8) && last & spare != 0 {
            return Err(WireError::SpareBits);
        }
        Ok(content.to_vec())
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
