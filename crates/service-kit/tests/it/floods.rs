//! What strangers and careless callers do to a listener: connections that never read, too many of them, large bodies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use service_kit::client::{JsonClient, Timeouts};
use service_kit::server::Readiness;
use service_kit::server::{
    Limits, Listener, MAX_OPEN_BODY, Metrics, OperatorTokens, Role, Route, Transport, bind, configure, health_routes,
};
use service_kit::{Secret, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use wire::Code;

/// A file as large as those of the API browser.
const FILE: usize = 1_500_000;
pub const PATIENCE: Duration = Duration::from_secs(30);

async fn file(file: web::Data<Bytes>) -> Bytes {
    file.get_ref().clone()
}

async fn take(body: web::Json<serde_json::Value>) -> String {
    body.to_string()
}

async fn known() -> &'static str {
    "\"known\""
}

/// Answers once the gate is open, and counts who stands before it.
async fn slow(gate: web::Data<Gate>) -> &'static str {
    let here = gate.here.fetch_add(1, Ordering::SeqCst) + 1;
    gate.most.fetch_max(here, Ordering::SeqCst);
    let _ = gate.open.subscribe().wait_for(|open| *open).await;
    gate.here.fetch_sub(1, Ordering::SeqCst);
    "\"slow\""
}

#[derive(Clone, Default)]
struct Gate {
    here: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    open: Arc<watch::Sender<bool>>,
}

pub struct Flooded {
    address: SocketAddr,
    metrics: Metrics,
    gate: Gate,
    _shutdown: Shutdown,
}

pub fn start(limits: Limits) -> Flooded {
    let tokens = OperatorTokens::from_clear(&[("desk", Role::Admin, "a"), ("watch", Role::Viewer, "v")]);
    let (shutdown, metrics, shared) = (Shutdown::new(), Metrics::new(), Bytes::from(vec![b'x'; FILE]));
    let routes = || {
        let own = vec![
            Route::get("/file", Role::Public, || web::to(file)),
            Route::post("/take", Role::Public, || web::to(take)),
            Route::get("/known", Role::Viewer, || web::to(known)),
            Route::get("/slow", Role::Viewer, || web::to(slow)),
        ];
        [own, health_routes()].concat()
    };
    let (counted, gate) = (metrics.clone(), Gate::default());
    let before = gate.clone();
    let bound = bind(vec![Listener {
        transport: Transport::Plain,
        name: "test",
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        configure: Arc::new(move |config| {
            config.app_data(web::Data::new(shared.clone())).app_data(web::Data::new(counted.clone()));
            config.app_data(web::Data::new(Readiness::default())).app_data(web::Data::new(before.clone()));
            configure(config, &routes(), Arc::new(tokens.clone()));
        }),
        metrics: metrics.clone(),
        limits,
    }])
    .unwrap();
    let address = bound.addresses()[0];
    tokio::spawn(bound.run(shutdown.clone()));
    Flooded { address, metrics, gate, _shutdown: shutdown }
}

impl Flooded {
    /// A connection from this address of the loopback network.
    pub async fn connect(&self, from: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // What the kernel holds for a reader is none of the server's memory, and delays the stall.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind((IpAddr::from(from), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    fn desk(&self) -> JsonClient {
        JsonClient::new(&format!("http://{}/", self.address), Some(Secret::new("a")), Timeouts::default()).unwrap()
    }

    pub async fn asked(&self, from: [u8; 4], token: &str) -> (TcpStream, String) {
        let mut stream = self.connect(from).await;
        let request = format!("GET /known HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        (stream, answer)
    }
}

impl Flooded {
    /// All that is answered to this until the connection ends. It ends at the latest once the server saw that nothing follows.
    pub async fn all_said(&self, from: [u8; 4], sent: &str) -> String {
        let (mut stream, mut said) = (self.connect(from).await, Vec::new());
        let _ = stream.write_all(sent.as_bytes()).await;
        let _ = stream.shutdown().await;
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        // A reset is an end too.
        drop(read.expect("the connection ends"));
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// One whole answer, by its length.
pub async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap()) {
                return text;
            }
        }
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the answer ends early: {text}");
    }
}

/// Whether the other end closed the connection, now or within the patience; what it said before is dropped.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end too.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_cost_little_and_are_given_up() {
    let limits = Limits { stalled: Duration::from_secs(2), ..Limits::default() };
    let server = start(limits);
    let mut silent = Vec::new();
    for n in 0..400_u16 {
        let mut stream = server.connect([127, 0, 1, u8::try_from(n % 8).unwrap() + 1]).await;
        let request = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8);
        stream.write_all(request.as_bytes()).await.unwrap();
        silent.push(stream);
        // Honest callers are answered all the while.
        if n % 100 == 0 {
            assert_eq!(server.desk().get::<String>("/known").await.unwrap(), "known");
        }
    }
    let held = resident_kib();
    // Whole copies would be 600 MB.
    assert!(held < 200 * 1024, "{held} KiB");
    for stream in &mut silent {
        let gone = async {
            // Writable as long as the other end is there; the reset shows in a write.
            while stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it is given up");
    }
}

