//! The parts of a lab, each with a name that a person can type.

use std::fmt;
use std::str::FromStr;

use fleet_types::{BranchName, TerminalRef};

use crate::error::LabError;

/// Where a part runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Head office.
    HeadOffice,
    /// A branch.
    Branch(BranchName),
    /// A terminal.
    Terminal(TerminalRef),
}

/// What runs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// PostgreSQL.
    Postgres,
    /// transmission-daemon.
    Transmission,
    /// opentracker.
    Opentracker,
    /// A terminal's root helper.
    Helper,
    /// QEMU: a whole terminal, with everything that runs on it.
    Machine,
    /// Our own program: head-office, branch-server or terminal-agent, by the place.
    Program,
}

/// One process of the lab that can be killed, stopped, continued and restarted.
///
/// Written `head-office`, `head-office:postgres`, `branch-1:transmission`, `branch-1/till-2` (its agent).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// Where.
    pub place: Place,
    /// What.
    pub role: Role,
}

impl Place {
    /// The part of this place with this role.
    pub fn part(&self, role: Role) -> Part {
        Part { place: self.clone(), role }
    }

    /// Our own program there.
    pub fn program(&self) -> Part {
        self.part(Role::Program)
    }
}

impl Part {
    /// The program `head-office`.
    pub fn head_office() -> Self {
        Place::HeadOffice.program()
    }

    /// The program `branch-server` of a branch.
    pub fn branch(branch: &BranchName) -> Self {
        Place::Branch(branch.clone()).program()
    }

    /// The program `terminal-agent` of a terminal.
    pub fn agent(terminal: &TerminalRef) -> Self {
        Place::Terminal(terminal.clone()).program()
    }

    /// The program `terminal-helper` of a terminal.
    pub fn helper(terminal: &TerminalRef) -> Self {
        Place::Terminal(terminal.clone()).part(Role::Helper)
    }

    /// The virtual machine that is a terminal.
    pub fn machine(terminal: &TerminalRef) -> Self {
        Place::Terminal(terminal.clone()).part(Role::Machine)
    }

    /// A terminal's transmission-daemon.
    pub fn terminal_transmission(terminal: &TerminalRef) -> Self {
        Place::Terminal(terminal.clone()).part(Role::Transmission)
    }

    /// A branch's transmission-daemon.
    pub fn branch_transmission(branch: &BranchName) -> Self {
        Place::Branch(branch.clone()).part(Role::Transmission)
    }

    /// The program's name.
    pub fn program_name(&self) -> &'static str {
        match (self.role, &self.place) {
            (Role::Postgres, _) => "postgres",
            (Role::Transmission, _) => "transmission-daemon",
            (Role::Opentracker, _) => "opentracker",
            (Role::Helper, _) => "terminal-helper",
            (Role::Machine, _) => "qemu-system-x86_64",
            (Role::Program, Place::HeadOffice) => "head-office",
            (Role::Program, Place::Branch(_)) => "branch-server",
            (Role::Program, Place::Terminal(_)) => "terminal-agent",
        }
    }

    /// The name of its log file.
    pub(crate) fn log_name(&self) -> String {
        let place = match &self.place {
            Place::HeadOffice => "head-office".to_owned(),
            Place::Branch(b) => b.to_string(),
            Place::Terminal(t) => format!("{}.{}", t.branch, t.terminal),
        };
        format!("{place}.{}.log", self.program_name())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadOffice => f.pad("head-office"),
            Self::Branch(b) => b.fmt(f),
            Self::Terminal(t) => f.pad(&t.to_string()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Program => return self.place.fmt(f),
            Role::Postgres => "postgres",
            Role::Transmission => "transmission",
            Role::Opentracker => "opentracker",
            Role::Helper => "helper",
            Role::Machine => "machine",
        };
        f.pad(&format!("{}:{role}", self.place))
    }
}

impl FromStr for Place {
    type Err = LabError;

    fn from_str(s: &str) -> Result<Self, LabError> {
        let unknown = || LabError::NoSuchPart(s.chars().take(80).collect());
        Ok(match s {
            "head-office" => Self::HeadOffice,
            p if p.contains('/') => Self::Terminal(p.parse().map_err(|_| unknown())?),
            p => Self::Branch(p.parse().map_err(|_| unknown())?),
        })
    }
}

impl FromStr for Part {
    type Err = LabError;

    fn from_str(s: &str) -> Result<Self, LabError> {
        let unknown = || LabError::NoSuchPart(s.chars().take(80).collect());
        let (place, role) = s.split_once(':').map_or((s, None), |(p, r)| (p, Some(r)));
        let place = place.parse().map_err(|_| unknown())?;
        let role = match role {
            None => Role::Program,
            Some("postgres") => Role::Postgres,
            Some("transmission") => Role::Transmission,
            Some("opentracker") => Role::Opentracker,
            Some("helper") => Role::Helper,
            Some("machine") => Role::Machine,
            Some(_) => return Err(unknown()),
        };
        Ok(Self { place, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "head-office",
            "head-office:postgres",
            "branch-1:opentracker",
            "branch-1/till-2:helper",
            "b/t:machine",
            "b/t",
        ] {
            assert_eq!(name.parse::<Part>().unwrap().to_string(), name);
        }
        for name in ["", "head-office:agent", "b/t/x", ":postgres"] {
            assert!(name.parse::<Part>().is_err(), "{name:?}");
        }
    }
}
