//! Kills, corruption and write errors: an update resumes or ends with a reason, and never reports a false state.

use std::path::Path;

use anyhow::Context as _;
use e2e::phases::{Director, Phase};
use e2e::{Images, PATIENCE, all_confirmed, bring_out, ever_was, is, quick, version};
use fleet_types::{ReleaseState, Slot, TerminalRef, UpdateState};
use lab::{Lab, Part, Place, Rate, ReleaseSpec};
use serde_json::{Value, json};

/// 14 segments: enough for a middle.
const NOISE: usize = 56_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_killed_in_the_middle_of_fetching_goes_on() -> anyhow::Result<()> {
    let images = Images::new()?;
    let options = quick("agent-killed", images.healthy("1.0.0", 100_000)?, 1, 1, 80 << 20)?.with_wan(Rate::mbit(24));
    let lab = Lab::start(options).await?;
    let terminal = lab.terminals().remove(0);
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;

    let evidence = caught_fetching(&lab, &terminal).await?;
    lab.kill(&Part::agent(&terminal)).await?;
    let journal = std::fs::read_to_string(lab.data_path(&terminal)?.join("agent/events.jsonl"))?;
    assert!(!journal.contains("\"to\":\"installing\""), "it was no longer fetching when it was killed:\n{journal}");
    println!("killed the agent: {evidence}");
    lab.start_part(&Part::agent(&terminal))?;
    all_confirmed(&lab, "2.0.0").await?;
    assert_eq!(lab.running_slot(&terminal)?, Slot::B);
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn head_office_killed_in_the_middle_of_publishing_goes_on() -> anyhow::Result<()> {
    let images = Images::new()?;
    let mut options = quick("office-killed", images.healthy("1.0.0", 100_000)?, 1, 1, 80 << 20)?;
    // Slow enough to be caught in the middle: noise takes level 19 a few seconds a segment.
    options.encode_level = 19;
    options.wan = Rate::mbit(25);
    let lab = Lab::start(options).await?;
    let spec = ReleaseSpec::new("2.0.0", images.healthy("2.0.0", NOISE)?)?;
    lab.pack_and_upload(&spec).await?;

    let office = Part::head_office();
    let (done, total) = lab
        .wait("encoding to be in its middle", PATIENCE, async || {
            let release = lab.release(&spec.version).await?;
            let progress = release.filter(|r| r.state == ReleaseState::Publishing).and_then(|r| r.progress);
            let middle = progress.filter(|p| p.step == "encoding" && p.done * 20 >= p.total && p.done < p.total);
            Ok(middle.map(|p| (p.done, p.total)))
        })
        .await?;
    lab.kill(&office).await?;
    println!("killed head office with {done} of {total} bytes encoded");
    lab.start_part(&office)?;
    let release = lab.wait_published(&spec.version, PATIENCE).await?;
    assert!(release.payloads.iter().all(|p| p.artifact.is_some()));
    let resumed = resumed_bytes(&lab)?;
    assert!(resumed >= done && resumed < total, "{resumed} bytes were taken over, {done} of {total} were encoded");

    // Once more in the middle of the branch's transfer.
    lab.assign_all(&spec.version).await?;
    let (have, length) = lab
        .wait("the branch to be in the middle of fetching", PATIENCE, async || {
            let artifacts = lab.api().branches().await?.remove(0).artifacts;
            let middle = artifacts.iter().find(|a| !a.complete && a.have_bytes * 20 >= a.length);
            Ok(middle.filter(|a| a.have_bytes * 20 <= a.length * 19).map(|a| (a.have_bytes, a.length)))
        })
        .await?;
    lab.kill(&office).await?;
    println!("killed head office when its branch had {have} of {length} bytes");
    lab.start_part(&office)?;
    all_confirmed(&lab, "2.0.0").await?;
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bytes_in_a_written_slot_are_found_before_it_is_tried() -> anyhow::Result<()> {
    let images = Images::new()?;
    let options = quick("flipped", images.healthy("1.0.0", 100_000)?, 1, 1, 80 << 20)?.with_wan(Rate::mbit(24));
    let lab = Lab::start(options).await?;
    let terminal = lab.terminals().remove(0);
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;

    caught_fetching(&lab, &terminal).await?;
    let slot = lab.slot_path(&terminal, Slot::B)?;
    // The one that was being written when the agent was stopped is written again.
    for offset in written_offsets(&slot)? {
        lab.corrupt(&slot, offset)?;
    }
    lab.thaw(&Part::agent(&terminal))?;

    let ended = lab
        .wait_terminal(&terminal, "to find the flipped byte", PATIENCE, |t| {
            is(t, &version("2.0.0"), UpdateState::Failed)
        })
        .await?;
    let reason = ended.update.as_ref().and_then(|u| u.reason.clone()).unwrap();
    assert_eq!(reason.code, "read-back-mismatch", "{}", reason.text);
    assert!(!ever_was(&ended, UpdateState::Trying) && !ever_was(&ended, UpdateState::Activating), "{:?}", ended.update);
    let env = lab.read_env(&terminal)?;
    assert_eq!((env.default, env.trial), (Slot::A, None), "{env:?}");
    assert_eq!(lab.boots(&terminal)?.len(), 1, "it was booted again");
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_variable_that_cannot_be_written_never_advances_the_state() -> anyhow::Result<()> {
    let images = Images::new()?;
    let options = quick("boot-variable", images.healthy("1.0.0", 100_000)?, 1, 1, 80 << 20)?.with_wan(Rate::mbit(24));
    let lab = Lab::start(options).await?;
    let terminal = lab.terminals().remove(0);
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;

    caught_fetching(&lab, &terminal).await?;
    let block = lab.env_path(&terminal)?;
    let before = std::fs::read(&block)?;
    let read_only = ReadOnly::make(&lab, &terminal, &block).await?;
    lab.thaw(&Part::agent(&terminal))?;
    lab.wait_terminal(&terminal, "to be activating, or to have given up", PATIENCE, |t| {
        is(t, &version("2.0.0"), UpdateState::Activating) || is(t, &version("2.0.0"), UpdateState::Failed)
    })
    .await?;
    let ended = lab
        .wait_terminal(&terminal, "to give up without a boot variable", PATIENCE, |t| {
            is(t, &version("2.0.0"), UpdateState::Failed)
        })
        .await?;
    let reason = ended.update.as_ref().and_then(|u| u.reason.clone()).unwrap();
    println!("head office has the reason: {} ({})", reason.text, reason.code);
    assert!(!ever_was(&ended, UpdateState::Trying), "{:?}", ended.update);
    assert_eq!(std::fs::read(&block)?, before, "the block was written after all");
    assert_eq!(lab.boots(&terminal)?.len(), 1, "it was booted again");
    read_only.undo(&lab, &terminal).await?;
    lab.stop().await?;
    Ok(())
}

/// How many bytes the last encoding took over from an earlier run, by head office's log.
fn resumed_bytes(lab: &Lab) -> anyhow::Result<u64> {
    let path = lab.log(&Part::head_office())?;
    let log = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut after = log.lines().filter(|line| line.contains("encoded")).filter_map(|line| line.split_once("resumed"));
    let last = after.next_back().with_context(|| format!("{} does not say what was resumed", path.display()))?.1;
    let digits: String = last.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("resumed{last}"))
}

/// The agent stands still in the middle of fetching, by its own journal, until it is thawed or killed; what proves it.
async fn caught_fetching(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<String> {
    Director::new(lab, terminal.clone(), version("2.0.0"), Slot::B).catch(Phase::Fetching).await
}

/// The middle of what is written of each segment: the last one is shorter than the others.
fn written_offsets(slot: &Path) -> anyhow::Result<Vec<u64>> {
    let bytes = std::fs::read(slot)?;
    const SEGMENT: usize = 4 << 20;
    let last = |segment: &[u8]| segment.iter().rposition(|b| *b != 0);
    let written = bytes.chunks(SEGMENT).enumerate().filter_map(|(number, s)| Some((number, last(s)?)));
    let offsets: Vec<u64> = written.map(|(number, last)| (number * SEGMENT + last / 2) as u64).collect();
    anyhow::ensure!(!offsets.is_empty(), "nothing is written in {}", slot.display());
    Ok(offsets)
}

/// A file that even root cannot write, as a medium that has died: a read-only mount of it over itself.
struct ReadOnly(String);

impl ReadOnly {
    async fn make(lab: &Lab, terminal: &TerminalRef, file: &Path) -> anyhow::Result<Self> {
        let path = file.display().to_string();
        // In the root helper's own mount namespace: it alone writes the block.
        let script = format!("mount --bind '{path}' '{path}' && mount -o remount,ro,bind '{path}'");
        nsenter(lab, terminal, &script).await?;
        Ok(Self(path))
    }

    async fn undo(self, lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<()> {
        nsenter(lab, terminal, &format!("umount '{}'", self.0)).await
    }
}

/// Runs a script where the terminal's root helper sees its files: `ip netns exec` gives it a mount namespace of its own,
/// which ends with it, and so does what is mounted there.
async fn nsenter(lab: &Lab, terminal: &TerminalRef, script: &str) -> anyhow::Result<()> {
    let pid = lab.pid(&Part::helper(terminal))?.to_string();
    lab.run_in(&Place::Terminal(terminal.clone()), "nsenter", &["-t", &pid, "-m", "sh", "-c", script]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_lost_its_store_fetches_everything_again() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("store-lost", images.healthy("1.0.0", 100_000)?, 1, 1, 64 << 20)?).await?;
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", 12_000_000)?).await?;
    all_confirmed(&lab, "2.0.0").await?;
    let branch = lab.branches().remove(0);
    let held = async || {
        let status = lab.branch_api(&branch)?.status().await?;
        Ok::<_, lab::LabError>(status.branches[0].artifacts.iter().map(|a| a.complete).collect::<Vec<_>>())
    };
    assert_eq!(held().await?, [true]);
    let served = async || {
        let fields = json!({ "fields": ["id", "trackerStats"] });
        let mut answer = lab.daemon_rpc(&Place::HeadOffice)?.call("torrent-get", fields).await?;
        Ok::<_, lab::LabError>(answer["torrents"].get_mut(0).map(Value::take))
    };
    let is_announced = |torrent: &Value| torrent["trackerStats"][0]["lastAnnounceSucceeded"] == true;
    let before = served().await?.context("head office serves it")?["id"].take();
    // The tracker hears of the loss only after head office has renewed the torrent: its daemon takes the branch for a seed.
    let rules =
        "table ip deaf { chain out { type filter hook output priority 0; ip daddr 10.77.0.1 tcp dport 6969 drop; }; }";
    let place = Place::Branch(branch.clone());
    lab.run_in(&place, "nft", &[rules]).await?;
    lab.empty_store(&branch).await?;
    lab.wait("the loss to be seen", PATIENCE, async || Ok((held().await? == [false]).then_some(()))).await?;
    lab.wait("the renewal", PATIENCE, async || {
        Ok(served().await?.filter(|torrent| torrent["id"] != before && is_announced(torrent)))
    })
    .await?;
    lab.run_in(&place, "nft", &["delete table ip deaf"]).await?;
    lab.wait("all of it again", PATIENCE, async || Ok((held().await? == [true]).then_some(()))).await?;
    lab.stop().await?;
    Ok(())
}

/// A branch's daemon takes a terminal that was complete once for one that needs nothing, for as long as it has the torrent.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_lost_what_it_fetched_is_served_again() -> anyhow::Result<()> {
    let images = Images::new()?;
    let options = quick("terminal-lost", images.healthy("1.0.0", 100_000)?, 1, 1, 80 << 20)?.with_wan(Rate::mbit(24));
    let lab = Lab::start(options).await?;
    let terminal = lab.terminals().remove(0);
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;

    // Its data and boot state as they are in the middle of fetching take the place of what is there when all is done, as
    // if the disk had kept nothing since.
    caught_fetching(&lab, &terminal).await?;
    let kept = tempfile::tempdir()?;
    let data = lab.data_path(&terminal)?;
    let boot = lab.env_path(&terminal)?.parent().context("the boot state's folder")?.to_owned();
    let (agent, daemon) = (Part::agent(&terminal), Part::terminal_transmission(&terminal));
    lab.kill(&daemon).await?;
    for folder in [&data, &boot] {
        copy(&lab, folder, &kept.path().join(folder.file_name().context("a name")?)).await?;
    }
    lab.start_part(&daemon)?;
    lab.thaw(&agent)?;
    all_confirmed(&lab, "2.0.0").await?;
    assert_eq!(lab.running_slot(&terminal)?, Slot::B);
    for part in [&agent, &daemon] {
        lab.kill(part).await?;
    }
    for folder in [&data, &boot] {
        std::fs::remove_dir_all(folder)?;
        copy(&lab, &kept.path().join(folder.file_name().context("a name")?), folder).await?;
    }
    let before = lab.boots(&terminal)?.len();
    lab.power_cycle(&terminal).await?;
    lab.wait("the update to be through once more", PATIENCE, async || {
        let boots = lab.boots(&terminal)?;
        let slots: Vec<Slot> = boots.iter().skip(before).map(|b| b.slot).collect();
        let env = lab.read_env(&terminal)?;
        Ok((slots == [Slot::A, Slot::B] && (env.default, env.trial) == (Slot::B, None)).then_some(()))
    })
    .await?;
    lab.stop().await?;
    Ok(())
}

/// With owners, modes and times.
async fn copy(lab: &Lab, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    lab.run_in(&Place::HeadOffice, "cp", &["-a", &from, &to]).await?;
    Ok(())
}
