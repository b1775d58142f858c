//! The program's first admin, and what its log may never hold.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use service_kit::Secret;
use service_kit::client::JsonClient;

use crate::support::daemons::Daemons;
use crate::support::empty_database;
use crate::support::people::{COOKIE, PASSWORD, set_cookie};
use crate::support::program::Program;
use crate::support::tls::try_enrol;

const NEW: &str = "another horse another battery";
const WRONG: &str = "this is mistyped entirely";

fn bootstrap(program: &Program, arguments: &[&str], stdin: &str) -> Output {
    command(program, "bootstrap", arguments, stdin)
}

fn command(program: &Program, subcommand: &str, arguments: &[&str], stdin: &str) -> Output {
    let config = program.dir.path().join("config.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_head-office"));
    command.arg("--config").arg(config).arg(subcommand).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn log_in(anybody: &JsonClient, name: &str, password: &str) -> reqwest::Response {
    let request = anybody.request(Method::POST, "/v1/session");
    request.json(&json!({ "name": name, "password": password })).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_first_admin_and_no_default_password() {
    let (database, daemons) = (empty_database().await, Daemons::start());
    let program = Program::new(&database.url(), &daemons);
    let token_file = program.dir.path().join("token");
    let token = token_file.to_str().unwrap();
    for (arguments, stdin, says) in [
        (&["--name", "ann"][..], "", "needs a way to log in"),
        (&["--name", "ann", "--password-file", "-"], "short\n", "at least 12 characters"),
        (&["--name", "ann", "--password-file", "-"], "", "empty"),
        (&["--name", "Ann!", "--password-file", "-"], PASSWORD, "operator name"),
        (&["--name", "ann", "--password", PASSWORD], "", "--password"),
    ] {
        let output = bootstrap(&program, arguments, stdin);
        assert!(!output.status.success() && said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
    let first = bootstrap(&program, &["--name", "ann", "--password-file", "-", "--token-file", token], PASSWORD);
    assert!(first.status.success(), "{}", said(&first));
    assert!(!String::from_utf8_lossy(&first.stdout).contains(PASSWORD));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&token_file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(&token_file).unwrap();
    // A second one is refused, and harms neither the first nor its token.
    let second = bootstrap(&program, &["--name", "eve", "--token-file", token], "");
    assert!(!second.status.success() && said(&second).contains("exists already"), "{}", said(&second));
    let other = program.dir.path().join("other");
    let second = bootstrap(&program, &["--name", "eve", "--token-file", other.to_str().unwrap()], "");
    assert!(!second.status.success() && said(&second).contains("ann is an admin already"), "{}", said(&second));
    assert!(!other.exists());
    assert_eq!(std::fs::read_to_string(&token_file).unwrap(), kept);

    let mut program = program;
    program.launch();
    program.wait_until_it_answers().await;
    let anybody = program.stranger();
    assert_eq!(log_in(&anybody, "ann", PASSWORD).await.status(), 200);
    let admin = anybody.with_token(Secret::new(kept.trim()));
    let audit: Value = admin.get("/v1/audit?after=0").await.unwrap();
    assert_eq!((&audit["entries"][0]["who"], &audit["entries"][0]["via"]), (&json!("bootstrap"), &json!("console")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_whom_nobody_can_let_in_comes_back_and_what_was_lost_opens_nothing() {
    let (database, daemons) = (empty_database().await, Daemons::start());
    let mut program = Program::new(&database.url(), &daemons);
    let token_file = program.dir.path().join("token");
    let token = token_file.to_str().unwrap();
    let first = bootstrap(&program, &["--name", "ann", "--password-file", "-", "--token-file", token], PASSWORD);
    assert!(first.status.success(), "{}", said(&first));
    program.launch();
    program.wait_until_it_answers().await;
    let anybody = program.stranger();
    let admin = anybody.with_token(Secret::new(std::fs::read_to_string(&token_file).unwrap().trim()));
    let session = set_cookie(&log_in(&anybody, "ann", PASSWORD).await).0;
    let status = async |session: &str| {
        let request = anybody.request(Method::GET, "/v1/status").header("Cookie", format!("{COOKIE}={session}"));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&session).await, 200);
    let lab = json!({ "name": "lab", "role": "admin" });
    let _: Value = admin.post("/v1/operators", &lab).await.unwrap();
    for (arguments, stdin, says) in [
        (&["eve", "--password-file", "-"][..], NEW, "enabled admins: ann"),
        (&["lab", "--password-file", "-"], NEW, "lab is a service and has no password"),
        (&["ann", "--password-file", "-"], "short\n", "at least 12 characters"),
        (&["ann"], NEW, "--password-file"),
    ] {
        let output = command(&program, "recover", arguments, stdin);
        assert!(!output.status.success() && said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(status(&session).await, 200, "what was refused changed nothing");
    let done = command(&program, "recover", &["ann", "--password-file", "-"], NEW);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "ann has a new password. Sessions ended: 1; tokens revoked: 1."
    );
    assert_eq!(status(&session).await, 401);
    assert!(admin.get::<Value>("/v1/status").await.is_err());
    assert_eq!(log_in(&anybody, "ann", PASSWORD).await.status(), 401);
    assert_eq!(log_in(&anybody, "ann", NEW).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_however_much_is_logged() {
    let (database, daemons) = (empty_database().await, Daemons::start());
    let mut program = Program::new(&database.url(), &daemons);
    let config = program.dir.path().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap() + "\n[telemetry]\nfilter = \"trace\"\n";
    std::fs::write(&config, text).unwrap();
    let file = program.dir.path().join("token");
    let made = bootstrap(
        &program,
        &["--name", "ann", "--password-file", "-", "--token-file", file.to_str().unwrap()],
        PASSWORD,
    );
    program.launch();
    program.wait_until_it_answers().await;
    let anybody = program.stranger();
    let first = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let admin = anybody.with_token(Secret::new(first.clone()));
    assert_eq!(log_in(&anybody, "ann", WRONG).await.status(), 401);
    assert_eq!(log_in(&anybody, PASSWORD, "the fields were mistaken").await.status(), 401);
    let response = log_in(&anybody, "ann", PASSWORD).await;
    let cookie = set_cookie(&response).0;
    let csrf = response.json::<Value>().await.unwrap()["csrf_token"].as_str().unwrap().to_owned();
    let request = anybody.request(Method::PUT, "/v1/password").header("Cookie", format!("{COOKIE}={cookie}"));
    let request = request.header("Origin", anybody.base_url()).header("X-Filial-Csrf", &csrf);
    let changed = request.json(&json!({ "current": PASSWORD, "new": NEW })).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    let token: Value = admin.post("/v1/tokens", &json!({ "name": "t", "role": "viewer" })).await.unwrap();
    let token = token["token"].as_str().unwrap().to_owned();
    let with_it = anybody.with_token(Secret::new(token.clone()));
    assert_eq!(with_it.request(Method::GET, "/v1/status").send().await.unwrap().status(), 200);
    let operator = json!({ "name": "ben", "role": "viewer", "password": NEW });
    admin.post::<_, Value>("/v1/operators", &operator).await.unwrap();
    let branch: Value = admin.post("/v1/branches", &json!({ "name": "north" })).await.unwrap();
    let join = branch["join_token"].as_str().unwrap().to_owned();
    try_enrol(&program.machines, Some(&join), &test_kit::BranchKey::generate().unwrap()).await.unwrap();
    let key = std::fs::read_to_string(program.dir.path().join("state/tls/authority-key.pem")).unwrap();
    let key = key.lines().nth(1).unwrap().to_owned();

    let log = program.log() + &said(&made) + &String::from_utf8_lossy(&made.stdout);
    assert!(log.contains("logged in") && log.contains("a log-in was refused") && log.contains("branch enrolled"));
    assert!(log.contains("DEBUG"), "as much is logged as can be");
    let secrets =
        [PASSWORD, NEW, WRONG, "the fields were mistaken", &first, &cookie, &csrf, &token, &join, &key, "$argon2id"];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
