//! Verified metadata and its content.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, Version};
use tough::schema::{Metafile, Root, Snapshot, Targets, Timestamp};
use wire::v1::plan::{ArtifactRef, Plan};

use super::content::{check_delegations, content, delegated_roles, unsigned};
use super::names::{RoleName, SignedArtifact, SignedPayload};
use super::schema::{self, File};
use crate::keys::{KeySet, sha256};
use crate::planned::{self, PlannedStep};
use crate::plans::{self, Claim};
use crate::refusal::{Refusal, Why, refuse};

/// Metadata with every signature, version and digest verified against one root.
#[derive(Debug, Clone)]
pub struct Trusted {
    root: File<Root>,
    timestamp: File<Timestamp>,
    snapshot: File<Snapshot>,
    targets: File<Targets>,
    delegated: BTreeMap<RoleName, File<Targets>>,
}

impl Trusted {
    /// Verifies one state's files against `root`, except for rollback and expiry.
    pub(crate) fn verify(root: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Refusal> {
        let root: File<Root> = File::read(&RoleName::Root, root)?;
        let holder = &root.signed.signed;
        schema::check_root(holder)?;
        let timestamp: File<Timestamp> = File::read(&RoleName::Timestamp, need(files, "timestamp.json")?)?;
        holder.verify_role(&timestamp.signed).map_err(unsigned(&RoleName::Timestamp))?;
        let bytes = listed(files, &RoleName::Snapshot, &timestamp.signed.signed.meta)?;
        let snapshot: File<Snapshot> = File::read(&RoleName::Snapshot, bytes)?;
        holder.verify_role(&snapshot.signed).map_err(unsigned(&RoleName::Snapshot))?;
        let meta = &snapshot.signed.signed.meta;
        let targets: File<Targets> = File::read(&RoleName::Targets, listed(files, &RoleName::Targets, meta)?)?;
        holder.verify_role(&targets.signed).map_err(unsigned(&RoleName::Targets))?;
        check_delegations(&targets.signed.signed)?;
        let delegations = schema::delegations(&targets.signed.signed);
        let mut delegated = BTreeMap::new();
        for role in delegated_roles(&targets.signed.signed)? {
            let file: File<Targets> = File::read(&role, listed(files, &role, meta)?)?;
            delegations.verify_role(&file.signed, &role.to_string()).map_err(unsigned(&role))?;
            delegated.insert(role, file);
        }
        let trusted = Self { root, timestamp, snapshot, targets, delegated };
        trusted.check_versions()?;
        Ok(trusted)
    }

    /// Checks each file's version against the file above it.
    fn check_versions(&self) -> Result<(), Refusal> {
        let meta = &self.snapshot.signed.signed.meta;
        let listed = |meta: &std::collections::HashMap<String, Metafile>, role: &RoleName| {
            meta.get(&role.meta()).map(|m| m.version.get())
        };
        let mut pairs = vec![
            (
                RoleName::Snapshot,
                listed(&self.timestamp.signed.signed.meta, &RoleName::Snapshot),
                self.snapshot.version(),
            ),
            (RoleName::Targets, listed(meta, &RoleName::Targets), self.targets.version()),
        ];
        pairs.extend(self.delegated.iter().map(|(role, file)| (role.clone(), listed(meta, role), file.version())));
        match pairs.iter().find(|(_, listed, found)| *listed != Some(*found)) {
            Some((role, _, found)) => {
                refuse(Why::MetadataMixed, format!("Role {role} has version {found}, another version is listed."))
            }
            None => Ok(()),
        }
    }

    /// Checks that root, timestamp, snapshot and targets have not expired.
    ///
    /// A product's role is checked when the product is used, so that one expired product does not stop the others.
    pub(crate) fn check_fresh(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        fresh(&RoleName::Root, self.root.expires(), now)?;
        fresh(&RoleName::Timestamp, self.timestamp.expires(), now)?;
        fresh(&RoleName::Snapshot, self.snapshot.expires(), now)?;
        fresh(&RoleName::Targets, self.targets.expires(), now)
    }

    /// Returns when head office issued the timestamp; `None` if another tool made it.
    pub(crate) fn issued(&self) -> Result<Option<DateTime<Utc>>, Refusal> {
        let Some(said) = self.timestamp.signed.signed._extra.get(schema::ISSUED) else { return Ok(None) };
        let read: Option<DateTime<Utc>> = said.as_str().and_then(|s| s.parse().ok());
        match read.filter(|issued| *issued < self.timestamp.expires()) {
            Some(issued) => Ok(Some(issued)),
            None => refuse(Why::MetadataForm, "The timestamp's issue date is invalid or after its expiry."),
        }
    }

    /// Returns which of root, timestamp, snapshot and targets expires first, and when.
    pub fn expires(&self) -> (RoleName, DateTime<Utc>) {
        let all = [
            (RoleName::Root, self.root.expires()),
            (RoleName::Timestamp, self.timestamp.expires()),
            (RoleName::Snapshot, self.snapshot.expires()),
            (RoleName::Targets, self.targets.expires()),
        ];
        let [first, rest @ ..] = all;
        rest.into_iter().fold(first, |a, b| if b.1 < a.1 { b } else { a })
    }

    /// Returns the version of a role, if present.
    pub fn version(&self, role: &RoleName) -> Option<u64> {
        match role {
            RoleName::Root => Some(self.root.version()),
            RoleName::Timestamp => Some(self.timestamp.version()),
            RoleName::Snapshot => Some(self.snapshot.version()),
            RoleName::Targets => Some(self.targets.version()),
            _ => self.delegated.get(role).map(File::version),
        }
    }

    /// Returns the keys that sign plans, from the delegation `plan`.
    ///
    /// # Errors
    /// The delegation names keys that cannot be used.
    pub fn plan_keys(&self) -> Result<KeySet, Refusal> {
        schema::delegates(&schema::delegations(&self.targets.signed.signed), &RoleName::Plan)
    }

    /// Returns a payload that the product's release keys signed.
    ///
    /// # Errors
    /// Not signed, or the product's role names keys that cannot be used.
    pub fn payload(&self, product: &ProductName, version: &Version, name: &str) -> Result<SignedPayload, Refusal> {
        let role = RoleName::Product(product.clone());
        schema::delegates(&schema::delegations(&self.targets.signed.signed), &role)?;
        let signed = content(&role, self.delegated.get(&role).map(|f| &f.signed.signed))?.0;
        let found = signed.into_iter().find(|p| p.version == *version && p.payload == name);
        found.ok_or_else(|| {
            let sentence = format!("The release keys of {product} did not sign payload {name} of version {version}.");
            Refusal::new(Why::NotSigned, sentence)
        })
    }

    /// Checks a step on receipt.
    ///
    /// The release keys signed exactly its payload, and their role has not expired.
    ///
    /// # Errors
    /// Expired, not signed, or something else was signed.
    pub fn check_step<'p>(
        &self,
        step: impl Into<PlannedStep<'p>>,
        now: DateTime<Utc>,
    ) -> Result<SignedPayload, Refusal> {
        let step = step.into();
        let role = RoleName::Product(step.product.clone());
        if let Some(file) = self.delegated.get(&role) {
            fresh(&role, file.expires(), now)?;
        }
        self.check_accepted_step(step)
    }

