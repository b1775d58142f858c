//! A way back for an admin when no other admin can help. It runs on the server's machine, whose administrators could change
//! the database as well; this way leaves an audit row.

use chrono::{DateTime, Utc};
use fleet_types::OperatorName;
use serde_json::json;
use service_kit::Secret;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};

use super::audit::{self, Change};
use super::passwords::{self, NewPasswordError};
use crate::{Server, db};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Others are helped by an admin.
    #[error("{name} is not an enabled admin; enabled admins: {}", if admins.is_empty() { "none" } else { admins })]
    NoAdmin {
        /// Who was named.
        name: OperatorName,
        /// Who could be.
        admins: String,
    },
    /// A password would turn a service into a person who can log in.
    #[error(
        "{0} is a service and has no password: as an admin, create a token for it with `filial token create TOKEN --operator \
         {0}`, or recover an admin who is a person"
    )]
    Service(OperatorName),
    /// The password may not be one, or could not be hashed.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    /// The database failed.
    #[error("the database cannot be used")]
    Database(#[from] DatabaseError),
}

/// Gives an admin a new password, ends all its sessions, and revokes all its tokens.
///
/// Who lost the one may have lost the others. Answers how many sessions and tokens that were.
///
/// # Errors
/// As [`RecoverError`]; then nothing changed.
pub async fn recover(
    server: Server,
    pool: &Pool,
    name: &OperatorName,
    password: &Secret,
    now: DateTime<Utc>,
) -> Result<(u64, u64), RecoverError> {
    let hash = passwords::hash_new(password)?;
    let mut client = connection(pool).await?;
    let transaction = begin(&mut client).await?;
    if db::operators::find(&transaction, name).await?.is_some_and(|found| found.password.is_none()) {
        return Err(RecoverError::Service(name.clone()));
    }
    let admins = db::operators::lock_admins(&transaction).await?;
    if !admins.iter().any(|admin| admin.name == *name) {
        let admins = admins.iter().map(|admin| admin.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(RecoverError::NoAdmin { name: name.clone(), admins });
    }
    db::operators::set_password(&transaction, name, &hash).await?;
    let sessions = db::sessions::end_all(&transaction, name, None).await?;
    let tokens = db::tokens::revoke_all(&transaction, name, now).await?;
    let after = json!({ "sessions_ended": sessions, "tokens_revoked": tokens });
    let change = Change::of(format!("password of {name}")).after(after);
    audit::record(&transaction, &server.caller("recover", "recover"), change, now).await?;
    commit(transaction).await?;
    Ok((sessions, tokens))
}
