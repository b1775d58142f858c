//! Questions to head office, and what becomes of its refusals and its silence.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::fake::{Fake, ID};
use super::kit::{code, command, filial, json as run_json, stderr, stdout};

fn terminal(state: &str, segments: u64) -> Value {
    json!({
        "branch": "north", "name": "till-1", "model": "kiosk-x86-64", "slot_bytes": 1_048_576,
        "agent_version": "0.1.0", "slot": "A", "version": "2.3.0", "last_heard": "2031-05-06T07:08:00Z",
        "update": { "serial": 5, "product": "kiosk", "version": "2.4.0", "state": state, "segments_done": segments,
            "segments_total": 75, "since": "2031-05-06T07:08:00Z",
            "history": [{ "from": null, "to": "assigned", "at": "2031-05-06T07:07:00Z" }] },
        "packages": [{ "product": "tools", "version": "1.4.0", "name": "fonts", "payload": "00".repeat(32),
            "have_bytes": 1_048_576, "total_bytes": 3_145_728, "complete": false, "since": "2031-05-06T07:08:00Z",
            "trouble": { "code": "data-full", "text": "make room" } }],
    })
}

fn status(segments: u64) -> Value {
    json!({ "now": "2031-05-06T07:08:09Z", "releases": [], "branches": [], "terminals": [terminal("fetching", segments)] })
}

fn release() -> Value {
    json!({
        "id": ID, "product": "kiosk", "version": "2.4.0", "state": "published", "file_name": "k.upd",
        "archive_bytes": 5_242_880, "received_bytes": 5_242_880, "manifest": null, "report": null, "payloads": [],
        "created": "2031-05-06T07:00:00Z", "changed": "2031-05-06T07:08:00Z",
    })
}

