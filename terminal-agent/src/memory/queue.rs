//! The queue of reports: part of the journal, so that a move and the report of it become durable together.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use wire::v1::evidence::BootEvidence;
use wire::v1::reports::{Batch, MAX_BATCH_BYTES, Numbered, Report, UpdateReport};

/// Most reports that wait without a number.
///
/// A branch out of reach for long costs old progress, then old moves.
const MAX_WAITING: usize = 500;

/// Most waiting reports that keep what is left of a failed boot.
///
/// The journal, which holds them, is read up to a bound.
const MAX_EVIDENCE: usize = 4;

/// A report that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    at: DateTime<Utc>,
    report: Report,
}

/// The queue.
///
/// A report gets its number when it is first sent; from then on it is never changed or dropped until it is
/// acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    epoch: Uuid,
    next: u64,
    sent: Vec<Numbered>,
    waiting: VecDeque<Waiting>,
}

impl Reports {
    /// An empty queue that begins to count at 1.
    pub fn new(epoch: Uuid) -> Self {
        Self { epoch, next: 1, sent: Vec::new(), waiting: VecDeque::new() }
    }

    /// Queues a report. Progress replaces the progress before it, and of reused numbers one report waits.
    pub fn push(&mut self, at: DateTime<Utc>, report: Report) {
        let is_reuse = |report: &Report| matches!(report, Report::NumbersReused { .. });
        if is_reuse(&report) && self.waiting.iter().any(|w| is_reuse(&w.report)) {
            return;
        }
        if let (Some(new), Some(Waiting { report: old, .. })) = (progress(&report), self.waiting.back())
            && progress(old).is_some_and(|old| old.payload == new.payload && old.state == new.state)
        {
            self.waiting.pop_back();
        }
        if self.waiting.len() >= MAX_WAITING {
            let oldest = self.waiting.iter().position(|w| progress(&w.report).is_some()).unwrap_or(0);
            self.waiting.remove(oldest);
            tracing::warn!("the branch server has not taken reports for long: the oldest one is dropped");
        }
        self.waiting.push_back(Waiting { at, report });
        self.waiting
            .iter_mut()
            .rev()
            .filter_map(|w| evidence(&mut w.report))
            .skip(MAX_EVIDENCE)
            .for_each(|e| *e = None);
    }

    /// Whether something is to be sent.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    /// Whether something else than progress is to be sent.
    pub fn is_urgent(&self) -> bool {
        !self.sent.is_empty() || self.waiting.iter().any(|w| progress(&w.report).is_none())
    }

    /// Gives numbers to what waits, up to `most` reports that fit into one request.
    ///
    /// A report without room in the request stays without a number, so that no number is beyond what was sent.
    /// True if some were given: the queue must be saved before they are sent.
    pub fn number(&mut self, most: usize) -> bool {
        let before = self.sent.len();
        let mut bytes: usize = self.sent.iter().map(length).sum();
        while self.sent.len() < most
            && let Some(Waiting { at, report }) = self.waiting.pop_front()
        {
            let numbered = Numbered { seq: self.next, at, report };
            bytes += length(&numbered);
            if bytes > MAX_BATCH_BYTES && !self.sent.is_empty() {
                self.waiting.push_front(Waiting { at, report: numbered.report });
                break;
            }
            self.sent.push(numbered);
            self.next += 1;
        }
        self.sent.len() != before
    }

    /// Returns the numbered reports that fit into one request, `most` at most.
    ///
    /// `None` if no report has a number.
    pub fn batch(&self, most: usize) -> Option<Batch> {
        let mut bytes = 0;
        let fits = |n: &&Numbered| {
            let before = bytes;
            bytes += length(n);
            before == 0 || bytes <= MAX_BATCH_BYTES
        };
        let reports: Vec<Numbered> = self.sent.iter().take(most.max(1)).take_while(fits).cloned().collect();
        (!reports.is_empty()).then_some(Batch { epoch: self.epoch, reports })
    }

    /// The reports of a newer agent's queue that are known here.
    ///
    /// If one of the numbered is not, or the numbering itself, the rest is numbered again under `fresh`: the receiver
    /// must not wait for what never comes.
    pub fn of_newer(found: &Value, fresh: Uuid) -> Self {
        fn list<T: for<'a> Deserialize<'a>>(found: &Value, name: &str) -> (usize, Vec<T>) {
            let all = found.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            (all.len(), all.iter().filter_map(|one| T::deserialize(one).ok()).collect())
        }
        let (numbered, mut sent) = list::<Numbered>(found, "sent");
        let (_, mut waiting) = list::<Waiting>(found, "waiting");
        // A report of a kind that is unknown here is not relayed by a branch server of this version either.
        sent.retain(|n| !matches!(n.report, Report::Unknown(_)));
        waiting.retain(|w| !matches!(w.report, Report::Unknown(_)));
        let whole = numbered == sent.len();
        let epoch = found.get("epoch").and_then(|e| Uuid::deserialize(e).ok()).filter(|_| whole);
        let next = found.get("next").and_then(Value::as_u64);
        let mut known = Self { epoch: fresh, next: 1, sent, waiting: waiting.into() };
        match epoch.zip(next) {
            Some((epoch, next)) => (known.epoch, known.next) = (epoch, next),
            None => known.renumber(fresh, false),
        }
        known
    }

