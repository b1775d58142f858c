//! The requests.

use fleet_types::Digest;
use serde_json::{Value, json};
use test_kit::RawRequest;
use uuid::Uuid;
use wire::Code;
use wire::v1::paths;

use super::{Case, World};
use crate::support::{JOIN, OPERATOR, VIEWER, facts};

pub const JSON: &str = "Content-Type: application/json";

/// A request with a token or none.
pub fn request(token: Option<&str>, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> RawRequest {
    let token = token.map(|t| format!("Authorization: Bearer {t}"));
    let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).chain(token).collect();
    RawRequest::new(line, &headers, body)
}

fn running(terminal: &str) -> Value {
    json!({ "kind": "running", "terminal": terminal, "slot": "A", "version": "1.0.0" })
}

fn numbered(seq: impl Into<Value>, report: Value) -> Value {
    json!({ "seq": seq.into(), "at": "2030-01-01T08:00:00Z", "report": report })
}

fn batch(reports: Vec<Value>) -> String {
    json!({ "epoch": Uuid::nil(), "reports": reports }).to_string()
}

fn failed(code: &str, text: &str) -> Value {
    let update = json!({ "serial": 1, "product": "till", "version": "1.0.0", "payload": "0".repeat(64), "from": null,
        "state": "failed", "segments_done": 0, "segments_total": 1, "reason": { "code": code, "text": text } });
    json!({ "kind": "update", "terminal": "till-1", "update": update })
}

pub fn all(world: &World) -> Vec<Case> {
    [callers(world), broken(world), reports(world), artifacts(world)].into_iter().flatten().collect()
}

fn callers(world: &World) -> Vec<Case> {
    let (people, machines) = (world.people, world.machines);
    let case = |name, to, request, code, says: &str| Case { name, to, request, code, says: says.to_owned() };
    let asks = |name, body: Value, code, says: &str| {
        case(name, machines, request(None, "POST /v1/enrol", &[JSON], body.to_string()), code, says)
    };
    let enrol = |name, join: &str, facts: Value, code, says: &str| {
        asks(name, json!({ "join_token": join, "terminal": facts, "certificate_request": world.request }), code, says)
    };
    let certified = |name, text: &str, says: &str| {
        let body = json!({ "join_token": JOIN, "terminal": facts("till-1"), "certificate_request": text });
        asks(name, body, Code::CertificateRequest, says)
    };
    let known = json!(facts("till-9"));
    let with = |key: &str, value: Value| {
        let mut facts = known.clone();
        facts[key] = value;
        facts
    };
    let unauthenticated = |name, to, token: Option<&str>, path: &str, says: &str| {
        case(name, to, request(token, &format!("GET {path}"), &[], ""), Code::Unauthenticated, says)
    };
    vec![
        unauthenticated("nobody among people", people, None, "/v1/status", "no token"),
        unauthenticated("a join token among people", people, Some(JOIN), "/v1/status", "The token is not valid"),
        unauthenticated("nobody among machines", machines, None, "/v1/sync", "none was presented"),
        unauthenticated("a person among machines", machines, Some(VIEWER), "/v1/sync", "none was presented"),
        unauthenticated("the join token", machines, Some(JOIN), "/v1/events", "none was presented"),
        case(
            "an operator who denies",
            people,
            request(Some(OPERATOR), "POST /v1/terminals/till-1/deny", &[JSON], "{}"),
            Code::Forbidden,
            "role admin",
        ),
        case(
            "a terminal that allows itself",
            world.till,
            request(None, "POST /v1/terminals/till-1/allow", &[JSON], "{}"),
            Code::RouteMissing,
            "/v1/terminals/till-1/allow",
        ),
        enrol("a name that is taken", JOIN, json!(facts("till-1")), Code::OtherKey, "till-1"),
        asks(
            "a key under another name",
            json!({ "join_token": JOIN, "terminal": facts("till-2"), "certificate_request": world.request_of_till }),
            Code::CertificateRequest,
            "till-1",
        ),
        asks("a key that nobody knows", json!({ "certificate_request": world.request }), Code::JoinRefused, "this key"),
        asks("no request for a certificate", json!({ "join_token": JOIN }), Code::BadField, "certificate_request"),
        asks(
            "more than is asked",
            json!({ "certificate_request": world.request, "branch": "south" }),
            Code::BadField,
            "branch",
        ),
        certified("a certificate for a request", &world.request.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "PEM"),
        certified("a request of 9 kB", &"A".repeat(9_000), "PEM"),
        certified("a request that is noise", &world.request.replace('A', "B"), "request"),
        case(
            "a token of 1 MB",
            machines,
            request(Some(&"x".repeat(1 << 20)), "GET /v1/sync", &[], ""),
            Code::HeaderTooLarge,
            "128 KiB",
        ),
        enrol("a guess", "terminals-guess", known.clone(), Code::JoinRefused, "join token is not valid"),
        enrol(
            "head office's join token",
            crate::head_office::JOIN,
            known.clone(),
            Code::JoinRefused,
            "join token is not valid",
        ),
        enrol("a sixth of five", JOIN, known.clone(), Code::TooManyTerminals, "5 terminals"),
        enrol("nobody", JOIN, json!(null), Code::BadField, "terminal"),
        enrol("a path for a name", JOIN, with("name", json!("../till")), Code::BadField, "../till"),
        enrol("a disk below zero", JOIN, with("slot_bytes", json!(-1)), Code::BadField, "-1"),
        enrol("a disk beyond all", JOIN, with("data_bytes", json!(u64::MAX)), Code::BadField, "data_bytes"),
        enrol(
            "an agent of 1,000 letters",
            JOIN,
            with("agent_version", json!("9".repeat(1000))),
            Code::BadField,
            "agent_version",
        ),
        enrol("an agent that rings", JOIN, with("agent_version", json!("1\u{7}")), Code::BadField, "agent_version"),
    ]
}

