//! Terminals.

use access::audit::Change;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use chrono::TimeDelta;
use fleet_types::{BranchName, TerminalName, TerminalRef};
use serde::Deserialize;
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller, Missing};
use trust::{PublicKey, Refusal};
use wire::v1::fleet::{AcceptKey, Terminal, TerminalRemoved};
use wire::v1::paths;
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::fleet::removal::forget_terminal;
use crate::fleet::states;
use crate::fleet::views::{one_terminal, terminals};
use crate::http::errors::ApiResult;
use crate::http::page;

/// Which terminals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only those of this branch.
    pub branch: Option<BranchName>,
    /// At most so many, 1 to 1,000; 200 without.
    pub limit: Option<u32>,
    /// Those after this terminal, as BRANCH/NAME.
    pub after: Option<String>,
}

/// A terminal that was heard so recently is in use.
const IN_USE: TimeDelta = TimeDelta::hours(24);

/// Terminals on one page, unless the caller says otherwise.
const PAGE: u32 = 200;

/// Terminals by branch and name, by page.
///
/// The `Link` header leads to the next page, if there is one.
#[utoipa::path(get, path = paths::TERMINALS, tag = "terminals", params(Filter), responses(
    (status = 200, description = "Terminals", body = Vec<Terminal>,
        headers(("Link" = String, description = "The next page, as rel=next"))),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(app: Data<App>, request: HttpRequest, filter: Query<Filter>) -> ApiResult<HttpResponse> {
    let rows = page::rows(filter.limit, PAGE)?;
    let after: Option<TerminalRef> = match filter.after.as_deref().map(str::parse) {
        None => None,
        Some(Ok(terminal)) => Some(terminal),
        Some(Err(_)) => return Err(ApiError::bad_field("after", "must be BRANCH/NAME, as in the Link of a page")),
    };
    let after = after.as_ref().map_or(("", ""), |t| (t.branch.as_str(), t.terminal.as_str()));
    let client = connection(&app.pool).await?;
    let mut found = match &filter.branch {
        Some(branch) => {
            if db::branches::find(&client, branch).await?.is_none() {
                return Err(ApiError::not_found(Missing::Branch, &branch));
            }
            db::terminals::of_branch(&client, branch, after.1, rows).await?
        }
        None => db::terminals::all(&client, after, rows).await?,
    };
    let more = page::cut(&mut found, rows);
    let next = found.last().filter(|_| more).map(|t| format!("{}/{}", t.branch, t.name));
    Ok(page::answer(&request, &terminals(&client, found).await?, next))
}

/// One terminal, with every move of its newest update.
#[utoipa::path(get, path = paths::TERMINAL, tag = "terminals",
    params(("branch" = BranchName, Path), ("name" = TerminalName, Path)), responses(
    (status = 200, description = "The terminal", body = Terminal),
    (status = 404, description = "No such terminal", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, path: Path<(BranchName, TerminalName)>) -> ApiResult<Json<Terminal>> {
    let (branch, name) = &*path;
    let client = connection(&app.pool).await?;
    let row = db::terminals::find(&client, branch, name).await?;
    let row = row.ok_or_else(|| ApiError::not_found(Missing::Terminal, &format_args!("{branch}/{name}")))?;
    Ok(Json(one_terminal(&client, row).await?))
}

/// Believe a terminal's new key.
///
/// Until then its states are held, and do not count: its branch server could have made the key up. The newest of them counts
/// now, and updates of the old key count no more.
#[utoipa::path(post, path = paths::TERMINAL_KEY, tag = "terminals",
    params(("branch" = BranchName, Path), ("name" = TerminalName, Path)), request_body = AcceptKey, responses(
    (status = 200, description = "The terminal", body = Terminal),
    (status = 404, description = "No such terminal", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "This key does not wait", body = Problem, content_type = "application/problem+json"),
))]
pub async fn accept_key(
    app: Data<App>,
    caller: Caller,
    path: Path<(BranchName, TerminalName)>,
    body: Json<AcceptKey>,
) -> ApiResult<Json<Terminal>> {
    let (branch, name) = &*path;
    let key: PublicKey = body.key.parse().map_err(|r: Refusal| ApiError::bad_field("key", r.sentence()))?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let missing = || ApiError::not_found(Missing::Terminal, &format_args!("{branch}/{name}"));
    let before = db::terminals::find(&transaction, branch, name).await?.ok_or_else(missing)?;
    db::denied_names::replaced(&transaction, branch, name, &key, app.clock.now()).await?;
    if !db::terminals::accept_key(&transaction, branch, name, &key).await? {
        let detail = format!("Terminal {branch}/{name} does not ask for the key {key}.");
        return Err(ApiError::new(
            Code::WrongState,
            detail,
            "Check which key the terminal asks for (`filial terminal show`).",
        ));
    }
    // Another disk, perhaps: what the holder of the old key had installed says nothing about this one.
    db::updates::remove_of_terminal(&transaction, branch, name).await?;
    states::take_held(&transaction, branch, name).await?;
    let change = Change::of(format!("terminal {branch}/{name}")).because(body.reason.as_deref());
    let change = change.before(json!({ "key": before.key })).after(json!({ "key": key }));
    app.audit.commit(transaction, &caller, change).await?;
    let row = db::terminals::find(&client, branch, name).await?.ok_or_else(missing)?;
    Ok(Json(one_terminal(&client, row).await?))
}

