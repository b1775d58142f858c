//! Table `signed_plan`: the newest accepted plan, exactly as head office signed it, and the floors that it raised.

use chrono::{DateTime, Utc};
use trust::plans::Floors;
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

use super::rows::{Params, get, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query_opt};

service_kit::statements! {
    READ = "select serial, envelope, accepted, floors from signed_plan";
    // No condition on the serial: the floors check it, and a new plan key starts at 1 again.
    REPLACE = "insert into signed_plan (serial, issued, expires, envelope, accepted, floors)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (one) do update set serial = excluded.serial, issued = excluded.issued,
             expires = excluded.expires, envelope = excluded.envelope, accepted = excluded.accepted,
             floors = excluded.floors";
}

/// The plan that this branch follows.
#[derive(Debug, Clone)]
pub struct StoredPlan {
    /// Its serial.
    pub serial: u64,
    /// As it was signed.
    pub envelope: Envelope,
    /// When it was accepted.
    pub accepted: DateTime<Utc>,
    /// The highest serial that was accepted from each plan key.
    pub floors: Floors,
}

impl StoredPlan {
    /// The statement inside.
    ///
    /// # Errors
    /// It cannot be read, although it could when it was accepted: the database was changed by hand.
    pub fn open(&self) -> Result<Plan, DatabaseError> {
        let opened = self.envelope.open(PLAN_PAYLOAD_TYPE);
        opened.map_err(|e| DatabaseError::value("signed_plan.envelope", e))
    }
}

/// The plan, if there is one yet.
pub async fn read(client: &impl GenericClient) -> Result<Option<StoredPlan>, DatabaseError> {
    let Some(row) = query_opt(client, READ, &[]).await? else { return Ok(None) };
    let envelope =
        serde_json::from_str(get(&row, "envelope")?).map_err(|e| DatabaseError::value("signed_plan.envelope", e))?;
    let floors =
        serde_json::from_str(get(&row, "floors")?).map_err(|e| DatabaseError::value("signed_plan.floors", e))?;
    Ok(Some(StoredPlan { serial: unsigned(&row, "serial")?, envelope, accepted: get(&row, "accepted")?, floors }))
}

/// Keeps `plan`, which is the content of `envelope`, and `floors` with it.
pub async fn replace(
    client: &impl GenericClient,
    plan: &Plan,
    envelope: &Envelope,
    floors: &Floors,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let text = serde_json::to_string(envelope).map_err(|e| DatabaseError::value("signed_plan.envelope", e))?;
    let floors = serde_json::to_string(floors).map_err(|e| DatabaseError::value("signed_plan.floors", e))?;
    let params: Params<'_> = &[&signed(plan.serial), &plan.issued, &plan.expires, &text, &now, &floors];
    execute(client, REPLACE, params).await.map(drop)
}
