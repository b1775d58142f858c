//! Judges a soak once all faults are lifted: did everything converge? By the programs' APIs, and by the lab's own
//! observations where it can make them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use fleet_types::{BranchName, InfoHash, ReleaseState, UpdateState, Version};
use lab::{Lab, LabError, Place, Run};
use serde_json::Value;
use wire::ReasonCode;
use wire::v1::fleet::Terminal;
use wire::v1::releases::Release;

use super::log::Log;
use super::operator::Operator;

/// How long each step of coming to rest may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks the daemon of the place where it runs which torrents it seeds; `$0` is the file with its password.
const SEEDED: &str = r#"url=http://127.0.0.1:9091/transmission/rpc; user="filial:$(cat "$0")"
id=$(curl -s -m 10 -o /dev/null -D - -u "$user" $url | tr -d '\r' | sed -n 's/^X-Transmission-Session-Id: //p')
curl -s -m 10 -u "$user" -H "X-Transmission-Session-Id: $id" \
    -d '{"method":"torrent-get","arguments":{"fields":["hashString","status"]}}' $url"#;
/// Its number for a torrent that is seeded.
const SEEDING: u64 = 6;

/// Publishes a last release and waits until everything has settled; returns that release's run.
pub(super) async fn converge(lab: &Lab, log: &Log, operator: &mut Operator<'_>) -> anyhow::Result<Run> {
    lab.wait("head office to be ready", PATIENCE, async || lab.api().is_ready().await.map(Some)).await?;
    log.note("head office is ready; the last release");
    let (version, mut run) = last_release(lab, log, operator).await?;
    run.published();
    log.note(&format!("{version} is published"));
    run.assigned();
    for branch in lab.branches() {
        lab.wait(&format!("{branch} to be assigned {version}"), PATIENCE, async || {
            Ok(operator.assign(&branch, &version).await.ok())
        })
        .await?;
    }
    let confirmed = |t: &Terminal| {
        t.update.as_ref().is_some_and(|u| u.version == version && u.state == UpdateState::Confirmed)
            && t.version.as_ref() == Some(&version)
    };
    lab.wait_terminals(&format!("every terminal to be confirmed on {version}"), PATIENCE, confirmed).await?;
    run.all_confirmed();
    log.note(&format!("every terminal is confirmed on {version}"));
    settle(lab).await?;
    log.note("releases, seeds and reports have settled");
    Ok(run)
}

/// Whether a release was rejected because a branch has no room for it, and for nothing else.
fn is_for_want_of_room(release: &Release) -> bool {
    release.reason(ReasonCode::RulesFailed).is_some_and(|r| r.params.get("rules") == Some("branch-space"))
}

/// A release that is published. One that was judged by the room that a branch had while its disk was full is uploaded
/// again, as its operator would.
async fn last_release(lab: &Lab, log: &Log, operator: &mut Operator<'_>) -> anyhow::Result<(Version, Run)> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(15));
    loop {
        tick.tick().await;
        let version = operator.release(PATIENCE).await?;
        let run = lab.begin(&version).await?;
        let Err(error) = lab.wait_published(&version, PATIENCE).await else { return Ok((version, run)) };
        let full = |r: Release| r.state == ReleaseState::Rejected && is_for_want_of_room(&r);
        if !lab.release(&version).await?.is_some_and(full) || begun.elapsed() > PATIENCE {
            return Err(error.into());
        }
        log.note(&format!("{version} was rejected for want of room; once more"));
    }
}

/// Releases in a final state, what is published seeded, no report on its way.
async fn settle(lab: &Lab) -> Result<(), LabError> {
    lab.wait("every release to be in a final state", PATIENCE, async || {
        Ok(lab.api().releases().await?.iter().all(is_final).then_some(()))
    })
    .await?;
    lab.wait("every published artifact to be seeded by head office", PATIENCE, async || {
        let published: BTreeSet<InfoHash> = lab.api().releases().await?.iter().flat_map(hashes).collect();
        Ok(seeded(lab).await?.is_superset(&published).then_some(()))
    })
    .await?;
    lab.wait("no report to wait in a branch", PATIENCE, async || {
        let mut waiting = 0;
        for branch in lab.branches() {
            let status: Value = lab.branch_api(&branch)?.get(wire::v1::paths::STATUS).await?;
            waiting += status["head_office"]["reports_waiting"].as_u64().unwrap_or(1);
        }
        Ok((waiting == 0).then_some(()))
    })
    .await
}

/// Nothing more will happen to it by itself. An upload that was given up half-way rests until it is swept.
fn is_final(release: &Release) -> bool {
    use ReleaseState as S;
    match release.state {
        S::Published | S::Rejected | S::Withdrawn => true,
        S::Uploading => release.received_bytes < release.archive_bytes,
        _ => false,
    }
}

fn hashes(release: &Release) -> Vec<InfoHash> {
    let artifacts = release.payloads.iter().filter_map(|p| p.artifact.as_ref());
    artifacts.filter(|_| release.state == ReleaseState::Published).map(|a| a.info_hash).collect()
}

async fn seeded(lab: &Lab) -> Result<BTreeSet<InfoHash>, LabError> {
    let password = lab.folder().join("head-office/transmission-password").display().to_string();
    let text = lab.run_in(&Place::HeadOffice, "sh", &["-c", SEEDED, &password]).await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let torrents = answer["arguments"]["torrents"].as_array().cloned().unwrap_or_default();
    let seeding = torrents.iter().filter(|t| t["status"].as_u64() == Some(SEEDING));
    Ok(seeding.filter_map(|t| t["hashString"].as_str()?.parse().ok()).collect())
}

