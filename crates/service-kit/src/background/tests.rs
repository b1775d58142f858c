use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::*;
use crate::FixedClock;

const MINUTE: Duration = Duration::from_secs(60);

/// A wait that ends at a time.
type Wait = (Duration, oneshot::Sender<()>);

/// Virtual time: it stands unless [`Virtual::pass`] moves it.
#[derive(Clone, Default)]
struct Virtual(Arc<Mutex<(Duration, Vec<Wait>)>>);

impl Virtual {
    /// Lets time pass, waking each sleeper at its moment and letting all tasks do what they can.
    async fn pass(&self, time: Duration) {
        let until = self.now() + time;
        loop {
            settle().await;
            let due = {
                let mut state = self.0.lock().unwrap();
                let first = state.1.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(n, (at, _))| (n, *at));
                match first.filter(|(_, at)| *at <= until) {
                    Some((n, at)) => {
                        state.0 = at.max(state.0);
                        Some(state.1.swap_remove(n).1)
                    }
                    None => {
                        state.0 = until;
                        None
                    }
                }
            };
            match due {
                // A sleeper that was dropped meanwhile does not listen.
                Some(due) => drop(due.send(())),
                None => return settle().await,
            }
        }
    }
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Timer for Virtual {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    async fn sleep(&self, time: Duration) {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.0.lock().unwrap();
            let at = state.0 + time;
            state.1.push((at, wake));
        }
        let _ = woken.await;
    }
}

struct Scene {
    board: Board,
    clock: Arc<FixedClock>,
    time: Virtual,
    shutdown: Shutdown,
    driver: Driver,
}

fn now() -> DateTime<Utc> {
    "2026-11-30T01:43:00Z".parse().unwrap()
}

fn scene() -> Scene {
    let (board, clock, shutdown) = (Board::default(), Arc::new(FixedClock::new(now())), Shutdown::new());
    let time = Virtual::default();
    let mut driver = Driver::new(board.clone(), clock.clone(), shutdown.clone());
    driver.timer = Arc::new(time.clone());
    Scene { board, clock, time, shutdown, driver }
}

/// Records when each run began, and answers with what is next in `answers`; then it succeeds.
fn recording(
    time: &Virtual,
    answers: impl IntoIterator<Item = Result<Next, Failure>>,
) -> (Arc<Mutex<Vec<Duration>>>, impl Work) {
    let (runs, time) = (Arc::new(Mutex::new(Vec::new())), time.clone());
    let mut answers: std::collections::VecDeque<_> = answers.into_iter().collect();
    let record = runs.clone();
    let run = move || {
        record.lock().unwrap().push(time.now());
        let answer = answers.pop_front().unwrap_or(Ok(Next::Interval));
        async move { answer }
    };
    (runs, work(run))
}

fn seconds(runs: &Mutex<Vec<Duration>>) -> Vec<u64> {
    runs.lock().unwrap().iter().map(Duration::as_secs).collect()
}

#[tokio::test]
async fn a_task_runs_at_start_and_at_its_interval_and_ends_at_shutdown() {
    let mut scene = scene();
    let (runs, work) =
        recording(&scene.time, [Ok(Next::Interval), Ok(Next::Now), Ok(Next::After(Duration::from_secs(5)))]);
    scene.driver.start(Task::every("upkeep", MINUTE), work);
    scene.time.pass(Duration::from_secs(130)).await;
    assert_eq!(seconds(&runs), [0, 60, 60, 65, 125]);
    scene.shutdown.stop();
    scene.driver.ended().await;
    assert_eq!(runs.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_notification_starts_a_run_also_one_that_came_during_a_run() {
    let mut scene = scene();
    let trigger = Arc::new(Notify::new());
    let (runs, time) = (Arc::new(Mutex::new(Vec::new())), scene.time.clone());
    let record = runs.clone();
    let run = move || {
        let time = time.clone();
        record.lock().unwrap().push(time.now());
        async move {
            time.sleep(Duration::from_secs(10)).await;
            Ok::<_, Failure>(Next::Interval)
        }
    };
    scene.driver.start(Task::every("upkeep", MINUTE).woken_by(trigger.clone()), work(run));
    scene.time.pass(Duration::from_secs(3)).await;
    trigger.notify_one();
    trigger.notify_one();
    scene.time.pass(Duration::from_secs(27)).await;
    trigger.notify_one();
    scene.time.pass(Duration::from_secs(1)).await;
    assert_eq!(seconds(&runs), [0, 10, 30]);
}

#[tokio::test]
async fn jitter_shortens_the_interval_within_its_share() {
    let mut scene = scene();
    let (runs, work) = recording(&scene.time, []);
    scene.driver.start(Task::every("upkeep", MINUTE).jitter(0.25), work);
    scene.time.pass(MINUTE * 50).await;
    let runs = runs.lock().unwrap();
    let waits: Vec<_> = runs.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|w| (Duration::from_secs(45)..=MINUTE).contains(w)), "{waits:?}");
    assert!(waits.iter().any(|w| *w < Duration::from_secs(57)), "they differ: {waits:?}");
}

