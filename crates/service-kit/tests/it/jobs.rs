//! Jobs with leases and the outbox, against a real PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use service_kit::database::{
    Connection, DatabaseSettings, JobContext, JobError, JobHandler, Pool, Runner, RunnerSettings, Wakeups, begin,
    commit, connect, connection, jobs, migrate_kit, outbox, prepare_all,
};
use service_kit::{Clock, FixedClock, Shutdown};
use test_kit::{Cluster, Daemon, TestDatabase, wait_for};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

async fn pool(url: &str) -> Pool {
    connect(&DatabaseSettings::new(url), &Shutdown::new()).await.unwrap()
}

async fn database() -> (TestDatabase, Pool) {
    let database = TestDatabase::from_template("service_kit", async |url| {
        let pool = pool(&url).await;
        migrate_kit(&pool).await.unwrap();
        pool.close();
    })
    .await;
    let pool = pool(&database.url()).await;
    (database, pool)
}

fn now() -> DateTime<Utc> {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

async fn claim(c: &Connection, owner: Uuid, at: DateTime<Utc>) -> Option<jobs::Job> {
    jobs::claim(c, owner, &["wash"], at, at + TimeDelta::seconds(30)).await.unwrap()
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let (_database, pool) = database().await;
    let client = connection(&pool).await.unwrap();
    let complaints = prepare_all(&client, &[jobs::STATEMENTS, outbox::STATEMENTS]).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A name in another script would be refused in the middle of the work.
#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused_at_start() {
    let (database, pool) = database().await;
    let client = connection(&pool).await.unwrap();
    let name = format!("latin_{}", Uuid::new_v4().simple());
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    client.batch_execute(&create).await.unwrap();
    // The last of two names counts.
    let settings = DatabaseSettings::new(format!("{} dbname={name}", database.url()));
    let refused = connect(&settings, &Shutdown::new()).await.unwrap_err().to_string();
    assert!(refused.contains("LATIN1") && refused.contains("UTF8"), "{refused}");
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

/// A real PgBouncer before the database.
fn pooler(database: &TestDatabase, mode: &str) -> (Daemon, tempfile::TempDir, String) {
    let url: tokio_postgres::Config = database.url().parse().unwrap();
    let host = match &url.get_hosts()[0] {
        tokio_postgres::config::Host::Tcp(host) => host.clone(),
        tokio_postgres::config::Host::Unix(folder) => folder.display().to_string(),
    };
    let (name, user, port) = (url.get_dbname().unwrap(), url.get_user().unwrap(), test_kit::free_port());
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = dir.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n{name} = host={host} port={} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
        url.get_ports().first().unwrap_or(&5432)
    );
    // Also for the pooler's user.
    std::io::Write::write_all(&mut std::fs::File::create(&config).unwrap(), text.as_bytes()).unwrap();
    let config = config.display().to_string();
    let arguments = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "pgbouncer", config.as_str()];
    let daemon = Daemon::start("setpriv", &arguments, &dir.path().join("log")).unwrap();
    (daemon, dir, format!("host=127.0.0.1 port={port} user={user} dbname={name}"))
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused_at_start() {
    let (database, _pool) = database().await;
    let (_daemon, _dir, url) = pooler(&database, "transaction");
    let refused = connect(&DatabaseSettings::new(url), &Shutdown::new()).await.unwrap_err().to_string();
    assert!(refused.contains("pool_mode = session"), "{refused}");
    let (_daemon, _dir, url) = pooler(&database, "session");
    connect(&DatabaseSettings::new(url), &Shutdown::new()).await.unwrap();
}

#[tokio::test]
async fn asking_twice_is_asking_once_until_it_is_done() {
    let (_database, pool) = database().await;
    let (c, owner) = (connection(&pool).await.unwrap(), Uuid::new_v4());
    assert!(jobs::enqueue(&c, "wash", "car", &json!({}), now()).await.unwrap());
    assert!(!jobs::enqueue(&c, "wash", "car", &json!({}), now()).await.unwrap());
    assert!(jobs::enqueue(&c, "wash", "dog", &json!({}), now()).await.unwrap());
    let job = claim(&c, owner, now()).await.unwrap();
    assert!(!jobs::enqueue(&c, "wash", &job.subject, &json!({}), now()).await.unwrap());
    assert!(jobs::finish(&c, job.id, owner, now()).await.unwrap());
    assert!(jobs::enqueue(&c, "wash", &job.subject, &json!({}), now()).await.unwrap());
}

#[tokio::test]
async fn a_lease_holds_until_it_expires_and_the_loser_can_write_nothing() {
    let (_database, pool) = database().await;
    let c = connection(&pool).await.unwrap();
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    jobs::enqueue(&c, "wash", "car", &json!({}), now()).await.unwrap();
    let job = claim(&c, first, now()).await.unwrap();
    assert_eq!(job.attempts, 1);
    assert_eq!(claim(&c, second, now() + TimeDelta::seconds(29)).await, None);
    assert!(jobs::renew(&c, job.id, first, now() + TimeDelta::seconds(60)).await.unwrap());
    assert_eq!(claim(&c, second, now() + TimeDelta::seconds(59)).await, None);
    assert!(jobs::save_state(&c, job.id, first, &json!({ "rinsed": true })).await.unwrap());
    let taken = claim(&c, second, now() + TimeDelta::seconds(60)).await.unwrap();
    assert_eq!((taken.id, taken.attempts, taken.state), (job.id, 2, json!({ "rinsed": true })));
    // The first one wakes up late.
    assert!(!jobs::renew(&c, job.id, first, now() + TimeDelta::days(1)).await.unwrap());
    assert!(!jobs::save_state(&c, job.id, first, &json!({})).await.unwrap());
    assert!(!jobs::finish(&c, job.id, first, now()).await.unwrap());
    assert!(!jobs::fail_with_backoff(&c, job.id, first, "no", now()).await.unwrap());
    assert!(jobs::finish(&c, job.id, second, now()).await.unwrap());
    assert_eq!(claim(&c, first, now() + TimeDelta::days(1)).await, None);
}

#[tokio::test]
async fn a_worker_whose_outcome_was_lost_takes_its_own_job_again_without_waiting_for_the_lease() {
    let (_database, pool) = database().await;
    let (c, owner) = (connection(&pool).await.unwrap(), Uuid::new_v4());
    jobs::enqueue(&c, "wash", "car", &json!({}), now()).await.unwrap();
    let job = claim(&c, owner, now()).await.unwrap();
    // PostgreSQL was away when the failure was to be stored.
    assert_eq!(claim(&c, Uuid::new_v4(), now()).await, None);
    let again = claim(&c, owner, now()).await.unwrap();
    assert_eq!((again.id, again.attempts), (job.id, 2));
    assert!(jobs::finish(&c, job.id, owner, now()).await.unwrap());
    assert_eq!(claim(&c, owner, now()).await, None);
}

#[tokio::test]
async fn a_failed_job_waits_and_keeps_its_reason_and_a_released_one_does_not() {
    let (_database, pool) = database().await;
    let (c, owner) = (connection(&pool).await.unwrap(), Uuid::new_v4());
    jobs::enqueue(&c, "wash", "car", &json!({}), now()).await.unwrap();
    let job = claim(&c, owner, now()).await.unwrap();
    let later = now() + TimeDelta::seconds(10);
    assert!(jobs::fail_with_backoff(&c, job.id, owner, "no water", later).await.unwrap());
    assert_eq!(claim(&c, owner, now() + TimeDelta::seconds(9)).await, None);
    let again = claim(&c, owner, later).await.unwrap();
    assert_eq!((again.attempts, again.failure.as_deref()), (2, Some("no water")));
    assert!(jobs::release(&c, job.id, owner).await.unwrap());
    assert_eq!(claim(&c, owner, later).await.unwrap().attempts, 2, "a released attempt is not counted");
    // A killed process's jobs are put back at its next start, without waiting for the lease.
    assert_eq!(jobs::release_all_of(&c, owner).await.unwrap(), 1);
    assert!(claim(&c, Uuid::new_v4(), later).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_share_the_jobs_and_none_is_done_twice() {
    let (_database, pool) = database().await;
    let c = connection(&pool).await.unwrap();
    for n in 0..40 {
        jobs::enqueue(&c, "wash", &n.to_string(), &json!({}), now()).await.unwrap();
    }
    let workers = (0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let (c, owner) = (connection(&pool).await.unwrap(), Uuid::new_v4());
            let mut done = Vec::new();
            while let Some(job) = claim(&c, owner, now()).await {
                done.push(job.subject);
                assert!(jobs::finish(&c, job.id, owner, now()).await.unwrap());
            }
            done
        })
    });
    let mut done: Vec<String> = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    done.sort_by_key(|s| s.parse::<u32>().unwrap());
    assert_eq!(done, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Does what its state says, and counts.
#[derive(Default)]
struct Washer {
    runs: AtomicU32,
    failures: AtomicU32,
    begun: Notify,
}

#[async_trait]
impl JobHandler for Washer {
    fn kind(&self) -> &'static str {
        "wash"
    }

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let state: Value = context.job.state.clone();
        match state["then"].as_str() {
            Some("retry once") if context.job.attempts == 1 => Err(JobError::Retry("no water".into())),
            Some("give up") => Err(JobError::GiveUp("no car".into())),
            Some("hang") => {
                context.save_state(&json!({ "then": "hang", "begun": true })).await?;
                self.begun.notify_one();
                context.cancelled.cancelled().await;
                Err(JobError::Interrupted)
            }
            _ => Ok(()),
        }
    }

    async fn failed(
        &self,
        _: &JobContext,
        failure: &str,
        last: bool,
    ) -> Result<(), service_kit::database::DatabaseError> {
        assert_eq!(failure, if last { "no car" } else { "no water" });
        self.failures.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn runner(pool: &Pool, clock: &Arc<FixedClock>) -> Runner {
    let settings = RunnerSettings { lease: Duration::from_secs(30), ..RunnerSettings::default() };
    Runner { pool: pool.clone(), clock: clock.clone(), owner: Uuid::new_v4(), settings }
}

#[tokio::test]
async fn a_runner_repeats_with_backoff_and_gives_up_when_told() {
    let (_database, pool) = database().await;
    let clock = Arc::new(FixedClock::new(now()));
    let (runner, washer, go) = (runner(&pool, &clock), Washer::default(), CancellationToken::new());
    let c = connection(&pool).await.unwrap();
    jobs::enqueue(&c, "wash", "car", &json!({ "then": "retry once" }), now()).await.unwrap();
    assert!(runner.run_one(&washer, &go).await.unwrap());
    assert!(!runner.run_one(&washer, &go).await.unwrap(), "it waits");
    clock.advance(TimeDelta::seconds(1));
    assert!(runner.run_one(&washer, &go).await.unwrap());
    jobs::enqueue(&c, "wash", "bus", &json!({ "then": "give up" }), now()).await.unwrap();
    assert!(runner.run_one(&washer, &go).await.unwrap());
    clock.advance(TimeDelta::days(1));
    assert!(!runner.run_one(&washer, &go).await.unwrap(), "nothing is left to do");
    assert_eq!((washer.runs.load(Ordering::SeqCst), washer.failures.load(Ordering::SeqCst)), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_stops_puts_its_job_back_with_its_state() {
    let (database, pool) = database().await;
    let clock = Arc::new(FixedClock::new(now()));
    let (washer, shutdown) = (Arc::new(Washer::default()), Shutdown::new());
    let wakeups = Wakeups::listen(&DatabaseSettings::new(database.url()), shutdown.clone()).unwrap();
    let tasks = runner(&pool, &clock).spawn(vec![washer.clone()], &wakeups, &shutdown);
    let c = connection(&pool).await.unwrap();
    jobs::enqueue(&c, "wash", "car", &json!({ "then": "hang" }), clock.now()).await.unwrap();
    washer.begun.notified().await;
    shutdown.stop();
    for task in tasks {
        task.await.unwrap();
    }
    let job = claim(&c, Uuid::new_v4(), now()).await.unwrap();
    assert_eq!((job.attempts, &job.state["begun"]), (1, &json!(true)));
}

#[tokio::test]
async fn events_are_seen_in_order_by_their_audience_and_only_after_the_commit() {
    let (_database, pool) = database().await;
    let (mut one, two) = (connection(&pool).await.unwrap(), connection(&pool).await.unwrap());
    assert_eq!(outbox::latest_id(&two).await.unwrap(), 0);
    let transaction = begin(&mut one).await.unwrap();
    let id = outbox::append(&transaction, "branch:north", &json!("look-again"), now()).await.unwrap();
    assert_eq!(outbox::after(&two, 0, &["branch:north"], 10).await.unwrap(), []);
    commit(transaction).await.unwrap();
    outbox::append(&two, "branch:east", &json!(1), now()).await.unwrap();
    let seen = outbox::after(&two, 0, &["branch:north"], 10).await.unwrap();
    assert_eq!((seen.len(), seen[0].id, &seen[0].body), (1, id, &json!("look-again")));
    assert_eq!(outbox::after(&two, id, &["branch:north"], 10).await.unwrap(), []);
    assert_eq!(outbox::after(&two, 0, &["branch:north", "branch:east"], 10).await.unwrap().len(), 2);
    let pruned = outbox::prune(&two, now() + TimeDelta::days(1)).await.unwrap();
    assert_eq!((pruned, outbox::latest_id(&two).await.unwrap()), (1, id + 1), "the numbering keeps its anchor");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_become_visible_in_their_order_whoever_commits_first() {
    let (_database, pool) = database().await;
    let writers = (0..8).map(|n| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let mut c = connection(&pool).await.unwrap();
                let transaction = begin(&mut c).await.unwrap();
                outbox::append(&transaction, "all", &json!(n), now()).await.unwrap();
                commit(transaction).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut seen, mut last) = (0, 0);
    wait_for("all events to be seen by a reader that never looks back", PATIENCE, async || {
        let c = connection(&pool).await.unwrap();
        for event in outbox::after(&c, last, &["all"], 1000).await.unwrap() {
            last = event.id;
            seen += 1;
        }
        if seen == 80 { Ok(()) } else { Err(seen) }
    })
    .await;
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_wakes_and_a_lost_server_is_found_again() {
    let mut cluster = Cluster::start().unwrap();
    let settings = DatabaseSettings::new(cluster.url("postgres"));
    // PostgreSQL is down at first: connecting waits.
    cluster.stop();
    let waiting = {
        let settings = settings.clone();
        tokio::spawn(async move { connect(&settings, &Shutdown::new()).await.unwrap() })
    };
    cluster.resume().unwrap();
    let pool = waiting.await.unwrap();
    migrate_kit(&pool).await.unwrap();
    let shutdown = Shutdown::new();
    let mut woken = Wakeups::listen(&settings, shutdown.clone()).unwrap().subscribe();
    cluster.stop();
    cluster.resume().unwrap();
    wait_for("an event to wake the subscriber", PATIENCE, async || {
        woken.borrow_and_update();
        let Ok(c) = connection(&pool).await else { return Err("no connection yet") };
        if outbox::append(&c, "all", &json!(0), now()).await.is_err() {
            return Err("no connection yet");
        }
        tokio::time::timeout(Duration::from_secs(1), woken.changed()).await.map(|_| ()).map_err(|_| "nobody woke us")
    })
    .await;
    shutdown.stop();
}

#[tokio::test]
async fn waiting_for_postgresql_ends_at_shutdown() {
    let shutdown = Shutdown::new();
    let settings = DatabaseSettings::new("host=/nonexistent user=nobody dbname=none");
    let waiting = connect(&settings, &shutdown);
    let (result, ()) = tokio::join!(waiting, async { shutdown.stop() });
    assert!(result.unwrap_err().to_string().contains("asked to stop"));
}
