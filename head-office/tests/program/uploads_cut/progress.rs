//! What operators see while an archive is validated, with the process frozen in steps so that there is time to look.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_types::ReleaseState;
use rustix::process::Signal;
use wire::v1::releases::Release;

use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{database, tus};

/// As long as progress may lag behind, and a little: it is stored every half second.
const FROZEN: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread")]
async fn validation_shows_how_far_it_is_and_how_long_it_takes() {
    let (db, daemons) = (database().await, Daemons::prepare());
    let mut program = Program::new(&db.url(), &daemons);
    program.launch();
    program.wait_until_it_answers().await;
    let length = 160_000_000;
    let bytes = std::fs::read(pack(program.dir.path(), &Recipe { length, ..Recipe::default() })).unwrap();
    let id = tus::create(&program.operators, bytes.len()).await;
    let (most, last) = bytes.split_at(bytes.len() - 1);
    let mut at = 0;
    for chunk in most.chunks(16 << 20) {
        assert_eq!(tus::patch(&program.operators, id, at, chunk).await.status(), 204);
        at += chunk.len() as u64;
    }
    // It is frozen before it learns of the last byte, so that no moment of validation is missed.
    program.signal(Signal::STOP);
    let (client, last) = (program.operators.clone(), last.to_vec());
    let last = tokio::spawn(async move { tus::patch(&client, id, at, &last).await.status() });
    let (mut seen, mut timed) = (BTreeSet::new(), false);
    loop {
        // Not a wait for anything: that time passes while nothing is done is the point.
        tokio::time::sleep(FROZEN).await;
        program.signal(Signal::CONT);
        // It runs for as long as it takes to answer.
        let release: Release = program.operators.get(&format!("/v1/releases/{id}")).await.unwrap();
        program.signal(Signal::STOP);
        if !matches!(release.state, ReleaseState::Uploading | ReleaseState::Validating) {
            break;
        }
        let Some(progress) = release.progress else { continue };
        assert_eq!((progress.step.as_str(), progress.unit.as_str()), ("validating", "bytes"));
        assert_eq!(progress.total, release.archive_bytes);
        let percent = progress.done * 100 / progress.total;
        assert!(seen.last().is_none_or(|last| percent >= *last), "it went back: {percent} after {seen:?}");
        timed |= progress.seconds_left.is_some();
        seen.insert(percent);
        if timed && seen.iter().any(|percent| (5..=95).contains(percent)) {
            break;
        }
    }
    program.signal(Signal::CONT);
    assert_eq!(last.await.unwrap(), 204);
    assert!(timed, "nobody was told how long it takes");
    assert!(seen.iter().any(|percent| (5..=95).contains(percent)), "{seen:?}");
}
