//! What is believed: signed metadata in a trust store, wherever it came from, and plans judged by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use trust::certificates::Times;
use trust::client::{Client, Fetch, Limits, Trusted, authorise};
use trust::plans::{Claim, Expected, Floors, VerifiedPlan, verify, verify_stored};
use trust::repository::SignedPayload;
use trust::{Refusal, Why};
use wire::Envelope;

/// A trust store, and the bounds of its updates.
pub struct Believed {
    client: Client,
    limits: Limits,
}

impl Believed {
    /// Wraps a trust store; `limits` bound its updates.
    pub fn new(client: Client, limits: Limits) -> Self {
        Self { client, limits }
    }

    fn trusted(&self) -> Result<&Trusted, Refusal> {
        let none = || Refusal::new(Why::NoMetadata, "No signed metadata has arrived yet.");
        self.client.trusted().ok_or_else(none)
    }

    /// Version of the newest timestamp role.
    pub fn version(&self) -> Option<u64> {
        self.client.timestamp_version()
    }

    /// Whether the newest of these files is what is believed already.
    pub fn holds(&self, files: &BTreeMap<String, String>) -> bool {
        const NEWEST: &str = "timestamp.json";
        files.get(NEWEST).is_some_and(|f| self.client.files().get(NEWEST).is_some_and(|own| own == f.as_bytes()))
    }

    /// Its files as texts by name, for the root helper, which verifies them itself.
    pub fn files(&self) -> BTreeMap<String, String> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        self.client.files().into_iter().map(|(name, bytes)| (name, text(bytes))).collect()
    }

    /// The time to judge by: the clock, or the newest time ever verified if that is later.
    pub fn time(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        self.client.time(clock)
    }

    /// The same, with what the clock alone says of it.
    pub fn times(&self, clock: DateTime<Utc>) -> Times {
        Times::new(clock, self.client.floor())
    }

    /// The newest time ever verified.
    pub fn floor(&self) -> DateTime<Utc> {
        self.client.floor()
    }

    /// Fetches and verifies what is new; durable once this returns.
    pub async fn update(&mut self, source: Arc<dyn Fetch>, clock: DateTime<Utc>) -> Result<(), Refusal> {
        self.client.update(source, self.limits, clock).await
    }

    /// Judges a plan on receipt: what it says, and the floors that it raises.
    pub fn judge(
        &self,
        offered: &Envelope,
        branch: &BranchName,
        floors: &Floors,
        clock: DateTime<Utc>,
    ) -> Result<(VerifiedPlan, Floors), Refusal> {
        let (trusted, now) = (self.trusted()?, self.time(clock));
        let keys = trusted.plan_keys()?;
        let plan = verify(&bytes(offered), Expected { keys: &keys, branch, now, floors })?;
        trusted.check_plan(plan.plan(), now)?;
        let mut floors = floors.clone();
        floors.raise(&plan, &keys);
        Ok((plan, floors))
    }

    /// A plan that was accepted before: from then on only its own expiry governs.
    pub fn restore(&self, accepted: &Envelope, branch: &BranchName) -> Result<VerifiedPlan, Refusal> {
        verify_stored(&bytes(accepted), &self.trusted()?.plan_keys()?, branch)
    }

    /// The last word before something is switched.
    pub fn authorise(
        &self,
        accepted: &Envelope,
        branch: &BranchName,
        claim: Claim<'_>,
        clock: DateTime<Utc>,
    ) -> Result<SignedPayload, Refusal> {
        authorise(self.trusted()?, &bytes(accepted), branch, claim, self.time(clock))
    }

    /// Raises the newest time ever verified.
    pub fn raise_floor(&mut self, verified: DateTime<Utc>) -> Result<(), Refusal> {
        self.client.raise_floor(verified)
    }
}

fn bytes(envelope: &Envelope) -> Vec<u8> {
    // Texts always serialise.
    serde_json::to_vec(envelope).unwrap_or_default()
}
