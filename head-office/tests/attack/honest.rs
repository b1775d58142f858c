//! Honest callers: they work at a steady pace, must never be refused, and measure how long each answer takes.

use std::time::{Duration, Instant};

use fleet_types::{Slot, Version};
use rustls::ClientConfig;
use serde_json::Value;
use service_kit::client::JsonClient;
use service_kit::server::Role;
use service_kit::{Clock as _, Secret, SystemClock};
use test_kit::wait_for;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;
use wire::v1::fleet::Terminal;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};

use crate::site::{Site, secure};
use crate::support::{PATIENCE, token_of};

/// An honest caller asks so often, unless the answer to its last request is not here yet.
const PACE: Duration = Duration::from_millis(50);

/// After so many requests a caller connects again.
const REQUESTS_PER_CONNECTION: u64 = 20;

/// Each caller must be answered so often in ten seconds, on average: a server that stalls does not pass, one on a busy machine does.
const LEAST_IN_TEN_SECONDS: u64 = 5;

/// Makes a client without a connection yet.
type Dial = Box<dyn Fn() -> JsonClient + Send>;

/// One operator at each server, one branch at head office, one terminal at the branch server.
pub struct Honest {
    operators: [Caller; 2],
    branch: Reporter,
    terminal: Reporter,
}

struct Caller {
    dial: Dial,
    client: JsonClient,
    asked: u64,
}

/// A caller that reports, under numbers that rise by one.
struct Reporter {
    caller: Caller,
    epoch: Uuid,
    seq: u64,
}

/// How long answers took.
pub struct Waits {
    operators: [Vec<Duration>; 2],
    branch: Vec<Duration>,
    terminal: Vec<Duration>,
}

impl Honest {
    pub fn of(site: &Site) -> Self {
        let admin = |to, tls: ClientConfig| {
            let token = Secret::new(token_of(Role::Admin));
            Caller::new(move || secure(to, tls.clone()).with_token(token.clone()))
        };
        let machine = |to, tls: ClientConfig| Caller::new(move || secure(to, tls.clone()));
        let [office, branch] = [site.office.doors(), site.branch.doors];
        let south = machine(office[1], site.office.line.config(Some(&site.south.leaf)));
        let till = machine(branch[1], site.branch.tls(Some(&site.honest.leaf)));
        Self {
            operators: [admin(office[0], site.office.line.config(None)), admin(branch[0], site.branch.tls(None))],
            // Its first two reports are those of its enrolment.
            branch: Reporter { caller: south, epoch: site.south.epoch, seq: 2 },
            terminal: Reporter { caller: till, epoch: Uuid::new_v4(), seq: 0 },
        }
    }

    /// Works for so long, beside whatever else happens.
    ///
    /// On a thread with a runtime to itself, so that an attacker in this process does not keep it from measuring.
    pub async fn work(mut self, length: Duration) -> (Self, Waits) {
        let working = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let until = Instant::now() + length;
            let waits = runtime.block_on(async {
                // A client belongs to the runtime that it connected in.
                self.callers().for_each(Caller::connect);
                let Self { operators: [office, site], branch, terminal } = &mut self;
                let (office, site, branch, terminal) = tokio::join!(
                    pace(until, async || office.look(paths::BRANCHES).await),
                    pace(until, async || site.look(paths::TERMINALS).await),
                    pace(until, async || branch.report().await),
                    pace(until, async || terminal.report().await),
                );
                Waits { operators: [office, site], branch, terminal }
            });
            (self, waits)
        };
        tokio::task::spawn_blocking(working).await.unwrap()
    }

    fn callers(&mut self) -> impl Iterator<Item = &mut Caller> {
        self.operators.iter_mut().chain([&mut self.branch.caller, &mut self.terminal.caller])
    }

    /// Waits until head office knows of the last report of each.
    pub async fn nothing_is_lost(&self, site: &Site) {
        for (branch, reporter) in [("south", &self.branch), ("north", &self.terminal)] {
            let (name, last) = (format!("{branch}/till-1").parse().unwrap(), version(reporter.seq));
            wait_for(&format!("the last report of {name}, {last}"), PATIENCE, async || {
                let shown: Result<Terminal, _> = site.office.operators.get(&paths::terminal(&name)).await;
                match shown {
                    Ok(terminal) if terminal.version.as_ref() == Some(&last) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
    }
}

/// Asks again and again until then, and returns how long each answer took.
async fn pace(until: Instant, mut ask: impl AsyncFnMut()) -> Vec<Duration> {
    let (mut waits, mut ticks) = (Vec::new(), tokio::time::interval(PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        ticks.tick().await;
        let begun = Instant::now();
        ask().await;
        waits.push(begun.elapsed());
    }
    waits
}

impl Caller {
    fn new(dial: impl Fn() -> JsonClient + Send + 'static) -> Self {
        Self { client: dial(), dial: Box::new(dial), asked: 0 }
    }

    fn connect(&mut self) {
        self.client = (self.dial)();
    }

    /// The connection for the next request: an open one, or now and then a new one.
    fn next(&mut self) -> &JsonClient {
        self.asked += 1;
        if self.asked.is_multiple_of(REQUESTS_PER_CONNECTION) {
            self.connect();
        }
        &self.client
    }

    async fn look(&mut self, path: &str) {
        let answer = self.next().get::<Value>(path).await;
        answer.unwrap_or_else(|refused| panic!("an honest operator is refused {path}: {refused:?}"));
    }
}

impl Reporter {
    /// Reports another version, so that the last one shows that all before it arrived.
    async fn report(&mut self) {
        self.seq += 1;
        let report = Report::Running { terminal: "till-1".parse().unwrap(), slot: Slot::A, version: version(self.seq) };
        let batch =
            Batch { epoch: self.epoch, reports: vec![Numbered { seq: self.seq, at: SystemClock.now(), report }] };
        let answer = self.caller.next().post::<_, Acknowledged>(paths::REPORTS, &batch).await;
        let answer = answer.unwrap_or_else(|refused| panic!("an honest report is refused: {refused:?}"));
        assert_eq!(answer, Acknowledged::all(self.seq));
    }
}

fn version(seq: u64) -> Version {
    Version::new(1, 0, seq)
}

impl Waits {
    /// A line for each caller: its p99 in milliseconds when it was quiet, and now.
    pub fn beside(&self, quiet: &Self) -> String {
        let rows = [
            ("operator at head office", &quiet.operators[0], &self.operators[0]),
            ("operator at the branch", &quiet.operators[1], &self.operators[1]),
            ("branch", &quiet.branch, &self.branch),
            ("terminal", &quiet.terminal, &self.terminal),
        ];
        let row = |(name, before, now): (&str, &Vec<Duration>, &Vec<Duration>)| {
            let (before, after) = (p99(before).as_millis(), p99(now).as_millis());
            format!("  {name:<24} p99 {before:>5} ms quiet, {after:>5} ms under attack ({} requests)\n", now.len())
        };
        rows.map(row).concat()
    }
}

impl Waits {
    /// Asserts that each caller was answered often enough in this time.
    pub fn all_were_answered(&self, length: Duration) {
        let least = length.as_secs() * LEAST_IN_TEN_SECONDS / 10;
        let [office, branch] = &self.operators;
        for (name, waits) in [("operator at head office", office), ("operator at the branch", branch)]
            .into_iter()
            .chain([("branch", &self.branch), ("terminal", &self.terminal)])
        {
            assert!(waits.len() as u64 >= least, "{name}: {} answers, {least} are the least", waits.len());
        }
    }
}

/// The wait that 99 of 100 requests do not exceed.
fn p99(waits: &[Duration]) -> Duration {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}
