//! Accepts proposals: checks signatures, changes and permissions.

use fleet_types::plural;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tough::schema::{Root, Signed, Targets};

use super::proposal::{Body, Proposal};
use super::state::Repository;
use crate::keys::{KeyId, KeySet};
use crate::metadata::content::{check_delegations, content, delegated_roles, unsigned};
use crate::metadata::names::{RoleName, SignedArtifact, SignedPayload};
use crate::metadata::schema::{self, File};
use crate::refusal::{Refusal, Why, refuse};

/// The signatures of a proposal, and how many are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureState {
    /// Holders with a valid signature.
    pub signed_by: BTreeSet<KeyId>,
    /// Keys whose signatures do not count: invalid, or not holders of the role.
    pub strangers: BTreeSet<KeyId>,
    /// How many more signatures are needed.
    ///
    /// For a root, of current and proposed holders together.
    pub missing: u32,
}

impl SignatureState {
    /// Whether no signature is missing.
    pub const fn complete(&self) -> bool {
        self.missing == 0
    }
}

/// What a proposal for a product's role or for `derived` changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Payloads that would be signed from now on.
    pub added: BTreeSet<SignedPayload>,
    /// Payloads that would not be signed any more.
    pub removed: BTreeSet<SignedPayload>,
    /// Artifacts that would be signed from now on.
    pub added_artifacts: BTreeSet<SignedArtifact>,
    /// Artifacts that would not be signed any more.
    pub removed_artifacts: BTreeSet<SignedArtifact>,
}

impl Repository {
    /// Creates a repository from its first root, signed by a threshold of the root's keys.
    ///
    /// # Errors
    /// Not a first root, or not signed so.
    pub fn begin(first: &Proposal) -> Result<Self, Refusal> {
        let Body::Root(root) = &first.body else {
            return refuse(Why::ProposalContent, "The first proposal of a repository must be a root.");
        };
        if first.version() != 1 || first.base.is_some() {
            return refuse(Why::ProposalContent, "The first root must have version 1 and no base.");
        }
        schema::check_root(root)?;
        let signers = require(state(first, &[schema::holders(root, &RoleName::Root)?])?, first)?;
        let signed = Signed { signed: root.as_ref().clone(), signatures: first.signatures_of(&signers)? };
        let roots = BTreeMap::from([(1, File::new(signed.clone())?)]);
        let (targets, snapshot, timestamp) = (None, None, None);
        Ok(Self { roots, root: signed, targets, delegated: BTreeMap::new(), snapshot, timestamp })
    }

    /// Returns who signed a proposal and how many signatures are missing; checks nothing else.
    ///
    /// # Errors
    /// The role is not there, or the proposal names keys that cannot be used.
    pub fn signature_state(&self, proposal: &Proposal) -> Result<SignatureState, Refusal> {
        let mut sets = vec![self.holders(&proposal.role)?];
        if let Body::Root(next) = &proposal.body {
            sets.push(schema::holders(next, &RoleName::Root)?);
        }
        state(proposal, &sets)
    }

    /// Returns what a proposal would change, regardless of signatures.
    ///
    /// Nothing for `targets` and `root`.
    ///
    /// # Errors
    /// It signs something that its role may not, or was made against metadata that moved on.
    pub fn difference(&self, proposal: &Proposal) -> Result<Difference, Refusal> {
        self.check_base(proposal)?;
        let Body::Targets(next) = &proposal.body else { return Ok(Difference::default()) };
        let before = content(&proposal.role, self.delegated.get(&proposal.role).map(|f| &f.signed.signed))?;
        let after = content(&proposal.role, Some(next))?;
        Ok(Difference {
            added: after.0.difference(&before.0).cloned().collect(),
            removed: before.0.difference(&after.0).cloned().collect(),
            added_artifacts: after.1.difference(&before.1).cloned().collect(),
            removed_artifacts: before.1.difference(&after.1).cloned().collect(),
        })
    }

    /// Accepts a proposal as the role's version in force; a refusal changes nothing.
    ///
    /// Clients see it after the next [`Repository::publish`].
    ///
    /// # Errors
    /// Made against another version (sign again), too few signatures, or content that the role may not say.
    pub fn accept(&mut self, proposal: &Proposal) -> Result<(), Refusal> {
        self.check_base(proposal)?;
        match &proposal.body {
            Body::Root(next) => self.accept_root(proposal, next),
            Body::Targets(next) if proposal.role == RoleName::Targets => self.accept_targets(proposal, next),
            Body::Targets(next) => self.accept_delegated(proposal, next),
        }
    }

