//! `filial release upload`: tus 1.0, resumed by the next call if this one is cut off.

mod follow;
mod memory;
mod send;
mod tus;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use fleet_types::Digest;
use service_kit::client::JsonClient;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use wire::Code;
use wire::v1::paths;

use crate::args::Global;
use crate::commands::called;
use crate::failure::Failure;
use crate::output::{answer, plain, progress};
use crate::server::{block_on, connect};

use memory::{Memory, Upload};

/// What is to be uploaded.
pub(crate) struct Archive<'a> {
    path: &'a Path,
    name: String,
    length: u64,
    sha256: Digest,
}

pub(crate) fn run(global: &Global, path: &Path, wait: bool, retries: u32) -> Result<(), Failure> {
    let archive = look_at(path, global.json)?;
    let server = connect(global)?;
    let memory = Memory::of(global, server.base_url(), &archive.sha256);
    block_on(async {
        let upload = begin(&server, &archive, &memory, global.json).await?;
        send::send(&server, &archive, &upload, retries, global.json).await?;
        memory.forget();
        let id = upload.release()?;
        if wait {
            return follow::follow(&server, id, retries, global.json).await;
        }
        let release = follow::look(&server, id, retries).await?;
        answer(global.json, &release, |r| {
            format!("{} is uploaded as {id} and {}.\n`filial release show {id}` has its checklist.", called(r), r.state)
        })
    })
}

/// Cancels the upload of the archive `which`, or the one with that id.
pub(crate) fn cancel(global: &Global, which: &str) -> Result<(), Failure> {
    let server = connect(global)?;
    if let Ok(id) = which.parse::<Uuid>() {
        let upload = Upload::at(&format!("{}/{id}", paths::UPLOADS), "")?;
        return block_on(end(global, &server, &upload));
    }
    let archive = look_at(Path::new(which), global.json)?;
    let memory = Memory::of(global, server.base_url(), &archive.sha256);
    let upload = memory.recall(archive.length).ok_or_else(|| {
        Failure::said(
            format!("No upload of {} to this server is remembered here", archive.path.display()),
            "`filial release list` shows the ids of uploads under way; give that one's.",
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
        // It had ended before, or the answer to an earlier try was lost: what was asked for is so.
        Err(e) if e.code() == Some(Code::UploadGone) => {}
        other => other?,
    }
    let release = crate::commands::fetch(server, upload.release()?).await?;
    answer(global.json, &release, |r| {
        format!("{} is {}. {}", called(r), r.state, plain(r.reason.as_deref().unwrap_or_default()))
    })
}

/// Why head office has the upload no more, in its own words if it has any.
async fn why_gone(server: &JsonClient, upload: &Upload) -> String {
    let release = match upload.release() {
        Ok(id) => crate::commands::fetch(server, id).await.ok(),
        Err(_) => None,
    };
    release.and_then(|r| r.reason).map_or_else(|| "Head office knows it no more.".to_owned(), |reason| plain(&reason))
}

/// Length and digest: the digest says later whether a half-done upload was of this very archive.
fn look_at(path: &Path, quiet: bool) -> Result<Archive<'_>, Failure> {
    let mut file = File::open(path).map_err(Failure::read(path))?;
    let metadata = file.metadata().map_err(Failure::read(path))?;
    let length = metadata.len();
    if !metadata.is_file() || length == 0 {
        return Err(Failure::said(
            format!("{} is no update archive", path.display()),
            "Make one with `filial release pack`.",
        ));
    }
    let bar = progress::bytes("reading", length, quiet);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let got = file.read(&mut chunk).map_err(Failure::read(path))?;
        if got == 0 {
            break;
        }
        hash.update(&chunk[..got]);
        bar.inc(got as u64);
    }
    bar.finish_and_clear();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Archive { path, name, length, sha256: Digest::new(hash.finalize().into()) })
}

/// The upload that an earlier call left behind, if head office still has it; else a new one.
async fn begin(server: &JsonClient, archive: &Archive<'_>, memory: &Memory, quiet: bool) -> Result<Upload, Failure> {
    if let Some(upload) = memory.recall(archive.length) {
        match tus::offset(server, &upload).await {
            Ok(_) => return Ok(upload),
            Err(e) if tus::is_gone(&e) => {
                if !quiet {
                    let why = why_gone(server, &upload).await;
                    eprintln!("filial: the upload that was begun before has ended, so it begins anew: {why}");
                }
                memory.forget();
            }
            Err(e) => return Err(e.into()),
        }
    }
    let upload = tus::create(server, archive.length, &archive.name).await?;
    memory.keep(&upload, archive.length)?;
    Ok(upload)
}
