//! Who asks: nobody, somebody else, too much of somebody.

use serde_json::json;
use service_kit::server::Role;
use wire::Code;

use crate::support::{facts, token_of};
use crate::world::{Case, JSON, Side, World, request};

fn as_is(name: &'static str, header: &str, says: &str) -> Case {
    Case::new(name, Side::People, request(None, "GET /v1/branches", &[header], ""), Code::Unauthenticated, says)
}

pub fn cases(world: &World) -> Vec<Case> {
    let admin = token_of(Role::Admin);
    let (long, endless) = ("x".repeat(100_000), "x".repeat(1 << 20));
    let two = [&*format!("Authorization: Bearer {admin}"), "Authorization: Bearer other"];
    let enrol = |name, token: &str, code, says: &str| {
        let body = json!({ "join_token": token }).to_string();
        Case::new(name, Side::Machines, request(None, "POST /v1/enrol", &[JSON], body), code, says)
    };
    let terminal = json!({ "join_token": world.expired, "terminal": facts("till-9", "k1") }).to_string();
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
        as_is("garbage", "Authorization: Bearer \\x00\\x01", "Nobody was given"),
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
            request(Some(&world.north), "GET /v1/branches", &[], ""),
            Code::Unauthenticated,
            "Nobody was given",
        ),
        at_machines("an administrator among machines", admin, "Nobody was given"),
        at_machines("a join token as a bearer token", &world.used, "Nobody was given"),
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
        enrol("a join token used twice", &world.used, Code::JoinRefused, "was used"),
        enrol("a join token too late", &world.expired, Code::JoinRefused, "has expired"),
        enrol("a bearer token as a join token", &world.east, Code::JoinRefused, "unknown"),
        enrol("a join token of 900 kB", &"x".repeat(900_000), Code::JoinRefused, "unknown"),
        Case::new(
            "a terminal at head office",
            Side::Machines,
            request(None, "POST /v1/enrol", &[JSON], terminal),
            Code::BadField,
            "terminal",
        ),
    ]
}
