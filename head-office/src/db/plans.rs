//! Table `plans`: every plan that was issued.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::Envelope;
use wire::v1::plan::{Plan, Step};

use super::row::{get, json, signed, text, to_json, unsigned};

service_kit::statements! {
    INSERT_ALL = "INSERT INTO plans (branch, serial, issued, expires, steps, packages, envelope)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::jsonb[], $6::jsonb[],
            $7::jsonb[])";
    REMOVE_OF_BRANCH = "DELETE FROM plans WHERE branch = $1";
    NEWEST = "SELECT branch, serial, issued, expires, steps, packages,
            jsonb_path_query_array(envelope, '$.signatures[*].keyid') AS signers
        FROM plans WHERE branch = $1 ORDER BY serial DESC LIMIT 1";
    NEWEST_SERIAL = "SELECT max(serial) AS serial FROM plans WHERE branch = $1";
    NAMING = "SELECT count(*) AS count FROM plans
        WHERE branch = $1 AND expires > $2 AND (steps @> $3 OR packages @> $3)";
    // One look into the index for each branch, however many plans it ever had.
    NEWEST_OF = "SELECT p.branch, p.serial, p.issued, p.expires, p.steps, p.packages,
            jsonb_path_query_array(p.envelope, '$.signatures[*].keyid') AS signers
        FROM unnest($1::text[]) AS b (name)
        CROSS JOIN LATERAL (SELECT * FROM plans WHERE branch = b.name ORDER BY serial DESC LIMIT 1) AS p";
    AGES = "SELECT b.name AS branch, p.issued, p.expires, p.signers FROM branches b
        CROSS JOIN LATERAL (SELECT issued, expires, jsonb_path_query_array(envelope, '$.signatures[*].keyid') AS signers
            FROM plans WHERE branch = b.name ORDER BY serial DESC LIMIT 1) AS p
        WHERE b.name > $1 ORDER BY b.name LIMIT $2";
    RECENT = "SELECT max(issued) AS newest, count(*) AS count FROM plans WHERE branch = $1 AND issued > $2 AND issued <= $3";
    PRUNE = "DELETE FROM plans p USING (
            SELECT branch, serial, row_number() OVER (PARTITION BY branch ORDER BY serial DESC) AS nth FROM plans
        ) AS numbered
        WHERE p.branch = numbered.branch AND p.serial = numbered.serial
            AND (nth > $1 AND p.expires <= $3 OR nth > $2)";
    ENVELOPE = "SELECT envelope FROM plans WHERE branch = $1 AND serial = $2";
}

/// A plan without its envelope.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// The branch.
    pub branch: BranchName,
    /// Its serial.
    pub serial: u64,
    /// When it was made.
    pub issued: DateTime<Utc>,
    /// Until when it is accepted.
    pub expires: DateTime<Utc>,
    /// What it orders.
    pub steps: Vec<Step>,
    /// The packages that it names.
    pub packages: Vec<Step>,
    /// The ids of the keys that its envelope says signed it.
    pub signers: Vec<String>,
}

/// How old a branch's newest plan is, and who signed it.
#[derive(Debug, Clone)]
pub struct AgeRow {
    /// The branch.
    pub branch: BranchName,
    /// When the plan was made.
    pub issued: DateTime<Utc>,
    /// Until when it is accepted.
    pub expires: DateTime<Utc>,
    /// The ids of the keys that its envelope says signed it.
    pub signers: Vec<String>,
}

/// The plans of a branch that were issued within some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentPlans {
    /// When the newest was issued.
    pub newest: Option<DateTime<Utc>>,
    /// How many there are.
    pub count: u64,
}

impl PlanRow {
    /// Everything that it names: the steps in their order, then the packages.
    pub fn entries(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.packages)
    }
}

fn from_row(row: &Row) -> Result<PlanRow, DatabaseError> {
    Ok(PlanRow {
        branch: text(row, "branch")?,
        serial: unsigned(row, "serial")?,
        issued: get(row, "issued")?,
        expires: get(row, "expires")?,
        steps: json(row, "steps")?.unwrap_or_default(),
        packages: json(row, "packages")?.unwrap_or_default(),
        signers: json(row, "signers")?.unwrap_or_default(),
    })
}

