//! Watches over the signed metadata: renews what head office signs well before it expires, says what people must renew, lets
//! releases go on that were signed meanwhile, and removes what is no longer needed. Whatever a kill left half done, it
//! finishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::Clock;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::edge::{chain, failures};
use trust::repository::{SignedArtifact, SignedPayload};
use uuid::Uuid;
use wire::v1::status::Alert;
use wire::{Reason, ReasonCode};

use crate::alerts::Alerts;
use crate::db;
use crate::db::payloads::PayloadRow;
use crate::metrics::Gauges;
use crate::releases::moves::MoveError;
use crate::releases::signing::{self, SigningError};
use crate::store::folders::Store;
use crate::trust::{Standing, Trust, TrustError, alerts};

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
    #[error("releases that failed: {}, {}", .0.len(), failures(.0))]
    Releases(Vec<(String, WatchError)>),
}

impl WatchError {
    /// Whether the database was not there: that concerns every release.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) | Self::Signing(SigningError::Move(MoveError::Database(error))) => {
                error.is_unavailable()
            }
            _ => false,
        }
    }
}

impl From<trust::Refusal> for WatchError {
    fn from(refusal: trust::Refusal) -> Self {
        Self::Trust(refusal.into())
    }
}

/// Keeps releases and signed metadata in step.
pub struct Vouching {
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The folders.
    pub store: Store,
    /// The signed metadata and the keys that sign online.
    pub trust: Trust,
    /// Shows when the metadata expires.
    pub gauges: Gauges,
    /// Shows operators what is wrong.
    pub alerts: Arc<Alerts>,
}

/// The task `metadata`.
pub struct Watch {
    vouching: Vouching,
    /// What the log has said already; `/v1/status` goes on showing it.
    told: BTreeSet<Alert>,
}

impl Watch {
    /// Makes the task.
    pub fn new(vouching: Vouching) -> Self {
        Self { vouching, told: BTreeSet::new() }
    }

    /// Does everything once and shows what is wrong.
    ///
    /// # Errors
    /// What could not be done, in one sentence; it is tried again.
    pub async fn pass(&mut self) -> Result<(), String> {
        let found = self.vouching.look().await;
        for Alert { reason, remedy } in found.difference(&self.told).filter(|alert| alert.reason.code != STUCK) {
            let (code, text) = (reason.code.as_str(), reason.sentence());
            tracing::error!(code, text, remedy, "the signed metadata need attention");
        }
        self.vouching.alerts.set(found.iter().cloned());
        let stuck = found.iter().find(|alert| alert.reason.code == STUCK).map(|alert| alert.reason.sentence());
        self.told = found;
        stuck.map_or(Ok(()), Err)
    }
}

