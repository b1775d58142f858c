//! POST /v1/enrol

use std::sync::Arc;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::{Clock as _, Secret, SystemClock, token};
use test_kit::write_secret;
use trust::certificates::{JoinToken, LEAF_LIFETIME, TlsKey, certificate_from_pem, fingerprint, request_key, validity};
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::sync::EnrolResponse;

use crate::daemons::Later;
use crate::support::{Branch, JOIN, Options, assert_refused, enrolment, facts};

fn body(join: Option<&str>, name: &str, key: &TlsKey) -> Value {
    serde_json::to_value(enrolment(join, name, key)).unwrap()
}

async fn answered(response: reqwest::Response) -> EnrolResponse {
    assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap());
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_an_identity_that_works_and_head_office_hears_of_it() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    assert_eq!(till.answer.branch.as_str(), "north");
    let root = branch.head_office.with(|s| fingerprint(&s.authority.chain()[0]));
    assert_eq!(fingerprint(&certificate_from_pem(&till.answer.authority).unwrap()), root);
    let (_, until) = validity(&certificate_from_pem(&till.answer.certificate).unwrap()).unwrap();
    let left = until - SystemClock.now();
    assert!(left <= LEAF_LIFETIME && left > LEAF_LIFETIME - TimeDelta::hours(1), "{left}");
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);

    let delivered =
        branch_server::reports::relay::deliver(&branch.app.pool, &*branch.app.head_office, 200, branch.app.clock.now())
            .await
            .unwrap();
    assert_eq!(delivered, branch_server::reports::relay::Delivery::Delivered(1));
    let counted = branch.head_office.with(|s| s.counted.clone());
    let key = Some(branch.signer("till-1").public().to_string());
    assert_eq!(counted[0].report, Report::TerminalSeen { facts: facts("till-1"), key });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_given_again_to_the_same_key() {
    let branch = Branch::enrolled().await;
    let (first, again) = (branch.enrol("till-1").await, branch.enrol("till-1").await);
    assert_eq!(first.answer, again.answer);
    let branch = branch.restart(Options::default()).await;
    assert_eq!(branch.enrol("till-1").await.answer, first.answer);
    assert_eq!(branch.ask("/v1/sync", &first).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_renewed_without_a_token_also_after_its_certificate_expired() {
    let clock = Arc::new(Later::default());
    let options = || Options { tls_clock: Some(clock.clone()), ..Options::default() };
    let branch = Branch::start(options()).await;
    branch.app.poll.once().await.unwrap();
    let (first, key) = (branch.enrol("till-1").await, branch.key("till-1"));
    let renew = async || answered(branch.try_enrol(None, "till-1", &key).await).await;
    assert_eq!(renew().await, first.answer, "it is young");
    for days in [61, 400] {
        clock.advance(TimeDelta::days(days));
        let renewed = renew().await;
        assert_ne!(renewed.certificate, first.answer.certificate);
        let (from, until) = validity(&certificate_from_pem(&renewed.certificate).unwrap()).unwrap();
        assert!(from < clock.now() && until > clock.now() + TimeDelta::days(89));
        assert_eq!(renew().await, renewed);
    }
    // Neither a name nor facts are needed, nor do they change anything.
    let other =
        json!({ "terminal": facts("till-2"), "certificate_request": body(None, "", &key)["certificate_request"] });
    answered(branch.post("/v1/enrol", None, other.to_string()).await).await;
    let list: Value =
        branch.get(branch.operators, "/v1/terminals", Some(crate::support::VIEWER)).await.json().await.unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_refused(branch.try_enrol(None, "till-1", &TlsKey::generate().unwrap()).await, Code::JoinRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_join_token_takes_over_no_terminal() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let thief = TlsKey::generate().unwrap();
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &thief).await, Code::OtherKey).await;
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK, "the terminal goes on");
    // Nor does it help to come by the terminal's own key under another name, or to guess the token.
    assert_refused(branch.try_enrol(Some(JOIN), "till-2", &branch.key("till-1")).await, Code::CertificateRequest).await;
    let whole = format!("{JOIN}-{}", branch.head_office.with(|s| fingerprint(&s.authority.chain()[0])));
    let long = "x".repeat(10_000);
    for guess in ["guess", "", &whole, &long] {
        assert_refused(branch.try_enrol(Some(guess), "till-9", &thief).await, Code::JoinRefused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_serves_many_terminals_until_its_time_is_over_or_it_is_replaced() {
    let clock = Arc::new(Later::default());
    let options = || Options { clock: clock.clone(), ..Options::default() };
    let branch = Branch::start(options()).await;
    branch.app.poll.once().await.unwrap();
    branch.enrol("till-1").await;
    clock.advance(TimeDelta::days(364));
    branch.enrol("till-2").await;
    // Its time does not begin anew with the program.
    let branch = branch.restart(options()).await;
    clock.advance(TimeDelta::days(1));
    let key = branch.key("till-3");
    assert_refused(branch.try_enrol(Some(JOIN), "till-3", &key).await, Code::JoinExpired).await;
    answered(branch.try_enrol(None, "till-1", &branch.key("till-1")).await).await;
    // The way out that the refusal names.
    let file = branch.app.settings.terminals.join_token_file.clone();
    std::fs::remove_file(&file).unwrap();
    let branch = branch.restart(options()).await;
    let token = JoinToken::parse(&Secret::new(std::fs::read_to_string(&file).unwrap())).unwrap();
    assert_refused(branch.try_enrol(Some(JOIN), "till-3", &key).await, Code::JoinRefused).await;
    answered(branch.try_enrol(Some(token.secret.expose()), "till-3", &key).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_its_codes() {
    let branch = Branch::enrolled().await;
    let key = branch.key("till-1");
    let with = |field: &str, value: Value| {
        let mut body = body(Some(JOIN), "till-1", &key);
        body["terminal"][field] = value;
        body.to_string()
    };
    let request = |text: &str| {
        let mut body = body(Some(JOIN), "till-1", &key);
        body["certificate_request"] = json!(text);
        body.to_string()
    };
    let mut nobody = body(Some(JOIN), "till-1", &key);
    nobody["terminal"] = Value::Null;
    let pem = enrolment(None, "", &key).certificate_request;
    for (body, code) in [
        ("{".to_owned(), Code::NotJson),
        (json!({ "join_token": JOIN }).to_string(), Code::BadField),
        (nobody.to_string(), Code::BadField),
        (with("name", json!("../etc")), Code::BadField),
        (with("model", json!("")), Code::BadField),
        (with("slot_bytes", json!(-1)), Code::BadField),
        (with("slot_bytes", json!(u64::MAX)), Code::BadField),
        (with("agent_version", json!("1\u{0}")), Code::BadField),
        (with("agent_version", json!("x".repeat(65))), Code::BadField),
        (request(""), Code::CertificateRequest),
        (request(&pem.replacen("\nMH", "\nMI", 1)), Code::CertificateRequest),
        (request(&"A".repeat(9_000)), Code::CertificateRequest),
        (request(&"A".repeat(900_000)), Code::TooLarge),
        (format!("\"{}\"", "x".repeat(2 << 20)), Code::TooLarge),
    ] {
        let shown: String = body.chars().take(120).collect();
        let response = branch.post("/v1/enrol", None, body).await;
        assert_eq!(response.status().as_u16(), code.status(), "{shown}");
        assert_refused(response, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_takes_as_many_terminals_as_its_settings_say() {
    let branch = Branch::enrolled().await;
    for n in 1..=5 {
        branch.enrol(&format!("till-{n}")).await;
    }
    let sixth = branch.try_enrol(Some(JOIN), "till-6", &branch.key("till-6")).await;
    assert_refused(sixth, Code::TooManyTerminals).await;
    // One that is known already may come again.
    branch.enrol("till-5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_branch_server_enrolled_terminals_have_to_wait() {
    let branch = Branch::start(Options::default()).await;
    // To whoever wants no proof; a terminal wants it, and does not get as far.
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &branch.key("till-1")).await, Code::NotReady).await;
    let http = reqwest::Client::builder().no_proxy().use_preconfigured_tls(branch.tls(None)).build().unwrap();
    let health = || http.get(format!("https://{}/healthz", branch.machines)).send();
    assert!(health().await.unwrap_err().is_connect());
    branch.app.poll.once().await.unwrap();
    assert_eq!(health().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminals_join_token_is_whole_once_this_server_enrolled_and_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, fleet, other) = (dir.path().join("join"), [7; 32].into(), [8; 32].into());
    let read = || JoinToken::parse(&Secret::new(std::fs::read_to_string(&file).unwrap())).unwrap();
    let made = branch_server::terminals::join::kept(&file, fleet).unwrap();
    assert_eq!((read(), made.authority), (made.clone(), fleet));
    assert_eq!(branch_server::terminals::join::kept(&file, fleet).unwrap(), made);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Of a fleet that was made anew, the same secret counts.
    let moved = branch_server::terminals::join::kept(&file, other).unwrap();
    assert_eq!((moved.secret, moved.authority, read().authority), (made.secret, other, other));
    // One from before certificates, or that a person chose.
    for secret in [token::generate("terminals").expose(), "a-secret-of-a-person"] {
        write_secret(&file, format!("{secret}\n")).unwrap();
        assert_eq!(branch_server::terminals::join::kept(&file, fleet).unwrap().secret.expose(), secret);
        assert_eq!(read().secret.expose(), secret);
    }
    write_secret(&file, "short").unwrap();
    assert!(branch_server::terminals::join::kept(&file, fleet).is_err());

    let branch = Branch::enrolled().await;
    let text = std::fs::read_to_string(&branch.app.settings.terminals.join_token_file).unwrap();
    let token = JoinToken::parse(&Secret::new(text)).unwrap();
    let root = branch.head_office.with(|s| fingerprint(&s.authority.chain()[0]));
    assert_eq!((token.secret.expose(), token.authority), (JOIN, root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_lost_knows_a_terminal_again_by_the_join_token() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    branch.app.pool.get().await.unwrap().execute("delete from terminals", &[]).await.unwrap();
    assert_refused(branch.ask("/v1/sync", &till).await, Code::Unauthenticated).await;
    assert_refused(branch.try_enrol(None, "till-1", &branch.key("till-1")).await, Code::JoinRefused).await;
    branch.enrol("till-1").await;
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK, "its certificate never ended");
    let client = branch.app.pool.get().await.unwrap();
    let row = client.query_one("select key_sha256, token_sha256 from terminals", &[]).await.unwrap();
    let key = request_key(&branch.key("till-1").request().unwrap()).unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), key.as_bytes());
    assert_eq!(row.get::<_, Option<Vec<u8>>>(1), None);
}
