//! A terminal's machine: two slots, the boot environment, and a bootloader that does what the real one does.
//!
//! The bootloader knows nothing but the environment block: it reads it with grub-editenv, takes one attempt off a
//! trial and saves that before it boots, and takes everything else (version, health checks) out of the chosen slot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fleet_types::{Digest, Slot, TerminalRef, Version};
use sha2::{Digest as _, Sha256};

use crate::error::LabError;
use crate::exec::Tool;
use crate::recipe::write;

/// What is read out of a slot at boot: the version, the health checks, and what those look at.
const FROM_IMAGE: [&str; 4] = ["etc/os-release", "etc/terminal-agent", "var/lib/dpkg/status", "usr/bin/dpkg"];
const DEFAULT: &str = "filial_default";
const TRIAL: &str = "filial_trial";
const LEFT: &str = "filial_trial_left";

/// The boot environment as grub-editenv reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootEnv {
    /// The confirmed slot.
    pub default: Slot,
    /// The slot on trial.
    pub trial: Option<Slot>,
    /// How often the trial may still be booted.
    pub trial_left: u8,
}

/// One attempt of the bootloader to start a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The chosen slot.
    pub slot: Slot,
    /// Whether it was on trial.
    pub trial: bool,
    /// `IMAGE_VERSION` of the slot's image; none if nothing could be booted from it, and then why.
    pub version: Result<Version, String>,
}

/// The files of a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) terminal: TerminalRef,
    pub(crate) folder: PathBuf,
    /// What stands for /run: a short path, as a socket's has to be.
    pub(crate) run: PathBuf,
}

impl Machine {
    pub(crate) fn slot(&self, slot: Slot) -> PathBuf {
        self.folder.join(match slot {
            Slot::A => "slot-a.img",
            Slot::B => "slot-b.img",
        })
    }

    /// GRUB's environment block, on what would be the EFI system partition.
    pub(crate) fn env_block(&self) -> PathBuf {
        self.folder.join("esp/grubenv")
    }

    /// What stands for /proc/cmdline.
    pub(crate) fn command_line(&self) -> PathBuf {
        self.folder.join("boot/cmdline")
    }

    /// What stands for /proc/sys/kernel/random/boot_id.
    pub(crate) fn boot_id(&self) -> PathBuf {
        self.folder.join("boot/boot_id")
    }

    /// The running system, as far as it is unpacked.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The data partition.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The root helper's socket.
    pub(crate) fn helper_socket(&self) -> PathBuf {
        self.run.join("helper.sock")
    }

