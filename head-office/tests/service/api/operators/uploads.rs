//! tus: the offset is the durable length of the file, whatever becomes of connections and processes.

use fleet_types::ReleaseState;
use reqwest::Method;
use service_kit::server::Role;
use test_kit::{FaultProxy, wait_for};
use uuid::Uuid;
use wire::{Code, Problem, ReasonCode};

use crate::support::archive::noise;
use crate::support::tus::{create, offset, patch, request, upload};
use crate::support::{Office, PATIENCE, token_of};

pub async fn problem(answer: reqwest::Response) -> Code {
    let status = answer.status().as_u16();
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!((problem.status, problem.code.status()), (status, status));
    problem.code
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_chunks_arrives_whole_and_is_validated() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let bytes = noise(3_000_000, 1);
    let id = create(&manager, bytes.len()).await;
    assert_eq!(offset(&manager, id).await, 0);
    let mut at = 0;
    for chunk in bytes.chunks(1_000_001) {
        let answer = patch(&manager, id, at, chunk).await;
        at += chunk.len() as u64;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["upload-offset"].to_str().unwrap()),
            (204, &*at.to_string())
        );
    }
    // Noise is not an archive: it is rejected, with every rule in the report.
    let release = office.wait_for_state(id, ReleaseState::Rejected).await;
    assert_eq!((release.file_name.as_str(), release.archive_bytes), ("kiosk.upd", 3_000_000));
    assert!(release.report.unwrap().findings.len() >= 9);
    let rules = release.reasons[0].params.get("rules").unwrap();
    assert!(rules.contains("archive-shape") && release.reasons[0].code == ReasonCode::RulesFailed, "{rules}");
    assert_eq!(offset(&manager, id).await, 3_000_000, "a finished upload keeps its offset");
    assert_eq!(patch(&manager, id, 3_000_000, b"").await.status(), 204, "a repeated last chunk is no error");
    assert_eq!(problem(patch(&manager, id, 0, b"x").await).await, Code::WrongState);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_can_do_is_said_to_anybody() {
    let office = Office::start().await;
    let answer = office.stranger().request(Method::OPTIONS, "/v1/uploads").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["tus-version"], "1.0.0");
    assert_eq!(answer.headers()["tus-extension"], "creation,expiration,termination");
    assert_eq!(answer.headers()["tus-max-size"], (64 << 20).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_an_upload_route_says_that_tus_is_spoken() {
    let office = Office::start().await;
    let (manager, viewer) = (office.as_role(Role::ReleaseManager), office.as_role(Role::Viewer));
    let id = create(&manager, 10).await;
    let one = format!("/v1/uploads/{id}");
    for (client, method, path, status) in [
        (&manager, Method::PUT, "/v1/uploads", 405),
        (&manager, Method::GET, one.as_str(), 405),
        (&viewer, Method::POST, "/v1/uploads", 403),
        (&manager, Method::HEAD, "/v1/uploads/5f4dcc3b-5aa7-65d6-8327-deb882cf99a1", 404),
    ] {
        let answer = request(client, method.clone(), path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers().get_all("tus-resumable").iter().collect::<Vec<_>>(), ["1.0.0"], "{method} {path}");
    }
    let answer = manager.request(Method::GET, "/v1/releases").send().await.unwrap();
    assert!(!answer.headers().contains_key("tus-resumable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_can_only_post_names_the_method_in_a_header() {
    let office = Office::start().await;
    let (manager, viewer) = (office.as_role(Role::ReleaseManager), office.as_role(Role::Viewer));
    let id = create(&manager, 4).await;
    let one = format!("/v1/uploads/{id}");
    let post = |client, method: &str| request(client, Method::POST, &one).header("X-HTTP-Method-Override", method);
    let chunk = |method: &str| {
        post(&manager, method)
            .header("Upload-Offset", 0)
            .header("Content-Type", "application/offset+octet-stream")
            .body(vec![7; 2])
    };
    let answer = chunk("PATCH").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["upload-offset"].to_str().unwrap()), (204, "2"));
    let answer = post(&manager, "HEAD").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["upload-offset"].to_str().unwrap()), (200, "2"));
    // The role is that of the method that runs, and a method that is not one of tus stays a POST.
    assert_eq!(problem(post(&viewer, "DELETE").send().await.unwrap()).await, Code::Forbidden);
    assert_eq!(problem(chunk("TRACE").send().await.unwrap()).await, Code::MethodNotAllowed);
    assert_eq!(problem(chunk("patch").send().await.unwrap()).await, Code::MethodNotAllowed);
    assert_eq!(post(&manager, "DELETE").send().await.unwrap().status(), 204);
    assert_eq!(offset_status(&manager, id).await, 410);
}

