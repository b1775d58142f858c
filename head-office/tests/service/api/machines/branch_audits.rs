//! The audits of branches: one that is cut back is noticed and shown.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Digest;
use uuid::Uuid;
use wire::ReasonCode;
use wire::v1::audit::Head;
use wire::v1::fleet::BranchAudit;
use wire::v1::reports::{Numbered, Report};
use wire::v1::status::Status;

use super::reports::send;
use crate::support::{Office, begin};

fn head(seq: u64, byte: u8) -> Head {
    Head { seq, hash: Digest::new([byte; 32]) }
}

fn told(seq: u64, at: DateTime<Utc>, head: Head) -> Vec<Numbered> {
    vec![Numbered { seq, at, report: Report::AuditHead { head } }]
}

async fn shown(office: &Office) -> Option<BranchAudit> {
    let branch: wire::v1::fleet::Branch = office.admin().get("/v1/branches/north").await.unwrap();
    branch.audit
}

/// The branches whose audit is shown as cut, with how far it had reached and then ended.
async fn alerts(office: &Office) -> Vec<[String; 3]> {
    let status: Status = office.admin().get("/v1/status").await.unwrap();
    let found = status.alerts.iter().filter(|alert| alert.reason.code == ReasonCode::BranchAuditCut);
    found.map(|a| ["branch", "kept", "found"].map(|p| a.reason.params.get(p).unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_whose_audit_was_cut_back_is_noticed_and_shown() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    assert_eq!(shown(&office).await, None);
    let (epoch, minute) = (Uuid::new_v4(), TimeDelta::minutes(1));
    send(&branch, epoch, told(1, begin() - minute * 9, head(5, 5))).await;
    send(&branch, epoch, told(2, begin() - minute * 8, head(7, 7))).await;
    // What a sender that lost the thread sends once more raises no alert.
    send(&branch, Uuid::new_v4(), told(1, begin() - minute * 9, head(4, 4))).await;
    assert_eq!(shown(&office).await, Some(BranchAudit { head: head(7, 7), at: begin() - minute * 8, cut: None }));
    assert_eq!(alerts(&office).await, Vec::<[String; 3]>::new());

    let epoch = Uuid::new_v4();
    send(&branch, epoch, told(1, begin() - minute * 7, head(6, 6))).await;
    assert_eq!(alerts(&office).await, [["north", "7", "6"].map(str::to_owned)]);
    let audit = shown(&office).await.unwrap();
    assert_eq!((audit.head, audit.cut.unwrap().kept), (head(6, 6), head(7, 7)));

    // Another row under a number that is known, by a clock that is a year ahead; the next cut is noticed for all that.
    send(&branch, epoch, told(2, begin() + TimeDelta::days(365), head(6, 9))).await;
    assert_eq!(alerts(&office).await, [["north", "6", "6"].map(str::to_owned)]);
    office.clock.advance(minute);
    send(&branch, epoch, told(3, begin() + minute, Head::EMPTY)).await;
    assert_eq!(alerts(&office).await, [["north", "6", "0"].map(str::to_owned)]);

    // The alert ends; the branch is shown with it from then on.
    office.clock.advance(TimeDelta::days(31));
    assert_eq!(alerts(&office).await, Vec::<[String; 3]>::new());
    assert_eq!(shown(&office).await.unwrap().cut.unwrap().kept, head(6, 9));
}