    /// Where its daemon keeps artifacts.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.data().join("downloads")
    }

    /// Made by the agent's restart command, taken away by the lab when it restarts the machine.
    pub(crate) fn restart_wish(&self) -> PathBuf {
        self.folder.join("boot/restart-asked")
    }

    /// As it leaves the factory: the image in slot A, nothing in slot B, A confirmed.
    pub(crate) fn provision(&self, image: &Path, slot_bytes: u64) -> Result<(), LabError> {
        for folder in ["esp", "boot", "data", "data/downloads", "data/agent", "data/work"] {
            let path = self.folder.join(folder);
            std::fs::create_dir_all(&path).map_err(LabError::file("create", &path))?;
        }
        let (a, b) = (self.slot(Slot::A), self.slot(Slot::B));
        std::fs::copy(image, &a).map_err(LabError::file("copy the image to", &a))?;
        let size = |path: &Path| {
            let file = File::options().write(true).create(true).truncate(false).open(path);
            file.and_then(|f| f.set_len(slot_bytes)).map_err(LabError::file("size", path))
        };
        size(&a)?;
        size(&b)?;
        let block = self.env_block();
        Tool::new("grub-editenv").arg(&block).arg("create").run()?;
        self.set_env(&[(DEFAULT, "A"), (TRIAL, ""), (LEFT, "0")])
    }

    /// Gives the agent's user what is his: his folders, his secrets, and what his daemon fetches to read.
    pub(crate) fn belongs_to(&self, user: u32) -> std::io::Result<()> {
        use std::os::unix::fs::{PermissionsExt, chown};
        for own in ["data/agent", "data/work", "join-token", "transmission-password"] {
            chown(self.folder.join(own), Some(user), Some(user))?;
        }
        // The group's bit is inherited, as dist/terminal-agent.tmpfiles has it.
        chown(self.downloads(), None, Some(user))?;
        std::fs::set_permissions(self.downloads(), std::fs::Permissions::from_mode(0o2750))
    }

    fn set_env(&self, variables: &[(&str, &str)]) -> Result<(), LabError> {
        let pairs = variables.iter().map(|(name, value)| format!("{name}={value}"));
        Tool::new("grub-editenv").arg(self.env_block()).arg("set").args(pairs).run().map(drop)
    }

    /// The environment block as it was written, through grub-editenv.
    pub(crate) fn read_env(&self) -> Result<BootEnv, LabError> {
        read_block(&self.env_block())
    }

    /// What the bootloader does when the machine comes up: attempts until a system starts or none is left.
    pub(crate) fn boot(&self) -> Result<Vec<Boot>, LabError> {
        let mut boots = Vec::new();
        loop {
            let (slot, trial) = self.choose()?;
            let version = self.start_system(slot)?;
            let started = version.is_ok();
            boots.push(Boot { slot, trial, version });
            if started {
                return Ok(boots);
            }
            if !trial {
                // GRUB's last resort, as terminal.md has it: the other slot.
                let slot = slot.other();
                boots.push(Boot { slot, trial: false, version: self.start_system(slot)? });
                return Ok(boots);
            }
        }
    }

    /// The slot to boot, with one attempt of a trial taken off and saved first. Without a usable block: slot A.
    fn choose(&self) -> Result<(Slot, bool), LabError> {
        let Ok(env) = self.read_env() else { return Ok((Slot::A, false)) };
        match env.trial {
            Some(slot) if env.trial_left > 0 => {
                self.set_env(&[(LEFT, &(env.trial_left - 1).to_string())])?;
                Ok((slot, true))
            }
            _ => Ok((env.default, false)),
        }
    }

    /// Unpacks what counts of a slot and gives the boot an id and a command line; the inner error is a failed boot.
    fn start_system(&self, slot: Slot) -> Result<Result<Version, String>, LabError> {
        let (root, image) = (self.root(), self.slot(slot));
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(LabError::file("remove", &root))?;
        }
        let unpacked = Tool::new("unsquashfs").args(["-no-progress", "-quiet", "-no-xattrs", "-dest"]).arg(&root);
        if let Err(e) = unpacked.arg(&image).args(FROM_IMAGE).run() {
            return Ok(Err(e.to_string()));
        }
        let version = match image_version(&root.join("etc/os-release")) {
            Ok(version) => version,
            Err(why) => return Ok(Err(why)),
        };
        let label = slot.as_str().to_lowercase();
        let line = format!("BOOT_IMAGE=/slot-{label}/vmlinuz root=PARTLABEL=slot-{label} ro quiet panic=10\n");
        write(&self.command_line(), line)?;
        write(&self.boot_id(), format!("{}\n", uuid::Uuid::from_bytes(rand::random())))?;
        Ok(Ok(version))
    }

    /// Whether the agent asked for a restart; the wish is taken away.
    pub(crate) fn take_restart_wish(&self) -> bool {
        std::fs::remove_file(self.restart_wish()).is_ok()
    }

    /// SHA-256 of the first `length` bytes of a slot.
    pub(crate) fn slot_sha256(&self, slot: Slot, length: u64) -> Result<Digest, LabError> {
        sha256_of(&self.slot(slot), length)
    }
}

/// An environment block as grub-editenv reads it.
pub(crate) fn read_block(path: &Path) -> Result<BootEnv, LabError> {
    let text = Tool::new("grub-editenv").arg(path).arg("list").run()?;
    parse_env(&text).map_err(|why| LabError::Content { path: path.to_owned(), why })
}

/// SHA-256 of the first `length` bytes of a file.
pub(crate) fn sha256_of(path: &Path, length: u64) -> Result<Digest, LabError> {
    sha256_at(path, 0, length)
}

/// SHA-256 of `length` bytes of a file from `offset` on.
pub(crate) fn sha256_at(path: &Path, offset: u64, length: u64) -> Result<Digest, LabError> {
    let mut file = File::open(path).map_err(LabError::file("open", path))?;
    file.seek(SeekFrom::Start(offset)).map_err(LabError::file("read", path))?;
    let mut limited = file.take(length);
    let (mut hasher, mut buffer, mut seen) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        match limited.read(&mut buffer).map_err(LabError::file("read", path))? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                seen += n as u64;
            }
        }
    }
    if seen != length {
        return Err(LabError::Content {
            path: path.to_owned(),
            why: format!("it ends after {seen} of {length} bytes"),
        });
    }
    Ok(Digest::new(hasher.finalize().into()))
}

