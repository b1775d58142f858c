//! The first admin. There is no default password: an administrator of the server's machine chooses it.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::OperatorName;
use serde_json::json;
use service_kit::Secret;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::token;
use uuid::Uuid;
use wire::v1::audit::Head;
use wire::v1::operators::{OperatorRole, Token};

use super::audit::{self, Change};
use super::passwords::{self, NewPasswordError};
use crate::{Server, db};

/// Who the first admin is to be.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Its name.
    pub name: OperatorName,
    /// Its password; none: a service, which acts by its token alone.
    pub password: Option<Secret>,
    /// A token for it, and for how many days.
    pub token: Option<(Secret, u32)>,
}

/// Why there is no first admin.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// An admin exists and can log in.
    #[error("{0} is an admin already: ask an admin to add operators (`filial operator add`)")]
    AdminExists(OperatorName),
    /// The name belongs to an operator who is not an admin.
    #[error("operator {0} exists already and is not an admin: choose another name")]
    NameTaken(OperatorName),
    /// Neither password nor token.
    #[error("the admin needs a way to log in: name a password file, a token file, or both")]
    NoWayIn,
    /// The password may not be one, or could not be hashed.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    /// The database failed.
    #[error("the database cannot be used")]
    Database(#[from] DatabaseError),
}

/// Makes the first admin, unless an admin can log in; returns the audit's last row.
///
/// # Errors
/// As [`BootstrapError`]; then nothing changed.
pub async fn bootstrap(
    server: Server,
    pool: &Pool,
    wish: Bootstrap,
    now: DateTime<Utc>,
) -> Result<Head, BootstrapError> {
    let Bootstrap { name, password, token } = wish;
    if password.is_none() && token.is_none() {
        return Err(BootstrapError::NoWayIn);
    }
    let hash = password.as_ref().map(passwords::hash_new).transpose()?;
    let mut client = connection(pool).await?;
    let transaction = begin(&mut client).await?;
    // Two first admins at once: the second waits here, and then finds the first. There may be no row to hold.
    db::operators::lock_all(&transaction).await?;
    for admin in db::operators::lock_admins(&transaction).await? {
        // A service whose tokens have all ended cannot log in, and no operator can make it a token.
        if admin.password.is_some() || db::tokens::count_live(&transaction, &admin.name, now).await? > 0 {
            return Err(BootstrapError::AdminExists(admin.name));
        }
    }
    let role = OperatorRole::Admin;
    if !db::operators::insert(&transaction, &name, role, hash.as_deref(), "bootstrap", now).await? {
        return Err(BootstrapError::NameTaken(name));
    }
    let mut after = json!({ "name": name, "role": role, "service": password.is_none() });
    if let Some((secret, days)) = &token {
        let made = first_token(&name, *days, now);
        db::tokens::insert(&transaction, &made, &token::hash(secret.expose())).await?;
        after["token"] = json!({ "id": made.id, "expires": made.expires });
    }
    let change = Change::of(format!("operator {name}")).after(after);
    let head = audit::record(&transaction, &server.caller("bootstrap", "bootstrap"), change, now).await?;
    commit(transaction).await?;
    Ok(head)
}

fn first_token(operator: &OperatorName, days: u32, now: DateTime<Utc>) -> Token {
    Token {
        id: Uuid::new_v4(),
        operator: operator.clone(),
        name: "bootstrap".into(),
        role: OperatorRole::Admin,
        scope: None,
        made: now,
        expires: now + TimeDelta::days(i64::from(days)),
        last_used: None,
        revoked: None,
    }
}
