//! Uploads: whole, dropped, resumed, followed.

use serde_json::{Value, json};

use super::fake::{Fake, ID, State};
use super::kit::{code, filial, in_a_terminal, json as run_json, packed, put, stderr, stdout};

fn release(state: &str, report: bool) -> Value {
    let rejected = state == "rejected";
    let findings = json!({ "findings": [
        { "id": "digests", "verdict": if rejected { "fail" } else { "pass" }, "cause": "Because.",
          "remedy": if rejected { "Pack again." } else { "" } },
        { "id": "notes-present", "verdict": "warn", "cause": "There are no notes.", "remedy": "Write some." },
    ] });
    json!({
        "id": ID, "product": "kiosk", "version": "2.4.0", "state": state, "file_name": "k.upd",
        "archive_bytes": 5, "received_bytes": 5, "manifest": null, "report": if report { findings } else { Value::Null },
        "payloads": [], "created": "2031-05-06T07:00:00Z", "changed": "2031-05-06T07:08:00Z",
    })
}

/// A head office whose release passes through `states`.
fn office(states: &[&str], state: State) -> Fake {
    let answers = states.iter().map(|s| (200, release(s, *s != "validating"))).collect();
    let answers = [(format!("GET /v1/releases/{ID}"), answers)].into();
    Fake::start(State { answers, ..state })
}

fn archive(dir: &tempfile::TempDir) -> Vec<u8> {
    std::fs::read(dir.path().join("kiosk-2.4.0.upd")).unwrap()
}

fn remembered(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("state/filial/uploads")).map_or(0, Iterator::count)
}

#[test]
fn an_upload_arrives_whole_and_prints_its_id() {
    let dir = packed();
    let office = office(&["validating"], State::default());
    put(&dir.path().join("token"), b"t0ken\n");
    let args = [
        "--server",
        &office.url,
        "--token-file",
        "token",
        "--json",
        "release",
        "upload",
        "kiosk-2.4.0.upd",
        "--no-wait",
    ];
    let answer = run_json(dir.path(), &args);
    assert_eq!((answer["id"].as_str(), answer["state"].as_str()), (Some(ID), Some("validating")));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.headers["authorization"], "Bearer t0ken");
    assert_eq!(state.requests[..2], ["GET /v1/releases?product=kiosk&version=2.4.0", "POST /v1/uploads"]);
    assert_eq!(remembered(&dir), 0, "an upload that is complete is forgotten");
}

#[test]
fn upload_of_a_published_archive_sends_nothing_and_says_so() {
    let dir = packed();
    let scan = release::inspect(&archive(&dir)[..], &release::Limits::default()).unwrap();
    let published = |manifest: Value| {
        let mut published = release("published", false);
        published["manifest"] = manifest;
        Fake::answering(&[
            ("GET /v1/releases?product=kiosk&version=2.4.0", 200, json!([published])),
            (&format!("GET /v1/releases/{ID}"), 200, published.clone()),
        ])
    };
    let office = published(json!(scan.manifest.unwrap().sha256));
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = format!("kiosk 2.4.0 is already published as {ID}");
    assert!(stdout(&output).contains(&said), "{}", stdout(&output));
    let requests = office.state.lock().unwrap().requests.clone();
    assert!(!requests.iter().any(|r| r.starts_with("POST")), "{requests:?}");
    // Other content under the same version is for head office to refuse.
    let office = published(json!("ab".repeat(32)));
    filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--no-wait"]);
    let requests = office.state.lock().unwrap().requests.clone();
    assert!(requests.iter().any(|r| r == "POST /v1/uploads"), "{requests:?}");
}

#[test]
fn a_dropped_link_resumes_at_head_offices_offset() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000, 0, 700_001], ..State::default() });
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--no-wait"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains(ID), "{}", stdout(&output));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.requests.iter().filter(|r| r.starts_with("POST")).count(), 1);
}

#[test]
fn a_second_call_resumes_an_unfinished_upload() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000, 0], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--no-wait", "--retries", "0"];
    let first = filial(dir.path(), &args);
    assert_eq!(code(&first), 3, "{}", stderr(&first));
    assert!(stderr(&first).contains("Repeat the command"), "{}", stderr(&first));
    assert_eq!(remembered(&dir), 1);
    office.state.lock().unwrap().drops.clear();
    let second = filial(dir.path(), &args);
    assert_eq!(code(&second), 0, "{}", stderr(&second));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.requests.iter().filter(|r| r.starts_with("POST")).count(), 1, "{:?}", state.requests);
    assert_eq!(remembered(&dir), 0);
}

