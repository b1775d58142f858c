//! Packages on the real parts: a folder is packed, published and assigned, and a scheduler's command runs in it once it
//! is complete on the terminal, and not before.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use e2e::{Images, PATIENCE, quick, version};
use fleet_types::{BranchName, ProductName, ReleaseState, Slot, TerminalRef};
use lab::{Lab, Part, Place, Rate};
use serde_json::Value;
use wire::v1::fleet::{Assign, TerminalPackage};

/// A quarter of a minute over the slow line, an instant over the fast one.
const NOISE: usize = 2_000_000;
const SCRIPT: &str = "#!/bin/sh\n\
    [ \"$(pwd -P)\" = \"$(cd \"$FILIAL_PACKAGE\" && pwd -P)\" ] && [ -s share/filling ] || exit 1\n\
    echo \"$FILIAL_PRODUCT $FILIAL_VERSION $(cat version) $*\"\nexit 3\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_a_package_once_it_is_complete_and_not_before() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("packages", images.healthy("1.0.0", 100_000)?, 1, 2, 8 << 20)?).await?;
    let (branch, terminals) = (lab.branches().remove(0), lab.terminals());
    let first = &terminals[0];
    let script = ["tools", "--", "./install.sh", "--quiet"];
    let none = run(&lab, first, &script).await?;
    assert_eq!(none.code, 75, "no plan has come: {none:?}");

    lab.set_wan_rate(&branch, Rate::mbit(1))?;
    publish(&lab, "1.0.0").await?;
    assign(&lab, &branch, "1.0.0").await?;
    lab.wait("the first terminal to fetch the package", PATIENCE, async || {
        Ok(listed(&lab, first).await.iter().any(|p| p["state"] == "fetching").then_some(()))
    })
    .await?;
    let early = run(&lab, first, &script).await?;
    assert!(
        early.code == 75 && early.said.contains("is not complete yet") && early.said.contains("bytes"),
        "{early:?}"
    );
    let unknown = run(&lab, first, &["games", "--", "true"]).await?;
    assert!(unknown.code == 69 && unknown.said.contains("Assign a release"), "{unknown:?}");

    lab.set_wan_rate(&branch, Rate::mbit(100))?;
    for terminal in &terminals {
        told(&lab, terminal, "1.0.0").await?;
        let done = run(&lab, terminal, &script).await?;
        assert_eq!((done.code, done.said.as_str()), (3, "tools 1.0.0 this is 1.0.0 --quiet"), "{terminal}");
        let checked = run(&lab, terminal, &["tools", "--verify", "--", "sh", "-c", "kill -9 $$"]).await?;
        assert_eq!(checked.code, 128 + 9, "{checked:?}");
    }
    let shown = lab.filial(["terminal", "show", &first.to_string()]).await?;
    assert!(shown.contains("tools") && shown.contains("complete"), "{shown}");
    // It is the package's own matter: neither the agent nor a restart of it takes it away, and no slot was touched.
    lab.restart(&Part::agent(first)).await?;
    assert_eq!(run(&lab, first, &script).await?.code, 3);

    publish(&lab, "1.1.0").await?;
    assign(&lab, &branch, "1.1.0").await?;
    for terminal in &terminals {
        told(&lab, terminal, "1.1.0").await?;
        let newer = run(&lab, terminal, &script).await?;
        assert_eq!((newer.code, newer.said.as_str()), (3, "tools 1.1.0 this is 1.1.0 --quiet"), "{terminal}");
        let old = packages(&lab, terminal)?.join("tools/1.0.0");
        lab.wait(&format!("{terminal} to remove the version before"), PATIENCE, async || {
            Ok((!old.exists()).then_some(()))
        })
        .await?;
    }

    lab.filial(["unassign", branch.as_str(), "tools"]).await?;
    for terminal in &terminals {
        lab.wait(&format!("head office to hear that {terminal} has no package"), PATIENCE, async || {
            Ok(lab.api().terminal(terminal).await?.packages.is_empty().then_some(()))
        })
        .await?;
        assert_eq!(run(&lab, terminal, &script).await?.code, 69);
        assert!(!packages(&lab, terminal)?.join("tools").exists());
        assert_eq!((lab.running_slot(terminal)?, lab.boots(terminal)?.len()), (Slot::A, 1), "{terminal}");
    }
    lab.stop().await?;
    Ok(())
}

