//! What runs on this machine: small files of the kernel and the root, and systemd.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::Version;
use service_kit::process::one_line;
use service_kit::room;

use super::process;
use crate::config::agent::Settings;
use crate::ports::{Host, PortError, Room};

/// Most bytes of a small file that are read.
///
/// The kernel's command line has at most 4096 on the machines we know.
const MAX_SMALL: u64 = 64 * 1024;

/// This machine.
#[derive(Debug, Clone)]
pub struct Machine {
    kernel_command_line: PathBuf,
    boot_id: PathBuf,
    os_release: PathBuf,
    failed_units: bool,
}

impl Machine {
    /// With the files that the settings name.
    pub fn new(settings: &Settings) -> Self {
        Self {
            kernel_command_line: settings.paths.kernel_command_line.clone(),
            boot_id: settings.paths.boot_id.clone(),
            os_release: settings.paths.os_release.clone(),
            failed_units: settings.failed_units,
        }
    }
}

fn small(path: &Path) -> Result<String, PortError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|f| f.take(MAX_SMALL).read_to_string(&mut text));
    read.map_err(|e| PortError::with(format!("cannot read {}", path.display()), e))?;
    Ok(text)
}

/// The value of `name` in an os-release file (os-release(5)).
///
/// Plain or in quotes; the last assignment counts.
pub fn os_release_value(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
    values.next_back().map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
}

#[async_trait]
impl Host for Machine {
    fn kernel_command_line(&self) -> Result<String, PortError> {
        small(&self.kernel_command_line)
    }

    fn boot_id(&self) -> Result<String, PortError> {
        let id = small(&self.boot_id)?.trim().to_owned();
        if id.is_empty() {
            return Err(PortError::new(format!("{} is empty", self.boot_id.display())));
        }
        Ok(id.chars().take(128).collect())
    }

    fn image_version(&self) -> Result<Version, PortError> {
        let text = small(&self.os_release)?;
        let path = self.os_release.display();
        let Some(value) = os_release_value(&text, "IMAGE_VERSION") else {
            return Err(PortError::new(format!("{path} has no IMAGE_VERSION: the image must name its version there")));
        };
        value.parse().map_err(|e| PortError::with(format!("IMAGE_VERSION in {path} is not a valid version"), e))
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        room::of(path)
    }

    fn occupied(&self, path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |m| m.blocks() * 512)
    }

    async fn failed_units(&self) -> Result<Option<BTreeSet<String>>, PortError> {
        if !self.failed_units {
            return Ok(None);
        }
        let arguments = ["list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"].map(str::to_owned);
        let ended = process::run(OsStr::new("systemctl"), &arguments, Duration::from_secs(20), 64 * 1024).await;
        let ended = ended.map_err(|e| PortError::with("cannot run systemctl to list failed units", e))?;
        if !ended.status().is_some_and(|s| s.success()) {
            let said = one_line(&ended.errors);
            return Err(PortError::new(format!("systemctl cannot list failed units: {said}")));
        }
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        Ok(Some(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let text = "NAME=\"x\"\nIMAGE_VERSION_OLD=9\nIMAGE_VERSION=1.0.0\nIMAGE_VERSION='2.4.0'\n";
        assert_eq!(os_release_value(text, "IMAGE_VERSION").as_deref(), Some("2.4.0"));
        assert_eq!(os_release_value("IMAGE_VERSION=\"2.4.0\"", "IMAGE_VERSION").as_deref(), Some("2.4.0"));
        assert_eq!(os_release_value("# IMAGE_VERSION=1", "IMAGE_VERSION"), None);
    }
}
