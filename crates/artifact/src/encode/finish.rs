//! Finishes the artifact from its frames, or recognises a finished one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use super::job::{EncodeError, EncodeProgress, Encoded, Job};
use super::work::Work;
use crate::index::{Index, write_full};

/// Writes header and table before the frames, and moves the file to `out`.
pub(super) fn finish(job: &Job<'_>, work: Work, out: &Path) -> Result<Encoded, EncodeError> {
    let (frames, path, entries) = work.parts();
    let bytes = write_full(job.payload, job.segment_size, job.level, entries);
    frames.write_all_at(&bytes, 0).and_then(|()| frames.sync_all()).map_err(|source| work.failed(source))?;
    let index = Index::parse(&bytes, job.payload).map_err(EncodeError::Segments)?;
    let sha256 = hash_file(path).map_err(|source| work.failed(source))?;
    let placed = place(path, out);
    placed.map_err(|source| EncodeError::Out { path: out.to_owned(), source })?;
    work.remove();
    Ok(summary(&index, sha256))
}

/// Returns the summary of `out` if it is already this job's artifact.
///
/// Verifies everything: decodes every segment and hashes the whole payload.
pub(super) fn adopt(job: &Job<'_>, out: &Path) -> Result<Option<Encoded>, EncodeError> {
    let Ok(mut file) = File::open(out) else { return Ok(None) };
    let Ok(index) = Index::read_from(&mut file) else { return Ok(None) };
    let same = index.payload() == job.payload
        && index.segment_size() == job.segment_size
        && index.level() == i32::from(job.level)
        && file.metadata().is_ok_and(|metadata| metadata.len() == index.artifact_len());
    if !same {
        return Ok(None);
    }
    let mut payload = Sha256::new();
    let (mut frame, mut bytes) = (Vec::new(), Vec::new());
    for segment in index.segments() {
        job.check_cancelled()?;
        let read = segment.read_frame(&file, &mut frame).is_ok();
        if !read || index.decode(segment.number, &frame, &mut bytes).is_err() {
            return Ok(None);
        }
        payload.update(&bytes);
        let done = job.bytes_of(segment.number + 1);
        let artifact_bytes = segment.frame_offset + u64::from(segment.frame_length);
        (job.progress)(EncodeProgress { done, resumed: done, total: job.payload.length, artifact_bytes });
    }
    if Digest::new(payload.finalize().into()) != job.payload.sha256 {
        return Ok(None);
    }
    // The rename may not be durable yet if the machine, and not only the process, is about to stop.
    let hashed = sync_folder_of(out).and_then(|()| hash_file(out));
    let sha256 = hashed.map_err(|source| EncodeError::Out { path: out.to_owned(), source })?;
    Ok(Some(summary(&index, sha256)))
}

fn summary(index: &Index, sha256: Digest) -> Encoded {
    Encoded {
        sha256,
        length: index.artifact_len(),
        index_sha256: index.sha256(),
        index_length: index.index_len(),
        segments: index.segments().len() as u64,
        zero_segments: index.segments().iter().filter(|segment| segment.is_zero()).count() as u64,
    }
}

/// Renames into place; copies first if the work folder is on another filesystem.
fn place(from: &Path, out: &Path) -> io::Result<()> {
    match std::fs::rename(from, out) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let mut name = out.file_name().unwrap_or_default().to_owned();
            name.push(".part");
            let part = out.with_file_name(name);
            std::fs::copy(from, &part)?;
            File::open(&part)?.sync_all()?;
            std::fs::rename(&part, out)?;
        }
        renamed => renamed?,
    }
    sync_folder_of(out)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn hash_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::new(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
