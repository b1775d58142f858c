//! A lying or silent tracker only causes delay.

use std::time::Duration;

use e2e::{Images, PATIENCE, all_confirmed, is, quick, version};
use fleet_types::{BranchName, UpdateState};
use lab::{Lab, Lie, Part, Place, ReleaseSpec, Role};

/// Waiting torrents ask again less and less often.
const ASKED_AGAIN: Duration = Duration::from_secs(600);

/// Most memory that an agent may ever have used, in KiB: what its unit allows.
const AGENT_KIB: u64 = 96 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn trackers_that_lie_or_are_silent_only_delay() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("trackers", images.healthy("1.0.0", 100_000)?, 1, 2, 32 << 20)?).await?;
    let branch = lab.branches().remove(0);
    for terminal in lab.terminals() {
        lab.end(&Part::agent(&terminal)).await?;
    }
    let release = lab.publish(&ReleaseSpec::new("2.0.0", images.healthy("2.0.0", 12_000_000)?)?, PATIENCE).await?;
    let hash = release.payloads[0].artifact.clone().unwrap().info_hash.to_string();
    lab.assign_all(&version("2.0.0")).await?;
    lab.wait("the branch to hold the artifact", PATIENCE, async || {
        let artifacts = lab.api().branches().await?.remove(0).artifacts;
        Ok(artifacts.iter().any(|a| a.complete).then_some(()))
    })
    .await?;

    let mut started = false;
    for (name, lie) in Lie::ALL {
        lab.lie_tracker(&branch, lie).await?;
        let said = tracker_log(&lab, &branch)?.len();
        for terminal in lab.terminals() {
            // A daemon announces when it starts.
            lab.restart(&Part::terminal_transmission(&terminal)).await?;
            if !started {
                lab.start_part(&Part::agent(&terminal))?;
            }
        }
        started = true;
        let what = format!("both terminals to have asked the {name} tracker");
        lab.wait(&what, PATIENCE, async || {
            let log = tracker_log(&lab, &branch)?;
            let asked = |last: u8| log[said..].contains(&format!("10.78.1.{last}:"));
            Ok((asked(11) && asked(12)).then_some(()))
        })
        .await?;
        harmless(&lab, name, &hash).await?;
    }
    // The branch server has come back to the liar as well, or its tracker has forgotten it: either way no peer learns of it.
    lab.restore_tracker(&branch).await?;
    let confirmed = version("2.0.0");
    lab.wait_terminals("every terminal to be confirmed once the tracker is honest", ASKED_AGAIN, |t| {
        is(t, &confirmed, UpdateState::Confirmed)
    })
    .await?;
    harmless(&lab, "honest", &hash).await?;

    // Peers that know each other need no tracker.
    lab.publish(&ReleaseSpec::new("3.0.0", images.healthy("3.0.0", 12_000_000)?)?, PATIENCE).await?;
    lab.assign_all(&version("3.0.0")).await?;
    lab.wait_terminals("every terminal to have begun", PATIENCE, |t| {
        t.update.as_ref().is_some_and(|u| u.version == version("3.0.0") && u.segments_done > 0)
    })
    .await?;
    lab.lie_tracker(&branch, Lie::Silent).await?;
    all_confirmed(&lab, "3.0.0").await?;
    lab.stop().await?;
    Ok(())
}

/// Nothing failed, nothing wrong was accepted, nothing waits for a person, and memory is bounded.
async fn harmless(lab: &Lab, name: &str, hash: &str) -> anyhow::Result<()> {
    for terminal in lab.terminals() {
        let update = lab.api().terminal(&terminal).await?.update;
        let ended = update.filter(|u| matches!(u.state, UpdateState::Failed | UpdateState::RolledBack));
        assert!(ended.is_none(), "{terminal} under a {name} tracker: {ended:?}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", lab.pid(&Part::agent(&terminal))?))?;
        let peak =
            status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
        let peak: u64 = peak.expect("the kernel says how much memory was used");
        assert!(peak <= AGENT_KIB, "{terminal}'s agent used {peak} KiB under a {name} tracker");
        // On a terminal that is being restarted no program answers for a moment.
        let rpc = lab.daemon_rpc(&Place::Terminal(terminal.clone()))?;
        let answer = async || Ok(rpc.torrent(hash, &["error", "corruptEver"]).await.ok());
        let torrent = lab.wait(&format!("the daemon of {terminal} to answer"), PATIENCE, answer).await?;
        // 3 is an error on the machine itself: the daemon stops the torrent until an operator starts it.
        assert!(torrent["error"] != 3 && torrent["corruptEver"].as_u64().unwrap_or(0) == 0, "{terminal}: {torrent}");
    }
    Ok(())
}

fn tracker_log(lab: &Lab, branch: &BranchName) -> Result<String, lab::LabError> {
    let path = lab.log(&Place::Branch(branch.clone()).part(Role::Opentracker))?;
    std::fs::read_to_string(&path).map_err(|source| lab::LabError::File { action: "read", path, source })
}
