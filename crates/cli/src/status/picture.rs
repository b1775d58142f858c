//! Renders a status as lines of text; pure.

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use wire::v1::fleet::{Branch, Terminal};
use wire::v1::releases::Release;
use wire::v1::reports::Reason;
use wire::v1::status::Status;

use crate::commands::incidents::row as incident;
use crate::output::release::{BAR, display_name, progress};
use crate::output::units::{age, age_or_never, bar, or_dash, percent, size, size_of};
use crate::output::{plain, table};

/// Maximum releases shown.
const RELEASES: usize = 5;

/// Renders the whole screen. If it is wider than `width`, bars are left out first; then lines are cut.
pub(crate) fn picture(status: &Status, width: Option<usize>) -> String {
    let whole = render(status, true);
    match width {
        Some(width) if whole.lines().any(|l| l.chars().count() > width) => {
            render(status, false).lines().map(|l| l.chars().take(width).collect::<String>() + "\n").collect()
        }
        _ => whole,
    }
}

/// The releases to show: those under way or assigned first, then the published, each newest first.
fn foremost(status: &Status) -> Vec<&Release> {
    let assigned = |r: &Release| {
        let mut all = status.branches.iter().flat_map(|b| &b.assignments);
        all.any(|a| Some(&a.product) == r.product.as_ref() && Some(&a.version) == r.version.as_ref())
    };
    let rank = |r: &&Release| match r.state {
        ReleaseState::Rejected | ReleaseState::Withdrawn => 2,
        ReleaseState::Published if !assigned(r) => 1,
        _ => 0,
    };
    let mut releases: Vec<_> = status.releases.iter().collect();
    releases.sort_by_key(rank);
    releases.truncate(RELEASES);
    releases
}

/// Removes the bar of a cell, if it has one.
fn without_bar(cell: &mut String) {
    let Some((start, end)) = cell.find('[').and_then(|start| Some((start, start + cell[start..].find("] ")?))) else {
        return;
    };
    if cell[start + 1..end].chars().all(|c| matches!(c, '#' | '.')) {
        cell.replace_range(start..end + 2, "");
    }
}

fn render(status: &Status, bars: bool) -> String {
    let mut releases: Vec<_> = foremost(status).into_iter().map(release).collect();
    let mut branches: Vec<_> = status.branches.iter().flat_map(|b| branch(b, status.now)).collect();
    let mut terminals: Vec<_> = status.terminals.iter().map(|t| terminal(t, status.now)).collect();
    if !bars {
        releases.iter_mut().flatten().for_each(without_bar);
        branches.iter_mut().flatten().for_each(without_bar);
        terminals.iter_mut().flatten().for_each(without_bar);
    }
    let mut out = String::new();
    for alert in &status.alerts {
        let (text, code) = (alert.reason.sentence(), alert.reason.code.as_str());
        out.push_str(&format!("! {} {} ({})\n", plain(&text), plain(&alert.remedy), plain(code)));
    }
    section(&mut out, table(["RELEASE", "STATE", "PROGRESS"], &releases), releases.is_empty());
    section(
        &mut out,
        table(["BRANCH", "HEARD", "FREE", "ARTIFACT", "HELD", "CONFIRMED"], &branches),
        branches.is_empty(),
    );
    let heading = ["TERMINAL", "SLOT", "RUNS", "UPDATE", "STATE", "SEGMENTS", ""];
    section(&mut out, table(heading, &terminals), terminals.is_empty());
    let incidents: Vec<_> = status.incidents.iter().map(|i| incident(i, status.now)).collect();
    section(&mut out, table(["CORRUPT DATA", "AT", "ARTIFACT", "DISCARDED", "FROM"], &incidents), incidents.is_empty());
    for (n, what, command) in [
        (status.left_out.branches, "branches", "filial branch list"),
        (status.left_out.terminals, "terminals", "filial terminal list"),
    ] {
        if n > 0 {
            out.push_str(&format!("\n… and {n} more {what}: `{command}` shows all.\n"));
        }
    }
    if out.is_empty() {
        out.push_str("No releases, branches or terminals yet.\n");
    }
    out
}

fn section(out: &mut String, text: String, empty: bool) {
    if empty {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&text);
}

fn release(r: &Release) -> [String; 3] {
    let doing = match (&r.progress, r.state) {
        (Some(p), _) => progress(p),
        (None, ReleaseState::Uploading) => bytes(r.received_bytes, r.archive_bytes),
        (None, _) => plain(&r.why()),
    };
    [display_name(r), r.state.to_string(), doing]
}

