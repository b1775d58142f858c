//! Renews the plans that are due although nothing changed, a failing branch's apart from the others'.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::edge::chain;

use super::plan;
use super::tick::{self, BATCH, Issuer, TickError};
use crate::db;
use crate::db::plans::AgeRow;

/// Plans whose age is read with one statement.
const PAGE: i64 = 1000;

/// Most branches that a failure names.
const MAX_NAMED: usize = 5;

/// What a renewal came to.
#[derive(Debug, Default)]
pub struct Renewed {
    /// How many plans were issued.
    pub issued: u64,
    /// The branches whose plans could not be renewed, and why.
    pub failed: Vec<(BranchName, TickError)>,
}

impl Renewed {
    /// Returns a sentence that names the branches whose plans could not be renewed; `None` if there are none.
    pub fn failure(&self) -> Option<String> {
        let count = self.failed.len();
        let named = self.failed.iter().take(MAX_NAMED).map(|(branch, error)| format!("{branch} ({})", chain(error)));
        let named = named.collect::<Vec<_>>().join("; ");
        let others = match count.saturating_sub(MAX_NAMED) {
            0 => String::new(),
            others => format!("; and {others} others"),
        };
        (count > 0).then(|| format!("branches whose plans cannot be renewed: {count}, {named}{others}"))
    }
}

/// Issues every plan that is due although nothing changed.
///
/// One transaction per [`BATCH`] branches. One that fails is split down to the branch that is the cause, and the others go on.
///
/// # Errors
/// The database gives no connection, or plans' ages cannot be read; what was committed before stays.
pub async fn all(pool: &Pool, now: DateTime<Utc>, issuer: &Issuer) -> Result<Renewed, TickError> {
    let (mut renewed, mut after) = (Renewed::default(), String::new());
    loop {
        let page = db::plans::ages(&connection(pool).await?, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(renewed) };
        after = last.branch.to_string();
        let is_due = |age: &AgeRow| plan::is_due(age.issued, age.expires, issuer.is_signed(&age.signers), now);
        let due: Vec<BranchName> = page.into_iter().filter(is_due).map(|age| age.branch).collect();
        let mut waiting: Vec<&[BranchName]> = due.chunks(BATCH).rev().collect();
        while let Some(names) = waiting.pop() {
            match (one(pool, names, now, issuer).await, names) {
                (Ok(issued), _) => renewed.issued += issued,
                // The database is away: it is for every branch, and the task tries again.
                (Err(TickError::Database(error @ DatabaseError::Connection(_))), _) => return Err(error.into()),
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
    }
}

/// Renews the plans of some branches, all of them or none.
async fn one(pool: &Pool, names: &[BranchName], now: DateTime<Utc>, issuer: &Issuer) -> Result<u64, TickError> {
    // A connection of its own: after a failed statement only a new one is known to be whole.
    let mut client = connection(pool).await?;
    let transaction = begin(&mut client).await?;
    let outcomes = tick::batch(&transaction, names, now, issuer).await?;
    commit(transaction).await?;
    Ok(outcomes.iter().filter(|o| o.issued.is_some()).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_some_branches_and_counts_the_others() {
        let failed = |count: usize| {
            let names = (0..count).map(|n| format!("b{n}").parse::<BranchName>().unwrap());
            let failed = names.map(|branch| (branch.clone(), TickError::NotPlanned { branch })).collect();
            Renewed { issued: 0, failed }.failure()
        };
        assert_eq!(failed(0), None);
        assert!(failed(1).unwrap().starts_with("branches whose plans cannot be renewed: 1, b0 (the planner gave"));
        let many = failed(7).unwrap();
        assert!(many.contains("b4 (") && !many.contains("b5") && many.ends_with("; and 2 others"), "{many}");
    }
}
