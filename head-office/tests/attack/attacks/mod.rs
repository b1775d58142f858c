//! The attacks: a file for each kind of attacker.

mod branch;
mod handshakes;
mod passwords;
mod strangers;
mod streams;
mod terminal;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::honest::Honest;
use crate::site::Site;

/// How many seconds each attack lasts.
const SECONDS: &str = "FILIAL_ATTACK_SECONDS";

fn length() -> Duration {
    Duration::from_secs(std::env::var(SECONDS).map_or(10, |text| text.parse().unwrap()))
}

/// What attackers did, and how often.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicU64; 3]>);

impl Counts {
    /// A request was taken, refused, or its connection ended.
    fn add(&self, status: Option<u16>) {
        let which = match status {
            Some(200..300) => 0,
            Some(_) => 1,
            None => 2,
        };
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    fn taken(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }

    fn ended(&self) -> u64 {
        self.0[2].load(Ordering::Relaxed)
    }

    fn text(&self) -> String {
        format!("{} taken, {} refused, {} connections ended", self.taken(), self.refused(), self.ended())
    }
}

/// What an attack needs: when it ends, where it counts, and its tasks.
struct Attack {
    until: Instant,
    counts: Counts,
    tasks: JoinSet<()>,
}

impl Attack {
    fn new(length: Duration) -> Self {
        Self { until: Instant::now() + length, counts: Counts::default(), tasks: JoinSet::new() }
    }

    /// Starts a task that ends with the attack, wherever it is then.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let until = self.until;
        self.tasks.spawn(async move { tokio::time::timeout_at(until, task).await.unwrap_or_default() });
    }

    /// Starts so many tasks that post this body to this URL one time after the other.
    fn posts(
        &mut self,
        tasks: usize,
        client: &reqwest::Client,
        url: &str,
        body: impl Fn() -> String + Clone + Send + 'static,
    ) {
        for _ in 0..tasks {
            let (client, url, body, counts) = (client.clone(), url.to_owned(), body.clone(), self.counts.clone());
            self.spawn(async move {
                loop {
                    let request = client.post(&url).header("content-type", "application/json").body(body());
                    counts.add(request.send().await.ok().map(|answer| answer.status().as_u16()));
                }
            });
        }
    }

    async fn ended(self) -> Counts {
        self.tasks.join_all().await;
        self.counts
    }
}

/// Runs an attack while honest callers go on working, and asserts that it harms none of them.
///
/// Neither server ever holds more than `memory` bytes.
async fn withstand(name: &str, memory: u64, begin: impl AsyncFnOnce(&Site, &mut Attack)) -> (Site, Counts) {
    many_files();
    let (site, length) = (Site::start().await, length());
    let (honest, quiet) = Honest::of(&site).work(length / 4).await;
    let mut attack = Attack::new(length);
    begin(&site, &mut attack).await;
    let ((honest, waits), counts) = tokio::join!(honest.work(length), attack.ended());
    waits.all_were_answered(length);
    honest.nothing_is_lost(&site).await;
    println!("{name}, {} s: {}; {}\n{}", length.as_secs(), counts.text(), site.memory(memory), waits.beside(&quiet));
    (site, counts)
}

/// Raises the limit of open files: an attacker has as many connections as it likes.
fn many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// An address of the loopback network that no honest caller has.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 9, u8::try_from(number + 1).unwrap())
}

/// An HTTP client at this address.
fn client(from: Ipv4Addr, tls: &ClientConfig) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(from));
    builder.use_preconfigured_tls(tls.clone()).build().unwrap()
}

/// The status of an answer, as it begins; none if the connection ended.
async fn status(stream: &mut (impl AsyncRead + Unpin)) -> Option<u16> {
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.ok()?;
    std::str::from_utf8(&line).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

fn text(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap()
}
