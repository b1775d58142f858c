//! Plans: signed by head office's plan keys, checked by the branch server, by each terminal and by its root helper.
//!
//! Everything here is pure: the time is an argument, floors are a value that the caller keeps.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, ProductName, TerminalName, Version, plural};
use serde::{Deserialize, Serialize};
use wire::v1::plan::Plan;
use wire::{Envelope, EnvelopeError, PLAN_PAYLOAD_TYPE, Signature};

use crate::keys::{KeyId, KeySet, SigningKey, sha256};
use crate::planned::{self, PlannedStep};
use crate::refusal::{Refusal, Why, refuse};

/// How far a plan may seem to come from the future: clocks of a fleet differ.
pub const FUTURE_TOLERANCE: TimeDelta = TimeDelta::minutes(10);

/// Signs `plan` with each of `keys`.
///
/// # Errors
/// No key, or the plan cannot be written.
pub fn sign(plan: &Plan, keys: &[&SigningKey]) -> Result<Envelope, Refusal> {
    if keys.is_empty() {
        return refuse(Why::BadKeySet, "Signing a plan needs at least one key.");
    }
    let mut envelope = Envelope::unsigned(PLAN_PAYLOAD_TYPE, plan)
        .map_err(|e| Refusal::new(Why::PlanForm, format!("Cannot serialise the plan: {e}.")))?;
    let payload = envelope.payload_bytes(PLAN_PAYLOAD_TYPE).map_err(form)?;
    let message = Envelope::pre_authentication_encoding(PLAN_PAYLOAD_TYPE, &payload);
    envelope.signatures = keys
        .iter()
        .map(|k| Signature { keyid: k.public().id().to_string(), sig: STANDARD.encode(k.sign(&message)) })
        .collect();
    Ok(envelope)
}

/// The highest accepted serial of each plan key; a new key after a theft starts from zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floors(BTreeMap<KeyId, Floor>);

/// The newest plan that was accepted from one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    serial: u64,
    /// SHA-256 of the plan's bytes.
    ///
    /// The same plan may come again, another one of the same serial may not.
    plan: Digest,
}

impl Floors {
    /// The floor of a key, if any plan of it was accepted.
    pub fn of(&self, key: KeyId) -> Option<u64> {
        self.0.get(&key).map(|f| f.serial)
    }

    /// Raises the floors to `accepted`, and forgets keys that `keys` does not name any more.
    ///
    /// Persist the result before the plan is acted upon.
    pub fn raise(&mut self, accepted: &VerifiedPlan, keys: &KeySet) {
        let known: BTreeSet<_> = keys.keys().map(|k| k.id()).collect();
        self.0.retain(|id, _| known.contains(id));
        for id in &accepted.signers {
            self.0.insert(*id, Floor { serial: accepted.plan.serial, plan: accepted.digest });
        }
    }
}

/// A plan whose signatures, branch, serial and times were checked. Made by [`verify`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPlan {
    plan: Plan,
    signers: BTreeSet<KeyId>,
    digest: Digest,
}

impl VerifiedPlan {
    /// The plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The keys whose signatures hold, each once.
    pub fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.signers.iter().copied()
    }

    /// SHA-256 of the signed bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// What the receiver of a plan knows.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The plan keys, from the delegation `plan`.
    pub keys: &'a KeySet,
    /// Its own branch.
    pub branch: &'a BranchName,
    /// The clock, or its time floor if that is later.
    pub now: DateTime<Utc>,
    /// The serials that it accepted.
    pub floors: &'a Floors,
}

/// Checks a plan on receipt.
///
/// # Errors
/// Each with its own [`Why`]: form, unknown key, bad signature, too few signatures, another branch, contradictory times,
/// from the future, expired, older than the floor of a key that signed it.
pub fn verify(envelope: &[u8], expected: Expected<'_>) -> Result<VerifiedPlan, Refusal> {
    let accepted = verify_stored(envelope, expected.keys, expected.branch)?;
    check_times(&accepted.plan, expected.now)?;
    check_floors(&accepted, expected.floors)?;
    Ok(accepted)
}

/// Verifies signatures and branch of a plan that was accepted before.
///
/// Times and serial were judged on receipt; [`expired`] tells whether it may still be acted upon.
///
/// # Errors
/// As [`verify`], without times and floors.
pub fn verify_stored(envelope: &[u8], keys: &KeySet, branch: &BranchName) -> Result<VerifiedPlan, Refusal> {
    let envelope = Envelope::parse(envelope).map_err(form)?;
    let payload = envelope.payload_bytes(PLAN_PAYLOAD_TYPE).map_err(form)?;
    let signers = check_signatures(&envelope, &payload, keys)?;
    // Parsed only after verification: unsigned input never reaches the parser.
    let plan: Plan = serde_json::from_slice(&payload).map_err(EnvelopeError::NotStatement).map_err(form)?;
    if plan.format != 1 {
        return refuse(Why::PlanForm, format!("The plan has format {}; this program reads format 1.", plan.format));
    }
    if plan.branch != *branch {
        return refuse(
            Why::PlanWrongBranch,
            format!("The plan is for branch {}; this is branch {branch}.", plan.branch),
        );
    }
    Ok(VerifiedPlan { plan, signers, digest: sha256(&payload) })
}

