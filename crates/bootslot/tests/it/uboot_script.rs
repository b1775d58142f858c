//! scripts/uboot.cmd as real U-Boot runs it (package u-boot-qemu), in QEMU without KVM, found on a disk as on a board.
//!
//! Debian's U-Boot for this machine has no `saveenv` (its environment lies nowhere), so the header does its work: it
//! imports the environment from a file of the FAT partition, and `filial_save` exports it there with its checksum. The
//! decision, the counting, the loading and the going on are the script's own; that saveenv keeps two copies is
//! U-Boot's. Nor is a kernel started: `filial_boot` says what would be.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use bootslot::BootState;
use fleet_types::Slot;
use fleet_types::Slot::{A, B};

use crate::support::{feed, put, run, script, script_before, states, text, tool, uboot};

const IMAGE: &str = "/usr/lib/u-boot/qemu-x86/u-boot.rom";

/// Where the disk's only partition begins.
const START: usize = 1024 * 1024;

/// One boot: the environment's lines, and what is wrong with the machine.
#[derive(Clone)]
struct Case {
    lines: String,
    broken: Vec<Slot>,
    savable: bool,
    safe: Slot,
    /// Whether the script is the one from before it knew marks.
    before: bool,
}

impl Case {
    fn of(lines: impl Into<String>) -> Self {
        Self { lines: lines.into(), broken: Vec::new(), savable: true, safe: A, before: false }
    }
}

struct Verdict {
    /// What was started, and whether as a counted trial.
    started: Vec<(Slot, bool)>,
    restarted: bool,
    /// Every variable that was saved, in order of names.
    after: Vec<String>,
    console: String,
}

/// Boots U-Boot once and asks it about all cases, in order.
fn judge(cases: &[Case]) -> Vec<Verdict> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    make_disk(&disk, dir.path(), cases);
    let drive = format!("if=virtio,format=raw,file={}", text(&disk));
    let machine = ["-accel", "tcg", "-m", "256", "-nographic", "-net", "none", "-no-reboot", "-bios", IMAGE];
    let out = tool("qemu-system-x86_64", &[&machine[..], &["-drive", &drive]].concat(), b"");
    let console = String::from_utf8_lossy(&out.stdout).replace('\r', "");
    let verdicts = (0..cases.len()).map(|at| {
        let said = console
            .split_once(&format!("@begin {at}\n"))
            .and_then(|(_, rest)| rest.split_once(&format!("@end {at}\n")));
        let Some((said, _)) = said else { panic!("U-Boot never finished case {at} ({}): {console}", out.status) };
        let file = dir.path().join(format!("after{at}"));
        run("mcopy", &["-n", "-i", &format!("{}@@{START}", text(&disk)), &format!("::e{at}"), text(&file)]);
        verdict(said, &file)
    });
    verdicts.collect()
}

fn verdict(console: &str, file: &Path) -> Verdict {
    let started = console.lines().filter_map(|l| l.strip_prefix("@start root=")).map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        assert!(words.ends_with(&["initrd", "7"]), "{line}");
        (words[0].parse().unwrap(), words.contains(&"trial"))
    });
    let started = started.collect();
    let restarted = console.contains("@restart");
    let mut after: Vec<String> = variables(file).iter().map(|(n, v)| format!("{n}={v}")).collect();
    after.sort();
    Verdict { started, restarted, after, console: console.to_owned() }
}

/// The tools' view of a file with one copy, as `env export -c` writes it.
fn config(file: &Path) -> std::path::PathBuf {
    let config = file.with_extension("config");
    put(&config, format!("{} 0 {SIZE:#x}\n", text(file)).as_bytes());
    config
}

fn variables(file: &Path) -> Vec<(String, String)> {
    uboot::variables(&config(file)).expect("the environment's checksum is wrong")
}

/// Bytes of the environment's file.
const SIZE: usize = 0x400;

