//! A fleet's trust for tests: real keys of every role, a real repository, signed plans. What tests forge, they forge with
//! these keys or without them; nothing here goes around the library that programs ask.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::ProductName;
use trust::client::{Body, Fetch, FetchError};
use trust::repository::{
    Change, DelegationSpec, Lifetimes, Online, Proposal, Repository, RoleName, RootSpec, SignedArtifact, SignedPayload,
};
use trust::{KeySet, Refusal, SigningKey, plans};
use wire::Envelope;
use wire::v1::plan::{Plan, Step};

use crate::attacker::Attacker;

/// How long everything lasts that a test does not let expire.
///
/// Longer than any test advances its clock.
const LONG: TimeDelta = TimeDelta::days(3650);

/// Keys of a fleet and what they signed.
///
/// One key a role: thresholds are the library's own tests' matter.
pub struct TestFleet {
    /// The root key.
    pub root: SigningKey,
    /// The key of the top-level targets role.
    pub targets: SigningKey,
    /// The release key of each product.
    pub products: BTreeMap<ProductName, SigningKey>,
    /// Head office's key for artifacts.
    pub derived: SigningKey,
    /// Head office's key for plans.
    pub plan: SigningKey,
    /// Head office's key of the snapshot.
    pub snapshot: SigningKey,
    /// Head office's key of the timestamp.
    pub timestamp: SigningKey,
    /// How long snapshots and timestamps last.
    pub lifetimes: Lifetimes,
    /// What is signed, always published.
    pub repository: Repository,
}

impl TestFleet {
    /// A fleet without products, its metadata published at `now`.
    ///
    /// # Errors
    /// Never with the keys that it makes.
    pub fn new(now: DateTime<Utc>) -> Result<Self, Refusal> {
        let key = SigningKey::generate;
        let (root, targets, snapshot, timestamp) = (key()?, key()?, key()?, key()?);
        let one = |key: &SigningKey| KeySet::one(key.public());
        let spec = RootSpec {
            root: one(&root),
            targets: one(&targets),
            snapshot: one(&snapshot),
            timestamp: one(&timestamp),
            expires: now + LONG,
        };
        let mut first = Repository::propose_first_root(&spec)?;
        first.sign(&root)?;
        let repository = Repository::begin(&first)?;
        let (products, lifetimes) = (BTreeMap::new(), Lifetimes { snapshot: LONG, timestamp: LONG });
        let (derived, plan) = (key()?, key()?);
        let mut fleet = Self { root, targets, products, derived, plan, snapshot, timestamp, lifetimes, repository };
        fleet.delegate(now)?;
        fleet.publish(now)?;
        Ok(fleet)
    }

    /// The newest root, as a machine is provisioned with it.
    pub fn root_file(&self) -> &[u8] {
        self.repository.root_file()
    }