/// Whether a plan has expired.
pub fn expired(plan: &Plan, now: DateTime<Utc>) -> bool {
    now >= plan.expires
}

fn form(error: EnvelopeError) -> Refusal {
    Refusal::new(Why::PlanForm, format!("The plan is malformed: {}.", service_kit::edge::chain(&error)))
}

fn check_signatures(envelope: &Envelope, payload: &[u8], keys: &KeySet) -> Result<BTreeSet<KeyId>, Refusal> {
    let message = Envelope::pre_authentication_encoding(PLAN_PAYLOAD_TYPE, payload);
    let mut valid = BTreeSet::new();
    let mut bad = None;
    for signature in &envelope.signatures {
        let known = signature.keyid.parse().ok().and_then(|id| keys.by_id(id));
        let Some(key) = known else { continue };
        let made = STANDARD.decode(&signature.sig).is_ok_and(|sig| key.verify(&message, &sig));
        if made {
            // A set: the same key twice counts once.
            valid.insert(key.id());
        } else {
            bad = Some(key.id());
        }
    }
    if valid.len() >= keys.threshold() as usize {
        return Ok(valid);
    }
    if let Some(id) = bad {
        return refuse(Why::PlanBadSignature, format!("The signature by plan key {} is invalid.", id.short()));
    }
    if valid.is_empty() {
        return refuse(Why::PlanUnknownKey, "The plan is not signed by any known plan key.");
    }
    let valid = plural(valid.len(), "valid signature", "valid signatures");
    let sentence = format!("The plan has {valid} of {} required.", keys.threshold());
    refuse(Why::PlanThreshold, sentence)
}

fn check_times(plan: &Plan, now: DateTime<Utc>) -> Result<(), Refusal> {
    if plan.expires <= plan.issued {
        return refuse(
            Why::PlanContradiction,
            format!("The plan was issued on {} but expired on {}.", plan.issued, plan.expires),
        );
    }
    if plan.issued > now + FUTURE_TOLERANCE {
        return refuse(Why::PlanFromTheFuture, format!("The plan was issued on {}; it is now {now}.", plan.issued));
    }
    if expired(plan, now) {
        return refuse(Why::PlanExpired, format!("The plan expired on {}; it is now {now}.", plan.expires));
    }
    Ok(())
}

fn check_floors(accepted: &VerifiedPlan, floors: &Floors) -> Result<(), Refusal> {
    let serial = accepted.plan.serial;
    for id in &accepted.signers {
        let Some(floor) = floors.0.get(id) else { continue };
        if serial < floor.serial {
            let sentence = format!("The plan has serial {serial}; plan {} was accepted before.", floor.serial);
            return refuse(Why::PlanReplayed, sentence);
        }
        if serial == floor.serial && accepted.digest != floor.plan {
            return refuse(Why::PlanReplayed, format!("Another plan with serial {serial} was accepted before."));
        }
    }
    Ok(())
}

/// What a terminal is about to install.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its own name.
    pub terminal: &'a TerminalName,
    /// The product.
    pub product: &'a ProductName,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// SHA-256 of the payload.
    pub payload: Digest,
    /// What it runs now of this product, if it knows.
    pub installed: Option<&'a Version>,
}

/// A terminal's own check.
///
/// The plan names it, exactly these digests, and a lower version only by an explicit downgrade.
///
/// # Errors
/// Not named, other digests, or a downgrade without leave.
pub fn check_claim<'p>(plan: &'p VerifiedPlan, claim: Claim<'_>) -> Result<PlannedStep<'p>, Refusal> {
    let Claim { terminal, product, .. } = claim;
    let names_it = |s: &PlannedStep<'_>| s.product == product && s.terminals.contains(terminal);
    let mine: Vec<_> = planned::entries(&plan.plan).filter(names_it).collect();
    if mine.is_empty() {
        return refuse(Why::PlanNotForMe, format!("The plan does not assign {product} to terminal {terminal}."));
    }
    let exact = mine.iter().find(|s| s.manifest == claim.manifest && s.payload.sha256 == claim.payload);
    let Some(step) = exact else {
        let sentence = format!(
            "The plan gives {product} with payload {} to terminal {terminal}, this is payload {}.",
            mine.iter().map(|s| s.payload.sha256.short()).collect::<Vec<_>>().join(" or "),
            claim.payload.short()
        );
        return refuse(Why::PlanOtherDigest, sentence);
    };
    check_downgrade(step, claim.installed)?;
    Ok(*step)
}

fn check_downgrade(step: &PlannedStep<'_>, installed: Option<&Version>) -> Result<(), Refusal> {
    match installed {
        Some(installed) if step.version < installed && !step.execution.downgrade => {
            let PlannedStep { product, version, .. } = step;
            let sentence = format!("{product} {version} is older than {installed}, and the plan allows no downgrade.");
            refuse(Why::PlanDowngrade, sentence)
        }
        _ => Ok(()),
    }
}
