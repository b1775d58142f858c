//! The route table and the client, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Json};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use service_kit::client::{ClientError, JsonClient, Timeouts};
use service_kit::server::{
    ApiError, Caller, Check, Limits, Listener, Metrics, Missing, OperatorTokens, Readiness, Role, Route, ServerEvent,
    Transport, bind, configure, health_routes, sse,
};
use service_kit::{Secret, Shutdown};
use test_kit::{RawAnswer, RawRequest};
use wire::Code;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Echo {
    n: u32,
}

async fn echo(caller: Caller, body: Json<Echo>) -> Result<Json<Echo>, ApiError> {
    assert_eq!(caller.name, "desk");
    match body.n {
        0 => Err(ApiError::internal(std::io::Error::other("a secret cause"))),
        n => Ok(Json(Echo { n })),
    }
}

async fn events() -> actix_web::HttpResponse {
    let three = futures_util::stream::iter(1..=3).map(|id| ServerEvent { id, data: format!("line\n{id}") });
    sse(three.chain(futures_util::stream::pending()), Shutdown::new())
}

async fn large() -> String {
    "x".repeat(100_000)
}

/// Not extracted by any guarded route: there to prove that the table is all there is.
async fn forgotten(_: Caller) -> &'static str {
    "let in"
}

fn routes() -> Vec<Route> {
    let own = vec![
        Route::post("/echo", Role::Operator, || web::to(echo)),
        Route::get("/events", Role::Viewer, || web::to(events)),
        Route::get("/large", Role::Public, || web::to(large)),
        Route::get("/forgotten", Role::Public, || web::to(forgotten)),
    ];
    [own, health_routes()].concat()
}

async fn start(readiness: Readiness) -> (SocketAddr, Shutdown) {
    let tokens = OperatorTokens::from_clear(&[("desk", Role::Admin, "a"), ("watch", Role::Viewer, "v")]);
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    let shared = metrics.clone();
    let bound = bind(vec![Listener {
        transport: Transport::Plain,
        name: "test",
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        configure: Arc::new(move |config| {
            config.app_data(web::Data::new(readiness.clone())).app_data(web::Data::new(shared.clone()));
            configure(config, &routes(), Arc::new(tokens.clone()));
        }),
        metrics,
        limits: Limits::default(),
    }])
    .unwrap();
    let address = bound.addresses()[0];
    tokio::spawn(bound.run(shutdown.clone()));
    (address, shutdown)
}

