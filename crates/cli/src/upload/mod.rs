//! `filial release upload`: sends the archive by tus 1.0, resumes, then follows the release.

mod archive;
mod follow;
mod memory;
mod send;
mod tus;

use std::cell::Cell;
use std::path::Path;

use fleet_types::ReleaseState;
use service_kit::client::JsonClient;
use service_kit::output;
use uuid::Uuid;
use wire::Code;
use wire::v1::paths;
use wire::v1::releases::Release;

use crate::args::Global;
use crate::commands::releases::{fetch, of_version};
use crate::failure::Failure;
use crate::output::release::display_name;
use crate::output::units::size;
use crate::output::{answer, plain};
use crate::server::{block_on, connect};

use archive::Archive;
use memory::{Memory, Upload};
use send::why_gone;

/// Uploads the archive; with `wait`, follows the release to its verdict.
pub(crate) fn run(global: &Global, path: &Path, wait: bool, retries: u32) -> Result<(), Failure> {
    let archive = Archive::read(path, global.json)?;
    let server = connect(global)?;
    let memory = Memory::of(global, server.base_url(), &archive.sha256);
    block_on(async {
        if let Some(found) = already_there(&server, path).await {
            if wait && found.state != ReleaseState::Published {
                let release = follow::follow(&server, found.id, retries, global.json).await?;
                memory.forget();
                return follow::verdict(&release, global.json);
            }
            memory.forget();
            return answer(global.json, &found, |r| {
                let (name, id) = (display_name(r), r.id);
                format!(
                    "{name} is already {} as {id}. Nothing was sent.\n`filial release show {id}` shows it.",
                    r.state
                )
            });
        }
        let (upload, offset) = begin(&server, &archive, &memory, global.json).await?;
        let held = Cell::new(offset);
        tokio::select! {
            sent = send::send(&server, &archive, &upload, retries, global.json, &held) => sent?,
            Ok(()) = tokio::signal::ctrl_c() => return Err(Failure::interrupted(
                format!("The upload was interrupted: head office holds {} of {}", size(held.get()), size(archive.length)),
                format!("Repeat the command: it resumes there. `filial release cancel {}` discards it.", path.display()),
            )),
        }
        let id = upload.release()?;
        // Remembered until the verdict: a repeated command goes on watching instead of sending all again.
        if wait {
            let release = follow::follow(&server, id, retries, global.json).await?;
            memory.forget();
            return follow::verdict(&release, global.json);
        }
        let release = follow::look(&server, id, retries).await?;
        memory.forget();
        answer(global.json, &release, |r| {
            format!(
                "{} is uploaded as {id} and {}.\n`filial release show {id}` shows its checklist.",
                display_name(r),
                r.state
            )
        })
    })
}

/// The release at head office that was made from an archive with the same manifest, and so with the same payloads.
///
/// Only one that was judged and has not ended. If head office cannot be asked, or does not let this operator ask, the archive is sent.
async fn already_there(server: &JsonClient, path: &Path) -> Option<Release> {
    let read = release::inspect(std::fs::File::open(path).ok()?, &release::Limits::default()).ok()?;
    let (manifest, digest) = (read.manifest()?, read.manifest.as_ref()?.sha256);
    let releases = of_version(server, &manifest.product, &manifest.version).await.ok()?;
    releases.into_iter().find(|r| !r.state.is_end() && r.manifest == Some(digest))
}

/// Cancels the upload of the archive `which`, or the one with that id.
pub(crate) fn cancel(global: &Global, which: &str) -> Result<(), Failure> {
    let server = connect(global)?;
    if let Ok(id) = which.parse::<Uuid>() {
        let upload = Upload::at(&format!("{}/{id}", paths::UPLOADS), "")?;
        return block_on(end(global, &server, &upload));
    }
    let archive = Archive::read(Path::new(which), global.json)?;
    let memory = Memory::of(global, server.base_url(), &archive.sha256);
    let upload = memory.recall(archive.length).ok_or_else(|| {
        Failure::said(
            format!("No unfinished upload of {} to this server was started on this machine", archive.path.display()),
            "Give the upload's id instead; `filial release list` shows it.",
        )
    })?;
    block_on(async {
        end(global, &server, &upload).await?;
        memory.forget();
        Ok(())
    })
}

async fn end(global: &Global, server: &JsonClient, upload: &Upload) -> Result<(), Failure> {
    match tus::terminate(server, upload).await {
        // It had ended before, or the answer to an earlier try was lost: either way it is cancelled.
        Err(e) if e.code() == Some(Code::UploadGone) => {}
        other => other?,
    }
    let release = fetch(server, upload.release()?).await?;
    answer(global.json, &release, |r| format!("{} is {}. {}", display_name(r), r.state, plain(&r.why())))
}

/// The unfinished upload of an earlier call, if head office still has it, and how many bytes it holds.
///
/// Otherwise a new one.
async fn begin(
    server: &JsonClient,
    archive: &Archive<'_>,
    memory: &Memory,
    quiet: bool,
) -> Result<(Upload, u64), Failure> {
    if let Some(upload) = memory.recall(archive.length) {
        match tus::offset(server, &upload).await {
            Ok(offset) => return Ok((upload, offset)),
            Err(e) if tus::is_gone(&e) => {
                if !quiet {
                    let why = why_gone(server, &upload).await;
                    output::complain(&format!("filial: the earlier upload has ended, starting again: {why}\n"));
                }
                memory.forget();
            }
            Err(e) => return Err(e.into()),
        }
    }
    let upload = tus::create(server, archive.length, &archive.name).await?;
    memory.keep(&upload, archive.length)?;
    Ok((upload, 0))
}
