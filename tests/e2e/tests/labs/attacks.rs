//! A compromised branch server with head office's online keys: what terminals still refuse to install, and the reasons they
//! report. Attacks are named as in Uptane 2.1 and TUF 1.0, 1.5.2.

use std::collections::BTreeMap;

use anyhow::Context as _;
use e2e::{Images, PATIENCE, all_confirmed, bring_out, quick};
use fleet_types::{BranchName, TerminalRef};
use lab::{Impostor, Lab, ReleaseSpec};
use service_kit::{Clock as _, SystemClock};
use test_kit::TestFleet;
use test_kit::attacker::evil_target;
use trust::repository::{Lifetimes, store};
use trust::{SigningKey, plans};
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

type Files = BTreeMap<String, Vec<u8>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_server_in_other_hands_forges_nothing() -> anyhow::Result<()> {
    let images = Images::new()?;
    let image = |version: &str| images.healthy(version, 1_000_000);
    let lab = Lab::start(quick("attacks", image("1.0.0")?, 2, 1, 16 << 20)?).await?;
    let [here, elsewhere] = <[BranchName; 2]>::try_from(lab.branches()).expect("two branches");
    bring_out(&lab, "2.0.0", image("2.0.0")?).await?;
    all_confirmed(&lab, "2.0.0").await?;
    let (older, older_files) = (lab.followed(&here).await?, published(&lab)?);
    bring_out(&lab, "3.0.0", image("3.0.0")?).await?;
    all_confirmed(&lab, "3.0.0").await?;
    let terminal = lab.terminals().into_iter().find(|t| t.branch == here).context("a terminal here")?;
    let before = (lab.running_slot(&terminal)?, lab.boots(&terminal)?.len());

    let genuine = lab.followed(&here).await?;
    let plan: Plan = genuine.open(PLAN_PAYLOAD_TYPE)?;
    let files = published(&lab)?;
    let impostor = lab.impostor(&here).await?;
    let victim = Victim { lab: &lab, terminal: &terminal, impostor: &impostor, genuine: &genuine, files: &files };
    // Head office goes on, and the impostor knows what it publishes.
    lab.publish(&ReleaseSpec::new("4.0.0", image("4.0.0")?)?, PATIENCE).await?;
    let newer = published(&lab)?;

    let forged = |edit: &dyn Fn(&mut Plan)| {
        let mut plan = Plan { serial: plan.serial + 1, ..plan.clone() };
        edit(&mut plan);
        plan
    };
    // With what a branch server has: no key counts.
    let next = forged(&|_| {});
    victim
        .offered("vulnerable key: no signature", &Envelope::unsigned(PLAN_PAYLOAD_TYPE, &next)?, "plan-unknown-key")
        .await?;
    let stranger = SigningKey::generate()?;
    victim.offered("vulnerable key: a stranger's", &plans::sign(&next, &[&stranger])?, "plan-unknown-key").await?;
    let altered = Envelope { signatures: genuine.signatures.clone(), ..Envelope::unsigned(PLAN_PAYLOAD_TYPE, &next)? };
    victim.offered("vulnerable key: another plan's signature", &altered, "plan-bad-signature").await?;
    victim.offered("replayed older plan", &older, "plan-replayed").await?;
    victim.offered("wrong branch's plan", &lab.followed(&elsewhere).await?, "plan-wrong-branch").await?;

    // As a mirror.
    victim.mirrored("rollback", &older_files, "metadata-rollback").await?;
    victim.mirrored("mix and match", &mixed(&older_files, &newer), "metadata-digest").await?;
    let endless = with(&newer, "timestamp.json", vec![b' '; 8 << 20]);
    victim.mirrored("endless data", &endless, "endless-data").await?;
    victim.calm().await?;
    impostor.mirror(&newer);
    impostor.drip("timestamp.json");
    impostor.offer(&genuine, Some(1));
    victim.refuses("slow retrieval", "slow-retrieval").await?;
    let truncated = with(&newer, "timestamp.json", b"{\"signed\":".to_vec());
    victim.mirrored("noise", &truncated, "metadata-form").await?;
    victim
        .mirrored("another fleet's metadata", &TestFleet::new(SystemClock.now())?.files(), "metadata-signature")
        .await?;

    // With head office's online keys too, but for the release keys: the payload is what they signed, or nothing.
    let mut online = online_keys(&lab)?;
    let substituted = forged(&|plan| plan.steps[0].payload.sha256 = [6; 32].into());
    victim.offered("substituted release in a plan", &online.seal(&substituted)?, "substituted-release").await?;
    let delta = forged(&|plan| plan.steps[0].artifact.sha256 = [6; 32].into());
    victim.offered("forged delta", &online.seal(&delta)?, "not-signed").await?;
    let mut intruder = online.intruder();
    let derived = std::slice::from_ref(&online.derived);
    intruder.forge("derived", derived, |signed| signed["targets"]["releases/kiosk/6.6.6/root"] = evil_target());
    victim.mirrored("extraneous dependency", &intruder.sealed(), "out-of-path").await?;
    let arbitrary = forged(&|plan| {
        plan.steps[0].version = e2e::version("6.6.6");
        plan.steps[0].payload.sha256 = [6; 32].into();
        plan.steps[0].artifact.sha256 = [7; 32].into();
    });
    victim.calm().await?;
    online.sign_artifact(&arbitrary.steps[0], SystemClock.now())?;
    online.publish(SystemClock.now())?;
    impostor.mirror(&online.files());
    impostor.offer(&online.seal(&arbitrary)?, online.version());
    let said = victim.refuses("arbitrary software", "not-signed").await?;
    assert!(said.contains("6.6.6"), "the payload is what is missing: {said}");

    assert_eq!((lab.running_slot(&terminal)?, lab.boots(&terminal)?.len()), before, "nothing was tried");
    impostor.leave(&lab).await?;
    // A terminal that was stolen, and came back.
    let name = terminal.terminal.as_str();
    let told = async |args: &[&str]| -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&lab.filial_at(&here, args).await?)?)
    };
    let answers = async || Ok(told(&["terminal", "deny", name, "--reason", "stolen", "--json"]).await.ok());
    let denied = lab.wait("the branch server to deny a terminal", PATIENCE, answers).await?;
    assert!(denied["denied"].is_string(), "{denied}");
    let allowed = told(&["terminal", "allow", name, "--json"]).await?;
    assert!(allowed.get("denied").is_none() && allowed["key"].is_string(), "{allowed}");
    // Without any repair the honest branch server is trusted again.
    bring_out(&lab, "5.0.0", image("5.0.0")?).await?;
    all_confirmed(&lab, "5.0.0").await?;
    lab.stop().await?;
    Ok(())
}