#[test]
fn an_upload_that_head_office_forgot_starts_again() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--no-wait", "--retries", "0"];
    assert_eq!(code(&filial(dir.path(), &args)), 3);
    {
        let mut state = office.state.lock().unwrap();
        state.forgetful = true;
        state.received.clear();
    }
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.requests.iter().filter(|r| r.starts_with("POST")).count(), 2);
}

#[test]
fn an_upload_follows_the_release_until_it_is_published() {
    let dir = packed();
    // With the older option too.
    for more in [&[][..], &["--wait"]] {
        let office = office(&["validating", "approved", "publishing", "published"], State::default());
        let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"];
        let output = filial(dir.path(), &[&args[..], more].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = stdout(&output);
        assert_eq!(text.matches("✓ digests").count(), 1, "{text}");
        assert!(text.contains("! notes-present  There are no notes.\n                 → Write some.\n"), "{text}");
        assert!(text.contains("kiosk 2.4.0 is published"), "{text}");
        for state in ["validating", "approved", "publishing"] {
            let line = format!("filial: kiosk 2.4.0 is {state}\n");
            assert_eq!(stderr(&output).matches(&line).count(), 1, "{}", stderr(&output));
        }
    }
}

#[test]
fn following_prints_one_json_document() {
    let dir = packed();
    for (states, exit) in [
        (&["validating", "published"][..], 0),
        (&["validating", "rejected"], 4),
        (&["validating", "awaiting-signature"], 5),
        (&["withdrawn"], 1),
    ] {
        let office = office(states, State::default());
        let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--json"];
        let output = filial(dir.path(), &args);
        assert_eq!(code(&output), exit, "{}", stderr(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["state"], *states.last().unwrap());
        assert_eq!(stderr(&output).is_empty(), exit == 0, "{}", stderr(&output));
    }
}

#[test]
fn a_link_cut_while_following_is_retried() {
    let dir = packed();
    let office = office(&["published"], State::default());
    let validating = (200, release("validating", false));
    let cut = (0, Value::Null);
    let answers = vec![cut.clone(), validating, cut.clone(), cut, (200, release("published", true))];
    office.state.lock().unwrap().answers.insert(format!("GET /v1/releases/{ID}"), answers);
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("kiosk 2.4.0 is published"), "{}", stdout(&output));
}

#[test]
fn a_head_office_lost_while_following_is_reported_with_how_to_look_again() {
    let dir = packed();
    let office = office(&["published"], State::default());
    let answers = vec![(200, release("validating", false)), (0, Value::Null)];
    office.state.lock().unwrap().answers.insert(format!("GET /v1/releases/{ID}"), answers);
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "1"];
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains(&format!("The archive is uploaded as {ID}")), "{text}");
    assert!(text.contains(&format!("`filial release show {ID}`")), "{text}");
    assert_eq!(remembered(&dir), 1, "there is no verdict yet");
    // Head office is back: the repeated command sends nothing again and goes on watching.
    let sent = |office: &Fake, what: &str| {
        office.state.lock().unwrap().requests.iter().filter(|r| r.starts_with(what)).count()
    };
    let before = (sent(&office, "POST"), sent(&office, "PATCH"));
    office
        .state
        .lock()
        .unwrap()
        .answers
        .insert(format!("GET /v1/releases/{ID}"), vec![(200, release("published", true))]);
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("kiosk 2.4.0 is published"), "{}", stdout(&output));
    assert_eq!((sent(&office, "POST"), sent(&office, "PATCH")), before);
    assert_eq!(remembered(&dir), 0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "Ctrl-C is a signal to a process")]
fn ctrl_c_ends_the_watching_and_not_the_release() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let dir = packed();
    let office = office(&["validating"], State::default());
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"];
    let mut command = super::kit::command(dir.path(), &args);
    let mut child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "filial: kiosk 2.4.0 is validating\n");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("head office goes on") && rest.contains(&format!("`filial release show {ID}`")), "{rest}");
    let requests = &office.state.lock().unwrap().requests;
    assert!(!requests.iter().any(|r| r.starts_with("DELETE")), "{requests:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "Ctrl-C is a signal to a process")]
fn ctrl_c_while_sending_says_how_to_resume() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "0"];
    assert_eq!(code(&filial(dir.path(), &args)), 3);
    // Every answer is a dropped link, so that the next call is in its pauses when the signal comes.
    office.state.lock().unwrap().drops = vec![0; 1000];
    let mut command = super::kit::command(dir.path(), &args[..5]);
    let child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    let sent = || office.state.lock().unwrap().requests.iter().filter(|r| r.starts_with("PATCH")).count();
    while sent() < 3 {
        assert!(begun.elapsed().as_secs() < 30, "nothing was sent");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("The upload was interrupted: head office holds 976.6 KiB of 2.9 MiB\n"), "{told}");
    assert!(told.contains("Repeat the command: it resumes there") && told.contains("filial release cancel"), "{told}");
    assert_eq!(remembered(&dir), 1);
}

