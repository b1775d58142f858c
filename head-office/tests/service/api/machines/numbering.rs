//! A branch whose numbering went back, or that is there twice: nothing is believed for lost, and an operator sees it.

use chrono::TimeDelta;
use fleet_types::{Slot, UpdateState};
use service_kit::Clock as _;
use uuid::Uuid;
use wire::v1::fleet::Terminal;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};
use wire::v1::status::Status;
use wire::{Code, ReasonCode};

use super::reports::{seen, send, update};
use crate::api::refusal;
use crate::support::{Branch, Office, begin, count};

fn running(seq: u64, version: &str) -> Numbered {
    let terminal = "till-1".parse().unwrap();
    let report = Report::Running { terminal, slot: Slot::A, version: version.parse().unwrap() };
    Numbered { seq, at: begin() + TimeDelta::seconds(seq as i64), report }
}

/// The reports under new numbers from 1 on, as a sender sends them that began a new numbering.
fn renumbered(reports: &[Numbered]) -> Vec<Numbered> {
    reports.iter().zip(1..).map(|(report, seq)| Numbered { seq, ..report.clone() }).collect()
}

async fn refused(branch: &Branch, epoch: Uuid, reports: &[Numbered]) -> Code {
    let batch = Batch { epoch, reports: reports.to_vec() };
    refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &batch).await)
}

/// The machines that are shown as being there twice, and how often.
async fn alerts(office: &Office) -> Vec<(String, String)> {
    let status: Status = office.admin().get("/v1/status").await.unwrap();
    let found = status.alerts.iter().filter(|alert| alert.reason.code == ReasonCode::DuplicateIdentity);
    let param = |alert: &wire::v1::status::Alert, name| alert.reason.params.get(name).unwrap_or_default().to_owned();
    found.map(|alert| (param(alert, "machine"), param(alert, "times"))).collect()
}

async fn till(office: &Office) -> Terminal {
    office.admin().get("/v1/terminals/north/till-1").await.unwrap()
}

/// Its database was restored: it has reports that were stored already, and gives their successors the same numbers again.
#[tokio::test(flavor = "multi_thread")]
async fn restored_branch_is_refused_until_it_numbers_again_and_old_states_stay_old() {
    use UpdateState::{Assigned, Confirmed, Fetching};
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let before = [seen(1), running(2, "1.0.0"), update(3, None, Assigned, 0), update(4, Some(Assigned), Fetching, 1)];
    let after = [update(5, Some(Fetching), Confirmed, 10), running(6, "2.0.0")];
    send(&branch, epoch, [&before[..], &after].concat()).await;
    assert_eq!(alerts(&office).await, []);

    // The copy was made when reports 2 to 4 waited; then it reported something else.
    let mut news = update(9, Some(Confirmed), Confirmed, 10);
    news.seq = 5;
    let waits = [&before[1..], &[news]].concat();
    assert_eq!(refused(&branch, epoch, &waits).await, Code::NumberReused);
    assert_eq!(alerts(&office).await, [("north".to_owned(), "1".to_owned())]);

    assert_eq!(send(&branch, Uuid::new_v4(), renumbered(&waits)).await.through, 4);
    let stands = till(&office).await;
    assert_eq!((stands.version, stands.update.unwrap().state), (Some("2.0.0".parse().unwrap()), Confirmed));
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM moves").await, 3);
}

/// Each of two servers from copies of one disk goes on with what it has; both are heard, and an operator learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn two_clones_are_both_heard_and_counted_and_fill_no_table() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let first = Uuid::new_v4();
    send(&branch, first, vec![seen(1)]).await;
    let (mut epochs, mut refusals) = ([first, first], 0);
    let mut next = [2, 2];
    for round in 0_u64..60 {
        let clone = round as usize % 2;
        let mut report = running(10 + round, &format!("1.0.{round}"));
        report.seq = next[clone];
        if round > 0 {
            assert_eq!(refused(&branch, epochs[clone], &[report.clone()]).await, Code::NumberReused, "{round}");
            refusals += 1;
            (epochs[clone], report.seq) = (Uuid::new_v4(), 1);
        }
        assert_eq!(send(&branch, epochs[clone], vec![report.clone()]).await.through, report.seq);
        next[clone] = report.seq + 1;
        assert_eq!(till(&office).await.version, Some(format!("1.0.{round}").parse().unwrap()));
    }
    assert_eq!(alerts(&office).await, [("north".to_owned(), refusals.to_string())]);
    let pool = office.pool().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM report_epochs").await, 20);
    assert_eq!(count(&pool, "SELECT max(octet_length(recent))::bigint FROM report_epochs").await, 32);
    assert_eq!(count(&pool, "SELECT count(*) FROM reused_numbers").await, 1);
}

