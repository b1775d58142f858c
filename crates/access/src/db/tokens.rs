//! Table `tokens`.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, OperatorName};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::operators::{OperatorRole, Token};

use service_kit::database::columns::{get, text, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO tokens (id, operator, name, role, scope, sha256, made_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    BY_SECRET = "SELECT t.id, t.operator, t.name, t.role, t.scope, t.made_at, t.expires_at, t.last_used, t.revoked_at,
        o.role AS operator_role, o.disabled_at FROM tokens t JOIN operators o ON o.name = t.operator
        WHERE t.sha256 = $1";
    TOUCH = "UPDATE tokens SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)";
    LOCK = "SELECT id, operator, name, role, scope, made_at, expires_at, last_used, revoked_at FROM tokens
        WHERE id = $1 FOR UPDATE";
    OF = "SELECT id, operator, name, role, scope, made_at, expires_at, last_used, revoked_at FROM tokens
        WHERE operator = $1 ORDER BY made_at DESC, id LIMIT $2";
    REVOKE = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    REVOKE_ALL = "UPDATE tokens SET revoked_at = $2 WHERE operator = $1 AND revoked_at IS NULL AND expires_at > $2";
    COUNT_LIVE = "SELECT count(*) FROM tokens WHERE operator = $1 AND revoked_at IS NULL AND expires_at > $2";
    FORGET_DEAD = "DELETE FROM tokens WHERE operator = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2) AND id NOT IN
        (SELECT id FROM tokens WHERE operator = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2)
        ORDER BY made_at DESC, id LIMIT $3)";
}

/// A token that was shown.
#[derive(Debug, Clone)]
pub struct HeldToken {
    /// What is kept of it.
    pub token: Token,
    /// What its operator may do now.
    pub operator_role: OperatorRole,
    /// Since when its operator is kept out.
    pub disabled: Option<DateTime<Utc>>,
}

fn from_row(row: &Row) -> Result<Token, DatabaseError> {
    Ok(Token {
        id: get(row, "id")?,
        operator: text(row, "operator")?,
        name: get(row, "name")?,
        role: text(row, "role")?,
        scope: get(row, "scope")?,
        made: get(row, "made_at")?,
        expires: get(row, "expires_at")?,
        last_used: get(row, "last_used")?,
        revoked: get(row, "revoked_at")?,
    })
}

/// Adds a token by its hash.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, token: &Token, secret: &Digest) -> Result<(), DatabaseError> {
    let (operator, role, secret) = (token.operator.as_str(), token.role.as_str(), secret.to_string());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
        [&token.id, &operator, &token.name, &role, &token.scope, &secret, &token.made, &token.expires];
    execute(c, INSERT, &params).await.map(drop)
}

/// The token with this secret, whether it can still be used or not.
///
/// # Errors
/// As every statement.
pub async fn by_secret<C: GenericClient>(c: &C, secret: &Digest) -> Result<Option<HeldToken>, DatabaseError> {
    let row = query_opt(c, BY_SECRET, &[&secret.to_string()]).await?;
    row.as_ref()
        .map(|row| {
            let (operator_role, disabled) = (text(row, "operator_role")?, get(row, "disabled_at")?);
            Ok(HeldToken { token: from_row(row)?, operator_role, disabled })
        })
        .transpose()
}

/// It was used now.
///
/// # Errors
/// As every statement.
pub async fn touch<C: GenericClient>(c: &C, id: Uuid, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(c, TOUCH, &[&id, &now]).await.map(drop)
}

/// One token, held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock<C: GenericClient>(c: &C, id: Uuid) -> Result<Option<Token>, DatabaseError> {
    query_opt(c, LOCK, &[&id]).await?.as_ref().map(from_row).transpose()
}

/// An operator's tokens, newest first, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(c: &C, operator: &OperatorName, limit: i64) -> Result<Vec<Token>, DatabaseError> {
    query(c, OF, &[&operator.as_str(), &limit]).await?.iter().map(from_row).collect()
}

/// Revokes a token. False if it was already.
///
/// # Errors
/// As every statement.
pub async fn revoke<C: GenericClient>(c: &C, id: Uuid, now: DateTime<Utc>) -> Result<bool, DatabaseError> {
    Ok(execute(c, REVOKE, &[&id, &now]).await? == 1)
}

/// Revokes all tokens of an operator that can be used; how many.
///
/// # Errors
/// As every statement.
pub async fn revoke_all<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    now: DateTime<Utc>,
) -> Result<u64, DatabaseError> {
    execute(c, REVOKE_ALL, &[&operator.as_str(), &now]).await
}

/// How many tokens an operator has that can be used.
///
/// # Errors
/// As every statement.
pub async fn count_live<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    now: DateTime<Utc>,
) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT_LIVE, &[&operator.as_str(), &now]).await?, "count")
}

/// How many tokens an operator has that can be used, once old ones are forgotten.
///
/// Of the others only the `kept` newest are remembered.
///
/// # Errors
/// As every statement.
pub async fn tidy<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    kept: i64,
    now: DateTime<Utc>,
) -> Result<u64, DatabaseError> {
    execute(c, FORGET_DEAD, &[&operator.as_str(), &now, &kept]).await?;
    count_live(c, operator, now).await
}
