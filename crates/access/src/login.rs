//! Logging in: whose name and password these are, and the session that begins.

use std::net::IpAddr;

use chrono::TimeDelta;
use service_kit::database::{GenericClient, Pool, connection};
use service_kit::server::ApiError;
use service_kit::token;
use wire::Code;
use wire::v1::operators::LogIn;

use super::guesses::Guesses;
use super::passwords::Passwords;
use super::rules::MAX_SESSIONS;
use crate::db;
use crate::db::operators::OperatorRow;
use crate::db::sessions::NewSession;

/// Returns the operator whose name and password these are.
///
/// The answer and the work are the same for a wrong password, an unknown name, a service and a disabled operator.
///
/// # Errors
/// They do not belong together, or there were too many tries.
pub async fn authentic(
    pool: &Pool,
    guesses: &Guesses,
    passwords: &Passwords,
    given: &LogIn,
    address: IpAddr,
) -> Result<OperatorRow, ApiError> {
    let name = given.name.parse().ok();
    guesses.begin(name.as_ref(), address)?;
    let row = match &name {
        Some(name) => db::operators::find(&connection(pool).await?, name).await?,
        None => None,
    };
    let open = row.filter(|row| row.disabled.is_none());
    let hash = open.as_ref().and_then(|row| row.password.as_deref());
    let right = passwords.matches(hash, &given.password).await?;
    match open.filter(|_| right) {
        Some(row) => {
            guesses.right(&row.name, address);
            Ok(row)
        }
        None => {
            // The name is not logged: people mistake the fields, and then it is a password.
            tracing::warn!(%address, "a log-in was refused");
            Err(not_accepted())
        }
    }
}

/// Begins a session of an authentic operator and ends the sessions `planted` in the browser before.
///
/// # Errors
/// The operator was disabled or given another password at this very moment, or the database failed.
pub async fn begin_session<C: GenericClient>(
    c: &C,
    operator: &OperatorRow,
    new: &NewSession<'_>,
    planted: impl Iterator<Item = &str>,
    idle: TimeDelta,
) -> Result<(), ApiError> {
    let held = db::operators::lock(c, &operator.name).await?;
    if !held.is_some_and(|held| held.disabled.is_none() && held.password == operator.password) {
        return Err(not_accepted());
    }
    // Whatever session the browser brought along, it gets another one: an attacker may have planted it.
    for old in planted {
        db::sessions::end_by_secret(c, &token::hash(old)).await?;
    }
    db::sessions::insert(c, new).await?;
    db::sessions::tidy(c, &operator.name, MAX_SESSIONS, new.now, new.now - idle).await?;
    Ok(())
}

fn not_accepted() -> ApiError {
    let detail = "Name or password is wrong, or the operator may not log in.";
    let remedy = "Try again, or ask an admin for a new password (`filial operator password`).";
    ApiError::new(Code::LoginRefused, detail, remedy)
}
