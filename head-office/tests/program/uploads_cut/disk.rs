//! The disk fills, and is emptied again.

use artifact::PayloadId;
use rand::rngs::StdRng;
use reqwest::Method;
use test_kit::{SmallDisk, wait_for};
use tokio::net::TcpStream;
use uuid::Uuid;
use wire::v1::releases::Release;
use wire::{Code, Problem, ReasonCode};

use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::program::{Program, undisturbed};
use crate::support::{PATIENCE, database, tus};
use crate::uploads_cut::bursts::{answer, head, send};
use crate::uploads_cut::{arrived_whole, dice};

const DISK: u64 = 24 << 20;
const PAYLOAD: usize = 6_000_000;

async fn refused(answer: reqwest::Response) -> Problem {
    assert_eq!(answer.status(), 507);
    answer.json().await.unwrap()
}

/// Begins a chunk, fills the disk behind its first part and sends the rest.
async fn fill_within_a_chunk(
    program: &Program,
    disk: &SmallDisk,
    (id, bytes, reserve): (Uuid, &[u8], u64),
    dice: &mut StdRng,
) {
    let mut stream = TcpStream::connect(program.address).await.unwrap();
    send(&mut stream, &head(program.address, id, 0, bytes.len()), dice).await;
    let (begin, rest) = bytes.split_at(bytes.len() / 2);
    send(&mut stream, begin, dice).await;
    program.wait_for_release("the first part", id, |r| r.received_bytes >= 2 << 20).await;
    disk.fill(reserve + 100_000).unwrap();
    send(&mut stream, rest, dice).await;
    let told = answer(&mut stream).await.expect("an answer");
    assert_eq!(told.status, 507, "{}", told.text);
    assert!(told.text.contains("\"disk-full\"") && told.text.contains("Free space on head office"), "{}", told.text);
    assert!(told.offset.is_some_and(|at| at >= 2 << 20 && at < bytes.len() as u64), "{}", told.text);
    assert_eq!(tus::offset(&program.operators, id).await, told.offset.unwrap());
}

