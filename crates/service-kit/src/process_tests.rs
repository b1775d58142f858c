use super::*;

const LONG: Duration = Duration::from_secs(20);

fn bounds(limit: Duration, keep: Keep) -> Bounds {
    Bounds { limit, output: keep, errors: keep, leftovers: Leftovers::Killed }
}

#[expect(clippy::disallowed_methods, reason = "the programs under test")]
fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

async fn said(script: &str, input: &[u8], keep: Keep) -> (End, String, String) {
    let ended = run(sh(script), input, bounds(LONG, keep)).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (ended.end, text(&ended.output), text(&ended.errors))
}

fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn until_gone(pid: &str) {
    let gone = async {
        while runs(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("it still runs");
}

#[tokio::test]
async fn input_both_outputs_and_the_exit_status_are_passed_on() {
    let (end, output, errors) = said("cat; echo bad >&2; exit 3", b"one\ntwo\n", Keep::AtMost(100)).await;
    assert_eq!((output.as_str(), errors.as_str()), ("one\ntwo\n", "bad\n"));
    assert!(matches!(end, End::Exited(status) if status.code() == Some(3)), "{end:?}");
    // A program that does not read its input is judged by how it ends.
    let (end, ..) = said("exit 0", &[b'x'; 1 << 20], Keep::First(1)).await;
    assert!(matches!(end, End::Exited(status) if status.success()), "{end:?}");
    assert_eq!(said("cat", b"", Keep::First(9)).await.1, "");
    let mut misplaced = sh("exit 0");
    misplaced.current_dir("/no/such");
    let failed = run(misplaced, b"", bounds(LONG, Keep::First(1))).await.unwrap_err();
    assert!(matches!(failed, RunError::Start(_)), "{failed:?}");
}

#[tokio::test]
async fn the_first_or_last_bytes_are_kept_and_more_than_allowed_is_killed() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; printf last";
    let (end, output, _) = said(script, b"", Keep::First(3)).await;
    assert!(output == "xxx" && matches!(end, End::Exited(_)), "{end:?}");
    assert_eq!(said(script, b"", Keep::Last(6)).await.1, "xxlast");
    assert_eq!(said("printf 1234", b"", Keep::AtMost(4)).await.1, "1234");
    for endless in ["while :; do echo yes; done", "while :; do echo yes >&2; done"] {
        assert_eq!(said(endless, b"", Keep::AtMost(1000)).await.0, End::TooMuch, "{endless}");
    }
}

#[tokio::test]
async fn the_whole_group_ends_at_the_time_limit() {
    let bounds = bounds(Duration::from_millis(300), Keep::First(100));
    let ended = run(sh("sleep 1000 & echo $!; wait"), b"", bounds).await.unwrap();
    assert_eq!((ended.end, ended.status()), (End::TimedOut, None));
    until_gone(&String::from_utf8(ended.output).unwrap()).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed_or_goes_on() {
    let script = "sleep 1000 & echo $!";
    let (end, killed, _) = said(script, b"", Keep::First(100)).await;
    assert!(matches!(end, End::Exited(status) if status.success()), "{end:?}");
    until_gone(&killed).await;
    let bounds = Bounds { leftovers: Leftovers::GoOn, ..bounds(LONG, Keep::First(100)) };
    let ended = run(sh(script), b"", bounds).await.unwrap();
    let left = String::from_utf8(ended.output).unwrap();
    assert!(runs(&left), "it was killed");
    let pid = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn last_words_end_at_the_time_limit_and_do_not_make_the_program_time_out() {
    let bounds = Bounds { leftovers: Leftovers::GoOn, ..bounds(Duration::from_secs(3), Keep::First(100)) };
    let run = run_listening(sh("sleep 1000 & echo $!"), b"", bounds, 2 * LONG);
    let ended = tokio::time::timeout(LONG, run).await.expect("it listens beyond the limit").unwrap();
    let left = String::from_utf8(ended.output).unwrap();
    let lives = runs(&left);
    let pid = Pid::from_raw(left.trim().parse().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    assert!(matches!(ended.end, End::Exited(status) if status.success()), "{:?}", ended.end);
    assert!(lives, "it was killed");
}

#[tokio::test]
async fn dropping_the_future_kills_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("pid");
    let mut command = sh("sleep 1000 & echo $! > \"$NOTE.new\"; mv \"$NOTE.new\" \"$NOTE\"; wait");
    command.env("NOTE", &note);
    let noted = async {
        loop {
            if let Ok(pid) = std::fs::read_to_string(&note) {
                return pid;
            }
            tokio::task::yield_now().await;
        }
    };
    let pid = tokio::select! {
        ended = run(command, b"", bounds(LONG, Keep::First(1))) => panic!("it ended: {ended:?}"),
        pid = noted => pid,
    };
    until_gone(&pid).await;
}

#[test]
fn what_was_printed_fits_on_one_line() {
    assert_eq!(one_line(b" no\x07 paper\n\n in\ttray \xff"), "no paper in tray \u{fffd}");
}