async fn offset_status(client: &service_kit::client::JsonClient, id: Uuid) -> u16 {
    request(client, Method::HEAD, &format!("/v1/uploads/{id}")).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_cannot_be_are_refused_at_creation() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let post = async |length: Option<&str>, metadata: &str| {
        let mut request = request(&manager, Method::POST, "/v1/uploads").header("Upload-Metadata", metadata);
        if let Some(length) = length {
            request = request.header("Upload-Length", length);
        }
        problem(request.send().await.unwrap()).await
    };
    assert_eq!(post(None, "filename YQ==").await, Code::BadRequest);
    assert_eq!(post(Some("-1"), "filename YQ==").await, Code::BadRequest);
    assert_eq!(post(Some("0"), "filename YQ==").await, Code::BadField);
    assert_eq!(post(Some("99999999999"), "filename YQ==").await, Code::TooLarge);
    assert_eq!(post(Some("10"), "filename ???").await, Code::BadField);
    assert_eq!(post(Some("10"), &"x".repeat(5000)).await, Code::BadField);
    let without_version =
        manager.request(Method::POST, "/v1/uploads").header("Upload-Length", 10).send().await.unwrap();
    assert_eq!(without_version.headers()["tus-version"], "1.0.0");
    assert_eq!(problem(without_version).await, Code::UnsupportedVersion);
    let operator = office.as_role(Role::Operator);
    let answer = request(&operator, Method::POST, "/v1/uploads").header("Upload-Length", 10).send().await.unwrap();
    assert_eq!(problem(answer).await, Code::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_before_anything_arrives() {
    let office = Office::with(|settings| settings.uploads.reserve_bytes = u64::MAX / 2).await;
    let manager = office.as_role(Role::ReleaseManager);
    let answer = request(&manager, Method::POST, "/v1/uploads").header("Upload-Length", 10).send().await.unwrap();
    assert_eq!(problem(answer).await, Code::DiskFull);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_do_not_fit_are_refused_and_change_nothing() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 100).await;
    assert_eq!(patch(&manager, id, 0, &[1; 40]).await.status(), 204);
    assert_eq!(problem(patch(&manager, id, 0, &[2; 10]).await).await, Code::OffsetMismatch);
    assert_eq!(problem(patch(&manager, id, 41, &[2; 10]).await).await, Code::OffsetMismatch);
    assert_eq!(problem(patch(&manager, id, 40, &[2; 61]).await).await, Code::TooLarge);
    assert_eq!(problem(patch(&manager, Uuid::new_v4(), 0, &[2; 10]).await).await, Code::NotFound);
    let path = format!("/v1/uploads/{id}");
    let wrong_type =
        request(&manager, Method::PATCH, &path).header("Upload-Offset", 40).body("x").send().await.unwrap();
    assert_eq!(problem(wrong_type).await, Code::UnsupportedMediaType);
    assert_eq!(offset(&manager, id).await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_anywhere_cost_only_what_did_not_arrive() {
    let mut office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let proxy = FaultProxy::start(office.operators).await.unwrap();
    let through_proxy = office.line().client(proxy.address(), Some(token_of(Role::ReleaseManager)), None);
    let bytes = noise(8_000_000, 3);
    let id = create(&manager, bytes.len()).await;
    let mut breaks = 0;
    loop {
        let at = offset(&manager, id).await;
        if at == bytes.len() as u64 {
            break;
        }
        let stored = std::fs::read(office.dir.path().join(format!("store/uploads/{id}.upd"))).unwrap();
        assert!(stored[..at as usize] == bytes[..at as usize], "what is stored at {at} is not what was sent");
        proxy.cut_next_after(rand::random_range(1..2_500_000));
        // A fresh connection each time, so that the cut hits it.
        let request = request(&through_proxy, Method::PATCH, &format!("/v1/uploads/{id}"))
            .header("Upload-Offset", at)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Connection", "close")
            .body(bytes[at as usize..].to_vec());
        breaks += usize::from(request.send().await.is_err());
        if breaks == 2 {
            // The process goes, too.
            office.stop().await;
            office.resume().await;
            return finish_after_restart(&office, id, &bytes).await;
        }
    }
    assert!(breaks >= 1, "the connection never broke");
}

async fn finish_after_restart(office: &Office, id: Uuid, bytes: &[u8]) {
    let manager = office.as_role(Role::ReleaseManager);
    let at = wait_for("the rest to be taken", PATIENCE, async || {
        let at = offset(&manager, id).await;
        let answer = patch(&manager, id, at, &bytes[at as usize..]).await;
        if answer.status() == 204 { Ok(at) } else { Err(answer.status()) }
    })
    .await;
    assert!(at > 0, "nothing of two attempts was kept");
    office.wait_for_state(id, ReleaseState::Rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_last_answer_was_lost_goes_on_when_somebody_asks() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 1000).await;
    // As after a kill between the last sync and the transaction.
    let path = office.dir.path().join(format!("store/uploads/{id}.upd"));
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap();
    assert_eq!(offset(&manager, id).await, 1000);
    office.wait_for_state(id, ReleaseState::Rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_last_answer_was_lost_goes_on_at_the_next_start() {
    let mut office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 1000).await;
    office.stop().await;
    let path = office.dir.path().join(format!("store/uploads/{id}.upd"));
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap();
    office.resume().await;
    office.wait_for_state(id, ReleaseState::Rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_lose_what_could_harm_a_screen() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    // "ev\u{1b}[31mil\0.upd", base64.
    let answer = request(&manager, Method::POST, "/v1/uploads")
        .header("Upload-Length", 10)
        .header("Upload-Metadata", "x, filename ZXYbWzMxbWlsAC51cGQ=")
        .send()
        .await
        .unwrap();
    let id: Uuid = answer.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(office.release(id).await.file_name, "ev[31mil.upd");
    let _ = upload(&manager, b"0123456789").await;
}
