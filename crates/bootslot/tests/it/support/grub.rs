//! Real GRUB as the judge: grub-emu runs scripts/grub.cfg as it is, once for each environment block, with the block in
//! a file of a FAT disk as on a terminal. grub-emu starts no kernels, so the header gives it a `linux` and an `initrd`
//! that look whether the file is there, and commands of its own in place of `boot` and `reboot`.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use fleet_types::Slot;

use super::{put, run, script, script_before, text, tool};

/// One boot that GRUB is asked about.
#[derive(Debug, Clone)]
pub struct Case {
    /// The environment block; `None`: the file is missing.
    pub block: Option<Vec<u8>>,
    /// The second block; `None`: the file is missing.
    pub copy: Option<Vec<u8>>,
    /// Slots whose kernel is not there.
    pub broken: Vec<Slot>,
    /// Whether the initramfs is missing instead.
    pub no_initrd: bool,
    /// Whether the header names a file of sums.
    pub sums: bool,
    /// Slots whose initramfs is not what their sums say.
    pub flipped: Vec<Slot>,
    /// Whether the block lies where GRUB can write.
    pub savable: bool,
    /// The header's safe slot.
    pub safe: Slot,
    /// Whether the script is the one from before it knew marks.
    pub before: bool,
}

impl Case {
    pub fn of(block: impl Into<Vec<u8>>) -> Self {
        Self {
            block: Some(block.into()),
            copy: None,
            broken: Vec::new(),
            no_initrd: false,
            sums: false,
            flipped: Vec::new(),
            savable: true,
            safe: Slot::A,
            before: false,
        }
    }
}

/// What GRUB did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The kernels that it loaded or tried to load, in order; `true`: as a counted trial.
    pub loads: Vec<(Slot, bool)>,
    /// What it started.
    pub started: Option<(Slot, bool)>,
    /// Whether it gave up and restarted.
    pub restarted: bool,
    /// The block afterwards.
    pub after: Option<Vec<u8>>,
    /// Everything on the console.
    pub console: String,
}

const PER_FOLDER: usize = 64;
/// Slots, and slots with a flipped bit.
const FOLDERS: [&str; 4] = ["a", "b", "fa", "fb"];

/// Asks one grub-emu about all cases, in order.
pub fn judge(cases: &[Case]) -> Vec<Verdict> {
    let dir = tempfile::tempdir().unwrap();
    let (disk, tree) = (dir.path().join("esp.img"), dir.path().join("tree"));
    lay_out(cases, &tree);
    let megabytes = 8 + cases.len() / 500;
    run("truncate", &["-s", &format!("{megabytes}M"), text(&disk)]);
    run("/sbin/mkfs.vfat", &["-F", "16", "-s", "1", text(&disk)]);
    copy_in(&disk, &tree);
    put(&dir.path().join("device.map"), format!("(hd0) {}\n", text(&disk)).as_bytes());
    put(&dir.path().join("grub.cfg"), header(cases, &tree).as_bytes());
    let map = dir.path().join("device.map");
    let out = tool("grub-emu", &["-m", text(&map), "-d", text(dir.path())], b"");
    let console = plain(&String::from_utf8_lossy(&out.stdout));
    let back = dir.path().join("back");
    fs::create_dir(&back).unwrap();
    run("mcopy", &["-s", "-n", "-i", text(&disk), "::f", text(&back)]);
    let mut said = by_case(&console);
    let verdicts = cases.iter().enumerate().map(|(at, case)| {
        let console = said.remove(&at).unwrap_or_else(|| panic!("GRUB never finished case {at}, {case:?}: {console}"));
        let file = if case.savable { back.join(name(at)) } else { tree.join(name(at)) };
        verdict(console, fs::read(file).ok())
    });
    verdicts.collect()
}

fn name(at: usize) -> String {
    // With a letter at the end: the second block of case 1 is not the block of case 12.
    format!("f/d{}/e{at}x", at / PER_FOLDER)
}

