//! Making proposals, against the metadata in force.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, Version};
use serde::{Deserialize, Serialize};
use tough::schema::{DelegatedRole, Delegations, PathPattern, PathSet, RoleType, Root, Targets};

use super::proposal::{Body, Proposal};
use super::state::Repository;
use crate::keys::KeySet;
use crate::metadata::content::{content, delegated_roles};
use crate::metadata::names::{RoleName, SignedArtifact, SignedPayload};
use crate::metadata::schema::{self, SPEC_VERSION};
use crate::refusal::{Refusal, Why, refuse};

/// What a root says: who holds each top-level role, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSpec {
    /// Offline; a threshold with one spare.
    pub root: KeySet,
    /// Offline.
    pub targets: KeySet,
    /// Head office, online.
    pub snapshot: KeySet,
    /// Head office, online.
    pub timestamp: KeySet,
    /// Its end, in whole seconds.
    pub expires: DateTime<Utc>,
}

/// What the top-level targets role says: who holds each delegated role, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationSpec {
    /// The release keys of each product.
    pub products: BTreeMap<ProductName, KeySet>,
    /// Head office, online: artifacts.
    pub derived: KeySet,
    /// Head office, online: plans.
    pub plan: KeySet,
    /// Its end, in whole seconds.
    pub expires: DateTime<Utc>,
}

/// A change of what a delegated role signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Signs the payloads of one release.
    Release(Vec<SignedPayload>),
    /// Signs a release no more.
    Withdraw(Version),
    /// Signs artifacts.
    Artifacts(Vec<SignedArtifact>),
    /// Signs the artifacts of a payload no more.
    Forget(Digest),
}

impl Repository {
    /// Proposes the first root of a repository, to be signed by a threshold of its root keys.
    ///
    /// # Errors
    /// The expiry is out of range.
    pub fn propose_first_root(spec: &RootSpec) -> Result<Proposal, Refusal> {
        let root = root(spec, NonZeroU64::MIN)?;
        Ok(Proposal::new(RoleName::Root, None, Body::Root(Box::new(root))).held_by([&spec.root]))
    }

    /// The next root, to be signed by thresholds of the present and of the new root keys.
    ///
    /// Rotates any top-level role.
    ///
    /// # Errors
    /// The expiry is out of range.
    pub fn propose_root(&self, spec: &RootSpec) -> Result<Proposal, Refusal> {
        let base = self.version(&RoleName::Root);
        let next = base.and_then(|b| b.checked_add(1)).and_then(NonZeroU64::new);
        let Some(next) = next else {
            return refuse(Why::ProposalContent, "The root's version cannot be increased further.");
        };
        let present = self.holders(&RoleName::Root)?;
        let proposal = Proposal::new(RoleName::Root, base, Body::Root(Box::new(root(spec, next)?)));
        Ok(proposal.held_by([&present, &spec.root]))
    }

    /// What the present root says, to change one thing of it.
    ///
    /// # Errors
    /// Never for a root that was accepted.
    pub fn root_spec(&self) -> Result<RootSpec, Refusal> {
        Ok(RootSpec {
            root: self.holders(&RoleName::Root)?,
            targets: self.holders(&RoleName::Targets)?,
            snapshot: self.holders(&RoleName::Snapshot)?,
            timestamp: self.holders(&RoleName::Timestamp)?,
            expires: schema::to_chrono(self.root.signed.expires),
        })
    }

    /// What the present delegations say, to change one thing of it.
    ///
    /// Nothing before there are any.
    ///
    /// # Errors
    /// Never for delegations that were accepted.
    pub fn delegation_spec(&self) -> Result<Option<DelegationSpec>, Refusal> {
        let Some(file) = &self.targets else { return Ok(None) };
        let mut products = BTreeMap::new();
        for role in delegated_roles(&file.signed.signed)? {
            if let RoleName::Product(product) = &role {
                products.insert(product.clone(), self.holders(&role)?);
            }
        }
        let (derived, plan) = (self.holders(&RoleName::Derived)?, self.holders(&RoleName::Plan)?);
        Ok(Some(DelegationSpec { products, derived, plan, expires: file.expires() }))
    }

    /// Delegations, to be signed by the holders of `targets`.
    ///
    /// Roles whose keys change must be signed again by the new ones, and new roles for the first time, before the
    /// next publishing.
    ///
    /// # Errors
    /// The expiry is out of range, or the version cannot rise.
    pub fn propose_delegations(&self, spec: &DelegationSpec, now: DateTime<Utc>) -> Result<Proposal, Refusal> {
        let mut delegations = Delegations::new();
        let mut delegate = |role: RoleName, keys: &KeySet| -> Result<(), Refusal> {
            delegations.keys.extend(keys.keys().map(|k| (schema::decoded(k.id()), k.tuf_key())));
            let pattern = PathPattern::new(role.pattern().unwrap_or_default()).map_err(|e| {
                Refusal::new(Why::OutOfPath, format!("The path pattern of role {role} is invalid: {e}."))
            })?;
            let holders = schema::role_keys(keys);
            delegations.roles.push(DelegatedRole {
                name: role.to_string(),
                keyids: holders.keyids,
                threshold: holders.threshold,
                paths: PathSet::Paths(vec![pattern]),
                terminating: true,
                targets: None,
            });
            Ok(())
        };
        for (product, keys) in &spec.products {
            delegate(RoleName::Product(product.clone()), keys)?;
        }
        delegate(RoleName::Derived, &spec.derived)?;
        delegate(RoleName::Plan, &spec.plan)?;
        let mut targets = self.next(&RoleName::Targets, now, spec.expires)?;
        targets.delegations = Some(delegations);
        let base = self.version(&RoleName::Targets);
        let holders = self.holders(&RoleName::Targets)?;
        Ok(Proposal::new(RoleName::Targets, base, Body::Targets(Box::new(targets))).held_by([&holders]))
    }

