//! Uploads that are taken over, cancelled or left: what each side is told, and what stays.

use fleet_types::ReleaseState;
use reqwest::{Method, Response};
use service_kit::client::JsonClient;
use service_kit::server::Role;
use test_kit::wait_for;
use uuid::Uuid;
use wire::{Code, Reason, ReasonCode};

use crate::api::operators::uploads::problem;
use crate::support::archive::noise;
use crate::support::tus::{create, half_sent, offset, patch, request};
use crate::support::{Office, PATIENCE, token_of};

async fn ask(client: &JsonClient, method: Method, id: Uuid) -> Response {
    request(client, method, &format!("/v1/uploads/{id}")).send().await.unwrap()
}

const LENGTH: usize = 2_000_000;
const SENT: usize = 1_200_000;

/// An upload and a chunk of it that stops in its middle and keeps silent, with the server writing it.
async fn silent_writer(office: &Office, bytes: &[u8]) -> (Uuid, tokio::net::TcpStream) {
    let id = create(&office.as_role(Role::ReleaseManager), bytes.len()).await;
    let address = office.line().tunnel(office.operators, None);
    let stream = half_sent(address, token_of(Role::ReleaseManager), id, 0, bytes, SENT).await;
    wait_for("the first part to be written", PATIENCE, async || match office.release(id).await.received_bytes {
        0 => Err("nothing was written"),
        _ => Ok(()),
    })
    .await;
    (id, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_gives_way_to_its_operators_next_request_and_keeps_its_bytes() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let bytes = noise(LENGTH, 2);
    let (id, mut silent) = silent_writer(&office, &bytes).await;
    // Another operator may look without disturbing the upload.
    let seen = offset(&office.admin(), id).await;
    assert_eq!(problem(patch(&office.admin(), id, seen, &bytes[seen as usize..]).await).await, Code::UploadBusy);
    let at = offset(&manager, id).await;
    assert!(at >= seen && seen > 0 && at <= SENT as u64, "{at} after {seen}");
    let stored = std::fs::read(office.dir.path().join(format!("store/uploads/{id}.upd"))).unwrap();
    assert!(stored == bytes[..at as usize]);
    let mut told = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut told);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the older request is ended");
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("HTTP/1.1 409") && told.contains("upload-taken-over"), "{told}");
    assert!(told.to_lowercase().contains(&format!("upload-offset: {at}\r\n")), "{told}");
    assert_eq!(patch(&manager, id, at, &bytes[at as usize..]).await.status(), 204);
    assert_eq!(office.wait_for_state(id, ReleaseState::Rejected).await.received_bytes, LENGTH as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_takes_a_silent_one_over_as_well() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let bytes = noise(LENGTH, 4);
    let (id, _silent) = silent_writer(&office, &bytes).await;
    // It cannot know the offset, but it is not told to wait.
    assert_eq!(problem(patch(&manager, id, 1, &bytes[1..]).await).await, Code::OffsetMismatch);
    let at = offset(&office.admin(), id).await;
    assert_eq!(patch(&office.admin(), id, at, &bytes[at as usize..]).await.status(), 204, "nobody holds it any more");
    office.wait_for_state(id, ReleaseState::Rejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_is_withdrawn_with_a_reason_and_leaves_nothing() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 100).await;
    assert_eq!(patch(&manager, id, 0, &[1; 40]).await.status(), 204);
    let answer = ask(&manager, Method::DELETE, id).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["tus-resumable"].to_str().unwrap()), (204, "1.0.0"));
    let release = office.release(id).await;
    assert_eq!(release.state, ReleaseState::Withdrawn);
    assert_eq!(release.reasons, [Reason::of(ReasonCode::UploadCancelled).with("operator", "release-manager")]);
    assert!(release.why().contains("cancelled by release-manager"));
    assert!(!office.dir.path().join(format!("store/uploads/{id}.upd")).exists());
    assert_eq!(ask(&manager, Method::HEAD, id).await.status(), 410);
    assert_eq!(problem(patch(&manager, id, 40, &[1; 10]).await).await, Code::UploadGone);
    let again = ask(&manager, Method::DELETE, id).await;
    assert_eq!(again.headers()["tus-resumable"], "1.0.0", "refusals speak tus as well");
    assert_eq!(problem(again).await, Code::UploadGone);
    assert_eq!(problem(ask(&manager, Method::DELETE, Uuid::new_v4()).await).await, Code::NotFound);
    assert_eq!(problem(ask(&office.as_role(Role::Operator), Method::DELETE, id).await).await, Code::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_cancelled_from_under_whoever_writes_it() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let bytes = noise(LENGTH, 6);
    let (id, mut writing) = silent_writer(&office, &bytes).await;
    // By another operator, too: who may upload may cancel.
    assert_eq!(ask(&office.admin(), Method::DELETE, id).await.status(), 204);
    let _ = tokio::io::AsyncWriteExt::write_all(&mut writing, &bytes[SENT..]).await;
    let mut told = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut writing, &mut told).await;
    assert!(!String::from_utf8_lossy(&told).contains("204"), "a cancelled chunk was called stored");
    assert!(!office.dir.path().join(format!("store/uploads/{id}.upd")).exists());
    assert_eq!(problem(patch(&manager, id, 0, &bytes).await).await, Code::UploadGone);
    assert_eq!(office.release(id).await.state, ReleaseState::Withdrawn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_upload_cannot_be_cancelled() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 1000).await;
    assert_eq!(patch(&manager, id, 0, &[1; 1000]).await.status(), 204);
    assert_eq!(problem(ask(&manager, Method::DELETE, id).await).await, Code::WrongState);
    office.wait_for_state(id, ReleaseState::Rejected).await;
    assert_eq!(problem(ask(&manager, Method::DELETE, id).await).await, Code::WrongState);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_says_when_it_expires_and_then_it_is_gone() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let created = request(&manager, Method::POST, "/v1/uploads").header("Upload-Length", 100).send().await.unwrap();
    // Seven days after the fixed clock's 2030-01-01, a Tuesday.
    assert_eq!(created.headers()["upload-expires"], "Tue, 08 Jan 2030 08:00:00 GMT");
    let id: Uuid = created.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    office.clock.advance(chrono::TimeDelta::days(2));
    assert_eq!(ask(&manager, Method::HEAD, id).await.headers()["upload-expires"], "Tue, 08 Jan 2030 08:00:00 GMT");
    let chunk = patch(&manager, id, 0, &[1; 40]).await;
    assert_eq!(chunk.headers()["upload-expires"], "Thu, 10 Jan 2030 08:00:00 GMT", "work moves it");
    office.clock.advance(chrono::TimeDelta::days(7));
    // At that moment, not only when housekeeping comes round.
    assert_eq!(problem(patch(&manager, id, 40, &[1; 10]).await).await, Code::UploadGone);
    assert_eq!(ask(&manager, Method::HEAD, id).await.status(), 410);
    let release = office.release(id).await;
    assert_eq!(release.state, ReleaseState::Withdrawn);
    assert!(release.why().contains("expired") && release.reasons[0].code == ReasonCode::UploadExpired);
    assert!(!office.dir.path().join(format!("store/uploads/{id}.upd")).exists());
    // One that is complete does not expire.
    let whole = create(&manager, 100).await;
    let answer = patch(&manager, whole, 0, &[1; 100]).await;
    assert!(answer.status() == 204 && !answer.headers().contains_key("upload-expires"));
    office.clock.advance(chrono::TimeDelta::days(30));
    assert_eq!(offset(&manager, whole).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_under_way_are_bounded_and_what_they_were_promised_is_kept_for_them() {
    let office = Office::with(|settings| settings.uploads.max_bytes = u64::MAX >> 2).await;
    let manager = office.as_role(Role::ReleaseManager);
    let post = async |length: u64| {
        request(&manager, Method::POST, "/v1/uploads").header("Upload-Length", length).send().await.unwrap()
    };
    let stat = rustix::fs::statvfs(office.dir.path()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let first = post(free / 3 * 2).await;
    assert_eq!(first.status(), 201);
    let refused = post(free / 3 * 2).await;
    let told: wire::Problem = refused.json().await.unwrap();
    assert!(told.code == Code::DiskFull && told.detail.contains("under way"), "{told:?}");
    let id: Uuid = first.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(ask(&manager, Method::DELETE, id).await.status(), 204);
    assert_eq!(post(free / 3 * 2).await.status(), 201, "a cancelled upload gives its room back");
    for _ in 1..100 {
        assert_eq!(post(1).await.status(), 201);
    }
    assert_eq!(problem(post(1).await).await, Code::TooMany);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_on_which_nobody_works_is_given_up_and_one_that_goes_on_is_not() {
    let mut office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let (left, kept) = (create(&manager, 1000).await, create(&manager, 1000).await);
    office.clock.advance(chrono::TimeDelta::days(6));
    assert_eq!(patch(&manager, kept, 0, &[1; 10]).await.status(), 204);
    office.clock.advance(chrono::TimeDelta::days(2));
    // A file that no release knows: the process ended between the file and its row.
    let unknown = office.dir.path().join(format!("store/uploads/{}.upd", Uuid::new_v4()));
    std::fs::File::create(&unknown).unwrap();
    office.stop().await;
    office.resume().await;
    let release = office.wait_for_state(left, ReleaseState::Withdrawn).await;
    assert!(release.why().contains("expired") && release.reasons[0].code == ReasonCode::UploadExpired);
    assert_eq!(offset(&office.as_role(Role::ReleaseManager), kept).await, 10);
    assert!(!unknown.exists());
}
