//! The invariant of publishing, checked throughout: every seeded torrent is accepted by the tracker, and every release
//! visible to branches is seeded.

use anyhow::bail;
use lab::{Lab, Place, Role};
use tokio::time::{Duration, MissedTickBehavior, interval};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(400);

/// Looks once. How many statements could be judged: a daemon, tracker or database that is down says nothing.
///
/// # Errors
/// The promise is broken.
pub async fn holds(lab: &Lab) -> anyhow::Result<usize> {
    // In this order: what is visible now must be seeded later, what is seeded now must be accepted later.
    let visible = lab.visible().await.unwrap_or_default();
    let Ok(torrents) = lab.torrents(&Place::HeadOffice).await else { return Ok(0) };
    let mut judged = visible.len();
    for hash in &visible {
        if !torrents.iter().any(|(seeded, _)| seeded == hash) {
            bail!("a release is visible to branches, but its torrent {hash} is not seeded");
        }
    }
    for (hash, status) in &torrents {
        match lab.accepts(&Place::HeadOffice, *hash).await {
            Ok(true) => judged += 1,
            // It refuses everything for a moment, until it has read its list.
            Ok(false) if has_just_started(lab) => {}
            Ok(false) => bail!("head office seeds {hash}, which its tracker refuses: {status:?}"),
            Err(_) => {}
        }
    }
    Ok(judged)
}

/// Whether the tracker was started so lately that it may not have read its list.
fn has_just_started(lab: &Lab) -> bool {
    lab.age(&Place::HeadOffice.part(Role::Opentracker)).is_ok_and(|age| age < Duration::from_secs(1))
}

/// Does the work and looks all the while. What it gives, and how many statements were judged.
///
/// # Errors
/// The work's, or the promise is broken.
pub async fn throughout<T>(lab: &Lab, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, usize)> {
    let mut judged = 0;
    let watch = async {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match holds(lab).await {
                Ok(more) => judged += more,
                Err(broken) => return broken,
            }
        }
    };
    let done = tokio::select! {
        done = Box::pin(work) => done?,
        broken = watch => return Err(broken),
    };
    Ok((done, judged))
}
