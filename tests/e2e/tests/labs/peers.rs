//! Peers exchange pieces with each other and with third-party clients; the tracker accepts listed torrents only.

use std::path::Path;

use e2e::{Images, PATIENCE, all_confirmed, bring_out, is, quick, version};
use fleet_types::{Digest, TerminalRef, UpdateState};
use lab::{Lab, Part, ReleaseSpec};
use sha2::{Digest as _, Sha256};

const NOISE: usize = 12_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_alone_brings_another_to_completion() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("peers", images.healthy("1.0.0", 100_000)?, 1, 2, 32 << 20)?).await?;
    let branch = lab.branches().remove(0);
    let [first, second]: [TerminalRef; 2] = lab.terminals().try_into().unwrap();

    // The second terminal is off while the first one updates.
    lab.end(&Part::agent(&second)).await?;
    lab.end(&Part::terminal_transmission(&second)).await?;
    bring_out(&lab, "2.0.0", images.healthy("2.0.0", NOISE)?).await?;
    let confirmed = |t: &wire::v1::fleet::Terminal| is(t, &version("2.0.0"), UpdateState::Confirmed);
    lab.wait_terminal(&first, "to be confirmed", PATIENCE, confirmed).await?;

    // Now the branch's daemon is away: what the second one gets, it gets from the first.
    lab.end(&Part::branch_transmission(&branch)).await?;
    let sent_before = lab.counters(&branch)?.lan_tx_bytes;
    lab.start_part(&Part::terminal_transmission(&second))?;
    lab.start_part(&Part::agent(&second))?;
    lab.wait_terminal(&second, "to be confirmed", PATIENCE, confirmed).await?;
    let sent = lab.counters(&branch)?.lan_tx_bytes - sent_before;
    assert!(sent < NOISE as u64 / 4, "the branch server sent {sent} bytes itself");
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_completes_and_an_unlisted_hash_is_refused() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("strangers", images.healthy("1.0.0", 100_000)?, 1, 1, 32 << 20)?).await?;
    let branch = lab.branches().remove(0);
    let release = lab.publish(&ReleaseSpec::new("2.0.0", images.healthy("2.0.0", NOISE)?)?, PATIENCE).await?;
    lab.assign_all(&version("2.0.0")).await?;
    all_confirmed(&lab, "2.0.0").await?;
    let artifact = release.payloads[0].artifact.clone().unwrap();

    // A terminal's own torrent file, as its daemon keeps it, is all that the stranger gets.
    let data = lab.data_path(&lab.terminals()[0])?;
    let torrent_file = find(data.parent().unwrap_or(&data), "torrent")?;
    let torrent = swarm::Torrent::parse(&std::fs::read(&torrent_file)?)?;
    assert_eq!(torrent.info_hash(), artifact.info_hash);
    let stranger = lab.stranger(&branch).await?;
    let folder = tempfile::tempdir()?;
    let args = ["--seed-time=0", "--enable-dht=false", "--bt-enable-lpd=false", "--bt-stop-timeout=120", "--dir=."];
    let torrent_path = torrent_file.display().to_string();
    stranger.run(folder.path(), "aria2c", &[&args[..], &[torrent_path.as_str()]].concat()).await?;
    let got = sha256(&folder.path().join(artifact.file_name()))?;
    assert_eq!(got, artifact.sha256, "aria2 got other bytes");

    let announce = torrent_announce(&std::fs::read(&torrent_file)?).expect("a torrent file names its tracker");
    let ask = |hash: String| {
        let query = "port=6999&uploaded=0&downloaded=0&left=1&compact=1&event=started&peer_id=-XX0000-000000000000";
        format!("{announce}?info_hash={hash}&{query}")
    };
    let listed: String = artifact.info_hash.as_bytes().iter().map(|b| format!("%{b:02x}")).collect();
    let accepted = stranger.run(folder.path(), "curl", &["-sS", "-m", "10", &ask(listed)]).await?;
    assert!(!accepted.contains("failure reason"), "{accepted}");
    let refused = stranger.run(folder.path(), "curl", &["-sS", "-m", "10", &ask("%aa".repeat(20))]).await?;
    assert!(refused.contains("failure reason"), "an unlisted hash was answered {refused}");
    lab.stop().await?;
    Ok(())
}

/// The one file below `folder` with this extension.
fn find(folder: &Path, extension: &str) -> anyhow::Result<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("nothing named *.{extension} below {}", folder.display())
}

fn sha256(path: &Path) -> anyhow::Result<Digest> {
    Ok(Digest::new(Sha256::digest(std::fs::read(path)?).into()))
}

/// The announce URL of a torrent file: the bencoded string after its key.
fn torrent_announce(torrent: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(torrent);
    let (length, rest) = text.split_once("8:announce")?.1.split_once(':')?;
    rest.get(..length.parse().ok()?).map(str::to_owned)
}
