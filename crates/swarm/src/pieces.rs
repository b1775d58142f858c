//! Which pieces of a torrent are held, and what that means for a range of bytes.

/// The verified pieces of one torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceSet {
    bits: Vec<u8>,
    count: u64,
    piece_length: u64,
    length: u64,
}

/// Why a bitfield does not fit its torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bitfield of {bytes} bytes does not describe {length} bytes in pieces of {piece_length}")]
pub struct PieceSetError {
    bytes: usize,
    length: u64,
    piece_length: u64,
}

impl PieceSet {
    /// From a bitfield whose first piece is the highest bit of the first byte (BEP 3), the torrent's piece length and
    /// its total length in bytes.
    ///
    /// # Errors
    /// If the bitfield's size does not follow from the lengths.
    pub fn new(bits: Vec<u8>, piece_length: u64, length: u64) -> Result<Self, PieceSetError> {
        let wrong = PieceSetError { bytes: bits.len(), length, piece_length };
        if piece_length == 0 {
            return Err(wrong);
        }
        let count = length.div_ceil(piece_length);
        if count.div_ceil(8) != bits.len() as u64 {
            return Err(wrong);
        }
        Ok(Self { bits, count, piece_length, length })
    }

    /// How many pieces the torrent has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many pieces are held.
    pub fn held(&self) -> u64 {
        (0..self.count).filter(|piece| self.has(*piece)).count() as u64
    }

    /// Whether piece number `piece` is held; false beyond the last.
    pub fn has(&self, piece: u64) -> bool {
        let Ok(byte) = usize::try_from(piece / 8) else { return false };
        piece < self.count && self.bits.get(byte).is_some_and(|bits| bits & (0x80 >> (piece % 8)) != 0)
    }

    /// Whether every byte of `offset .. offset + length` lies in held pieces. True for an empty range within the
    /// torrent, false for anything that reaches beyond its end.
    pub fn has_range(&self, offset: u64, length: u64) -> bool {
        let Some(end) = offset.checked_add(length) else { return false };
        if end > self.length {
            return false;
        }
        length == 0 || (offset / self.piece_length..=(end - 1) / self.piece_length).all(|piece| self.has(piece))
    }

    /// Whether every piece is held.
    pub fn is_complete(&self) -> bool {
        self.has_range(0, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_is_held_iff_each_of_its_bytes_is(
            held in proptest::collection::vec(any::<bool>(), 1..40), piece_length in 1u64..9, short in 0u64..8,
            offset in 0u64..400, length in 0u64..60,
        ) {
            let total = held.len() as u64 * piece_length - short.min(piece_length - 1);
            let mut bits = vec![0u8; held.len().div_ceil(8)];
            for (piece, _) in held.iter().enumerate().filter(|(_, h)| **h) {
                bits[piece / 8] |= 0x80 >> (piece % 8);
            }
            let set = PieceSet::new(bits, piece_length, total).unwrap();
            let expected = offset + length <= total
                && (offset..offset + length).all(|byte| held[(byte / piece_length) as usize]);
            prop_assert_eq!(set.has_range(offset, length), expected);
            prop_assert_eq!(set.is_complete(), held.iter().all(|h| *h));
            prop_assert_eq!(set.held(), held.iter().filter(|h| **h).count() as u64);
        }
    }

    #[test]
    fn a_bitfield_of_the_wrong_size_is_refused() {
        assert!(PieceSet::new(vec![0xff], 4, 33).is_err());
        assert!(PieceSet::new(vec![0xff; 2], 4, 32).is_err());
        assert!(PieceSet::new(vec![0xff], 0, 32).is_err());
        let set = PieceSet::new(vec![0xff], 4, 30).unwrap();
        assert!(set.is_complete() && !set.has_range(0, 31) && !set.has_range(u64::MAX, 2) && !set.has(8));
    }
}
