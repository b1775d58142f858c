//! Table `report_epochs`: how far each terminal's reports are stored.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, TerminalName};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::numbering::Recent;

use super::rows::{get, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query};

service_kit::statements! {
    ALL = "select epoch, through, began, recent, recent_through, recent_by from report_epochs where terminal = $1";
    SET = "insert into report_epochs (terminal, epoch, through, used, recent, recent_through, recent_by)
         values ($1, $2, $3, $4, $5, $3, $6)
         on conflict (terminal, epoch) do update set through = excluded.through, used = excluded.used,
         recent = excluded.recent, recent_through = excluded.recent_through, recent_by = excluded.recent_by";
    TRIM = "delete from report_epochs where terminal = $1 and epoch not in (
             select epoch from report_epochs where terminal = $1 order by began desc nulls last, used desc,
             through desc limit $2)";
}

/// Most numberings that are remembered of one terminal.
const KEPT: u64 = 8;

/// Whose digests are compared: another version may read and write a report differently.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A numbering of a terminal's reports.
#[derive(Debug, Default)]
pub struct Numbering {
    /// The highest stored number; 0 before the first.
    pub through: u64,
    /// What the last reports said.
    pub recent: Recent,
    /// What the last reports of the terminal's other numberings said.
    pub elsewhere: HashSet<Digest>,
    /// Whether a newer numbering has begun.
    pub superseded: bool,
}

/// Returns this numbering, which is empty if it has not begun.
pub async fn read(
    client: &impl GenericClient,
    terminal: &TerminalName,
    epoch: Uuid,
) -> Result<Numbering, DatabaseError> {
    let (mut numbering, mut own, mut newest) = (Numbering::default(), None, None);
    for row in query(client, ALL, &[&terminal.as_str()]).await? {
        let (through, recent, began) = (unsigned(&row, "through")?, recent(&row)?, get::<Option<i64>>(&row, "began")?);
        if get::<Uuid>(&row, "epoch")? == epoch {
            (numbering.through, numbering.recent, own) = (through, recent, Some(began));
        } else {
            numbering.elsewhere.extend(recent.iter());
            newest = newest.max(began);
        }
    }
    numbering.superseded = own.is_some_and(|own| newest > own);
    Ok(numbering)
}

/// The digests, if they are of this version and of the last reports: an older version stores reports without them.
fn recent(row: &Row) -> Result<Recent, DatabaseError> {
    let through: Option<i64> = get(row, "recent_through")?;
    let by: Option<&str> = get(row, "recent_by")?;
    let bytes: Option<&[u8]> = get(row, "recent")?;
    let counts = through == Some(get(row, "through")?) && by == Some(VERSION);
    Ok(bytes.filter(|_| counts).map(Recent::from_bytes).unwrap_or_default())
}

/// Everything through `through` is stored.
pub async fn set(
    client: &impl GenericClient,
    terminal: &TerminalName,
    epoch: Uuid,
    through: u64,
    recent: &Recent,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (name, digests) = (terminal.as_str(), recent.to_bytes());
    execute(client, SET, &[&name, &epoch, &signed(through), &now, &digests, &VERSION]).await?;
    execute(client, TRIM, &[&terminal.as_str(), &signed(KEPT)]).await.map(drop)
}
