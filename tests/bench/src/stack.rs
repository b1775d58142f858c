//! Our stack, whole, in the lab: what its terminals need from the moment they start until the last is complete.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use fleet_types::{UpdateState, Version};
use lab::{Happening, Lab, LabError, LabOptions, Part, Rate, ReleaseSpec};
use service_kit::{Clock, SystemClock};
use wire::v1::fleet::{Branch, Terminal, TerminalUpdate};

use crate::say::say;
use crate::shared::{Outcome, Shared, TERMINALS, UPLINK};

/// Fast enough that the branch has the artifact before it matters.
const WAN: Rate = Rate::mbit(1000);
/// Room for the image in each slot.
const SLOT: u64 = 128 << 20;
const DEADLINE: Duration = Duration::from_secs(180);

/// What was measured of our stack.
#[derive(Debug)]
pub(crate) struct Run {
    /// Length of the artifact.
    pub(crate) artifact_bytes: u64,
    /// Until the last terminal had every segment in its slot.
    pub(crate) fetched: Outcome,
    /// Seconds until the last terminal was confirmed.
    pub(crate) confirmed: f64,
}

/// Brings a release out in a lab whose branch holds it before its agents start.
///
/// # Errors
/// The lab did not come up, or the release did not reach every terminal.
pub(crate) async fn run(shared: &Shared, programs: Option<PathBuf>) -> Result<Run> {
    let lab = Lab::start(LabOptions { programs, ..options(shared)? }).await.context("the lab did not come up")?;
    let measured = Box::pin(measure(&lab, shared)).await;
    let stopped = lab.stop().await.context("the lab could not be ended in order");
    let run = measured?;
    stopped.map(|()| run)
}

fn options(shared: &Shared) -> Result<LabOptions> {
    let mut options = LabOptions::new("bench", &shared.small)?.sized(1, TERMINALS).with_wan(WAN);
    options.lan = Some(UPLINK);
    options.slot_bytes = Some(SLOT);
    options.listener = Some(Arc::new(|happening| match happening {
        Happening::Begins(what) => say(format_args!("lab: {what}")),
        Happening::Done(what, took) => say(format_args!("lab: {what} ({:.1} s)", took.as_secs_f64())),
        Happening::Boot(_) => {}
    }));
    Ok(options)
}

async fn measure(lab: &Lab, shared: &Shared) -> Result<Run> {
    let spec = ReleaseSpec::new("2.0.0", &shared.large)?;
    say("lab: bringing the release out");
    let release = lab.publish(&spec, DEADLINE).await?;
    let artifact = release.payloads.iter().find_map(|p| p.artifact.as_ref()).context("it has no artifact")?;
    // Both swarms must carry the same bytes to be compared.
    ensure!(artifact.sha256 == shared.encoded.sha256, "head office made another artifact than the bench did");
    let agents: Vec<Part> = lab.terminals().iter().map(Part::agent).collect();
    for agent in &agents {
        lab.end(agent).await?;
    }
    lab.assign_all(&spec.version).await?;
    lab.wait("the branch to hold the artifact", DEADLINE, async || {
        let has_it = |b: &Branch| b.artifacts.iter().any(|a| a.version == spec.version && a.complete);
        Ok(lab.api().status().await?.branches.iter().all(has_it).then_some(()))
    })
    .await?;

    say("lab: the branch holds the artifact; the agents start");
    let branch = lab.branches().pop().context("the lab has no branch")?;
    let before = lab.counters(&branch)?;
    let begun = SystemClock.now();
    for agent in &agents {
        lab.start_part(agent)?;
    }
    let complete = wait_all(lab, &spec.version, "complete", UpdateState::Installing).await?;
    let after = lab.counters(&branch)?;
    say(format_args!("lab: every terminal is complete after {:.1} s", seconds(begun, complete)));
    let confirmed = wait_all(lab, &spec.version, "confirmed", UpdateState::Confirmed).await?;
    say(format_args!("lab: every terminal is confirmed after {:.1} s", seconds(begun, confirmed)));
    let server_bytes = after.lan_tx_bytes - before.lan_tx_bytes;
    let fetched = Outcome { seconds: seconds(begun, complete), server_bytes };
    Ok(Run { artifact_bytes: artifact.length, fetched, confirmed: seconds(begun, confirmed) })
}

