//! `filial release list|show|approve`: what head office knows of releases.

use chrono::{DateTime, Utc};
use service_kit::client::JsonClient;
use service_kit::{Clock as _, SystemClock};
use uuid::Uuid;
use wire::v1::paths;
use wire::v1::releases::{Approve, Release};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::checklist::checklist;
use crate::output::units::{age, mib, mib_of, or_dash};
use crate::output::{answer, fields, plain, table};
use crate::server::{block_on, connect};

pub(super) fn list(global: &Global) -> Result<(), Failure> {
    let server = connect(global)?;
    let releases: Vec<Release> = block_on(async { Ok(server.get(paths::RELEASES).await?) })?;
    let now = SystemClock.now();
    answer(global.json, &releases, |releases| {
        if releases.is_empty() {
            return "There is no release yet. `filial release upload` brings one.".to_owned();
        }
        let rows: Vec<_> = releases.iter().map(|r| row(r, now)).collect();
        table(["product", "version", "state", "size", "changed", "id"], &rows)
    })
}

fn row(r: &Release, now: DateTime<Utc>) -> [String; 6] {
    [
        or_dash(r.product.as_ref()),
        or_dash(r.version.as_ref()),
        r.state.to_string(),
        mib(r.archive_bytes),
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
    answer(global.json, &release, |r| format!("{} is {}.", called(r), r.state))
}

/// The release by its id.
pub(crate) async fn fetch(server: &JsonClient, id: Uuid) -> Result<Release, Failure> {
    Ok(server.get(&format!("{}/{id}", paths::RELEASES)).await?)
}

/// An id out of what the operator wrote: the id itself, or PRODUCT/VERSION.
async fn resolve(server: &JsonClient, which: &str) -> Result<Uuid, Failure> {
    if let Ok(id) = which.parse() {
        return Ok(id);
    }
    let Some((product, version)) = which.split_once('/') else {
        return Err(Failure::said(
            format!("{which:?} names no release"),
            "Give its id or PRODUCT/VERSION; `filial release list` shows both.",
        ));
    };
    let releases: Vec<Release> = server.get(paths::RELEASES).await?;
    // Newest first: of several uploads of one version, the last is meant.
    let named = |r: &&Release| {
        r.product.as_ref().is_some_and(|p| p.as_str() == product)
            && r.version.as_ref().is_some_and(|v| v.to_string() == version)
    };
    releases.iter().find(named).map(|r| r.id).ok_or_else(|| {
        Failure::said(format!("There is no release {which}."), "`filial release list` shows those that are there.")
    })
}

/// What people call a release: product and version, or its file while these are unknown.
pub(crate) fn called(r: &Release) -> String {
    match (&r.product, &r.version) {
        (Some(product), Some(version)) => format!("{product} {version}"),
        _ => plain(&r.file_name),
    }
}

fn text(r: &Release, now: DateTime<Utc>) -> String {
    let progress = r.progress.as_ref().map(crate::status::picture::progress).unwrap_or_default();
    let received = if r.received_bytes < r.archive_bytes {
        mib_of(r.received_bytes, r.archive_bytes)
    } else {
        mib(r.archive_bytes)
    };
    let mut out = fields(&[
        ("release", called(r)),
        ("id", r.id.to_string()),
        ("state", r.state.to_string()),
        ("reason", plain(r.reason.as_deref().unwrap_or_default())),
        ("progress", progress),
        ("file", plain(&r.file_name)),
        ("archive", received),
        ("manifest", or_dash(r.manifest.as_ref())),
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
                    mib(p.payload.length),
                    artifact.map_or_else(|| "-".to_owned(), |a| mib(a.length)),
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
