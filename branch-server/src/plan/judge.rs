//! Decides whether an offered plan becomes the branch's plan: signatures, floors and times are the trust library's matter,
//! what this server can follow is decided here. No I/O, no clock.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use trust::Why;
use trust::client::Trusted;
use trust::planned;
use trust::plans::{Expected, Floors, VerifiedPlan, verify};
use wire::Envelope;
use wire::v1::plan::{ArtifactRef, Plan};

/// Most steps and packages of a plan, together.
pub const MAX_STEPS: usize = 1000;

/// Largest artifact in bytes (8 TiB): no disk image is larger, and sums of them stay within 64 bits.
pub const MAX_ARTIFACT: u64 = 8 << 40;

/// What an offered plan is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// Whose plan it must be.
    pub branch: &'a BranchName,
    /// Metadata that was brought up to date for this plan; none if nothing was accepted yet.
    pub trusted: Option<&'a Trusted>,
    /// The serials that were accepted.
    pub floors: &'a Floors,
    /// The clock, or the time floor if that is later.
    pub now: DateTime<Utc>,
}

/// An accepted plan and the floors to store with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The plan.
    pub plan: VerifiedPlan,
    /// The floors that it raised.
    pub floors: Floors,
}

/// Why an offered plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its signature, metadata or time is not valid.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Trust(trust::Refusal),
    /// There is no fresh metadata to judge it by.
    #[error("No new plan is accepted without fresh metadata. {} {}", .0.sentence(), .0.remedy())]
    NotFresh(trust::Refusal),
    /// Beyond a bound, or at odds with itself.
    #[error("Plan {serial} of head office is not valid: {why}. See head office's log, then assign the release again.")]
    Unsound {
        /// Its serial.
        serial: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Refusal {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Trust(refusal) | Self::NotFresh(refusal) => refusal.code(),
            Self::Unsound { .. } => "plan-unsound",
        }
    }
}

/// Judges an offered plan that is not the current one.
///
/// # Errors
/// The reason for which it is refused; the branch then goes on with what it has.
pub fn judge(offered: &Envelope, by: Judge<'_>) -> Result<Accepted, Refusal> {
    let Judge { branch, floors, now, .. } = by;
    let trusted = by.trusted.ok_or_else(|| Refusal::NotFresh(nothing_known()))?;
    let keys = trusted.plan_keys().map_err(Refusal::Trust)?;
    let plan = receive(offered, Expected { keys: &keys, branch, now, floors })?;
    trusted.check_plan(plan.plan(), now).map_err(Refusal::Trust)?;
    let mut floors = floors.clone();
    floors.raise(&plan, &keys);
    Ok(Accepted { plan, floors })
}

/// The first half of [`judge`], which needs no metadata: who signed it, for whom, when; and whether it can be followed at
/// all, which bounds the work of the second half.
///
/// # Errors
/// As [`judge`].
pub fn receive(offered: &Envelope, expected: Expected<'_>) -> Result<VerifiedPlan, Refusal> {
    // Texts always serialise.
    let bytes = serde_json::to_vec(offered).unwrap_or_default();
    let plan = verify(&bytes, expected).map_err(Refusal::Trust)?;
    sound(plan.plan()).map_err(|why| Refusal::Unsound { serial: plan.plan().serial, why })?;
    Ok(plan)
}

fn nothing_known() -> trust::Refusal {
    trust::Refusal::new(Why::NoMetadata, "This branch server has no signed metadata yet.")
}

/// Whether the plan stays within bounds and says one thing about each artifact.
fn sound(plan: &Plan) -> Result<(), String> {
    if plan.serial == 0 || i64::try_from(plan.serial).is_err() {
        return Err("its serial is out of range".to_owned());
    }
    let entries = plan.entries().count();
    if entries > MAX_STEPS {
        return Err(format!("it has {entries} steps and packages; at most {MAX_STEPS} are allowed"));
    }
    let mut seen: BTreeMap<Digest, (&ArtifactRef, Digest, u64)> = BTreeMap::new();
    let carried = planned::entries(plan).flat_map(|s| s.artifacts.iter().map(move |artifact| (artifact, s.payload)));
    for (artifact, payload) in carried {
        if artifact.length > MAX_ARTIFACT || payload.length > MAX_ARTIFACT {
            return Err(format!("artifact {} is larger than {MAX_ARTIFACT} bytes", artifact.sha256.short()));
        }
        if artifact.index_length > artifact::max_index_len(payload.length) || artifact.index_length > artifact.length {
            return Err(format!("the index of artifact {} is larger than the format allows", artifact.sha256.short()));
        }
        if payload.name.len() > 256 || payload.name.chars().any(char::is_control) {
            return Err(format!(
                "the name of payload {} is too long or has control characters",
                payload.sha256.short()
            ));
        }
        let said = (artifact, payload.sha256, payload.length);
        if *seen.entry(artifact.sha256).or_insert(said) != said {
            return Err(format!("it contradicts itself about artifact {}", artifact.sha256.short()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
