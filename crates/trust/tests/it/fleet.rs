//! A small fleet's trust: keys of every role, and a repository that they signed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash, ProductName};
use trust::repository::{
    Change, DelegationSpec, Lifetimes, Online, Proposal, Repository, RoleName, RootSpec, SignedArtifact, SignedPayload,
};
use trust::{KeySet, Refusal, SigningKey};

pub fn start() -> DateTime<Utc> {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

pub fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

pub fn set(keys: &[SigningKey], threshold: u32) -> KeySet {
    KeySet::new(&keys.iter().map(SigningKey::public).collect::<Vec<_>>(), threshold).unwrap()
}

pub fn product() -> ProductName {
    "kiosk".parse().unwrap()
}

pub fn kiosk() -> RoleName {
    RoleName::Product(product())
}

/// Root 2 of 3, targets 1 of 1, product kiosk 2 of 2, the rest one online key each.
pub struct Fleet {
    pub root: Vec<SigningKey>,
    pub targets: Vec<SigningKey>,
    pub kiosk: Vec<SigningKey>,
    pub derived: Vec<SigningKey>,
    pub plan: Vec<SigningKey>,
    pub snapshot: Vec<SigningKey>,
    pub timestamp: Vec<SigningKey>,
    pub now: DateTime<Utc>,
    pub repository: Repository,
}

impl Fleet {
    pub fn new() -> Self {
        Self::at(start())
    }

    pub fn at(now: DateTime<Utc>) -> Self {
        let [root, targets, kiosk, derived, plan, snapshot, timestamp] =
            [3, 1, 2, 1, 1, 1, 1].map(|n| (0..n).map(|_| key()).collect::<Vec<_>>());
        let spec = RootSpec {
            root: set(&root, 2),
            targets: set(&targets, 1),
            snapshot: set(&snapshot, 1),
            timestamp: set(&timestamp, 1),
            expires: now + TimeDelta::days(365),
        };
        let mut first = Repository::propose_first_root(&spec).unwrap();
        first.sign(&root[0]).unwrap();
        first.sign(&root[1]).unwrap();
        let repository = Repository::begin(&first).unwrap();
        let mut fleet = Self { root, targets, kiosk, derived, plan, snapshot, timestamp, now, repository };
        let delegations = fleet.repository.propose_delegations(&fleet.delegations(), now).unwrap();
        fleet.take(delegations).unwrap();
        for role in [kiosk_role(), RoleName::Derived, RoleName::Plan] {
            let empty = fleet.repository.propose(&role, &[], now, now + TimeDelta::days(365)).unwrap();
            fleet.take(empty).unwrap();
        }
        fleet.publish().unwrap();
        fleet
    }

    pub fn delegations(&self) -> DelegationSpec {
        DelegationSpec {
            products: BTreeMap::from([(product(), set(&self.kiosk, 2))]),
            derived: set(&self.derived, 1),
            plan: set(&self.plan, 1),
            expires: self.now + TimeDelta::days(365),
        }
    }

    pub fn holders(&self, role: &RoleName) -> &[SigningKey] {
        match role {
            RoleName::Root => &self.root,
            RoleName::Targets => &self.targets,
            RoleName::Product(_) => &self.kiosk,
            RoleName::Derived => &self.derived,
            RoleName::Plan => &self.plan,
            RoleName::Snapshot => &self.snapshot,
            RoleName::Timestamp => &self.timestamp,
        }
    }

    /// Signs by all holders of the role and accepts.
    pub fn take(&mut self, mut proposal: Proposal) -> Result<(), Refusal> {
        for key in self.holders(proposal.role()) {
            proposal.sign(key)?;
        }
        self.repository.accept(&proposal)
    }

    pub fn change(&self, role: &RoleName, changes: &[Change]) -> Result<Proposal, Refusal> {
        self.repository.propose(role, changes, self.now, self.now + TimeDelta::days(365))
    }

    pub fn release(&mut self, version: &str) -> SignedPayload {
        let payload = payload(version);
        let proposal = self.change(&kiosk(), &[Change::Release(vec![payload.clone()])]).unwrap();
        self.take(proposal).unwrap();
        payload
    }

    pub fn publish(&mut self) -> Result<(), Refusal> {
        let (snapshot, timestamp): (Vec<_>, Vec<_>) = (self.snapshot.iter().collect(), self.timestamp.iter().collect());
        let online = Online { snapshot: &snapshot, timestamp: &timestamp };
        self.repository.publish(online, self.now, Lifetimes::default())
    }

    /// Signs the next root with the present and the new root keys, and takes those as its own.
    pub fn rotate_root(&mut self, spec: &RootSpec, new: &[SigningKey]) -> Result<(), Refusal> {
        let mut next = self.repository.propose_root(spec)?;
        for key in self.root.iter().chain(new) {
            next.sign(key)?;
        }
        self.repository.accept(&next)
    }
}

fn kiosk_role() -> RoleName {
    kiosk()
}

pub fn payload(version: &str) -> SignedPayload {
    SignedPayload {
        product: product(),
        version: version.parse().unwrap(),
        payload: "rootfs".into(),
        manifest: Digest::new([1; 32]),
        sha256: digest_of(version),
        length: 4096,
    }
}

pub fn digest_of(text: &str) -> Digest {
    let mut bytes = [7; 32];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Digest::new(bytes)
}

pub fn artifact(payload: &SignedPayload) -> SignedArtifact {
    SignedArtifact {
        payload: payload.sha256,
        sha256: Digest::new([3; 32]),
        length: 2048,
        index_sha256: Digest::new([4; 32]),
        index_length: 96,
        info_hash: InfoHash::new([5; 20]),
    }
}
