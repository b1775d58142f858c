//! The repository as a value: every file of the present state, verified.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tough::schema::{Delegations, Root, Signed, Snapshot, Targets, Timestamp};

use crate::keys::KeySet;
use crate::metadata::content::{delegated_roles, unsigned};
use crate::metadata::names::{RoleName, SignedArtifact, SignedPayload};
use crate::metadata::schema::{self, File};
use crate::metadata::trusted::Trusted;
use crate::refusal::{Refusal, Why, refuse};

/// All metadata of a fleet, with every signature verified.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Every root from the first on: a client that missed some walks over them.
    pub(super) roots: BTreeMap<u64, File<Root>>,
    pub(super) root: Signed<Root>,
    pub(super) targets: Option<File<Targets>>,
    pub(super) delegated: BTreeMap<RoleName, File<Targets>>,
    pub(super) snapshot: Option<File<Snapshot>>,
    pub(super) timestamp: Option<File<Timestamp>>,
}

impl Repository {
    /// Reads a published repository from its files and verifies it as a client would.
    ///
    /// Expiry is not checked.
    ///
    /// # Errors
    /// A file is missing, unreadable, not signed by its role's holders, or not as listed above it.
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Refusal> {
        let mut repository = Self::from_roots(files)?;
        let Some(bytes) = files.get("timestamp.json") else { return Ok(repository) };
        let trusted = Trusted::verify(repository.root_file(), files)?;
        let timestamp: File<Timestamp> = File::read(&RoleName::Timestamp, bytes)?;
        let read = |role: &RoleName| need(files, &role.file(trusted.version(role).unwrap_or_default()));
        let snapshot: File<Snapshot> = File::read(&RoleName::Snapshot, read(&RoleName::Snapshot)?)?;
        let targets: File<Targets> = File::read(&RoleName::Targets, read(&RoleName::Targets)?)?;
        for role in delegated_roles(&targets.signed.signed)? {
            let file = File::read(&role, read(&role)?)?;
            repository.delegated.insert(role, file);
        }
        (repository.targets, repository.snapshot, repository.timestamp) =
            (Some(targets), Some(snapshot), Some(timestamp));
        Ok(repository)
    }

    /// The chain of roots: each signed by the holders of the one before it and by its own.
    fn from_roots(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Refusal> {
        let mut roots = BTreeMap::new();
        let mut last: Option<Signed<Root>> = None;
        for version in 1.. {
            let Some(bytes) = files.get(&RoleName::Root.file(version)) else { break };
            let file: File<Root> = File::read(&RoleName::Root, bytes)?;
            let by_last = last.as_ref().map_or(Ok(()), |last| last.signed.verify_role(&file.signed));
            by_last.and_then(|()| file.signed.signed.verify_role(&file.signed)).map_err(unsigned(&RoleName::Root))?;
            if file.version() != version {
                return refuse(
                    Why::MetadataMixed,
                    format!("The file of root {version} contains root {}.", file.version()),
                );
            }
            schema::check_root(&file.signed.signed)?;
            last = Some(file.signed.clone());
            roots.insert(version, file);
        }
        let Some(root) = last else { return refuse(Why::StoreDamaged, "The file 1.root.json is missing.") };
        Ok(Self { roots, root, targets: None, delegated: BTreeMap::new(), snapshot: None, timestamp: None })
    }

    /// The files of the present state by name, every root among them.
    ///
    /// `timestamp.json` names the others: it is served last.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<_, _> =
            self.roots.iter().map(|(v, f)| (RoleName::Root.file(*v), f.bytes.clone())).collect();
        let mut put = |role: &RoleName, version: u64, bytes: &[u8]| files.insert(role.file(version), bytes.to_vec());
        if let Some(file) = &self.targets {
            put(&RoleName::Targets, file.version(), &file.bytes);
        }
        for (role, file) in &self.delegated {
            put(role, file.version(), &file.bytes);
        }
        if let Some(file) = &self.snapshot {
            put(&RoleName::Snapshot, file.version(), &file.bytes);
        }
        if let Some(file) = &self.timestamp {
            put(&RoleName::Timestamp, file.version(), &file.bytes);
        }
        files
    }

