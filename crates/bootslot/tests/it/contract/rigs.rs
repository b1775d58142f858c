//! Each backend with its store in a folder, and other hands on that store.

use std::fs;
use std::path::{Path, PathBuf};

use bootslot::{BootSlots, BootState, CustomProgram, GrubEnv, Trial, UBootEnv};
use tempfile::TempDir;

use crate::support::{put, run, text, uboot};

pub trait Rig {
    fn slots(&self) -> &dyn BootSlots;
    /// The whole store.
    fn bytes(&self) -> Vec<u8>;
    /// The value of a variable, as another tool reads it.
    fn foreign(&self, name: &str) -> Option<String>;
    /// Sets a variable by another tool.
    fn put_foreign(&self, name: &str, value: &str);
    /// Sets our three by another tool.
    fn put(&self, default: &str, trial: &str, left: &str);
    /// Damages the store.
    fn ruin(&self);
    /// The names of our three.
    fn names(&self) -> [&'static str; 3] {
        ["filial_default", "filial_trial", "filial_trial_left"]
    }
    /// Whether the store's own program says what a state is.
    fn judges_itself(&self) -> bool {
        false
    }

    /// The state, as another tool reads it.
    fn seen(&self) -> Option<BootState> {
        let [default, trial, left] = self.names().map(|name| self.foreign(name).unwrap_or_default());
        let left = left.parse().ok()?;
        let trial = (!trial.is_empty()).then(|| Trial { slot: trial.parse().unwrap(), left });
        Some(BootState { default: default.parse().ok()?, trial })
    }

    /// What the bootloader does to the state, by another tool.
    fn boot(&self) {
        let (_, after) = self.seen().unwrap().boot();
        let (trial, left) = after.trial.map_or((String::new(), 0), |t| (t.slot.to_string(), t.left));
        self.put(after.default.as_str(), &trial, &left.to_string());
    }
}

pub struct Grub {
    _dir: TempDir,
    env: GrubEnv,
}

/// GRUB's block, with the real grub-editenv.
pub fn grub() -> Grub {
    let dir = tempfile::tempdir().unwrap();
    let env = GrubEnv::new(dir.path().join("grubenv"));
    run("grub-editenv", &[text(&env.path), "create"]);
    Grub { _dir: dir, env }
}

impl Rig for Grub {
    fn slots(&self) -> &dyn BootSlots {
        &self.env
    }
    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.env.path).unwrap()
    }
    fn foreign(&self, name: &str) -> Option<String> {
        let list = run("grub-editenv", &[text(&self.env.path), "list"]);
        list.lines().find_map(|l| l.strip_prefix(&format!("{name}=")).map(str::to_owned))
    }
    fn put_foreign(&self, name: &str, value: &str) {
        run("grub-editenv", &[text(&self.env.path), "set", &format!("{name}={value}")]);
    }
    fn put(&self, default: &str, trial: &str, left: &str) {
        for (name, value) in self.names().iter().zip([default, trial, left]) {
            self.put_foreign(name, value);
        }
    }
    fn ruin(&self) {
        put(&self.env.path, &self.bytes()[..700]);
    }
}

/// U-Boot's environment; the store's file is the first that the configuration names.
pub struct UBoot {
    pub dir: TempDir,
    pub env: UBootEnv,
    strict: bool,
}

/// With the real tools.
pub fn uboot() -> UBoot {
    let dir = tempfile::tempdir().unwrap();
    let env = uboot::fresh(dir.path());
    UBoot { dir, env, strict: false }
}

/// With stand-ins that fail when they are told to.
pub fn uboot_strict() -> UBoot {
    let dir = tempfile::tempdir().unwrap();
    let env = UBootEnv { tools: dir.path().join("bin"), ..uboot::broken(dir.path()) };
    fs::create_dir(&env.tools).unwrap();
    for name in ["fw_printenv", "fw_setenv"] {
        std::os::unix::fs::symlink(program("fw-tool"), env.tools.join(name)).unwrap();
    }
    put(&uboot::store(dir.path()), b"crc=good\nbootcmd=run distro_bootcmd\n");
    UBoot { dir, env, strict: true }
}

pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin").join(name)
}

impl Rig for UBoot {
    fn slots(&self) -> &dyn BootSlots {
        &self.env
    }
    fn bytes(&self) -> Vec<u8> {
        uboot::bytes(self.dir.path())
    }
    fn foreign(&self, name: &str) -> Option<String> {
        let list = match self.strict {
            true => String::from_utf8(self.bytes()).unwrap(),
            false => {
                let all = uboot::variables(&self.env.config).unwrap_or_default();
                all.into_iter().map(|(n, v)| format!("{n}={v}\n")).collect()
            }
        };
        list.lines().find_map(|l| l.strip_prefix(&format!("{name}=")).map(str::to_owned))
    }
    fn put_foreign(&self, name: &str, value: &str) {
        if !self.strict {
            return uboot::set(&self.env.config, &format!("{name}={value}\n"));
        }
        let mut lines = String::from_utf8(self.bytes()).unwrap();
        lines = lines.lines().filter(|l| !l.starts_with(&format!("{name}="))).map(|l| format!("{l}\n")).collect();
        put(&uboot::store(self.dir.path()), format!("{lines}{name}={value}\n").as_bytes());
    }
    fn put(&self, default: &str, trial: &str, left: &str) {
        for (name, value) in self.names().iter().zip([default, trial, left]) {
            self.put_foreign(name, value);
        }
    }
    fn ruin(&self) {
        let mut bytes = self.bytes();
        let length = bytes.len();
        bytes[4..].iter_mut().take(length).for_each(|b| *b ^= 0x55);
        put(&uboot::store(self.dir.path()), &bytes);
    }
}

/// A program of the machine's own, and the folder that it keeps its file in.
pub struct Custom {
    pub dir: TempDir,
    pub env: CustomProgram,
}

pub fn custom() -> Custom {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("state"), b"");
    let env = CustomProgram::new(program("boot-state"), vec![text(dir.path()).to_owned()]);
    Custom { dir, env }
}

/// One whose bootloader looks at marks.
pub fn custom_with_marks() -> Custom {
    let custom = custom();
    Custom { env: CustomProgram { marks: true, ..custom.env }, ..custom }
}

impl Rig for Custom {
    fn slots(&self) -> &dyn BootSlots {
        &self.env
    }
    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("state")).unwrap()
    }
    fn foreign(&self, name: &str) -> Option<String> {
        let list = String::from_utf8(self.bytes()).unwrap();
        list.lines().find_map(|l| l.strip_prefix(&format!("{name}=")).map(str::to_owned))
    }
    fn put_foreign(&self, name: &str, value: &str) {
        let lines = String::from_utf8(self.bytes()).unwrap();
        put(&self.dir.path().join("state"), format!("{lines}{name}={value}\n").as_bytes());
    }
    fn put(&self, default: &str, trial: &str, left: &str) {
        let lines = format!("default={default}\ntrial={trial}\ntrial_left={left}\n");
        put(&self.dir.path().join("state"), lines.as_bytes());
    }
    fn ruin(&self) {
        put(&self.dir.path().join("state"), b"\0\0\0");
    }
    fn names(&self) -> [&'static str; 3] {
        ["default", "trial", "trial_left"]
    }
    fn judges_itself(&self) -> bool {
        true
    }
}
