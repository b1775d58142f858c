//! A listener and clients over real sockets: who comes in by a certificate, and as whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fleet::start;
use actix_web::web;
use async_trait::async_trait;
use chrono::TimeDelta;
use service_kit::client::{ClientError, JsonClient, Timeouts};
use service_kit::server::{
    ApiError, Authenticator, Caller, Holder, Limits, Listener, Metrics, PeerCertificates, Role, Route, Transport, Via,
    bind, configure,
};
use service_kit::{FixedClock, Secret, Shutdown};
use test_kit::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trust::certificates::{
    Anchor, Authority, Chain, Clients, Denied, DenyList, FleetTime, Identity, Purpose, Suffix, TlsKey, check_chain,
    client_config, fingerprint, server_config,
};
use wire::Code;

fn suffix() -> Suffix {
    "fleet.example".parse().unwrap()
}

fn north() -> Identity {
    Identity::Branch("north".parse().unwrap())
}

/// A branch server's listener, and everything that its authority made.
struct World {
    authority: Authority,
    branch: Authority,
    terminal: (Chain, TlsKey),
    clock: Arc<FixedClock>,
    denied: Arc<Mutex<Arc<DenyList>>>,
    address: SocketAddr,
    metrics: Metrics,
    shutdown: Shutdown,
}

/// Knows terminals by their certificates, as a branch server does.
struct ByCertificate {
    authority: rustls_pki_types::CertificateDer<'static>,
    time: FleetTime,
    denied: Denied,
}

#[async_trait]
impl Authenticator for ByCertificate {
    async fn authenticate(&self, _: &str) -> Result<Option<Caller>, ApiError> {
        Ok(None)
    }

    async fn certificate(&self, presented: &PeerCertificates) -> Result<Option<Caller>, ApiError> {
        let (suffix, now) = (suffix(), self.time.now());
        let checked = check_chain(&presented.0, &self.authority, &suffix, Purpose::Client, now, &(self.denied)());
        let refused = |r: trust::Refusal| ApiError::new(Code::Unauthenticated, r.sentence(), "Enrol anew.");
        match checked.map_err(refused)?.identity {
            Identity::Terminal(branch, terminal) => Ok(Some(Caller::terminal(branch, terminal).by(Via::Certificate))),
            _ => Ok(None),
        }
    }
}

async fn whoami(caller: Caller) -> web::Json<String> {
    web::Json(format!("{} by {}", caller.name, caller.via))
}

fn routes() -> Vec<Route> {
    vec![
        Route::get("/whoami", Role::Terminal, || web::to(whoami)),
        Route::get("/open", Role::Public, || web::to(async || web::Json("open"))),
    ]
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::new(start()));
        let authority = Authority::begin(suffix(), TlsKey::generate().unwrap(), start()).unwrap();
        let (key, name) = (TlsKey::generate().unwrap(), "north".parse().unwrap());
        let chain = authority.issue_branch(&key.request().unwrap(), &name, start()).unwrap();
        let branch = Authority::open(suffix(), Some(name), chain, key).unwrap();
        let key = TlsKey::generate().unwrap();
        let terminal = branch.issue_terminal(&key.request().unwrap(), &"till-1".parse().unwrap(), start()).unwrap();
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let (denied, metrics, shutdown) = (Arc::default(), Metrics::new(), Shutdown::new());
        let mut world =
            Self { authority, branch, terminal: (terminal, key), clock, denied, address, metrics, shutdown };
        world.listen();
        world
    }

    fn root(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.authority.chain()[0].clone()
    }

    fn time(&self) -> FleetTime {
        FleetTime::new(self.clock.clone(), start())
    }

    fn denied(&self) -> Denied {
        let denied = self.denied.clone();
        Arc::new(move || denied.lock().unwrap().clone())
    }

    /// As the servers count connections.
    fn holder(&self) -> Holder {
        let (root, time) = (self.root(), self.time());
        Arc::new(move |presented| {
            let none = DenyList::default();
            let checked = check_chain(&presented.0, &root, &suffix(), Purpose::Client, time.now(), &none);
            checked.ok().map(|checked| checked.identity.to_string())
        })
    }

    /// One more certificate of this terminal.
    fn certificate_of(&self, terminal: &str) -> (Chain, TlsKey) {
        let key = TlsKey::generate().unwrap();
        let request = key.request().unwrap();
        (self.branch.issue_terminal(&request, &terminal.parse().unwrap(), start()).unwrap(), key)
    }

    fn listen(&mut self) {
        let key = TlsKey::generate().unwrap();
        let chain = self.branch.issue_own(&key.request().unwrap(), start()).unwrap();
        let config =
            server_config((chain, &key), self.root(), suffix(), Clients::Optional, self.denied(), self.time()).unwrap();
        let config = Arc::new(config);
        let known = ByCertificate { authority: self.root(), time: self.time(), denied: self.denied() };
        let known: Arc<dyn Authenticator> = Arc::new(known);
        let bound = bind(vec![Listener {
            name: "machines",
            address: self.address,
            configure: Arc::new(move |config| configure(config, &routes(), known.clone())),
            metrics: self.metrics.clone(),
            limits: Limits {
                request: Duration::from_secs(2),
                strangers: 5,
                connections_per_caller: 3,
                ..Limits::default()
            },
            transport: Transport::Mutual(Arc::new(move || config.clone()), self.holder()),
        }])
        .unwrap();
        self.address = bound.addresses()[0];
        tokio::spawn(bound.run(self.shutdown.clone()));
    }

    fn dial(&self, own: Option<&(Chain, TlsKey)>, anchor: Anchor, peer: Identity) -> JsonClient {
        let own = own.map(|(chain, key)| (chain.clone(), key));
        let config = client_config(own, anchor, suffix(), peer, self.denied(), self.time()).unwrap();
        JsonClient::secure(&format!("https://{}", self.address), config, Timeouts::default()).unwrap()
    }

    fn terminal(&self) -> JsonClient {
        self.dial(Some(&self.terminal), Anchor::Known(self.root()), north())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

#[tokio::test]
async fn a_terminal_is_known_by_its_certificate_and_a_stranger_by_nothing() {
    let world = World::new();
    let who: String = world.terminal().get("/whoami").await.unwrap();
    assert_eq!(who, "north/till-1 by certificate");
    // Without a certificate the open routes answer, as enrolment needs it; and only those.
    let stranger = world.dial(None, Anchor::Pinned(fingerprint(&world.root())), north());
    assert_eq!(stranger.get::<String>("/open").await.unwrap(), "open");
    let refused = stranger.get::<String>("/whoami").await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused}");
    // A token does not replace the certificate.
    let refused = stranger.with_token(Secret::new("anything")).get::<String>("/whoami").await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused}");
}

