//! `filial release list|show|approve|withdraw`: releases at head office.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, Version};
use service_kit::client::JsonClient;
use service_kit::{Clock as _, SystemClock};
use uuid::Uuid;
use wire::v1::paths;
use wire::v1::releases::{Approve, Release, Signatures, Withdraw, Withdrawn};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::checklist::checklist;
use crate::output::release::{display_name, progress};
use crate::output::units::{age, or_dash, size, size_of};
use crate::output::{answer, fields, plain, table};
use crate::server::{block_on, connect};

pub(super) fn list(global: &Global) -> Result<(), Failure> {
    let server = connect(global)?;
    let releases: Vec<Release> = block_on(async { Ok(server.get_all(paths::RELEASES).await?) })?;
    let now = SystemClock.now();
    answer(global.json, &releases, |releases| {
        if releases.is_empty() {
            return "No releases yet. `filial release upload` adds one.".to_owned();
        }
        let rows: Vec<_> = releases.iter().map(|r| row(r, now)).collect();
        table(["product", "version", "state", "size", "changed", "id"], &rows)
    })
}

fn row(r: &Release, now: DateTime<Utc>) -> [String; 6] {
    [
        r.product.as_ref().map_or_else(|| plain(&r.file_name), ToString::to_string),
        or_dash(r.version.as_ref()),
        r.state.to_string(),
        size(r.archive_bytes),
        age(now, r.changed),
        r.id.to_string(),
    ]
}

pub(super) fn show(global: &Global, which: &str) -> Result<(), Failure> {
    let server = connect(global)?;
    let release = block_on(async {
        let id = resolve(&server, which).await?;
        fetch(&server, id).await
    })?;
    let now = SystemClock.now();
    answer(global.json, &release, |r| text(r, now))
}

pub(super) fn approve(global: &Global, which: &str, reason: String) -> Result<(), Failure> {
    let server = connect(global)?;
    let release: Release = block_on(async {
        let id = resolve(&server, which).await?;
        Ok(server.post(&format!("{}/{id}/approve", paths::RELEASES), &Approve { reason }).await?)
    })?;
    answer(global.json, &release, |r| format!("{} is {}.", display_name(r), r.state))
}

pub(super) fn withdraw(global: &Global, which: &str, reason: String) -> Result<(), Failure> {
    let server = connect(global)?;
    let withdrawn: Withdrawn = block_on(async {
        let id = resolve(&server, which).await?;
        Ok(server.post(&format!("{}/{id}/withdraw", paths::RELEASES), &Withdraw { reason }).await?)
    })?;
    answer(global.json, &withdrawn, |w| {
        let branches = match w.branches {
            0 => "It was not assigned to any branch".to_owned(),
            1 => "1 branch has a new plan without it".to_owned(),
            n => format!("{n} branches have a new plan without it"),
        };
        let to_do = w.to_do.as_deref().map(|text| format!("\n{}", plain(text))).unwrap_or_default();
        format!("{} is {}. {branches}.{to_do}", display_name(&w.release), w.release.state)
    })
}

/// Fetches the release by its id.
pub(crate) async fn fetch(server: &JsonClient, id: Uuid) -> Result<Release, Failure> {
    let release: Release = server.get(&format!("{}/{id}", paths::RELEASES)).await?;
    if release.id != id {
        return Err(Failure::said(
            format!("Head office answered with release {} instead of {id}", release.id),
            "Check which server `--server` names, and what stands between.",
        ));
    }
    Ok(release)
}

/// Resolves the operator's argument, an id or PRODUCT/VERSION, to an id.
pub(super) async fn resolve(server: &JsonClient, which: &str) -> Result<Uuid, Failure> {
    if let Ok(id) = which.parse() {
        return Ok(id);
    }
    let Some((product, version)) = which.split_once('/') else {
        return Err(Failure::said(
            format!("{which:?} is not a release id or PRODUCT/VERSION"),
            "`filial release list` shows both.",
        ));
    };
    let missing = || Failure::said(format!("There is no release {which}"), "`filial release list` shows all releases.");
    let (Ok(product), Ok(version)) = (product.parse::<ProductName>(), version.parse::<Version>()) else {
        return Err(missing());
    };
    let releases = of_version(server, &product, &version).await?;
    // Those that were rejected or withdrawn count only if there is no other.
    let alive: Vec<_> = releases.iter().filter(|r| !r.state.is_end()).collect();
    let candidates = if alive.is_empty() { releases.iter().collect() } else { alive };
    match &candidates[..] {
        [] => Err(missing()),
        [only] => Ok(only.id),
        several => {
            let list: Vec<_> = several.iter().map(|r| format!("{} ({})", r.id, r.state)).collect();
            Err(Failure::said(
                format!("There are {} releases {which}: {}", several.len(), list.join(", ")),
                "Repeat the command with one of these ids in place of PRODUCT/VERSION.",
            ))
        }
    }
}

/// Fetches the releases of a version, the newest first.
pub(crate) async fn of_version(
    server: &JsonClient,
    product: &ProductName,
    version: &Version,
) -> Result<Vec<Release>, Failure> {
    // `+` starts a version's build metadata, and means a space in a query.
    let version = version.to_string().replace('+', "%2B");
    let path = format!("{}?product={product}&version={version}", paths::RELEASES);
    Ok(server.get_all(&path).await?)
}

/// Summarises who signed and how many signatures are missing.
pub(super) fn signatures(s: &Signatures) -> String {
    let signers: Vec<_> = s.signed_by.iter().map(Digest::short).collect();
    let missing = match s.missing {
        0 => "complete".to_owned(),
        n => format!("{n} missing"),
    };
    format!("{} of {} needed ({}); {missing}", signers.len(), s.threshold, signers.join(" "))
}

fn text(r: &Release, now: DateTime<Utc>) -> String {
    let doing = r.progress.as_ref().map(progress).unwrap_or_default();
    let received = if r.received_bytes < r.archive_bytes {
        size_of(r.received_bytes, r.archive_bytes)
    } else {
        size(r.archive_bytes)
    };
    let mut out = fields(&[
        ("release", display_name(r)),
        ("id", r.id.to_string()),
        ("state", r.state.to_string()),
        ("reason", plain(&r.why())),
        ("progress", doing),
        ("file", plain(&r.file_name)),
        ("archive", received),
        ("manifest", or_dash(r.manifest.as_ref())),
        ("signatures", r.signatures.as_ref().map(signatures).unwrap_or_default()),
        ("uploaded", age(now, r.created)),
        ("changed", age(now, r.changed)),
    ]);
    if !r.payloads.is_empty() {
        let rows: Vec<_> = r
            .payloads
            .iter()
            .map(|p| {
                let artifact = p.artifact.as_ref();
                [
                    plain(&p.payload.name),
                    size(p.payload.length),
                    artifact.map_or_else(|| "-".to_owned(), |a| size(a.length)),
                    artifact.map_or_else(|| "-".to_owned(), |a| a.info_hash.to_string()),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(["payload", "size", "artifact", "info hash"], &rows));
    }
    if let Some(report) = &r.report {
        out.push('\n');
        out.push_str(&checklist(report));
    }
    out
}
