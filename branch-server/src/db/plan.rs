//! Table `plan`: the newest accepted plan, exactly as head office sealed it.

use chrono::{DateTime, Utc};
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

use super::{Params, get, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query_opt};

service_kit::statements! {
    READ = "select serial, envelope, accepted from plan";
    REPLACE = "insert into plan (serial, issued, expires, envelope, accepted) values ($1, $2, $3, $4, $5)
         on conflict (one) do update set serial = excluded.serial, issued = excluded.issued,
             expires = excluded.expires, envelope = excluded.envelope, accepted = excluded.accepted
         where plan.serial < excluded.serial";
}

/// The plan that this branch follows.
#[derive(Debug, Clone)]
pub struct StoredPlan {
    /// Its serial.
    pub serial: u64,
    /// As it was sealed.
    pub envelope: Envelope,
    /// When it was accepted.
    pub accepted: DateTime<Utc>,
}

impl StoredPlan {
    /// The statement inside.
    ///
    /// # Errors
    /// It cannot be read, although it could when it was accepted: the database was changed by hand.
    pub fn open(&self) -> Result<Plan, DatabaseError> {
        let opened = self.envelope.open(PLAN_PAYLOAD_TYPE);
        opened.map_err(|e| DatabaseError::value("plan.envelope", e))
    }
}

/// The plan, if there is one yet.
pub async fn read(client: &impl GenericClient) -> Result<Option<StoredPlan>, DatabaseError> {
    let Some(row) = query_opt(client, READ, &[]).await? else { return Ok(None) };
    let envelope =
        serde_json::from_str(get(&row, "envelope")?).map_err(|e| DatabaseError::value("plan.envelope", e))?;
    Ok(Some(StoredPlan { serial: unsigned(&row, "serial")?, envelope, accepted: get(&row, "accepted")? }))
}

/// Keeps `plan`, which is the content of `envelope`, unless one as new is kept already.
pub async fn replace(
    client: &impl GenericClient,
    plan: &Plan,
    envelope: &Envelope,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let text = serde_json::to_string(envelope).map_err(|e| DatabaseError::value("plan.envelope", e))?;
    let params: Params<'_> = &[&signed(plan.serial), &plan.issued, &plan.expires, &text, &now];
    Ok(execute(client, REPLACE, params).await? == 1)
}
