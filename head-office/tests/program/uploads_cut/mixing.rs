//! Many at once.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use rand::RngExt;
use rand::rngs::StdRng;
use test_kit::wait_for;
use uuid::Uuid;

use crate::support::archive::{Recipe, noise, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{PATIENCE, database, tus};
use crate::uploads_cut::bursts::patch;
use crate::uploads_cut::{arrived_whole, dice};

/// How many chunks one who fights may be ahead: then the other one has the upload to itself until it caught up.
const LEAD: usize = 8;

/// How many chunks were taken from each of two who fight.
type Score = [AtomicUsize; 2];

/// Where an accepted chunk begins and ends.
type Range = (u64, u64);

/// Sends `bytes` in chunks of random length from wherever the upload stands until it stands at their end. The ranges
/// that head office says it took from here.
async fn upload(
    program: &Program,
    id: Uuid,
    bytes: &[u8],
    mut dice: StdRng,
    (score, us): (&Score, usize),
) -> Vec<Range> {
    let mut taken = Vec::new();
    loop {
        wait_for("the other one to get its turn", PATIENCE, async || {
            let (ours, theirs) = (score[us].load(SeqCst), score[1 - us].load(SeqCst));
            if ours <= theirs.saturating_add(LEAD) { Ok(()) } else { Err(format!("{ours} to {theirs}")) }
        })
        .await;
        let head = tus::request(&program.operators, reqwest::Method::HEAD, &format!("/v1/uploads/{id}"));
        let head = head.send().await.unwrap();
        if head.status() == 409 {
            // Taken over while it asked.
            continue;
        }
        let at: u64 = head.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
        let rest = &bytes[at as usize..];
        if rest.is_empty() {
            score[us].store(usize::MAX, SeqCst);
            return taken;
        }
        let chunk = &rest[..dice.random_range(1..=rest.len().min(150_000))];
        let Some(answer) = patch(program.address, id, at, chunk, &mut dice).await else { continue };
        assert!([204, 409, 423].contains(&answer.status), "{}", answer.text);
        if answer.status == 204 {
            assert_eq!(answer.offset, Some(at + chunk.len() as u64));
            score[us].fetch_add(1, SeqCst);
        }
        taken.extend(answer.offset.map(|end| (at, end)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_and_connections_that_fight_over_one_never_mix() {
    let (db, daemons) = (database().await, Daemons::prepare());
    let mut program = Program::new(&db.url(), &daemons);
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
    // One byte more than any client sends: it stays an upload, and can be inspected.
    let fought = tus::create(&program.operators, ours.len() + 1).await;
    // Those who upload alone need not wait.
    let alone = || [AtomicUsize::new(0), AtomicUsize::new(usize::MAX)];
    let (score, score_one, score_two) = (Score::default(), alone(), alone());
    let all = async {
        tokio::join!(
            upload(&program, fought, &ours, dice(4), (&score, 0)),
            upload(&program, fought, &theirs, dice(5), (&score, 1)),
            upload(&program, first, &one, dice(2), (&score_one, 0)),
            upload(&program, second, &two, dice(3), (&score_two, 0)),
        )
    };
    let (from_us, from_them, ..) = tokio::time::timeout(PATIENCE, all).await.expect("the fight ends");
    let of = |ranges: Vec<Range>, bytes| ranges.into_iter().map(move |range| (range, bytes)).collect::<Vec<_>>();
    let taken = [of(from_us, &ours), of(from_them, &theirs)].concat();
    let stored = program.stored(fought);
    assert_eq!(stored.len(), ours.len());
    // What head office acknowledged to a client is from that client, byte for byte.
    for &((from, to), bytes) in &taken {
        let range = from as usize..to as usize;
        assert!(stored[range.clone()] == bytes[range], "{from} to {to} is not what was sent");
    }
    assert!(stored.iter().zip(ours.iter().zip(&theirs)).all(|(s, (o, t))| s == o || s == t));
    let switches = stored.iter().zip(&ours).map(|(s, o)| s == o).collect::<Vec<_>>();
    let switches = switches.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(switches > 0, "only one of them was heard, in {} chunks", taken.len());
    arrived_whole(&program, first, &one).await;
    arrived_whole(&program, second, &two).await;
}
