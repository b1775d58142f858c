//! Progress of artifacts: recorded for the console, and reported to head office.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::database::{DatabaseError, begin, commit};
use wire::v1::reports::{Reason, Report};

use super::parts::Parts;
use crate::db::artifacts;
use crate::reports::relay::{self, have_same_code, read_the_same};

/// One state of an artifact as it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reported {
    at: DateTime<Utc>,
    have_bytes: u64,
    complete: bool,
    trouble: Option<Reason>,
}

impl Reported {
    /// Returns whether to report this after `last`.
    ///
    /// A completion and another kind of trouble are due at once, progress and the words of a trouble at most every `interval`: free
    /// space in them changes all the time.
    fn is_due(&self, last: Option<&Self>, interval: Duration) -> bool {
        let Some(last) = last else { return true };
        let age = self.at.signed_duration_since(last.at);
        let rested = age.abs().to_std().is_ok_and(|age| age >= interval);
        let turned = last.complete != self.complete || !have_same_code(last.trouble.as_ref(), self.trouble.as_ref());
        let moved = last.have_bytes != self.have_bytes || !read_the_same(last.trouble.as_ref(), self.trouble.as_ref());
        turned || (rested && moved)
    }
}

/// The last report of each artifact, by which progress is reported at a bounded rate.
pub struct Progress {
    parts: Parts,
    reported: BTreeMap<Digest, Reported>,
}

impl Progress {
    /// Starts with nothing reported: after a start everything is reported once.
    pub fn new(parts: Parts) -> Self {
        Self { parts, reported: BTreeMap::new() }
    }

    /// Forgets an artifact that is gone.
    pub fn forget(&mut self, artifact: &Digest) {
        self.reported.remove(artifact);
    }

    /// Records an artifact's progress, and reports it to head office if that is due.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn note(
        &mut self,
        record: &artifacts::Record,
        have_bytes: u64,
        complete: bool,
        trouble: Option<Reason>,
    ) -> Result<(), DatabaseError> {
        let artifact = record.wanted.artifact.sha256;
        let news = Reported { at: self.parts.clock.now(), have_bytes, complete, trouble };
        let due = news.is_due(self.reported.get(&artifact), self.parts.settings.relay.progress);
        if !due && record.have_bytes == have_bytes && read_the_same(record.trouble.as_ref(), news.trouble.as_ref()) {
            return Ok(());
        }
        let mut client = self.parts.client().await?;
        let tx = begin(&mut client).await?;
        artifacts::set_progress(&tx, &artifact, have_bytes, news.trouble.as_ref()).await?;
        if due {
            let trouble = news.trouble.clone();
            relay::queue(&tx, news.at, &Report::Artifact { artifact, have_bytes, complete, trouble }).await?;
        }
        commit(tx).await?;
        if due {
            self.reported.insert(artifact, news);
            self.parts.signals.relay.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::ReasonCode;

    use super::*;

    fn reported(seconds: i64, have_bytes: u64, trouble: Option<Reason>) -> Reported {
        Reported {
            at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds),
            have_bytes,
            complete: false,
            trouble,
        }
    }

    #[test]
    fn another_kind_of_trouble_is_due_at_once_and_other_words_after_the_interval() {
        let full = |free: u64| Some(Reason::of(ReasonCode::StoreFull).with("free", free).with("needed", 9_u64 << 30));
        let interval = Duration::from_secs(30);
        let due = |last: &Reported, news: Reported| news.is_due(Some(last), interval);
        assert!(reported(0, 0, None).is_due(None, interval), "the first");
        assert!(due(&reported(0, 0, None), reported(1, 0, full(2 << 30))), "trouble begins");
        assert!(due(&reported(0, 0, full(2 << 30)), reported(1, 0, None)), "trouble ends");
        assert!(!due(&reported(0, 0, full(2 << 30)), reported(1, 0, full(1 << 30))), "other words");
        assert!(due(&reported(0, 0, full(2 << 30)), reported(30, 0, full(1 << 30))), "other words, later");
        assert!(!due(&reported(0, 0, full(2 << 30)), reported(30, 0, full((2 << 30) + 1))), "the same words");
        assert!(!due(&reported(0, 5, None), reported(1, 6, None)) && due(&reported(0, 5, None), reported(30, 6, None)));
    }
}
