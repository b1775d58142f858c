//! Over a slow WAN the terminals install while their branch still fetches.

use std::time::{Duration, Instant};

use e2e::{Images, PATIENCE, all_confirmed, bring_out, events, quick, segments};
use fleet_types::UpdateState;
use lab::{Lab, Rate, SmallImage};

/// 44 MB at 4 Mbit/s: about 90 s.
const NOISE: usize = 44_000_000;
/// As well compressed as a root filesystem. Pieces come in any order, and a segment can be written only when all of its
/// pieces are there: of noise that is 17 pieces, all of which are hardly ever there before nearly everything is.
const THIN: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn terminals_install_while_their_branch_still_fetches() -> anyhow::Result<()> {
    let images = Images::new()?;
    let options = quick("streaming", images.healthy("1.0.0", 100_000)?, 1, 2, 256 << 20)?.with_wan(Rate::mbit(4));
    let lab = Lab::start(options).await?;
    bring_out(&lab, "2.0.0", images.make(&SmallImage::new("2.0.0").with_noise(NOISE).thinned(THIN))?).await?;
    let assigned = Instant::now();

    let mut early = Vec::new();
    lab.wait("the branch to hold the artifact", PATIENCE, async || {
        let branch = lab.api().branches().await?.remove(0);
        let complete = branch.artifacts.iter().any(|a| a.complete);
        if !complete {
            let applied = lab.api().terminals().await?.iter().map(|t| segments(t).0).min().unwrap_or(0);
            early.push(applied);
        }
        Ok(complete.then_some(()))
    })
    .await?;
    let branch_seconds = assigned.elapsed();
    assert!(branch_seconds > Duration::from_secs(60), "the WAN was too quick to show anything: {branch_seconds:?}");
    let held = early.iter().copied().max().unwrap_or(0);
    assert!(held > 0, "no terminal held a segment before its branch was complete");

    let past = [UpdateState::Installing, UpdateState::Ready, UpdateState::Activating, UpdateState::Trying];
    let written = |state| state == UpdateState::Confirmed || past.contains(&state);
    lab.wait_terminals("every terminal to have all segments", Duration::from_secs(20), |t| {
        t.update.as_ref().is_some_and(|u| written(u.state))
    })
    .await?;
    println!(
        "branch complete after {:.0} s; every terminal held at least {held} segments before, and all of them {:.0} s later",
        branch_seconds.as_secs_f64(),
        (assigned.elapsed() - branch_seconds).as_secs_f64(),
    );
    all_confirmed(&lab, "2.0.0").await?;

    for terminal in lab.terminals() {
        let early = events(&lab, &terminal)?
            .into_iter()
            .filter(|e| e["event"] == "segments")
            .any(|e| e["torrent_complete"] == false && e["done"].as_u64().is_some_and(|done| done > 0));
        assert!(early, "{terminal}: its log has no segment written before its torrent was complete");
    }
    lab.stop().await?;
    Ok(())
}
