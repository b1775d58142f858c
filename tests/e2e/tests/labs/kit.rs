//! A branch without a link for longer than any signature is valid: releases are carried to it on a medium and pass the same
//! checks, and its reports return the same way.

use e2e::{Images, PATIENCE, all_confirmed, bring_out, is, quick, version};
use fleet_types::{BranchName, UpdateState};
use lab::{Lab, LabError, LabOptions, Place, ReleaseSpec};
use serde_json::Value;

/// Longer than a timestamp (7 days) and a plan (30 days) last, in seconds.
const AWAY: i64 = 40 * 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_a_link_recovers_by_the_kit() -> anyhow::Result<()> {
    let images = Images::new()?;
    let image = |version: &str| images.healthy(version, 3_000_000);
    let options = LabOptions { clocks: true, ..quick("kit", image("1.0.0")?, 2, 2, 32 << 20)? };
    let lab = Lab::start(options).await?;
    let [here, elsewhere] = <[BranchName; 2]>::try_from(lab.branches()).expect("two branches");
    bring_out(&lab, "2.0.0", image("2.0.0")?).await?;
    all_confirmed(&lab, "2.0.0").await?;
    let stick = tempfile::tempdir()?;
    let folder = stick.path().join("kit").display().to_string();

    lab.cut_wan(&here)?;
    // A kit that lies about until everything in it has expired.
    lab.publish(&ReleaseSpec::new("2.5.0", image("2.5.0")?)?, PATIENCE).await?;
    lab.assign(&here, &version("2.5.0")).await?;
    export(&lab, &here, &folder).await?;
    let terminals = lab.terminals().into_iter().map(Place::Terminal);
    let branches = lab.branches().into_iter().map(Place::Branch);
    let began = lab.api().status().await?.now;
    for place in terminals.chain(branches).chain([Place::HeadOffice]) {
        lab.set_clock(&place, AWAY)?;
    }
    // Programs notice within a second or so.
    let later = began + chrono::TimeDelta::seconds(AWAY);
    let noticed = async || {
        let clocks = [lab.api().status().await?.now, lab.branch_api(&here)?.status().await?.now];
        Ok(clocks.iter().all(|now| *now >= later).then_some(()))
    };
    lab.wait("the clocks to be noticed", PATIENCE, noticed).await?;
    let said = refused(import(&lab, &here, &folder).await, "an old kit")?;
    assert!(said.contains("expired"), "{said}");

    lab.publish(&ReleaseSpec::new("3.0.0", image("3.0.0")?)?, PATIENCE).await?;
    lab.assign_all(&version("3.0.0")).await?;
    let exported = export(&lab, &here, &folder).await?;
    assert_eq!((&exported["plan"], &exported["written"]), (&true.into(), &1.into()), "{exported}");
    let said = refused(import(&lab, &elsewhere, &folder).await, "another branch's kit")?;
    assert!(said.contains(&format!("filial kit export {elsewhere}")), "{said}");

    // One bit of the artifact is another: nothing of it stays.
    let artifact = exported_artifact(&folder)?;
    lab.corrupt(&artifact, 100_000)?;
    let said = refused(import(&lab, &here, &folder).await, "a damaged artifact")?;
    assert!(said.contains("SHA-256"), "{said}");
    export(&lab, &here, &folder).await?;
    let imported = import(&lab, &here, &folder).await?;
    assert_eq!(imported["brought"], 1, "{imported}");

    // By the branch server's own picture: head office cannot know yet.
    let confirmed = |t: &wire::v1::fleet::Terminal| is(t, &version("3.0.0"), UpdateState::Confirmed);
    let branch = lab.branch_api(&here)?;
    let done = async || Ok(branch.terminals().await?.iter().all(confirmed).then_some(()));
    lab.wait("the branch's terminals to be confirmed without a link", PATIENCE, done).await?;
    let known = async || -> Result<usize, LabError> {
        let terminals = lab.api().terminals().await?;
        Ok(terminals.iter().filter(|t| t.branch == here && confirmed(t)).count())
    };
    assert_eq!(known().await?, 0, "the link is cut");

    // The reports go back by hand, twice: each counts once.
    let imported = import(&lab, &here, &folder).await?;
    assert!(imported["reports"].as_u64().is_some_and(|reports| reports > 0), "{imported}");
    for _ in 0..2 {
        lab.filial(["kit", "reports", &folder]).await?;
    }
    assert_eq!(known().await?, 2);
    let moves = history(&lab, &here).await?;

    lab.restore_wan(&here)?;
    all_confirmed(&lab, "3.0.0").await?;
    let heard = async || {
        let status: Value = branch.get("/v1/status").await?;
        Ok((status["head_office"]["reports_waiting"] == 0).then_some(()))
    };
    lab.wait("the branch to have told all of it over the link too", PATIENCE, heard).await?;
    assert_eq!(history(&lab, &here).await?, moves, "what came by hand and over the link counts once");
    lab.stop().await?;
    Ok(())
}

async fn export(lab: &Lab, branch: &BranchName, folder: &str) -> anyhow::Result<Value> {
    let said = lab.filial(["kit", "export", branch.as_str(), folder, "--json"]).await?;
    println!("{said}");
    Ok(serde_json::from_str(&said)?)
}

async fn import(lab: &Lab, branch: &BranchName, folder: &str) -> anyhow::Result<Value> {
    let said = lab.filial_at(branch, ["kit", "import", folder, "--json"]).await?;
    println!("{said}");
    Ok(serde_json::from_str(&said)?)
}

/// Why something did not work.
fn refused(tried: anyhow::Result<Value>, what: &str) -> anyhow::Result<String> {
    match tried {
        Ok(done) => anyhow::bail!("{what} was taken: {done}"),
        Err(error) => {
            let said = format!("{error:#}");
            println!("{what}: {said}");
            Ok(said)
        }
    }
}

/// The newest artifact in a kit.
fn exported_artifact(folder: &str) -> anyhow::Result<std::path::PathBuf> {
    let kit: Value = serde_json::from_slice(&std::fs::read(format!("{folder}/kit.json"))?)?;
    let artifact = kit["artifacts"][0]["artifact"].as_str().expect("a digest");
    Ok(format!("{folder}/{artifact}.seg").into())
}

/// Every move of the newest update of a branch's terminals, as head office has them.
async fn history(lab: &Lab, branch: &BranchName) -> anyhow::Result<Vec<String>> {
    let terminals = lab.api().terminals().await?;
    let own = terminals.iter().filter(|t| t.branch == *branch);
    Ok(own.map(|t| format!("{}: {:?}", t.name, t.update.as_ref().map(|u| &u.history))).collect())
}
