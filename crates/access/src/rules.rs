//! What operators may give and take: pure.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use wire::v1::operators::{ChangeOperator, MAX_TOKEN_NAME, NewToken, OperatorRole};

/// Why an operator may not give or take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A field has a value that is not allowed.
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        why: String,
    },
    /// The token would have a higher role than its maker.
    Role {
        /// The token's.
        wanted: OperatorRole,
        /// Its maker's.
        held: OperatorRole,
    },
    /// The token would have a group of routes that its maker's token lacks.
    Scope(String),
    /// Operators do not change their own account.
    OwnAccount,
    /// No admin who can log in would be left.
    LastAdmin(String),
}

impl Refused {
    fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

/// Who acts, and with what.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Its name.
    pub name: String,
    /// What it may do with this session or token.
    pub role: OperatorRole,
    /// The only groups that it may use.
    pub scope: Option<BTreeSet<String>>,
    /// When the token that it acts with expires; none for a session.
    pub until: Option<DateTime<Utc>>,
}

/// What a new token will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What it is for.
    pub name: String,
    /// Its role.
    pub role: OperatorRole,
    /// Its groups.
    pub scope: Option<Vec<String>>,
    /// When it expires.
    pub expires: DateTime<Utc>,
}

/// Most operators, disabled ones among them.
pub const MAX_OPERATORS: u64 = 1000;
/// Most sessions of an operator: the oldest ends when one more begins.
pub const MAX_SESSIONS: i64 = 20;
/// Most tokens of an operator that can be used.
pub const MAX_TOKENS: u64 = 50;
/// Tokens of an operator that are remembered once they cannot be used any more.
pub const DEAD_TOKENS: i64 = 100;
/// Days that a token lives unless its maker says otherwise.
const DAYS: u32 = 90;

/// A token that an actor asks for: never more than the actor has.
///
/// # Errors
/// It would be more, or a field is not allowed.
pub fn token(
    actor: &Actor,
    new: &NewToken,
    groups: &[&str],
    most_days: u32,
    now: DateTime<Utc>,
) -> Result<Grant, Refused> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > MAX_TOKEN_NAME || name.chars().any(char::is_control) {
        let why = format!("must have 1 to {MAX_TOKEN_NAME} printable characters");
        return Err(Refused::field("name", why));
    }
    if new.role > actor.role {
        return Err(Refused::Role { wanted: new.role, held: actor.role });
    }
    let days = new.days.unwrap_or(DAYS.min(most_days));
    if !(1..=most_days).contains(&days) {
        return Err(Refused::field("days", format!("must be 1 to {most_days}")));
    }
    let scope = scope(actor, new.scope.as_deref(), groups)?;
    let wanted = now + TimeDelta::days(i64::from(days));
    // A token that was stolen must not live on in one that it made.
    let expires = actor.until.map_or(wanted, |until| wanted.min(until));
    Ok(Grant { name: name.to_owned(), role: new.role, scope, expires })
}

fn scope(actor: &Actor, wanted: Option<&[String]>, groups: &[&str]) -> Result<Option<Vec<String>>, Refused> {
    let Some(wanted) = wanted else {
        // Nothing said: all that the actor may, which for a token with a scope is that scope.
        return Ok(actor.scope.as_ref().map(|scope| scope.iter().cloned().collect()));
    };
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    if wanted.is_empty() || wanted.iter().any(|group| !groups.contains(group)) {
        let why = format!("must name one or more of {}", groups.join(", "));
        return Err(Refused::field("scope", why));
    }
    let beyond = actor.scope.as_ref().and_then(|own| wanted.iter().find(|group| !own.contains(**group)));
    if let Some(group) = beyond {
        return Err(Refused::Scope((*group).to_owned()));
    }
    Ok(Some(wanted.into_iter().map(str::to_owned).collect()))
}

/// An admin who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its name.
    pub name: String,
    /// Whether it has a password.
    pub person: bool,
}

