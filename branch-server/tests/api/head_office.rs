//! The other end of the wire: a small HTTP server that speaks head office's protocol to branch servers and can be
//! told to misbehave. It stands for the peer, not for a part of this program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::DateTime;
use futures_util::{StreamExt, stream};
use service_kit::server::{Limits, Listener, Metrics, PeerCertificates, Transport, bind};
use service_kit::{Clock, Shutdown, SystemClock};
use test_kit::TestFleet;
use tokio::sync::broadcast;
use trust::certificates::{
    Authority, Clients, FleetTime, JoinToken, Suffix, TlsKey, certificate_to_pem, fingerprint, none_denied,
    request_from_pem, server_config,
};
use uuid::Uuid;
use wire::v1::plan::Plan;
use wire::v1::reports::{Acknowledged, Batch, Numbered};
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse, DeniedMachines, Sync};
use wire::{Code, Envelope, Problem};

/// The secret part of the branch's join token.
pub const JOIN: &str = "join-of-the-branch";

/// What it does with the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Good,
    /// Stores reports and breaks the connection instead of answering.
    StoreThenBreak,
    /// Answers everything with 503.
    Away,
    /// Refuses reports that hold a `Running` of this slot's version as a bad field.
    Picky,
    /// Acknowledges less than was sent.
    Forgetful,
}

/// What comes of a metadata file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// It never ends.
    Endless,
    /// A byte comes now and then.
    Drip,
}

pub struct State {
    pub mood: Mood,
    pub branch: Option<&'static str>,
    pub plan: Option<Envelope>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Every report that counted, in order: what exactly once is judged by.
    pub counted: Vec<Numbered>,
    /// How far each numbering is stored.
    pub through: BTreeMap<Uuid, u64>,
    /// What each number says.
    pub known: BTreeMap<(Uuid, u64), Numbered>,
    /// How many requests with reports came.
    pub deliveries: usize,
    pub enrolments: usize,
    /// Whether the branch is known no more.
    pub forgot_branch: bool,
    /// Who issues its certificate and the branch's.
    pub authority: Authority,
    /// How long ago a certificate that it issues seems to have been issued.
    pub backdated: chrono::TimeDelta,
    /// The fleet's keys, and what they signed.
    pub fleet: TestFleet,
    /// The metadata files that are served.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What is said of their version.
    pub hint: Option<u64>,
    /// What a branch server must not let in.
    pub denied: Option<DeniedMachines>,
    /// What it does with metadata files, beside serving them.
    pub trick: Option<Trick>,
    /// How many metadata files were asked for.
    pub metadata_asked: usize,
}

impl State {
    fn new() -> Self {
        let fleet = TestFleet::new(SystemClock.now()).unwrap();
        let (metadata, hint) = (fleet.files(), fleet.version());
        Self {
            mood: Mood::Good,
            branch: Some("north"),
            plan: None,
            files: BTreeMap::new(),
            counted: Vec::new(),
            through: BTreeMap::new(),
            known: BTreeMap::new(),
            deliveries: 0,
            enrolments: 0,
            forgot_branch: false,
            authority: Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), SystemClock.now()).unwrap(),
            backdated: chrono::TimeDelta::zero(),
            fleet,
            metadata,
            hint,
            denied: Some(DeniedMachines::default()),
            trick: None,
            metadata_asked: 0,
        }
    }

    /// Serves what the fleet has published.
    pub fn serve_metadata(&mut self) {
        (self.metadata, self.hint) = (self.fleet.files(), self.fleet.version());
    }
}

pub struct HeadOfficeDouble {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    pub calls: broadcast::Sender<()>,
    shutdown: Shutdown,
}

type Shared = web::Data<Mutex<State>>;

