//! Keys are rotated with the operator's commands while the fleet runs: no visit to a branch or terminal is needed, and what
//! old keys sign afterwards is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::TimeDelta;
use e2e::{Images, PATIENCE, all_confirmed, bring_out, quick, version};
use fleet_types::{ReleaseState, TerminalRef};
use lab::{Lab, Part, ReleaseSpec};
use service_kit::{Clock as _, SystemClock};
use test_kit::TestFleet;
use trust::SigningKey;
use trust::client::Client;
use trust::repository::{Change, Lifetimes, RoleName, SignedPayload, store};
use wire::v1::releases::Release;

/// The person with the offline keys, at the lab's folder of trust.
struct Holder<'a> {
    lab: &'a Lab,
    trust: PathBuf,
}

impl<'a> Holder<'a> {
    fn of(lab: &'a Lab) -> Self {
        Self { lab, trust: lab.trust_folder() }
    }

    fn path(&self, name: &str) -> String {
        self.trust.join(name).display().to_string()
    }

    fn offline(&self, key: &str) -> String {
        self.path(&format!("offline/{key}.pem"))
    }

    /// `filial trust …`
    async fn trust(&self, words: &[&str]) -> anyhow::Result<String> {
        Ok(self.lab.filial([&["trust"], words].concat()).await?)
    }

    /// Makes a key; its public part.
    async fn key(&self, file: &str) -> anyhow::Result<String> {
        let made = self.trust(&["key", file, "--json"]).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        Ok(made["public"].as_str().context("a public key")?.to_owned())
    }

    /// Proposes, with `more` on the command line, and signs with these keys; the proposal's file.
    async fn signed(&self, role: &str, more: &[&str], keys: &[&str]) -> anyhow::Result<String> {
        let out = self.path(&format!("{role}.proposal"));
        self.trust(&[&["propose", &self.path(""), role, "--out", &out], more].concat()).await?;
        let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", key]).collect();
        self.trust(&[&["sign", &out], &keys[..]].concat()).await?;
        Ok(out)
    }

    async fn accept(&self, proposals: &[&str]) -> anyhow::Result<()> {
        let (folder, online) = (self.path(""), self.path("online"));
        self.trust(&[&["accept", &folder], proposals, &["--online", &online]].concat()).await?;
        Ok(())
    }

    /// Puts a key into the place of one that head office has.
    fn replace(&self, new: &str, old: &str) -> anyhow::Result<()> {
        std::fs::rename(new, self.path(&format!("online/{old}.pem")))
            .with_context(|| format!("put {new} into its place"))
    }

