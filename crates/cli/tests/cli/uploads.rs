//! Uploads: whole, dropped, resumed, followed.

use serde_json::{Value, json};

use super::fake::{Fake, ID, State};
use super::kit::{code, filial, in_a_terminal, json as run_json, packed, stderr, stdout};

fn release(state: &str, report: bool) -> Value {
    let findings = json!({ "findings": [
        { "id": "digests", "verdict": if state == "rejected" { "fail" } else { "pass" }, "cause": "Because.", "remedy": "" },
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
fn an_upload_arrives_whole_and_says_what_it_is() {
    let dir = packed();
    let office = office(&["validating"], State::default());
    std::fs::File::create(dir.path().join("token"))
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"t0ken\n"))
        .unwrap();
    let args = ["--server", &office.url, "--token-file", "token", "--json", "release", "upload", "kiosk-2.4.0.upd"];
    let answer = run_json(dir.path(), &args);
    assert_eq!((answer["id"].as_str(), answer["state"].as_str()), (Some(ID), Some("validating")));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.headers["authorization"], "Bearer t0ken");
    assert_eq!(state.requests[0], "POST /v1/uploads");
    assert_eq!(remembered(&dir), 0, "an upload that is complete is forgotten");
}

#[test]
fn a_link_that_drops_is_taken_up_where_head_office_stands() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000, 0, 700_001], ..State::default() });
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains(ID), "{}", stdout(&output));
    let state = office.state.lock().unwrap();
    assert!(state.received == archive(&dir), "the archive did not arrive as it was");
    assert_eq!(state.requests.iter().filter(|r| r.starts_with("POST")).count(), 1);
}

#[test]
fn a_second_call_resumes_what_the_first_could_not_finish() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000, 0], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "0"];
    let first = filial(dir.path(), &args);
    assert_eq!(code(&first), 3, "{}", stderr(&first));
    assert!(stderr(&first).contains("Give the same command again"), "{}", stderr(&first));
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
fn an_upload_that_head_office_forgot_begins_anew() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "0"];
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
fn waiting_follows_the_checklist_and_publishing() {
    let dir = packed();
    let office = office(&["validating", "approved", "publishing", "published"], State::default());
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--wait"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert_eq!(text.matches("✓ digests").count(), 1, "{text}");
    assert!(text.contains("kiosk 2.4.0 is published"), "{text}");
}

#[test]
fn a_rejected_release_exits_4_with_its_checklist() {
    let dir = packed();
    let office = office(&["validating", "rejected"], State::default());
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--wait"];
    let output = filial(dir.path(), &args);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(stdout(&output).contains("✗ digests"), "{}", stdout(&output));
    let output = filial(dir.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(code(&output), 4);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["state"], "rejected");
}

#[test]
fn a_release_that_waits_for_a_person_is_not_called_done() {
    let dir = packed();
    let office = office(&["awaiting-signature"], State::default());
    let output = filial(dir.path(), &["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--wait"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("filial release approve"), "{}", stderr(&output));
}

fn cancelled() -> Value {
    let mut release = release("withdrawn", false);
    release["reason"] = json!("The upload was cancelled by ann.");
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
fn an_upload_that_was_cancelled_begins_anew_and_says_so() {
    let dir = packed();
    let office = office(&["validating"], State { drops: vec![1_000_000], ..State::default() });
    let args = ["--server", &office.url, "release", "upload", "kiosk-2.4.0.upd", "--retries", "0"];
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
    assert!(stderr(&output).contains("begins anew: The upload was cancelled by ann."), "{}", stderr(&output));
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
    assert!(told.contains("ended at head office: The upload was cancelled by ann."), "{told}");
    assert!(told.contains("upload the archive anew"), "{told}");
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
    let line =
        format!("{} --server {} release upload kiosk-2.4.0.upd --wait", env!("CARGO_BIN_EXE_filial"), office.url);
    let output = in_a_terminal(dir.path(), &line);
    let told = stdout(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(told.contains("kiosk 2.4.0: validating") && told.contains("50 %") && told.contains("7 s left"), "{told}");
}