impl HeadOfficeDouble {
    pub async fn start() -> Self {
        let state = web::Data::new(Mutex::new(State::new()));
        let (calls, _) = broadcast::channel(16);
        let (shared, sender) = (state.clone(), web::Data::new(calls.clone()));
        let configure = move |config: &mut web::ServiceConfig| {
            config
                .app_data(shared.clone())
                .app_data(sender.clone())
                .route("/v1/enrol", web::post().to(enrol))
                .route("/v1/sync", web::get().to(sync))
                .route("/v1/events", web::get().to(events))
                .route("/v1/reports", web::post().to(reports))
                .route("/v1/metadata/{name}", web::get().to(metadata))
                .default_service(web::to(file));
        };
        let tls = Arc::new(tls(&state.lock().unwrap().authority));
        let bound = bind(vec![Listener {
            name: "head office",
            address: ([127, 0, 0, 1], 0).into(),
            configure: Arc::new(configure),
            metrics: Metrics::new(),
            limits: Limits::default(),
            transport: Transport::Tls(Arc::new(move || tls.clone())),
        }])
        .unwrap();
        let (address, shutdown) = (bound.addresses()[0], Shutdown::new());
        tokio::spawn(bound.run(shutdown.clone()));
        Self { address, state: state.into_inner(), calls, shutdown }
    }

    /// What `filial branch add` would print.
    pub fn join_token(&self) -> String {
        let authority = self.with(|s| fingerprint(&s.authority.chain()[0]));
        let token = JoinToken { secret: service_kit::Secret::new(JOIN), authority };
        token.to_text().expose().to_owned()
    }

    pub fn with<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        edit(&mut self.state.lock().unwrap())
    }

    /// Signs everything that `plan` names and the plan, and serves all of it.
    pub fn offer(&self, plan: &Plan) -> Envelope {
        self.with(|s| {
            let envelope = s.fleet.order(plan, SystemClock.now()).unwrap();
            s.serve_metadata();
            s.plan = Some(envelope.clone());
            envelope
        })
    }

    pub fn serve(&self, path: String, bytes: impl Into<Vec<u8>>) {
        self.with(|s| s.files.insert(path, bytes.into()));
    }

    /// Sends a call to look again to whoever listens; how many do.
    pub fn call(&self) -> usize {
        self.calls.send(()).unwrap_or(0)
    }
}

impl Drop for HeadOfficeDouble {
    fn drop(&mut self) {
        // Stopping is asked for at once; nobody has to wait for it.
        self.shutdown.stop();
    }
}

fn tls(authority: &Authority) -> rustls::ServerConfig {
    let key = TlsKey::generate().unwrap();
    let chain = authority.issue_own(&key.request().unwrap(), SystemClock.now()).unwrap();
    let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
    let root = authority.chain()[0].clone();
    server_config((chain, &key), root, Suffix::default(), Clients::Optional, none_denied(), time).unwrap()
}

fn problem(code: Code) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(code.status()).unwrap();
    HttpResponse::build(status).json(Problem::new(code, "As the test wants it.", "None."))
}

/// Away, or a stranger.
fn turned_away(state: &State, request: &HttpRequest) -> Option<HttpResponse> {
    if state.mood == Mood::Away {
        return Some(problem(Code::NotReady));
    }
    // That the chain holds was checked in the handshake.
    let certified = request.conn_data::<PeerCertificates>().is_some_and(|presented| !presented.0.is_empty());
    if state.forgot_branch || !certified {
        return Some(problem(Code::Unauthenticated));
    }
    None
}

async fn enrol(state: Shared, body: web::Json<BranchEnrolRequest>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    if state.mood == Mood::Away {
        return problem(Code::NotReady);
    }
    if body.join_token.as_ref().is_some_and(|token| token != JOIN) {
        return problem(Code::JoinRefused);
    }
    state.enrolments += 1;
    let branch = state.branch.unwrap().parse().unwrap();
    let request = request_from_pem(&body.certificate_request).unwrap();
    let at = SystemClock.now() - state.backdated;
    let certificate = state.authority.issue_branch(&request, &branch, at).unwrap();
    let (certificate, authority) = (&certificate[0], &state.authority.chain()[0]);
    let (certificate, authority) = (certificate_to_pem(certificate), certificate_to_pem(authority));
    let answer = BranchEnrolResponse { branch, certificate, authority };
    if state.mood == Mood::StoreThenBreak {
        let broken = stream::iter([Err::<web::Bytes, _>(std::io::Error::other("as the test wants it"))]);
        return HttpResponse::Ok().streaming(broken);
    }
    HttpResponse::Ok().json(answer)
}