/// Renews what is due before the listeners open.
///
/// A failure is logged: clients judge what they get.
pub async fn renew(trust: &Trust, now: DateTime<Utc>) {
    if let Err(error) = trust.refresh(now).await {
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

impl Vouching {
    /// Does everything once and returns what is wrong.
    async fn look(&self) -> BTreeSet<Alert> {
        let mut troubles = BTreeSet::new();
        if let Err(error) = self.trust.refresh(self.clock.now()).await {
            troubles.insert(stuck("renewed", error));
        }
        // First the withdrawn releases, so that a version is free again for a release that waits.
        let done = [
            ("tidied", self.tidy().await),
            ("brought into force", self.settle().await),
            ("completed", self.complete().await),
        ];
        for (what, done) in done {
            if let Err(error) = done {
                troubles.insert(stuck(what, chain(&error)));
            }
        }
        let (now, expiries) = (self.clock.now(), self.trust.expiries());
        self.gauges.metadata_expires(&expiries, now);
        troubles.extend(alerts(&expiries, now));
        troubles
    }

    /// Lets releases go on that wait for nothing any more.
    ///
    /// One that fails does not stop the others.
    async fn settle(&self) -> Result<(), WatchError> {
        let waiting = {
            let client = connection(&self.pool).await?;
            db::releases::waiting(&client, BATCH).await?
        };
        let mut failed = Vec::new();
        for id in waiting {
            match self.settle_one(id).await {
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => failed.push((id.to_string(), error)),
                Ok(()) => {}
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(WatchError::Releases(failed)) }
    }

    async fn settle_one(&self, id: Uuid) -> Result<(), WatchError> {
        let mut client = connection(&self.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(()) };
        // A release whose archive was not read is not judged.
        if release.report.is_some() {
            signing::settle(&transaction, &self.trust, &release, self.clock.now()).await?;
            commit(transaction).await?;
        }
        Ok(())
    }

    /// Takes out what is vouched for and was withdrawn, and artifacts that were put away.
    async fn tidy(&self) -> Result<(), WatchError> {
        let now = self.clock.now();
        let (payloads, artifacts) = self.trust.content()?;
        let manifests: Vec<Digest> = payloads.iter().map(|p| p.manifest).collect::<BTreeSet<_>>().into_iter().collect();
        let withdrawn = {
            let client = connection(&self.pool).await?;
            db::signatures::withdrawn(&client, &manifests).await?
        };
        let mut gone: BTreeSet<_> = payloads.iter().filter(|p| withdrawn.contains(&p.manifest)).collect();
        while let Some(first) = gone.first().copied() {
            let same = |p: &&&SignedPayload| p.product == first.product && p.version == first.version;
            let release: Vec<_> = gone.iter().filter(same).map(|p| (*p).clone()).collect();
            gone.retain(|p| !release.contains(p));
            self.trust.withdraw(release, now).await?;
        }
        self.forget(artifacts, now).await
    }

    /// Sees that the metadata vouches for whatever is published.
    ///
    /// Not so for releases from before there were signatures, or after old metadata was put back. What release keys must
    /// sign elsewhere is said.
    async fn complete(&self) -> Result<(), WatchError> {
        let (releases, rows) = {
            let client = connection(&self.pool).await?;
            let releases = db::signatures::published(&client, BATCH).await?;
            let ids: Vec<_> = releases.iter().map(|r| r.id).collect();
            (releases, db::payloads::of_releases(&client, &ids).await?)
        };
        let (signed, derived) = self.trust.content()?;
        let (signed, derived): (BTreeSet<_>, BTreeSet<_>) =
            (signed.into_iter().collect(), derived.into_iter().collect());
        let (mut unsigned, mut failed) = (Vec::new(), Vec::new());
        for release in releases {
            let rows: Vec<_> = rows.iter().filter(|row| row.release == release.id).collect();
            let payload =
                |row: &&PayloadRow| signing::of_row(&release.product, &release.version, release.manifest, row);
            let payloads: Vec<_> = rows.iter().map(payload).collect();
            let artifacts: Vec<_> = rows.iter().filter_map(|row| signing::artifact_of(row)).collect();
            if payloads.iter().all(|p| signed.contains(p)) && artifacts.iter().all(|a| derived.contains(a)) {
                continue;
            }
            let name = format!("{} {}", release.product, release.version);
            match self.trust.standing(&payloads) {
                Standing::Unsigned if self.trust.signs(&release.product) => {}
                Standing::Signed => {}
                _ => {
                    unsigned.push(name);
                    continue;
                }
            }
            if let Err(error) = self.trust.vouch(payloads, artifacts, self.clock.now()).await {
                failed.push((name, error.into()));
            }
        }
        let unsigned = match unsigned.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, rest @ ..] => Some(format!("{first} and {} more", rest.len())),
        };
        if failed.is_empty() {
            return unsigned.map_or(Ok(()), |which| Err(WatchError::Unsigned(which)));
        }
        failed.extend(unsigned.map(|which| (which.clone(), WatchError::Unsigned(which))));
        Err(WatchError::Releases(failed))
    }

    /// Takes out the artifacts that were put away, but for those that are just being made again.
    async fn forget(&self, artifacts: Vec<SignedArtifact>, now: DateTime<Utc>) -> Result<(), WatchError> {
        let put_away = self.unknown(artifacts.iter().map(|a| a.sha256).collect()).await?;
        // No job begins to make one of them while this lives; one that already did has its row by now, or is skipped.
        let evictions: Vec<_> = put_away.iter().filter_map(|a| Some((*a, self.store.holds().evict(a)?))).collect();
        let gone = self.unknown(evictions.iter().map(|(a, _)| *a).collect()).await?;
        if gone.is_empty() {
            return Ok(());
        }
        Ok(self.trust.forget(gone, now).await?)
    }

    /// Those of some artifacts that the database does not know.
    async fn unknown(&self, mut artifacts: Vec<Digest>) -> Result<Vec<Digest>, DatabaseError> {
        if !artifacts.is_empty() {
            let client = connection(&self.pool).await?;
            let known = db::artifacts::known(&client, &artifacts).await?;
            artifacts.retain(|a| !known.contains(a));
        }
        Ok(artifacts)
    }
}
