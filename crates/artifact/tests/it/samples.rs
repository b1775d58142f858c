//! What several test files need: payloads, sources, and artifacts of them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::{EncodeError, EncodeOptions, EncodeProgress, Encoded, Index, PayloadId, PayloadSource};
use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

pub const SEGMENT: u32 = 64 << 10;

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

pub fn id_of(bytes: &[u8]) -> PayloadId {
    PayloadId { sha256: sha256(bytes), length: bytes.len() as u64 }
}

/// A stream of numbers that looks random and is the same every time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Bytes like those of an image: text-like, incompressible and zero segments in turn.
pub fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes = vec![0; length];
    for segment in bytes.chunks_mut(SEGMENT as usize) {
        match noise.below(4) {
            0 => {}
            1 => noise.fill(segment),
            _ => {
                for word in segment.chunks_mut(16) {
                    let text = format!("line {:>11}", noise.below(300));
                    word.copy_from_slice(&text.as_bytes()[..word.len()]);
                }
            }
        }
    }
    bytes
}

/// A payload in memory.
pub struct Memory(pub Vec<u8>);

impl PayloadSource for Memory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let range = self.0.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(range);
        Ok(())
    }
}

pub fn options(workers: usize) -> EncodeOptions {
    EncodeOptions { segment_size: SEGMENT, level: 1, workers }
}

/// A folder to encode in: `work` and `out` below it.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    pub fn out(&self) -> PathBuf {
        self.0.path().join("artifact")
    }

    pub fn artifact(&self) -> Vec<u8> {
        std::fs::read(self.out()).unwrap()
    }

    pub fn encode(&self, bytes: &[u8], options: &EncodeOptions) -> Result<Encoded, EncodeError> {
        self.encode_as(&Memory(bytes.to_vec()), id_of(bytes), options, &|_| {}, &|| false)
    }

    pub fn encode_as(
        &self,
        source: &dyn PayloadSource,
        id: PayloadId,
        options: &EncodeOptions,
        progress: &(dyn Fn(EncodeProgress) + Sync),
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Encoded, EncodeError> {
        artifact::encode(source, id, &self.work(), &self.out(), options, progress, cancelled)
    }

    /// Encodes until so many segments were encoded in this run, then cancels. `None` if that was all.
    pub fn encode_some(&self, source: &[u8], id: PayloadId, options: &EncodeOptions, segments: u64) -> Option<Encoded> {
        let new = std::sync::atomic::AtomicU64::new(0);
        let progress = |p: EncodeProgress| {
            let bytes = (p.done - p.resumed).div_ceil(u64::from(options.segment_size));
            new.store(bytes, std::sync::atomic::Ordering::SeqCst);
        };
        let cancelled = || new.load(std::sync::atomic::Ordering::SeqCst) >= segments;
        match self.encode_as(&Memory(source.to_vec()), id, options, &progress, &cancelled) {
            Ok(encoded) => Some(encoded),
            Err(EncodeError::Cancelled) => None,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// An artifact, its index, and its bytes.
pub struct Sample {
    pub payload: Vec<u8>,
    pub artifact: Vec<u8>,
    pub index: Arc<Index>,
}

impl Sample {
    pub fn new(payload: Vec<u8>) -> Self {
        let place = Place::new();
        place.encode(&payload, &options(2)).unwrap();
        let index = Arc::new(Index::read_from(&mut File::open(place.out()).unwrap()).unwrap());
        Self { payload, artifact: place.artifact(), index }
    }

    pub fn id(&self) -> PayloadId {
        self.index.payload()
    }

    pub fn index_bytes(&self) -> &[u8] {
        &self.artifact[..self.index.index_len() as usize]
    }

    pub fn frame(&self, number: u64) -> &[u8] {
        let segment = self.index.segment(number).unwrap();
        let from = segment.frame_offset as usize;
        &self.artifact[from..from + segment.frame_length as usize]
    }
}

pub fn flip(path: &Path, at: u64, bit: u8) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}