async fn sync(state: Shared, request: HttpRequest) -> HttpResponse {
    let state = state.lock().unwrap();
    turned_away(&state, &request).unwrap_or_else(|| {
        let (plan, denied) = (state.plan.clone(), state.denied.clone());
        HttpResponse::Ok().json(Sync { plan, available: Vec::new(), metadata: state.hint, denied })
    })
}

async fn events(state: Shared, calls: web::Data<broadcast::Sender<()>>, request: HttpRequest) -> HttpResponse {
    if let Some(refusal) = turned_away(&state.lock().unwrap(), &request) {
        return refusal;
    }
    let lines = stream::unfold(calls.subscribe(), |mut calls| async {
        calls.recv().await.ok()?;
        Some((Ok::<_, actix_web::Error>(web::Bytes::from_static(b"id: 1\ndata: \"look-again\"\n\n")), calls))
    });
    let hello = stream::iter([Ok(web::Bytes::from_static(b": connected\n\n"))]);
    HttpResponse::Ok().content_type("text/event-stream").streaming(hello.chain(lines))
}

async fn reports(state: Shared, request: HttpRequest, batch: web::Json<Batch>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    state.deliveries += 1;
    if let Some(refusal) = turned_away(&state, &request) {
        return refusal;
    }
    let through = state.through.get(&batch.epoch).copied().unwrap_or(0);
    if batch.reports[0].seq > through + 1 {
        return problem(Code::ReportOutOfOrder);
    }
    let differs = |n: &Numbered| state.known.get(&(batch.epoch, n.seq)).is_some_and(|known| known != n);
    if batch.reports.iter().any(differs) {
        return problem(Code::NumberReused);
    }
    let is_running = |n: &Numbered| matches!(n.report, wire::v1::reports::Report::Running { .. });
    if state.mood == Mood::Forgetful {
        return HttpResponse::Ok().json(Acknowledged::all(batch.reports[0].seq - 1));
    }
    if state.mood == Mood::Picky && batch.reports.iter().any(is_running) {
        return problem(Code::BadField);
    }
    let last = batch.reports[batch.reports.len() - 1].seq.max(through);
    let fresh: Vec<Numbered> = batch.reports.iter().filter(|r| r.seq > through).cloned().collect();
    state.known.extend(fresh.iter().map(|n| ((batch.epoch, n.seq), n.clone())));
    state.counted.extend(fresh);
    state.through.insert(batch.epoch, last);
    if state.mood == Mood::StoreThenBreak {
        let broken = stream::iter([Err::<web::Bytes, _>(std::io::Error::other("as the test wants it"))]);
        return HttpResponse::Ok().streaming(broken);
    }
    HttpResponse::Ok().json(Acknowledged::all(last))
}

async fn metadata(state: Shared, request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    if let Some(refusal) = turned_away(&state, &request) {
        return refusal;
    }
    state.metadata_asked += 1;
    let chunk = || Ok::<_, std::io::Error>(web::Bytes::from_static(&[b' '; 4096]));
    let mut tricked = HttpResponse::Ok();
    tricked.content_type("application/json");
    match state.trick {
        Some(Trick::Endless) => return tricked.streaming(stream::repeat_with(chunk)),
        Some(Trick::Drip) => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, std::io::Error>(web::Bytes::from_static(b" ")), ()))
            });
            return tricked.streaming(drops);
        }
        None => {}
    }
    match state.metadata.get(name.as_str()) {
        Some(bytes) => HttpResponse::Ok().content_type("application/json").body(bytes.clone()),
        None => problem(Code::NotFound),
    }
}

async fn file(state: Shared, request: HttpRequest) -> HttpResponse {
    let state = state.lock().unwrap();
    if let Some(refusal) = turned_away(&state, &request) {
        return refusal;
    }
    match state.files.get(request.path()) {
        Some(bytes) => HttpResponse::Ok().body(bytes.clone()),
        None => problem(Code::NotFound),
    }
}