#[tokio::test]
async fn failures_are_retried_with_backoff_and_recovery_is_told_once() {
    struct Flaky(Arc<Mutex<Vec<Duration>>>, Virtual, Arc<AtomicU32>);

    #[async_trait]
    impl Work for Flaky {
        async fn run(&mut self) -> Result<Next, Failure> {
            self.0.lock().unwrap().push(self.1.now());
            if self.0.lock().unwrap().len() <= 6 { Err(Failure::new("no answer")) } else { Ok(Next::Interval) }
        }

        async fn recovered(&mut self, failures: u32) {
            self.2.fetch_add(failures, Ordering::Relaxed);
        }
    }

    let mut scene = scene();
    let (runs, recovered) = (Arc::default(), Arc::new(AtomicU32::new(0)));
    let task = Task::every("upkeep", MINUTE * 60).retry(Duration::from_secs(1), Duration::from_secs(4));
    scene.driver.start(task, Flaky(Arc::clone(&runs), scene.time.clone(), recovered.clone()));
    scene.time.pass(Duration::from_secs(30)).await;
    let runs = runs.lock().unwrap();
    assert_eq!((runs.len(), recovered.load(Ordering::Relaxed)), (7, 6));
    for (wait, bound) in runs.windows(2).map(|pair| pair[1] - pair[0]).zip([1, 2, 4, 4, 4, 4]) {
        assert!(wait <= Duration::from_secs(bound), "{wait:?} of at most {bound} s");
    }
}

#[tokio::test]
async fn a_task_in_backoff_can_ignore_its_trigger_but_not_while_it_waits_for_a_fixed_time() {
    let mut scene = scene();
    let trigger = Arc::new(Notify::new());
    let hour = Duration::from_secs(3600);
    let not_yet = Failure::new("not enrolled").expected().retry_after(MINUTE);
    let (runs, work) = recording(&scene.time, [Err(not_yet), Err(Failure::new("no answer"))]);
    let task = Task::every("relay", hour).woken_by(trigger.clone()).retry(hour, hour).not_woken_in_backoff();
    scene.driver.start(task, work);
    scene.time.pass(Duration::from_secs(5)).await;
    trigger.notify_one();
    scene.time.pass(Duration::from_secs(1)).await;
    assert_eq!(seconds(&runs), [0, 5]);
    trigger.notify_one();
    settle().await;
    assert_eq!(seconds(&runs), [0, 5], "it waits out its backoff");
    scene.time.pass(hour).await;
    assert!(runs.lock().unwrap().len() >= 3, "and then goes on");
}

#[tokio::test]
async fn a_task_that_is_notified_without_end_runs_at_most_once_per_pause() {
    let mut scene = scene();
    let trigger = Arc::new(Notify::new());
    let pause = Duration::from_secs(2);
    let (runs, work) = recording(&scene.time, []);
    scene.driver.start(Task::every("seeding", MINUTE).woken_by(trigger.clone()).at_most_every(pause), work);
    for _ in 0..100 {
        trigger.notify_one();
        scene.time.pass(Duration::from_millis(100)).await;
    }
    assert_eq!(seconds(&runs), [0, 2, 4, 6, 8, 10]);
    // After a quiet time a notification is heard at once; without one the interval counts.
    scene.time.pass(Duration::from_secs(20)).await;
    trigger.notify_one();
    scene.time.pass(MINUTE + Duration::from_secs(1)).await;
    let runs = seconds(&runs);
    assert_eq!(runs[runs.len() - 2..], [30, 90]);
}