#[tokio::test]
async fn machine_with_a_wrong_clock_is_noticed_by_the_server_that_it_does_not_trust() {
    let world = World::new();
    let wrong = FleetTime::new(Arc::new(FixedClock::new(chrono::DateTime::UNIX_EPOCH)), chrono::DateTime::UNIX_EPOCH);
    let config = client_config(None, Anchor::Known(world.root()), suffix(), north(), world.denied(), wrong).unwrap();
    let url = format!("https://{}", world.address);
    let client = JsonClient::secure(&url, config, Timeouts::default()).unwrap();
    assert!(matches!(client.get::<String>("/open").await, Err(ClientError::Distrusted { .. })));
    wait_for("the alert", Duration::from_secs(30), async || {
        let text = world.metrics.text();
        let counted =
            text.lines().any(|line| line.contains("connections_refused_total") && line.contains("distrusted"));
        if counted { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn certificates_of_others_do_not_get_as_far_as_a_request() {
    let world = World::new();
    let foreign = World::new();
    let client = world.dial(Some(&foreign.terminal), Anchor::Known(world.root()), north());
    // The answer may be lost: a server that refuses hangs up on what was already sent.
    let refused = client.get::<String>("/open").await;
    assert!(matches!(refused, Err(ClientError::Distrusted { .. } | ClientError::Unreachable { .. })), "{refused:?}");
    // Nor does a terminal talk to a server that is not its own branch's, or of another fleet.
    let south = Identity::Branch("south".parse().unwrap());
    for (anchor, peer) in [
        (Anchor::Known(world.root()), south),
        (Anchor::Known(foreign.root()), north()),
        (Anchor::Pinned([7; 32].into()), north()),
    ] {
        let client = world.dial(Some(&world.terminal), anchor, peer);
        assert!(matches!(client.get::<String>("/open").await, Err(ClientError::Distrusted { .. })));
    }
}

#[tokio::test]
async fn a_connection_that_is_open_ends_with_its_certificate() {
    let world = World::new();
    let client = world.terminal();
    client.get::<String>("/whoami").await.unwrap();
    // Denied while the connection stays open: the next request on it is refused.
    let key = trust::certificates::request_key(&world.terminal.1.request().unwrap()).unwrap();
    *world.denied.lock().unwrap() = Arc::new(DenyList { keys: [key].into(), ..DenyList::default() });
    let refused = client.get::<String>("/whoami").await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused}");
    *world.denied.lock().unwrap() = Arc::default();
    client.get::<String>("/whoami").await.unwrap();
    world.clock.set(start() + TimeDelta::days(91));
    let refused = client.get::<String>("/whoami").await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused}");
}

/// A branch server in other hands issues certificates as it likes: all of one machine take that machine's places, then those
/// of strangers.
#[tokio::test]
async fn many_certificates_of_one_machine_take_no_other_machines_place() {
    let connect = async |world: &World, terminal: &str| {
        let client = world.dial(Some(&world.certificate_of(terminal)), Anchor::Known(world.root()), north());
        client.get::<String>("/open").await.map(|_| client)
    };
    let (many, mut open) = (World::new(), Vec::new());
    for n in 0..9 {
        open.push(connect(&many, &format!("till-{n}")).await.unwrap());
    }
    let one = World::new();
    for _ in 0..8 {
        open.push(connect(&one, "till-1").await.unwrap());
    }
    let refused = connect(&one, "till-1").await.map(drop);
    assert!(matches!(refused, Err(ClientError::Distrusted { .. } | ClientError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_no_tls_or_says_nothing_is_hung_up_on() {
    let world = World::new();
    for first in [&b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"[..], b""] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut answer = Vec::new();
        // Ends by itself: the handshake has a deadline.
        let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(world.terminal().get::<String>("/open").await.unwrap(), "open");
}
