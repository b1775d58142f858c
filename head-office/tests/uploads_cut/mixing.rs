//! Many at once.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use test_kit::TestDatabase;
use uuid::Uuid;

use crate::bursts::patch;
use crate::support::archive::{Recipe, noise, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{PATIENCE, tus};
use crate::{arrived_whole, dice};

/// Where an accepted chunk begins and ends.
type Range = (u64, u64);

/// Sends `bytes` in chunks of random length from wherever the upload stands until it stands at their end. The ranges
/// that head office says it took from here.
async fn upload(program: Arc<Program>, id: Uuid, bytes: Vec<u8>, mut dice: StdRng) -> Vec<Range> {
    let mut taken = Vec::new();
    loop {
        let head = tus::request(&program.operators, reqwest::Method::HEAD, &format!("/v1/uploads/{id}"));
        let head = head.send().await.unwrap();
        if head.status() == 409 {
            // Taken over while it asked.
            continue;
        }
        let at: u64 = head.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
        let rest = &bytes[at as usize..];
        if rest.is_empty() {
            return taken;
        }
        let chunk = &rest[..dice.random_range(1..=rest.len().min(150_000))];
        let Some(answer) = patch(program.address, id, at, chunk, &mut dice).await else { continue };
        assert!([204, 409, 423].contains(&answer.status), "{}", answer.text);
        if answer.status == 204 {
            assert_eq!(answer.offset, Some(at + chunk.len() as u64));
        }
        taken.extend(answer.offset.map(|end| (at, end)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_and_connections_that_fight_over_one_never_mix() {
    let (database, daemons) = (TestDatabase::empty().await, Daemons::prepare());
    let mut program = Program::new(&database.url(), &daemons);
    program.launch();
    program.wait_until_it_answers().await;
    program.enrol().await;
    let archive = |product, length| {
        let recipe = Recipe { product, length, ..Recipe::default() };
        std::fs::read(pack(program.dir.path(), &recipe)).unwrap()
    };
    let (one, two) = (archive("kiosk", 3_000_000), archive("till", 2_500_000));
    // Each of the two who fight sends bytes that the other would never send there.
    let ours = noise(4_000_000, 3);
    let theirs: Vec<u8> = ours.iter().map(|b| !b).collect();
    let first = tus::create(&program.operators, one.len()).await;
    let second = tus::create(&program.operators, two.len()).await;
    // One byte more than anybody sends: it stays an upload, and can be looked at.
    let fought = tus::create(&program.operators, ours.len() + 1).await;
    let program = Arc::new(program);
    let run = |id, bytes: &[u8], number| tokio::spawn(upload(program.clone(), id, bytes.to_vec(), dice(number)));
    let alone = [run(first, &one, 2), run(second, &two, 3)];
    let fighters = [run(fought, &ours, 4), run(fought, &theirs, 5)];
    let mut taken = Vec::new();
    for (fighter, bytes) in fighters.into_iter().zip([&ours, &theirs]) {
        let ranges = tokio::time::timeout(PATIENCE, fighter).await.expect("the fight ends").unwrap();
        taken.extend(ranges.into_iter().map(|range| (range, bytes)));
    }
    let stored = program.stored(fought);
    assert_eq!(stored.len(), ours.len());
    // What head office said it took from somebody is that one's, byte for byte, and nobody else has a part of it.
    for &((from, to), bytes) in &taken {
        let range = from as usize..to as usize;
        assert!(stored[range.clone()] == bytes[range], "{from} to {to} is not what was sent");
    }
    assert!(stored.iter().zip(ours.iter().zip(&theirs)).all(|(s, (o, t))| s == o || s == t));
    let chunks = taken.len();
    let switches = stored.iter().zip(&ours).map(|(s, o)| s == o).collect::<Vec<_>>();
    let switches = switches.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((1..=chunks + 50).contains(&switches), "{switches} switches in {chunks} chunks");
    for upload in alone {
        upload.await.unwrap();
    }
    arrived_whole(&program, first, &one).await;
    arrived_whole(&program, second, &two).await;
}