fn make_disk(disk: &Path, dir: &Path, cases: &[Case]) {
    let mut table = vec![0; START];
    // One FAT partition, marked for booting: 1 MiB to 16 MiB.
    table[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x0c, 0, 0, 0, 0, 8, 0, 0, 0, 0x78, 0, 0]);
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    put(disk, &table);
    run("truncate", &["-s", "16M", text(disk)]);
    let partition = format!("{}@@{START}", text(disk));
    run("/sbin/mkfs.vfat", &["--offset", "2048", text(disk), "15360"]);
    let read = |path| fs::read_to_string(path).unwrap();
    for (from, to) in [
        (header(cases), "boot.scr"),
        (read(script("uboot.cmd")), "filial.scr"),
        (read(script_before("uboot.cmd")), "before.scr"),
    ] {
        let (source, image) = (dir.join("source.cmd"), dir.join(to));
        put(&source, from.as_bytes());
        run("mkimage", &["-A", "x86", "-T", "script", "-C", "none", "-d", text(&source), text(&image)]);
        run("mcopy", &["-i", &partition, text(&image), "::"]);
    }
    for (at, case) in cases.iter().enumerate() {
        let file = dir.join(format!("e{at}"));
        put(&file, &[0; SIZE]);
        let lines = format!("foreign=kept\n{}", case.lines);
        feed("fw_setenv", &["-c", text(&config(&file)), "-f", "/dev/null", "-s", "-"], &lines);
        run("mcopy", &["-i", &partition, text(&file), "::"]);
    }
    for (name, bytes) in [("k", b"kernel!"), ("i", b"initrd!")] {
        put(&dir.join(name), bytes);
        run("mcopy", &["-i", &partition, text(&dir.join(name)), "::"]);
    }
}

/// U-Boot's own boot command finds this as boot.scr.
fn header(cases: &[Case]) -> String {
    let names = "filial_default filial_trial filial_trial_left foreign";
    let mut text = String::from(concat!(
        "filial_root_a=A\nfilial_root_b=B\nfilial_kernel=k\nfilial_initrd=i\nfilial_args=ro\nfilial_trial_args=trial\n",
        "filial_wait=0\nload virtio 0:1 0x2000000 filial.scr\nload virtio 0:1 0x2800000 before.scr\n",
        "setenv filial_boot 'echo \"@start ${bootargs} initrd ${filial_initrd_size}\"'\n",
        "setenv filial_restart 'echo @restart'\n",
    ));
    for (at, case) in cases.iter().enumerate() {
        let slot = |slot: Slot| if case.broken.contains(&slot) { "virtio 7:1" } else { "virtio 0:1" };
        let save = match case.savable {
            true => {
                format!("env export -c -s {SIZE:#x} 0x3000000 {names}; fatwrite virtio 0:1 0x3000000 e{at} {SIZE:#x}")
            }
            false => "false".to_owned(),
        };
        let forget: String = names.split(' ').map(|name| format!("setenv {name}\n")).collect();
        writeln!(
            text,
            "echo @begin {at}\n{forget}load virtio 0:1 0x3000000 e{at}\nenv import -c 0x3000000 {SIZE:#x} {names}\n\
             setenv filial_save '{save}'\nfilial_slot_a=\"{}\"\nfilial_slot_b=\"{}\"\nfilial_safe={}\n\
             source {}\necho @end {at}",
            slot(A),
            slot(B),
            case.safe,
            if case.before { "0x2800000" } else { "0x2000000" },
        )
        .unwrap();
    }
    text + "reset\n"
}

fn trial(left: u8) -> BootState {
    BootState::settled(A).start_trial(B, left).unwrap()
}

/// What the environment holds with `state` in it.
fn holding(state: &BootState) -> Vec<String> {
    let mut lines: Vec<String> = uboot::lines(state).lines().filter(|l| !l.ends_with('=')).map(str::to_owned).collect();
    lines.push("foreign=kept".into());
    lines.sort();
    lines
}