/// Adds plans with their envelopes, in one statement.
///
/// # Errors
/// As every statement.
pub async fn insert_all<C: GenericClient>(c: &C, plans: &[(Plan, Envelope)]) -> Result<(), DatabaseError> {
    let branches: Vec<&str> = plans.iter().map(|(p, _)| p.branch.as_str()).collect();
    let serials: Vec<i64> = plans.iter().map(|(p, _)| signed(p.serial)).collect();
    let issued: Vec<_> = plans.iter().map(|(p, _)| p.issued).collect();
    let expires: Vec<_> = plans.iter().map(|(p, _)| p.expires).collect();
    let steps: Vec<_> = plans.iter().map(|(p, _)| to_json(&p.steps, "steps")).collect::<Result<_, _>>()?;
    let packages: Vec<_> = plans.iter().map(|(p, _)| to_json(&p.packages, "packages")).collect::<Result<_, _>>()?;
    let envelopes: Vec<_> = plans.iter().map(|(_, e)| to_json(e, "envelope")).collect::<Result<_, _>>()?;
    execute(c, INSERT_ALL, &[&branches, &serials, &issued, &expires, &steps, &packages, &envelopes]).await.map(drop)
}

/// Returns the plans of a branch that were issued after `since` and not after `now`.
///
/// # Errors
/// As every statement.
pub async fn recent<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<RecentPlans, DatabaseError> {
    let row = query_one(c, RECENT, &[&branch.as_str(), &since, &now]).await?;
    Ok(RecentPlans { newest: get(&row, "newest")?, count: unsigned(&row, "count")? })
}

/// Forgets plans of every branch: those that expired, but for the newest `keep`, and all but the newest `most`.
///
/// Returns how many.
///
/// # Errors
/// As every statement.
pub async fn prune<C: GenericClient>(c: &C, keep: i64, most: i64, now: DateTime<Utc>) -> Result<u64, DatabaseError> {
    execute(c, PRUNE, &[&keep, &most, &now]).await
}

/// Forgets every plan of a branch.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await.map(drop)
}

/// The newest plan of a branch.
///
/// # Errors
/// As every statement.
pub async fn newest<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Option<PlanRow>, DatabaseError> {
    query_opt(c, NEWEST, &[&branch.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// The serial of the newest plan of a branch, also of one that cannot be read.
///
/// # Errors
/// As every statement.
pub async fn newest_serial<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Option<u64>, DatabaseError> {
    let row = query_one(c, NEWEST_SERIAL, &[&branch.as_str()]).await?;
    Ok(get::<Option<i64>>(&row, "serial")?.and_then(|serial| u64::try_from(serial).ok()))
}

/// The newest plan of each of some branches.
///
/// A plan that cannot be read is an error of its branch alone.
///
/// # Errors
/// As every statement.
pub async fn newest_of<C: GenericClient>(
    c: &C,
    branches: &[&str],
) -> Result<Vec<(BranchName, Result<PlanRow, DatabaseError>)>, DatabaseError> {
    query(c, NEWEST_OF, &[&branches]).await?.iter().map(|row| Ok((text(row, "branch")?, from_row(row)))).collect()
}

/// Returns the ages of the newest plans of the next `limit` branches after `after`.
///
/// Branches without a plan are left out.
///
/// # Errors
/// As every statement.
pub async fn ages<C: GenericClient>(c: &C, after: &str, limit: i64) -> Result<Vec<AgeRow>, DatabaseError> {
    let rows = query(c, AGES, &[&after, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(AgeRow {
                branch: text(row, "branch")?,
                issued: get(row, "issued")?,
                expires: get(row, "expires")?,
                // An unreadable list counts as no known signer: the plan is due, and only its branch fails.
                signers: json(row, "signers").unwrap_or_default().unwrap_or_default(),
            })
        })
        .collect()
}

/// A plan of a branch, exactly as it was sealed.
///
/// # Errors
/// As every statement.
pub async fn envelope<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    serial: u64,
) -> Result<Option<Envelope>, DatabaseError> {
    let row = query_opt(c, ENVELOPE, &[&branch.as_str(), &signed(serial)]).await?;
    Ok(row.as_ref().map(|row| json(row, "envelope")).transpose()?.flatten())
}

/// Whether an unexpired plan of the branch has an entry with `part`.
///
/// Such as `{"manifest": "…"}`, in a step or a package.
///
/// # Errors
/// As every statement.
pub async fn names<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    part: serde_json::Value,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let steps = serde_json::Value::Array(vec![part]);
    Ok(unsigned(&query_one(c, NAMING, &[&branch.as_str(), &now, &steps]).await?, "count")? > 0)
}