    /// The newest root, as it is pinned when a machine is provisioned.
    pub fn root_file(&self) -> &[u8] {
        self.roots.values().next_back().map(|f| f.bytes.as_slice()).unwrap_or_default()
    }

    /// Returns the current holders of a role.
    ///
    /// # Errors
    /// The root or the delegations do not name the role.
    pub fn holders(&self, role: &RoleName) -> Result<KeySet, Refusal> {
        if role.is_delegated() {
            schema::delegates(&self.delegations(), role)
        } else {
            schema::holders(&self.root.signed, role)
        }
    }

    /// The version of a role in force, if it has one.
    pub fn version(&self, role: &RoleName) -> Option<u64> {
        match role {
            RoleName::Root => self.roots.keys().next_back().copied(),
            RoleName::Targets => self.targets.as_ref().map(File::version),
            RoleName::Snapshot => self.snapshot.as_ref().map(File::version),
            RoleName::Timestamp => self.timestamp.as_ref().map(File::version),
            _ => self.delegated.get(role).map(File::version),
        }
    }

    /// When a role expires, if it has a version in force.
    pub fn expires(&self, role: &RoleName) -> Option<DateTime<Utc>> {
        match role {
            RoleName::Root => self.roots.values().next_back().map(File::expires),
            RoleName::Targets => self.targets.as_ref().map(File::expires),
            RoleName::Snapshot => self.snapshot.as_ref().map(File::expires),
            RoleName::Timestamp => self.timestamp.as_ref().map(File::expires),
            _ => self.delegated.get(role).map(File::expires),
        }
    }

    /// Every role that there is.
    ///
    /// Root, targets, snapshot, timestamp, then the delegated ones in the order of the delegation.
    ///
    /// # Errors
    /// Never for delegations that were accepted.
    pub fn roles(&self) -> Result<Vec<RoleName>, Refusal> {
        let mut roles = vec![RoleName::Root, RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp];
        if let Some(targets) = &self.targets {
            roles.extend(delegated_roles(&targets.signed.signed)?);
        }
        Ok(roles)
    }

    /// The highest version that clients may have seen.
    ///
    /// A role that was removed and comes back rises above it.
    pub(super) fn highest_version(&self, role: &RoleName) -> Option<u64> {
        let listed =
            self.snapshot.as_ref().and_then(|s| s.signed.signed.meta.get(&role.meta())).map(|m| m.version.get());
        self.version(role).max(listed)
    }

    /// The payloads that release keys signed, of all products.
    ///
    /// # Errors
    /// A role signs something that it may not; never for metadata that [`Repository::accept`] took.
    pub fn payloads(&self) -> Result<Vec<SignedPayload>, Refusal> {
        let mut all = Vec::new();
        for (_, file) in self.delegated.iter().filter(|(role, _)| matches!(role, RoleName::Product(_))) {
            for (name, target) in &file.signed.signed.targets {
                all.push(SignedPayload::from_target(name, target)?);
            }
        }
        all.sort();
        Ok(all)
    }

    /// The artifacts that head office derived from them.
    ///
    /// # Errors
    /// As [`Repository::payloads`].
    pub fn artifacts(&self) -> Result<Vec<SignedArtifact>, Refusal> {
        let targets = self.delegated.get(&RoleName::Derived).map(|f| &f.signed.signed.targets);
        let mut all = targets
            .into_iter()
            .flatten()
            .map(|(n, t)| SignedArtifact::from_target(n, t))
            .collect::<Result<Vec<_>, _>>()?;
        all.sort();
        Ok(all)
    }

    pub(super) fn delegations(&self) -> Delegations {
        self.targets.as_ref().map(|t| schema::delegations(&t.signed.signed)).unwrap_or_default()
    }
}

fn need<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8], Refusal> {
    files
        .get(name)
        .map(Vec::as_slice)
        .ok_or_else(|| Refusal::new(Why::StoreDamaged, format!("The file {name} is missing.")))
}
