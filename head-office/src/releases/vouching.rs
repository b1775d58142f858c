//! Watches over the signed metadata: renews what head office signs well before it expires, says what people must renew, lets
//! releases go on that were signed meanwhile, and removes what is no longer needed. Whatever a kill left half done, it
//! finishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::database::{DatabaseError, begin, commit, connection};
use service_kit::edge::chain;
use trust::repository::{SignedArtifact, SignedPayload};
use wire::v1::status::Alert;
use wire::{Reason, ReasonCode};

use crate::app::App;
use crate::db;
use crate::db::payloads::PayloadRow;
use crate::releases::signing::{self, SigningError};
use crate::trust::{Standing, TrustError, alerts};

/// The code of an alert about something that is tried again by itself.
const STUCK: ReasonCode = ReasonCode::MetadataStuck;
/// Most releases that are looked at in one pass, those first that wait longest.
const BATCH: i64 = 1000;

/// Why a pass was not finished. It is made again.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(
        "no release key signed {0}, which is published: branches refuse it. Have the release keys sign it and accept that with \
         `filial trust accept`, or withdraw it"
    )]
    Unsigned(String),
}

impl From<trust::Refusal> for WatchError {
    fn from(refusal: trust::Refusal) -> Self {
        Self::Trust(refusal.into())
    }
}

/// The task `metadata`.
pub struct Watch {
    app: Arc<App>,
    /// What the log has said already; `/v1/status` goes on showing it.
    told: BTreeSet<Alert>,
}

impl Watch {
    /// Makes the task.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, told: BTreeSet::new() }
    }

    /// Does everything once and shows what is wrong.
    ///
    /// # Errors
    /// What could not be done, in one sentence; it is tried again.
    pub async fn pass(&mut self) -> Result<(), String> {
        let found = pass(&self.app).await;
        for Alert { reason, remedy } in found.difference(&self.told).filter(|alert| alert.reason.code != STUCK) {
            let (code, text) = (reason.code.as_str(), reason.sentence());
            tracing::error!(code, text, remedy, "the signed metadata need attention");
        }
        self.app.alerts.set(found.iter().cloned());
        let stuck = found.iter().find(|alert| alert.reason.code == STUCK).map(|alert| alert.reason.sentence());
        self.told = found;
        stuck.map_or(Ok(()), Err)
    }
}

/// Renews what is due before the listeners open.
///
/// A failure is logged: clients judge what they get.
pub async fn watch_once(app: &App) {
    if let Err(error) = app.trust.refresh(app.clock.now()).await {
        tracing::error!(%error, "the signed metadata could not be renewed; trying again");
    }
}

fn stuck(what: &str, why: impl std::fmt::Display) -> Alert {
    Alert {
        reason: Reason::of(STUCK).with("cause", format!("The signed metadata could not be {what}: {why}")),
        remedy: "It is retried every minute. Check in the log whether the disk, the database or a key is the cause."
            .to_owned(),
    }
}

/// Does everything once; what is wrong.
async fn pass(app: &App) -> BTreeSet<Alert> {
    let mut troubles = BTreeSet::new();
    if let Err(error) = app.trust.refresh(app.clock.now()).await {
        troubles.insert(stuck("renewed", error));
    }
    // First the withdrawn releases, so that a version is free again for a release that waits.
    let done =
        [("tidied", tidy(app).await), ("brought into force", settle(app).await), ("completed", complete(app).await)];
    for (what, done) in done {
        if let Err(error) = done {
            troubles.insert(stuck(what, chain(&error)));
        }
    }
    let (now, expiries) = (app.clock.now(), app.trust.expiries());
    app.counters.gauges.metadata_expires(&expiries, now);
    troubles.extend(alerts(&expiries, now));
    troubles
}