/// What is not as it should be, now that everything rests.
pub(super) async fn problems(lab: &Lab, run: &Run, acknowledged: &[Version]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    match lab.report(run).await {
        Ok(_) => {}
        Err(LabError::Differs(differences)) => problems.extend(differences),
        Err(e) => return Err(e.into()),
    }
    let releases = lab.api().releases().await?;
    for version in acknowledged {
        if !releases.iter().any(|r| r.version.as_ref() == Some(version) && r.state != ReleaseState::Uploading) {
            problems.push(format!("the upload of {version} was acknowledged, but head office does not have it"));
        }
    }
    // Disks are filled here: judged by the room that there was, a release is refused by name, and nothing is lost.
    let refused = |r: &&Release| r.state == ReleaseState::Rejected && !is_for_want_of_room(r);
    let rejected = releases.iter().filter(refused);
    problems.extend(rejected.map(|r| format!("{} was rejected: {:?}", r.file_name, r.reasons)));
    for terminal in lab.api().terminals().await? {
        problems.extend(broken_history(&terminal));
    }
    for branch in lab.branches() {
        let there: wire::v1::status::Status = lab.branch_api(&branch)?.get(wire::v1::paths::STATUS).await?;
        problems.extend(there.terminals.iter().filter_map(broken_history).map(|p| format!("at the branch: {p}")));
    }
    if let Err(e) = lab.check_parts() {
        problems.push(e.to_string());
    }
    problems.extend(left_over(lab.folder()).into_iter().map(|path| format!("left over: {path}")));
    Ok(problems)
}

/// What is wrong with the moves of a terminal's newest update: each must begin where the one before ended.
fn broken_history(terminal: &Terminal) -> Option<String> {
    let update = terminal.update.as_ref()?;
    let name = format!("{}/{}", terminal.branch, terminal.name);
    let mut before = None;
    for step in &update.history {
        let begins_anew = step.from.is_none() && step.to == UpdateState::Assigned;
        if step.from != before && !begins_anew {
            let text = |state: Option<UpdateState>| state.map_or("nothing", UpdateState::as_str);
            return Some(format!(
                "{name}: a move from {} to {} follows one that ended in {}",
                text(step.from),
                step.to,
                text(before)
            ));
        }
        before = Some(step.to);
    }
    (before != Some(update.state)).then(|| format!("{name}: its moves do not end in {}", update.state))
}

/// Stale temporary files, outside the daemons' own folders.
fn left_over(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        match path.is_dir() {
            true if ["transmission", "logs", "root", "releases", "operator"].contains(&name.as_str()) => {}
            true => found.extend(left_over(&path)),
            false if name.ends_with(".tmp") || name == "filler" => found.push(path.display().to_string()),
            false if folder.ends_with("store/work") => found.push(path.display().to_string()),
            false => {}
        }
    }
    found
}

/// What crossed each branch's WAN link, over the length of all artifacts that it was assigned.
pub(super) async fn wan_ratios(
    lab: &Lab,
    assigned: &BTreeMap<BranchName, BTreeSet<Version>>,
) -> anyhow::Result<Vec<Value>> {
    let releases = lab.api().releases().await?;
    let mut ratios = Vec::new();
    for branch in lab.branches() {
        let versions = assigned.get(&branch).cloned().unwrap_or_default();
        let ours = releases.iter().filter(|r| r.version.as_ref().is_some_and(|v| versions.contains(v)));
        let artifacts = ours.flat_map(|r| &r.payloads).filter_map(|p| p.artifact.as_ref());
        let bytes: u64 = artifacts.map(|a| a.length).sum();
        let crossed = lab.counters(&branch)?.wan_rx_bytes;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let ratio = (crossed as f64 / bytes.max(1) as f64 * 1000.0).round() / 1000.0;
        ratios.push(
            serde_json::json!({"branch": branch, "wan_rx_bytes": crossed, "assigned_bytes": bytes, "ratio": ratio}),
        );
    }
    Ok(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terminal(moves: &[(Option<&str>, &str)]) -> Terminal {
        let at = "2030-01-10T12:00:00Z";
        let history: Vec<Value> = moves.iter().map(|(from, to)| json!({"from": from, "to": to, "at": at})).collect();
        serde_json::from_value(json!({
            "branch": "b", "name": "t", "model": "m", "slot_bytes": 1, "agent_version": "1",
            "update": {"serial": 1, "product": "p", "version": "1.0.0", "state": "fetching", "segments_done": 0,
                       "segments_total": 1, "since": at, "history": history}
        }))
        .unwrap()
    }

    #[test]
    fn a_history_without_gap_or_repetition_is_in_order() {
        let good = terminal(&[(None, "assigned"), (Some("assigned"), "fetching")]);
        assert_eq!(broken_history(&good), None);
        let again =
            [(None, "assigned"), (Some("assigned"), "failed"), (None, "assigned"), (Some("assigned"), "fetching")];
        assert_eq!(broken_history(&terminal(&again)), None);
    }

    #[test]
    fn a_gap_a_repetition_and_a_missing_end_are_told() {
        let gap = terminal(&[(None, "assigned"), (Some("installing"), "fetching")]);
        assert!(
            broken_history(&gap).unwrap().contains("from installing to fetching follows one that ended in assigned")
        );
        let twice = [(None, "assigned"), (Some("assigned"), "fetching"), (Some("assigned"), "fetching")];
        assert!(broken_history(&terminal(&twice)).is_some());
        assert!(broken_history(&terminal(&[(None, "assigned")])).unwrap().contains("do not end in fetching"));
    }
}