fn client(address: SocketAddr, token: Option<&str>) -> JsonClient {
    JsonClient::new(&format!("http://{address}/"), token.map(Secret::new), Timeouts::default()).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Code {
    result.unwrap_err().code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_let_in_by_role_and_errors_are_problems() {
    let (address, _shutdown) = start(Readiness::default()).await;
    let desk = client(address, Some("a"));
    assert_eq!(desk.post::<_, Echo>("/echo", &Echo { n: 7 }).await.unwrap(), Echo { n: 7 });
    assert_eq!(code(client(address, None).post::<_, Echo>("/echo", &Echo { n: 7 }).await), Code::Unauthenticated);
    assert_eq!(code(client(address, Some("b")).post::<_, Echo>("/echo", &Echo { n: 7 }).await), Code::Unauthenticated);
    assert_eq!(code(client(address, Some("v")).post::<_, Echo>("/echo", &Echo { n: 7 }).await), Code::Forbidden);
    assert_eq!(code(desk.post::<_, Echo>("/echo", &serde_json::json!({ "n": "x" })).await), Code::BadField);
    assert_eq!(code(desk.get::<Echo>("/echo").await), Code::MethodNotAllowed);
    assert_eq!(code(desk.get::<Echo>("/nothing").await), Code::RouteMissing);
    assert_eq!(code(desk.get::<Echo>("/forgotten").await), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_tells_the_caller_a_request_id_and_not_its_cause() {
    let (address, _shutdown) = start(Readiness::default()).await;
    let Err(ClientError::Refused(problem)) = client(address, Some("a")).post::<_, Echo>("/echo", &Echo { n: 0 }).await
    else {
        panic!("a defect was not reported as one")
    };
    assert_eq!(problem.code, Code::Internal);
    assert!(problem.request_id.is_some() && !format!("{problem:?}").contains("secret cause"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_bounds_what_it_reads_and_names_who_does_not_answer() {
    let (address, shutdown) = start(Readiness::default()).await;
    let client = client(address, None);
    assert_eq!(client.get_bytes("/large", 100_000).await.unwrap().len(), 100_000);
    let error = client.get_bytes("/large", 99_999).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { max: 99_999, .. }) && !error.is_transient());
    assert!(matches!(client.get::<Echo>("/large").await, Err(ClientError::BadAnswer { .. })));
    shutdown.stop();
    let nobody = JsonClient::new("http://127.0.0.1:1", None, Timeouts::default()).unwrap();
    let error = nobody.get::<Echo>("/echo").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("http://127.0.0.1:1/echo"), "{error}");
    assert!(JsonClient::new("ftp://x", None, Timeouts::default()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_and_silence_is_noticed() {
    let (address, _shutdown) = start(Readiness::default()).await;
    let mut stream = client(address, Some("v")).events("/events", None, Duration::from_millis(500)).await.unwrap();
    for n in 1..=3 {
        let event = stream.next().await.unwrap().unwrap();
        assert_eq!((event.id, event.data), (Some(n.to_string()), format!("line {n}")));
    }
    assert!(matches!(stream.next().await, Err(ClientError::Silent { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_everything_that_is_missing() {
    let missing = |name: &'static str| Check::new(name, move || async move { Err(format!("start {name}")) });
    let present = Check::new("disk", || async { Ok(()) });
    let (address, _shutdown) = start(Readiness(vec![missing("database"), present, missing("engine")])).await;
    let Err(ClientError::Refused(problem)) = client(address, None).get::<Echo>("/readyz").await else {
        panic!("not ready was not refused")
    };
    assert_eq!(problem.detail, "database: start database; engine: start engine");
}

/// A header of a proxy stands for a caller from elsewhere: over a real network it would be the address.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_from_elsewhere_see_neither_numbers_nor_addresses() {
    let failing = Check::new("database", || async { Err("no server at 10.1.2.3".to_owned()) });
    let (address, _shutdown) = start(Readiness(vec![failing])).await;
    let ask = async |line: &str, headers: &[&str]| {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        RawRequest::new(line, &headers, "").send(address).await
    };
    let (elsewhere, viewer) = ("X-Forwarded-For: 10.0.0.9", "Authorization: Bearer v");
    let body = |answer: &RawAnswer| String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(ask("GET /metrics", &[]).await.status, 200);
    assert_eq!(ask("GET /metrics", &[elsewhere]).await.status, 401);
    assert_eq!(ask("GET /metrics", &[elsewhere, viewer]).await.status, 200);
    let here = ask("GET /readyz", &[]).await;
    assert!(here.status == 503 && body(&here).contains("database: no server at 10.1.2.3"), "{here:?}");
    let there = ask("GET /readyz", &[elsewhere]).await;
    assert!(there.status == 503 && body(&there).contains("database"), "{there:?}");
    assert!(!body(&there).contains("10.1.2.3"), "{there:?}");
    for answer in [&here, &there, &ask("GET /nothing", &[]).await] {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("strict-transport-security"), None, "this is not encrypted");
    }
}

#[test]
fn what_is_not_there_is_looked_up_with_a_command() {
    for (kind, name, detail, remedy) in [
        (Missing::Branch, "nowhere", "There is no branch nowhere.", "`filial branch list`"),
        (Missing::Terminal, "north/x", "There is no terminal north/x.", "`filial terminal list`"),
        (Missing::Operator, "ann", "There is no operator ann.", "`filial operator list`"),
        (Missing::Token, "7 of yours", "There is no token 7 of yours.", "`filial token list`"),
        (Missing::Release, "7", "There is no release 7.", "`filial release list`"),
        (
            Missing::Assignment,
            "of kiosk to north",
            "There is no assignment of kiosk to north.",
            "`filial branch show NAME`",
        ),
        (Missing::Upload, "7", "There is no upload 7.", "unfinished uploads"),
        (Missing::Other("manifest"), "7", "There is no manifest 7.", "Check the name"),
    ] {
        let refused = ApiError::not_found(kind, &name);
        let problem = refused.problem();
        assert_eq!(problem.detail, detail);
        assert!(problem.remedy.contains(remedy), "{detail} {}", problem.remedy);
    }
    let refused = ApiError::bad_field("key", "expected 64 digits.");
    assert_eq!(refused.problem().detail, "key: expected 64 digits.", "one full stop");
}