/// Flips every bit of one byte of a file.
pub(crate) fn flip_byte(path: &Path, offset: u64) -> Result<(), LabError> {
    let file = File::options().read(true).write(true).open(path).map_err(LabError::file("open", path))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).map_err(LabError::file("read", path))?;
    file.write_all_at(&[!byte[0]], offset).map_err(LabError::file("write", path))?;
    file.sync_all().map_err(LabError::file("sync", path))
}

fn parse_env(text: &str) -> Result<BootEnv, String> {
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
    let value = |name: &str| variables.get(name).copied().ok_or_else(|| format!("{name} is not set"));
    let slot = |name: &str, text: &str| text.parse::<Slot>().map_err(|e| format!("{name}: {e}"));
    let default = slot(DEFAULT, value(DEFAULT)?)?;
    let trial = match value(TRIAL)? {
        "" => None,
        text => Some(slot(TRIAL, text)?),
    };
    let trial_left = value(LEFT)?.parse().map_err(|e| format!("{LEFT}: {e}"))?;
    Ok(BootEnv { default, trial, trial_left })
}

/// `IMAGE_VERSION` of an os-release file.
fn image_version(os_release: &Path) -> Result<Version, String> {
    let text = std::fs::read_to_string(os_release).map_err(|e| format!("the image has no os-release: {e}"))?;
    let value = text.lines().find_map(|l| l.strip_prefix("IMAGE_VERSION="));
    let value = value.ok_or("the image's os-release has no IMAGE_VERSION")?.trim_matches('"');
    value.parse().map_err(|e| format!("IMAGE_VERSION={value}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{SmallImage, small_image};

    fn machine(folder: &Path) -> Machine {
        let terminal = "branch-1/till-1".parse().unwrap();
        let machine = Machine { terminal, folder: folder.join("machine"), run: folder.join("run") };
        let image = small_image(folder, &SmallImage::new("1.0.0")).unwrap();
        machine.provision(&image, 8 << 20).unwrap();
        machine
    }

    #[test]
    fn a_new_machine_boots_slot_a() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        let boots = machine.boot().unwrap();
        assert_eq!(boots, [Boot { slot: Slot::A, trial: false, version: Ok("1.0.0".parse().unwrap()) }]);
        let line = std::fs::read_to_string(machine.command_line()).unwrap();
        assert!(line.contains(" root=PARTLABEL=slot-a "), "{line}");
        assert!(machine.root().join("etc/terminal-agent/health.d/10-small").exists());
    }

    #[test]
    fn a_trial_is_decremented_before_it_boots() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        std::fs::copy(small_image(folder.path(), &SmallImage::new("2.0.0")).unwrap(), machine.slot(Slot::B)).unwrap();
        machine.set_env(&[(TRIAL, "B"), (LEFT, "2")]).unwrap();
        let first = std::fs::read_to_string(machine.boot_id()).ok();
        for left in [1, 0] {
            let boots = machine.boot().unwrap();
            assert_eq!(boots.last().unwrap().version, Ok("2.0.0".parse().unwrap()));
            assert_eq!(
                machine.read_env().unwrap(),
                BootEnv { default: Slot::A, trial: Some(Slot::B), trial_left: left }
            );
        }
        assert_eq!(machine.boot().unwrap().last().unwrap().slot, Slot::A, "its attempts are used up");
        assert_ne!(std::fs::read_to_string(machine.boot_id()).ok(), first);
    }

    #[test]
    fn an_unreadable_trial_uses_up_its_attempts_and_falls_back() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        machine.set_env(&[(TRIAL, "B"), (LEFT, "3")]).unwrap();
        let boots = machine.boot().unwrap();
        assert_eq!(boots.len(), 4);
        assert!(boots[..3].iter().all(|b| b.slot == Slot::B && b.trial && b.version.is_err()), "{boots:?}");
        assert_eq!(boots[3].slot, Slot::A);
        assert_eq!(machine.read_env().unwrap().trial_left, 0);
    }

    #[test]
    fn an_unreadable_default_falls_back_to_the_other_slot() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        std::fs::copy(machine.slot(Slot::A), machine.slot(Slot::B)).unwrap();
        flip_byte(&machine.slot(Slot::A), 0).unwrap();
        let boots = machine.boot().unwrap();
        assert_eq!(
            boots.iter().map(|b| (b.slot, b.version.is_ok())).collect::<Vec<_>>(),
            [(Slot::A, false), (Slot::B, true)]
        );
    }
}
