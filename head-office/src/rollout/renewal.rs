//! Renews the plans that are due although nothing changed, a failing branch's apart from the others'.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::edge::{chain, failures};

use super::plan;
use super::tick::{self, BATCH, Issuer, TickError, Ticked};
use crate::db;
use crate::db::plans::AgeRow;

/// Plans whose age is read with one statement.
const PAGE: i64 = 1000;

/// What a renewal came to.
#[derive(Debug, Default)]
pub struct Renewed {
    /// How many plans were issued.
    pub issued: u64,
    /// The branches whose plans could not be renewed, and why.
    pub failed: Vec<(BranchName, TickError)>,
    /// Why the renewal ended before the last branch, if it did. What was issued before stays.
    pub interrupted: Option<DatabaseError>,
}

impl Renewed {
    /// Returns what kept plans from being renewed, if anything did; branches that failed are named.
    pub fn failure(&self) -> Option<String> {
        let count = self.failed.len();
        let failed =
            (count > 0).then(|| format!("branches whose plans cannot be renewed: {count}, {}", failures(&self.failed)));
        let interrupted = self.interrupted.as_ref().map(|error| chain(error));
        let texts: Vec<String> = interrupted.into_iter().chain(failed).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// Issues every plan that is due although nothing changed.
///
/// One transaction per [`BATCH`] branches. One that fails is split down to the branch that is the cause, and the others go on. If the
/// database gives no connection, the renewal ends there: that concerns every branch, and the task tries again.
pub async fn all(pool: &Pool, now: DateTime<Utc>, issuer: &Issuer) -> Renewed {
    let mut renewed = Renewed::default();
    renewed.interrupted = renew(pool, now, issuer, &mut renewed).await.err();
    renewed
}

async fn renew(pool: &Pool, now: DateTime<Utc>, issuer: &Issuer, renewed: &mut Renewed) -> Result<(), DatabaseError> {
    let mut after = String::new();
    loop {
        let page = db::plans::ages(&connection(pool).await?, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.branch.to_string();
        let is_due = |age: &AgeRow| plan::is_due(age.issued, age.expires, issuer.is_signed(&age.signers), now);
        let due: Vec<BranchName> = page.into_iter().filter(is_due).map(|age| age.branch).collect();
        each(pool, &due, now, issuer, renewed).await?;
    }
}

/// Brings the plans of some branches up to date.
///
/// # Errors
/// The database gives no connection. What failed for one branch is in `renewed`.
pub(super) async fn each(
    pool: &Pool,
    due: &[BranchName],
    now: DateTime<Utc>,
    issuer: &Issuer,
    renewed: &mut Renewed,
) -> Result<(), DatabaseError> {
    let mut waiting: Vec<&[BranchName]> = due.chunks(BATCH).rev().collect();
    while let Some(names) = waiting.pop() {
        match (one(pool, names, now, issuer).await, names) {
            (Ok(ticked), _) => {
                renewed.issued += ticked.issued() as u64;
                renewed.failed.extend(ticked.failed);
            }
            (Err(TickError::Database(error)), _) if error.is_unavailable() => return Err(error),
            (Err(error), [branch]) => {
                tracing::debug!(%branch, error = chain(&error), "the plan of a branch cannot be renewed");
                renewed.failed.push((branch.clone(), error));
            }
            (Err(_), names) => {
                let (first, second) = names.split_at(names.len() / 2);
                waiting.extend([second, first]);
            }
        }
    }
    Ok(())
}

/// Renews the plans of some branches in one transaction.
async fn one(pool: &Pool, names: &[BranchName], now: DateTime<Utc>, issuer: &Issuer) -> Result<Ticked, TickError> {
    // A connection of its own: after a failed statement only a new one is known to be whole.
    let mut client = connection(pool).await?;
    let transaction = begin(&mut client).await?;
    let ticked = tick::batch(&transaction, names, now, issuer).await?;
    commit(transaction).await?;
    Ok(ticked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_branches_and_what_interrupted_the_renewal() {
        let renewed = |branches: &[&str], interrupted| {
            let names = branches.iter().map(|name| name.parse::<BranchName>().unwrap());
            let failed = names.map(|branch| (branch.clone(), TickError::NotPlanned { branch })).collect();
            Renewed { issued: 0, failed, interrupted }.failure()
        };
        assert_eq!(renewed(&[], None), None);
        let failed = renewed(&["north", "south"], None).unwrap();
        assert!(failed.starts_with("branches whose plans cannot be renewed: 2, north (the planner gave"), "{failed}");
        let stopped = DatabaseError::Stopped.to_string();
        assert_eq!(renewed(&[], Some(DatabaseError::Stopped)), Some(stopped.clone()));
        let both = renewed(&["north"], Some(DatabaseError::Stopped)).unwrap();
        assert!(both.starts_with(&stopped) && both.contains("north ("), "{both}");
    }
}
