//! Decoding an artifact and writing it to a slot, as an agent does.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use artifact::{Applier, FileDisk, Index, Segment};

/// How many segments are written between two checkpoints.
const CHECKPOINT: usize = 8;

/// Applies all of an artifact to a new file; returns how many seconds that took, the last sync included.
///
/// # Errors
/// The artifact is not in order, or the file cannot be written.
pub(crate) fn seconds(artifact: &Path, folder: &Path) -> Result<f64> {
    let mut file = File::open(artifact).with_context(|| format!("cannot open {}", artifact.display()))?;
    let index = Arc::new(Index::read_from(&mut file)?);
    let (slot, journal) = (folder.join("slot"), folder.join("journal"));
    for old in [&slot, &journal] {
        let _ = std::fs::remove_file(old); // Not there the first time.
    }
    let length = index.payload().length;
    File::create(&slot).and_then(|f| f.set_len(length)).with_context(|| format!("cannot create {}", slot.display()))?;
    let begun = Instant::now();
    let mut disk = FileDisk::open(&slot)?;
    let mut applier = Applier::open(Arc::clone(&index), &journal)?;
    let missing: Vec<Segment> = applier.missing().copied().collect();
    let mut frame = Vec::new();
    for some in missing.chunks(CHECKPOINT) {
        for segment in some {
            segment.read_frame(&file, &mut frame).context("cannot read a frame")?;
            applier.apply(&mut disk, segment.number, &frame)?;
        }
        applier.checkpoint(&mut disk)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(applier.is_complete(), "not every segment was applied");
    Ok(seconds)
}