/// A branch server tells of its terminals, and of itself if it noticed first; the alert ends.
#[tokio::test(flavor = "multi_thread")]
async fn reused_numbers_that_are_reported_are_shown_for_a_week() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let told = |seq, terminal: Option<&str>, times| {
        let report = Report::NumbersReused { terminal: terminal.map(|t| t.parse().unwrap()), times };
        Numbered { seq, at: begin(), report }
    };
    let epoch = Uuid::new_v4();
    let reports = vec![
        seen(1),
        told(2, Some("till-1"), 3),
        told(3, Some("till-1"), u64::MAX >> 1),
        told(4, Some("till-9"), 1),
        told(5, None, 1),
    ];
    assert_eq!(send(&branch, epoch, reports).await.through, 5);
    // A number beyond belief counts as a million, so that the next one still makes the count rise.
    let shown = [("north".to_owned(), "1".to_owned()), ("north/till-1".to_owned(), "1000003".to_owned())];
    assert_eq!(alerts(&office).await, shown, "an unknown terminal is not shown");
    assert_eq!(refused(&branch, epoch, &[told(6, None, 0)]).await, Code::BadField);
    office.clock.advance(TimeDelta::days(8));
    assert_eq!(alerts(&office).await, []);
}

/// One branch that invents machines hides no other's, and what is left out is counted.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_one_branch_hide_none_of_another() {
    let office = Office::start().await;
    let (north, south) = (office.branch("north", "k1", &[]).await, office.branch("south", "k1", &[]).await);
    let told = |seq| Numbered { seq, at: begin(), report: Report::NumbersReused { terminal: None, times: 1 } };
    send(&south, Uuid::new_v4(), vec![told(1)]).await;
    office.clock.advance(TimeDelta::minutes(1));
    let client = office.pool().await.get().await.unwrap();
    let invent = "INSERT INTO reused_numbers SELECT 'north', 'invented-' || n, 1, $1 FROM generate_series(1, 50) AS n";
    client.execute(invent, &[&office.clock.now()]).await.unwrap();
    send(&north, Uuid::new_v4(), vec![told(1)]).await;
    let shown: Vec<String> = alerts(&office).await.into_iter().map(|(machine, _)| machine).collect();
    assert_eq!((shown.len(), shown.last().map(String::as_str)), (4, Some("south")), "{shown:?}");
    let status: Status = office.admin().get("/v1/status").await.unwrap();
    let more = status.alerts.iter().find(|alert| alert.reason.code == ReasonCode::DuplicateIdentities).unwrap();
    assert_eq!(more.reason.sentence(), "48 more machines used report numbers twice.");
}

/// An operator carried it late: it is refused as over the link, and tells nothing of a second machine.
#[tokio::test(flavor = "multi_thread")]
async fn late_file_of_an_earlier_numbering_is_refused_without_an_alert() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let (old, path) = (Uuid::new_v4(), paths::BRANCH_REPORTS.replace("{branch}", "north"));
    send(&branch, old, vec![seen(1)]).await;
    send(&branch, Uuid::new_v4(), vec![running(1, "2.0.0")]).await;
    let batch = Batch { epoch: old, reports: vec![running(2, "1.0.0")] };
    let refused = office.admin().post::<_, Acknowledged>(&path, &batch).await.unwrap_err();
    // Its remedy is the operator's, not a machine's.
    assert!(refused.to_string().contains("wait for the link"), "{refused}");
    assert_eq!(refusal::<Acknowledged>(Err(refused)), Code::NumberReused);
    assert_eq!(alerts(&office).await, []);
    assert_eq!(till(&office).await.version, Some("2.0.0".parse().unwrap()));
}
