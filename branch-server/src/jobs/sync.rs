//! Asks head office for the newest plan: when called, and otherwise at intervals with jitter, so that a fleet does not
//! ask in step.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::client::ClientError;
use service_kit::database::{DatabaseError, connection};
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use trust::Why;
use trust::certificates::fingerprint;
use trust::client::Fetch;
use wire::v1::plan::Plan;
use wire::v1::reports::Report;
use wire::v1::sync::Sync as Offer;
use wire::{Code, Envelope, PLAN_PAYLOAD_TYPE};

use crate::app::App;
use crate::db::{self, artifacts, plan, site};
use crate::error::presentable;
use crate::identity::Age;
use crate::join::JoinTokenError;
use crate::relay;
use crate::sync::accept::{Accepted, Judge, Refusal, judge};
use crate::sync::calls::call_terminals;
use crate::sync::plan::Stage;
use crate::upstream::UpstreamError;

/// Why head office could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Head office.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The metadata that a new plan is judged by could not be fetched.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Metadata(trust::Refusal),
    /// The token that terminals enrol with.
    #[error(transparent)]
    JoinToken(#[from] JoinTokenError),
    /// A task of ours broke.
    #[error("A task broke: see the log.")]
    Task(#[from] tokio::task::JoinError),
    /// The identity is another branch's.
    #[error(
        "Head office knows this server as branch {given}, its database belongs to branch {here}: use a join token of \
         {here}, or an empty database."
    )]
    OtherBranch {
        /// By the identity.
        given: BranchName,
        /// By the database.
        here: String,
    },
}

/// Asks again and again.
pub async fn run(app: Arc<App>) {
    let settings = app.settings.sync.clone();
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    loop {
        // Enrolling is not broken off: it would only have to begin again.
        let asked = match app.head_office.branch() {
            Some(_) => super::unless_stopped(&app, once(&app)).await,
            None => Some(once(&app).await),
        };
        let Some(asked) = asked else { return };
        let wait = match asked {
            Ok(()) => {
                if backoff.failures() > 0 {
                    tracing::info!(attempts = backoff.failures(), "head office answers again");
                    announce_again(&app).await;
                }
                backoff.reset();
                // From three quarters of the interval to the whole.
                settings.poll - Backoff::new(settings.poll / 4, settings.poll / 4).next()
            }
            Err(error) => {
                let text = presentable(&chain(&error));
                // Said once, not at every try; people see it under /v1/status.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %text, "head office cannot be asked; trying again");
                } else {
                    tracing::debug!(error = %text, attempt = backoff.failures() + 1, "head office cannot be asked");
                }
                if let Err(error) = record_trouble(&app, &text).await {
                    tracing::debug!(error = %chain(&error), "and that could not be recorded");
                }
                backoff.next()
            }
        };
        if !super::rest(&app, Some(&app.signals.sync), wait).await {
            return;
        }
    }
}

/// Enrols if that is needed, asks, and judges what is offered.
///
/// # Errors
/// Head office is away or does not know us, or the database is gone.
pub async fn once(app: &App) -> Result<(), SyncError> {
    let branch = identify(app).await?;
    if app.head_office.age() == Some(Age::Over) {
        app.head_office.renew().await?;
        tracing::info!("the certificate had expired and is renewed");
    }
    let offer = match app.head_office.sync().await {
        Err(error) if is_of_identity(&error) => {
            // An operator may have put a new join token there.
            app.head_office.enrol().await.map_err(|_| error)?;
            app.head_office.sync().await?
        }
        other => other?,
    };
    if app.head_office.age() == Some(Age::Old) {
        match app.head_office.renew().await {
            Ok(()) => tracing::info!("the certificate is renewed"),
            Err(error) => tracing::warn!(error = %chain(&error), "the certificate ages and is not renewed yet"),
        }
    }
    site::heard(&connection(&app.pool).await?, app.clock.now()).await?;
    match consider(app, branch, offer, None).await? {
        // Asked again sooner than the next poll: the link may be back.
        Considered::Refused(Refusal::NotFresh(refusal))
            if matches!(refusal.why(), Why::Unfetchable | Why::SlowRetrieval) =>
        {
            Err(SyncError::Metadata(refusal))
        }
        _ => Ok(()),
    }
}

/// Whether a new join token is the way out.
fn is_of_identity(error: &UpstreamError) -> bool {
    use UpstreamError::{Client, IdentityRefused};
    // One who is not believed may be a head office that was made anew: the token says by which authority it is known then.
    matches!(error, IdentityRefused { .. } | Client(ClientError::Distrusted { .. }))
        || error.code() == Some(Code::BranchRemoved)
}

/// Whose branch server this is, in the identity and in the database.
async fn identify(app: &App) -> Result<BranchName, SyncError> {
    let branch = match app.head_office.branch() {
        Some(branch) => branch,
        None => {
            let branch = app.head_office.enrol().await?;
            tracing::info!(%branch, "enrolled at head office");
            branch
        }
    };
    let client = connection(&app.pool).await?;
    if site::set_branch(&client, &branch).await? {
        drop(client);
        if let Some(identity) = app.head_office.identity() {
            // Before anything that may fail: terminals can come in from here on.
            app.join.take_up(&app.pool, fingerprint(&identity.authority), app.clock.now()).await?;
        }
        return Ok(branch);
    }
    let here = site::read(&client).await?.branch.map(|b| b.to_string()).unwrap_or_default();
    Err(SyncError::OtherBranch { given: branch, here })
}