/// Whether `actor` may change `target` like this.
///
/// # Errors
/// It is the own account, or no admin would be left.
pub fn change(actor: &str, target: &str, change: &ChangeOperator, admins: &[Admin]) -> Result<(), Refused> {
    if change.role.is_none() && change.disabled.is_none() {
        return Err(Refused::field("role", "set role, disabled, or both"));
    }
    if actor == target {
        return Err(Refused::OwnAccount);
    }
    let stays = change.disabled != Some(true) && change.role.is_none_or(|role| role == OperatorRole::Admin);
    let left = |admins: &[&Admin]| admins.iter().any(|admin| admin.name != target);
    let (all, people): (Vec<_>, Vec<_>) = (admins.iter().collect(), admins.iter().filter(|a| a.person).collect());
    let is_admin = |admins: &[&Admin]| admins.iter().any(|admin| admin.name == target);
    if !stays && (is_admin(&all) && !left(&all) || is_admin(&people) && !left(&people)) {
        return Err(Refused::LastAdmin(target.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(role: OperatorRole) -> Actor {
        Actor { name: "ann".into(), role, scope: None, until: None }
    }

    fn wish(role: OperatorRole) -> NewToken {
        NewToken { name: "ci".into(), role, scope: None, days: None, operator: None, reason: None }
    }

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    #[test]
    fn a_token_never_has_more_than_its_maker() {
        use OperatorRole::{Admin, Viewer};
        let groups = ["releases", "uploads"];
        for role in OperatorRole::ALL {
            for wanted in OperatorRole::ALL {
                let granted = token(&actor(role), &wish(wanted), &groups, 366, now());
                assert_eq!(granted.is_ok(), wanted <= role, "{wanted} by {role}");
            }
        }
        let narrow = Actor {
            scope: Some(["releases".to_owned()].into()),
            until: Some(now() + TimeDelta::days(2)),
            ..actor(Admin)
        };
        let granted = token(&narrow, &wish(Viewer), &groups, 366, now()).unwrap();
        assert_eq!(granted.scope, Some(vec!["releases".to_owned()]), "the own scope, not all");
        assert_eq!(granted.expires, now() + TimeDelta::days(2), "no later than its maker");
        let wider = NewToken { scope: Some(vec!["uploads".into()]), ..wish(Viewer) };
        assert_eq!(token(&narrow, &wider, &groups, 366, now()).unwrap_err(), Refused::Scope("uploads".into()));
    }

    #[test]
    fn fields_of_a_token_are_bounded() {
        let groups = ["releases"];
        let viewer = wish(OperatorRole::Viewer);
        for bad in [
            NewToken { name: " ".into(), ..viewer.clone() },
            NewToken { name: "x".repeat(65), ..viewer.clone() },
            NewToken { name: "a\u{1b}[0m".into(), ..viewer.clone() },
            NewToken { days: Some(0), ..viewer.clone() },
            NewToken { days: Some(367), ..viewer.clone() },
            NewToken { scope: Some(vec![]), ..viewer.clone() },
            NewToken { scope: Some(vec!["everything".into()]), ..viewer.clone() },
        ] {
            let error = token(&actor(OperatorRole::Admin), &bad, &groups, 366, now()).unwrap_err();
            assert!(matches!(error, Refused::Field { .. }), "{bad:?}");
        }
    }

    #[test]
    fn one_admin_always_stays() {
        let admin = |name: &str, person| Admin { name: name.into(), person };
        let disable = ChangeOperator { disabled: Some(true), ..ChangeOperator::default() };
        let demote = ChangeOperator { role: Some(OperatorRole::Viewer), ..ChangeOperator::default() };
        let both = [admin("ann", true), admin("ben", true), admin("ci", false)];
        for wish in [&disable, &demote] {
            assert!(change("ann", "ben", wish, &both).is_ok());
            assert_eq!(change("ann", "ann", wish, &both), Err(Refused::OwnAccount));
            // A service does not replace the last person; a service alone may go if a person stays.
            assert_eq!(
                change("ci", "ann", wish, &[both[0].clone(), both[2].clone()]),
                Err(Refused::LastAdmin("ann".into()))
            );
            assert!(change("ann", "ci", wish, &[both[0].clone(), both[2].clone()]).is_ok());
            assert_eq!(change("x", "ci", wish, &both[2..]), Err(Refused::LastAdmin("ci".into())));
            assert!(change("ann", "viewer", wish, &both[..1]).is_ok());
        }
        let nothing = ChangeOperator::default();
        assert!(matches!(change("ann", "ben", &nothing, &both), Err(Refused::Field { field: "role", .. })));
    }
}