/// Requests that are sent ahead of answers wait in the system's buffers, not as requests in this program's memory.
#[tokio::test(flavor = "multi_thread")]
async fn requests_ahead_of_answers_fill_no_memory_and_are_answered_in_order() {
    let server = start(Limits::default());
    let plain = "GET /known HTTP/1.0\r\n\r\n".repeat(4000);
    let chunks = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";
    for n in 0..300_u16 {
        let mut stream = server.connect([127, 0, 3, u8::try_from(n % 8).unwrap() + 1]).await;
        let begin = if n % 2 == 0 { "GET /file HTTP/1.1\r\nHost: x\r\n\r\n".to_owned() } else { chunks.to_owned() };
        let sent = format!("{begin}1\r\n}}\r\n0\r\n\r\n{plain}");
        tokio::spawn(async move {
            let _ = stream.write_all(sent.as_bytes()).await;
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..50 {
        assert_eq!(server.desk().get::<String>("/known").await.unwrap(), "known");
    }
    let held = resident_kib();
    assert!(held < 150 * 1024, "{held} KiB");

    let (mut reading, mut writing) = server.connect([127, 0, 4, 1]).await.into_split();
    let ask = "GET /known HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer v\r\n\r\n".repeat(200);
    let sending = tokio::spawn(async move { writing.write_all(ask.as_bytes()).await.map(|()| writing) });
    let answered = async {
        let mut said = Vec::new();
        while String::from_utf8_lossy(&said).matches("\"known\"").count() < 200 {
            assert!(reading.read_buf(&mut said).await.unwrap() > 0, "{}", String::from_utf8_lossy(&said));
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("all are answered");
    sending.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_one_address_take_no_place_of_others_nor_of_who_is_known() {
    let server = start(Limits { strangers_per_address: 8, ..Limits::default() });
    // One that is known does not count as a stranger, however many stand behind its address.
    let mut known = Vec::new();
    for _ in 0..20 {
        let (stream, head) = server.asked([127, 0, 2, 1], "v").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        known.push(stream);
    }
    let mut strangers = Vec::new();
    for _ in 0..9 {
        strangers.push(server.connect([127, 0, 2, 1]).await);
    }
    // Which of them comes last, the system decides.
    let told = strangers.into_iter().map(|mut stream| {
        Box::pin(async move {
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            said
        })
    });
    let (said, _, strangers) = futures_util::future::select_all(told).await;
    assert!(said.starts_with("HTTP/1.1 429 ") && said.contains("too many connections"), "{said}");
    let (_, head) = server.asked([127, 0, 2, 2], "v").await;
    assert!(head.starts_with("HTTP/1.1 200"), "another address is let in: {head}");
    let counted = "http_connections_refused_total{listener=\"test\",bound=\"address\"} 1";
    assert!(server.metrics.text().contains(counted), "{}", server.metrics.text());
    // A connection that ends makes room.
    drop(strangers);
    let again = async { while !server.asked([127, 0, 2, 1], "v").await.1.starts_with("HTTP/1.1 200") {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_holds_so_many_connections_and_another_is_let_in() {
    let server = start(Limits { connections_per_caller: 4, ..Limits::default() });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.asked([127, 0, 0, 1], "v").await);
    }
    let (mut fifth, head) = server.asked([127, 0, 0, 1], "v").await;
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("watch has too many connections"), "{head}");
    assert_eq!(server.desk().get::<String>("/known").await.unwrap(), "known");
    held.clear();
    drop(fifth.shutdown().await);
    assert!(closed(&mut fifth).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_caller_wait_for_each_other_and_another_is_answered() {
    let server = start(Limits { requests_per_caller: 2, connections_per_caller: 6, ..Limits::default() });
    let watch = JsonClient::new(&format!("http://{}/", server.address), Some(Secret::new("v")), Timeouts::default());
    let watch = watch.unwrap();
    let mut asked: Vec<_> = (0..6)
        .map(|_| {
            let watch = watch.clone();
            tokio::spawn(async move { watch.get::<String>("/slow").await })
        })
        .collect();
    let running = async {
        while server.gate.here.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, running).await.unwrap();
    assert_eq!(server.desk().get::<String>("/known").await.unwrap(), "known");
    server.gate.open.send_replace(true);
    for answer in asked.drain(..) {
        assert_eq!(answer.await.unwrap().unwrap(), "slow");
    }
    assert_eq!(server.gate.most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_routes_take_small_bodies_however_they_arrive() {
    let server = start(Limits::default());
    let stranger = JsonClient::new(&format!("http://{}/", server.address), None, Timeouts::default()).unwrap();
    let body = |length: usize| serde_json::json!("x".repeat(length));
    stranger.post::<_, String>("/take", &body(MAX_OPEN_BODY - 2)).await.unwrap();
    let refused = stranger.post::<_, String>("/take", &body(MAX_OPEN_BODY)).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::TooLarge));
    let mut chunks = server.connect([127, 0, 0, 1]).await;
    let head = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", "1".repeat(4096));
    chunks.write_all([head, &chunk.repeat(5), "0\r\n\r\n"].concat().as_bytes()).await.unwrap();
    let answer = answer(&mut chunks).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(&MAX_OPEN_BODY.to_string()), "{answer}");
}
