//! Sends an archive in chunks; resumes at head office's offset when the link drops.

use std::cell::Cell;
use std::time::Duration;

use indicatif::ProgressBar;
use service_kit::client::JsonClient;
use service_kit::retry::Backoff;
use service_kit::{Clock as _, SystemClock};

use wire::Code;

use crate::commands::releases::fetch;
use crate::failure::Failure;
use crate::output::{plain, progress};

use super::archive::Archive;
use super::memory::Upload;
use super::tus;

/// How often another request may take the upload over.
///
/// Once may be our own late request; more is another client.
const TAKEN_OVER: u32 = 3;

const MIB: u64 = 1024 * 1024;

/// A chunk size that adapts to the link.
///
/// Large enough that requests cost nothing, small enough to stay far below the timeout of any proxy on the way.
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

/// Sends the bytes that head office does not hold yet.
///
/// `held` is the highest offset that head office has stated; progress resets the retries.
pub(crate) async fn send(
    server: &JsonClient,
    archive: &Archive<'_>,
    upload: &Upload,
    retries: u32,
    quiet: bool,
    held: &Cell<u64>,
) -> Result<(), Failure> {
    let bar = progress::bytes("uploading", archive.length, quiet);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut chunk = Chunk(4 * MIB);
    let mut position = None;
    let mut taken_over = 0;
    loop {
        let begun = SystemClock.now();
        let step = step(server, archive, upload, position, chunk, &bar).await;
        match step {
            Ok(offset) => {
                if position.is_some() {
                    // A clock that was set back counts as quick: the next chunk shows.
                    chunk = chunk.after((SystemClock.now() - begun).to_std().unwrap_or_default());
                }
                if offset > held.get() {
                    held.set(offset);
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
                    format!("Head office ended the upload: {why}"),
                    "Repeat the command to upload the archive again.",
                ));
            }
            Err(Failure::Client(e)) if e.code() == Some(Code::UploadTakenOver) && taken_over == TAKEN_OVER => {
                bar.abandon();
                return Err(Failure::said(
                    "Another program with the same token keeps taking over this upload",
                    "Let one of them finish alone; this command can be repeated at any time.",
                ));
            }
            Err(Failure::Client(e)) if tus::is_worth_retrying(&e) && backoff.failures() < retries => {
                taken_over += u32::from(e.code() == Some(Code::UploadTakenOver));
                position = None;
                bar.set_message(match e.code() {
                    None => "(link dropped, retrying)",
                    Some(Code::UploadBusy) => "(another client is uploading it, retrying)",
                    Some(_) => "(head office is busy, retrying)",
                });
                tokio::time::sleep(backoff.next()).await;
            }
            Err(failure) => {
                bar.abandon();
                let source = Box::new(failure);
                return Err(Failure::UploadStopped { done: held.get(), total: archive.length, source });
            }
        }
    }
}

/// Why the upload ended, as head office states it.
pub(super) async fn why_gone(server: &JsonClient, upload: &Upload) -> String {
    let release = match upload.release() {
        Ok(id) => fetch(server, id).await.ok(),
        Err(_) => None,
    };
    match release {
        Some(release) if !release.reasons.is_empty() => plain(&release.why()),
        _ => "Head office does not know it.".to_owned(),
    }
}

/// Sends the next chunk; asks for the offset first if `position` is unknown.
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
            format!("Head office holds {offset} bytes of an archive of only {} bytes", archive.length),
            "Cancel the upload with `filial release cancel` and upload the archive again.",
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