/// A terminal, and what it believed when the impostor came.
struct Victim<'a> {
    lab: &'a Lab,
    terminal: &'a TerminalRef,
    impostor: &'a Impostor,
    genuine: &'a Envelope,
    files: &'a Files,
}

impl Victim<'_> {
    async fn offered(&self, attack: &str, plan: &Envelope, code: &str) -> anyhow::Result<()> {
        self.calm().await?;
        self.impostor.offer(plan, None);
        self.refuses(attack, code).await.map(drop)
    }

    async fn mirrored(&self, attack: &str, files: &Files, code: &str) -> anyhow::Result<()> {
        self.calm().await?;
        self.impostor.mirror(files);
        // The hint alone makes it look.
        self.impostor.offer(self.genuine, Some(1));
        self.refuses(attack, code).await.map(drop)
    }

    /// Everything as it was: the terminal has nothing to say against it.
    async fn calm(&self) -> anyhow::Result<()> {
        self.impostor.mirror(self.files);
        self.impostor.offer(self.genuine, None);
        let asked = self.impostor.asked(paths::SYNC);
        let said = async || {
            let calm = self.impostor.asked(paths::SYNC) > asked + 1 && self.reason()?.is_none();
            Ok(calm.then_some(()))
        };
        Ok(self.lab.wait("the terminal to be calm", PATIENCE, said).await?)
    }

    async fn refuses(&self, attack: &str, code: &str) -> anyhow::Result<String> {
        let what = format!("{attack}: the terminal to say {code}");
        let said = async || Ok(self.reason()?.filter(|(said, _)| said == code));
        let (code, text) = self.lab.wait(&what, PATIENCE, said).await?;
        println!("{attack}: {code}: {text}");
        Ok(text)
    }

    /// Why the terminal waits, as its journal has it.
    fn reason(&self) -> Result<Option<(String, String)>, lab::LabError> {
        let path = self.lab.data_path(self.terminal)?.join("agent/journal.json");
        let text = std::fs::read(&path).map_err(|source| lab::LabError::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let journal: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| lab::LabError::Content { path, why: format!("it is no journal: {e}") })?;
        let said = |name: &str| journal["waiting"][name].as_str().map(str::to_owned);
        Ok(said("code").zip(said("text")))
    }
}

/// What head office serves now.
fn published(lab: &Lab) -> anyhow::Result<Files> {
    Ok(store::read(&lab.trust_folder().join("metadata"))?.files())
}

fn with(files: &Files, name: &str, bytes: Vec<u8>) -> Files {
    files.clone().into_iter().chain([(name.to_owned(), bytes)]).collect()
}

/// The newer files with the older content of a product's role among them.
fn mixed(older: &Files, newer: &Files) -> Files {
    let role =
        |files: &Files| files.iter().rfind(|(name, _)| name.contains(".product-")).map(|(n, b)| (n.clone(), b.clone()));
    let ((old, bytes), (new, _)) = role(older).zip(role(newer)).expect("a product's role");
    assert_ne!(old, new, "the product's role did not change: this shows nothing");
    with(newer, &new, bytes)
}

/// What a thief finds at head office, where releases are signed elsewhere.
fn online_keys(lab: &Lab) -> anyhow::Result<TestFleet> {
    let key = |name: &str| SigningKey::read(&lab.trust_folder().join("online").join(name));
    Ok(TestFleet {
        // Not there, and not used.
        root: SigningKey::generate()?,
        targets: SigningKey::generate()?,
        products: BTreeMap::new(),
        derived: key("derived.pem")?,
        plan: key("plan.pem")?,
        snapshot: key("snapshot.pem")?,
        timestamp: key("timestamp.pem")?,
        lifetimes: Lifetimes::default(),
        repository: store::read(&lab.trust_folder().join("metadata"))?,
    })
}
