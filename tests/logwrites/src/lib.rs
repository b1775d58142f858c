//! What a disk may hold after a power cut.
//!
//! QEMU's `blklogwrites` driver keeps a log of every write, flush and discard that a machine makes on a disk, in the format
//! of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst; QEMU's block/blklogwrites.c). This
//! reads such a log and makes, from the image as it was before, the image as it may be after a cut: everything up to a flush,
//! and of what came after that and before the next one whatever a volatile write cache happened to keep, single sectors of a
//! write included.
//!
//! ```no_run
//! # use std::path::Path;
//! # fn main() -> Result<(), logwrites::LogError> {
//! let (base, log, cut) = (Path::new("base.img"), Path::new("writes.log"), Path::new("cut.img"));
//! let log = logwrites::Log::open(log, std::fs::metadata(base).unwrap().len())?;
//! for (seed, point) in log.flush_points()?.iter().enumerate() {
//!     let applied = logwrites::replay(base, &log, point, logwrites::Tail::Seeded(seed as u64), cut)?;
//!     println!("{applied:?}"); // and boot from cut.img
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it cannot show: a write that QEMU had not completed is not in the log. One that completes while a flush is under way
//! may stand before that flush in the log without being covered by it; the replay takes it for durable. QEMU itself turns a
//! guest's FUA write into a write and a flush.
//!
//! This crate must never start a machine, and must never write to the base image.

mod choice;
mod log;
mod replay;

pub use log::{Entries, Entry, FlushPoint, Kind, Log, LogError, MAX_ENTRIES, MAX_POINTS, SECTOR};
pub use replay::{Applied, Tail, advance, cut, replay};
