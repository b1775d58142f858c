//! Reports taken in: two branches at once, and what a batch costs the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet_types::Digest;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use uuid::Uuid;
use wire::v1::reports::{Acknowledged, Batch, MAX_BATCH, Numbered, Report};

use crate::support::{Office, begin, count, published};

/// A copy of each artifact that becomes complete and is lost again.
fn lost(epoch: Uuid, first: u64, artifacts: &[Digest]) -> Batch {
    let copies = [true, false].into_iter().flat_map(|complete| artifacts.iter().map(move |a| (*a, complete)));
    let reports = copies.zip(first..).map(|((artifact, complete), seq)| {
        let report = Report::Artifact { artifact, have_bytes: 0, complete, trouble: None };
        Numbered { seq, at: begin(), report }
    });
    Batch { epoch, reports: reports.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_branches_that_lose_the_same_artifacts_in_opposite_order_do_not_deadlock() {
    let office = Office::start().await;
    let mut artifacts = Vec::new();
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        artifacts.push(published(&office, "kiosk", version, "k1").await.sha256);
    }
    let backwards: Vec<Digest> = artifacts.iter().rev().copied().collect();
    let branches = [office.branch("east", "k1", &[]).await, office.branch("north", "k1", &[]).await];
    let epochs = [Uuid::new_v4(), Uuid::new_v4()];
    for round in 0..30 {
        let first = 1 + round * 6;
        let batches = [lost(epochs[0], first, &artifacts), lost(epochs[1], first, &backwards)];
        let (one, two) = tokio::join!(
            branches[0].client.post::<_, Acknowledged>("/v1/reports", &batches[0]),
            branches[1].client.post::<_, Acknowledged>("/v1/reports", &batches[1])
        );
        assert_eq!((one.unwrap().through, two.unwrap().through), (first + 5, first + 5), "round {round}");
    }
    // Each branch has lost each of them since it held it last; without a daemon none is renewed.
    let requests = count(&office.pool().await, "SELECT sum(requests)::bigint FROM torrent_renewals").await;
    assert_eq!(requests, 3 * 2);
}

/// Counts warnings that reports were skipped.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU64>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("head_office")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            let is_one = field.name() == "message" && format!("{value:?}").contains("skipped");
            self.0.fetch_add(u64::from(is_one), Ordering::Relaxed);
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_unknown_reports_is_one_line_in_the_log() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let reports: Vec<_> = (1..=MAX_BATCH)
        .map(|seq| serde_json::json!({ "seq": seq, "at": begin(), "report": { "kind": format!("k{seq}") } }))
        .collect();
    let batch = serde_json::json!({ "epoch": Uuid::new_v4(), "reports": reports });
    let answer: Acknowledged = branch.client.post("/v1/reports", &batch).await.unwrap();
    assert_eq!(answer.through, 200);
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}
