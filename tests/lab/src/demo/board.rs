//! The release on its way: the checklist once, then publishing, then a board of branches and terminals.

use std::collections::BTreeMap;

use fleet_types::UpdateState;
use lab::{BranchFigures, Glimpse, Lab, Run};
use wire::v1::fleet::{Branch, Terminal};
use wire::v1::releases::{Release, Verdict};
use wire::v1::status::Status;

use super::screen::{Screen, bar};

/// Shows glimpses; on a plain output each change becomes a line.
pub(crate) struct Board<'a> {
    screen: &'a Screen,
    wan: String,
    checklist_shown: bool,
    /// What was last said of each thing, so that plain lines tell changes only.
    said: BTreeMap<String, String>,
}

fn size(bytes: u64) -> String {
    fleet_types::size(bytes)
}

fn percent(done: u64, total: u64) -> u64 {
    (done * 100).checked_div(total).unwrap_or(0)
}

impl<'a> Board<'a> {
    pub(crate) fn new(screen: &'a Screen, lab: &Lab) -> Self {
        Self { screen, wan: lab.options().wan.to_string(), checklist_shown: false, said: BTreeMap::new() }
    }

    pub(crate) fn show(&mut self, glimpse: &Glimpse<'_>) {
        match glimpse {
            Glimpse::Packed => self.screen.done("packed with `filial release pack`; uploading", None),
            Glimpse::Publishing(release) => self.publishing(release),
            Glimpse::Moving { status, figures, artifact_bytes, run } => {
                self.moving(status, figures, *artifact_bytes, run);
            }
        }
    }

    fn publishing(&mut self, release: &Release) {
        if let (Some(report), false) = (&release.report, self.checklist_shown) {
            self.checklist_shown = true;
            for finding in &report.findings {
                let text = format!("{:<16} {}", finding.id, finding.cause);
                match finding.verdict {
                    Verdict::Pass => self.screen.done(&text, None),
                    verdict => self.screen.bad(&format!("{text} ({verdict}) {}", finding.remedy)),
                }
            }
        }
        let state = release.state.to_string();
        let line = match &release.progress {
            Some(p) => {
                format!("{state:<12} {:<11} {} {:>3} %", p.step, bar(p.done, p.total, 30), percent(p.done, p.total))
            }
            None => state.clone(),
        };
        self.screen.progress(&[line]);
        if self.changed("release", &state) && !self.screen.is_fancy() {
            self.screen.line(&format!("release {state}"));
        }
        if release.state == fleet_types::ReleaseState::Published {
            let artifact = release.payloads.first().and_then(|p| Some((p.artifact.as_ref()?, &p.payload)));
            let size = artifact.map(|(a, p)| format!(": {} travel for an image of {}", size(a.length), size(p.length)));
            self.screen.done(&format!("published{}", size.unwrap_or_default()), None);
            self.screen.title("On its way to the terminals");
        }
    }

    fn moving(&mut self, status: &Status, figures: &[BranchFigures], artifact: u64, run: &Run) {
        let mut lines = Vec::new();
        let seconds = run.since_assigned().unwrap_or_default().as_secs();
        let members: Vec<&Terminal> = status.terminals.iter().filter(|t| run.concerns(t)).collect();
        let confirmed = members.iter().filter(|t| is_confirmed(t, run)).count();
        lines.push(format!("{seconds:>4} s   {confirmed} of {} terminals confirmed", members.len()));
        // A branch that the release is not for has no figures.
        for branch in &status.branches {
            let Some(figure) = figures.iter().find(|f| f.name == branch.name) else { continue };
            lines.push(String::new());
            lines.push(self.branch(branch, figure, artifact, run));
            let own = members.iter().copied().filter(|t| t.branch == branch.name);
            let own: Vec<&Terminal> = own.collect();
            lines.extend(own.into_iter().map(|t| self.terminal(t, run)));
        }
        self.screen.progress(&lines);
    }

    fn branch(&mut self, branch: &Branch, figure: &BranchFigures, artifact: u64, run: &Run) -> String {
        let held = branch.artifacts.iter().find(|a| a.product == *run.product() && a.version == *run.version());
        let have = held.map_or(0, |a| a.have_bytes);
        let crossed = figure.wan_rx_bytes;
        let ratio = figure.wan_ratio;
        let trouble = held.and_then(|a| a.trouble.as_ref()).map(|t| format!("  {}", t.sentence())).unwrap_or_default();
        let tenth = percent(have, artifact) / 10;
        let plain = format!(
            "{}: {} of {} there; {} crossed the WAN ({ratio:.2} ×){trouble}",
            branch.name,
            size(have),
            size(artifact),
            size(crossed)
        );
        self.plain(&format!("branch {}", branch.name), &format!("{tenth}{trouble}"), &plain);
        format!(
            "\x1b[1m{:<10}\x1b[0m {} {:>3} %   WAN {}: {} of an artifact of {} ({ratio:.2} ×){trouble}",
            branch.name,
            bar(have, artifact, 24),
            percent(have, artifact),
            self.wan,
            size(crossed),
            size(artifact),
        )
    }

    fn terminal(&mut self, terminal: &Terminal, run: &Run) -> String {
        let name = format!("{}/{}", terminal.branch, terminal.name);
        let slot = terminal.slot.map_or("?", |s| s.as_str());
        let version = terminal.version.as_ref().map_or_else(|| "?".into(), ToString::to_string);
        let update = terminal.update.as_ref().filter(|u| u.version == *run.version());
        let state = update.map_or("waiting", |u| u.state.as_str());
        let (done, total) = update.map_or((0, 0), |u| (u.segments_done, u.segments_total));
        let reason = update.and_then(|u| u.reason.as_ref()).map(|r| format!("  {}", r.text)).unwrap_or_default();
        let plain = format!("{name}: {state}, slot {slot}, version {version}{reason}");
        self.plain(&name, &format!("{state} {slot} {version}"), &plain);
        let colour = match update.map(|u| u.state) {
            Some(UpdateState::Confirmed) => "32",
            Some(UpdateState::Failed | UpdateState::RolledBack | UpdateState::Withdrawn) => "31",
            Some(UpdateState::Trying | UpdateState::Activating) => "33",
            Some(_) => "36",
            None => "2",
        };
        format!(
            "  {:<8} \x1b[{colour}m{state:<11}\x1b[0m {} {:>9}   slot {slot}  {version}\x1b[2m{reason}\x1b[0m",
            terminal.name,
            bar(done, total, 24),
            format!("{done}/{total}"),
        )
    }

    fn plain(&mut self, about: &str, state: &str, line: &str) {
        if self.changed(about, state) && !self.screen.is_fancy() {
            self.screen.line(line);
        }
    }

    fn changed(&mut self, about: &str, state: &str) -> bool {
        self.said.insert(about.to_owned(), state.to_owned()).as_deref() != Some(state)
    }
}

fn is_confirmed(terminal: &Terminal, run: &Run) -> bool {
    let update = terminal.update.as_ref();
    update.is_some_and(|u| u.version == *run.version() && u.state == UpdateState::Confirmed)
}
