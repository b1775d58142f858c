//! What the core of the engine is told, and what it asks for in turn.

use std::fmt;
use std::net::SocketAddr;

use super::shape::Block;
use super::wire::Message;

/// Names one connection of one torrent. An id is never used twice.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Something that happened to one torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Both handshakes are done.
    Connected {
        /// The new connection.
        connection: ConnectionId,
        /// The peer's address.
        address: SocketAddr,
        /// The peer is of the tier above, from which the artifact comes.
        upstream: bool,
    },
    /// A message arrived. The decoder checked its lengths.
    Received {
        /// From where.
        connection: ConnectionId,
        /// The message.
        message: Message,
    },
    /// A block was handed to the socket completely.
    Sent {
        /// To where.
        connection: ConnectionId,
        /// The block.
        block: Block,
    },
    /// The connection is gone.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// A piece of [`Action::Check`] matches its hash, and its bytes are stored.
    Stored {
        /// The piece.
        piece: u32,
    },
    /// A piece of [`Action::Check`] does not match its hash.
    Mismatched {
        /// The piece.
        piece: u32,
        /// Its bytes, so that the guilty peer can be named.
        bytes: Vec<u8>,
    },
    /// A piece of [`Action::Check`] could not be stored. It is fetched again after a pause.
    NotStored {
        /// The piece.
        piece: u32,
    },
    /// Pieces that were held are gone or damaged on the disk.
    Lost {
        /// The pieces.
        pieces: Vec<u32>,
    },
    /// Time passed: every 10 ms while something is open, and more seldom at rest.
    Tick,
}

/// Something to do for one torrent. Actions are carried out in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends a message, ahead of queued blocks. Never a [`Message::Piece`].
    Send {
        /// To where.
        connection: ConnectionId,
        /// The message.
        message: Message,
    },
    /// Reads a block and sends it after those queued before on this connection.
    Upload {
        /// To where.
        connection: ConnectionId,
        /// The block.
        block: Block,
    },
    /// Removes a block from the connection's queue, if it is still there.
    CancelUpload {
        /// To where it would have gone.
        connection: ConnectionId,
        /// The block.
        block: Block,
    },
    /// Hashes a piece and stores it. Answered by [`Event::Stored`], [`Event::Mismatched`] or [`Event::NotStored`].
    Check {
        /// The piece.
        piece: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Closes a connection. [`Event::Closed`] may follow; it is not needed.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// The reason.
        why: Closing,
    },
    /// This peer sent bytes that do not belong to the torrent. Certain, never a guess.
    Blame {
        /// The connection that brought them; it may be closed already.
        connection: ConnectionId,
        /// The peer's address.
        address: SocketAddr,
        /// The piece.
        piece: u32,
        /// Bytes received of it from this peer that do not belong to the torrent.
        bytes: u64,
    },
    /// The last missing piece is stored.
    Completed,
}

/// Why the core closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Closing {
    /// The peer sent data that does not belong to the torrent.
    Corrupt,
    /// The peer's address was blamed before.
    Refused,
    /// A message names a piece or a range that the torrent does not have.
    Invalid,
    /// A bitfield arrived after other statements about pieces.
    LateBitfield,
    /// More blocks requested at once than any client needs.
    TooManyRequests,
    /// Blocks that were not requested, again and again.
    Unrequested,
    /// Requests were open for long, and no block arrived.
    Silent,
    /// Both sides hold everything, and so do all other peers.
    AtRest,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "it sent data that does not belong to the torrent",
            Self::Refused => "its address sent data that does not belong to the torrent",
            Self::Invalid => "it named pieces that the torrent does not have",
            Self::LateBitfield => "it sent a bitfield after other messages about pieces",
            Self::TooManyRequests => "it requested more blocks at once than any client needs",
            Self::Unrequested => "it sent blocks that were not requested",
            Self::Silent => "it accepted requests and sent no block",
            Self::AtRest => "every peer holds everything",
        })
    }
}
