//! One swarm of plain aria2: a seed, its clients with nothing but the LAN's torrent, a real opentracker.

use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fleet_types::InfoHash;
use swarm::tracker::{TrackerConf, TrackerRole, render_conf};
use tokio::process::Child;

use crate::data::sha256_of;
use crate::exec::{Tool, blocking, tail};
use crate::lan::Lan;
use crate::scratch::{Scratch, write};
use crate::shared::{Content, Outcome};

const TRACKER_PORT: u16 = 6969;
/// How often a client's sign of completion is looked for: what a time can be wrong by.
const LOOK: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_secs(120);

/// One round: starts everything afresh and ends it when dropped.
struct Round<'a> {
    lan: &'a Lan,
    folder: PathBuf,
    /// Run by aria2 when a download is complete; it writes a file beside the download.
    hook: PathBuf,
    running: Vec<(Child, PathBuf)>,
}

/// Sends the content from the server to every client once.
///
/// # Errors
/// A part ended or did not finish in time, or a client holds something else than was sent.
pub(crate) async fn round(lan: &Lan, content: &Content, scratch: &Scratch, number: usize) -> Result<Outcome> {
    let folder = scratch.folder(&format!("aria2-{number}"))?;
    let hook = scratch.open_folder("hook")?.join("complete");
    write(&hook, "#!/bin/sh\n: > \"$(dirname \"$3\")/complete\"\n")?;
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).context("cannot make the hook executable")?;
    let mut round = Round { lan, folder, hook, running: Vec::new() };
    round.tracker(&scratch.open_folder("tracker")?, content.torrent.info_hash())?;
    let announce = format!("http://{}:{TRACKER_PORT}/announce", Lan::SERVER);
    let torrent = round.folder.join("lan.torrent");
    write(&torrent, content.torrent.to_file(&swarm::torrent::lan_tiers(&announce)))?;
    round.seed(content, &torrent).await?;
    let outcome = round.fetch(&torrent).await?;
    let copies: Vec<PathBuf> =
        (1..=lan.clients().count()).map(|n| round.client(n).join(content.torrent.name())).collect();
    let (expected, folder) = (content.sha256, round.folder.clone());
    drop(round);
    blocking(move || {
        for copy in &copies {
            anyhow::ensure!(sha256_of(copy)? == expected, "{} is not what was sent", copy.display());
        }
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    })
    .await?;
    Ok(outcome)
}

impl Round<'_> {
    fn client(&self, number: usize) -> PathBuf {
        self.folder.join(format!("client-{number}"))
    }

    /// opentracker as the packages ship it, with a list that holds the hash from the start.
    fn tracker(&mut self, folder: &Path, hash: InfoHash) -> Result<()> {
        let access_list = folder.join("access-list");
        write(&access_list, format!("{hash}\n"))?;
        let listen = vec![SocketAddrV4::new(Lan::SERVER, TRACKER_PORT)];
        let conf = TrackerConf { role: TrackerRole::Branch, listen, access_list, user: "nobody".into() };
        let path = folder.join("opentracker.conf");
        write(&path, render_conf(&conf)?)?;
        let tool = Tool::in_namespace(&self.lan.server(), "opentracker").arg("-f").arg(&path);
        self.start(tool, "tracker")
    }

    fn start(&mut self, tool: Tool, name: &str) -> Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let child = tool.start(&log)?;
        self.running.push((child, log));
        Ok(())
    }

    /// As a person would call it; beyond that only what this network needs, and no time lost on preallocation.
    fn aria2(&self, namespace: &str, folder: &Path, torrent: &Path) -> Tool {
        let plain = [
            "--no-conf",
            "--seed-ratio=0.0",
            "--file-allocation=none",
            "--enable-dht=false",
            "--listen-port=6881",
            "--summary-interval=0",
            "--show-console-readout=false",
        ];
        let tool = Tool::in_namespace(namespace, "aria2c").args(plain);
        let hook = format!("--on-bt-download-complete={}", self.hook.display());
        tool.arg(format!("--dir={}", folder.display())).arg(hook).arg(torrent)
    }

    /// The server, until the tracker knows it as a seed.
    async fn seed(&mut self, content: &Content, torrent: &Path) -> Result<()> {
        let folder = content.file.parent().context("the content lies in no folder")?;
        let tool = self.aria2(&self.lan.server(), folder, torrent).arg("--check-integrity=true");
        self.start(tool, "seed")?;
        let escaped: String = content.torrent.info_hash().as_bytes().iter().map(|b| format!("%{b:02x}")).collect();
        let url = format!("http://{}:{TRACKER_PORT}/scrape?info_hash={escaped}", Lan::SERVER);
        let server = self.lan.server();
        self.wait("the tracker to know the seed", Duration::from_millis(100), async || {
            let answer = Tool::in_namespace(&server, "curl").args(["-sS", "--noproxy", "*", "-m", "3", &url]).run();
            // While it refuses the connection, it is still starting.
            Ok(answer.await.is_ok_and(|text| text.contains("8:completei1e")))
        })
        .await
    }

    /// All clients together, until the last has everything.
    async fn fetch(&mut self, torrent: &Path) -> Result<Outcome> {
        let mut folders = Vec::new();
        for number in 1..=self.lan.clients().count() {
            let folder = self.client(number);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            folders.push(folder);
        }
        let sent = self.lan.server_sent().await?;
        let begun = Instant::now();
        for (namespace, folder) in self.lan.clients().zip(&folders) {
            let tool = self.aria2(&namespace, folder, torrent);
            self.start(tool, &namespace)?;
        }
        self.wait("every client to be complete", LOOK, async || {
            Ok(folders.iter().all(|folder| folder.join("complete").exists()))
        })
        .await?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Outcome { seconds, server_bytes: self.lan.server_sent().await? - sent })
    }

    async fn wait(&mut self, what: &str, look: Duration, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        let mut tick = tokio::time::interval(look);
        loop {
            tick.tick().await;
            if is_so().await? {
                return Ok(());
            }
            for (child, log) in &mut self.running {
                if let Some(status) = child.try_wait().context("cannot look after a process")? {
                    bail!("A part ended unexpectedly ({status}). The end of its log {}:\n{}", log.display(), tail(log));
                }
            }
            if begun.elapsed() > DEADLINE {
                let logs: Vec<String> = self.running.iter().map(|(_, log)| tail(log)).collect();
                bail!("waited {} s for {what}; the logs end:\n{}", DEADLINE.as_secs(), logs.join("\n"));
            }
        }
    }
}
