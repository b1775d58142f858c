//! The WAN, or a terminal's link, is cut for longer than any timeout of the programs: transfers resume by themselves, work
//! that needs no link completes without it, and reports arrive later, each once and in order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::{Images, PATIENCE, bring_out, is, quick, version};
use fleet_types::{BranchName, ReleaseState, Slot, TerminalRef, UpdateState};
use futures_util::future::try_join_all;
use lab::{Lab, LabError, LabOptions, Part, Place, Rate, ReleaseSpec, SmallImage};
use serde_json::Value;

/// How long a link is cut.
const CUT: Duration = Duration::from_secs(90);
/// Nothing in the programs waits for longer than 20 s for an answer.
const SHORT: &str = "[head_office]\nrequest_seconds = 20\nsilence_seconds = 20\n";
/// 7 segments: half a minute over the lab's WAN.
const NOISE: usize = 28_000_000;
/// Healthy only once the file `go` lies in the terminal's folder: a trial that lasts as long as a test wants.
const WAITS: &str = "#!/bin/sh\n[ -e \"$FILIAL_ROOT/../go\" ] || exit 75\n";

/// In which phase a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Uploading,
    Validating,
    Publishing,
    Fetching,
    Installing,
    Activating,
    Trying,
    Confirming,
}
use Phase::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_wan_away_while_a_branch_fetches_and_when_all_is_there() -> anyhow::Result<()> {
    wan_away("cuts", &[Fetching, Trying]).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "eight branches for three minutes: make e2e-full"]
async fn the_wan_away_in_each_phase() -> anyhow::Result<()> {
    wan_away("cuts-full", &[Uploading, Validating, Publishing, Fetching, Installing, Activating, Trying, Confirming])
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "two minutes: make e2e-full"]
async fn a_terminals_link_away_in_each_phase() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(options("cuts-terminal", &images, 1, 4)?).await?;
    let phases = [Fetching, Installing, Activating, Trying];
    bring_out(&lab, "2.0.0", slow_to_confirm(&images)?).await?;
    try_join_all(lab.terminals().into_iter().zip(phases).map(|(terminal, phase)| {
        let lab = &lab;
        async move {
            reach(lab, &terminal, phase).await?;
            lab.cut_terminal(&terminal)?;
            println!("{terminal}: its link is cut while {phase:?}, it is {}", state(lab, &terminal));
            go(lab, &terminal)?;
            pass(CUT).await;
            lab.restore_terminal(&terminal)?;
            confirmed(lab, &terminal, Instant::now()).await
        }
    }))
    .await?;
    all_right(&lab).await?;
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_complete_from_a_peer_when_branch_and_wan_have_nothing() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(options("cuts-peer", &images, 1, 3)?).await?;
    let branch = lab.branches().remove(0);
    let [first, others @ ..] = &lab.terminals()[..] else { anyhow::bail!("no terminal") };
    for terminal in others {
        lab.end(&Part::agent(terminal)).await?;
        lab.end(&Part::terminal_transmission(terminal)).await?;
    }
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;
    confirmed(&lab, first, Instant::now()).await?;

    lab.cut_wan(&branch)?;
    lab.empty_store(&branch).await?;
    let crossed = lab.counters(&branch)?.wan_rx_bytes;
    for terminal in others {
        lab.start_part(&Part::terminal_transmission(terminal))?;
        lab.start_part(&Part::agent(terminal))?;
    }
    for terminal in others {
        lab.wait(&format!("{terminal} to be confirmed without branch and WAN"), PATIENCE, async || {
            Ok((state(&lab, terminal) == "confirmed").then_some(()))
        })
        .await?;
    }
    assert_eq!(lab.counters(&branch)?.wan_rx_bytes, crossed, "something crossed a cut link");
    lab.restore_wan(&branch)?;
    all_right(&lab).await?;
    lab.stop().await?;
    Ok(())
}

fn options(name: &str, images: &Images, branches: usize, terminals: usize) -> anyhow::Result<LabOptions> {
    let mut options = quick(name, images.healthy("1.0.0", 100_000)?, branches, terminals, 48 << 20)?;
    options.wan = Rate::mbit(10);
    options.extra.branch_server += SHORT;
    Ok(options)
}

