//! Keeps tracker and daemon in step with the database: at start, and again and again, since both can forget.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use service_kit::Shutdown;
use service_kit::database::{JobError, connection};
use service_kit::edge::chain;
use service_kit::retry::Backoff;

use super::seed::add_seed;
use crate::app::App;
use crate::db;

/// How often the world is compared with the database.
const EVERY: Duration = Duration::from_secs(30);

/// Lists what must be listed and seeds what must be seeded, until shutdown.
pub async fn reconcile(app: Arc<App>, shutdown: Shutdown) {
    let mut backoff = Backoff::new(Duration::from_millis(500), EVERY);
    let mut listed_once = false;
    let mut last_trouble = String::new();
    while !shutdown.is_stopping() {
        let wait = match pass(&app, &mut listed_once).await {
            Ok(()) => {
                if !last_trouble.is_empty() {
                    tracing::info!("tracker and BitTorrent daemon are in step again");
                    last_trouble.clear();
                }
                backoff.reset();
                EVERY
            }
            Err(trouble) => {
                // Said once, not every half minute.
                if trouble != last_trouble {
                    tracing::warn!(%trouble, "tracker or BitTorrent daemon are not in step; trying again");
                    last_trouble = trouble;
                }
                backoff.next()
            }
        };
        shutdown.wait(wait).await;
    }
}

async fn pass(app: &App, listed_once: &mut bool) -> Result<(), String> {
    {
        let client = connection(&app.pool).await.map_err(|e| chain(&e))?;
        app.counters.gauges.refresh(&client, app.clock.now()).await.map_err(|e| chain(&e))?;
    }
    // After a start the tracker is told even if the file is right: it may have missed the last time.
    if *listed_once {
        app.tracker.repair(&app.pool).await.map_err(|e| chain(&e))?;
    } else {
        app.tracker.list_all(&app.pool).await.map_err(|e| chain(&e))?;
        *listed_once = true;
    }
    // In this order: whatever we gave the daemon had its row before.
    let seeded: BTreeSet<_> = app.engine.list().await.map_err(|e| chain(&e))?.into_iter().collect();
    let (wanted, listed) = {
        let client = connection(&app.pool).await.map_err(|e| chain(&e))?;
        let wanted = db::artifacts::seeded(&client).await.map_err(|e| chain(&e))?;
        let listed = db::artifacts::listed(&client).await.map_err(|e| chain(&e))?;
        (wanted, listed.into_iter().collect::<BTreeSet<_>>())
    };
    // Put away while the daemon was still reading its memory of torrents, or of a database that was restored since.
    for stray in seeded.difference(&listed) {
        app.engine.remove(stray, false).await.map_err(|e| chain(&e))?;
        tracing::warn!(hash = %stray, "the BitTorrent daemon had a torrent that no record knows; it was taken out");
    }
    let renewed = app.renewals.take(app.clock.now());
    for artifact in wanted.iter().filter(|a| renewed.contains(&a.sha256) && seeded.contains(&a.info_hash)) {
        app.engine.remove(&artifact.info_hash, false).await.map_err(|e| chain(&e))?;
        tracing::warn!(artifact = %artifact.sha256, "a branch lost it: the daemon takes it anew, to serve that branch again");
    }
    // A daemon that was killed comes back with torrents that stand still, or of which it has nothing.
    let forgotten: BTreeSet<_> = app.engine.not_seeding().await.map_err(|e| chain(&e))?.into_iter().collect();
    let idle = |hash| !seeded.contains(hash) || forgotten.contains(hash);
    for artifact in wanted.iter().filter(|a| renewed.contains(&a.sha256) || idle(&a.info_hash)) {
        // Seeded by us just after it was put away, the tracker would refuse it: nobody can put it away while this is held.
        let Some(_reader) = app.store.holds().read(&artifact.sha256) else { continue };
        let added = add_seed(app, artifact).await.map_err(|e| match e {
            JobError::Retry(text) | JobError::GiveUp(text) => text,
            JobError::Interrupted => "interrupted".to_owned(),
        })?;
        if added {
            tracing::info!(artifact = %artifact.sha256, "seeding again");
        }
    }
    Ok(())
}