    /// The published files by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.repository.files()
    }

    /// What `/v1/sync` says of them.
    pub fn version(&self) -> Option<u64> {
        self.repository.version(&RoleName::Timestamp)
    }

    /// Publishes what is in force.
    ///
    /// # Errors
    /// A role was not signed by its present holders.
    pub fn publish(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let online = Online { snapshot: &[&self.snapshot], timestamp: &[&self.timestamp] };
        self.repository.publish(online, now, self.lifetimes)
    }

    /// Publishes once more with metadata that lasts until `until`.
    ///
    /// # Errors
    /// As [`TestFleet::publish`].
    pub fn publish_until(&mut self, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<(), Refusal> {
        self.lifetimes = Lifetimes { snapshot: until - now, timestamp: until - now };
        self.publish(now)
    }

    /// Signs everything that `plan` names, publishes anything new, and signs the plan.
    ///
    /// # Errors
    /// The plan names what cannot be signed.
    pub fn order(&mut self, plan: &Plan, now: DateTime<Utc>) -> Result<Envelope, Refusal> {
        let mut news = false;
        for step in plan.entries() {
            news |= self.sign_release(step, now)? | self.sign_artifact(step, now)?;
        }
        if news {
            self.publish(now)?;
        }
        self.seal(plan)
    }

    /// Signs a plan, whatever it says.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn seal(&self, plan: &Plan) -> Result<Envelope, Refusal> {
        plans::sign(plan, &[&self.plan])
    }

    /// Signs a release by its product's key.
    ///
    /// One of the same version with other content is withdrawn. Not yet published; whether there is anything to
    /// publish.
    ///
    /// # Errors
    /// The names cannot be signed.
    pub fn sign_release(&mut self, step: &Step, now: DateTime<Utc>) -> Result<bool, Refusal> {
        let payload = SignedPayload {
            product: step.product.clone(),
            version: step.version.clone(),
            payload: step.payload.name.clone(),
            manifest: step.manifest,
            sha256: step.payload.sha256,
            length: step.payload.length,
        };
        if !self.products.contains_key(&step.product) {
            self.products.insert(step.product.clone(), SigningKey::generate()?);
            self.delegate(now)?;
        }
        let signed = self.repository.payloads()?;
        if signed.contains(&payload) {
            return Ok(false);
        }
        if signed.iter().any(|p| (&p.product, &p.version) == (&step.product, &step.version)) {
            self.withdraw(step, now)?;
        }
        self.change(&RoleName::Product(step.product.clone()), &[Change::Release(vec![payload])], now)?;
        Ok(true)
    }

    /// Has the release keys sign a release no more. Not yet published.
    ///
    /// # Errors
    /// It was not signed.
    pub fn withdraw(&mut self, step: &Step, now: DateTime<Utc>) -> Result<(), Refusal> {
        let role = RoleName::Product(step.product.clone());
        self.change(&role, &[Change::Withdraw(step.version.clone())], now)
    }

    /// Signs an artifact by head office's key.
    ///
    /// Not yet published; whether there is anything to publish.
    ///
    /// # Errors
    /// Never with the keys of this fleet.
    pub fn sign_artifact(&mut self, step: &Step, now: DateTime<Utc>) -> Result<bool, Refusal> {
        let artifact = SignedArtifact {
            payload: step.payload.sha256,
            sha256: step.artifact.sha256,
            length: step.artifact.length,
            index_sha256: step.artifact.index_sha256,
            index_length: step.artifact.index_length,
            info_hash: step.artifact.info_hash,
        };
        if self.repository.artifacts()?.contains(&artifact) {
            return Ok(false);
        }
        self.change(&RoleName::Derived, &[Change::Artifacts(vec![artifact])], now)?;
        Ok(true)
    }

    /// Replaces the key of plans, as after a theft, and publishes; the old key.
    ///
    /// # Errors
    /// Never with the keys of this fleet.
    pub fn rotate_plan_key(&mut self, now: DateTime<Utc>) -> Result<SigningKey, Refusal> {
        let old = std::mem::replace(&mut self.plan, SigningKey::generate()?);
        self.delegate(now)?;
        self.publish(now)?;
        Ok(old)
    }

    /// Replaces the root key, signs everything again at `now`, and publishes.
    ///
    /// # Errors
    /// Never with the keys of this fleet.
    pub fn rotate_root_key(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let old = std::mem::replace(&mut self.root, SigningKey::generate()?);
        let root = KeySet::one(self.root.public());
        let spec = RootSpec { root, expires: now + LONG, ..self.repository.root_spec()? };
        let mut next = self.repository.propose_root(&spec)?;
        next.sign(&old)?;
        next.sign(&self.root)?;
        self.repository.accept(&next)?;
        self.delegate(now)?;
        self.publish(now)
    }

    /// Replaces snapshot and timestamp keys by a new root, as after a theft; publishes.
    ///
    /// # Errors
    /// Never with the keys of this fleet.
    pub fn rotate_online_keys(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        (self.snapshot, self.timestamp) = (SigningKey::generate()?, SigningKey::generate()?);
        let one = |key: &SigningKey| KeySet::one(key.public());
        let (snapshot, timestamp) = (one(&self.snapshot), one(&self.timestamp));
        let spec = RootSpec { snapshot, timestamp, expires: now + LONG, ..self.repository.root_spec()? };
        let mut next = self.repository.propose_root(&spec)?;
        next.sign(&self.root)?;
        self.repository.accept(&next)?;
        self.publish(now)
    }

    /// An attacker with everything published and stolen snapshot and timestamp keys.
    pub fn intruder(&self) -> Attacker<'_> {
        let one = std::slice::from_ref;
        Attacker { files: self.files(), snapshot: one(&self.snapshot), timestamp: one(&self.timestamp) }
    }

    /// Makes the next version of a delegated role.
    ///
    /// # Errors
    /// The change is not this role's.
    pub fn change(&mut self, role: &RoleName, changes: &[Change], now: DateTime<Utc>) -> Result<(), Refusal> {
        let proposal = self.repository.propose(role, changes, now, now + LONG)?;
        self.take(proposal)
    }

    /// Delegates to the present keys, and has each role signed by its present holder.
    fn delegate(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let one = |key: &SigningKey| KeySet::one(key.public());
        let products = self.products.iter().map(|(product, key)| (product.clone(), one(key))).collect();
        let (derived, plan) = (one(&self.derived), one(&self.plan));
        let spec = DelegationSpec { products, derived, plan, expires: now + LONG };
        let delegations = self.repository.propose_delegations(&spec, now)?;
        self.take(delegations)?;
        let products: Vec<_> = self.products.keys().cloned().map(RoleName::Product).collect();
        for role in products.into_iter().chain([RoleName::Derived, RoleName::Plan]) {
            self.change(&role, &[], now)?;
        }
        Ok(())
    }

    fn take(&mut self, mut proposal: Proposal) -> Result<(), Refusal> {
        let key = match proposal.role() {
            RoleName::Root => &self.root,
            RoleName::Targets => &self.targets,
            RoleName::Derived => &self.derived,
            RoleName::Plan => &self.plan,
            RoleName::Snapshot => &self.snapshot,
            RoleName::Timestamp => &self.timestamp,
            RoleName::Product(product) => match self.products.get(product) {
                Some(key) => key,
                // Not signed, and so refused with the library's own words.
                None => return self.repository.accept(&proposal),
            },
        };
        proposal.sign(key)?;
        self.repository.accept(&proposal)
    }
}

/// A mirror of metadata in memory.
#[derive(Debug, Clone, Default)]
pub struct TestMirror(pub BTreeMap<String, Vec<u8>>);

#[async_trait]
impl Fetch for TestMirror {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let file = self.0.get(name).cloned();
        Ok(file.map(|bytes| Box::pin(futures_util::stream::iter([Ok(bytes.into())])) as Body))
    }
}