    /// The highest number that was ever sent in this numbering; 0 before the first.
    pub const fn last_sent(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The receiver has everything up to `through`.
    pub fn acknowledge(&mut self, through: u64) {
        self.sent.retain(|n| n.seq > through);
    }

    /// Begins a new numbering under `epoch`, because the receiver expects other numbers: every report waits for a number again.
    ///
    /// `drop_first`: without the first report, which it will never take.
    pub fn renumber(&mut self, epoch: Uuid, drop_first: bool) {
        let sent = std::mem::take(&mut self.sent).into_iter().skip(usize::from(drop_first));
        let sent = sent.map(|Numbered { at, report, .. }| Waiting { at, report });
        let waiting = sent.chain(std::mem::take(&mut self.waiting)).collect();
        *self = Self { epoch, next: 1, sent: Vec::new(), waiting };
    }
}

/// Length of a report in a request, in bytes.
fn length(numbered: &Numbered) -> usize {
    serde_json::to_vec(numbered).map_or(0, |json| json.len())
}

/// Where the report keeps what is left of a failed boot, if it does.
fn evidence(report: &mut Report) -> Option<&mut Option<BootEvidence>> {
    match report {
        Report::Update { update, .. } if update.evidence.is_some() => Some(&mut update.evidence),
        _ => None,
    }
}

/// The report's update if it only reports progress within a state.
fn progress(report: &Report) -> Option<&UpdateReport> {
    match report {
        Report::Update { update, .. } if update.from == Some(update.state) => Some(update),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Digest, UpdateState, Version};
    use wire::v1::reports::{MAX_BATCH, Reason};

    fn report(from: Option<UpdateState>, state: UpdateState, done: u64) -> Report {
        Report::Update {
            terminal: "t".parse().unwrap(),
            update: UpdateReport {
                serial: 1,
                product: "p".parse().unwrap(),
                version: Version::new(1, 0, 0),
                payload: Digest::new([0; 32]),
                from,
                state,
                segments_done: done,
                segments_total: 9,
                reason: None,
                proof: None,
                position: None,
                evidence: None,
            },
        }
    }

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_000, 0).unwrap()
    }

    #[test]
    fn numbers_have_no_gaps_and_stay_until_acknowledged() {
        let mut queue = Reports::new(Uuid::nil());
        for done in 0..5 {
            queue.push(at(), report(Some(UpdateState::Fetching), UpdateState::Fetching, done));
        }
        queue.push(at(), report(Some(UpdateState::Fetching), UpdateState::Installing, 9));
        assert!(queue.number(MAX_BATCH));
        let first = queue.batch(MAX_BATCH).unwrap();
        assert_eq!(first.reports.iter().map(|n| n.seq).collect::<Vec<_>>(), [1, 2], "progress is merged");
        queue.push(at(), report(Some(UpdateState::Installing), UpdateState::Ready, 9));
        assert!(queue.number(MAX_BATCH));
        assert_eq!(queue.batch(2).unwrap().reports, first.reports, "what was sent is sent again as it was");
        queue.acknowledge(1);
        let seqs: Vec<u64> = queue.batch(MAX_BATCH).unwrap().reports.iter().map(|n| n.seq).collect();
        assert_eq!(seqs, [2, 3]);
        queue.acknowledge(3);
        assert!(queue.is_empty() && !queue.number(MAX_BATCH) && queue.batch(1).is_none());
    }

    #[test]
    fn a_receiver_that_lost_the_thread_gets_a_new_numbering() {
        let mut queue = Reports::new(Uuid::nil());
        for state in [UpdateState::Assigned, UpdateState::Fetching, UpdateState::Installing] {
            queue.push(at(), report(None, state, 0));
        }
        queue.number(MAX_BATCH);
        queue.acknowledge(1);
        queue.renumber(Uuid::max(), true);
        assert!(queue.last_sent() == 0 && queue.batch(MAX_BATCH).is_none(), "nothing was sent in it yet");
        queue.number(MAX_BATCH);
        let batch = queue.batch(MAX_BATCH).unwrap();
        assert_eq!((batch.epoch, batch.reports.len(), batch.reports[0].seq), (Uuid::max(), 1, 1));
    }

    #[test]
    fn only_what_is_sent_has_a_number() {
        let mut queue = Reports::new(Uuid::nil());
        let reason = Reason::new("unhealthy", "x".repeat(1000));
        for done in 0..600 {
            let Report::Update { terminal, mut update } = report(None, UpdateState::Failed, done) else {
                unreachable!()
            };
            update.reason = Some(reason.clone());
            update.proof = Some("0".repeat(3000));
            queue.push(at(), Report::Update { terminal, update });
        }
        queue.number(1);
        assert_eq!(queue.last_sent(), 1);
        queue.number(MAX_BATCH);
        let sent = queue.batch(MAX_BATCH).unwrap().reports;
        assert!(sent.len() < MAX_BATCH, "a request ends at {MAX_BATCH_BYTES} bytes");
        assert_eq!(queue.last_sent(), sent.len() as u64);
    }

    #[test]
    fn the_queue_is_bounded_and_gives_up_progress_first() {
        let mut queue = Reports::new(Uuid::nil());
        queue.push(at(), report(None, UpdateState::Assigned, 0));
        for done in 0..2_000 {
            queue.push(at(), report(Some(UpdateState::Fetching), UpdateState::Fetching, done));
            queue.push(at(), report(Some(UpdateState::Fetching), UpdateState::Assigned, done));
        }
        assert_eq!(queue.waiting.len(), MAX_WAITING);
    }
}