    /// [`Trusted::check_step`] for a plan that was accepted before.
    ///
    /// From then on only the plan's own expiry governs.
    ///
    /// # Errors
    /// Not signed, or something else was signed.
    pub fn check_accepted_step(&self, step: PlannedStep<'_>) -> Result<SignedPayload, Refusal> {
        let signed = self.payload(step.product, step.version, &step.payload.name)?;
        let same = signed.manifest == step.manifest
            && signed.sha256 == step.payload.sha256
            && signed.length == step.payload.length;
        if same {
            return Ok(signed);
        }
        let sentence = format!(
            "The plan names payload {} of {} {}, the release keys signed {}.",
            step.payload.sha256.short(),
            step.product,
            step.version,
            signed.sha256.short()
        );
        refuse(Why::SubstitutedRelease, sentence)
    }

    /// Checks everything that a plan names, on receipt.
    ///
    /// [`Trusted::check_step`] and [`Trusted::check_artifacts`] of each release, once however many terminals it is
    /// for.
    ///
    /// # Errors
    /// The first refusal, in the plan's order.
    pub fn check_plan(&self, plan: &Plan, now: DateTime<Utc>) -> Result<(), Refusal> {
        let mut checked: Vec<PlannedStep<'_>> = Vec::new();
        for step in planned::entries(plan) {
            let same = |s: &PlannedStep<'_>| {
                (s.product, s.version, s.manifest, s.payload, s.artifacts)
                    == (step.product, step.version, step.manifest, step.payload, step.artifacts)
            };
            if !checked.iter().any(same) {
                self.check_step(step, now)?;
                self.check_artifacts(step, now)?;
                checked.push(step);
            }
        }
        Ok(())
    }

    /// Returns an artifact that head office signed for a payload.
    ///
    /// # Errors
    /// Not signed.
    pub fn artifact(&self, payload: Digest, artifact: Digest) -> Result<SignedArtifact, Refusal> {
        let signed = content(&RoleName::Derived, self.delegated.get(&RoleName::Derived).map(|f| &f.signed.signed))?.1;
        let found = signed.into_iter().find(|a| a.payload == payload && a.sha256 == artifact);
        found.ok_or_else(|| {
            let sentence =
                format!("Head office did not sign artifact {} of payload {}.", artifact.short(), payload.short());
            Refusal::new(Why::NotSigned, sentence)
        })
    }

    /// Checks every artifact that a step names.
    ///
    /// Head office derived each from the step's payload, and its role has not expired.
    ///
    /// # Errors
    /// Expired, not signed, or something else was signed.
    pub fn check_artifacts<'p>(&self, step: impl Into<PlannedStep<'p>>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let step = step.into();
        if let Some(file) = self.delegated.get(&RoleName::Derived) {
            fresh(&RoleName::Derived, file.expires(), now)?;
        }
        step.artifacts.iter().try_for_each(|artifact| self.check_artifact(step.payload.sha256, artifact))
    }

    fn check_artifact(&self, payload: Digest, named: &ArtifactRef) -> Result<(), Refusal> {
        let signed = self.artifact(payload, named.sha256)?;
        let same = signed.length == named.length
            && signed.index_sha256 == named.index_sha256
            && signed.index_length == named.index_length
            && signed.info_hash == named.info_hash;
        if same {
            return Ok(());
        }
        let sentence = format!("Artifact {} is signed with another index or info hash.", signed.sha256.short());
        refuse(Why::SubstitutedRelease, sentence)
    }
}

