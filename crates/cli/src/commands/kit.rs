//! `filial kit`: carries a plan and its artifacts to a branch without a link, and its reports back.
//!
//! In the folder: `kit.json` (everything but the artifacts), `DIGEST.seg` (each artifact), `reports.json` (what came back).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::{BranchName, Digest};
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use reqwest::Method;
use reqwest::header::CONTENT_LENGTH;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::client::JsonClient;
use service_kit::durable::rename;
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;
use wire::Code;
use wire::v1::kit::{CarriedReports, Imported, Kit, MAX_KIT, WantedArtifact};
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};

use crate::args::{Global, KitCommand};
use crate::failure::Failure;
use crate::files::{digest, open, read_bounded, save};
use crate::output::units::{count, size};
use crate::output::{answer, progress};
use crate::server::{block_on, connect};

/// The file with everything but the artifacts.
const KIT: &str = "kit.json";
/// The file with the branch's reports.
const REPORTS: &str = "reports.json";
/// Maximum batches in a folder: 200,000 reports.
const MAX_BATCHES: usize = 1000;
/// Longest `reports.json` that is read, in bytes.
const MAX_REPORTS: u64 = 256 * 1024 * 1024;
/// Read size, in bytes.
const CHUNK: usize = 1024 * 1024;
/// Timeout for importing one artifact at a branch: sticks and small disks are slow.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Reports that came back from a branch.
#[derive(Debug, Serialize, Deserialize)]
struct Returned {
    branch: BranchName,
    batches: Vec<Batch>,
}

pub(crate) fn run(global: &Global, command: KitCommand) -> Result<(), Failure> {
    match command {
        KitCommand::Export { branch, folder } => export(global, &branch, &folder),
        KitCommand::Import { folder } => import(global, &folder),
        KitCommand::Reports { folder } => hand_in(global, &folder),
    }
}

fn export(global: &Global, branch: &BranchName, folder: &Path) -> Result<(), Failure> {
    must_be_for(branch, folder)?;
    let server = connect(global)?;
    std::fs::create_dir_all(folder).map_err(|source| Failure::Write { path: folder.to_owned(), source })?;
    let kit: Kit = block_on(async { Ok(server.get(&paths::branch_kit(branch)).await?) })?;
    let (mut written, mut bytes) = (0, 0);
    for carried in &kit.artifacts {
        bytes += carried.length;
        let path = artifact_path(folder, &carried.artifact);
        if is_whole(&path, &carried.artifact, carried.length, global.json)? {
            continue;
        }
        block_on(download(&server, &carried.artifact, carried.length, &path, global.json))?;
        written += 1;
    }
    // Last: a folder with this file is whole.
    save(&folder.join(KIT), &serde_json::to_vec(&kit).map_err(Failure::Json)?)?;
    let said = json!({
        "branch": kit.branch, "made_at": kit.made_at, "plan": kit.plan.is_some(), "artifacts": kit.artifacts.len(),
        "written": written, "bytes": bytes, "folder": folder,
    });
    answer(global.json, &said, |_| {
        let artifacts = count(kit.artifacts.len() as u64, "artifact", "artifacts");
        let plan = if kit.plan.is_some() { "the newest plan" } else { "no plan, as nothing is assigned," };
        format!(
            "{} holds {plan} and {artifacts}, {}, for branch {}.\nNext, at the branch: filial kit import {} \
             --server ADDRESS-OF-THE-BRANCH-SERVER",
            folder.display(),
            size(bytes),
            kit.branch,
            folder.display(),
        )
    })
}