#[test]
fn every_state_boots_as_its_value_says_and_leaves_that_value() {
    let all = states();
    let cases: Vec<Case> = all.iter().map(|state| Case::of(uboot::lines(state))).collect();
    for (state, verdict) in all.iter().zip(judge(&cases)) {
        let (slot, after) = state.boot();
        let counted = after != *state;
        assert_eq!(verdict.started, [(slot, counted)], "{state:?}: {}", verdict.console);
        assert_eq!(verdict.after, holding(&after), "{state:?}");
        assert_eq!(verdict.console.contains("bytes written"), counted, "a confirmed boot writes nothing: {state:?}");
        if let (true, Some(trial)) = (counted, after.trial) {
            let attempts = if trial.left == 1 { "attempt" } else { "attempts" };
            let line = format!("filial: trying slot {slot}, {} {attempts} left", trial.left);
            assert!(verdict.console.lines().any(|l| l == line), "{line}: {}", verdict.console);
        }
    }
}

#[test]
fn faults_lead_to_the_next_slot_and_never_to_an_uncounted_trial() {
    let broken = |state: BootState, broken: &[Slot]| Case { broken: broken.to_vec(), ..Case::of(uboot::lines(&state)) };
    let safe_b = |lines: &str| Case { safe: B, ..Case::of(lines) };
    let uncounted = Case { savable: false, ..Case::of(uboot::lines(&trial(3))) };
    let (a, b) = ((A, false), (B, false));
    let marked = |digit: u8, broken: &[Slot]| Case {
        broken: broken.to_vec(),
        ..Case::of(format!("filial_default=A\nfilial_trial_left={digit}\n"))
    };
    let cases: [(Case, &[(Slot, bool)]); 28] = [
        (broken(trial(2), &[B]), &[a]),
        (broken(BootState::settled(A), &[A]), &[b]),
        (broken(BootState::settled(B), &[B]), &[a]),
        (broken(trial(1).boot().1, &[A]), &[b]),
        (broken(trial(2), &[A, B]), &[]),
        (broken(BootState::settled(A), &[A, B]), &[]),
        (uncounted, &[a]),
        (Case::of(""), &[a]),
        (safe_b(""), &[b]),
        (safe_b("filial_default=C\nfilial_trial=A\nfilial_trial_left=3\n"), &[b]),
        (safe_b("filial_default=A B\nfilial_trial=A\nfilial_trial_left=3\n"), &[b]),
        (Case::of("filial_default=B\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=A\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=B\nfilial_trial_left=3\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=none\nfilial_trial_left=3\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=A\nfilial_trial_left=03\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=A\nfilial_trial_left=10\n"), &[b]),
        (Case::of("filial_default=B\nfilial_trial=A\nfilial_trial_left=none\n"), &[b]),
        // Marks of verified slots: only these are fallen back to, and the default starts whatever its mark.
        (marked(4, &[]), &[a]),
        (marked(4, &[A]), &[]),
        (marked(5, &[A]), &[]),
        (marked(6, &[A]), &[b]),
        (marked(7, &[A]), &[b]),
        (marked(0, &[A]), &[b]),
        (marked(8, &[A]), &[b]),
        // A script from before marks.
        (Case { before: true, ..marked(4, &[]) }, &[a]),
        (Case { before: true, ..marked(5, &[A]) }, &[b]),
        (Case { before: true, ..marked(7, &[A]) }, &[b]),
    ];
    let asked: Vec<Case> = cases.iter().map(|(case, _)| case.clone()).collect();
    for ((case, expected), verdict) in cases.iter().zip(judge(&asked)) {
        assert_eq!(verdict.started, *expected, "{:?}: {}", case.lines, verdict.console);
        assert_eq!(verdict.restarted, expected.is_empty(), "{:?}: {}", case.lines, verdict.console);
    }
}
