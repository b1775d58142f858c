//! Bounded, seeded changes to a file.

/// Longest mutated file in bytes.
const MAX: usize = 64 * 1024;

/// Numbers at which length fields go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x10000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Numbers that are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of `seed`, told apart by `stream`: each target has its own.
    pub fn new(seed: u64, stream: &str) -> Self {
        let mixed = stream.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(mixed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> Option<&'a T> {
        from.get(self.below(from.len())).copied()
    }
}

/// A changed copy of `seed`: one to four changes, parts of `other` and `words` among them.
pub(crate) fn mutate(rng: &mut Rng, seed: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seed[..seed.len().min(MAX)].to_vec();
    for _ in 0..=rng.below(4) {
        change(rng, &mut bytes, other, words);
    }
    bytes.truncate(MAX);
    // Tars hide everything behind a checksum: half of them get theirs right again.
    if bytes.get(257..262) == Some(b"ustar") && rng.below(2) == 0 {
        bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar").for_each(right_checksum);
    }
    bytes
}

fn right_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = rng.below(bytes.len() + 1);
    let end = (at + 1 + rng.below(64)).min(bytes.len());
    match rng.below(10) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at.min(end)..end)),
        2 => {
            let copy = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => {
            let from = rng.below(other.len() + 1);
            let to = (from + rng.below(512)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        4 => {
            let cut = rng.below(other.len().min(MAX) + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[cut.max(other.len().saturating_sub(MAX))..]);
        }
        5 => overwrite(bytes, at, &number(rng)),
        6 => {
            let word = rng.pick(words).unwrap_or_default();
            bytes.splice(at..at, word.iter().copied());
        }
        7 => {
            let word = rng.pick(words).unwrap_or_default();
            overwrite(bytes, at, word);
        }
        8 => {
            let value = rng.number() as u8;
            overwrite(bytes, at, &[value]);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
    }
}

/// A length as formats write them: binary in both orders and three widths, decimal, octal.
fn number(rng: &mut Rng) -> Vec<u8> {
    let edge = EDGES[rng.below(EDGES.len())].wrapping_add(rng.below(3) as u64).wrapping_sub(1);
    match rng.below(7) {
        0 => edge.to_le_bytes().to_vec(),
        1 => edge.to_be_bytes().to_vec(),
        2 => (edge as u32).to_le_bytes().to_vec(),
        3 => (edge as u32).to_be_bytes().to_vec(),
        4 => (edge as u16).to_le_bytes().to_vec(),
        5 => edge.to_string().into_bytes(),
        _ => format!("{edge:011o}").into_bytes(),
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let room = bytes.len().saturating_sub(at).min(with.len());
    bytes[at..at + room].copy_from_slice(&with[..room]);
}