fn broken(world: &World) -> Vec<Case> {
    let (people, machines, till) = (world.people, world.machines, world.till);
    let case = |name, to, request, code, says: &str| Case { name, to, request, code, says: says.to_owned() };
    let post = |headers: &[&str], body: &str| request(None, "POST /v1/reports", headers, body);
    let many: Vec<String> = (0..10_000).map(|n| format!("X-{n}: {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let smuggled = "POST /v1/enrol HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}";
    let endless =
        post(&[JSON, "Transfer-Encoding: chunked"], "").then_endlessly(format!("ff\r\n{}\r\n", " ".repeat(0xff)));
    vec![
        case("10,000 headers", people, request(Some(VIEWER), "GET /v1/status", &many, ""), Code::HeaderTooLarge, "96"),
        case("two lengths of a body", machines, RawRequest::bytes(smuggled), Code::MalformedHttp, "not HTTP/1.1"),
        case(
            "TLS",
            machines,
            RawRequest::bytes(b"\x16\x03\x01\x02\x00\x01\r\n\r\n".as_slice()),
            Code::MalformedHttp,
            "not HTTP/1.1",
        ),
        case("chunks without end", till, endless, Code::TooLarge, "1048576"),
        case("100 MB, declared", till, post(&[JSON, "Content-Length: 100000000"], "{}"), Code::TooLarge, "1048576"),
        case("a form", till, post(&[], "a=b"), Code::UnsupportedMediaType, "JSON"),
        case("not JSON", till, post(&[JSON], "{]"), Code::NotJson, "line 1"),
        case(
            "a method that is not there",
            till,
            request(None, "DELETE /v1/reports", &[], ""),
            Code::MethodNotAllowed,
            "DELETE",
        ),
        case(
            "up and out",
            till,
            request(None, "GET /v1/manifests/..%2f..%2fidentity.toml", &[], ""),
            Code::BadField,
            "sha256",
        ),
        case(
            "people's route among machines",
            machines,
            request(Some(VIEWER), "GET /v1/status", &[], ""),
            Code::RouteMissing,
            "/v1/status",
        ),
        case("not ready", people, request(None, "GET /readyz", &[], ""), Code::NotReady, "engine"),
    ]
}

fn reports(world: &World) -> Vec<Case> {
    let till = |report: Value| batch(vec![numbered(1, report)]);
    let post = |name, body: String, code, says: &str| Case {
        name,
        to: world.till,
        request: request(None, "POST /v1/reports", &[JSON], body),
        code,
        says: says.to_owned(),
    };
    let at = |year: &str| {
        let mut one = numbered(1, running("till-1"));
        one["at"] = json!(format!("{year}-01-01T00:00:00Z"));
        batch(vec![one])
    };
    let (one, other) = (running("till-1"), running("till-2"));
    let deep = format!(
        "{{\"epoch\":\"{}\",\"reports\":[{{\"seq\":1,\"at\":\"2030-01-01T08:00:00Z\",\"report\":{{\"kind\":\"running\",\
         \"x\":{}",
        Uuid::nil(),
        "[".repeat(100_000)
    );
    let artifact = json!({ "kind": "artifact", "artifact": "0".repeat(64), "have_bytes": 1, "complete": true });
    let many = (1..=201).map(|n| numbered(n, one.clone())).collect();
    vec![
        post("in another's name", till(other), Code::NotYourself, "till-2"),
        post("in nobody's name", till(running("nobody")), Code::NotYourself, "nobody"),
        post("in the branch's name", till(artifact), Code::BadField, "branch servers"),
        post(
            "a gap inside",
            batch(vec![numbered(1, one.clone()), numbered(3, one.clone())]),
            Code::BadField,
            "3 does not",
        ),
        post("a gap before", batch(vec![numbered(7, one.clone())]), Code::ReportOutOfOrder, "Report 7 came where 1"),
        post("the last number", batch(vec![numbered(u64::MAX, one.clone())]), Code::BadField, "18446744073709551615"),
        post("a number and a half", batch(vec![numbered(1.5, one.clone())]), Code::BadField, "1.5"),
        post("201 reports", batch(many), Code::BatchTooLong, "201 reports"),
        post("the year 9999999", at("9999999"), Code::BadField, "line 1"),
        post("the year 9999", at("9999"), Code::BadField, "year 9999"),
        post("the year 262142", at("+262142"), Code::BadField, "262142"),
        post("before there were years", at("-200000"), Code::BadField, "-200000"),
        post("a reason of 2 kB", till(failed("unhealthy", &"x".repeat(2048))), Code::BadField, "reason.text"),
        post("a code with NUL", till(failed("un\0healthy", "x")), Code::BadField, "reason.code"),
        post("a code that is none", till(failed("Un\u{1b}[2Jhealthy", "x")), Code::BadField, "reason.code"),
        post("deep", deep, Code::JsonTooDeep, "nested"),
    ]
}

fn artifacts(world: &World) -> Vec<Case> {
    let get = |name, path: String, code, says: &str| Case {
        name,
        to: world.till,
        request: request(None, &format!("GET {path}"), &[], ""),
        code,
        says: says.to_owned(),
    };
    let (unknown, planned) = (Digest::new([9; 32]), world.planned.step.artifact.sha256);
    vec![
        get("an artifact that is not", paths::artifact_index(&unknown), Code::NotFound, &unknown.to_string()),
        get("a manifest that is not", paths::manifest(&unknown), Code::NotFound, &unknown.to_string()),
        get("no digest", "/v1/artifacts/abc/torrent".into(), Code::BadField, "sha256"),
        get("an index too early", paths::artifact_index(&planned), Code::NotHeldYet, &planned.to_string()),
        get("a torrent too early", paths::artifact_torrent(&planned), Code::NotHeldYet, &planned.to_string()),
        get("a manifest too early", paths::manifest(&world.planned.step.manifest), Code::NotHeldYet, "is planned"),
    ]
}
