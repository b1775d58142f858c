//! Head office is killed at each step of publishing. From the kill until it has settled after its restart, no torrent is
//! seeded that the tracker refuses, and no release is visible that is not seeded.

use anyhow::{Context as _, ensure};
use e2e::phases::{Director, Phase};
use e2e::{Images, PATIENCE, promise, quick, version};
use fleet_types::{ReleaseState, Slot};
use lab::{Lab, Part, Place, Rate, ReleaseSpec};

/// 5 segments.
const NOISE: usize = 20_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn publishing_killed_at_each_step_is_completed_and_never_shows_too_much() -> anyhow::Result<()> {
    let images = Images::new()?;
    let mut options = quick("publishing", images.healthy("1.0.0", 100_000)?, 1, 1, 64 << 20)?;
    options.wan = Rate::mbit(30);
    options.encode_level = 12;
    let lab = Lab::start(options).await?;
    for (number, phase) in Phase::ALL[2..Phase::PUBLISHING.end].iter().enumerate() {
        let text = format!("2.{number}.0");
        let spec = ReleaseSpec::new(&text, images.healthy(&text, NOISE)?)?;
        let work = Box::pin(killed_in(&lab, *phase, &spec));
        let (evidence, judged) = promise::throughout(&lab, work).await.with_context(|| format!("killed in {phase}"))?;
        println!("{phase:<12} {evidence}; the promise was judged {judged} times");
        ensure!(judged > 0, "the promise could not be judged while {phase}");
    }
    lab.check_parts()?;
    lab.stop().await?;
    Ok(())
}

async fn killed_in(lab: &Lab, phase: Phase, spec: &ReleaseSpec) -> anyhow::Result<String> {
    let office = Part::head_office();
    let mut director = Director::new(lab, lab.terminals().remove(0), version(&spec.version.to_string()), Slot::B);
    director.arrange(phase).await?;
    lab.pack_and_upload(spec).await?;
    let evidence = director.catch(phase).await?;
    director.strike(phase, &office).await?;
    director.open()?;

    // As the kill left it, before any repair.
    let left = lab.recorded().await?.context("the release is gone")?;
    ensure!(left.state == ReleaseState::Publishing, "it is {}", left.state);
    let torrents = lab.torrents(&Place::HeadOffice).await?;
    for hash in &left.hashes {
        let accepted = lab.accepts(&Place::HeadOffice, *hash).await?;
        let seeded = torrents.iter().any(|(h, _)| h == hash);
        ensure!(accepted || !seeded, "{hash} is seeded and refused");
        // Struck between the list and the signal that has the tracker read it: to be told is left to who comes next.
        ensure!(accepted || phase == Phase::Listing, "{hash} was listed and is refused");
        ensure!(seeded || phase < Phase::Verified, "{hash} was verified and is not seeded");
    }
    ensure!(left.hashes.is_empty() == (phase < Phase::Listing), "{phase} with the torrents {:?}", left.hashes);
    let visible = lab.visible().await?;
    ensure!(left.hashes.iter().all(|h| !visible.contains(h)), "it is visible already");
    promise::holds(lab).await?;

    director.go_on(phase, &office, None).await?;
    let release = lab.wait_published(&spec.version, PATIENCE).await?;
    let hash = release.payloads[0].artifact.as_ref().context("published without an artifact")?.info_hash;
    ensure!(left.hashes.iter().all(|h| *h == hash), "another artifact than before the kill");
    ensure!(lab.visible().await?.contains(&hash), "published and not visible");
    promise::holds(lab).await?;
    Ok(evidence)
}
