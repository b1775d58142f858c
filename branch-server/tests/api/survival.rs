//! What the branch server depends on goes away and comes back, and it goes on by itself.
#![expect(clippy::disallowed_methods, reason = "mount and umount are processes")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use branch_server::artifacts::model::{RESERVE_BYTES, Stage};
use test_kit::{Cluster, TestDatabase, wait_for};
use uuid::Uuid;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};
use wire::{Code, ReasonCode};

use crate::daemons::{Daemons, engine, publish, stage, store, told, wait_for_stage};
use crate::fixture::Fixture;
use crate::head_office::HeadOfficeDouble;
use crate::plans::plan;
use crate::support::{Branch, Options, PATIENCE, database, name, open_dir, write};

/// Longer than any timeout of the pool and its connections.
const LONG: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_it_waits_at_the_start_and_while_it_runs_and_loses_nothing() {
    let mut cluster = Cluster::start().unwrap();
    let database = TestDatabase::in_cluster(&cluster).await;
    cluster.stop();
    let head_office = HeadOfficeDouble::start().await;
    let starting = Branch::start_with(Options::default(), database, open_dir(), head_office);
    tokio::pin!(starting);
    let early = tokio::time::timeout(LONG, &mut starting).await;
    assert!(early.is_err(), "it started without its database");
    cluster.resume().unwrap();
    let branch = starting.await;
    crate::support::give_tokens(&branch.app.pool).await;
    branch.start_jobs();
    wait_for("the enrolment", PATIENCE, async || match branch.head_office.with(|s| s.enrolments) {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    wait_for("its own name", PATIENCE, async || match branch.status().await["head_office"]["enrolled"].as_bool() {
        Some(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let token = branch.enrol("till-1").await;

    cluster.stop();
    branch.head_office.offer(&plan(7));
    branch.head_office.call();
    let report =
        Report::Running { terminal: name("till-1"), slot: fleet_types::Slot::A, version: "1.0.0".parse().unwrap() };
    let at = "2030-01-01T08:00:00Z".parse().unwrap();
    let batch = Batch { epoch: Uuid::new_v4(), reports: vec![Numbered { seq: 1, at, report: report.clone() }] };
    let body = serde_json::to_string(&batch).unwrap();
    let begin = Instant::now();
    // A terminal asks less often; one address makes a thousand new connections, then a hundred a second.
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while begin.elapsed() < LONG {
        pace.tick().await;
        crate::support::assert_refused(
            branch.post("/v1/reports", Some(&token), body.clone()).await,
            Code::DatabaseUnavailable,
        )
        .await;
    }
    assert_eq!(branch.get(branch.operators, "/readyz", None).await.status(), 503);

    cluster.resume().unwrap();
    let through = wait_for("the report to be taken", PATIENCE, async || {
        let answer = branch.post("/v1/reports", Some(&token), body.clone()).await;
        if answer.status() == 200 { Ok(answer.json::<Acknowledged>().await.unwrap()) } else { Err(answer.status()) }
    })
    .await;
    assert_eq!(through.through, 1);
    wait_for("the plan and the report upwards", PATIENCE, async || {
        let serial = branch.status().await["plan"]["serial"].as_u64();
        let counted = branch.head_office.with(|s| s.counted.iter().filter(|n| n.report == report).count());
        if (serial, counted) == (Some(7), 1) { Ok(()) } else { Err(format!("{serial:?} {counted}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_forget_everything_while_it_runs_are_told_again() {
    let (mut daemons, fixture) = (Daemons::start(), Fixture::new(1));
    let branch = Branch::start(daemons.options()).await;
    write(&store(&branch, &fixture), &fixture.file);
    publish(&branch.head_office, 7, &[&fixture]);
    branch.start_jobs();
    wait_for_stage(&branch, &fixture, Some(Stage::Held)).await;
    let listed = BTreeSet::from([fixture.step.artifact.info_hash]);

    std::fs::remove_file(daemons.path("access.list")).unwrap();
    wait_for("the list", PATIENCE, async || match branch.app.artifacts.tracker.read() {
        Ok(found) if found == listed => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    daemons.start_tracker();
    branch.app.artifacts.tracker.confirm(&fixture.step.artifact.info_hash).await.unwrap();

    daemons.engine = None;
    std::fs::remove_dir_all(daemons.path("config")).unwrap();
    std::fs::create_dir(daemons.path("config")).unwrap();
    daemons.start_engine();
    let engine = engine(&branch.app.settings);
    wait_for("the torrent", PATIENCE, async || match engine.list().await {
        Ok(list) if list == [fixture.step.artifact.info_hash] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(stage(&branch, &fixture).await, Some(Stage::Held));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_artifacts_than_may_arrive_at_once_wait_for_their_turn() {
    let daemons = Daemons::start();
    let fixtures: Vec<Fixture> = (1..=3).map(Fixture::new).collect();
    let branch = Branch::start(daemons.options()).await;
    publish(&branch.head_office, 7, &fixtures.iter().collect::<Vec<_>>());
    branch.start_jobs();
    wait_for("the third to wait", PATIENCE, async || match told(&branch, &fixtures[2]).last() {
        Some((false, Some(why)))
            if why.code == ReasonCode::WaitingTurn
                && why.sentence().contains("2 other artifacts of the plan are being fetched") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(stage(&branch, &fixtures[2]).await, Some(Stage::Wanted));
    // Nobody serves the first two: what came of them is put there by hand, and the third begins.
    for fixture in &fixtures[..2] {
        wait_for_stage(&branch, fixture, Some(Stage::Listed)).await;
        branch.app.engine.remove(&fixture.step.artifact.info_hash, true).await.unwrap();
        write(&store(&branch, fixture), &fixture.file);
    }
    wait_for_stage(&branch, &fixtures[2], Some(Stage::Listed)).await;
}

/// A disk of its own; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, mib: u64) -> Self {
        std::fs::create_dir(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0777"), "none", &at.display().to_string()]);
        Self(at.to_owned())
    }

    fn resize(&self, mib: u64) {
        run("mount", &["-o", &format!("remount,size={mib}m"), &self.0.display().to_string()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon may still have a file open.
        run("umount", &["-l", &self.0.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success() || std::thread::panicking(), "{program} {arguments:?}: is this root?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_new_work_says_so_upwards_and_goes_on_when_there_is_room() {
    let (daemons, held, next) = (Daemons::start(), Fixture::new(1), Fixture::new(2));
    let dir = open_dir();
    let reserve = RESERVE_BYTES >> 20;
    let disk = Disk::mount(&dir.path().join("store"), reserve + 16);
    let branch = Branch::start_with(daemons.options(), database().await, dir, HeadOfficeDouble::start().await).await;
    write(&store(&branch, &held), &held.file);
    publish(&branch.head_office, 7, &[&held]);
    branch.start_jobs();
    wait_for_stage(&branch, &held, Some(Stage::Held)).await;

    disk.resize(reserve);
    publish(&branch.head_office, 8, &[&held, &next]);
    wait_for("the trouble to be known at head office", PATIENCE, async || match told(&branch, &next).last() {
        Some((false, Some(why)))
            if why.code == ReasonCode::StoreFull && why.sentence().contains("free and this artifact needs") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(stage(&branch, &next).await, Some(Stage::Wanted));
    assert_eq!(stage(&branch, &held).await, Some(Stage::Held), "what is here stays");
    assert_eq!(std::fs::read(store(&branch, &held)).unwrap(), held.file);

    disk.resize(reserve + 64);
    wait_for_stage(&branch, &next, Some(Stage::Listed)).await;
    wait_for("the end of the trouble", PATIENCE, async || match told(&branch, &next).last() {
        Some((false, None)) => Ok(()),
        // Nobody serves it, which the engine may complain of by now.
        Some((false, Some(why))) if why.code != ReasonCode::StoreFull => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    drop(branch);
}
