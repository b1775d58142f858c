//! Restarting the machine by a command.

use std::ffi::OsStr;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::process::one_line;

use super::process;
use crate::ports::{PortError, Power};

/// How long the command may take to accept.
const LIMIT: Duration = Duration::from_secs(60);

/// A command that restarts the machine, such as `systemctl reboot`.
#[derive(Debug, Clone)]
pub struct RebootCommand {
    command: Vec<String>,
}

impl RebootCommand {
    /// This program with its arguments.
    pub fn new(command: Vec<String>) -> Self {
        Self { command }
    }
}

#[async_trait]
impl Power for RebootCommand {
    async fn restart(&self) -> Result<(), PortError> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(PortError::new("power.reboot_command is empty"));
        };
        tracing::info!(command = ?self.command, "restarting the machine");
        let ended = process::run(OsStr::new(program), arguments, LIMIT, 400).await;
        let ended = ended.map_err(|e| PortError::with(format!("cannot run {program} to restart the machine"), e))?;
        match ended.status() {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let said = one_line(&ended.errors);
                Err(PortError::new(format!("{program} did not restart the machine ({status}): {said}")))
            }
            None => Err(PortError::new(format!("{program} did not answer within {} s", LIMIT.as_secs()))),
        }
    }
}