fn bytes(done: u64, total: u64) -> String {
    format!("{} {} {}", bar(done, total, BAR), percent(done, total), size_of(done, total))
}

/// Renders a row for each artifact of the branch, or one row without.
fn branch(b: &Branch, now: DateTime<Utc>) -> Vec<[String; 6]> {
    let heard = match b.denied {
        Some(at) => format!("denied {}", age(now, at)),
        None if b.enrolled => age_or_never(now, b.last_heard),
        None => "not enrolled".to_owned(),
    };
    let confirmed = format!("{} of {}", b.confirmed, b.terminals);
    let name = b.name.to_string();
    let free = b.store.map_or_else(|| "-".to_owned(), |s| size(s.free_bytes));
    let refuses = b.plan_refused.as_ref().map(|why| format!("refuses the newest plan: {}", reason(Some(why))));
    let unreadable = b.plan_unreadable.as_ref().map(|why| reason(Some(why)));
    let below = |why: String| [String::new(), String::new(), String::new(), why, String::new(), String::new()];
    let notes = refuses.into_iter().chain(unreadable).map(below);
    if b.artifacts.is_empty() {
        let first = [name, heard, free, "-".to_owned(), "-".to_owned(), confirmed];
        return std::iter::once(first).chain(notes).collect();
    }
    let row = |(i, a): (usize, &wire::v1::fleet::BranchArtifact)| {
        let trouble = a.trouble.as_ref().map(|t| format!("  {}", plain(&t.sentence()))).unwrap_or_default();
        let held = format!("{}{trouble}", bytes(a.have_bytes, a.length));
        let of = format!("{} {}", a.product, a.version);
        if i == 0 {
            [name.clone(), heard.clone(), free.clone(), of, held, confirmed.clone()]
        } else {
            [String::new(), String::new(), String::new(), of, held, String::new()]
        }
    };
    b.artifacts.iter().enumerate().map(row).chain(notes).collect()
}

fn terminal(t: &Terminal, now: DateTime<Utc>) -> [String; 7] {
    let name = format!("{}/{}", t.branch, t.name);
    let (slot, runs) = (or_dash(t.slot.as_ref()), or_dash(t.version.as_ref()));
    let denied = t.denied.map(|at| format!("denied {}", age(now, at)));
    let refuses = t.plan_refused.as_ref().map(|why| format!("refuses the newest plan: {}", reason(Some(why))));
    let refuses = denied.or(refuses);
    let Some(u) = &t.update else {
        return [name, slot, runs, "-".to_owned(), "-".to_owned(), "-".to_owned(), refuses.unwrap_or_default()];
    };
    let segments = match u.segments_total {
        0 => "-".to_owned(),
        total => format!("{} {}/{total}", bar(u.segments_done, total, BAR), u.segments_done),
    };
    [
        name,
        slot,
        runs,
        u.version.to_string(),
        u.state.to_string(),
        segments,
        refuses.unwrap_or_else(|| reason(u.reason.as_ref())),
    ]
}