fn slow_to_confirm(images: &Images) -> anyhow::Result<PathBuf> {
    let image = SmallImage::new("2.0.0").with_noise(NOISE);
    images.make(&SmallImage { health: WAITS.into(), ..image })
}

/// A release goes out to as many branches as there are phases; each branch's WAN is cut in its phase.
async fn wan_away(name: &str, phases: &[Phase]) -> anyhow::Result<()> {
    let images = Images::new()?;
    let mut options = options(name, &images, phases.len(), 1)?;
    // A few seconds of encoding, so that there is a phase to hit.
    options.encode_level = 12;
    let lab = Lab::start(options).await?;
    let spec = ReleaseSpec::new("2.0.0", slow_to_confirm(&images)?)?;
    let branches = lab.branches();
    let release = async {
        lab.publish(&spec, PATIENCE).await?;
        lab.assign_all(&spec.version).await
    };
    let cuts = try_join_all(branches.iter().zip(phases).map(|(branch, phase)| wan_cut(&lab, branch, *phase)));
    tokio::try_join!(async { release.await.map_err(anyhow::Error::from) }, cuts)?;
    all_right(&lab).await?;
    lab.stop().await?;
    Ok(())
}

async fn wan_cut(lab: &Lab, branch: &BranchName, phase: Phase) -> anyhow::Result<()> {
    let terminal = lab.terminals_of(branch).remove(0);
    let seen = match phase {
        Uploading | Validating | Publishing => office(lab, phase).await?,
        _ => reach(lab, &terminal, phase).await?,
    };
    lab.cut_wan(branch)?;
    println!("{branch}: its WAN is cut while {phase:?}: {seen}");
    let cut = Instant::now();
    match phase {
        // Everything is there: a dead WAN is no reason to wait, and none to go back.
        Installing | Activating | Trying | Confirming => {
            if phase == Trying {
                pass(CUT / 2).await;
                assert_eq!(state(lab, &terminal), "trying", "the trial did not last");
            }
            go(lab, &terminal)?;
            lab.wait(&format!("{terminal} to be confirmed while its WAN is cut"), CUT, async || {
                Ok((state(lab, &terminal) == "confirmed").then_some(()))
            })
            .await?;
            println!("{terminal}: confirmed {:.0} s into the cut", cut.elapsed().as_secs_f64());
            let told = lab.api().terminal(&terminal).await?;
            assert!(
                !is(&told, &version("2.0.0"), UpdateState::Confirmed),
                "head office received a report over a cut link"
            );
        }
        _ => go(lab, &terminal)?,
    }
    pass(CUT.saturating_sub(cut.elapsed())).await;
    let before = lab.counters(branch)?.wan_rx_bytes;
    lab.restore_wan(branch)?;
    let restored = Instant::now();
    lab.wait(&format!("{branch} to speak to head office again"), PATIENCE, async || {
        Ok((lab.counters(branch)?.wan_rx_bytes > before + 20_000).then_some(()))
    })
    .await?;
    println!(
        "{branch}: cut while {phase:?}; traffic {:.1} s after the link was back",
        restored.elapsed().as_secs_f64()
    );
    confirmed(lab, &terminal, restored).await
}

/// Waits until head office is in a phase of the release; what was seen.
async fn office(lab: &Lab, phase: Phase) -> anyhow::Result<String> {
    let hit = |state: ReleaseState, step: &str| match phase {
        Uploading => state == ReleaseState::Uploading,
        Validating => state == ReleaseState::Validating || step == "encoding",
        _ => state == ReleaseState::Publishing,
    };
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while begun.elapsed() < PATIENCE {
        tick.tick().await;
        let Some(release) = lab.release(&version("2.0.0")).await?.or(lab.api().releases().await?.pop()) else {
            continue;
        };
        let step = release.progress.as_ref().map_or("", |p| p.step.as_str());
        if hit(release.state, step) {
            return Ok(format!("head office is {} {step}", release.state));
        }
        anyhow::ensure!(release.state != ReleaseState::Published, "{phase:?} ended before it was observed");
    }
    anyhow::bail!("{phase:?} was never observed")
}

