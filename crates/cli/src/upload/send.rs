//! Sends an archive in chunks, and goes on where head office stands when the link drops.

use std::time::Duration;

use indicatif::ProgressBar;
use service_kit::client::JsonClient;
use service_kit::retry::Backoff;
use tokio::time::Instant;

use wire::Code;

use crate::failure::Failure;
use crate::output::progress;

use super::memory::Upload;
use super::{Archive, tus, why_gone};

/// How often another request may take the upload over. Once may be a late one of our own; more often is somebody else.
const TAKEN_OVER: u32 = 3;

const MIB: u64 = 1024 * 1024;

/// Chunk sizes adapt to the link: large enough that requests cost nothing, small enough that one is over long before
/// anything between here and head office loses patience.
#[derive(Debug, Clone, Copy)]
struct Chunk(u64);

impl Chunk {
    const LEAST: u64 = MIB / 4;
    const MOST: u64 = 64 * MIB;
    const QUICK: Duration = Duration::from_secs(2);
    const SLOW: Duration = Duration::from_secs(8);

    fn after(self, took: Duration) -> Self {
        Self(match took {
            t if t < Self::QUICK => (self.0 * 2).min(Self::MOST),
            t if t > Self::SLOW => (self.0 / 2).max(Self::LEAST),
            _ => self.0,
        })
    }
}

/// Sends what head office does not hold yet.
pub(crate) async fn send(
    server: &JsonClient,
    archive: &Archive<'_>,
    upload: &Upload,
    retries: u32,
    quiet: bool,
) -> Result<(), Failure> {
    let bar = progress::bytes("uploading", archive.length, quiet);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut chunk = Chunk(4 * MIB);
    // The highest offset that head office has stated: failures count anew whenever it rises.
    let mut held = 0;
    let mut position = None;
    let mut taken_over = 0;
    loop {
        let begun = Instant::now();
        let step = step(server, archive, upload, position, chunk, &bar).await;
        match step {
            Ok(offset) => {
                if position.is_some() {
                    chunk = chunk.after(begun.elapsed());
                }
                if offset > held {
                    held = offset;
                    backoff.reset();
                }
                bar.set_position(offset);
                bar.set_message("");
                if offset == archive.length {
                    bar.finish_and_clear();
                    return Ok(());
                }
                position = Some(offset);
            }
            Err(Failure::Client(e)) if tus::is_gone(&e) => {
                bar.abandon();
                let why = why_gone(server, upload).await;
                return Err(Failure::said(
                    format!("The upload has ended at head office: {why}"),
                    "Give the same command again to upload the archive anew.",
                ));
            }
            Err(Failure::Client(e)) if e.code() == Some(Code::UploadTakenOver) && taken_over == TAKEN_OVER => {
                bar.abandon();
                return Err(Failure::said(
                    "Another program with the same token uploads this archive and keeps taking over",
                    "Let one of them go on alone; this one can be given again at any time.",
                ));
            }
            Err(Failure::Client(e)) if tus::is_worth_retrying(&e) && backoff.failures() < retries => {
                taken_over += u32::from(e.code() == Some(Code::UploadTakenOver));
                position = None;
                bar.set_message(match e.code() {
                    None => "(the link dropped; trying again)",
                    Some(Code::UploadBusy) => "(somebody else is uploading it; trying again)",
                    Some(_) => "(head office cannot go on just now; trying again)",
                });
                tokio::time::sleep(backoff.next()).await;
            }
            Err(failure) => {
                bar.abandon();
                let source = Box::new(failure);
                return Err(Failure::UploadStopped { done: held, total: archive.length, source });
            }
        }
    }
}

/// Asks where the upload stands, if that is not known; sends the next chunk, if it is.
async fn step(
    server: &JsonClient,
    archive: &Archive<'_>,
    upload: &Upload,
    position: Option<u64>,
    Chunk(chunk): Chunk,
    bar: &ProgressBar,
) -> Result<u64, Failure> {
    let offset = match position {
        None => tus::offset(server, upload).await?,
        Some(at) => tus::patch(server, upload, archive.path, (at, chunk.min(archive.length - at)), bar).await?,
    };
    if offset > archive.length {
        return Err(Failure::said(
            format!("Head office holds {offset} bytes of an archive that has {}", archive.length),
            "Upload it again; if that does not help, pack it again.",
        ));
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_the_link_within_their_bounds() {
        let mut chunk = Chunk(4 * MIB);
        for _ in 0..20 {
            chunk = chunk.after(Duration::from_millis(10));
        }
        assert_eq!(chunk.0, Chunk::MOST);
        assert_eq!(chunk.after(Duration::from_secs(5)).0, Chunk::MOST);
        for _ in 0..20 {
            chunk = chunk.after(Duration::from_secs(30));
        }
        assert_eq!(chunk.0, Chunk::LEAST);
    }
}