/// Fetches an artifact and verifies it before renaming it into place.
async fn download(
    server: &JsonClient,
    artifact: &Digest,
    length: u64,
    path: &Path,
    quiet: bool,
) -> Result<(), Failure> {
    let request = paths::artifact(artifact);
    let Some(mut stream) = server.get_stream(&request).await? else {
        return Err(Failure::said(
            format!("Head office no longer has artifact {}", artifact.short()),
            "Repeat the command: the plan may have changed.",
        ));
    };
    let part = path.with_extension("part");
    let write = |source| Failure::Write { path: part.clone(), source };
    let mut file = File::create(&part).map_err(write)?;
    let (mut hasher, mut got) = (Sha256::new(), 0_u64);
    let bar = progress::bytes("writing", length, quiet);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        got += chunk.len() as u64;
        if got > length {
            break;
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(write)?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    if got != length || Digest::new(hasher.finalize().into()) != *artifact {
        return Err(Failure::said(
            format!("Artifact {} arrived incomplete or damaged: {got} of {length} bytes", artifact.short()),
            "Repeat the command.",
        ));
    }
    // The stick may be pulled right after.
    file.sync_all().map_err(write)?;
    Ok(rename(&part, path)?)
}

fn import(global: &Global, folder: &Path) -> Result<(), Failure> {
    let kit: Kit = read_json(folder, KIT, MAX_KIT as u64)?;
    let at = global.at.clone().or_else(|| Some(kit.branch.clone()));
    let server = connect(&Global { at, ..global.clone() })?;
    let imported: Imported = block_on(async { Ok(server.post(paths::KIT, &kit).await?) })?;
    let mut brought = 0;
    for wanted in &imported.wants {
        brought += u64::from(block_on(bring(&server, wanted, folder, global.json))?);
    }
    let returned = block_on(take_back(&server))?;
    let reports: usize = returned.batches.iter().map(|b| b.reports.len()).sum();
    save(&folder.join(REPORTS), &serde_json::to_vec(&returned).map_err(Failure::Json)?)?;
    let said = json!({ "branch": kit.branch, "imported": imported, "brought": brought, "reports": reports });
    answer(global.json, &said, |_| {
        let plan = match (imported.serial, imported.new_plan) {
            (Some(serial), true) => format!("follows plan {serial} from this kit"),
            (Some(serial), false) => format!("follows plan {serial}, as before"),
            (None, _) => "has no plan".to_owned(),
        };
        let reports = match reports {
            0 => "No reports are queued there.".to_owned(),
            n => {
                let collected = count(n as u64, "report", "reports");
                format!("{collected} collected. Next, at head office: filial kit reports {}", folder.display())
            }
        };
        format!("Branch {} {plan}; {} imported.\n{reports}", kit.branch, count(brought, "artifact", "artifacts"))
    })
}

/// Sends an artifact's file; false if the branch already has it.
async fn bring(server: &JsonClient, wanted: &WantedArtifact, folder: &Path, quiet: bool) -> Result<bool, Failure> {
    let path = artifact_path(folder, &wanted.artifact);
    let file = tokio::fs::File::open(&path).await.map_err(Failure::read(&path))?;
    let found = file.metadata().await.map_err(Failure::read(&path))?.len();
    if found != wanted.length {
        return Err(Failure::said(
            format!("{} has {found} bytes instead of {}", path.display(), wanted.length),
            "It was cut off or damaged: export the kit again at head office with `filial kit export`.",
        ));
    }
    let bar = progress::bytes("bringing", wanted.length, quiet);
    let counted: ProgressBar = bar.clone();
    let stream = ReaderStream::with_capacity(file, CHUNK).inspect(move |chunk| {
        counted.inc(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64));
    });
    let request = paths::kit_artifact(&wanted.artifact);
    let put = server.request(Method::PUT, &request).timeout(LONGEST).header(CONTENT_LENGTH, wanted.length);
    let sent = server.send(put.body(reqwest::Body::wrap_stream(stream)), &request).await;
    bar.finish_and_clear();
    match sent {
        Err(error) if error.code() == Some(Code::WrongState) => Ok(false),
        other => Ok(other.map(|_| true)?),
    }
}

async fn take_back(server: &JsonClient) -> Result<Returned, Failure> {
    let (mut batches, mut after, mut branch) = (Vec::new(), 0, None);
    while batches.len() < MAX_BATCHES {
        let path = format!("{}?after={after}", paths::KIT_REPORTS);
        let carried: CarriedReports = server.get(&path).await?;
        branch.get_or_insert(carried.branch);
        let Some(last) = carried.batch.reports.last() else { break };
        after = last.seq;
        batches.push(carried.batch);
    }
    let branch = branch.ok_or_else(|| Failure::said("The branch server did not name its branch", "Check its log."))?;
    Ok(Returned { branch, batches })
}