/// The link is back: what is still arriving tells its trackers now, and not when their interval is over.
async fn announce_again(app: &App) {
    let records = match connection(&app.pool).await {
        Ok(client) => artifacts::all(&client).await,
        Err(error) => Err(error),
    };
    let arriving = records.unwrap_or_default().into_iter().filter(|r| r.stage == Stage::Listed);
    for record in arriving.filter(|r| r.unnamed_since.is_none()) {
        let artifact = &record.wanted.artifact;
        if let Err(error) = app.engine.announce(&artifact.info_hash).await {
            tracing::debug!(artifact = %artifact.sha256.short(), error = %chain(&error), "not announced again");
        }
    }
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Considered {
    /// No other plan than the one that is kept was offered.
    Nothing,
    /// The offered plan is the branch's plan now.
    Kept,
    /// It is not, or the metadata that came with it is not believed.
    Refused(Refusal),
}

/// Keeps what is offered, or says why not. `carried` has the metadata of an offer that did not come over the link.
///
/// # Errors
/// The database is gone, or the trust store.
pub async fn consider(
    app: &App,
    branch: BranchName,
    offer: Offer,
    carried: Option<Arc<dyn Fetch>>,
) -> Result<Considered, SyncError> {
    // One after the other: of two plans that are judged at once, the older one must not be kept last.
    let _alone = app.considering.lock().await;
    let now = app.clock.now();
    let kept = plan::read(&connection(&app.pool).await?).await?;
    // Verified when it was accepted; that it or the metadata may have expired since does not take it away.
    let is_kept = |offered: &Envelope| kept.as_ref().is_some_and(|k| k.envelope == *offered);
    let new = offer.plan.filter(|offered| !is_kept(offered));
    let by_hand = carried.is_some();
    let fresh = match by_hand || new.is_some() || app.metadata.believed().is_due(offer.metadata, now) {
        true => refresh(app, carried).await,
        false => Ok(()),
    };
    let Some(offered) = new else {
        if let (Err(refusal), true) = (fresh, by_hand) {
            return Ok(Considered::Refused(Refusal::NotFresh(refusal)));
        }
        // None is offered yet, or none any more: the branch follows what it has.
        note_refusal(app, None, None).await?;
        return Ok(Considered::Nothing);
    };
    if let Err(refusal) = fresh {
        return Ok(refuse(app, &offered, Refusal::NotFresh(refusal)).await?);
    }
    let (believed, floors) = (app.metadata.believed(), kept.map(|k| k.floors).unwrap_or_default());
    let (at, envelope) = (believed.time(now), offered.clone());
    let judged = tokio::task::spawn_blocking(move || {
        let trusted = believed.trusted.as_ref();
        judge(&envelope, Judge { branch: &branch, trusted, floors: &floors, now: at })
    });
    match judged.await? {
        Ok(accepted) => keep(app, &accepted, &offered, now).await.map(|()| Considered::Kept),
        Err(refusal) => Ok(refuse(app, &offered, refusal).await?),
    }
}

/// Brings the signed metadata up to date. Why that failed is said once, and shown for as long as it lasts.
async fn refresh(app: &App, carried: Option<Arc<dyn Fetch>>) -> Result<(), trust::Refusal> {
    let before = app.metadata.believed().trouble.as_ref().map(trust::Refusal::why);
    let updated = match carried {
        Some(carried) => app.metadata.update_from(carried, app.clock.now()).await,
        None => app.metadata.update(app.clock.now()).await,
    };
    match &updated {
        Err(refusal) if before != Some(refusal.why()) => {
            tracing::error!(
                code = refusal.code(),
                reason = refusal.sentence(),
                "the metadata is not brought up to date"
            );
        }
        Ok(()) if before.is_some() => tracing::info!("the metadata is up to date again"),
        _ => {}
    }
    updated
}

/// Makes an accepted plan the branch's plan, with its floors, in one transaction.
async fn keep(app: &App, accepted: &Accepted, envelope: &Envelope, now: DateTime<Utc>) -> Result<(), SyncError> {
    note_refusal(app, None, None).await?;
    let plan = accepted.plan.plan();
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    plan::replace(&tx, plan, envelope, &accepted.floors, now).await?;
    call_terminals(&tx, now).await?;
    db::commit(tx).await?;
    let (steps, packages) = (plan.steps.len(), plan.packages.len());
    tracing::info!(serial = plan.serial, steps, packages, "new plan");
    app.signals.pass.notify_one();
    // What a plan key says of the time is known now.
    app.metadata.raise_floor(plan.issued).await.map_err(SyncError::Metadata)
}

async fn refuse(app: &App, offered: &Envelope, refusal: Refusal) -> Result<Considered, DatabaseError> {
    let text = presentable(&chain(&refusal));
    let serial = offered.open::<Plan>(PLAN_PAYLOAD_TYPE).ok().map(|plan| plan.serial);
    // Said once, not at every poll.
    if note_refusal(app, serial, Some(&text)).await? {
        tracing::error!(reason = %text, "plan refused");
        app.metrics.plans_refused.inc();
    }
    Ok(Considered::Refused(refusal))
}

/// Keeps why the offered plan is refused, or that none is, and reports it upwards if that is news.
async fn note_refusal(app: &App, serial: Option<u64>, why: Option<&str>) -> Result<bool, DatabaseError> {
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    let news = site::set_plan_refused(&tx, why).await?;
    if news {
        let report = Report::PlanRefused { serial, reason: why.map(str::to_owned) };
        relay::queue(&tx, app.clock.now(), &report).await?;
    }
    db::commit(tx).await?;
    app.signals.relay.notify_one();
    Ok(news)
}

async fn record_trouble(app: &App, text: &str) -> Result<(), DatabaseError> {
    site::unheard(&connection(&app.pool).await?, text).await
}
