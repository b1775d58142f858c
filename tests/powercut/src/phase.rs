//! Where in an update a machine is, by what it says on its console.

use fleet_types::{Slot, UpdateState};
use serde::{Deserialize, Serialize};

/// Where in an update the power goes, in the order in which an update goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Segments come in and are written to the slot.
    Fetching,
    /// The slot is synced and read back.
    Installing,
    /// It was read back; nothing of the bootloader's is changed yet.
    Ready,
    /// The trial is being set, and the machine restarts.
    Activating,
    /// The bootloader took an attempt off the trial; the new system starts and its agent does not run yet.
    BootAttempt,
    /// The new system judges itself.
    Trying,
    /// The new slot has just become the default.
    Confirmed,
    /// While the machine comes up after another cut: a double cut.
    Again,
}

impl Phase {
    pub(crate) const ALL: [Self; 8] = [
        Self::Fetching,
        Self::Installing,
        Self::Ready,
        Self::Activating,
        Self::BootAttempt,
        Self::Trying,
        Self::Confirmed,
        Self::Again,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Installing => "installing",
            Self::Ready => "ready",
            Self::Activating => "activating",
            Self::BootAttempt => "boot-attempt",
            Self::Trying => "trying",
            Self::Confirmed => "confirmed",
            Self::Again => "again",
        }
    }

    /// About how long it lasts here, in milliseconds: a cut comes at a random moment of that. Of short ones, so that
    /// most cuts hit what they aim at; what they did hit is told by the console.
    pub(crate) const fn typical_ms(self) -> u64 {
        match self {
            Self::Fetching => 25_000,
            Self::Installing => 4_000,
            Self::Ready => 150,
            Self::Activating => 8_000,
            Self::BootAttempt => 15_000,
            Self::Trying => 6_000,
            Self::Confirmed => 4_000,
            Self::Again => 25_000,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a line of the console says that counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The bootloader takes a slot.
    Boot {
        /// Which.
        slot: Slot,
        /// On trial.
        trial: bool,
    },
    /// The agent runs and has read its journal.
    Running,
    /// An update moved to this state.
    Moved {
        /// To what.
        to: UpdateState,
        /// Of which version; none if it could not be read.
        version: Option<String>,
    },
}

/// Reads a line. Control sequences stay in it: the words that count have none among them.
pub(crate) fn mark(line: &str) -> Option<Mark> {
    let after = |words: &str| line.split_once(words).map(|(_, rest)| rest);
    let slot = |rest: &str| rest.get(..1).and_then(|s| s.parse().ok());
    if let Some(slot) = after("filial: trying slot ").and_then(slot) {
        return Some(Mark::Boot { slot, trial: true });
    }
    if let Some(slot) = after("filial: starting slot ").and_then(slot) {
        return Some(Mark::Boot { slot, trial: false });
    }
    if after("running slot=").is_some() {
        return Some(Mark::Running);
    }
    let moved = after("moved from=\"")?;
    let value = |name: &str| Some(moved.split_once(name)?.1.split_once('"')?.0);
    let to = value("to=\"")?.parse().ok()?;
    Some(Mark::Moved { to, version: value("version=\"").map(str::to_owned) })
}

/// Where a machine is, after everything that it said so far. Survives its restarts and cuts, as the agent's journal does.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The version that is to be installed.
    version: String,
    state: Option<UpdateState>,
    /// The boot under way, of which no agent has said anything yet: on trial or not.
    booting: Option<bool>,
    /// Whether the system that runs is on trial.
    on_trial: bool,
}

impl Place {
    pub(crate) fn new(version: String) -> Self {
        Self { version, state: None, booting: None, on_trial: false }
    }

    pub(crate) fn hear(&mut self, mark: &Mark) {
        match mark {
            Mark::Boot { trial, .. } => (self.booting, self.on_trial) = (Some(*trial), *trial),
            Mark::Running => self.booting = None,
            Mark::Moved { to, version } if version.as_ref() == Some(&self.version) => {
                (self.state, self.booting) = (Some(*to), None);
            }
            Mark::Moved { .. } => {}
        }
    }

    /// The state that the update said last.
    pub(crate) const fn state(&self) -> Option<UpdateState> {
        self.state
    }

    /// The phase; none before the update, while an old slot boots, or after a bad end.
    pub(crate) const fn phase(&self) -> Option<Phase> {
        match (self.booting, self.state) {
            (Some(true), _) => Some(Phase::BootAttempt),
            (Some(false), _) | (None, None) => None,
            (None, Some(state)) => match state {
                UpdateState::Assigned | UpdateState::Fetching => Some(Phase::Fetching),
                UpdateState::Installing => Some(Phase::Installing),
                UpdateState::Ready => Some(Phase::Ready),
                // The agent of the new slot runs, and has not moved yet.
                UpdateState::Activating if self.on_trial => Some(Phase::Trying),
                UpdateState::Activating => Some(Phase::Activating),
                UpdateState::Trying => Some(Phase::Trying),
                UpdateState::Confirmed => Some(Phase::Confirmed),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(to: &str) -> String {
        format!(
            "[  57.3] terminal-agent[4]: INFO terminal_agent::agent: moved from=\"x\" to=\"{to}\" version=\"2.0.1\""
        )
    }

    #[test]
    fn lines_are_read_by_their_words() {
        let boot = |slot, trial| Some(Mark::Boot { slot, trial });
        assert_eq!(mark("\u{1b}[0mfilial: trying slot B, 1 attempt left"), boot(Slot::B, true));
        assert_eq!(mark("filial: starting slot A"), boot(Slot::A, false));
        assert_eq!(mark("INFO terminal_agent::talk: running slot=A version=1.0.0"), Some(Mark::Running));
        let to = UpdateState::Fetching;
        assert_eq!(mark(&said("fetching")), Some(Mark::Moved { to, version: Some("2.0.1".into()) }));
        assert_eq!(mark("moved from=\"fetching\" to=\"in"), None);
        assert_eq!(mark("systemd[1]: Shutting down."), None);
    }

    #[test]
    fn a_place_is_told_through_restarts_and_cuts() {
        let mut place = Place::new("2.0.1".into());
        let mut at = |line: &str| {
            place.hear(&mark(line).unwrap());
            place.phase()
        };
        assert_eq!(at("filial: starting slot A"), None);
        assert_eq!(at("running slot=A"), None);
        assert_eq!(at(&said("fetching")), Some(Phase::Fetching));
        assert_eq!(at("filial: starting slot A"), None, "cut, and it boots");
        assert_eq!(at("running slot=A"), Some(Phase::Fetching));
        assert_eq!(at(&said("activating")), Some(Phase::Activating));
        assert_eq!(at("filial: trying slot B, 1 attempt left"), Some(Phase::BootAttempt));
        assert_eq!(at("running slot=B"), Some(Phase::Trying));
        assert_eq!(at(&said("trying")), Some(Phase::Trying));
        assert_eq!(at(&said("confirmed")), Some(Phase::Confirmed));
        assert_eq!(at(&said("rolled-back")), None);
    }

    #[test]
    fn other_versions_do_not_count() {
        let mut place = Place::new("2.0.2".into());
        place.hear(&mark(&said("confirmed")).unwrap());
        assert_eq!((place.phase(), place.state()), (None, None));
    }
}
