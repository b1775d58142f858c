//! Table `report_epochs`: how far each terminal's reports are stored.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use uuid::Uuid;

use super::rows::{signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query_opt};

service_kit::statements! {
    THROUGH = "select through from report_epochs where terminal = $1 and epoch = $2";
    SET = "insert into report_epochs (terminal, epoch, through, used) values ($1, $2, $3, $4)
         on conflict (terminal, epoch) do update set through = excluded.through, used = excluded.used";
    TRIM = "delete from report_epochs where terminal = $1 and epoch not in (
             select epoch from report_epochs where terminal = $1 order by used desc, through desc limit $2)";
}

/// Most numberings that are remembered of one terminal.
const KEPT: u64 = 8;

/// Returns the highest number stored in this numbering; 0 before the first.
pub async fn through(client: &impl GenericClient, terminal: &TerminalName, epoch: Uuid) -> Result<u64, DatabaseError> {
    let row = query_opt(client, THROUGH, &[&terminal.as_str(), &epoch]).await?;
    row.map_or(Ok(0), |row| unsigned(&row, "through"))
}

/// Everything through `through` is stored.
pub async fn set(
    client: &impl GenericClient,
    terminal: &TerminalName,
    epoch: Uuid,
    through: u64,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(client, SET, &[&terminal.as_str(), &epoch, &signed(through), &now]).await?;
    execute(client, TRIM, &[&terminal.as_str(), &signed(KEPT)]).await.map(drop)
}