/// Lets releases go on that wait for nothing any more.
async fn settle(app: &App) -> Result<(), WatchError> {
    let waiting = {
        let client = connection(&app.pool).await?;
        db::releases::waiting(&client, BATCH).await?
    };
    for id in waiting {
        let mut client = connection(&app.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { continue };
        // A release whose archive was not read is not judged.
        if release.report.is_some() {
            signing::settle(&transaction, &app.trust, &release, app.clock.now()).await?;
            commit(transaction).await?;
        }
    }
    Ok(())
}

/// Takes out what is vouched for and was withdrawn, and artifacts that were put away.
async fn tidy(app: &App) -> Result<(), WatchError> {
    let now = app.clock.now();
    let (payloads, artifacts) = app.trust.content()?;
    let manifests: Vec<Digest> = payloads.iter().map(|p| p.manifest).collect::<BTreeSet<_>>().into_iter().collect();
    let withdrawn = {
        let client = connection(&app.pool).await?;
        db::signatures::withdrawn(&client, &manifests).await?
    };
    let mut gone: BTreeSet<_> = payloads.iter().filter(|p| withdrawn.contains(&p.manifest)).collect();
    while let Some(first) = gone.first().copied() {
        let same = |p: &&&SignedPayload| p.product == first.product && p.version == first.version;
        let release: Vec<_> = gone.iter().filter(same).map(|p| (*p).clone()).collect();
        gone.retain(|p| !release.contains(p));
        app.trust.withdraw(release, now).await?;
    }
    forget(app, artifacts, now).await
}

/// Sees that the metadata vouches for whatever is published.
///
/// Not so for releases from before there were signatures, or after old metadata was put back. What release keys must
/// sign elsewhere is said.
async fn complete(app: &App) -> Result<(), WatchError> {
    let (releases, rows) = {
        let client = connection(&app.pool).await?;
        let releases = db::signatures::published(&client, BATCH).await?;
        let ids: Vec<_> = releases.iter().map(|r| r.id).collect();
        (releases, db::payloads::of_releases(&client, &ids).await?)
    };
    let (signed, derived) = app.trust.content()?;
    let (signed, derived): (BTreeSet<_>, BTreeSet<_>) = (signed.into_iter().collect(), derived.into_iter().collect());
    let mut unsigned = Vec::new();
    for release in releases {
        let rows: Vec<_> = rows.iter().filter(|row| row.release == release.id).collect();
        let payload = |row: &&PayloadRow| signing::of_row(&release.product, &release.version, release.manifest, row);
        let payloads: Vec<_> = rows.iter().map(payload).collect();
        let artifacts: Vec<_> = rows.iter().filter_map(|row| signing::artifact_of(row)).collect();
        if payloads.iter().all(|p| signed.contains(p)) && artifacts.iter().all(|a| derived.contains(a)) {
            continue;
        }
        match app.trust.standing(&payloads) {
            Standing::Unsigned if app.trust.signs(&release.product) => {}
            Standing::Signed => {}
            _ => {
                unsigned.push(format!("{} {}", release.product, release.version));
                continue;
            }
        }
        app.trust.vouch(payloads, artifacts, app.clock.now()).await?;
    }
    match unsigned.as_slice() {
        [] => Ok(()),
        [one] => Err(WatchError::Unsigned(one.clone())),
        [first, rest @ ..] => Err(WatchError::Unsigned(format!("{first} and {} more", rest.len()))),
    }
}

/// Takes out the artifacts that were put away, but for those that are just being made again.
async fn forget(app: &App, artifacts: Vec<SignedArtifact>, now: DateTime<Utc>) -> Result<(), WatchError> {
    let put_away = unknown(app, artifacts.iter().map(|a| a.sha256).collect()).await?;
    // No job begins to make one of them while this lives; one that already did has its row by now, or is skipped.
    let evictions: Vec<_> = put_away.iter().filter_map(|a| Some((*a, app.store.holds().evict(a)?))).collect();
    let gone = unknown(app, evictions.iter().map(|(a, _)| *a).collect()).await?;
    if gone.is_empty() {
        return Ok(());
    }
    Ok(app.trust.forget(gone, now).await?)
}

/// Those of some artifacts that the database does not know.
async fn unknown(app: &App, mut artifacts: Vec<Digest>) -> Result<Vec<Digest>, DatabaseError> {
    if !artifacts.is_empty() {
        let client = connection(&app.pool).await?;
        let known = db::artifacts::known(&client, &artifacts).await?;
        artifacts.retain(|a| !known.contains(a));
    }
    Ok(artifacts)
}
