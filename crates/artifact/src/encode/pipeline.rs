//! One reader, several workers, one writer.
//!
//! Buffers go round: the reader fills one, a worker encodes it, the writer gives it back once its segment is written.
//! There are so many and no more, which bounds memory and how far a fast worker can get ahead of a slow one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::job::{EncodeError, Job};
use super::work::Work;
use crate::bytes::{all_zero, sha256};
use crate::index::Zeros;

/// Buffers that circulate, allocated once, so that memory is bounded.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    /// Empty for zeros.
    frame: Vec<u8>,
}

struct Segment {
    number: u64,
    buffers: Buffers,
}

struct Encoded {
    segment: Segment,
    sha256: Digest,
}

type Result<T> = std::result::Result<T, EncodeError>;

/// Encodes all segments that `work` lacks.
///
/// `hasher` has seen the payload up to there. Gives the payload's digest as it was read; the caller compares it.
pub(super) fn run(job: &Job<'_>, work: &mut Work, hasher: Sha256) -> Result<Digest> {
    let window = job.workers + 2;
    let (give_back, buffers) = sync_channel(window);
    for _ in 0..window {
        // Cannot fail or block: the channel holds them all and its receiver is here.
        let _ = give_back.try_send(Buffers::default());
    }
    let (to_workers, segments) = sync_channel(window);
    let (to_writer, encoded) = channel();
    let first = work.next();
    let segments = Arc::new(Mutex::new(segments));
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(job, first, hasher, buffers, to_workers));
        for _ in 0..job.workers {
            let (segments, to_writer) = (Arc::clone(&segments), to_writer.clone());
            scope.spawn(move || encode_all(job.level, &segments, &to_writer));
        }
        // The ends that the threads hold are the only ones now, so that each side notices when the other is gone.
        drop((segments, to_writer));
        let written = write(job, work, encoded, give_back);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written?;
        read
    })
}

/// Reads and hashes in order.
///
/// Ends early, with any answer, when the others are gone: they then have the error.
fn read(
    job: &Job<'_>,
    first: u64,
    mut hasher: Sha256,
    free: Receiver<Buffers>,
    to_workers: SyncSender<Segment>,
) -> Result<Digest> {
    for number in first..job.segments {
        let Ok(mut buffers) = free.recv() else { return Err(EncodeError::Cancelled) };
        job.check_cancelled()?;
        job.read_segment(number, &mut buffers.bytes)?;
        hasher.update(&buffers.bytes);
        if to_workers.send(Segment { number, buffers }).is_err() {
            return Err(EncodeError::Cancelled);
        }
    }
    Ok(Digest::new(hasher.finalize().into()))
}

fn encode_all(level: u8, segments: &Mutex<Receiver<Segment>>, to_writer: &Sender<Result<Encoded>>) {
    let mut zeros = Zeros::default();
    let mut compressor = None;
    loop {
        // A poisoned lock is a worker that panicked while waiting; the channel is as good as before.
        let next = segments.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut segment) = next else { return };
        let number = segment.number;
        let encoded = if all_zero(&segment.buffers.bytes) {
            let sha256 = zeros.digest(segment.buffers.bytes.len() as u32);
            segment.buffers.frame.clear();
            Ok(Encoded { segment, sha256 })
        } else {
            let encoded = encode_one(level, &mut compressor, segment);
            encoded.map_err(|source| EncodeError::Compress { number, source })
        };
        let failed = encoded.is_err();
        if to_writer.send(encoded).is_err() || failed {
            return;
        }
    }
}

fn encode_one(level: u8, slot: &mut Option<Compressor<'static>>, mut segment: Segment) -> std::io::Result<Encoded> {
    let mut compressor = match slot.take() {
        Some(compressor) => compressor,
        None => new_compressor(level)?,
    };
    let Buffers { bytes, frame } = &mut segment.buffers;
    frame.clear();
    frame.reserve(compress_bound(bytes.len()));
    compressor.compress_to_buffer(bytes, frame)?;
    *slot = Some(compressor);
    Ok(Encoded { sha256: sha256(&segment.buffers.bytes), segment })
}

/// What a frame looks like is said here, not left to defaults.
///
/// It decides the artifact's bytes.
fn new_compressor(level: u8) -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(i32::from(level))?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
    compressor.set_parameter(CParameter::ChecksumFlag(false))?;
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(compressor)
}

/// Puts the frames into order and writes them.
///
/// Dropping the channels on return is what stops the others.
fn write(
    job: &Job<'_>,
    work: &mut Work,
    encoded: Receiver<Result<Encoded>>,
    give_back: SyncSender<Buffers>,
) -> Result<()> {
    let mut early = BTreeMap::new();
    for encoded in encoded {
        let encoded = encoded?;
        early.insert(encoded.segment.number, encoded);
        while let Some(next) = early.remove(&work.next()) {
            work.append(job, next.sha256, &next.segment.buffers.frame)?;
            // The reader may have ended already.
            let _ = give_back.try_send(next.segment.buffers);
            job.check_cancelled()?;
        }
    }
    Ok(())
}