/// Waits until every terminal has moved to `state`, and returns when the last one did, by the terminals' clock (which
/// in a lab is this machine's).
async fn wait_all(lab: &Lab, version: &Version, what: &str, state: UpdateState) -> Result<DateTime<Utc>> {
    let what = format!("every terminal to be {what}");
    let reached = lab.wait(&what, DEADLINE, async || {
        let terminals = lab.api().terminals().await?;
        if let Some(why) = terminals.iter().find_map(|t| gave_up(t, version)) {
            return Err(LabError::Hopeless { what: what.clone(), why, state: lab.describe().await });
        }
        let times: Vec<DateTime<Utc>> = terminals.iter().filter_map(|t| reached(update(t, version)?, state)).collect();
        Ok((times.len() == TERMINALS).then(|| times.into_iter().max()).flatten())
    });
    Ok(reached.await?)
}

/// A terminal's update to this version.
fn update<'a>(terminal: &'a Terminal, version: &Version) -> Option<&'a TerminalUpdate> {
    terminal.update.as_ref().filter(|u| u.version == *version)
}

/// When an update came to a state last.
fn reached(update: &TerminalUpdate, state: UpdateState) -> Option<DateTime<Utc>> {
    update.history.iter().rev().find(|m| m.to == state).map(|m| m.at)
}

/// Why a terminal will not be confirmed any more.
fn gave_up(terminal: &Terminal, version: &Version) -> Option<String> {
    let update = update(terminal, version)?;
    let over = update.state.is_end() && update.state != UpdateState::Confirmed;
    let why = || update.reason.as_ref().map_or("no reason was given", |r| r.text.as_str());
    over.then(|| format!("{} is {}: {}", terminal.name, update.state, why()))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(state: &str) -> Terminal {
        let move_to = |from: Option<&str>, to: &str, second: u32| {
            let at = format!("2025-01-01T00:00:{second:02}Z");
            serde_json::json!({ "from": from, "to": to, "at": at })
        };
        let history = [
            move_to(None, "assigned", 1),
            move_to(Some("assigned"), "fetching", 2),
            move_to(Some("fetching"), "installing", 5),
            // A bad read-back: it fetches again.
            move_to(Some("installing"), "fetching", 6),
            move_to(Some("fetching"), "installing", 9),
        ];
        serde_json::from_value(serde_json::json!({
            "branch": "b", "name": "t", "model": "m", "slot_bytes": 1, "agent_version": "0.1.0", "slot": "A",
            "version": "1.0.0", "last_heard": null,
            "update": {
                "serial": 1, "product": "p", "version": "2.0.0", "state": state, "segments_done": 1,
                "segments_total": 1, "since": "2025-01-01T00:00:09Z", "history": history,
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_last_arrival_counts() {
        let terminal = terminal("installing");
        let update = update(&terminal, &"2.0.0".parse().unwrap()).unwrap();
        let at = |state| reached(update, state).map(|at| at.to_rfc3339());
        assert_eq!(at(UpdateState::Installing).as_deref(), Some("2025-01-01T00:00:09+00:00"));
        assert_eq!(at(UpdateState::Confirmed), None);
    }

    #[test]
    fn another_versions_update_is_nobodys() {
        assert!(update(&terminal("confirmed"), &"3.0.0".parse().unwrap()).is_none());
    }

    #[test]
    fn a_failed_update_is_not_waited_for() {
        let version = "2.0.0".parse().unwrap();
        assert_eq!(gave_up(&terminal("failed"), &version).as_deref(), Some("t is failed: no reason was given"));
        assert_eq!(gave_up(&terminal("confirmed"), &version), None);
        assert_eq!(gave_up(&terminal("installing"), &version), None);
    }
}