fn lay_out(cases: &[Case], tree: &Path) {
    for (at, case) in cases.iter().enumerate() {
        let file = tree.join(name(at));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        if let Some(block) = &case.block {
            put(&file, block);
        }
        if let Some(copy) = &case.copy {
            put(&tree.join(name(at) + "2"), copy);
        }
    }
    let sum = |content| super::feed("sha256sum", &[], content).split_whitespace().next().unwrap().to_owned();
    let sums = format!("{}  k\n{}  i\n", sum("kernel"), sum("initrd"));
    for folder in FOLDERS {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).unwrap();
        put(&folder.join("k"), b"kernel");
        put(&folder.join("i"), b"initrd");
        put(&folder.join("s"), sums.as_bytes());
        if folder.ends_with("fa") || folder.ends_with("fb") {
            put(&folder.join("i"), b"initre");
        }
    }
}

fn copy_in(disk: &Path, tree: &Path) {
    let folders: Vec<String> = ["f"].iter().chain(&FOLDERS).map(|name| text(&tree.join(name)).to_owned()).collect();
    let mut arguments = vec!["-s", "-i", text(disk)];
    arguments.extend(folders.iter().map(String::as_str));
    arguments.push("::");
    run("mcopy", &arguments);
}

/// The header that a terminal's standalone image has too, but for the first five lines.
fn header(cases: &[Case], tree: &Path) -> String {
    let mut text = String::from(concat!(
        "function linux { echo \"<load $2 $4>\"; [ -s \"$1\" ]; }\n",
        "function initrd { [ -s \"$1\" ]; }\n",
        "function started { echo \"<started>\"; }\n",
        "function restarted { echo \"<restarted>\"; }\n",
        "set filial_boot=started\nset filial_restart=restarted\nset filial_wait=0\n",
        "set filial_root_a=A\nset filial_root_b=B\nset filial_kernel=/k\n",
        "set filial_args=ro\nset filial_trial_args=trial\n",
    ));
    let tree = super::text(tree);
    for (at, case) in cases.iter().enumerate() {
        let place = if case.savable { "(hd0)".to_owned() } else { format!("(host){tree}") };
        let slot = |slot: Slot, sound: &'static str, flipped: &'static str| match slot {
            _ if case.broken.contains(&slot) => "/none",
            _ if case.flipped.contains(&slot) => flipped,
            _ => sound,
        };
        let initrd = if case.no_initrd { "none" } else { "i" };
        writeln!(
            text,
            "set filial_env=\"{place}/{}\"\nset filial_slot_a=(hd0){}\nset filial_slot_b=(hd0){}\nset filial_initrd=/{initrd}\n\
             set filial_safe={}\nset filial_sums={}\necho \"<begin {at}>\"\nsource \"(host){}\"\necho \"<end {at}>\"",
            name(at),
            slot(Slot::A, "/a", "/fa"),
            slot(Slot::B, "/b", "/fb"),
            case.safe,
            if case.sums { "/s" } else { "" },
            super::text(&if case.before { script_before("grub.cfg") } else { script("grub.cfg") }),
        )
        .unwrap();
    }
    text + "exit\n"
}

/// The console without the terminal's control sequences. GRUB breaks lines at the 80th column; marks are short.
fn plain(console: &str) -> String {
    let mut out = String::new();
    let mut rest = console.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let _ = rest.by_ref().find(char::is_ascii_alphabetic);
            }
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

fn by_case(console: &str) -> HashMap<usize, String> {
    let mut all = HashMap::new();
    for part in console.split("<begin ").skip(1) {
        let (at, rest) = part.split_once('>').unwrap();
        if let Some((said, _)) = rest.split_once(&format!("<end {at}>")) {
            all.insert(at.parse().unwrap(), said.to_owned());
        }
    }
    all
}

fn verdict(console: String, after: Option<Vec<u8>>) -> Verdict {
    let mut loads = Vec::new();
    let (mut started, mut restarted) = (None, false);
    for mark in console.split('<').skip(1).filter_map(|p| p.split_once('>')).map(|(mark, _)| mark) {
        match mark.split_whitespace().collect::<Vec<_>>()[..] {
            ["load", root, ref more @ ..] => {
                loads.push((root.strip_prefix("root=").unwrap().parse().unwrap(), more == ["trial"]));
            }
            ["started"] => {
                assert_eq!(started.replace(*loads.last().unwrap()), None, "two kernels started: {console}");
            }
            ["restarted"] => restarted = true,
            _ => panic!("GRUB said <{mark}>: {console}"),
        }
    }
    Verdict { loads, started, restarted, after, console }
}