    /// Three new root keys, two of which must sign; signed by two of the old and two of the new.
    async fn rotate_root(&self, old: &str, new: &str) -> anyhow::Result<()> {
        let (mut words, mut keys) = (vec!["--threshold".to_owned(), "2".to_owned()], Vec::new());
        for number in 1..=3 {
            let file = self.offline(&format!("{new}-{number}"));
            words.extend(["--key".to_owned(), self.key(&file).await?]);
            keys.push(file);
        }
        keys.truncate(2);
        keys.extend([self.offline(&format!("{old}-1")), self.offline(&format!("{old}-3"))]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let proposal = self.signed("root", &words, &keys).await?;
        self.accept(&[&proposal]).await
    }

    /// Head office reads its keys when it starts.
    async fn restart_head_office(&self) -> anyhow::Result<()> {
        self.lab.restart(&Part::head_office()).await?;
        let ready = async || Ok(self.lab.api().is_ready().await.ok());
        Ok(self.lab.wait("head office to be ready again", PATIENCE, ready).await?)
    }
}

/// What a terminal believes.
fn believed(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<Client> {
    Ok(Client::open(&lab.data_path(terminal)?.join("agent/trust.json"))?)
}

fn root_version(files: &BTreeMap<String, Vec<u8>>) -> Option<u64> {
    files.keys().filter_map(|name| name.strip_suffix(".root.json")?.parse().ok()).max()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_release_keys_are_rotated_and_the_old_ones_sign_nothing_more() -> anyhow::Result<()> {
    let images = Images::new()?;
    let image = |version: &str| images.healthy(version, 1_000_000);
    let lab = Lab::start(quick("rotations", image("1.0.0")?, 1, 1, 16 << 20)?).await?;
    let (holder, terminal) = (Holder::of(&lab), lab.terminals().remove(0));
    bring_out(&lab, "2.0.0", image("2.0.0")?).await?;
    all_confirmed(&lab, "2.0.0").await?;

    // A terminal that is switched off misses two roots; every key of the first one is gone by then.
    let parts = [Part::agent(&terminal), Part::terminal_transmission(&terminal), Part::helper(&terminal)];
    for part in &parts {
        lab.end(part).await?;
    }
    assert_eq!(root_version(&believed(&lab, &terminal)?.files()), Some(1));
    holder.rotate_root("root", "second").await?;
    holder.rotate_root("second", "third").await?;
    bring_out(&lab, "3.0.0", image("3.0.0")?).await?;
    for part in parts.iter().rev() {
        lab.start_part(part)?;
    }
    all_confirmed(&lab, "3.0.0").await?;
    assert_eq!(root_version(&believed(&lab, &terminal)?.files()), Some(3));

    // The product gets another release key, which head office does not have: it signs nothing of the product any more.
    let (role, new) = ("product-kiosk", holder.offline("product-kiosk-9"));
    let public = holder.key(&new).await?;
    let targets = holder.offline("targets-1");
    let delegation = holder.signed(role, &["--key", &public], &[&targets]).await?;
    let moved = holder.path("delegation.proposal");
    std::fs::rename(&delegation, &moved)?;
    let again = holder.signed(role, &["--after", &moved], &[&new]).await?;
    holder.accept(&[&moved, &again]).await?;
    let thief = SigningKey::read(Path::new(&holder.path("online/product-kiosk-1.pem")))?;
    for old in ["online/product-kiosk-1.pem", "online/product-kiosk-2.pem"] {
        std::fs::remove_file(holder.path(old))?;
    }
    holder.restart_head_office().await?;

    let spec = ReleaseSpec::new("4.0.0", image("4.0.0")?)?;
    lab.pack_and_upload(&spec).await?;
    let waits = async || Ok(lab.release(&spec.version).await?.filter(|r| r.state == ReleaseState::AwaitingSignature));
    let release = lab.wait("the release to wait for its signature", PATIENCE, waits).await?;
    let stolen = signed_by(&lab, &release, &thief)?;
    let refused =
        lab.filial(["release", "post-signatures", "kiosk/4.0.0", &stolen]).await.expect_err("an old key signed");
    assert!(refused.to_string().contains("unknown-signer"), "{refused}");
    println!("a release signed by the key before: {refused}");
    assert_eq!(lab.release(&spec.version).await?.map(|r| r.state), Some(ReleaseState::AwaitingSignature));

    let archive = lab.folder().join("releases/4.0.0.upd").display().to_string();
    let out = holder.path("4.0.0.proposal");
    let sign = ["release", "sign", &archive, "--metadata", &holder.path(""), "--key", &new, "--out", &out, "--post"];
    lab.filial(sign).await?;
    lab.wait_published(&spec.version, PATIENCE).await?;
    lab.assign_all(&spec.version).await?;
    all_confirmed(&lab, "4.0.0").await?;
    lab.stop().await?;
    Ok(())
}

/// The signed metadata that a holder of this key can post.
fn signed_by(lab: &Lab, release: &Release, key: &SigningKey) -> anyhow::Result<String> {
    let repository = store::read(&lab.trust_folder().join("metadata"))?;
    let payload = &release.payloads.first().context("a payload")?.payload;
    let role = "product-kiosk".parse::<RoleName>()?;
    let payload = SignedPayload {
        product: release.product.clone().context("a product")?,
        version: release.version.clone().context("a version")?,
        payload: payload.name.clone(),
        manifest: release.manifest.context("a manifest")?,
        sha256: payload.sha256,
        length: payload.length,
    };
    let now = SystemClock.now();
    let mut proposal = repository.propose(&role, &[Change::Release(vec![payload])], now, now + TimeDelta::days(30))?;
    proposal.sign(key)?;
    let file = lab.folder().join("stolen.proposal");
    service_kit::durable::write_file(&file, &proposal.to_bytes()?)?;
    Ok(file.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_keys_of_freshness_are_replaced_and_everything_recovers_by_itself() -> anyhow::Result<()> {
    let images = Images::new()?;
    let image = |version: &str| images.healthy(version, 1_000_000);
    let lab = Lab::start(quick("stolen-timestamp", image("1.0.0")?, 1, 1, 16 << 20)?).await?;
    let (holder, terminal) = (Holder::of(&lab), lab.terminals().remove(0));
    bring_out(&lab, "2.0.0", image("2.0.0")?).await?;
    all_confirmed(&lab, "2.0.0").await?;
    let (branch, genuine) = (terminal.branch.clone(), lab.followed(&terminal.branch).await?);
    let mut thief = thief(&lab)?;

    // Fast-forward: a mirror in the branch's place, with versions and times of next year, when every certificate of a
    // machine is over.
    thief.publish(SystemClock.now() + TimeDelta::days(300))?;
    let impostor = lab.impostor(&branch).await?;
    impostor.mirror(&thief.files());
    impostor.offer(&genuine, thief.version());
    let taken = async || Ok((believed_version(&lab, &terminal) == thief.version()).then_some(()));
    lab.wait("the terminal to believe the thief", PATIENCE, taken).await?;
    impostor.leave(&lab).await?;
    // The honest mirror is behind now. Head office hears of it, and nothing happened to what runs.
    let told = lab.wait_terminal(&terminal, "to refuse what looks old", PATIENCE, |t| t.plan_refused.is_some()).await?;
    let why = told.plan_refused.context("why")?;
    println!("told head office: {}: {}", why.code, why.text);
    assert_eq!(why.code, "metadata-rollback");
    assert_eq!((told.version, lab.boots(&terminal)?.len()), (Some(version("2.0.0")), 2));

    // The root holders name other keys; the terminal is not visited.
    let (timestamp, snapshot) = (holder.path("timestamp.pem"), holder.path("snapshot.pem"));
    let roots = [holder.offline("root-1"), holder.offline("root-2")];
    let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
    let first = holder.signed("timestamp", &["--key", &holder.key(&timestamp).await?], &roots).await?;
    let public = holder.key(&snapshot).await?;
    let second = holder.signed("snapshot", &["--after", &first, "--key", &public], &roots).await?;
    holder.replace(&timestamp, "timestamp")?;
    holder.replace(&snapshot, "snapshot")?;
    holder.accept(&[&first, &second]).await?;
    holder.restart_head_office().await?;
    bring_out(&lab, "3.0.0", image("3.0.0")?).await?;
    all_confirmed(&lab, "3.0.0").await?;
    lab.wait_terminal(&terminal, "to refuse nothing any more", PATIENCE, |t| t.plan_refused.is_none()).await?;

    // The thief comes again, later still.
    let (genuine, honest) = (lab.followed(&branch).await?, believed_version(&lab, &terminal));
    thief.publish(SystemClock.now() + TimeDelta::days(600))?;
    let impostor = lab.impostor(&branch).await?;
    impostor.mirror(&thief.files());
    impostor.offer(&genuine, thief.version());
    let refused = async || Ok((waits_for(&lab, &terminal)?.as_deref() == Some("metadata-signature")).then_some(()));
    lab.wait("the terminal to refuse the thief", PATIENCE, refused).await?;
    assert_eq!(believed_version(&lab, &terminal), honest);
    impostor.leave(&lab).await?;
    bring_out(&lab, "4.0.0", image("4.0.0")?).await?;
    all_confirmed(&lab, "4.0.0").await?;
    lab.stop().await?;
    Ok(())
}

fn believed_version(lab: &Lab, terminal: &TerminalRef) -> Option<u64> {
    believed(lab, terminal).ok()?.timestamp_version()
}

/// The code of what a terminal waits for, as its journal has it.
fn waits_for(lab: &Lab, terminal: &TerminalRef) -> Result<Option<String>, lab::LabError> {
    let path = lab.data_path(terminal)?.join("agent/journal.json");
    let journal: Option<serde_json::Value> = std::fs::read(&path).ok().and_then(|t| serde_json::from_slice(&t).ok());
    Ok(journal.and_then(|j| j["waiting"]["code"].as_str().map(str::to_owned)))
}

/// What is stolen: the keys of snapshot and timestamp, with the metadata of this moment.
fn thief(lab: &Lab) -> anyhow::Result<TestFleet> {
    let key = |name: &str| SigningKey::read(&lab.trust_folder().join("online").join(name));
    Ok(TestFleet {
        snapshot: key("snapshot.pem")?,
        timestamp: key("timestamp.pem")?,
        // Not stolen, and not used.
        root: SigningKey::generate()?,
        targets: SigningKey::generate()?,
        derived: SigningKey::generate()?,
        plan: SigningKey::generate()?,
        products: BTreeMap::new(),
        lifetimes: Lifetimes::default(),
        repository: store::read(&lab.trust_folder().join("metadata"))?,
    })
}
