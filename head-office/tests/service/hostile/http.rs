//! HTTP itself, bent and broken.

use service_kit::server::Role;
use test_kit::RawRequest;
use wire::Code;

use crate::hostile::world::{Case, JSON, Side, World, request};
use crate::support::token_of;

fn broken(name: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case::new(name, Side::Machines, RawRequest::bytes(bytes), Code::MalformedHttp, "not HTTP/1.1")
}

fn with(name: &'static str, headers: &str) -> Case {
    broken(name, format!("POST /v1/enrol HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n{{}}"))
}

fn heads() -> Vec<Case> {
    let admin = token_of(Role::Admin);
    let many: Vec<String> = (0..10_000).map(|n| format!("X-{n}: {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = format!("X-Large: {}", "x".repeat(1 << 20));
    let long = |n: usize| format!("GET /v1/branches/{}", "a".repeat(n));
    let case = |name, request, code, says: &str| Case::new(name, Side::People, request, code, says);
    vec![
        case("10,000 headers", request(Some(admin), "GET /v1/branches", &many, ""), Code::HeaderTooLarge, "96 headers"),
        case(
            "a header of 1 MB",
            request(Some(admin), "GET /v1/branches", &[&large], ""),
            Code::HeaderTooLarge,
            "128 KiB",
        ),
        case("a URL of 1 MB", request(Some(admin), &long(1 << 20), &[], ""), Code::HeaderTooLarge, "128 KiB"),
        case("a URL of 60 kB", request(Some(admin), &long(60_000), &[], ""), Code::BadRequest, "The path"),
    ]
}

fn paths(world: &World) -> Vec<Case> {
    let get = |name, path: &str, code, says: &str| {
        world.people(name, Role::Admin, &format!("GET {path}"), &[], "", code, says)
    };
    vec![
        get("up and out", "/v1/releases/../../etc/passwd", Code::RouteMissing, "/etc/passwd"),
        get("up and out, encoded", "/v1/releases/%2e%2e%2f%2e%2e%2fetc%2fpasswd", Code::BadRequest, "The path"),
        get("out of the API browser", "/swagger-ui/..%2f..%2f..%2fetc%2fpasswd", Code::NotFound, "API browser"),
        get("NUL, encoded", "/v1/branches/a%00b", Code::BadRequest, "The path"),
        get("not UTF-8, encoded", "/v1/branches/%ff%fe", Code::BadRequest, "The path"),
        get("a name outside the alphabet", "/v1/terminals/north/TILL_1", Code::BadRequest, "TILL_1"),
        get("no id", "/v1/releases/1%20OR%201=1", Code::BadRequest, "The path"),
        get("a query that says it twice", "/v1/terminals?branch=north&branch=east", Code::BadRequest, "branch"),
        get("a query with an invention", "/v1/terminals?brunch=north", Code::BadRequest, "brunch"),
        world.people(
            "a method that is not there",
            Role::Admin,
            "DELETE /v1/branches",
            &[],
            "",
            Code::MethodNotAllowed,
            "DELETE",
        ),
        world.people(
            "an invented method",
            Role::Admin,
            "FROBNICATE /v1/branches",
            &[],
            "",
            Code::MethodNotAllowed,
            "FROBNICATE",
        ),
        world.people("TRACE", Role::Admin, "TRACE /v1/status", &[], "", Code::MethodNotAllowed, "TRACE"),
        world.people(
            "another method in a header",
            Role::Viewer,
            "PUT /v1/branches",
            &["X-HTTP-Method-Override: POST", JSON],
            "{\"name\":\"west\"}",
            Code::MethodNotAllowed,
            "PUT",
        ),
        get("not ready", "/readyz", Code::NotReady, "engine"),
    ]
}

pub fn cases(world: &World) -> Vec<Case> {
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n";
    let all = vec![
        broken("TLS", hello),
        broken("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        broken("HTTP/0.9", "GET /v1/sync\r\n\r\n"),
        broken("no Host", "GET /v1/sync HTTP/1.1\r\n\r\n"),
        with("two Hosts", "Host: other"),
        with("two lengths", "Content-Length: 2\r\nContent-Length: 50"),
        with("a length and chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked"),
        with("two encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("an unknown encoding", "Transfer-Encoding: xchunked"),
        with("a length below zero", "Content-Length: -1"),
        with("a length beyond 64 bits", "Content-Length: 99999999999999999999999"),
        with("a space before the colon", "Content-Length : 2"),
        with("NUL in a header", "X-Odd: a\0b"),
        broken("NUL in the path", "GET /v1/\0sync HTTP/1.1\r\nHost: test\r\n\r\n"),
        broken("a path that is no text", b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: test\r\n\r\n".as_slice()),
    ];
    all.into_iter().chain(heads()).chain(paths(world)).collect()
}
