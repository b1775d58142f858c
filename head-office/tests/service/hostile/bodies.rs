//! Bodies: too large, not what they say, not JSON, not the right JSON.

use service_kit::server::Role;
use wire::Code;

use crate::hostile::world::{Case, JSON, Side, World, request};
use crate::support::token_of;

const ASSIGN: &str = "POST /v1/assignments";

pub fn cases(world: &World) -> Vec<Case> {
    let post = |name, body: &str, code, says: &str| world.people(name, Role::Admin, ASSIGN, &[JSON], body, code, says);
    let add = |name, body: &str, code, says: &str| {
        world.people(name, Role::Admin, "POST /v1/branches", &[JSON], body, code, says)
    };
    let with = |headers: &[&str], body: &str| request(Some(token_of(Role::Admin)), ASSIGN, headers, body);
    let endless =
        with(&[JSON, "Transfer-Encoding: chunked"], "").then_endlessly(format!("ffff\r\n{}\r\n", " ".repeat(0xffff)));
    let case = |name, request, code, says: &str| Case::new(name, Side::People, request, code, says);
    let deep = "[".repeat(100_000);
    let numbers = format!("[{}0]", "0,".repeat(1_000_000));
    vec![
        case("100 MB, declared", with(&[JSON, "Content-Length: 100000000"], "{}"), Code::TooLarge, "1048576"),
        case("chunks without end", endless, Code::TooLarge, "1048576"),
        // At a route that reads its body at once: while a caller is being looked up, the HTTP library ends the connection at
        // such a chunk without a word.
        case(
            "chunks of no size",
            request(None, "POST /v1/session", &[JSON, "Transfer-Encoding: chunked"], "zz\r\n{}\r\n0\r\n\r\n"),
            Code::BadRequest,
            "did not arrive whole",
        ),
        case(
            "a form",
            with(&["Content-Type: application/x-www-form-urlencoded"], "branch=north"),
            Code::UnsupportedMediaType,
            "JSON",
        ),
        case("no media type", with(&[], "{}"), Code::UnsupportedMediaType, "JSON"),
        post("nothing", "", Code::NotJson, "EOF"),
        post("not JSON", "{\"branch\": north}", Code::NotJson, "line 1"),
        post("half of it", "{\"branch\": \"north\"", Code::NotJson, "EOF"),
        post("NaN", "{\"branch\": NaN}", Code::NotJson, "line 1"),
        post("not UTF-8", "\u{fffd}", Code::NotJson, "line 1"),
        post("deep", &deep, Code::BadField, "sequence"),
        post("a million numbers", &numbers, Code::TooLarge, "1048576"),
        post(
            "a key twice",
            "{\"branch\":\"north\",\"branch\":\"east\",\"product\":\"kiosk\",\"version\":\"1.0.0\"}",
            Code::BadField,
            "duplicate field `branch`",
        ),
        post(
            "an unknown field",
            "{\"branch\":\"north\",\"product\":\"kiosk\",\"version\":\"1.0.0\",\"force\":true}",
            Code::BadField,
            "force",
        ),
        post("a missing field", "{\"branch\":\"north\"}", Code::BadField, "product"),
        post(
            "no semver",
            "{\"branch\":\"north\",\"product\":\"kiosk\",\"version\":\"latest\"}",
            Code::BadField,
            "version",
        ),
        post(
            "a text for a yes",
            "{\"branch\":\"north\",\"product\":\"kiosk\",\"version\":\"1.0.0\",\"downgrade\":\"yes\"}",
            Code::BadField,
            "boolean",
        ),
        add("a number for a name", "{\"name\": 5}", Code::BadField, "string"),
        add("a path for a name", "{\"name\": \"../etc\"}", Code::BadField, "../etc"),
        add("a long name", &format!("{{\"name\": \"{}\"}}", "a".repeat(500_000)), Code::BadField, "1 to 32"),
        add("NUL in a name", "{\"name\": \"a\\u0000b\"}", Code::BadField, "branch name"),
        add("another alphabet", "{\"name\": \"север\"}", Code::BadField, "север"),
    ]
}
