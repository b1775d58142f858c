//! Log-ins, tokens, operators and the audit.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use wire::v1::audit::{Entry, Head, NOTHING_BEFORE};

use super::fake::{Fake, ID};
use super::kit::{code, filial, in_a_terminal, put, stderr, stdout};

const PASSWORD: &str = "correct horse battery staple";
const TOKEN: &str = "filial-0123456789abcdef";

fn made() -> Value {
    json!({ "token": TOKEN, "kept": { "id": ID, "operator": "ann", "name": "filial login", "role": "operator",
        "made": "2031-05-06T07:08:09Z", "expires": "2031-05-07T07:08:09Z" } })
}

fn office() -> Fake {
    let session = json!({ "set_cookie": "__Host-x=s3ss; Path=/; Secure", "name": "ann", "role": "operator",
        "csrf_token": "c5rf", "expires": "2031-05-06T19:08:09Z" });
    Fake::answering(&[
        ("POST /v1/session", 200, session),
        ("POST /v1/tokens", 201, made()),
        ("DELETE /v1/session", 204, Value::Null),
        ("GET /v1/branches", 200, json!([])),
    ])
}

#[test]
fn a_log_in_keeps_a_token_and_a_log_out_revokes_it() {
    let (office, dir) = (office(), tempfile::tempdir().unwrap());
    put(&dir.path().join("password"), format!("{PASSWORD}\n").as_bytes());
    let at = |args: &[&str]| filial(dir.path(), &[&["--server", &office.url], args].concat());
    let output = at(&["login", "ann", "--password-file", "password"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("Logged in as ann (operator) until 2031-05-07"), "{}", stdout(&output));
    {
        let state = office.state.lock().unwrap();
        assert_eq!(state.requests, ["POST /v1/session", "POST /v1/tokens", "DELETE /v1/session"]);
        for headers in &state.seen[1..] {
            assert_eq!(headers["cookie"], "__Host-x=s3ss");
            assert_eq!((headers["x-filial-csrf"].as_str(), &headers["origin"]), ("c5rf", &office.url));
        }
    }
    let file = dir.path().join("config/filial/credentials.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(TOKEN) && !kept.contains(PASSWORD) && !kept.contains("s3ss"), "{kept}");

    assert_eq!(code(&at(&["branch", "list"])), 0);
    let bearer = || office.state.lock().unwrap().headers.get("authorization").cloned();
    assert_eq!(bearer().as_deref(), Some(&*format!("Bearer {TOKEN}")));
    // Another server gets nothing of it, and a token file wins.
    let other = Fake::answering(&[("GET /v1/branches", 200, json!([]))]);
    assert_eq!(code(&filial(dir.path(), &["--server", &other.url, "branch", "list"])), 0);
    assert_eq!(other.state.lock().unwrap().headers.get("authorization"), None);
    put(&dir.path().join("mine"), b"m1ne");
    assert_eq!(code(&at(&["--token-file", "mine", "branch", "list"])), 0);
    assert_eq!(bearer().as_deref(), Some("Bearer m1ne"));

    let output = at(&["logout", "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(bearer().as_deref(), Some(&*format!("Bearer {TOKEN}")));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(TOKEN));
    let again = at(&["logout"]);
    assert!(code(&again) == 1 && stderr(&again).contains("You are not logged in"), "{}", stderr(&again));
}

#[test]
fn a_token_that_ends_early_says_why_and_at_needs_a_server() {
    let (office, dir) = (office(), tempfile::tempdir().unwrap());
    put(&dir.path().join("mine"), b"m1ne");
    let at = ["--server", &office.url, "--token-file", "mine"];
    let create = |days: &str| filial(dir.path(), &[&at[..], &["token", "create", "ci", "--days", days]].concat());
    let early = stdout(&create("30"));
    assert!(
        early.contains("valid until 2031-05-07 07:08 UTC, less than 30 days") && early.contains("--days 30`"),
        "{early}"
    );
    let asked = stdout(&create("1"));
    assert!(asked.contains("valid until 2031-05-07 07:08 UTC. It is not shown again"), "{asked}");
    let nowhere = filial(dir.path(), &["--at", "branch-1", "status"]);
    assert!(
        stderr(&nowhere).contains("--at branch-1 needs the address of that branch's server"),
        "{}",
        stderr(&nowhere)
    );
}

#[test]
fn a_password_is_asked_for_without_an_echo() {
    let (office, dir) = (office(), tempfile::tempdir().unwrap());
    // Typed only once it is asked for: what comes before is thrown away.
    let program = env!("CARGO_BIN_EXE_filial");
    let line = format!("{program} --server {} login ann", office.url);
    let output = super::kit::typed_in_a_terminal(dir.path(), &line, "Password of ann", &format!("{PASSWORD}\n"));
    assert!(output.contains("Logged in as ann"), "{output}");
    assert!(!output.contains(PASSWORD), "{output}");
    let requests = office.state.lock().unwrap().requests.clone();
    assert_eq!(requests, ["POST /v1/session", "POST /v1/tokens", "DELETE /v1/session"]);
}

#[test]
fn without_a_screen_the_file_is_named_as_the_way() {
    let (office, dir) = (office(), tempfile::tempdir().unwrap());
    let line = format!("setsid {} --server {} login ann", env!("CARGO_BIN_EXE_filial"), office.url);
    let output = in_a_terminal(dir.path(), &line);
    assert!(stdout(&output).contains("--password-file"), "{}", stdout(&output));
}

#[test]
fn a_refused_log_in_says_so_and_keeps_nothing() {
    let problem = wire::Problem::new(wire::Code::LoginRefused, "They do not belong together.", "Try again.");
    let office = Fake::answering(&[("POST /v1/session", 401, serde_json::to_value(problem).unwrap())]);
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("password"), PASSWORD.as_bytes());
    let output = filial(dir.path(), &["--server", &office.url, "login", "ann", "--password-file", "password"]);
    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    assert!(text.contains("code: login-refused") && !text.contains("--token-file"), "{text}");
    assert!(!dir.path().join("config").exists());
}

#[test]
fn tokens_and_operators_are_asked_for_where_they_are() {
    let operator = json!({ "name": "ann", "role": "admin", "service": false, "added": "2031-05-06T07:08:09Z",
        "added_by": "bootstrap" });
    let office = Fake::answering(&[
        ("POST /v1/tokens", 201, made()),
        ("GET /v1/tokens", 200, json!([made()["kept"]])),
        ("GET /v1/tokens?operator=ci", 200, json!([])),
        (&format!("DELETE /v1/tokens/{ID}"), 204, Value::Null),
        ("GET /v1/operators", 200, json!([operator])),
        ("POST /v1/operators", 201, operator.clone()),
        ("PATCH /v1/operators/ann", 200, operator.clone()),
        ("PUT /v1/operators/ann/password", 204, Value::Null),
        ("PUT /v1/password", 204, Value::Null),
    ]);
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("p"), PASSWORD.as_bytes());
    for (args, says, sent) in [
        (
            &["token", "create", "ci", "--role", "operator", "--scope", "uploads,releases"][..],
            TOKEN,
            json!({ "name": "ci", "role": "operator", "scope": ["uploads", "releases"] }),
        ),
        (&["token", "create", "ci", "--out", "t"], "is in t", json!({ "name": "ci", "role": "viewer" })),
        (&["token", "list"], "filial login", Value::Null),
        (&["token", "list", "--operator", "ci"], "No tokens.", Value::Null),
        (&["token", "revoke", ID], "is revoked", Value::Null),
        (&["operator", "list"], "bootstrap", Value::Null),
        (
            &["operator", "add", "ci", "--role", "viewer", "--service"],
            "role",
            json!({ "name": "ci", "role": "viewer" }),
        ),
        (
            &["operator", "add", "ben", "--role", "viewer", "--password-file", "p"],
            "role",
            json!({ "name": "ben", "role": "viewer", "password": PASSWORD }),
        ),
        (
            &["operator", "role", "ann", "viewer"],
            "ann is a person with role admin, enabled.",
            json!({ "role": "viewer" }),
        ),
        (&["operator", "disable", "ann", "--reason", "left"], "ann is", json!({ "disabled": true, "reason": "left" })),
        (&["operator", "enable", "ann"], "ann is", json!({ "disabled": false })),
        (&["operator", "password", "ann", "--password-file", "p"], "ann's password", json!({ "new": PASSWORD })),
        (
            &["operator", "password", "--password-file", "p", "--current-file", "p"],
            "Your password",
            json!({ "current": PASSWORD, "new": PASSWORD }),
        ),
    ] {
        let output = filial(dir.path(), &[&["--server", &office.url], args].concat());
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(says), "{args:?}: {}", stdout(&output));
        if !sent.is_null() {
            let body: Value = serde_json::from_str(&office.state.lock().unwrap().body).unwrap();
            assert_eq!(body, sent, "{args:?}");
        }
        if args.contains(&"--out") {
            std::fs::remove_file(dir.path().join("t")).unwrap();
        }
        super::kit::json(dir.path(), &[&["--server", &office.url, "--json"], args].concat());
    }
    assert_eq!(std::fs::metadata(dir.path().join("t")).unwrap().permissions().mode() & 0o777, 0o600);
    // The earlier token would stay valid with its secret lost: the server is not even asked.
    let asked = office.state.lock().unwrap().requests.len();
    let output = filial(dir.path(), &["--server", &office.url, "token", "create", "ci", "--out", "t"]);
    assert!(code(&output) == 1 && stderr(&output).contains("t exists already"), "{}", stderr(&output));
    assert_eq!(office.state.lock().unwrap().requests.len(), asked);
    assert_eq!(std::fs::read_to_string(dir.path().join("t")).unwrap(), format!("{TOKEN}\n"));
}

/// A chain of so many rows.
fn chain(n: u64) -> Vec<Entry> {
    let mut previous = NOTHING_BEFORE;
    let row = |seq| {
        let mut entry: Entry = serde_json::from_value(json!({
            "seq": seq, "at": "2031-05-06T07:08:09Z", "who": "ann", "via": "console", "action": "POST /v1/branches",
            "subject": format!("branch b{seq}"), "previous": previous, "hash": NOTHING_BEFORE,
        }))
        .unwrap();
        entry.hash = entry.compute();
        previous = entry.hash;
        entry
    };
    (1..=n).map(row).collect()
}

fn head(rows: &[Entry]) -> Value {
    let last = rows.last().unwrap();
    json!(Head { seq: last.seq, hash: last.hash })
}

fn audit(rows: &[Entry], anchor: &Value) -> Fake {
    let (first, rest) = rows.split_at(2);
    Fake::answering(&[
        ("GET /v1/audit/head", 200, json!({ "head": head(rows), "anchor": anchor })),
        ("GET /v1/audit?after=0&limit=500", 200, json!({ "entries": first, "next": 2 })),
        ("GET /v1/audit?after=2&limit=500", 200, json!({ "entries": rest })),
        ("GET /v1/audit?limit=2", 200, json!({ "entries": first, "next": 1 })),
    ])
}

#[test]
fn the_audit_is_listed_exported_and_checked_there_and_here() {
    let (rows, dir) = (chain(5), tempfile::tempdir().unwrap());
    let office = audit(&rows, &head(&rows[..4]));
    let at = |args: &[&str]| filial(dir.path(), &[&["--server", &office.url, "audit"], args].concat());
    let listed = stdout(&at(&["list", "--limit", "2"]));
    assert!(listed.contains("--before 1") && listed.contains("add branch") && !listed.contains("/v1/"), "{listed}");
    assert!(stdout(&at(&["verify"])).contains("is intact: 5 entries"));
    assert!(stdout(&at(&["export", "--out", "a.jsonl"])).contains("5 entries written to a.jsonl"));
    let exported = std::fs::read_to_string(dir.path().join("a.jsonl")).unwrap();
    assert_eq!(exported, stdout(&at(&["export"])));
    put(&dir.path().join("anchor"), head(&rows).to_string().as_bytes());
    let here = |args: &[&str]| filial(dir.path(), &[&["audit", "verify", "--file"], args].concat());
    assert_eq!(code(&here(&["a.jsonl", "--anchor", "anchor"])), 0);
    assert!(stdout(&here(&["a.jsonl"])).contains("cut off at the end would not be noticed"));

    let lines: Vec<&str> = exported.lines().collect();
    for (name, lines, says) in [
        ("changed", lines.iter().map(|l| l.replace("branch b3", "branch x")).collect::<Vec<_>>(), "Row 3 was changed"),
        ("removed", [&lines[..2], &lines[3..]].concat().iter().map(|l| (*l).to_owned()).collect(), "row was removed"),
        ("reordered", [lines[0], lines[2], lines[1], lines[3], lines[4]].map(str::to_owned).into(), "reordered"),
        ("truncated", lines[..3].iter().map(|l| (*l).to_owned()).collect(), "the end was cut off"),
        ("torn", vec![lines[0].to_owned(), lines[1][..40].to_owned()], "Line 2 of torn is not an entry"),
    ] {
        put(&dir.path().join(name), lines.join("\n").as_bytes());
        let output = here(&[name, "--anchor", "anchor"]);
        assert!(code(&output) == 1 && stderr(&output).contains(says), "{name}: {}", stderr(&output));
    }
    // Head office itself shows fewer rows than its anchor knows.
    let cut = audit(&rows[..3], &head(&rows));
    let output = filial(dir.path(), &["--server", &cut.url, "audit", "verify", "--json"]);
    let error: Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert!(code(&output) == 1 && error["error"].as_str().unwrap().contains("cut off"), "{error}");
}
