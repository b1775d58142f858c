//! The work folder: a prefix of the artifact's frames, and a journal that says what each of them is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe;

use super::job::{EncodeError, EncodeProgress, Job};
use crate::bytes::sha256;
use crate::index::{Entry, index_len};
use crate::record_log::RecordLog;

const FRAMES: &str = "frames";
const JOURNAL: &str = "journal";

/// Frame length, digest of the segment, digest of the frame.
const RECORD_LEN: usize = 68;

/// How many segments a power cut may cost.
///
/// A kill costs none: what the kernel has been given it keeps.
const SYNC_EVERY: u64 = 16;

/// Finished work: the first segments' frames, at their place in the frames file.
pub(super) struct Work {
    frames: File,
    path: PathBuf,
    log: RecordLog<RECORD_LEN>,
    /// Journaled by an earlier run and not verified yet.
    claimed: Vec<[u8; RECORD_LEN]>,
    entries: Vec<Entry>,
    end: u64,
    resumed: u64,
}

impl Work {
    /// Opens what an earlier run left, or begins. The journal's lock keeps a second encoder out.
    pub(super) fn open(folder: &Path, job: &Job<'_>) -> Result<Self, EncodeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| EncodeError::WorkFile { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let (log, claimed) = RecordLog::open(&folder.join(JOURNAL), context(job), job.segments)?;
        let path = folder.join(FRAMES);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let frames = opened.map_err(failed(&path))?;
        let end = index_len(job.segments);
        Ok(Self { frames, path, log, claimed, entries: Vec::new(), end, resumed: 0 })
    }

    /// Removes a run's files only. Failures are ignored: leftovers are verified by the next run.
    pub(super) fn remove(self) {
        // The journal last: its lock keeps others out of the folder as long as it has a name.
        for path in [&self.path, self.log.path()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "work file not removed");
                }
                _ => {}
            }
        }
    }

    /// Adopts an earlier run's segments up to the first with another digest than journaled.
    ///
    /// Returns the hasher of the payload up to there.
    pub(super) fn verify_resumed(&mut self, job: &Job<'_>) -> Result<Sha256, EncodeError> {
        let mut hasher = Sha256::new();
        let (mut bytes, mut frame) = (Vec::new(), Vec::new());
        for (number, record) in (0..).zip(std::mem::take(&mut self.claimed)) {
            job.check_cancelled()?;
            let (entry, frame_sha256) = parse(&record);
            job.read_segment(number, &mut bytes)?;
            let bound = zstd_safe::compress_bound(bytes.len());
            if sha256(&bytes) != entry.sha256 || entry.frame_length as usize > bound {
                break;
            }
            frame.resize(entry.frame_length as usize, 0);
            if self.frames.read_exact_at(&mut frame, self.end).is_err() || sha256(&frame) != frame_sha256 {
                break;
            }
            hasher.update(&bytes);
            self.end += u64::from(entry.frame_length);
            self.entries.push(entry);
            self.resumed = job.bytes_of(self.next());
            self.report(job);
        }
        self.log.truncate(self.next())?;
        self.frames.set_len(self.end).map_err(|source| self.failed(source))?;
        Ok(hasher)
    }

    /// The number of the segment that comes next.
    pub(super) fn next(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Adds the next segment: first its frame, then the journal's word for it.
    pub(super) fn append(&mut self, job: &Job<'_>, sha256_of_segment: Digest, frame: &[u8]) -> Result<(), EncodeError> {
        self.frames.write_all_at(frame, self.end).map_err(|source| self.failed(source))?;
        // A frame never exceeds the bound of a segment of at most 16 MiB.
        let entry = Entry { frame_length: frame.len() as u32, sha256: sha256_of_segment };
        self.log.append(&[record(&entry, frame)])?;
        self.end += frame.len() as u64;
        self.entries.push(entry);
        if self.next().is_multiple_of(SYNC_EVERY) {
            self.frames.sync_data().map_err(|source| self.failed(source))?;
            self.log.sync()?;
        }
        self.report(job);
        Ok(())
    }

    /// The finished parts: the frames file, where it lies, and the table.
    pub(super) fn parts(&self) -> (&File, &Path, &[Entry]) {
        (&self.frames, &self.path, &self.entries)
    }

    pub(super) fn failed(&self, source: io::Error) -> EncodeError {
        EncodeError::WorkFile { path: self.path.clone(), source }
    }

    fn report(&self, job: &Job<'_>) {
        let done = job.bytes_of(self.next());
        let total = job.payload.length;
        (job.progress)(EncodeProgress { done, resumed: self.resumed, total, artifact_bytes: self.end });
    }
}

/// Everything that the frames depend on, so that a journal of anything else is discarded.
fn context(job: &Job<'_>) -> [u8; 32] {
    Sha256::new()
        .chain_update("filial encode 1")
        .chain_update(job.payload.sha256.as_bytes())
        .chain_update(job.payload.length.to_le_bytes())
        .chain_update(job.segment_size.to_le_bytes())
        .chain_update([job.level])
        .chain_update(zstd_safe::version_number().to_le_bytes())
        .finalize()
        .into()
}

fn record(entry: &Entry, frame: &[u8]) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    let (length, digests) = record.split_at_mut(4);
    length.copy_from_slice(&entry.frame_length.to_le_bytes());
    digests[..32].copy_from_slice(entry.sha256.as_bytes());
    digests[32..].copy_from_slice(sha256(frame).as_bytes());
    record
}

fn parse(record: &[u8; RECORD_LEN]) -> (Entry, Digest) {
    let frame_length = u32::from_le_bytes(std::array::from_fn(|i| record[i]));
    let digest = |from: usize| Digest::new(std::array::from_fn(|i| record[from + i]));
    (Entry { frame_length, sha256: digest(4) }, digest(36))
}
