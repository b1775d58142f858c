//! What the demonstration prints and waits for, whichever kind of terminal it shows.

use std::time::Duration;

use lab::{Lab, Report};

use super::screen::Screen;

/// The deadline for publishing, and for the rollout after it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1800);

/// The path of one of our programs, or its name.
pub(crate) fn program(lab: &Lab, name: &str) -> String {
    lab.program(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string())
}

/// Prints what the lab itself verified, and the figures.
pub(crate) fn summary(report: &Report, screen: &Screen, lab: &Lab) {
    screen.title("Verified by the lab itself: slots hashed, boot environments read with grub-editenv");
    for t in &report.terminals {
        let state = t.state.map_or("no update", |s| s.as_str());
        screen.done(
            &format!(
                "{}/{}: {state}, {} in slot {} → {} in slot {}, sha256 {}… as expected",
                t.branch,
                t.name,
                t.version_before,
                t.slot_before,
                t.version,
                t.slot,
                t.slot_sha256.short()
            ),
            None,
        );
    }
    let floor = lab.options().wan.floor_seconds(report.artifact_bytes);
    let s = &report.seconds;
    screen.title("Figures");
    screen.line(&format!(
        "publishing {:.1} s · artifact at every branch after {:.1} s (at least {floor:.1} s at the WAN's rate) · all confirmed after {:.1} s",
        s.publish, s.branches_complete, s.all_confirmed
    ));
    for b in &report.branches {
        screen.line(&format!(
            "{}: the WAN carried the artifact {:.3} times for {} terminals; the branch server sent it {:.2} times into its LAN",
            b.name,
            b.wan_ratio,
            report.terminals.iter().filter(|t| t.branch == b.name).count(),
            b.lan_tx_ratio
        ));
    }
}

/// Why the lab no longer serves faults.
pub(crate) fn not_served(served: Result<(), lab::LabError>) -> anyhow::Error {
    served.map_or_else(Into::into, |()| anyhow::anyhow!("The lab stopped listening for faults."))
}