/// Renders a reason: its sentence, and its code in parentheses.
pub(crate) fn reason(reason: Option<&Reason>) -> String {
    reason.map(|r| format!("{} ({})", plain(&r.sentence()), plain(r.code.as_str()))).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use wire::v1::status::Alert;

    /// A release being encoded, a branch that fetches, a terminal that fetches.
    pub(crate) fn status() -> Status {
        let digest = "a".repeat(64);
        serde_json::from_value(json!({
            "now": "2031-05-06T07:08:09Z",
            "releases": [{
                "id": "7f2c1a52-0000-4000-8000-000000000001", "product": "kiosk", "version": "2.4.0",
                "state": "publishing", "file_name": "k.upd", "archive_bytes": 4_194_304, "received_bytes": 4_194_304,
                "manifest": digest, "report": null, "payloads": [], "created": "2031-05-06T07:00:00Z",
                "changed": "2031-05-06T07:08:00Z",
                "progress": {"step": "encoding", "done": 1_048_576, "total": 4_194_304, "unit": "bytes", "seconds_left": 90},
            }],
            "branches": [{
                "name": "north", "enrolled": true, "last_heard": "2031-05-06T07:08:06Z", "plan_serial": 5,
                "assignments": [{"product": "kiosk", "version": "2.4.0"}],
                "artifacts": [{"artifact": digest, "product": "kiosk", "version": "2.4.0", "length": 2_097_152,
                    "have_bytes": 1_048_576, "complete": false, "trouble": {"code": "engine-trouble", "params": {"says": "No peers."}, "text": "Older."}}],
                "store": {"capacity_bytes": 4_294_967_296u64, "free_bytes": 1_610_612_736, "held_bytes": 0,
                    "reported": "2031-05-06T07:00:00Z"},
                "terminals": 3, "confirmed": 1,
            }],
            "terminals": [{
                "branch": "north", "name": "till-1", "model": "kiosk-x86-64", "slot_bytes": 1, "agent_version": "0.1.0",
                "slot": "A", "version": "2.3.0", "last_heard": null,
                "update": {"serial": 5, "product": "kiosk", "version": "2.4.0", "state": "fetching",
                    "segments_done": 13, "segments_total": 75, "since": "2031-05-06T07:08:00Z", "history": [],
                    "reason": {"code": "branch-unreachable", "text": "The branch\u{1b}[2J server is silent."}},
            }],
        }))
        .unwrap()
    }

    #[test]
    fn the_picture_shows_progress_bytes_and_segments() {
        let expected = "\
RELEASE      STATE       PROGRESS
kiosk 2.4.0  publishing  encoding [#####...............]  25 % 1.0 of 4.0 MiB, 1 min left

BRANCH  HEARD    FREE     ARTIFACT     HELD                                                     CONFIRMED
north   3 s ago  1.5 GiB  kiosk 2.4.0  [##########..........]  50 % 1.0 of 2.0 MiB  The BitTorrent client reports: No peers.  1 of 3

TERMINAL      SLOT  RUNS   UPDATE  STATE     SEGMENTS
north/till-1  A     2.3.0  2.4.0   fetching  [###.................] 13/75  The branch [2J server is silent. (branch-unreachable)
";
        let squeeze = |s: &str| s.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&picture(&status(), None)), squeeze(expected));
    }

    #[test]
    fn a_narrow_screen_loses_bars_before_columns() {
        let mut status = status();
        status.branches[0].artifacts[0].trouble = None;
        let narrow = picture(&status, Some(80));
        let branch = narrow.lines().find(|l| l.starts_with("north ")).unwrap();
        assert!(
            branch.ends_with(" 1 of 3") && branch.contains(" 50 % 1.0 of 2.0 MiB") && !narrow.contains("[#"),
            "{narrow}"
        );
        assert!(narrow.contains("encoding  25 %") && narrow.contains("13/75"), "{narrow}");
        assert!(picture(&status, Some(200)).contains("[####"), "a wide screen has them");
    }

    #[test]
    fn releases_that_run_are_shown_before_rejected_ones() {
        let mut status = status();
        let of = |version: &str, state| {
            let mut release = status.releases[0].clone();
            (release.version, release.state, release.progress) = (Some(version.parse().unwrap()), state, None);
            release
        };
        let mut releases: Vec<_> = (0..5).map(|n| of(&format!("2.9.{n}"), ReleaseState::Rejected)).collect();
        releases.push(of("2.5.0", ReleaseState::Published));
        releases.push(of("2.4.0", ReleaseState::Published));
        status.releases = releases;
        let picture = picture(&status, None);
        let shown: Vec<_> = picture.lines().skip(1).take(5).map(|l| l.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(shown, ["2.4.0", "2.5.0", "2.9.0", "2.9.1", "2.9.2"], "the assigned one is first: {picture}");
    }

    #[test]
    fn denied_terminal_is_shown_as_denied() {
        let mut status = status();
        status.terminals[0].denied = Some(status.now - chrono::TimeDelta::hours(2));
        let picture = picture(&status, None);
        assert!(picture.lines().any(|l| l.starts_with("north/till-1") && l.ends_with("denied 2 h ago")), "{picture}");
    }

    #[test]
    fn denied_branch_is_shown_as_denied() {
        let mut status = status();
        status.branches[0].denied = Some(status.now - chrono::TimeDelta::hours(2));
        let picture = picture(&status, None);
        assert!(picture.lines().any(|l| l.starts_with("north ") && l.contains("denied 2 h ago")), "{picture}");
    }

    #[test]
    fn alerts_come_first() {
        let alert = Alert { reason: Reason::new("metadata-expires", "It\u{7} expires."), remedy: "Sign.".into() };
        let picture = picture(&Status { alerts: vec![alert], ..status() }, None);
        assert!(picture.starts_with("! It  expires. Sign. (metadata-expires)\n\nRELEASE"), "{picture}");
    }

    #[test]
    fn lines_are_cut_to_the_width_and_an_empty_fleet_says_so() {
        assert!(picture(&status(), Some(30)).lines().all(|l| l.chars().count() <= 30));
        let empty = Status { releases: vec![], branches: vec![], terminals: vec![], ..status() };
        assert!(picture(&empty, None).contains("No releases, branches or terminals yet"));
    }
}