#[tokio::test]
async fn shutdown_drops_a_run_unless_it_must_end() {
    struct Slow(Arc<AtomicU32>, bool, Virtual);

    #[async_trait]
    impl Work for Slow {
        async fn run(&mut self) -> Result<Next, Failure> {
            self.2.sleep(MINUTE).await;
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Next::Interval)
        }

        fn may_be_dropped(&self) -> bool {
            self.1
        }
    }

    for (may_be_dropped, finished) in [(true, 0), (false, 1)] {
        let mut scene = scene();
        let done = Arc::new(AtomicU32::new(0));
        scene.driver.start(Task::every("enrolment", MINUTE), Slow(done.clone(), may_be_dropped, scene.time.clone()));
        scene.time.pass(Duration::from_secs(1)).await;
        scene.shutdown.stop();
        scene.time.pass(MINUTE).await;
        scene.driver.ended().await;
        assert_eq!(done.load(Ordering::Relaxed), finished);
    }
}

#[tokio::test]
async fn the_board_shows_runs_failures_and_the_last_result() {
    let mut scene = scene();
    let (_runs, work) = recording(&scene.time, [Ok(Next::Interval), Err(Failure::new("ж".repeat(500)))]);
    scene.driver.start(Task::every("upkeep", MINUTE), work);
    assert!(scene.board.list()[0].last.is_none());
    scene.time.pass(Duration::from_secs(1)).await;
    let shown = &scene.board.list()[0];
    let last = shown.last.clone().unwrap();
    assert_eq!((shown.runs, shown.failures, shown.interval_seconds, shown.running), (1, 0, 60, false));
    assert_eq!((last.at, last.failure), (now(), None));
    scene.clock.advance(chrono::TimeDelta::minutes(1));
    scene.time.pass(MINUTE).await;
    let shown = &scene.board.list()[0];
    let last = shown.last.clone().unwrap();
    assert_eq!((shown.runs, shown.failures, last.at), (2, 1, now() + chrono::TimeDelta::minutes(1)));
    assert!(last.failure.unwrap().len() <= 512);
    let text = serde_json::to_string(shown).unwrap();
    assert!(
        text.starts_with(r#"{"name":"upkeep","interval_seconds":60,"running":false,"runs":2,"failures":1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_panic_is_told_by_the_driver_and_hurts_no_other_task() {
    let mut scene = scene();
    scene.driver.start(Task::every("broken", MINUTE), work(|| async { panic_now() }));
    let (runs, work) = recording(&scene.time, []);
    scene.driver.start(Task::every("upkeep", MINUTE), work);
    assert!(scene.driver.next_ended().await.unwrap().unwrap_err().is_panic());
    scene.time.pass(MINUTE).await;
    assert!(runs.lock().unwrap().len() >= 2);
}

fn panic_now() -> Result<Next, Failure> {
    panic!("on purpose")
}

#[cfg(feature = "server")]
#[tokio::test]
async fn metrics_have_one_series_per_task() {
    let mut scene = scene();
    let metrics = crate::server::Metrics::new();
    metrics.register_collector(Box::new(scene.board.clone()));
    let (_runs, good) = recording(&scene.time, []);
    let (_runs, bad) = recording(&scene.time, [Err(Failure::new("no"))]);
    scene.driver.start(Task::every("good", MINUTE), good);
    scene.driver.start(Task::every("bad", MINUTE), bad);
    scene.time.pass(Duration::from_secs(1)).await;
    let text = metrics.text();
    let at = now().timestamp();
    for line in [
        r#"filial_background_runs_total{task="good"} 1"#.to_owned(),
        r#"filial_background_failures_total{task="good"} 0"#.to_owned(),
        r#"filial_background_failures_total{task="bad"} 1"#.to_owned(),
        format!(r#"filial_background_last_success_timestamp_seconds{{task="good"}} {at}"#),
        r#"filial_background_last_run_seconds{task="bad"} 0"#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"timestamp_seconds{task="bad"}"#), "{text}");
}
