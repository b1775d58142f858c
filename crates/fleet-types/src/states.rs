//! The two public state machines: a release at head office, and an update on a terminal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A move that the transition table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct TransitionError {
    machine: &'static str,
    from: &'static str,
    to: &'static str,
}

impl TransitionError {
    fn text(&self) -> String {
        let Self { machine, from, to } = self;
        if from == to {
            format!("{machine} is already {from}")
        } else {
            format!("{machine} cannot go from {from} to {to}")
        }
    }
}

/// Text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a state")]
pub struct ParseStateError(String);

macro_rules! states {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $type {
            $($(#[$vdoc])* $variant,)+
        }

        impl $type {
            /// Every state, in the order in which a good run passes them.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The state's name, as everywhere in the API and the UI.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = ParseStateError;
            fn from_str(s: &str) -> Result<Self, ParseStateError> {
                match s {
                    $($text => Ok($type::$variant),)+
                    _ => Err(ParseStateError(s.chars().take(32).collect())),
                }
            }
        }
    };
}

states!(
    /// Where an update stands on a terminal.
    UpdateState {
        /// The plan names it; nothing was fetched.
        Assigned = "assigned",
        /// Segments are missing; those that arrive are written at once.
        Fetching = "fetching",
        /// All segments written; syncing and reading the whole slot back.
        Installing = "installing",
        /// Read back and equal to the payload's digest; waits for its window and lane.
        Ready = "ready",
        /// The trial is being set and the restart asked for.
        Activating = "activating",
        /// Booted from the new slot; health is being checked.
        Trying = "trying",
        /// Healthy on the new slot, and said so: the only success.
        Confirmed = "confirmed",
        /// Given up before it was ever booted.
        Failed = "failed",
        /// Tried, unhealthy, back on the old slot.
        RolledBack = "rolled-back",
        /// Its plan was superseded or stopped before the trial.
        Withdrawn = "withdrawn",
    }
);

impl UpdateState {
    /// Whether nothing further happens by itself in this state.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed | Self::RolledBack | Self::Withdrawn)
    }
}

states!(
    /// Where a release stands at head office.
    ReleaseState {
        /// Its archive is still arriving.
        Uploading = "uploading",
        /// The archive is complete and being checked.
        Validating = "validating",
        /// A rule failed, or could not be evaluated.
        Rejected = "rejected",
        /// Every rule is settled but one that a person must settle: a signature, or a warning to accept.
        AwaitingSignature = "awaiting-signature",
        /// May be published.
        Approved = "approved",
        /// Its artifacts are being encoded, tracked and seeded.
        Publishing = "publishing",
        /// Branches can be told to run it.
        Published = "published",
        /// Taken back; no plan may name it again.
        Withdrawn = "withdrawn",
    }
);

impl ReleaseState {
    /// Whether a release in this state never moves again.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Rejected | Self::Withdrawn)
    }

    /// The only transition table of releases.
    ///
    /// # Errors
    /// The move is not in the table.
    pub const fn to(self, to: ReleaseState) -> Result<ReleaseState, TransitionError> {
        use ReleaseState as S;
        match (self, to) {
            (S::Uploading, S::Validating | S::Withdrawn)
            | (S::Validating, S::Rejected | S::AwaitingSignature | S::Approved | S::Withdrawn)
            | (S::AwaitingSignature, S::Approved | S::Withdrawn)
            | (S::Approved, S::Publishing | S::Withdrawn)
            | (S::Publishing, S::Published | S::Withdrawn)
            | (S::Published, S::Withdrawn) => Ok(to),
            _ => Err(TransitionError { machine: "a release", from: self.as_str(), to: to.as_str() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_agree() {
        for state in UpdateState::ALL {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for state in ReleaseState::ALL {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
    }

    /// The table once more, written as a person would: a changed table must be changed here too.
    const MOVES: &[(ReleaseState, &[ReleaseState])] = {
        use ReleaseState as S;
        &[
            (S::Uploading, &[S::Validating, S::Withdrawn]),
            (S::Validating, &[S::Rejected, S::AwaitingSignature, S::Approved, S::Withdrawn]),
            (S::Rejected, &[]),
            (S::AwaitingSignature, &[S::Approved, S::Withdrawn]),
            (S::Approved, &[S::Publishing, S::Withdrawn]),
            (S::Publishing, &[S::Published, S::Withdrawn]),
            (S::Published, &[S::Withdrawn]),
            (S::Withdrawn, &[]),
        ]
    };

    #[test]
    fn every_move_of_a_release_is_allowed_or_refused_as_the_table_says() {
        assert!(MOVES.iter().map(|(from, _)| from).eq(ReleaseState::ALL));
        for (from, allowed) in MOVES {
            for to in ReleaseState::ALL {
                match from.to(*to) {
                    Ok(state) => assert!(allowed.contains(to) && state == *to, "{from} went to {to}"),
                    Err(error) => {
                        assert!(!allowed.contains(to), "{from} did not go to {to}");
                        let text = match from == to {
                            true => format!("a release is already {from}"),
                            false => format!("a release cannot go from {from} to {to}"),
                        };
                        assert_eq!(error.to_string(), text);
                    }
                }
            }
            assert_eq!(allowed.is_empty(), from.is_end(), "{from}");
        }
    }

    #[test]
    fn whatever_has_not_ended_can_be_withdrawn() {
        for from in ReleaseState::ALL {
            assert_eq!(from.to(ReleaseState::Withdrawn).is_ok(), !from.is_end(), "{from}");
        }
    }
}
