//! Reports reach head office exactly once in effect, whatever happens between.

use std::sync::Arc;

use branch_server::reports::relay::{Delivery, RelayError, deliver};
use chrono::DateTime;
use fleet_types::UpdateState;
use service_kit::SystemClock;
use test_kit::{FaultProxy, wait_for};
use trust::certificates::FleetTime;
use uuid::Uuid;
use wire::v1::reports::{Numbered, Report};

use crate::head_office::Mood;
use crate::reports::{batch, moved, running, send};
use crate::support::{Branch, Options, PATIENCE, Till};

/// A branch with three reports in its queue: enrolled, running, assigned.
async fn with_three() -> (Branch, Till) {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let reports = vec![running("till-1"), moved("till-1", None, UpdateState::Assigned, 0)];
    assert!(send(&branch, &token, &batch(Uuid::new_v4(), 1, reports)).await.status().is_success());
    (branch, token)
}

async fn once(branch: &Branch) -> Result<Delivery, RelayError> {
    deliver(&branch.app.pool, &*branch.app.head_office, 200, branch.app.clock.now()).await
}

fn counted(branch: &Branch) -> Vec<Numbered> {
    branch.head_office.with(|s| s.counted.clone())
}

fn numbers(reports: &[Numbered]) -> Vec<u64> {
    reports.iter().map(|r| r.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_arrive_in_order_and_are_forgotten_when_acknowledged() {
    let (branch, _) = with_three().await;
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(3));
    assert_eq!(once(&branch).await.unwrap(), Delivery::Nothing);
    assert_eq!(numbers(&counted(&branch)), [1, 2, 3]);
    assert_eq!(branch.status().await["head_office"]["reports_waiting"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_after_storing_makes_no_double() {
    let (branch, _) = with_three().await;
    branch.head_office.with(|s| s.mood = Mood::StoreThenBreak);
    assert!(once(&branch).await.is_err());
    assert_eq!(counted(&branch).len(), 3, "it was stored");
    branch.head_office.with(|s| s.mood = Mood::Good);
    // The same batch goes out again, is acknowledged a second time, and counts once.
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(3));
    assert_eq!(numbers(&counted(&branch)), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_never_changes_even_if_it_was_not_acknowledged() {
    let (branch, token) = with_three().await;
    branch.head_office.with(|s| s.mood = Mood::StoreThenBreak);
    assert!(once(&branch).await.is_err());
    branch.head_office.with(|s| s.mood = Mood::Good);
    // Progress of the same state: it could be folded, had the report not been sent.
    let progress = vec![moved("till-1", Some(UpdateState::Assigned), UpdateState::Assigned, 1)];
    assert!(send(&branch, &token, &batch(Uuid::new_v4(), 1, progress)).await.status().is_success());
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(4));
    let counted = counted(&branch);
    assert_eq!(numbers(&counted), [1, 2, 3, 4]);
    let Report::Update { update, .. } = &counted[2].report else { panic!("{counted:?}") };
    assert_eq!(update.segments_done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgement_of_less_than_was_sent_deletes_nothing() {
    let (branch, _) = with_three().await;
    branch.head_office.with(|s| s.mood = Mood::Forgetful);
    assert!(matches!(once(&branch).await, Err(RelayError::Acknowledged { through: 0, first: 1 })));
    branch.head_office.with(|s| s.mood = Mood::Good);
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(3));
    assert_eq!(numbers(&counted(&branch)), [1, 2, 3]);
}

/// A second server with this database, as after a cloned disk, was refused too and numbered again first.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_an_earlier_numbering_sets_nothing_aside() {
    const OTHER: &str = "create function other() returns trigger language plpgsql as
        'begin new.relay_epoch = gen_random_uuid(); return new; end';
        create trigger other before update of relay_sent on site for each row execute function other()";
    let (branch, _) = with_three().await;
    let one = async || deliver(&branch.app.pool, &*branch.app.head_office, 1, branch.app.clock.now()).await.unwrap();
    assert_eq!(one().await, Delivery::Delivered(1));
    let client = branch.app.pool.get().await.unwrap();
    client.batch_execute(OTHER).await.unwrap();
    branch.head_office.with(|s| s.mood = Mood::Picky);
    assert_eq!(one().await, Delivery::Renumbered);
    assert_eq!(branch.status().await["head_office"]["reports_waiting"], 2, "no report is lost");
    client.batch_execute("drop trigger other on site").await.unwrap();
    // The other one only gave a new name to the numbering, which does not begin at 1 now.
    assert_eq!(one().await, Delivery::Renumbered);
    assert_eq!(one().await, Delivery::SetAside, "what head office refuses in this numbering");
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgement_beyond_what_was_sent_renumbers_and_deletes_nothing() {
    let (branch, _) = with_three().await;
    let epoch = {
        let client = branch.app.pool.get().await.unwrap();
        branch_server::db::site::read(&client).await.unwrap().relay_epoch
    };
    branch.head_office.with(|s| s.through.insert(epoch, 99));
    assert_eq!(once(&branch).await.unwrap(), Delivery::Renumbered);
    let status = branch.status().await;
    assert_eq!(status["head_office"]["reports_waiting"], 4);
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(4), "under a new numbering all of it arrives");
    let counted = counted(&branch);
    assert_eq!(numbers(&counted), [1, 2, 3, 4]);
    assert_eq!(counted[3].report, Report::NumbersReused { terminal: None, times: 1 }, "head office could not notice");
    assert_eq!(status["alerts"][0]["code"], "duplicate-identity");
    assert_eq!(status["alerts"][0]["params"]["machine"], "This branch server");
}

/// Its numbers go back to where they were when the copy was made; head office knows later ones.
#[tokio::test(flavor = "multi_thread")]
async fn restored_database_loses_no_report_that_waits() {
    let (branch, token) = with_three().await;
    let client = branch.app.pool.get().await.unwrap();
    let state = |from, to| vec![moved("till-1", Some(from), to, 0)];
    let lost = state(UpdateState::Assigned, UpdateState::Fetching);
    let (epoch, kept) = (Uuid::new_v4(), state(UpdateState::Fetching, UpdateState::Installing));
    assert!(send(&branch, &token, &batch(epoch, 1, lost)).await.status().is_success());
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(4));
    client.execute("update site set relay_last = 0, relay_sent = 0", &[]).await.unwrap();
    assert!(send(&branch, &token, &batch(epoch, 2, kept)).await.status().is_success());
    assert_eq!(once(&branch).await.unwrap(), Delivery::Renumbered, "its number says something else there");
    assert_eq!(branch.status().await["alerts"][0]["code"], "duplicate-identity");
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(1));
    let newest = counted(&branch).pop().unwrap();
    assert!(matches!(newest.report, Report::Update { update, .. } if update.state == UpdateState::Installing));
}

/// An operator carried more to head office than one request holds, which then acknowledges all of it.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgement_of_carried_reports_forgets_all_of_them() {
    let (branch, _) = with_three().await;
    let carried = branch_server::reports::relay::carry(&branch.app.pool, 0).await.unwrap();
    branch.head_office.with(|s| s.through.insert(carried.epoch, 3));
    assert_eq!(
        deliver(&branch.app.pool, &*branch.app.head_office, 1, branch.app.clock.now()).await.unwrap(),
        Delivery::Delivered(3)
    );
    assert_eq!(once(&branch).await.unwrap(), Delivery::Nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_office_that_lost_its_memory_gets_what_waits_under_a_new_numbering() {
    let (branch, token) = with_three().await;
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(3));
    branch.head_office.with(|s| s.through.clear());
    let more = vec![moved("till-1", Some(UpdateState::Assigned), UpdateState::Fetching, 0), running("till-1")];
    assert!(send(&branch, &token, &batch(Uuid::new_v4(), 1, more)).await.status().is_success());
    assert_eq!(once(&branch).await.unwrap(), Delivery::Renumbered);
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(2));
    assert_eq!(numbers(&counted(&branch)), [1, 2, 3, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_report_that_is_not_taken_does_not_hold_up_the_rest() {
    let (branch, _) = with_three().await;
    branch.head_office.with(|s| s.mood = Mood::Picky);
    branch.start_jobs();
    let kinds = async || {
        // The room in the store is reported whenever it is known, and how far the audit reaches at each start.
        let of_server = |r: &Report| matches!(r, Report::Store { .. } | Report::AuditHead { .. });
        let reports = counted(&branch).into_iter().map(|n| n.report).filter(|r| !of_server(r));
        let kinds: Vec<_> = reports.map(|r| matches!(r, Report::Update { .. })).collect();
        if kinds == [false, true] { Ok(()) } else { Err(format!("{kinds:?}")) }
    };
    wait_for("enrolment and move, without the refused one", PATIENCE, kinds).await;
    wait_for("an empty queue", PATIENCE, async || match branch.status().await["head_office"]["reports_waiting"] {
        serde_json::Value::Number(ref n) if n.as_u64() == Some(0) => Ok(()),
        ref other => Err(other.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outlive_a_restart_while_head_office_is_away() {
    let (branch, _) = with_three().await;
    branch.head_office.with(|s| s.mood = Mood::Away);
    assert!(once(&branch).await.is_err());
    let branch = branch.restart(Options::default()).await;
    branch.start_jobs();
    wait_for("attempts", PATIENCE, async || match branch.head_office.with(|s| s.deliveries) {
        n if n >= 3 => Ok(()),
        n => Err(n),
    })
    .await;
    assert!(counted(&branch).is_empty());
    branch.head_office.with(|s| s.mood = Mood::Good);
    wait_for("delivery", PATIENCE, async || match counted(&branch).len() {
        n if n >= 3 => Ok(()),
        n => Err(n),
    })
    .await;
    assert_eq!(numbers(&counted(&branch))[..3], [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_any_byte_lose_and_double_nothing() {
    let (branch, token) = with_three().await;
    let proxy = FaultProxy::start(branch.head_office.address).await.unwrap();
    let settings = branch_server::config::HeadOfficeSettings {
        url: format!("https://{}", proxy.address()),
        join_token_file: branch.dir.path().join("join"),
        ..branch.app.settings.head_office.clone()
    };
    let folder = branch.dir.path().join("state");
    let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
    let head_office = branch_server::upstream::client::HttpHeadOffice::new(&settings, &folder, time).unwrap();
    let (epoch, mut next) = (Uuid::new_v4(), 1);
    // In the handshake, in the request, and behind both.
    for cut in [1, 100, 300, 900, 1500, 2000, 2200, 2400, 4000] {
        let reports = vec![running("till-1")];
        assert!(send(&branch, &token, &batch(epoch, next, reports)).await.status().is_success());
        next += 1;
        proxy.cut_next_after(cut);
        // Whether this one arrives depends on where it was cut; that is the point.
        let _ = deliver(&branch.app.pool, &head_office, 200, branch.app.clock.now()).await;
    }
    wait_for("the queue to empty", PATIENCE, async || {
        match deliver(&branch.app.pool, &head_office, 200, branch.app.clock.now()).await {
            Ok(Delivery::Nothing) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(numbers(&counted(&branch)), (1..=12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_queued_goes_on_as_it_was_queued() {
    let (branch, _) = with_three().await;
    // As the newer version left it, before it was rolled back.
    let queued = serde_json::json!({"kind": "fan-speed", "terminal": "till-1", "rpm": [1200, 900]});
    let client = branch.app.pool.get().await.unwrap();
    let text = queued.to_string();
    client.execute("update relay_queue set report = $1 where seq = 2", &[&text]).await.unwrap();
    assert_eq!(once(&branch).await.unwrap(), Delivery::Delivered(3), "it blocks nothing");
    let counted = counted(&branch);
    assert_eq!(numbers(&counted), [1, 2, 3]);
    assert_eq!(serde_json::to_value(&counted[1].report).unwrap(), queued);
}