/// Packs a folder as a package, and waits until it is published.
async fn publish(lab: &Lab, version: &str) -> anyhow::Result<()> {
    let folder = lab.folder().join("releases").join(format!("tools-{version}"));
    let tree = folder.join("payloads/tools");
    std::fs::create_dir_all(tree.join("share"))?;
    put(&tree.join("share/filling"), &noise(version), 0o644)?;
    put(&tree.join("version"), format!("this is {version}").as_bytes(), 0o644)?;
    put(&tree.join("install.sh"), SCRIPT.as_bytes(), 0o755)?;
    let manifest = format!(
        "format = 1\nproduct = \"tools\"\nversion = \"{version}\"\nnotes = \"Tools\"\n\n[[payload]]\nname = \"tools\"\n\
         kind = \"package\"\nfile = \"payloads/tools\"\nrun = [\"./install.sh\"]\n"
    );
    put(&folder.join("release.toml"), manifest.as_bytes(), 0o644)?;
    let archive = folder.with_extension("upd");
    let (from, to) = (folder.display().to_string(), archive.display().to_string());
    lab.filial(["release", "pack", &from, "--out", &to]).await?;
    lab.filial(["release", "upload", &to]).await?;
    let (product, version) = (tools(), e2e::version(version));
    lab.wait("the package to be published", PATIENCE, async || {
        let release = lab.api().release(&product, &version).await?;
        Ok(release.filter(|r| r.state == ReleaseState::Published).map(drop))
    })
    .await?;
    Ok(())
}

/// Bytes that no compression makes smaller, others for each version.
fn noise(version: &str) -> Vec<u8> {
    let mut x = version.bytes().fold(7u64, |x, b| x.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..NOISE / 8).flat_map(|_| next().to_le_bytes()).collect()
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, bytes)?;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(mode))?)
}

async fn assign(lab: &Lab, branch: &BranchName, text: &str) -> anyhow::Result<()> {
    let assign = Assign { branch: branch.clone(), product: tools(), version: version(text), downgrade: false };
    let issued = lab.api().assign(&assign).await?;
    assert_eq!(issued.terminals.len(), 2, "a release without an image is for every terminal");
    Ok(())
}

fn tools() -> ProductName {
    "tools".parse().unwrap_or_else(|e| panic!("{e}"))
}

/// Waits until head office knows that this version is complete on a terminal.
async fn told(lab: &Lab, terminal: &TerminalRef, text: &str) -> anyhow::Result<()> {
    let is = |p: &TerminalPackage| p.version == version(text) && p.complete;
    lab.wait(&format!("tools {text} to be complete on {terminal}"), PATIENCE, async || {
        Ok(lab.api().terminal(terminal).await?.packages.iter().any(is).then_some(()))
    })
    .await?;
    Ok(())
}

fn packages(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<PathBuf> {
    Ok(lab.data_path(terminal)?.join("work/packages"))
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    said: String,
}

/// `terminal-agent run …` on a terminal, as its scheduler would call it.
async fn run(lab: &Lab, terminal: &TerminalRef, arguments: &[&str]) -> anyhow::Result<Ended> {
    agent(lab, terminal, &[&["run"], arguments].concat()).await
}

async fn agent(lab: &Lab, terminal: &TerminalRef, arguments: &[&str]) -> anyhow::Result<Ended> {
    let data = lab.data_path(terminal)?;
    let config = data.parent().context("a terminal has a folder")?.join("config.toml").display().to_string();
    let program = lab.program("terminal-agent")?.display().to_string();
    // The shell tells the exit code; what the command says stands before it.
    let shell = ["-c", "\"$@\" 2>&1; code=$?; echo; echo $code", "sh", &program, "--config", &config];
    let text = lab.run_in(&Place::Terminal(terminal.clone()), "sh", &[&shell, arguments].concat()).await?;
    let (said, code) = text.trim_end().rsplit_once('\n').context("no exit code")?;
    Ok(Ended { code: code.parse()?, said: said.trim().to_owned() })
}

/// What `terminal-agent packages --json` lists.
async fn listed(lab: &Lab, terminal: &TerminalRef) -> Vec<Value> {
    let listed = agent(lab, terminal, &["packages", "--json"]).await;
    listed.ok().and_then(|l| serde_json::from_str(&l.said).ok()).unwrap_or_default()
}