#[test]
fn a_rejected_release_exits_4_with_its_checklist() {
    let dir = packed();
    let office = office(&["validating", "rejected"], State::default());
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"];
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("✗ digests        Because.\n                 → Pack again.\n"), "{text}");
    assert!(text.contains("! notes-present  There are no notes."), "{text}");
    assert!(text.contains("2 rules: 1 warn, 1 fail"), "{text}");
    assert!(stderr(&output).contains("kiosk 2.4.0 is rejected"), "{}", stderr(&output));
    let output = filial(dir.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(code(&output), 4);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["state"], "rejected");
}

#[test]
fn a_release_that_awaits_approval_exits_5() {
    let dir = packed();
    let office = office(&["awaiting-signature"], State::default());
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 5);
    assert!(stdout(&output).contains("! notes-present"), "{}", stdout(&output));
    assert!(stderr(&output).contains("filial release approve"), "{}", stderr(&output));
}

fn cancelled() -> Value {
    let mut release = release("withdrawn", false);
    release["reasons"] = json!(["The upload was cancelled by ann."]);
    release
}

#[test]
fn an_upload_is_cancelled_by_its_archive_or_its_id() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let upload = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "0"];
    assert_eq!(code(&filial(dir.path(), &upload)), 3);
    {
        let mut state = office.state.lock().unwrap();
        state.answers.insert(format!("DELETE /v1/uploads/{ID}"), vec![(204, Value::Null)]);
        state.answers.insert(format!("GET /v1/releases/{ID}"), vec![(200, cancelled())]);
    }
    for which in ["kiosk-2.4.0.upd", ID] {
        let output = filial(dir.path(), &["--server", &office.url, "release", "cancel", which]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("withdrawn. The upload was cancelled by ann."), "{}", stdout(&output));
        assert_eq!(remembered(&dir), 0);
    }
    let output = filial(dir.path(), &["--server", &office.url, "release", "cancel", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("filial release list"), "{}", stderr(&output));
}

#[test]
fn a_cancelled_upload_starts_again_and_says_so() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--no-wait", "--retries", "0"];
    assert_eq!(code(&filial(dir.path(), &args)), 3);
    {
        let mut state = office.state.lock().unwrap();
        state.cancelled = true;
        state.received.clear();
        state
            .answers
            .insert(format!("GET /v1/releases/{ID}"), vec![(200, cancelled()), (200, release("validating", false))]);
    }
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("starting again: The upload was cancelled by ann."), "{}", stderr(&output));
    assert!(office.state.lock().unwrap().received == archive(&dir), "the archive did not arrive as it was");
}

#[test]
fn an_upload_that_is_cancelled_while_it_is_sent_stops_with_the_reason() {
    let dir = packed();
    let office = office(&["validating"], State { cancel_next: true, ..State::default() });
    office.state.lock().unwrap().answers.insert(format!("GET /v1/releases/{ID}"), vec![(200, cancelled())]);
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 1);
    let told = stderr(&output);
    assert!(told.contains("Head office ended the upload: The upload was cancelled by ann."), "{told}");
    assert!(told.contains("upload the archive again"), "{told}");
}

#[test]
fn waiting_shows_on_a_screen_how_far_validation_is() {
    let dir = packed();
    let mut validating = release("validating", false);
    validating["progress"] =
        json!({ "step": "validating", "done": 5, "total": 10, "unit": "bytes", "seconds_left": 7 });
    let office = office(&["published"], State::default());
    office.state.lock().unwrap().answers.insert(
        format!("GET /v1/releases/{ID}"),
        vec![(200, validating.clone()), (200, validating), (200, release("published", true))],
    );
    let line = format!("{} --server {} release upload kiosk-2.4.0.upd", env!("CARGO_BIN_EXE_filial"), office.url);
    let output = in_a_terminal(dir.path(), &line);
    let told = stdout(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(told.contains("kiosk 2.4.0: validating") && told.contains("50 %") && told.contains("7 s left"), "{told}");
}