    /// The next version of a delegated role, to be signed by its holders.
    ///
    /// Without changes it renews the expiry and takes new holders' signatures; it is also a role's first, empty
    /// version.
    ///
    /// # Errors
    /// Not a delegated role, a change that is not this role's, or a release that is signed or absent already.
    pub fn propose(
        &self,
        role: &RoleName,
        changes: &[Change],
        now: DateTime<Utc>,
        expires: DateTime<Utc>,
    ) -> Result<Proposal, Refusal> {
        let holders = self.holders(role)?;
        let mut next = self.next(role, now, expires)?;
        if let Some(file) = self.delegated.get(role) {
            next.targets = file.signed.signed.targets.clone();
        }
        for change in changes {
            apply(role, &mut next, change)?;
        }
        content(role, Some(&next))?;
        let proposal = Proposal::new(role.clone(), self.version(role), Body::Targets(Box::new(next)));
        Ok(proposal.held_by([&holders]))
    }

    fn next(&self, role: &RoleName, now: DateTime<Utc>, expires: DateTime<Utc>) -> Result<Targets, Refusal> {
        let version = schema::next_version(self.highest_version(role), now)?;
        let mut next = Targets::new(SPEC_VERSION.to_owned(), version, schema::to_jiff(expires)?);
        // No delegations at all rather than empty ones: python-tuf reads both, and this is shorter.
        next.delegations = None;
        Ok(next)
    }
}

fn root(spec: &RootSpec, version: NonZeroU64) -> Result<Root, Refusal> {
    let roles = [
        (RoleType::Root, &spec.root),
        (RoleType::Targets, &spec.targets),
        (RoleType::Snapshot, &spec.snapshot),
        (RoleType::Timestamp, &spec.timestamp),
    ];
    let keys = roles.iter().flat_map(|(_, set)| set.keys()).map(|k| (schema::decoded(k.id()), k.tuf_key())).collect();
    Ok(Root {
        spec_version: SPEC_VERSION.to_owned(),
        consistent_snapshot: true,
        version,
        expires: schema::to_jiff(spec.expires)?,
        keys,
        roles: roles.iter().map(|(role, set)| (*role, schema::role_keys(set))).collect(),
        _extra: HashMap::new(),
    })
}

fn apply(role: &RoleName, next: &mut Targets, change: &Change) -> Result<(), Refusal> {
    match (role, change) {
        (RoleName::Product(_), Change::Release(payloads)) => add_release(role, next, payloads),
        (RoleName::Product(product), Change::Withdraw(version)) => {
            let prefix = format!("releases/{product}/{version}/");
            let before = next.targets.len();
            next.targets.retain(|name, _| !name.raw().starts_with(&prefix));
            if next.targets.len() == before {
                return refuse(
                    Why::NotSigned,
                    format!("{product} {version} is not signed, so it cannot be withdrawn."),
                );
            }
            Ok(())
        }
        (RoleName::Derived, Change::Artifacts(artifacts)) => {
            for artifact in artifacts {
                let (name, target) = artifact.to_target()?;
                next.targets.insert(name, target);
            }
            Ok(())
        }
        (RoleName::Derived, Change::Forget(payload)) => {
            let prefix = format!("derived/{payload}/");
            next.targets.retain(|name, _| !name.raw().starts_with(&prefix));
            Ok(())
        }
        _ => refuse(Why::OutOfPath, format!("Role {role} may not sign this change.")),
    }
}

fn add_release(role: &RoleName, next: &mut Targets, payloads: &[SignedPayload]) -> Result<(), Refusal> {
    let releases: BTreeSet<_> = payloads.iter().map(|p| (&p.product, &p.version, &p.manifest)).collect();
    let [(product, version, _)] = releases.iter().copied().collect::<Vec<_>>()[..] else {
        return refuse(Why::ProposalContent, "The payloads of a release must be of one product, version and manifest.");
    };
    if RoleName::Product(product.clone()) != *role {
        return refuse(Why::OutOfPath, format!("Role {role} may not sign a release of {product}."));
    }
    let prefix = format!("releases/{product}/{version}/");
    if next.targets.keys().any(|name| name.raw().starts_with(&prefix)) {
        return refuse(
            Why::ProposalContent,
            format!("{product} {version} is already signed; a release never changes."),
        );
    }
    for payload in payloads {
        let (name, target) = payload.to_target()?;
        if next.targets.insert(name, target).is_some() {
            return refuse(Why::ProposalContent, format!("The release has two payloads named {}.", payload.payload));
        }
    }
    Ok(())
}