/// Authorises an activation, for a terminal and its root helper.
///
/// The unexpired plan must order exactly this for this terminal, and the release keys must have signed exactly what it names.
///
/// # Errors
/// As [`plans::verify_stored`], [`plans::check_claim`] and [`Trusted::check_accepted_step`], or the plan expired.
pub fn authorise(
    trusted: &Trusted,
    envelope: &[u8],
    branch: &BranchName,
    claim: Claim<'_>,
    now: DateTime<Utc>,
) -> Result<SignedPayload, Refusal> {
    let plan = plans::verify_stored(envelope, &trusted.plan_keys()?, branch)?;
    if plans::expired(plan.plan(), now) {
        return refuse(Why::PlanExpired, format!("The plan expired on {}; it is now {now}.", plan.plan().expires));
    }
    trusted.check_accepted_step(plans::check_claim(&plan, claim)?)
}

fn fresh(role: &RoleName, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Refusal> {
    if now < until {
        return Ok(());
    }
    refuse(Why::MetadataExpired, format!("Metadata of role {role} expired on {until}; it is now {now}."))
}

fn need<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8], Refusal> {
    files
        .get(name)
        .map(Vec::as_slice)
        .ok_or_else(|| Refusal::new(Why::MetadataMixed, format!("The metadata file {name} is missing.")))
}

/// The bytes of a role's file, of the listed version, with the listed length and digest.
fn listed<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    role: &RoleName,
    meta: &std::collections::HashMap<String, Metafile>,
) -> Result<&'a [u8], Refusal> {
    let Some(entry) = meta.get(&role.meta()) else {
        return refuse(Why::MetadataMixed, format!("Role {role} is not listed in the metadata above it."));
    };
    let bytes = need(files, &role.file(entry.version.get()))?;
    let length = entry.length.is_none_or(|length| length == bytes.len() as u64);
    let digest = entry.hashes.as_ref().is_none_or(|h| h.sha256.as_ref() == sha256(bytes).as_bytes().as_slice());
    if !length || !digest {
        return refuse(
            Why::MetadataDigest,
            format!("The file of role {role} does not match its listed length and digest."),
        );
    }
    Ok(bytes)
}
