//! What holds for the root helper. It reads the agent's file, which belongs to root.

use std::path::PathBuf;

use fleet_types::BranchName;
use service_kit::config::ConfigError;
use service_kit::config::check::absolute;

use super::agent::{Settings, name};
use super::inputs::Inputs;

/// The root helper's settings.
#[derive(Debug, Clone)]
pub struct HelperSettings {
    /// Slots, boot block, restart command, root file, names.
    ///
    /// What the agent's file says of the machine.
    pub machine: Settings,
    /// This terminal's branch. Not taken from the agent, which learns it from its branch server.
    pub branch: BranchName,
    /// A folder that only the helper reads and writes.
    pub state_dir: PathBuf,
    /// The user who may ask: a name of /etc/passwd, or a number.
    pub agent_user: String,
}

impl TryFrom<Inputs> for HelperSettings {
    type Error = ConfigError;

    fn try_from(mut inputs: Inputs) -> Result<Self, ConfigError> {
        let (branch, user) = (inputs.helper.branch.take(), inputs.helper.agent_user.take());
        let state = inputs.helper.state_dir.take().unwrap_or_else(|| "/var/lib/terminal-helper".into());
        Ok(Self {
            branch: name("helper.branch", "north", branch)?,
            state_dir: absolute(Some(state), "helper.state_dir", "/var/lib/terminal-helper")?,
            agent_user: user.unwrap_or_else(|| "terminal-agent".to_owned()),
            machine: Settings::try_from(inputs)?,
        })
    }
}
