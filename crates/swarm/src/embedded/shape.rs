//! The sizes of one torrent: its pieces and their blocks.

/// Bytes of a block as this engine requests it; a piece's last block may be shorter.
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The longest block that a peer may request.
pub const LONGEST_REQUEST: u32 = 128 * 1024;

/// A part of a piece, as requested and sent.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Block {
    /// The piece.
    pub piece: u32,
    /// Offset within the piece.
    pub begin: u32,
    /// Bytes.
    pub length: u32,
}

/// How a torrent's bytes are divided.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Shape {
    pieces: u32,
    piece_length: u32,
    total: u64,
}

impl Shape {
    /// Of a torrent with `total` bytes in pieces of `piece_length`; `None` if there is no byte or there are too many pieces.
    pub fn new(piece_length: u32, total: u64) -> Option<Self> {
        if piece_length == 0 || total == 0 {
            return None;
        }
        let pieces = u32::try_from(total.div_ceil(u64::from(piece_length))).ok()?;
        Some(Self { pieces, piece_length, total })
    }

    /// Returns the number of pieces, at least one.
    pub const fn pieces(self) -> u32 {
        self.pieces
    }

    /// Returns the bytes of every piece but the last.
    pub const fn piece_length(self) -> u32 {
        self.piece_length
    }

    /// Returns the bytes of all pieces.
    pub const fn total(self) -> u64 {
        self.total
    }

    /// Returns the bytes of one piece; 0 beyond the last.
    pub fn length_of(self, piece: u32) -> u32 {
        let start = u64::from(piece) * u64::from(self.piece_length);
        let left = self.total.saturating_sub(start).min(u64::from(self.piece_length));
        u32::try_from(left).unwrap_or(self.piece_length)
    }

    /// Returns the number of blocks of one piece.
    pub fn blocks_of(self, piece: u32) -> u32 {
        self.length_of(piece).div_ceil(BLOCK_LENGTH)
    }

    /// Returns block number `index` of a piece; its length is 0 beyond the last.
    pub fn block(self, piece: u32, index: u32) -> Block {
        let begin = index.saturating_mul(BLOCK_LENGTH);
        Block { piece, begin, length: self.length_of(piece).saturating_sub(begin).min(BLOCK_LENGTH) }
    }

    /// Reports if a peer may request this block: within its piece, not empty and not too long.
    pub fn allows(self, block: Block) -> bool {
        let end = block.begin.checked_add(block.length);
        (1..=LONGEST_REQUEST).contains(&block.length) && end.is_some_and(|end| end <= self.length_of(block.piece))
    }

    /// Returns the place of a block's first byte in the torrent.
    pub fn offset_of(self, block: Block) -> u64 {
        u64::from(block.piece) * u64::from(self.piece_length) + u64::from(block.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_all_pieces_are_the_torrent() {
        for (piece_length, total) in [(65_536, 200_000), (16_384, 16_384), (20_000, 61_000), (262_144, 1)] {
            let shape = Shape::new(piece_length, total).unwrap();
            let mut at = 0;
            for piece in 0..shape.pieces() {
                for index in 0..shape.blocks_of(piece) {
                    let block = shape.block(piece, index);
                    assert_eq!(shape.offset_of(block), at);
                    assert!(shape.allows(block));
                    at += u64::from(block.length);
                }
            }
            assert_eq!(at, total);
            assert_eq!(shape.length_of(shape.pieces()), 0);
        }
        assert!(Shape::new(0, 5).is_none() && Shape::new(5, 0).is_none() && Shape::new(1, u64::MAX).is_none());
    }

    #[test]
    fn a_request_lies_within_its_piece_and_is_not_too_long() {
        let shape = Shape::new(1 << 20, 3 << 20).unwrap();
        let allows = |piece, begin, length| shape.allows(Block { piece, begin, length });
        assert!(allows(2, 0, LONGEST_REQUEST) && allows(2, (1 << 20) - 1, 1));
        assert!(!allows(2, 0, LONGEST_REQUEST + 1) && !allows(2, 0, 0) && !allows(3, 0, 1));
        assert!(!allows(0, (1 << 20) - 1, 2) && !allows(0, u32::MAX, 2));
    }
}
