//! Too much, too slow, too often.

use std::time::Duration;

use serde_json::json;
use service_kit::client::ClientError;
use service_kit::server::JOIN_TRIES;
use test_kit::{RawRequest, wait_for};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;
use wire::Code;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};

use crate::hostile::world::{Case, JSON, Side, World, request};
use crate::support::{PATIENCE, begin, count, facts};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_come_is_given_up() {
    let world = World::with(|s| s.limits.request = Duration::from_secs(2)).await;
    let half = ["Content-Length: 1000", JSON];
    let anybody = Side::Machines;
    let slow = [
        ("half a body", anybody, request(None, "POST /v1/enrol", &half, "{"), "body did not arrive in time"),
        ("half a body of a branch", Side::North, request(None, "POST /v1/reports", &half, "{"), "body did not arrive"),
        ("half a head", anybody, RawRequest::bytes("POST /v1/enrol HTTP/1.1\r\nHost:"), "head of the request did not"),
        ("nothing at all", anybody, RawRequest::bytes("G"), "head of the request did not arrive"),
    ];
    let cases = slow.map(|(name, side, request, says)| Case::new(name, side, request, Code::Timeout, says));
    super::run(&world, cases.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_given_up_although_it_never_stops() {
    let world = World::with(|s| s.limits.request = Duration::from_secs(2)).await;
    let before = world.snapshot().await;
    let mut stream = TcpStream::connect(world.address(Side::Machines)).await.unwrap();
    let head = format!("POST /v1/enrol HTTP/1.1\r\nHost: test\r\n{JSON}\r\nContent-Length: 10000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut drops = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b" ").await.is_ok() {
            drops.tick().await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_buf(&mut reading, &mut answer);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    tokio::time::timeout(PATIENCE, dripping).await.unwrap().unwrap();
    assert_eq!(before, world.snapshot().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_cannot_be_tried_without_end() {
    let world = World::start().await;
    let before = world.snapshot().await;
    let guess = |n: u32| {
        let body = json!({ "join_token": format!("join-{n}"), "certificate_request": world.request }).to_string();
        request(None, "POST /v1/enrol", &[JSON], body)
    };
    let mut refused = 0;
    let limited = wait_for("the flood to be refused", PATIENCE, async || {
        refused += 1;
        let answer = guess(refused).send(world.address(Side::Machines)).await;
        if answer.status == 429 { Ok(answer) } else { Err(answer.status) }
    })
    .await;
    let case = Case::new("guesses", Side::Machines, guess(0), Code::TooMany, "127.0.0.1");
    case.judge(&limited);
    assert!(refused > JOIN_TRIES && limited.header("retry-after").is_some(), "{refused}: {limited:?}");
    assert_eq!(before, world.snapshot().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_event_streams_of_one_branch_are_not_opened() {
    let world = World::start().await;
    let before = world.snapshot().await;
    let client = world.north.client.clone();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        match client.events("/v1/events", None, PATIENCE).await {
            Ok(stream) => open.push(stream),
            Err(ClientError::Refused(problem)) => {
                assert_eq!(problem.code, Code::TooManyStreams, "{problem:?}");
                assert!(problem.detail.contains("north has 8 event streams open"), "{problem:?}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((open.len(), refused), (8, 192));
    assert_eq!(before, world.snapshot().await);
}

/// Its row is locked, as by a report that takes long: everything that the branch sends meanwhile waits or is refused, and takes
/// no connection of the database from anybody else.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_reports_of_one_branch_at_once_refuse_nobody_else() {
    // As if every caller had its own address.
    let world = World::with(|s| s.limits.strangers_per_address = 1000).await;
    let mut west = world.office.branch("west", "k1", &["till-1"]).await;
    let pool = world.office.pool().await;
    let mut locking = service_kit::database::connection(&pool).await.unwrap();
    let held = service_kit::database::begin(&mut locking).await.unwrap();
    held.execute("SELECT name FROM branches WHERE name = 'north' FOR UPDATE", &[]).await.unwrap();
    let (told, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let posts: Vec<_> = (0..300)
        .map(|_| {
            let (client, told) = (world.north.client.clone(), told.clone());
            tokio::spawn(async move {
                let batch = Batch { epoch: Uuid::new_v4(), reports: seen("till-1") };
                let answer = client.post::<_, Acknowledged>("/v1/reports", &batch).await;
                if answer.is_err() {
                    told.send(()).unwrap();
                }
                answer
            })
        })
        .collect();
    // The rest of them is there once the first is refused.
    tokio::time::timeout(PATIENCE, refusals.recv()).await.unwrap().unwrap();
    for _ in 0..20 {
        west.seen("till-1", "k1").await;
        world.office.admin().get::<serde_json::Value>("/v1/branches").await.unwrap();
    }
    service_kit::database::commit(held).await.unwrap();
    let (mut stored, mut refused) = (0, 0);
    for post in posts {
        match post.await.unwrap() {
            Ok(answer) => {
                assert_eq!(answer.through, 1);
                stored += 1;
            }
            Err(ClientError::Refused(problem)) => {
                assert_eq!(problem.code, Code::TooMany, "{problem:?}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(stored >= 8 && refused > 0 && stored + refused == 300, "{stored} {refused}");
}

fn seen(terminal: &str) -> Vec<Numbered> {
    vec![Numbered { seq: 1, at: begin(), report: Report::TerminalSeen { facts: facts(terminal, "k1"), key: None } }]
}

#[tokio::test(flavor = "multi_thread")]
async fn numberings_without_end_are_forgotten() {
    let world = World::start().await;
    let client = world.north.client.clone();
    let before = world.snapshot().await;
    let post = async |reports| {
        let batch = Batch { epoch: Uuid::new_v4(), reports };
        client.post::<_, Acknowledged>("/v1/reports", &batch).await.unwrap().through
    };
    for _ in 0..50 {
        assert_eq!(post(Vec::new()).await, 0);
    }
    assert_eq!(before, world.snapshot().await, "a numbering began with nothing");
    for _ in 0..50 {
        assert_eq!(post(seen("till-1")).await, 1);
    }
    let kept = count(&world.office.pool().await, "SELECT count(*) FROM report_epochs WHERE branch = 'north'").await;
    assert_eq!(kept, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_branch_invents_is_passed_over() {
    let world = World::start().await;
    let client = world.north.client.clone();
    let mut before = world.snapshot().await;
    let at = begin();
    let running = Report::Running {
        terminal: "nobody".parse().unwrap(),
        slot: fleet_types::Slot::B,
        version: "1.0.0".parse().unwrap(),
    };
    let artifact = Report::Artifact {
        artifact: service_kit::token::hash("invented"),
        have_bytes: u64::MAX,
        complete: true,
        trouble: Some(wire::Reason { code: "x".into(), params: Default::default(), text: "\u{1b}[2J".repeat(10_000) }),
    };
    let reports = vec![Numbered { seq: 1, at, report: running }, Numbered { seq: 2, at, report: artifact }];
    let batch = Batch { epoch: Uuid::new_v4(), reports };
    assert_eq!(client.post::<_, Acknowledged>("/v1/reports", &batch).await.unwrap().through, 2);
    let mut after = world.snapshot().await;
    // Only that they came is remembered, so that they need not come again.
    assert_ne!(before.remove("table report_epochs"), after.remove("table report_epochs"));
    assert_eq!(before, after);
}
