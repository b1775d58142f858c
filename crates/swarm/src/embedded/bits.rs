//! A set of pieces that answers quickly what one set has and others lack.

/// Pieces of one torrent, as bits in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    length: u32,
    count: u32,
}

const WORD: u32 = u64::BITS;

impl Bits {
    /// The empty set of a torrent with `length` pieces.
    pub(super) fn new(length: u32) -> Self {
        Self { words: vec![0; length.div_ceil(WORD) as usize], length, count: 0 }
    }

    /// Reads a bitfield of BEP 3. Bits beyond the last piece are dropped.
    pub(super) fn from_bitfield(bytes: &[u8], length: u32) -> Self {
        let mut bits = Self::new(length);
        let set = |piece: u32| bytes.get(piece as usize / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0);
        bits.insert_all((0..length).filter(|piece| set(*piece)));
        bits
    }

    /// Returns it as BEP 3 writes it.
    pub(super) fn to_bitfield(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length.div_ceil(8) as usize];
        for piece in self.iter() {
            if let Some(byte) = bytes.get_mut(piece as usize / 8) {
                *byte |= 0x80 >> (piece % 8);
            }
        }
        bytes
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == self.length
    }

    pub(super) fn has(&self, piece: u32) -> bool {
        self.words.get((piece / WORD) as usize).is_some_and(|word| word >> (piece % WORD) & 1 == 1)
    }

    /// Adds a piece; false if it was there or is beyond the last.
    pub(super) fn insert(&mut self, piece: u32) -> bool {
        if piece >= self.length || self.has(piece) {
            return false;
        }
        if let Some(word) = self.words.get_mut((piece / WORD) as usize) {
            *word |= 1 << (piece % WORD);
        }
        self.count += 1;
        true
    }

    /// Adds pieces.
    pub(super) fn insert_all(&mut self, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            self.insert(piece);
        }
    }

    /// Removes a piece; false if it was not there.
    pub(super) fn remove(&mut self, piece: u32) -> bool {
        if !self.has(piece) {
            return false;
        }
        if let Some(word) = self.words.get_mut((piece / WORD) as usize) {
            *word &= !(1 << (piece % WORD));
        }
        self.count -= 1;
        true
    }

    /// Returns the pieces in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        ones(self.words.iter().copied())
    }

    /// Returns the pieces that are in none of `others`, in ascending order.
    pub(super) fn without<'a, const N: usize>(&'a self, others: [&'a Self; N]) -> impl Iterator<Item = u32> + 'a {
        let word = move |(at, word): (usize, &u64)| {
            word & !others.iter().map(|other| other.words.get(at).copied().unwrap_or(0)).fold(0, |all, one| all | one)
        };
        ones(self.words.iter().enumerate().map(word))
    }
}

fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    (0..).zip(words).flat_map(|(at, mut word)| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros();
            (word != 0).then(|| {
                word &= word - 1;
                at * WORD + bit
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_bits_is_a_set(length in 1u32..200, changes in proptest::collection::vec((any::<bool>(), 0u32..210), 0..80), other in proptest::collection::vec(0u32..200, 0..60)) {
            let (mut bits, mut set) = (Bits::new(length), std::collections::BTreeSet::new());
            for (insert, piece) in changes {
                let expected = if insert { piece < length && set.insert(piece) } else { set.remove(&piece) };
                prop_assert_eq!(if insert { bits.insert(piece) } else { bits.remove(piece) }, expected);
            }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bits.count() as usize, set.len());
            prop_assert_eq!(&Bits::from_bitfield(&bits.to_bitfield(), length), &bits);
            let mut others = Bits::new(length);
            others.insert_all(other);
            let left = set.iter().copied().filter(|piece| !others.has(*piece)).collect::<Vec<_>>();
            prop_assert_eq!(bits.without([&others]).collect::<Vec<_>>(), left);
        }
    }
}
