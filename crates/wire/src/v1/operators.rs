//! Operators, their log-ins and API tokens.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleet_types::OperatorName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The header in which a browser's program repeats [`LoggedIn::csrf_token`].
pub const CSRF_HEADER: &str = "x-filial-csrf";

/// Longest name of a token, in characters.
pub const MAX_TOKEN_NAME: usize = 64;

/// What an operator may do. Each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorRole {
    /// Looks at everything, changes nothing.
    Viewer,
    /// Runs rollouts.
    Operator,
    /// Uploads and approves releases.
    ReleaseManager,
    /// Everything.
    Admin,
}

impl OperatorRole {
    /// All of them, the lowest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::ReleaseManager, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release-manager",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that does not name a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, operator, release-manager or admin")]
pub struct RoleError;

impl FromStr for OperatorRole {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

/// Log in. The answer sets the session's cookie.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// The operator.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for LogIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogIn(…)")
    }
}

/// Logged in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoggedIn {
    /// The operator.
    pub name: OperatorName,
    /// What it may do.
    pub role: OperatorRole,
    /// To be sent in the header `X-Filial-Csrf` with each request that changes something.
    pub csrf_token: String,
    /// When the session ends, however it is used.
    pub expires: DateTime<Utc>,
}

impl fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedIn").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhoAmI {
    /// The operator.
    pub name: OperatorName,
    /// What this session or token may do.
    pub role: OperatorRole,
    /// The only groups of routes that it may use; none: all of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
    /// For a session: what to send in the header `X-Filial-Csrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
}

impl fmt::Debug for WhoAmI {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhoAmI").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A log-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// Its handle; it does not grant access.
    pub id: Uuid,
    /// Whether this request was made with it.
    pub current: bool,
    /// From where it was begun.
    pub address: String,
    /// What the program that began it calls itself.
    pub program: String,
    /// When it began.
    pub begun: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used: DateTime<Utc>,
    /// When it ends, however it is used.
    pub expires: DateTime<Utc>,
}

/// Make an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, in a few words.
    pub name: String,
    /// What it may do: at most what the caller may.
    pub role: OperatorRole,
    /// The only groups of routes that it may use, such as `releases`; none: all of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
    /// After how many days it expires; 90 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// For which service; absent: for the caller. Only an admin makes tokens for services; tokens for other people cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorName>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A token was made: it is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenMade {
    /// The token itself.
    pub token: String,
    /// What is kept of it.
    pub kept: Token,
}

impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMade").field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// An API token without its secret, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Token {
    /// Its handle; it does not grant access.
    pub id: Uuid,
    /// Whose it is.
    pub operator: OperatorName,
    /// What it is for.
    pub name: String,
    /// What it may do, as long as its operator may.
    pub role: OperatorRole,
    /// The only groups of routes that it may use; none: all of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
    /// When it was made.
    pub made: DateTime<Utc>,
    /// When it expires.
    pub expires: DateTime<Utc>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<DateTime<Utc>>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<DateTime<Utc>>,
}

/// Add an operator.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// Its name.
    pub name: OperatorName,
    /// What it may do.
    pub role: OperatorRole,
    /// Its first password; none: a service, which acts by tokens alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl fmt::Debug for NewOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewOperator").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Change what an operator may do, or whether it may come in at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeOperator {
    /// The new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OperatorRole>,
    /// Whether it is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Operator {
    /// Its name.
    pub name: OperatorName,
    /// What it may do.
    pub role: OperatorRole,
    /// Whether it acts by tokens alone.
    pub service: bool,
    /// Since when it is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<DateTime<Utc>>,
    /// Since when it is known.
    pub added: DateTime<Utc>,
    /// By whom.
    pub added_by: String,
}

/// Change one's own password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one in force.
    pub current: String,
    /// The new one.
    pub new: String,
}

impl fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangePassword(…)")
    }
}

/// Give another operator a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The new one.
    pub new: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl fmt::Debug for SetPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_their_text_is_their_json() {
        for (role, next) in OperatorRole::ALL.iter().zip(&OperatorRole::ALL[1..]) {
            assert!(role < next);
        }
        for role in OperatorRole::ALL {
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("branch".parse::<OperatorRole>(), Err(RoleError));
    }

    #[test]
    fn no_secret_is_shown_by_debug() {
        let secret = || "hunter2".to_owned();
        let (name, now) = ("ann".parse::<OperatorName>().unwrap(), DateTime::<Utc>::UNIX_EPOCH);
        let role = OperatorRole::Admin;
        let shown = [
            format!("{:?}", LogIn { name: "ann".into(), password: secret() }),
            format!("{:?}", LoggedIn { name: name.clone(), role, csrf_token: secret(), expires: now }),
            format!("{:?}", WhoAmI { name: name.clone(), role, scope: None, csrf_token: Some(secret()) }),
            format!("{:?}", NewOperator { name, role, password: Some(secret()), reason: None }),
            format!("{:?}", ChangePassword { current: secret(), new: secret() }),
            format!("{:?}", SetPassword { new: secret(), reason: None }),
        ];
        assert!(shown.iter().all(|text| !text.contains("hunter2")), "{shown:?}");
    }
}
