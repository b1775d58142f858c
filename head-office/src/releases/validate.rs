//! Job `validate`: one pass over an archive that has arrived, then the rules.

use std::io;

use async_trait::async_trait;
use fleet_types::ReleaseState;
use release::{External, Policy, Scan};
use service_kit::database::{DatabaseError, JobContext, JobError, JobHandler, begin, commit, connection};
use service_kit::edge::chain;
use uuid::Uuid;
use wire::{Reason, ReasonCode};

use super::meter::measured;
use super::moves::{VALIDATE, advance, moved, subject};
use super::{ingest, uploads};
use crate::adapters;
use crate::db;
use crate::metrics::Counters;
use crate::store::folders::Store;
use crate::trust::Trust;

/// The job `validate`.
pub struct Validate {
    /// The folders.
    pub store: Store,
    /// The business rules.
    pub policy: Policy,
    /// Says whose signatures a release needs.
    pub trust: Trust,
    /// Counts the attempts.
    pub counters: Counters,
}

#[async_trait]
impl JobHandler for Validate {
    fn kind(&self) -> &'static str {
        VALIDATE
    }

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        self.counters.attempt_began(VALIDATE);
        let id = subject(context)?;
        let release = {
            let client = connection(&context.pool).await?;
            db::releases::find(&client, id).await?
        };
        let Some(release) = release.filter(|r| r.state == ReleaseState::Validating) else { return Ok(()) };
        let (path, policy) = (self.store.upload(id), self.policy.clone());
        let archive = path.clone();
        let scanned = measured(context, id, "validating", release.archive_bytes, move |meter| {
            let mut progress = |done| meter.set(done, 0);
            ingest::scan(&archive, &policy, &mut progress, &|| meter.is_cancelled())
        })
        .await?;
        context.check()?;
        if !self.still(context, id).await? {
            return Ok(());
        }
        let scan = scanned.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                JobError::GiveUp("The archive is missing from the store; upload it again.".into())
            }
            _ => JobError::Retry(format!("The archive {} cannot be read: {e}.", path.display())),
        })?;
        let policy = &self.policy;
        let external = external(context, &scan, policy).await?;
        // A product may have been given its keys just now.
        let looked = self.trust.look_again(context.clock.now()).await;
        looked.map_err(|e| JobError::Retry(e.to_string()))?;
        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        let now = context.clock.now();
        let trust = &self.trust;
        let judged = ingest::judge(&transaction, id, &scan, external, policy, trust, now).await.map_err(moved)?;
        commit(transaction).await?;
        if judged == Some(ReleaseState::Rejected) {
            uploads::remove(&self.store.upload(id)).await;
        }
        Ok(())
    }

    async fn failed(&self, context: &JobContext, failure: &str, last: bool) -> Result<(), DatabaseError> {
        self.counters.attempt_failed(VALIDATE);
        let Ok(id) = subject(context) else { return Ok(()) };
        let mut client = connection(&context.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(()) };
        if last && release.state == ReleaseState::Validating {
            let reasons = [Reason::new(ReasonCode::ValidationFailed, failure)];
            let rejected = advance(&transaction, &release, ReleaseState::Rejected, &reasons, context.clock.now());
            if let Err(error) = rejected.await {
                tracing::error!(error = %chain(&error), "a release could not be rejected");
            }
        } else if release.state == ReleaseState::Validating {
            let attempt = context.job.attempts;
            let text = format!("Attempt {attempt} failed and will be repeated: {failure}");
            let reason = Reason::of(ReasonCode::ValidationRetried).with("attempt", attempt).with("cause", text);
            db::releases::set_reasons(&transaction, id, &[reason]).await?;
        }
        commit(transaction).await
    }
}

/// What the shop's own command says of the manifest.
///
/// None if there is no command or no manifest. Before the transaction: it takes its time, and nothing is held
/// meanwhile.
async fn external(context: &JobContext, scan: &Scan, policy: &Policy) -> Result<Option<External>, JobError> {
    let Some(manifest) = scan.manifest().filter(|_| !policy.external.command.is_empty()) else { return Ok(None) };
    let manifest = serde_json::to_vec(manifest).map_err(|e| JobError::GiveUp(format!("The manifest as JSON: {e}.")))?;
    tokio::select! {
        answer = adapters::external::ask(&policy.external, manifest) => Ok(Some(answer)),
        () = context.cancelled.cancelled() => Err(JobError::Interrupted),
    }
}

impl Validate {
    /// Whether the verdict is still needed: not if the release was withdrawn meanwhile.
    async fn still(&self, context: &JobContext, id: Uuid) -> Result<bool, JobError> {
        let client = connection(&context.pool).await?;
        Ok(db::releases::find(&client, id).await?.is_some_and(|r| r.state == ReleaseState::Validating))
    }
}
