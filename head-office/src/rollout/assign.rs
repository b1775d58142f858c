//! Assigning a release to a branch, and ending that: what is refused, and the plan that follows.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ProductName, TerminalName, Version};
use service_kit::database::{DatabaseError, GenericClient};
use wire::v1::fleet::Assign;

use super::tick::{self, Issuer, Outcome, TickError};
use crate::db;
use crate::db::terminals::TerminalRow;
use crate::fleet::reports::MAX_TERMINALS;

/// Most terminals whose reasons a refusal lists.
const MAX_REASONS: usize = 5;

/// Why an assignment is not changed.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// There is no such branch.
    #[error("there is no branch {0}")]
    UnknownBranch(BranchName),
    /// The release is not published.
    #[error("{product} {version} is not published")]
    NotPublished {
        /// Its product.
        product: ProductName,
        /// Its version.
        version: Version,
    },
    /// The release has nothing for any terminal of the branch.
    #[error("{product} {version} fits no terminal of {branch}: {}", .reasons.join("; "))]
    FitsNothing {
        /// The release's product.
        product: ProductName,
        /// The release's version.
        version: Version,
        /// The branch.
        branch: BranchName,
        /// Some of its terminals, each with the reason.
        reasons: Vec<String>,
    },
    /// A terminal runs a newer version.
    #[error("{terminal} runs {runs}, which is newer than {version}")]
    Downgrade {
        /// The terminal.
        terminal: TerminalName,
        /// The version that it runs.
        runs: Version,
        /// The version that would be assigned.
        version: Version,
    },
    /// Nothing of the product is assigned to the branch.
    #[error("nothing of {product} is assigned to branch {branch}")]
    NotAssigned {
        /// The product.
        product: ProductName,
        /// The branch.
        branch: BranchName,
    },
    /// The plan could not follow.
    #[error(transparent)]
    Plan(#[from] TickError),
}

impl From<DatabaseError> for AssignError {
    fn from(error: DatabaseError) -> Self {
        Self::Plan(error.into())
    }
}

/// A changed assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The version that was assigned before.
    pub before: Option<Version>,
    /// The serial of the plan in force; 0 without one.
    pub serial: u64,
    /// Whether that plan is a new one.
    pub issued: bool,
    /// The terminals that get something of the product.
    pub terminals: Vec<TerminalName>,
}

/// Assigns a published release to a branch. The transaction `c` must not be committed after an error.
///
/// # Errors
/// As [`AssignError`].
pub async fn assign<C: GenericClient>(
    c: &C,
    wish: &Assign,
    by: &str,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Changed, AssignError> {
    let Assign { branch, product, version, downgrade } = wish;
    // The release before the branch, as withdrawing does: neither waits for what the other holds.
    let release = db::releases::published(c, product, version).await?;
    if !db::branches::lock(c, branch).await? {
        return Err(AssignError::UnknownBranch(branch.clone()));
    }
    let not_published = || AssignError::NotPublished { product: product.clone(), version: version.clone() };
    let release = release.ok_or_else(not_published)?;
    let before = assigned(c, branch, product).await?;
    db::assignments::set(c, branch, product, release.id, *downgrade, by, now).await?;
    let outcome = tick::branch(c, branch, now, issuer).await?;
    refuse_if_nothing_fits(&outcome, wish)?;
    if !downgrade {
        refuse_downgrade(&outcome, wish, db::terminals::of_branch(c, branch, "", MAX_TERMINALS).await?)?;
    }
    changed(c, branch, product, before, &outcome).await
}

/// Ends an assignment: the branch's plan follows.
///
/// # Errors
/// As [`AssignError`].
pub async fn unassign<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    product: &ProductName,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Changed, AssignError> {
    if !db::branches::lock(c, branch).await? {
        return Err(AssignError::UnknownBranch(branch.clone()));
    }
    let before = assigned(c, branch, product).await?;
    if !db::assignments::remove(c, branch, product).await? {
        return Err(AssignError::NotAssigned { product: product.clone(), branch: branch.clone() });
    }
    let outcome = tick::branch(c, branch, now, issuer).await?;
    changed(c, branch, product, before, &outcome).await
}

async fn changed<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    product: &ProductName,
    before: Option<Version>,
    outcome: &Outcome,
) -> Result<Changed, AssignError> {
    let serial = db::plans::newest(c, branch).await?.map_or(0, |plan| plan.serial);
    let terminals = named(outcome, product).into_iter().cloned().collect();
    Ok(Changed { before, serial, issued: outcome.issued.is_some(), terminals })
}

/// The version that the branch is assigned of the product.
async fn assigned<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    product: &ProductName,
) -> Result<Option<Version>, DatabaseError> {
    let all = db::assignments::of_branches(c, &[branch.as_str()]).await?;
    Ok(all.into_iter().find(|a| a.product == *product).map(|a| a.version))
}

/// The terminals that get something of the product.
fn named<'a>(outcome: &'a Outcome, product: &ProductName) -> BTreeSet<&'a TerminalName> {
    let entries = outcome.proposal.steps.iter().chain(&outcome.proposal.packages);
    entries.filter(|s| s.product == *product).flat_map(|s| &s.terminals).collect()
}

/// A branch without terminals may be assigned anything.
///
/// The plan comes with the first that fits.
fn refuse_if_nothing_fits(outcome: &Outcome, wish: &Assign) -> Result<(), AssignError> {
    let fits = !named(outcome, &wish.product).is_empty();
    let mut excluded = outcome.proposal.excluded.iter().filter(|e| e.product == wish.product).peekable();
    if fits || excluded.peek().is_none() {
        return Ok(());
    }
    Err(AssignError::FitsNothing {
        product: wish.product.clone(),
        version: wish.version.clone(),
        branch: wish.branch.clone(),
        reasons: excluded.take(MAX_REASONS).map(|e| format!("{}: {}", e.terminal, e.why)).collect(),
    })
}

fn refuse_downgrade(outcome: &Outcome, wish: &Assign, terminals: Vec<TerminalRow>) -> Result<(), AssignError> {
    // Of slots only: a package of an older version may lie beside what runs.
    let named = |name: &TerminalName| {
        outcome.proposal.steps.iter().any(|s| s.product == wish.product && s.terminals.contains(name))
    };
    for TerminalRow { name, version, .. } in terminals.into_iter().filter(|t| named(&t.name)) {
        if let Some(runs) = version.filter(|runs| *runs > wish.version) {
            return Err(AssignError::Downgrade { terminal: name, runs, version: wish.version.clone() });
        }
    }
    Ok(())
}
