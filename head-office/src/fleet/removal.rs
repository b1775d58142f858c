//! Removal of branches and of single terminals.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient};

use super::events::{audience, wake};
use crate::db;

/// Removes a branch that the transaction `c` holds, with everything known of it.
///
/// How many terminals it had. Its server's next request is told so.
///
/// # Errors
/// The database failed.
pub async fn forget<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    by: &str,
    now: DateTime<Utc>,
) -> Result<u64, DatabaseError> {
    match db::plans::newest(c, branch).await {
        Ok(Some(plan)) => {
            let named: Vec<_> = plan.entries().map(|step| step.artifact.sha256).collect();
            db::artifacts::named_until(c, &named, now).await?;
        }
        // Its artifacts may leave the store earlier; a plan that cannot be read must not keep the branch.
        Ok(None) | Err(DatabaseError::Value { .. }) => {}
        Err(error) => return Err(error),
    }
    // Its server looks again, and is refused.
    wake(c, &[audience(branch)], now).await?;
    db::assignments::remove_of_branch(c, branch).await?;
    db::plans::remove_of_branch(c, branch).await?;
    db::reports::remove_of_branch(c, branch).await?;
    db::updates::remove_of_branch(c, branch).await?;
    db::denied_names::remember(c, branch).await?;
    let terminals = db::terminals::remove_of_branch(c, branch).await?;
    db::branches::remove(c, branch, by, now).await?;
    Ok(terminals)
}

/// Removes a terminal of a branch that the transaction `c` holds, with everything known of it.
///
/// The branch's plan follows by the task for delayed plans. That it is denied is remembered, unless it is to be allowed again.
/// False if there is no such terminal, and nothing to allow again.
///
/// # Errors
/// The database failed.
pub async fn forget_terminal<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    allow_again: bool,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    db::updates::remove_of_terminal(c, branch, terminal).await?;
    db::reused_numbers::remove_of_terminal(c, branch, terminal).await?;
    let lifted = if allow_again {
        db::denied_names::forget_keys(c, branch, terminal).await?;
        db::denied_names::forget(c, branch, terminal).await?
    } else {
        db::denied_names::remember_one(c, branch, terminal).await?;
        false
    };
    let removed = db::terminals::remove(c, branch, terminal).await? || lifted;
    db::delayed_plans::delay(c, branch, now).await?;
    Ok(removed)
}
