//! Table `operators`.

use chrono::{DateTime, Utc};
use fleet_types::OperatorName;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::v1::operators::{Operator, OperatorRole};

use service_kit::database::columns::{get, text, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO operators (name, role, password, added_at, added_by) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO NOTHING";
    SELECT = "SELECT name, role, password, added_at, added_by, disabled_at FROM operators WHERE name = $1";
    LOCK = "SELECT name, role, password, added_at, added_by, disabled_at FROM operators WHERE name = $1 FOR UPDATE";
    ALL = "SELECT name, role, password, added_at, added_by, disabled_at FROM operators ORDER BY name LIMIT $1";
    COUNT = "SELECT count(*) FROM operators";
    // In order of names, and held: of two who would disable one another, one waits and then finds the other gone.
    LOCK_ADMINS = "SELECT name, role, password, added_at, added_by, disabled_at FROM operators
        WHERE role = 'admin' AND disabled_at IS NULL ORDER BY name FOR UPDATE";
    // Also waits for transactions that hold one row of them.
    LOCK_ALL = "LOCK TABLE operators IN EXCLUSIVE MODE";
    SET_ACCESS = "UPDATE operators SET role = $2, disabled_at = $3 WHERE name = $1";
    SET_PASSWORD = "UPDATE operators SET password = $2 WHERE name = $1";
}

/// A row. Not `Debug`: it holds the password's hash.
#[derive(Clone)]
pub struct OperatorRow {
    /// Its name.
    pub name: OperatorName,
    /// What it may do.
    pub role: OperatorRole,
    /// Its password's hash; none: a service.
    pub password: Option<String>,
    /// When it was added.
    pub added: DateTime<Utc>,
    /// By whom.
    pub added_by: String,
    /// Since when it is kept out.
    pub disabled: Option<DateTime<Utc>>,
}

impl From<OperatorRow> for Operator {
    fn from(row: OperatorRow) -> Self {
        let OperatorRow { name, role, password, added, added_by, disabled } = row;
        Self { name, role, service: password.is_none(), disabled, added, added_by }
    }
}

fn from_row(row: &Row) -> Result<OperatorRow, DatabaseError> {
    Ok(OperatorRow {
        name: text(row, "name")?,
        role: text(row, "role")?,
        password: get(row, "password")?,
        added: get(row, "added_at")?,
        added_by: get(row, "added_by")?,
        disabled: get(row, "disabled_at")?,
    })
}

/// Adds an operator. False if the name is taken.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(
    c: &C,
    name: &OperatorName,
    role: OperatorRole,
    password: Option<&str>,
    by: &str,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, INSERT, &[&name.as_str(), &role.as_str(), &password, &now, &by]).await? == 1)
}

/// One operator.
///
/// # Errors
/// As every statement.
pub async fn find<C: GenericClient>(c: &C, name: &OperatorName) -> Result<Option<OperatorRow>, DatabaseError> {
    query_opt(c, SELECT, &[&name.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// One operator, held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock<C: GenericClient>(c: &C, name: &OperatorName) -> Result<Option<OperatorRow>, DatabaseError> {
    query_opt(c, LOCK, &[&name.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// All operators by name, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn all<C: GenericClient>(c: &C, limit: i64) -> Result<Vec<OperatorRow>, DatabaseError> {
    query(c, ALL, &[&limit]).await?.iter().map(from_row).collect()
}

/// How many there are.
///
/// # Errors
/// As every statement.
pub async fn count<C: GenericClient>(c: &C) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT, &[]).await?, "count")
}

/// The admins who may come in, held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock_admins<C: GenericClient>(c: &C) -> Result<Vec<OperatorRow>, DatabaseError> {
    query(c, LOCK_ADMINS, &[]).await?.iter().map(from_row).collect()
}

/// Holds all operators, also those that are not there yet, until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock_all<C: GenericClient>(c: &C) -> Result<(), DatabaseError> {
    execute(c, LOCK_ALL, &[]).await.map(drop)
}

/// Sets what an operator may do and whether it may come in.
///
/// # Errors
/// As every statement.
pub async fn set_access<C: GenericClient>(
    c: &C,
    name: &OperatorName,
    role: OperatorRole,
    disabled: Option<DateTime<Utc>>,
) -> Result<(), DatabaseError> {
    execute(c, SET_ACCESS, &[&name.as_str(), &role.as_str(), &disabled]).await.map(drop)
}

/// Sets an operator's password by its hash.
///
/// # Errors
/// As every statement.
pub async fn set_password<C: GenericClient>(c: &C, name: &OperatorName, hash: &str) -> Result<(), DatabaseError> {
    execute(c, SET_PASSWORD, &[&name.as_str(), &hash]).await.map(drop)
}