/// How to remove.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Also a terminal that was heard within the last 24 hours and is not denied.
    #[serde(default)]
    pub force: bool,
    /// Forget that it was denied, and which of its keys were replaced: the next server of its branch lets it in again.
    #[serde(default)]
    pub allow_again: bool,
}

/// Remove a terminal with its history.
///
/// What it said of itself no longer counts, and its branch's plan follows. That it was denied is remembered, unless `allow_again` is set.
/// Its branch server still knows it: a terminal that is not denied there comes back when it enrols there for the first time, is allowed
/// there again, or reports changed facts.
#[utoipa::path(delete, path = paths::TERMINAL, tag = "terminals",
    params(("branch" = BranchName, Path), ("name" = TerminalName, Path), Removal), responses(
    (status = 200, description = "It is gone", body = TerminalRemoved),
    (status = 404, description = "No such terminal", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is in use", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove(
    app: Data<App>,
    caller: Caller,
    path: Path<(BranchName, TerminalName)>,
    removal: Query<Removal>,
) -> ApiResult<Json<TerminalRemoved>> {
    let (branch, name) = path.into_inner();
    let missing = || ApiError::not_found(Missing::Terminal, &format_args!("{branch}/{name}"));
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    if !db::branches::lock(&transaction, &branch).await? {
        return Err(missing());
    }
    let now = app.clock.now();
    let before = db::terminals::find(&transaction, &branch, &name).await?;
    let in_use = before.as_ref().is_some_and(|t| t.denied.is_none() && t.last_heard > now - IN_USE);
    if in_use && !removal.force {
        let hours = IN_USE.num_hours();
        let detail = format!("Terminal {branch}/{name} was heard within {hours} hours and is not denied.");
        let remedy =
            "Deny it at its branch (`filial terminal deny`), or force the removal (`filial terminal remove --force`).";
        return Err(ApiError::new(Code::TerminalInUse, detail, remedy));
    }
    if !forget_terminal(&transaction, &branch, &name, removal.allow_again, now).await? {
        if db::denied_names::remembered(&transaction, &branch, &name).await?.is_some() {
            let detail =
                format!("Terminal {branch}/{name} is removed already; head office remembers only that it is denied.");
            let remedy = format!("To let it in again, run `filial terminal remove {branch}/{name} --allow-again`.");
            return Err(ApiError::new(Code::WrongState, detail, remedy));
        }
        return Err(missing());
    }
    let denied = db::denied_names::remembered(&transaction, &branch, &name).await?.is_some();
    let change = Change::of(format!("terminal {branch}/{name}"));
    let change = change.before(before.map_or_else(
        || json!({ "denied": true }),
        |t| json!({ "model": t.model, "slot_bytes": t.slot_bytes, "key": t.key, "denied": t.denied.is_some() }),
    ));
    let change = change.after(json!({ "removed": true, "forced": removal.force, "denied": denied }));
    app.audit.commit(transaction, &caller, change).await?;
    app.delayed.notify_one();
    tracing::info!(%branch, terminal = %name, forced = in_use, by = caller.name, "terminal removed");
    Ok(Json(TerminalRemoved { branch, name, denied }))
}
