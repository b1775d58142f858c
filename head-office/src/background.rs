//! What head office does in the background: jobs and periodic tasks. Each is safe to run twice and continues after kill -9 from
//! what the database and the disk hold.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::background::{Driver, Failure, Next, Task, Work, work};
use service_kit::database::{JobHandler, connection};

use crate::app::App;
use crate::releases::publish::Publish;
use crate::releases::upkeep;
use crate::releases::validate::Validate;
use crate::releases::vouching::{Vouching, Watch};
use crate::rollout::{follow, past, renewal};
use crate::seeding::upkeep::Upkeep;

/// The longest interval of what others depend on.
const OFTEN: Duration = Duration::from_secs(30);
/// The longest interval of what is due after hours or days.
const EACH_MINUTE: Duration = Duration::from_secs(60);
/// The longest interval of tidying up.
const SELDOM: Duration = Duration::from_secs(600);
/// The shortest time between two runs of what reports and polls of branches can start.
const PAUSE: Duration = Duration::from_secs(1);
/// The first wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Returns the handlers of all kinds of jobs.
pub fn handlers(app: &Arc<App>) -> Vec<Arc<dyn JobHandler>> {
    let (store, trust, counters) = (&app.store, &app.trust, &app.counters);
    let validate = Validate {
        store: store.clone(),
        policy: app.settings.policy.clone(),
        trust: trust.clone(),
        counters: counters.clone(),
    };
    let publish = Publish {
        store: store.clone(),
        options: app.settings.encode.options,
        trust: trust.clone(),
        tracker: app.tracker.clone(),
        seeder: app.seeder.clone(),
        counters: counters.clone(),
        watch: app.watch.clone(),
        retire: app.retire.clone(),
    };
    vec![Arc::new(validate), Arc::new(publish)]
}

/// Starts the periodic tasks.
pub fn start(driver: &mut Driver, app: &Arc<App>) {
    let seeding = Task::every("seeding", OFTEN).retry(RETRY, OFTEN).woken_by(app.reseed.clone()).at_most_every(PAUSE);
    driver.start(seeding, Seeding(Upkeep::new(&app.seeder, &app.tracker, &app.clock)));
    let metadata = Task::every("metadata", EACH_MINUTE).woken_by(app.watch.clone());
    let vouching = Vouching {
        pool: app.pool.clone(),
        clock: app.clock.clone(),
        store: app.store.clone(),
        trust: app.trust.clone(),
        gauges: app.counters.gauges.clone(),
        alerts: app.alerts.clone(),
    };
    driver.start(metadata, Metadata(Watch::new(vouching)));

    let plans = app.clone();
    let task = Task::every("plans", EACH_MINUTE).retry(RETRY, EACH_MINUTE).woken_by(app.replan.clone());
    driver.start(
        // Each poll of a branch whose plan is due wakes it: that must not make every retry an immediate one.
        task.at_most_every(PAUSE).not_woken_in_backoff(),
        work(move || {
            let app = plans.clone();
            async move {
                let renewed = renewal::all(&app.pool, app.clock.now(), &app.issuer).await;
                app.counters.plans_issued(renewed.issued);
                match renewed.failure() {
                    Some(failed) => Err(Failure::new(failed)),
                    None => Ok(Next::Interval),
                }
            }
        }),
    );
    let delayed = app.clone();
    driver.start(
        Task::every("plans-after-reports", OFTEN)
            .retry(RETRY, OFTEN)
            .woken_by(app.delayed.clone())
            .at_most_every(PAUSE),
        work(move || {
            let app = delayed.clone();
            async move {
                let (renewed, next) = follow::delayed(&app.pool, app.clock.now(), &app.issuer).await;
                app.counters.plans_issued(renewed.issued);
                match (renewed.failure(), next) {
                    (Some(failed), _) => Err(Failure::new(failed)),
                    (None, Some(next)) => Ok(Next::After(follow::wait_until(next, app.clock.now()))),
                    (None, None) => Ok(Next::Interval),
                }
            }
        }),
    );
    let pruned = app.clone();
    driver.start(
        Task::every("past-plans", SELDOM).retry(RETRY, SELDOM),
        work(move || {
            let app = pruned.clone();
            async move { past::prune(&app.pool, app.clock.now()).await.map(|_| Next::Interval) }
        }),
    );
    let retained = app.clone();
    driver.start(
        Task::every("retention", SELDOM).retry(RETRY, SELDOM).woken_by(app.retire.clone()).at_most_every(PAUSE),
        work(move || {
            let app = retained.clone();
            async move { app.retention.once().await.map(|()| Next::Interval) }
        }),
    );
    let uploads = app.clone();
    driver.start(
        Task::every("uploads", SELDOM),
        work(move || {
            let app = uploads.clone();
            async move { upkeep::once(&app.uploads).await.map(|()| Next::Interval) }
        }),
    );
    let gauges = app.clone();
    driver.start(
        Task::every("gauges", OFTEN),
        work(move || {
            let app = gauges.clone();
            async move {
                let client = connection(&app.pool).await?;
                app.holders.refresh(&client).await?;
                app.counters.gauges.refresh(&client, app.clock.now()).await.map(|()| Next::Interval)
            }
        }),
    );
}

/// Tracker and BitTorrent daemon.
struct Seeding(Upkeep);

#[async_trait]
impl Work for Seeding {
    async fn run(&mut self) -> Result<Next, Failure> {
        self.0.pass().await?;
        Ok(Next::Interval)
    }
}

/// The signed metadata.
struct Metadata(Watch);

#[async_trait]
impl Work for Metadata {
    async fn run(&mut self) -> Result<Next, Failure> {
        self.0.pass().await.map(|()| Next::Interval).map_err(Failure::new)
    }

    /// Publishing and the releases that follow it are not cut off half-way.
    fn may_be_dropped(&self) -> bool {
        false
    }
}
