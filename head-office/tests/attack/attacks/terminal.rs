//! A terminal in other hands, at the server of its branch.

use std::sync::Arc;

use fleet_types::{UpdateState, Version};
use service_kit::{Clock as _, SystemClock};
use uuid::Uuid;
use wire::v1::paths;
use wire::v1::reports::{Batch, MAX_BATCH, Numbered, Report, UpdateReport};

use super::{address, client, text, withstand};
use crate::site::MEMORY;

/// Batches that are on their way at once.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn terminal_does_not_silence_its_branch() {
    let (_, counts) = withstand("2. one terminal silences its branch", MEMORY, async |site, attack| {
        let hostile = client(address(0), &site.branch.tls(Some(&site.hostile.leaf)));
        let state = state();
        let url = format!("https://{}{}", site.branch.doors[1], paths::REPORTS);
        attack.posts(AT_ONCE, &hostile, &url, move || batch(&state));
    })
    .await;
    assert!(counts.refused() > counts.taken(), "{}", counts.text());
}

/// A state with a proof of zeros.
fn state() -> Arc<Report> {
    let update = UpdateReport {
        serial: 7,
        product: "kiosk".parse().unwrap(),
        version: Version::new(2, 0, 0),
        payload: [2; 32].into(),
        from: None,
        state: UpdateState::Confirmed,
        segments_done: 10,
        segments_total: 10,
        reason: None,
        proof: Some("00".repeat(64)),
        position: None,
        evidence: None,
    };
    Arc::new(Report::Update { terminal: "till-9".parse().unwrap(), update })
}

/// As many of it as one request takes, under a new numbering.
fn batch(state: &Report) -> String {
    let at = SystemClock.now();
    let numbered = |seq| Numbered { seq, at, report: state.clone() };
    text(&Batch { epoch: Uuid::new_v4(), reports: (1..=MAX_BATCH as u64).map(numbered).collect() })
}
