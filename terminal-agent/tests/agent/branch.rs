//! The agent's client of the branch server, at a real listener over TLS: whom it believes, and what it presents.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use service_kit::client::ClientError;
use service_kit::server::{Limits, Listener, Metrics, PeerCertificates, Transport, bind};
use service_kit::{Clock, FixedClock, Shutdown, SystemClock};
use terminal_agent::adapters::HttpBranch;
use terminal_agent::branch::identity::IdentityFiles;
use terminal_agent::model::identity::Identity;
use terminal_agent::ports::Branch;
use test_kit::TestBranch;
use trust::certificates::{
    Anchor, Clients, FleetTime, Identity as Who, Peer, Suffix, TlsKey, none_denied, request_from_pem, request_to_pem,
    server_config,
};
use wire::v1::sync::{EnrolRequest, Sync};

fn time(clock: Arc<dyn Clock>) -> FleetTime {
    FleetTime::new(clock, DateTime::UNIX_EPOCH)
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

/// A branch server's listener, which has what this terminal asks for.
struct Server {
    address: SocketAddr,
    branch: Arc<TestBranch>,
    shutdown: Shutdown,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

async fn enrol(branch: web::Data<TestBranch>, request: web::Json<EnrolRequest>) -> HttpResponse {
    let request = request_from_pem(&request.certificate_request).unwrap();
    HttpResponse::Ok().json(branch.certify(&request, &"till-1".parse().unwrap(), now()).unwrap())
}

/// How many certificates were presented, as if it were a version.
async fn sync(request: HttpRequest) -> HttpResponse {
    let presented = request.conn_data::<PeerCertificates>().map(|presented| presented.0.len() as u64);
    HttpResponse::Ok().json(Sync { plan: None, available: Vec::new(), metadata: presented, denied: None })
}

impl Server {
    fn start(name: &str) -> Self {
        let branch = Arc::new(TestBranch::new(name, now()).unwrap());
        let own = branch.own(now()).unwrap();
        let (root, suffix) = (branch.root().clone(), Suffix::default());
        let denied = none_denied();
        let tls =
            server_config(own.own(), root, suffix, Clients::Optional, denied, time(Arc::new(SystemClock))).unwrap();
        let (tls, shared) = (Arc::new(tls), web::Data::from(branch.clone()));
        let configure = move |config: &mut web::ServiceConfig| {
            config
                .app_data(shared.clone())
                .route("/v1/enrol", web::post().to(enrol))
                .route("/v1/sync", web::get().to(sync))
                .route("/healthz", web::get().to(HttpResponse::Ok));
        };
        let bound = bind(vec![Listener {
            name: "machines",
            address: ([127, 0, 0, 1], 0).into(),
            configure: Arc::new(configure),
            metrics: Metrics::new(),
            limits: Limits::default(),
            transport: Transport::Tls(Arc::new(move || tls.clone())),
        }])
        .unwrap();
        let (address, shutdown) = (bound.addresses()[0], Shutdown::new());
        tokio::spawn(bound.run(shutdown.clone()));
        Self { address, branch, shutdown }
    }

    fn client(&self, clock: Arc<dyn Clock>) -> HttpBranch {
        HttpBranch::new(&format!("https://{}", self.address), Duration::from_secs(60), time(clock))
    }
}

fn asks(key: &TlsKey) -> EnrolRequest {
    let certificate_request = request_to_pem(&key.request().unwrap());
    EnrolRequest {
        join_token: Some("join-me-if-you-can".into()),
        certificate_request,
        terminal: None,
        certificate: None,
    }
}

/// Enrols at a server that its authority proves to be some branch.
async fn identity(server: &Server, folder: &std::path::Path) -> (Identity, TlsKey) {
    let (files, pinned) = (IdentityFiles::new(folder), server.branch.fingerprint());
    let (key, client) = (files.key().unwrap(), server.client(Arc::new(SystemClock)));
    let answer = client.enrol(Anchor::Pinned(pinned), Peer::AnyBranch, &asks(&key)).await.unwrap();
    (files.keep(answer, &"till-1".parse().unwrap(), &pinned, now()).unwrap(), key)
}

fn is_distrusted<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> bool {
    matches!(answer, Err(ClientError::Distrusted { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolled_terminal_presents_its_certificate_and_nobody_is_talked_to_before() {
    let (server, dir) = (Server::start("north"), tempfile::tempdir().unwrap());
    let client = server.client(Arc::new(SystemClock));
    assert!(is_distrusted(client.sync().await) && is_distrusted(client.healthy().await));
    let (identity, key) = identity(&server, dir.path()).await;
    client.authenticate(&identity, &key).unwrap();
    assert!(client.sync().await.unwrap().metadata >= Some(2));
    client.healthy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_fleet_branch_or_kind_of_server_gets_no_secret_and_is_not_listened_to() {
    let (server, foreign, dir) = (Server::start("north"), Server::start("north"), tempfile::tempdir().unwrap());
    let key = TlsKey::generate().unwrap();
    let (pinned, south) = (server.branch.fingerprint(), Who::Branch("south".parse().unwrap()));
    let client = server.client(Arc::new(SystemClock));
    for (anchor, peer) in [
        (Anchor::Pinned(foreign.branch.fingerprint()), Peer::AnyBranch),
        (Anchor::Known(foreign.branch.root().clone()), Peer::AnyBranch),
        (Anchor::Pinned(pinned), south.into()),
        (Anchor::Pinned(pinned), Who::HeadOffice.into()),
    ] {
        assert!(is_distrusted(client.enrol(anchor, peer.clone(), &asks(&key)).await), "{peer}");
    }
    // Once it enrolled, exactly its branch.
    let (identity, key) = identity(&server, dir.path()).await;
    let elsewhere = foreign.client(Arc::new(SystemClock));
    elsewhere.authenticate(&identity, &key).unwrap();
    assert!(is_distrusted(elsewhere.sync().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_enrolment_at_1970_names_both_times_and_works_from_the_images_own_time_on() {
    let (server, dir) = (Server::start("north"), tempfile::tempdir().unwrap());
    let (files, pinned) = (IdentityFiles::new(dir.path()), Anchor::Pinned(server.branch.fingerprint()));
    let client = server.client(Arc::new(FixedClock::new(DateTime::UNIX_EPOCH + TimeDelta::seconds(30))));
    let key = files.key().unwrap();
    let error = client.enrol(pinned.clone(), Peer::AnyBranch, &asks(&key)).await.unwrap_err().to_string();
    assert!(
        error.contains("The certificate is valid from ")
            && error.contains(" UTC, and the time here is 1 Jan 1970 00:00 UTC"),
        "{error}"
    );
    assert!(!error.contains("UnixTime") && !error.contains("1970-01-01T"), "{error}");
    client.not_before(now());
    client.enrol(pinned, Peer::AnyBranch, &asks(&key)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_lost_is_lifted_to_the_newest_time_that_was_verified() {
    let (server, dir) = (Server::start("north"), tempfile::tempdir().unwrap());
    let (identity, key) = identity(&server, dir.path()).await;
    let client = server.client(Arc::new(FixedClock::new(DateTime::UNIX_EPOCH + TimeDelta::days(1))));
    client.authenticate(&identity, &key).unwrap();
    assert!(is_distrusted(client.sync().await), "its certificate is of the future");
    client.not_before(now());
    client.sync().await.unwrap();
}
