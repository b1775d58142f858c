//! What head office does in the background. Every job is safe to run twice and continues after kill -9 from what the
//! database and the disk hold.

use std::sync::Arc;
use std::time::Duration;

use service_kit::Shutdown;
use service_kit::database::{JobHandler, connection};
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::releases::publish::Publish;
use crate::releases::upkeep;
use crate::releases::validate::Validate;
use crate::releases::vouching::Watch;
use crate::rollout::tick;
use crate::seeding::upkeep::Upkeep;
use crate::store::retention;

/// The handlers of all kinds of jobs.
pub fn handlers(app: &Arc<App>) -> Vec<Arc<dyn JobHandler>> {
    vec![Arc::new(Validate(app.clone())), Arc::new(Publish(app.clone()))]
}

/// Starts the periodic tasks.
pub fn spawn(app: &Arc<App>, shutdown: &Shutdown) -> Vec<JoinHandle<()>> {
    let seconds = Duration::from_secs;
    let never = Arc::new(Notify::new());
    let task =
        |name, every, trigger: &Arc<Notify>| Task { name, every, trigger: trigger.clone(), shutdown: shutdown.clone() };
    let (mut seeding, mut watch) = (Upkeep::new(app.clone()), Watch::new(app.clone()));
    let (gauges, plans, kept, uploads) = (app.clone(), app.clone(), app.clone(), app.clone());
    vec![
        tokio::spawn(
            task("seeding", seconds(30), &app.reseed).run(async move || seeding.pass().await.map_err(|e| chain(&e))),
        ),
        tokio::spawn(task("gauges", seconds(30), &never).run(async move || {
            let client = connection(&gauges.pool).await.map_err(|e| chain(&e))?;
            gauges.counters.gauges.refresh(&client, gauges.clock.now()).await.map_err(|e| chain(&e))
        })),
        tokio::spawn(task("plans", seconds(60), &app.replan).run(async move || {
            let issued = tick::all(&plans.pool, plans.clock.now(), &plans.issuer()).await.map_err(|e| chain(&e))?;
            plans.counters.plans_issued(issued);
            Ok(())
        })),
        tokio::spawn(task("metadata", seconds(60), &app.watch).run(async move || watch.pass().await)),
        tokio::spawn(
            task("retention", seconds(600), &app.retire)
                .run(async move || retention::once(&kept).await.map_err(|e| chain(&e))),
        ),
        tokio::spawn(
            task("uploads", seconds(600), &never)
                .run(async move || upkeep::once(&uploads).await.map_err(|e| chain(&e))),
        ),
    ]
}

/// When a task runs.
struct Task {
    name: &'static str,
    every: Duration,
    trigger: Arc<Notify>,
    shutdown: Shutdown,
}

impl Task {
    async fn run(self, mut work: impl AsyncFnMut() -> Result<(), String>) {
        let mut backoff = Backoff::new(Duration::from_millis(500), self.every);
        let mut said = String::new();
        while !self.shutdown.is_stopping() {
            let wait = match work().await {
                Ok(()) => {
                    if !said.is_empty() {
                        tracing::info!(task = self.name, "background task succeeded again");
                        said.clear();
                    }
                    backoff.reset();
                    self.every
                }
                Err(error) => {
                    // The same failure is a warning once, not at every retry.
                    if error != said {
                        tracing::warn!(task = self.name, error, "background task failed; retrying");
                        said = error;
                    }
                    backoff.next()
                }
            };
            tokio::select! {
                _ = self.shutdown.wait(wait) => {}
                () = self.trigger.notified() => {}
            }
        }
    }
}
