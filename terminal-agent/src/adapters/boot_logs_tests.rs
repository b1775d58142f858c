use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const ONE: &str = "0b9c1f6e-3a52-4d6e-9a53-2f4f6f1c7a10";
const TWO: &str = "7d6f0c55-41a8-4f0e-8f6a-90a1b2c3d4e5";

fn file(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// journalctl(1) of these few calls: it fails at any other argument, as the real one does, and knows one boot.
fn stand_in(dir: &Path, lines: &str) -> MachineBootLogs {
    let bare = TWO.replace('-', "");
    let script = format!(
        r#"#!/bin/sh
set -eu
case "$*" in
"--list-boots --no-pager --quiet")
    echo "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY"
    echo " -1 {bare} Thu 1970-01-01 00:00:01 UTC—Thu 1970-01-01 00:00:09 UTC"
    echo "  0 {now} Fri 2031-05-02 10:00:00 UTC—Fri 2031-05-02 10:00:09 UTC" ;;
"--boot={bare} --lines=60 --output=short-monotonic --no-pager --quiet")
    {lines} ;;
*) echo "journalctl: unrecognized option: $*" >&2; exit 1 ;;
esac
"#,
        now = ONE.replace('-', ""),
    );
    let program = dir.join("journalctl");
    file(&program, script.as_bytes());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    MachineBootLogs { journalctl: program.into(), ..MachineBootLogs::new(dir.join("boots")) }
}

#[test]
fn records_are_read_and_what_is_none_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let logs = MachineBootLogs::new(dir.path().join("boots"));
    assert_eq!(logs.early().unwrap(), None, "a machine that keeps none");
    std::fs::create_dir(dir.path().join("boots")).unwrap();
    assert_eq!(logs.early().unwrap(), Some(Vec::new()));
    let boots = dir.path().join("boots");
    let good = format!("filial-boot 1 slot=B boot_id={ONE} trial=1 seq=12\n[    0.000000] Linux\n");
    file(&boots.join(format!("{ONE}.log")), good.as_bytes());
    let huge = format!("filial-boot 1 slot=A boot_id={TWO} trial=0 seq=11\n{}", "x".repeat(1_000_000));
    file(&boots.join(format!("{TWO}.log")), huge.as_bytes());
    file(&boots.join("torn.log"), b"filial-boot 1 slot=");
    file(&boots.join(format!("{ONE}.log.new")), good.as_bytes());
    std::os::unix::fs::symlink("/nowhere", boots.join("gone.log")).unwrap();
    let mut records = logs.early().unwrap().unwrap();
    records.sort_by_key(|r| r.seq);
    let [two, one] = &records[..] else { panic!("{records:?}") };
    assert_eq!((one.boot_id.as_str(), one.seq, one.trial), (ONE, 12, true));
    assert_eq!(one.log, b"[    0.000000] Linux\n");
    assert!(two.log.len() <= MAX_RECORD as usize, "bounded whatever lies there");
    file(&dir.path().join("no-folder"), b"");
    assert!(MachineBootLogs::new(dir.path().join("no-folder")).early().is_err());
}

#[tokio::test]
async fn journalctl_is_asked_for_boots_and_for_the_end_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let logs = stand_in(dir.path(), "echo '[    1.2] till-1 systemd[1]: x.service: Failed'");
    assert_eq!(logs.journaled().await.unwrap(), [TWO, ONE].map(|id| id.replace('-', "")));
    assert_eq!(logs.tail(TWO).await.unwrap(), b"[    1.2] till-1 systemd[1]: x.service: Failed\n");
    let unknown = logs.tail(ONE).await.unwrap_err().to_string();
    assert!(unknown.contains("journalctl cannot show the boot that failed: journalctl: unrecognized"), "{unknown}");
    assert!(logs.tail("--root=/elsewhere").await.is_err(), "no argument of somebody else's");
    let flood = stand_in(dir.path(), "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last");
    let tail = flood.tail(TWO).await.unwrap();
    assert!(tail.len() <= 4 * MAX_TAIL && tail.ends_with(b"last\n"), "{} bytes", tail.len());
    let none = MachineBootLogs { journalctl: dir.path().join("none").into(), ..flood };
    assert!(none.journaled().await.unwrap_err().to_string().contains("cannot run journalctl to list the boots"));
}

/// A journal made on the spot: systemd's own journald, in a mount namespace of its own, takes two lines and ends. It reads
/// nothing of the kernel's log and asks for no audit, and what it writes is in the folder `$1/journal`.
const JOURNALD: &str = r#"set -eu
mkdir -p "$1/log/journal"
printf '[Journal]\nStorage=persistent\nReadKMsg=no\nAudit=no\nSystemMaxUse=16M\n' > "$1/journald.conf"
mount --bind "$1/journald.conf" /etc/systemd/journald.conf
mount --bind "$1/log" /var/log
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald & journald=$!
trap 'kill $journald; wait $journald' EXIT
until [ -S /run/systemd/journal/stdout ]; do sleep 0.1; done
printf 'mounting data\nlast words\n' | systemd-cat -t till
kill -USR1 $journald
until journalctl -D /var/log/journal --quiet --no-pager 2>&1 | grep -q 'last words'; do sleep 0.1; done
"#;

#[tokio::test]
async fn the_real_journalctl_answers_so() {
    let needed = ["/lib/systemd/systemd-journald", "/etc/systemd/journald.conf", "/etc/machine-id"];
    if !rustix::process::geteuid().is_root() || !needed.iter().all(|path| Path::new(path).exists()) {
        eprintln!("left out: a journal is made by root, with systemd-journald of package systemd");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    let arguments =
        ["--mount", "--propagation", "private", "timeout", "60", "bash", "-c", JOURNALD, "journald", &folder];
    let arguments = arguments.map(str::to_owned);
    let made = process::run(OsStr::new("unshare"), &arguments, Duration::from_secs(90), 4096).await.unwrap();
    assert!(made.status().is_some_and(|s| s.success()), "{}", one_line(&made.errors));

    let logs = MachineBootLogs {
        directory: Some(dir.path().join("log/journal")),
        ..MachineBootLogs::new(dir.path().join("boots"))
    };
    let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(logs.journaled().await.unwrap(), [now.trim().replace('-', "")]);
    let tail = String::from_utf8(logs.tail(now.trim()).await.unwrap()).unwrap();
    let last: Vec<_> = tail.lines().filter(|line| line.contains("till[")).collect();
    let [first, second] = &last[..] else { panic!("{tail}") };
    assert!(
        first.ends_with("]: mounting data") && second.ends_with("]: last words") && second.starts_with('['),
        "{tail}"
    );
    let none = logs.tail(TWO).await.unwrap_err().to_string();
    assert!(none.contains("No such boot ID in journal"), "{none}");
}