/// Waits until a terminal is in a phase; what was seen. A phase that is over in no time is held by stopping its agent.
async fn reach(lab: &Lab, terminal: &TerminalRef, phase: Phase) -> anyhow::Result<String> {
    let wanted = match phase {
        Fetching => return fetching(lab, terminal).await,
        Installing => "installing",
        Activating => "activating",
        _ => "trying",
    };
    let (agent, begun) = (Part::agent(terminal), Instant::now());
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while begun.elapsed() < PATIENCE {
        tick.tick().await;
        if state(lab, terminal) == wanted {
            // Its machine may just be going down for the trial: then there is nothing to hold.
            let held = lab.pause(&agent).is_ok();
            let now = state(lab, terminal);
            let _ = held.then(|| lab.resume(&agent));
            anyhow::ensure!(now == wanted, "{terminal} was {now} before its link could be cut");
            return Ok(format!("{terminal} is {now}"));
        }
    }
    anyhow::bail!("{terminal} was never {wanted}")
}

/// Waits until a terminal's branch holds a part of the artifact while the terminal is fetching; what was seen.
async fn fetching(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<String> {
    let (place, total) = (Place::Branch(terminal.branch.clone()), NOISE as u64);
    let middle = async || {
        let torrents = lab.torrents(&place).await?;
        let status = torrents.into_iter().map(|(_, s)| s).find(|s| s.total_bytes >= total);
        let middle = status.filter(|s| s.have_bytes * 5 > s.total_bytes && s.have_bytes * 5 < s.total_bytes * 4);
        Ok(middle.filter(|_| state(lab, terminal) == "fetching").map(|s| (s.have_bytes, s.total_bytes)))
    };
    let (have, total) = lab.wait("the branch to be in the middle of fetching", PATIENCE, middle).await?;
    Ok(format!("{terminal} is fetching, its branch holds {have} of {total} bytes"))
}

/// The state in the terminal's own journal.
fn state(lab: &Lab, terminal: &TerminalRef) -> String {
    let read = || -> Option<String> {
        let bytes = std::fs::read(lab.data_path(terminal).ok()?.join("agent/journal.json")).ok()?;
        let journal: Value = serde_json::from_slice(&bytes).ok()?;
        Some(journal["state"]["state"].as_str()?.to_owned())
    };
    read().unwrap_or_default()
}

/// From now on the new version finds itself healthy.
fn go(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<()> {
    let data = lab.data_path(terminal)?;
    std::fs::File::create(data.parent().unwrap_or(&data).join("go"))?;
    Ok(())
}

/// The length of a cut is what is tested, so this is no wait for a condition.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn confirmed(lab: &Lab, terminal: &TerminalRef, since: Instant) -> anyhow::Result<()> {
    let is_confirmed = |t: &wire::v1::fleet::Terminal| is(t, &version("2.0.0"), UpdateState::Confirmed);
    lab.wait_terminal(terminal, "to be confirmed, as head office knows it", PATIENCE, is_confirmed).await?;
    println!("{terminal}: confirmed at head office {:.1} s after", since.elapsed().as_secs_f64());
    Ok(())
}

/// Every terminal runs the right bytes from slot B, and head office heard each of its moves once and in order.
async fn all_right(lab: &Lab) -> Result<(), anyhow::Error> {
    use UpdateState as S;
    let shipped = lab.shipped(&version("2.0.0")).ok_or_else(|| LabError::Options("nothing was shipped".into()))?;
    let good = [S::Assigned, S::Fetching, S::Installing, S::Ready, S::Activating, S::Trying, S::Confirmed];
    for terminal in lab.terminals() {
        confirmed(lab, &terminal, Instant::now()).await?;
        assert_eq!(lab.running_slot(&terminal)?, Slot::B, "{terminal}");
        assert_eq!(lab.slot_sha256(&terminal, Slot::B, shipped.length).await?, shipped.sha256, "{terminal}");
        let update = lab.api().terminal(&terminal).await?.update;
        let moves: Vec<S> = update.iter().flat_map(|u| &u.history).map(|m| m.to).collect();
        assert_eq!(moves, good, "{terminal}");
        assert_eq!(lab.boots(&terminal)?.len(), 2, "{terminal} was booted more than once for its trial");
    }
    lab.check_parts()?;
    Ok(())
}
