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