async fn a_disk_fills_within_a_chunk(reserve: u64, number: u64) {
    let (db, daemons, disk) = (database().await, Daemons::prepare(), SmallDisk::mount(DISK).unwrap());
    let mut dice = dice(number);
    let mut program = Program::with(&db.url(), &daemons, Some(&disk.path().join("store")), reserve);
    program.launch();
    program.wait_until_it_answers().await;
    program.enrol().await;
    // More than there is: refused before a byte of it arrives.
    let request = tus::request(&program.operators, Method::POST, "/v1/uploads").header("Upload-Length", DISK + 1);
    let told = refused(request.send().await.unwrap()).await;
    assert!(told.code == Code::DiskFull && told.detail.contains(" free, of which "), "{told:?}");

    let file = pack(program.dir.path(), &Recipe { length: PAYLOAD, ..Recipe::default() });
    let bytes = std::fs::read(file).unwrap();
    let id = tus::create(&program.operators, bytes.len()).await;
    fill_within_a_chunk(&program, &disk, (id, &bytes, reserve), &mut dice).await;
    assert!(disk.free().unwrap() <= reserve + 100_000 && disk.free().unwrap() >= reserve, "the reserve was used up");
    // A client that goes on is told each time, not cut off, and nothing gets worse.
    for _ in 0..5 {
        let at = tus::offset(&program.operators, id).await;
        let told = refused(tus::patch(&program.operators, id, at, &bytes[at as usize..]).await).await;
        assert_eq!(told.code, Code::DiskFull);
    }
    let at = tus::offset(&program.operators, id).await;
    assert!(program.stored(id) == bytes[..at as usize], "what is stored is not what was sent");
    // The database and everything that needs no room goes on.
    let release: Release = program.operators.get(&format!("/v1/releases/{id}")).await.unwrap();
    assert_eq!(release.received_bytes, at);
    let body = serde_json::json!({ "name": "south" });
    program.operators.post::<_, wire::v1::fleet::BranchAdded>("/v1/branches", &body).await.unwrap();
    let request = tus::request(&program.operators, Method::POST, "/v1/uploads").header("Upload-Length", DISK / 4);
    assert_eq!(refused(request.send().await.unwrap()).await.code, Code::DiskFull);
    // A restart on a full disk works too.
    program.kill_and_restart().await;
    assert_eq!(tus::offset(&program.operators, id).await, at);

    disk.clear().unwrap();
    assert_eq!(tus::patch(&program.operators, id, at, &bytes[at as usize..]).await.status(), 204);
    arrived_whole(&program, id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_a_chunk_with_a_reason_and_a_later_resume_completes() {
    a_disk_fills_within_a_chunk(0, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_of_the_disk_is_left_free_also_within_a_chunk() {
    a_disk_fills_within_a_chunk(2 << 20, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_while_a_release_is_encoded_makes_it_wait_and_loses_nothing() {
    let (db, daemons, disk) = (database().await, Daemons::prepare(), SmallDisk::mount(DISK).unwrap());
    let mut program = Program::with(&db.url(), &daemons, Some(&disk.path().join("store")), 0);
    program.launch();
    program.wait_until_it_answers().await;
    program.enrol().await;
    let file = pack(program.dir.path(), &Recipe { length: PAYLOAD, ..Recipe::default() });
    let bytes = std::fs::read(file).unwrap();
    let id = tus::create(&program.operators, bytes.len()).await;
    // All but the last byte; then there is room for a part of the artifact only.
    let (most, last) = bytes.split_at(bytes.len() - 1);
    assert_eq!(tus::patch(&program.operators, id, 0, most).await.status(), 204);
    disk.fill(2 << 20).unwrap();
    assert_eq!(tus::patch(&program.operators, id, most.len() as u64, last).await.status(), 204);

    let store = program.store.display().to_string();
    let says_so = |r: &Release| {
        let t = r.why();
        t.contains(&store) && t.contains("is full") && t.contains("Free space there")
    };
    let release = program.wait_for_release("a reason that names the disk", id, says_so).await;
    assert_eq!(release.state, fleet_types::ReleaseState::Publishing);
    // Again and again, without giving up and without harm.
    let again = |r: &Release| {
        let attempt = r.reason(ReasonCode::PublishingRetried).and_then(|retried| retried.params.get("attempt"));
        attempt == Some("2") && r.why().contains("Attempt 2")
    };
    program.wait_for_release("another attempt", id, again).await;
    assert!(program.stored(id) == bytes, "the archive was harmed");

    disk.clear().unwrap();
    // By itself, as far as it can without a tracker.
    let is_listing = |r: &Release| r.progress.as_ref().is_some_and(|p| p.step == "listing");
    let release = program.wait_for_release("listing", id, is_listing).await;
    let made = release.payloads[0].artifact.clone().unwrap();
    let payload = PayloadId { sha256: release.payloads[0].payload.sha256, length: PAYLOAD as u64 };
    let image = program.dir.path().join("kiosk-1.0.0/payloads/rootfs.img");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(made.sha256, undisturbed(dir.path(), &image, payload).sha256);
    let stored = program.store.join("artifacts").join(made.file_name());
    assert!(std::fs::read(stored).unwrap() == std::fs::read(dir.path().join("out.seg")).unwrap());
    let log = wait_for("the encoder's account", PATIENCE, async || {
        let log = program.log();
        if log.contains(" encoded ") { Ok(log) } else { Err(log) }
    })
    .await;
    let resumed = log.lines().find(|l| l.contains(" encoded ")).unwrap().split_once("resumed").unwrap().1;
    let resumed: String =
        resumed.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    assert!(resumed.parse::<usize>().unwrap() > 0, "what was encoded before was encoded again: {log}");
}