#[test]
fn an_unreachable_server_exits_3_and_is_named_with_the_remedy() {
    let dir = super::kit::packed();
    // A port that was free a moment ago.
    let url = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for args in [
        &["branch", "list"][..],
        &["status"],
        &["release", "upload", "kiosk-2.4.0.upd"],
        &["assign", "north", "kiosk", "2.4.0"],
    ] {
        let output = filial(dir.path(), &[&["--server", &url], args].concat());
        assert_eq!(code(&output), 3, "{args:?}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(text.contains(&format!("{url} does not answer")), "{text}");
        assert!(text.contains("--server or FILIAL_SERVER"), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
    }
    let output = command(dir.path(), &["branch", "list", "--json"]).env("FILIAL_SERVER", &url).output().unwrap();
    let error: Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(error["error"], format!("{url} does not answer"));
}

#[test]
fn a_refusal_is_a_sentence_a_remedy_and_a_code() {
    let problem = json!({
        "type": "urn:filial:not-published", "title": "Release not published", "status": 409,
        "code": "not-published", "detail": "kiosk 2.4.0 is being validated.", "remedy": "Wait until it is published.",
    });
    let office = Fake::answering(&[("POST /v1/assignments", 409, problem)]);
    let dir = tempfile::tempdir().unwrap();
    let output = filial(dir.path(), &["--server", &office.url, "assign", "north", "kiosk", "2.4.0", "--downgrade"]);
    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    for part in ["filial: kiosk 2.4.0 is being validated.", "to do: Wait until", "code: not-published"] {
        assert!(text.contains(part), "{text}");
    }
    let sent: Value = serde_json::from_str(&office.state.lock().unwrap().body).unwrap();
    assert_eq!(sent, json!({ "branch": "north", "product": "kiosk", "version": "2.4.0", "downgrade": true }));
}

#[test]
fn the_last_lines_of_a_failed_boot_are_shown_and_move_no_cursor() {
    let mut rolled_back = terminal("rolled-back", 75);
    let boot = "7d6f0c55-41a8-4f0e-8f6a-90a1b2c3d4e5";
    rolled_back["update"]["evidence"] = json!({ "slot": "B", "tried": 2, "boot_id": boot, "source": "journal",
        "lines": ["[    4.1] systemd[1]: Mounting data", "[    9.8] systemd[1]: Failed"], "proof": "00".repeat(64) });
    let mut unknown = rolled_back.clone();
    unknown["update"]["evidence"] = json!({ "slot": "B", "tried": 0, "note": "no log of the failed boot was kept: x" });
    let mut hostile = rolled_back.clone();
    hostile["update"]["evidence"]["lines"] = json!(["\u{1b}[2Jcleared"]);
    let shown = |terminal: &Value, more: &[&str]| {
        let office = Fake::answering(&[("GET /v1/terminals/north/till-1", 200, terminal.clone())]);
        let dir = tempfile::tempdir().unwrap();
        filial(dir.path(), &[&["--server", &office.url, "terminal", "show", "north/till-1"], more].concat())
    };
    let text = stdout(&shown(&rolled_back, &[]));
    let expected = "last lines of the failed boot (boot 7d6f0c55-41a8-4f0e-8f6a-90a1b2c3d4e5, slot B, tried 2 times, from the \
                    journal):\n  [    4.1] systemd[1]: Mounting data\n  [    9.8] systemd[1]: Failed\n";
    assert!(text.ends_with(expected), "{text}");
    let output: Value = serde_json::from_str(&stdout(&shown(&rolled_back, &["--json"]))).unwrap();
    assert_eq!(output["update"]["evidence"], rolled_back["update"]["evidence"]);
    let text = stdout(&shown(&unknown, &[]));
    let expected = "(boot id unknown, slot B, never seen trying):\n  (no log of the failed boot was kept: x)\n";
    assert!(text.ends_with(expected), "{text}");
    let output = shown(&hostile, &[]);
    assert_ne!(code(&output), 0, "a server that sends such a thing is not believed");
    assert!(!stdout(&output).contains('\u{1b}') && !stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
}

#[test]
fn lists_and_single_things_are_asked_for_where_they_are() {
    let branch = json!({
        "name": "north", "enrolled": true, "last_heard": null, "plan_serial": 5, "assignments": [],
        "artifacts": [], "terminals": 3, "confirmed": 1,
    });
    let mut uploading = release();
    uploading["state"] = json!("uploading");
    uploading["archive_bytes"] = json!(5_000);
    (uploading["product"], uploading["version"]) = (Value::Null, Value::Null);
    let office = Fake::answering(&[
        ("GET /v1/branches", 200, json!([branch])),
        ("GET /v1/branches/north", 200, branch.clone()),
        ("GET /v1/terminals?branch=north", 200, json!([terminal("confirmed", 75)])),
        ("GET /v1/terminals/north/till-1", 200, terminal("confirmed", 75)),
        ("GET /v1/releases", 200, json!([release(), uploading])),
        ("GET /v1/releases?product=kiosk&version=2.4.0", 200, json!([release()])),
        ("GET /v1/releases?product=kiosk&version=9.9.9", 200, json!([])),
        (&format!("GET /v1/releases/{ID}"), 200, release()),
        (&format!("POST /v1/releases/{ID}/approve"), 200, release()),
        (&format!("POST /v1/releases/{ID}/withdraw"), 200, json!({ "release": release(), "branches": 2 })),
        ("DELETE /v1/branches/north?force=true", 200, json!({ "name": "north", "terminals": 3 })),
        ("DELETE /v1/terminals/north/till-1?force=true", 200, json!({ "branch": "north", "name": "till-1" })),
        ("DELETE /v1/assignments/north/kiosk", 200, json!({ "branch": "north", "serial": 7, "terminals": [] })),
        ("POST /v1/assignments", 200, json!({ "branch": "north", "serial": 6, "terminals": ["till-1"] })),
    ]);
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["branch", "list"][..], "1 of 3"),
        (&["branch", "show", "north"], "3, 1 confirmed"),
        (&["terminal", "list", "--branch", "north"], "2.4.0 confirmed"),
        (&["terminal", "show", "north/till-1"], "75 of 75"),
        (&["terminal", "show", "north/till-1"], "1.0 of 3.0 MiB"),
        (&["terminal", "show", "north/till-1"], "make room"),
        (&["release", "list"], "5.0 MiB"),
        (&["release", "list"], "k.upd    -        uploading  4.9 KiB"),
        (&["release", "show", "kiosk/2.4.0"], "published"),
        (&["release", "show", ID], "kiosk 2.4.0"),
        (&["release", "approve", "kiosk/2.4.0", "--reason", "Agreed."], "kiosk 2.4.0 is published"),
        (&["release", "withdraw", "kiosk/2.4.0", "--reason", "Bad."], "2 branches have a new plan without it"),
        (&["branch", "remove", "north", "--force"], "north and its 3 terminals are removed"),
        (&["terminal", "remove", "north/till-1", "--force"], "Terminal north/till-1 is removed"),
        (&["unassign", "north", "kiosk"], "kiosk is no longer assigned to branch north: plan 7"),
        (&["assign", "north", "kiosk", "2.4.0"], "kiosk 2.4.0 is assigned to branch north: plan 6, terminals: till-1"),
    ] {
        let output = filial(dir.path(), &[&["--server", &office.url], args].concat());
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(says), "{args:?}: {}", stdout(&output));
        run_json(dir.path(), &[&["--server", &office.url, "--json"], args].concat());
    }
    let output = filial(dir.path(), &["--server", &office.url, "release", "show", "kiosk/9.9.9"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("There is no release kiosk/9.9.9"), "{}", stderr(&output));
}

#[test]
fn a_join_token_goes_where_it_is_wanted() {
    use std::os::unix::fs::PermissionsExt as _;
    let added = json!({ "name": "north", "join_token": "j0in", "join_token_expires": "2031-05-06T07:08:09Z" });
    let office = Fake::answering(&[("POST /v1/branches", 201, added)]);
    let dir = tempfile::tempdir().unwrap();
    let shown = filial(dir.path(), &["--server", &office.url, "branch", "add", "north"]);
    let next = stdout(&shown);
    for part in ["j0in", "until 2031-05-06 07:08 UTC", "`head_office.join_token_file`"] {
        assert!(next.contains(part), "{next}");
    }
    let kept =
        filial(dir.path(), &["--server", &office.url, "branch", "add", "north", "--join-token-file", "north.join"]);
    assert_eq!(code(&kept), 0, "{}", stderr(&kept));
    assert!(stdout(&kept).contains("until 2031-05-06 07:08 UTC") && stdout(&kept).contains("join_token_file"));
    assert!(!stdout(&kept).contains("j0in") && !stderr(&kept).contains("j0in"));
    let file = dir.path().join("north.join");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "j0in\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = office.state.lock().unwrap().requests.len();
    let again =
        filial(dir.path(), &["--server", &office.url, "branch", "add", "south", "--join-token-file", "north.join"]);
    assert!(code(&again) == 1 && stderr(&again).contains("north.join exists already"), "{}", stderr(&again));
    assert_eq!(office.state.lock().unwrap().requests.len(), asked, "refused before the server is asked");
}

#[test]
fn watching_as_json_tells_each_change_on_a_line() {
    let answers =
        [("GET /v1/status", 200, status(1)), ("GET /v1/status", 200, status(1)), ("GET /v1/status", 200, status(2))];
    let office = Fake::answering(&answers);
    let dir = tempfile::tempdir().unwrap();
    let args = ["--server", &office.url, "--json", "status", "--watch", "--interval", "0.1"];
    let mut child = command(dir.path(), &args).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<Value> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .take(2)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    // The pipe is closed now: the program notices at its next line, or is ended here.
    child.kill().unwrap();
    child.wait().unwrap();
    let segments: Vec<_> = lines.iter().map(|l| l["terminal"]["update"]["segments_done"].as_u64()).collect();
    assert_eq!(segments, [Some(1), Some(2)]);
    assert_eq!(lines[0]["name"], "north/till-1");
}

#[test]
fn watching_without_a_screen_tells_a_lost_server_once_and_keeps_the_picture() {
    let picture = |segments| ("GET /v1/status", 200, status(segments));
    let lost = || ("GET /v1/status", 0, Value::Null);
    let office = Fake::answering(&[lost(), lost(), lost(), picture(1), lost(), lost(), lost(), picture(2)]);
    let dir = tempfile::tempdir().unwrap();
    let args = ["--server", &office.url, "status", "--watch", "--interval", "0.1"];
    let mut child = command(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let lost = format!("filial: {} does not answer; retrying", office.url);
    let again = "filial: the server answers again".to_owned();
    assert_eq!(told.by_ref().take(4).collect::<Vec<_>>(), [lost.clone(), again.clone(), lost, again]);
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(shown.any(|line| line.contains(" 1/75")) && shown.any(|line| line.contains(" 2/75")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_refused_token_is_named_by_its_file() {
    let problem = wire::Problem::new(wire::Code::Unauthenticated, "The token is not valid.", "Send another.");
    let office = Fake::answering(&[("GET /v1/branches", 401, serde_json::to_value(problem).unwrap())]);
    let dir = tempfile::tempdir().unwrap();
    super::kit::put(&dir.path().join("mine"), b"m1ne");
    let output = filial(dir.path(), &["--server", &office.url, "--token-file", "mine", "branch", "list"]);
    let text = stderr(&output);
    assert!(text.starts_with("filial: The token in mine was refused: The token is not valid.\n"), "{text}");
    assert!(code(&output) == 1 && text.contains("code: unauthenticated") && !text.contains("m1ne"), "{text}");
    let output = filial(dir.path(), &["--server", &office.url, "branch", "list"]);
    assert!(stderr(&output).starts_with("filial: The token is not valid.\n"), "{}", stderr(&output));
}

#[test]
fn an_address_that_leads_nowhere_is_answered_with_one_that_would() {
    let dir = tempfile::tempdir().unwrap();
    let output = filial(dir.path(), &["--server", "nonsense", "status"]);
    let text = stderr(&output);
    assert!(
        text.starts_with("filial: \"nonsense\" is not the address of a server\n") && text.contains(":7001"),
        "{text}"
    );
    let output = filial(dir.path(), &["--server", "nonsense", "--at", "north", "terminal", "list"]);
    assert!(
        stderr(&output).contains("the branch server's") && stderr(&output).contains(":7003"),
        "{}",
        stderr(&output)
    );
    // Never resolved (RFC 6761, 6.4).
    let authority = "ab".repeat(32);
    let args = ["--server", "https://office.invalid:7001", "--authority", &authority, "status"];
    let output = filial(dir.path(), &args);
    let text = stderr(&output);
    assert!(code(&output) == 3 && text.starts_with("filial: The name office.invalid cannot be resolved\n"), "{text}");
    assert!(text.contains("spelling of --server"), "{text}");
}

#[test]
fn one_look_is_a_picture() {
    let office = Fake::answering(&[("GET /v1/status", 200, status(30))]);
    let dir = tempfile::tempdir().unwrap();
    let output = filial(dir.path(), &["--server", &office.url, "status"]);
    let text = stdout(&output);
    assert!(text.contains("north/till-1") && text.contains("30/75") && !text.contains('\x1b'), "{text}");
}

#[test]
fn text_that_is_not_a_key_is_refused_before_the_server_is_asked() {
    let office = Fake::answering(&[]);
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["terminal", "accept-key", "north/till-1", "abc"][..],
        &["terminal", "allow", "till-1", "--at", "north", "--key", "abc"],
    ] {
        let output = filial(dir.path(), &[&["--server", &office.url], args].concat());
        let text = stderr(&output);
        assert!(code(&output) == 1 && text.contains("abc is not a key: a key is 64 hexadecimal digits\n"), "{text}");
    }
    assert!(office.state.lock().unwrap().requests.is_empty());
}

#[test]
fn a_version_of_several_releases_is_ambiguous_and_the_ids_are_named() {
    let other = "7f2c1a52-0000-4000-8000-000000000002";
    let (mut first, mut second) = (release(), release());
    (first["state"], second["state"], second["id"]) = (json!("rejected"), json!("rejected"), json!(other));
    let path = "GET /v1/releases?product=kiosk&version=2.4.0";
    let dir = tempfile::tempdir().unwrap();
    let show = |list: Value| {
        let office = Fake::answering(&[(path, 200, list), (&format!("GET /v1/releases/{ID}"), 200, release())]);
        filial(dir.path(), &["--server", &office.url, "release", "show", "kiosk/2.4.0"])
    };
    let output = show(json!([first, second]));
    let said = stderr(&output);
    assert_eq!(code(&output), 1, "{said}");
    assert!(said.contains(ID) && said.contains(other) && said.contains("one of these ids"), "{said}");
    // One that is published is what is meant.
    assert_eq!(code(&show(json!([second, release()]))), 0);
}
