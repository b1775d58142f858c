//! A branch in other hands, at head office.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use service_kit::{Clock as _, SystemClock};
use uuid::Uuid;
use wire::v1::fleet::PlanIssued;
use wire::v1::paths;
use wire::v1::reports::{Batch, Numbered, Report};
use wire::v1::sync::EnrolRequest;

use super::{address, client, length, text, withstand};
use crate::site::MEMORY;
use crate::support::archive::insert_published;
use crate::support::{count, facts, pool};

#[tokio::test(flavor = "multi_thread")]
async fn branch_does_not_stop_head_office() {
    let (_, counts) = withstand("3. one branch stops head office", MEMORY, async |site, attack| {
        let hostile = client(address(0), &site.office.line.config(Some(&site.east.leaf)));
        let url = format!("https://{}{}", site.office.doors()[1], paths::REPORTS);
        attack.posts(300, &hostile, &url, || seen("kiosk-x86"));
    })
    .await;
    assert!(counts.taken() > 0 && counts.refused() > 0, "{}", counts.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_change_with_every_report_cause_few_plans() {
    let (site, counts) = withstand("6. facts that change with every report", MEMORY, async |site, attack| {
        insert_published(&pool(&site.database.url()).await, "kiosk", "1.0.0", "kiosk-x86").await;
        let assignment = json!({ "branch": "east", "product": "kiosk", "version": "1.0.0" });
        let _: PlanIssued = site.office.operators.post(paths::ASSIGNMENTS, &assignment).await.unwrap();
        // A branch that tells of another model each time.
        let hostile = client(address(0), &site.office.line.config(Some(&site.east.leaf)));
        let url = format!("https://{}{}", site.office.doors()[1], paths::REPORTS);
        let model = alternating();
        attack.posts(8, &hostile, &url, move || seen(model()));
        // And a terminal that enrols with another model each time.
        let hostile = client(address(1), &site.branch.tls(None));
        let url = format!("https://{}{}", site.branch.doors[1], paths::ENROL);
        let (enrolment, model) = (site.hostile.enrolment.clone(), alternating());
        attack.posts(8, &hostile, &url, move || {
            text(&EnrolRequest { terminal: Some(facts("till-9", model())), ..enrolment.clone() })
        });
    })
    .await;
    let plans = count(&pool(&site.database.url()).await, "SELECT count(*) FROM plans WHERE branch = 'east'").await;
    let most = 3 + length().as_secs() / 5;
    assert!(plans <= i64::try_from(most).unwrap(), "{plans} plans followed {}", counts.text());
    assert!(counts.taken() > 0, "{}", counts.text());
}

/// One model, then the other.
fn alternating() -> impl Fn() -> &'static str + Clone + Send + 'static {
    let calls = Arc::new(AtomicUsize::new(0));
    move || if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { "other" } else { "kiosk-x86" }
}

/// A report that is new, under a new numbering.
fn seen(model: &str) -> String {
    let report = Report::TerminalSeen { facts: facts("till-1", model), key: None };
    text(&Batch { epoch: Uuid::new_v4(), reports: vec![Numbered { seq: 1, at: SystemClock.now(), report }] })
}
