//! What callers may do.

use serde::Deserialize;
use wire::v1::operators::OperatorRole;

/// What a route asks of its caller, and what a caller holds.
///
/// Operators' roles include one another (`admin` ⊇ `release-manager` ⊇ `operator` ⊇ `viewer`); a machine's role
/// matches only itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Every caller, without a token.
    Public,
    /// Every caller: the handler itself checks the join token in the body.
    JoinToken,
    /// Every caller at the machine itself, and viewers from elsewhere: for programs that watch it.
    Monitor,
    /// Looks at everything, changes nothing.
    Viewer,
    /// Runs rollouts.
    Operator,
    /// Uploads and approves releases.
    ReleaseManager,
    /// Everything an operator listener offers.
    Admin,
    /// A branch server.
    Branch,
    /// A terminal.
    Terminal,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 9] = [
        Role::Public,
        Role::JoinToken,
        Role::Monitor,
        Role::Viewer,
        Role::Operator,
        Role::ReleaseManager,
        Role::Admin,
        Role::Branch,
        Role::Terminal,
    ];

    /// Its name, as in the tokens file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::JoinToken => "join-token",
            Self::Monitor => "monitor",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release-manager",
            Self::Admin => "admin",
            Self::Branch => "branch",
            Self::Terminal => "terminal",
        }
    }

    /// Whether the guard asks for no bearer token.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Public | Self::JoinToken)
    }

    /// Whether people hold it.
    pub const fn is_operator(self) -> bool {
        self.rank().is_some()
    }

    /// The role as operators' messages name it.
    pub const fn operator(self) -> Option<OperatorRole> {
        match self {
            Self::Viewer => Some(OperatorRole::Viewer),
            Self::Operator => Some(OperatorRole::Operator),
            Self::ReleaseManager => Some(OperatorRole::ReleaseManager),
            Self::Admin => Some(OperatorRole::Admin),
            Self::Public | Self::JoinToken | Self::Monitor | Self::Branch | Self::Terminal => None,
        }
    }

    /// What a route with this role asks of a caller, at the machine itself or elsewhere.
    pub const fn asked(self, local: bool) -> Self {
        match self {
            Self::Monitor if local => Self::Public,
            Self::Monitor => Self::Viewer,
            other => other,
        }
    }

    const fn rank(self) -> Option<u8> {
        match self {
            Self::Viewer => Some(1),
            Self::Operator => Some(2),
            Self::ReleaseManager => Some(3),
            Self::Admin => Some(4),
            Self::Public | Self::JoinToken | Self::Monitor | Self::Branch | Self::Terminal => None,
        }
    }

    /// Whether a caller with this role may use a route that asks for `needed`.
    pub const fn reaches(self, needed: Role) -> bool {
        if needed.is_open() {
            return true;
        }
        match (self.rank(), needed.rank()) {
            (Some(held), Some(needed)) => held >= needed,
            (None, None) => matches!((self, needed), (Self::Branch, Self::Branch) | (Self::Terminal, Self::Terminal)),
            _ => false,
        }
    }
}

impl From<OperatorRole> for Role {
    fn from(role: OperatorRole) -> Self {
        match role {
            OperatorRole::Viewer => Self::Viewer,
            OperatorRole::Operator => Self::Operator,
            OperatorRole::ReleaseManager => Self::ReleaseManager,
            OperatorRole::Admin => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_include_one_another_and_machines_only_themselves() {
        use Role::{Admin, Branch, JoinToken, Operator, Public, ReleaseManager, Terminal, Viewer};
        let reach = |held: Role| Role::ALL.into_iter().filter(|n| held.reaches(*n)).collect::<Vec<_>>();
        assert_eq!(reach(Viewer), [Public, JoinToken, Viewer]);
        assert_eq!(reach(Operator), [Public, JoinToken, Viewer, Operator]);
        assert_eq!(reach(ReleaseManager), [Public, JoinToken, Viewer, Operator, ReleaseManager]);
        assert_eq!(reach(Admin), [Public, JoinToken, Viewer, Operator, ReleaseManager, Admin]);
        assert_eq!(reach(Branch), [Public, JoinToken, Branch]);
        assert_eq!(reach(Terminal), [Public, JoinToken, Terminal]);
        assert_eq!(reach(Public), [Public, JoinToken]);
    }
}
