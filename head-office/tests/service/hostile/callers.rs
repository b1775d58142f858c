//! Callers without, with foreign and with too many credentials.

use serde_json::json;
use service_kit::server::Role;
use wire::Code;

use crate::hostile::world::{Case, JSON, Side, World, request};
use crate::support::{facts, token_of};

fn as_is(name: &'static str, header: &str, says: &str) -> Case {
    Case::new(name, Side::People, request(None, "GET /v1/branches", &[header], ""), Code::Unauthenticated, says)
}

pub fn cases(world: &World) -> Vec<Case> {
    let admin = token_of(Role::Admin);
    let (long, endless) = ("x".repeat(100_000), "x".repeat(1 << 20));
    let two = [&*format!("Authorization: Bearer {admin}"), "Authorization: Bearer other"];
    let enrol = |name, token: &str, code, says: &str| {
        let body = json!({ "join_token": token, "certificate_request": world.request }).to_string();
        Case::new(name, Side::Machines, request(None, "POST /v1/enrol", &[JSON], body), code, says)
    };
    let terminal = json!({ "join_token": world.expired, "certificate_request": world.request,
        "terminal": facts("till-9", "k1") });
    let certified = |name, request: &str, says: &str| {
        let body = json!({ "join_token": world.expired, "certificate_request": request }).to_string();
        let request = crate::hostile::world::request(None, "POST /v1/enrol", &[JSON], body);
        Case::new(name, Side::Machines, request, Code::CertificateRequest, says)
    };
    // Its last letters are the end of the signature.
    let spoiled = {
        let at = world.request.trim_end().rfind("\n-----END").unwrap() - 12;
        let other = if &world.request[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &world.request[..at], &world.request[at + 1..])
    };
    let forged = world.request.replace("REQUEST", "CERTIFICATE");
    let at_machines = |name, token: &str, says: &str| {
        let request = request(Some(token), "GET /v1/sync", &[], "");
        Case::new(name, Side::Machines, request, Code::Unauthenticated, says)
    };
    vec![
        Case::new(
            "no token",
            Side::People,
            request(None, "GET /v1/branches", &[], ""),
            Code::Unauthenticated,
            "carries no token",
        ),
        as_is("garbage", "Authorization: Bearer \\x00\\x01", "The token is not valid"),
        as_is("another scheme", "Authorization: Basic YWRtaW46YWRtaW4=", "not a bearer token"),
        as_is("an empty token", "Authorization: Bearer ", "not a bearer token"),
        as_is("letters that are none", "Authorization: Bearer жетон", "not a bearer token"),
        as_is("a token of 100 kB", &format!("Authorization: Bearer {long}"), "not a bearer token"),
        Case::new(
            "a token of 1 MB",
            Side::People,
            request(Some(&endless), "GET /v1/branches", &[], ""),
            Code::HeaderTooLarge,
            "128 KiB",
        ),
        Case::new(
            "two tokens",
            Side::People,
            request(None, "GET /v1/branches", &two, ""),
            Code::Unauthenticated,
            "more than one",
        ),
        Case::new(
            "a branch among people",
            Side::People,
            request(Some(&world.used), "GET /v1/branches", &[], ""),
            Code::Unauthenticated,
            "The token is not valid",
        ),
        at_machines("an administrator among machines", admin, "none was presented"),
        at_machines("a join token as a bearer token", &world.used, "none was presented"),
        world.people(
            "a viewer who adds a branch",
            Role::Viewer,
            "POST /v1/branches",
            &[JSON],
            "{\"name\":\"west\"}",
            Code::Forbidden,
            "the role admin, the caller has viewer",
        ),
        world.people(
            "an operator who uploads",
            Role::Operator,
            "POST /v1/uploads",
            &["Tus-Resumable: 1.0.0", "Upload-Length: 10"],
            "",
            Code::Forbidden,
            "release-manager",
        ),
        enrol("a join token used twice", &world.used, Code::JoinUsed, "was used on 2030-"),
        enrol("a join token too late", &world.expired, Code::JoinExpired, "expired on"),
        enrol("an administrator's token as a join token", admin, Code::JoinRefused, "not valid"),
        certified("no request", "", "not a certificate request"),
        certified("a request under another name", &forged, "not a certificate request"),
        certified("a request of 10 kB", &"x".repeat(10_000), "not a certificate request"),
        certified("a request that its key did not sign", &spoiled, "certificate request is invalid"),
        Case::new(
            "a key that never enrolled",
            Side::Machines,
            request(None, "POST /v1/enrol", &[JSON], json!({ "certificate_request": world.request }).to_string()),
            Code::JoinRefused,
            "No branch server has enrolled with this key",
        ),
        enrol("a join token of 10 kB", &"x".repeat(10_000), Code::JoinRefused, "not valid"),
        enrol("a join token of 900 kB", &"x".repeat(900_000), Code::TooLarge, "16384"),
        Case::new(
            "a terminal at head office",
            Side::Machines,
            request(None, "POST /v1/enrol", &[JSON], terminal.to_string()),
            Code::BadField,
            "terminal",
        ),
    ]
}
