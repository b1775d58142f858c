//! How far artifacts are: recorded for people, and reported upwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::database::{DatabaseError, connection};
use swarm::TorrentStatus;
use wire::v1::reports::Report;

use crate::app::App;
use crate::db::{self, artifacts};
use crate::error::presentable;
use crate::relay;

/// What was last reported about an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reported {
    at: DateTime<Utc>,
    have_bytes: u64,
    complete: bool,
    trouble: Option<String>,
}

/// Remembers what was last reported, so that progress is reported now and then and not at every look.
pub struct Progress {
    app: Arc<App>,
    reported: BTreeMap<Digest, Reported>,
}

impl Progress {
    /// Nothing was reported yet: after a start everything is reported once.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, reported: BTreeMap::new() }
    }

    /// An artifact is gone.
    pub fn forget(&mut self, artifact: &Digest) {
        self.reported.remove(artifact);
    }

    /// Records how far an artifact is, and reports it upwards: at once on trouble and completion, otherwise not more
    /// often than the setting says.
    ///
    /// # Errors
    /// As every statement.
    pub async fn note(
        &mut self,
        record: &artifacts::Record,
        have_bytes: u64,
        complete: bool,
        trouble: Option<String>,
    ) -> Result<(), DatabaseError> {
        let artifact = record.wanted.artifact.sha256;
        let trouble = trouble.map(|text| presentable(&text));
        let news = Reported { at: self.app.clock.now(), have_bytes, complete, trouble };
        let due = self.is_due(&artifact, &news);
        if !due && record.have_bytes == have_bytes && record.trouble == news.trouble {
            return Ok(());
        }
        let mut client = connection(&self.app.pool).await?;
        let tx = db::begin(&mut client).await?;
        artifacts::set_progress(&tx, &artifact, have_bytes, news.trouble.as_deref()).await?;
        if due {
            let trouble = news.trouble.clone();
            relay::queue(&tx, news.at, &Report::Artifact { artifact, have_bytes, complete, trouble }).await?;
        }
        db::commit(tx).await?;
        if due {
            self.reported.insert(artifact, news);
            self.app.signals.relay.notify_one();
        }
        Ok(())
    }

    fn is_due(&self, artifact: &Digest, news: &Reported) -> bool {
        let Some(last) = self.reported.get(artifact) else { return true };
        let age = news.at.signed_duration_since(last.at);
        let rested = age.abs().to_std().is_ok_and(|age| age >= self.app.settings.relay.progress);
        let turned = (last.complete, &last.trouble) != (news.complete, &news.trouble);
        turned || (rested && last.have_bytes != news.have_bytes)
    }
}

/// What keeps an incomplete artifact from getting on, as far as that is known.
pub fn in_the_way(record: &artifacts::Record, status: &TorrentStatus, damaged: bool) -> Option<String> {
    // A tracker that does not answer is no trouble as long as bytes arrive.
    if let Some(trouble) = status.trouble.as_ref().filter(|_| status.rate_down == 0) {
        return Some(format!("The BitTorrent daemon says: {trouble}"));
    }
    if damaged {
        return Some("Some of it was damaged on the disk and is being fetched again; look after the disk.".to_owned());
    }
    (record.mismatches > 0).then(|| {
        let times = record.mismatches;
        format!("Its complete file was not what the plan names ({times} times so far); it is being fetched again.")
    })
}
