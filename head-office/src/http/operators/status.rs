//! One picture of everything.

use actix_web::web::{Data, Json};
use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{DatabaseError, GenericClient, connection};
use wire::v1::status::{Alert, LeftOut, Status};
use wire::v1::{branch_audits, numbering, paths};
use wire::{Reason, ReasonCode};

use crate::app::App;
use crate::db;
use crate::db::releases::After;
use crate::fleet::views::{branches, terminals};
use crate::http::errors::ApiResult;
use crate::releases::view::view_all;

/// Releases in the picture.
const RELEASES: i64 = 20;
/// Branches in the picture.
const BRANCHES: i64 = 1000;
/// Terminals in the picture.
const TERMINALS: i64 = 1000;

/// Incidents in the picture.
const INCIDENTS: u64 = 5;
/// Machines in the picture that used numbers of reports twice.
const REUSED: u64 = 20;

/// Terminals in the picture whose new key waits for an operator.
const ASKING: i64 = 20;
/// Branches in the picture whose audit was cut.
const CUT: u64 = 20;

/// What is going on: the newest releases, branches and terminals.
#[utoipa::path(get, path = paths::STATUS, tag = "status", responses((status = 200, description = "Status", body = Status)))]
pub async fn status(app: Data<App>) -> ApiResult<Json<Status>> {
    let (client, now) = (connection(&app.pool).await?, app.clock.now());
    let releases = db::releases::newest(&client, After::default(), RELEASES).await?;
    let all = db::branches::all(&client, "", BRANCHES).await?;
    let rows = db::terminals::all(&client, ("", ""), TERMINALS).await?;
    let beyond = |total: u64, shown: usize| total.saturating_sub(shown as u64);
    let left_out = LeftOut {
        releases: beyond(db::releases::count(&client).await?, releases.len()),
        branches: beyond(db::branches::count(&client).await?, all.len()),
        terminals: beyond(db::terminals::count_all(&client).await?, rows.len()),
    };
    Ok(Json(Status {
        background: app.background.list(),
        left_out,
        alerts: alerts(&app, &client, now).await?,
        now,
        incidents: db::incidents::page(&client, None, INCIDENTS).await?,
        releases: view_all(&client, &app.store, releases).await?,
        branches: branches(&client, all).await?,
        terminals: terminals(&client, rows).await?,
    }))
}

/// The alerts of the background tasks, the branches whose audit was cut, and the machines that used numbers of reports twice.
async fn alerts<C: GenericClient>(app: &App, client: &C, now: DateTime<Utc>) -> Result<Vec<Alert>, DatabaseError> {
    let mut alerts = app.alerts.now();
    let since = now - TimeDelta::days(numbering::ALERT_DAYS.into());
    let reused = db::reused_numbers::since(client, since, REUSED).await?;
    let since = now - TimeDelta::days(branch_audits::ALERT_DAYS.into());
    let cut = db::branch_audits::cut_since(client, since, CUT).await?;
    alerts.extend(cut.iter().filter_map(|(branch, audit)| audit.cut.map(|cut| branch_audits::alert(branch, &cut))));
    alerts.extend(reused.iter().map(|machine| numbering::alert(&machine.machine, machine.times, machine.last_at)));
    for terminal in db::terminals::asking(client, ASKING).await? {
        alerts.extend(terminal.asked_key.map(|key| asking(&format!("{}/{}", terminal.branch, terminal.name), &key)));
    }
    Ok(alerts)
}

/// The alert that a terminal's new key waits.
fn asking(terminal: &str, key: &str) -> Alert {
    let reason = Reason::of(ReasonCode::KeyAsked).with("machine", terminal).with("key", key);
    let remedy = format!(
        "If the change is legitimate: `filial terminal accept-key {terminal} {key}`. If not, inspect its branch server."
    );
    Alert { reason, remedy }
}