    fn check_base(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let (role, present) = (&proposal.role, self.version(&proposal.role));
        if proposal.base != present {
            let text = |v: Option<u64>| v.map_or("none".to_owned(), |v| format!("version {v}"));
            let sentence = format!(
                "The proposal for role {role} is based on {}, but {} is in force.",
                text(proposal.base),
                text(present)
            );
            return refuse(Why::SignAgain, sentence);
        }
        let highest = self.highest_version(role);
        if highest.is_some_and(|highest| proposal.version() <= highest) {
            return refuse(
                Why::SignAgain,
                format!("Version {} of role {role} is not newer than the current one.", proposal.version()),
            );
        }
        Ok(())
    }

    fn accept_root(&mut self, proposal: &Proposal, next: &Root) -> Result<(), Refusal> {
        if proposal.base.and_then(|base| base.checked_add(1)) != Some(proposal.version()) {
            return refuse(Why::ProposalContent, "A new root's version must be the current version plus one.");
        }
        schema::check_root(next)?;
        let signers = require(self.signature_state(proposal)?, proposal)?;
        let signed = Signed { signed: next.clone(), signatures: proposal.signatures_of(&signers)? };
        // tough has the last word: it is what every client asks.
        let held = self.root.signed.verify_role(&signed).and_then(|()| next.verify_role(&signed));
        held.map_err(unsigned(&RoleName::Root))?;
        self.roots.insert(proposal.version(), File::new(signed.clone())?);
        self.root = signed;
        Ok(())
    }

    fn accept_targets(&mut self, proposal: &Proposal, next: &Targets) -> Result<(), Refusal> {
        check_delegations(next)?;
        let signers = require(self.signature_state(proposal)?, proposal)?;
        let signed = Signed { signed: next.clone(), signatures: proposal.signatures_of(&signers)? };
        self.root.signed.verify_role(&signed).map_err(unsigned(&RoleName::Targets))?;
        let stays: BTreeSet<_> = delegated_roles(next)?.into_iter().collect();
        self.delegated.retain(|role, _| stays.contains(role));
        self.targets = Some(File::new(signed)?);
        Ok(())
    }

    fn accept_delegated(&mut self, proposal: &Proposal, next: &Targets) -> Result<(), Refusal> {
        let role = &proposal.role;
        if next.delegations.as_ref().is_some_and(|d| !d.roles.is_empty()) {
            return refuse(Why::ProposalContent, format!("Role {role} may not delegate further."));
        }
        self.check_releases_stay(proposal)?;
        let signers = require(self.signature_state(proposal)?, proposal)?;
        let signed = Signed { signed: next.clone(), signatures: proposal.signatures_of(&signers)? };
        self.delegations().verify_role(&signed, &role.to_string()).map_err(unsigned(role))?;
        self.delegated.insert(role.clone(), File::new(signed)?);
        Ok(())
    }

    /// Checks that payloads of a release are added all at once and removed all at once.
    fn check_releases_stay(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let Body::Targets(next) = &proposal.body else { return Ok(()) };
        let before = content(&proposal.role, self.delegated.get(&proposal.role).map(|f| &f.signed.signed))?.0;
        let after = content(&proposal.role, Some(next))?.0;
        let (known, stays): (BTreeSet<_>, BTreeSet<_>) =
            (before.iter().map(|p| &p.version).collect(), after.iter().map(|p| &p.version).collect());
        let grown = after.difference(&before).find(|p| known.contains(&p.version));
        let shrunk = before.difference(&after).find(|p| stays.contains(&p.version));
        match grown.or(shrunk) {
            Some(p) => {
                let sentence = format!("{} {} is already signed; a release never changes.", p.product, p.version);
                refuse(Why::ProposalContent, sentence)
            }
            None => Ok(()),
        }
    }
}

fn state(proposal: &Proposal, sets: &[KeySet]) -> Result<SignatureState, Refusal> {
    let (message, signatures) = (proposal.message()?, proposal.tuf_signatures()?);
    let (mut signed_by, mut missing) = (BTreeSet::new(), 0);
    for set in sets {
        let valid = schema::valid_signers(&message, &signatures, set);
        missing += set.threshold().saturating_sub(u32::try_from(valid.len()).unwrap_or(u32::MAX));
        signed_by.extend(valid);
    }
    let strangers = proposal.claimed_signers().difference(&signed_by).copied().collect();
    Ok(SignatureState { signed_by, strangers, missing })
}

/// Returns the holders who signed, if there are enough.
fn require(state: SignatureState, proposal: &Proposal) -> Result<BTreeSet<KeyId>, Refusal> {
    let role = &proposal.role;
    if state.complete() {
        return Ok(state.signed_by);
    }
    if state.signed_by.is_empty() && !state.strangers.is_empty() {
        return refuse(
            Why::ProposalUnknownKey,
            format!("The proposal is signed only by keys that do not hold role {role}."),
        );
    }
    let valid = plural(state.signed_by.len(), "valid signature", "valid signatures");
    let missing = plural(state.missing, "more is", "more are");
    let sentence = format!("Role {role} has {valid}; {missing} needed.");
    refuse(Why::ProposalThreshold, sentence)
}
