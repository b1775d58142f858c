//! One picture of everything.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use wire::v1::paths;
use wire::v1::status::{LeftOut, Status};

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
const TERMINALS: u64 = 1000;

/// Incidents in the picture.
const INCIDENTS: u64 = 5;

/// What is going on: the newest releases, branches and terminals.
#[utoipa::path(get, path = paths::STATUS, tag = "status", responses((status = 200, description = "Status", body = Status)))]
pub async fn status(app: Data<App>) -> ApiResult<Json<Status>> {
    let (client, now) = (connection(&app.pool).await?, app.clock.now());
    let releases = db::releases::newest(&client, After::default(), RELEASES).await?;
    let all = db::branches::all(&client, "", BRANCHES).await?;
    let names: Vec<&str> = all.iter().map(|branch| branch.name.as_str()).collect();
    let counts: Vec<_> = db::terminals::count(&client, &names).await?;
    let names: Vec<&str> = counts.iter().map(|(branch, _)| branch.as_str()).collect();
    let shares = shares(&counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(), TERMINALS);
    let rows = db::terminals::shares(&client, &names, &shares).await?;
    let beyond = |total: u64, shown: usize| total.saturating_sub(shown as u64);
    let left_out = LeftOut {
        releases: beyond(db::releases::count(&client).await?, releases.len()),
        branches: beyond(db::branches::count(&client).await?, all.len()),
        terminals: beyond(db::terminals::count_all(&client).await?, rows.len()),
    };
    Ok(Json(Status {
        background: app.background.list(),
        left_out,
        alerts: app.alerts.current(&client, now).await?,
        now,
        incidents: db::incidents::page(&client, None, INCIDENTS).await?,
        releases: view_all(&client, &app.store, releases).await?,
        branches: branches(&client, all).await?,
        terminals: terminals(&client, rows).await?,
    }))
}

/// Shares `most` places among branches with these numbers of terminals: all get as many, except those that have fewer.
fn shares(counts: &[u64], most: u64) -> Vec<i64> {
    let (mut least, mut end) = (0, most + 1);
    // The largest number for each with which all fit.
    while least + 1 < end {
        let each = least + (end - least) / 2;
        if counts.iter().map(|count| count.min(&each)).sum::<u64>() <= most { least = each } else { end = each }
    }
    let given: u64 = counts.iter().map(|count| count.min(&least)).sum();
    let mut left = most.saturating_sub(given);
    let share = |count: &u64| {
        let more = u64::from(*count > least && left > 0);
        left -= more;
        i64::try_from(count.min(&least) + more).unwrap_or(i64::MAX)
    };
    counts.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_of_one_branch_leave_room_for_those_of_others() {
        assert_eq!(shares(&[10_000, 3, 10_000], 1_000), [499, 3, 498]);
        assert_eq!(shares(&[1, 2, 3], 1_000), [1, 2, 3]);
        assert_eq!(shares(&[5; 4], 2), [1, 1, 0, 0]);
        assert_eq!(shares(&[], 10), Vec::<i64>::new());
    }
}