fn hand_in(global: &Global, folder: &Path) -> Result<(), Failure> {
    if folder.join(KIT).is_file() && !folder.join(REPORTS).exists() {
        let sentence = format!("{} holds no reports yet", folder.display());
        return Err(Failure::said(sentence, "Import the kit at the branch first: `filial kit import` collects them."));
    }
    let returned: Returned = read_json(folder, REPORTS, MAX_REPORTS)?;
    let server = connect(global)?;
    let path = paths::branch_reports(&returned.branch);
    let mut through = None;
    for batch in &returned.batches {
        let stored: Acknowledged = block_on(async { Ok(server.post(&path, batch).await?) })?;
        through = Some(stored.through);
    }
    let reports: usize = returned.batches.iter().map(|b| b.reports.len()).sum();
    let said = json!({ "branch": returned.branch, "reports": reports, "through": through });
    answer(global.json, &said, |_| {
        format!("{} of branch {} submitted.", count(reports as u64, "report", "reports"), returned.branch)
    })
}

fn artifact_path(folder: &Path, artifact: &Digest) -> PathBuf {
    folder.join(format!("{artifact}.seg"))
}

/// Whether the file exists and matches its digest.
fn is_whole(path: &Path, artifact: &Digest, length: u64, quiet: bool) -> Result<bool, Failure> {
    match open(path) {
        Err(Failure::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok((file, found)) if found == length => Ok(digest(file, path, length, quiet)? == *artifact),
        other => other.map(|_| false),
    }
}

/// Refuses a folder with another branch's kit, whose reports may still have to come back.
fn must_be_for(branch: &BranchName, folder: &Path) -> Result<(), Failure> {
    // A damaged kit is replaced.
    match read_json::<Kit>(folder, KIT, MAX_KIT as u64) {
        Ok(there) if there.branch != *branch => {
            let sentence = format!("{} holds the kit of branch {}", folder.display(), there.branch);
            let remedy = if folder.join(REPORTS).exists() {
                format!(
                    "Hand in its reports first (`filial kit reports {}`), or give {branch} another folder.",
                    folder.display()
                )
            } else {
                format!("Give {branch} another folder, or empty this one.")
            };
            Err(Failure::said(sentence, remedy))
        }
        _ => Ok(()),
    }
}

/// Reads a file of a kit.
fn read_json<T: DeserializeOwned>(folder: &Path, name: &str, max: u64) -> Result<T, Failure> {
    let path = folder.join(name);
    let remedy = "Give the folder that `filial kit export` wrote.";
    if !path.exists() {
        return Err(Failure::said(format!("{} is not a kit", folder.display()), remedy));
    }
    let bytes = read_bounded(&path, max)?;
    if bytes.len() as u64 > max {
        return Err(Failure::said(format!("{} is larger than {max} bytes", path.display()), remedy));
    }
    serde_json::from_slice(&bytes).map_err(|e| Failure::said(format!("{} is not valid: {e}", path.display()), remedy))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let abc: Digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        let path = artifact_path(folder.path(), &abc);
        assert!(!is_whole(&path, &abc, 3, true).unwrap());
        for (bytes, whole) in [(&b"ab"[..], false), (b"abd", false), (b"abc", true)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_whole(&path, &abc, 3, true).unwrap(), whole);
        }
    }

    #[test]
    fn a_file_that_is_not_a_kit_is_answered_with_the_command_that_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KIT);
        std::fs::write(&path, "{}").unwrap();
        let failure = read_json::<Kit>(folder.path(), KIT, 100).unwrap_err();
        assert!(failure.to_string().contains("is not valid"), "{failure}");
        let failure = read_json::<Kit>(folder.path(), KIT, 1).unwrap_err();
        assert!(failure.to_string().contains("larger than 1 bytes"), "{failure}");
    }
}
