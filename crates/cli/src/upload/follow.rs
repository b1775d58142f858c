//! Follows an uploaded release: the checks, their checklist, then publishing, until nothing more happens by itself.

use std::time::Duration;

use fleet_types::{ProductName, ReleaseState, Version};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use service_kit::client::JsonClient;
use service_kit::output;
use service_kit::retry::Backoff;
use uuid::Uuid;
use wire::v1::releases::Release;

use crate::commands::releases::fetch;
use crate::failure::Failure;
use crate::output::checklist::{checklist, summary};
use crate::output::release::{display_name, progress};
use crate::output::{answer, plain, say};

/// How often head office is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longest pause between two tries while head office does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Fetches the release once; a link that drops is retried.
pub(super) async fn look(server: &JsonClient, id: Uuid, retries: u32) -> Result<Release, Failure> {
    let mut backoff = Backoff::new(INTERVAL, LONGEST_PAUSE);
    loop {
        match fetch(server, id).await {
            Err(Failure::Client(e)) if e.is_transient() && backoff.failures() < retries => {
                tokio::time::sleep(backoff.next()).await;
            }
            answer => return answer,
        }
    }
}

/// Follows the release to its end and returns it there. Ctrl-C ends the watching; head office goes on.
pub(super) async fn follow(server: &JsonClient, id: Uuid, retries: u32, json: bool) -> Result<Release, Failure> {
    tokio::select! {
        done = watch(server, id, retries, json) => done,
        // Without a handler the signal ends the program as usual.
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted(
            "Stopped watching; head office goes on with the release",
            format!("`filial release show {id}` shows where it stands."),
        )),
    }
}

async fn watch(server: &JsonClient, id: Uuid, retries: u32, json: bool) -> Result<Release, Failure> {
    let display = Display::new(json);
    let mut backoff = Backoff::new(INTERVAL, LONGEST_PAUSE);
    let mut shown = false;
    let (mut last_state, mut name) = (None, None);
    loop {
        match fetch(server, id).await {
            Ok(release) => {
                check_name(&mut name, &release)?;
                backoff.reset();
                if let (false, false, Some(report)) = (shown, json, &release.report) {
                    shown = true;
                    display.line.suspend(|| say(&format!("{}\n{}", checklist(report), summary(report))))?;
                }
                if is_end(release.state) {
                    display.line.finish_and_clear();
                    return Ok(release);
                }
                display.show(&release, last_state.replace(release.state) != Some(release.state));
                tokio::time::sleep(INTERVAL).await;
            }
            Err(Failure::Client(e)) if e.is_transient() && backoff.failures() < retries => {
                display.line.set_message("head office does not answer; retrying");
                tokio::time::sleep(backoff.next()).await;
            }
            Err(failure) => return Err(Failure::WatchStopped { id, source: Box::new(failure) }),
        }
    }
}

/// Refuses an answer about another product or version than the answers before it.
fn check_name(known: &mut Option<(ProductName, Version)>, release: &Release) -> Result<(), Failure> {
    let Some(name) = release.product.clone().zip(release.version.clone()) else { return Ok(()) };
    let first = known.get_or_insert_with(|| name.clone());
    if *first == name {
        return Ok(());
    }
    Err(Failure::said(
        format!("Release {} was {} {} and is {} {} now", release.id, first.0, first.1, name.0, name.1),
        "Check which server `--server` names, and what stands between.",
    ))
}

/// Shows a release's progress on standard error.
///
/// A moving line on a terminal, else a line per state.
struct Display {
    line: ProgressBar,
    log: bool,
}

impl Display {
    fn new(json: bool) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let log = !json && target.is_hidden();
        let line = ProgressBar::with_draw_target(None, target);
        // The default style shows no message.
        let line = match ProgressStyle::with_template("{wide_msg}") {
            Ok(style) => line.with_style(style),
            Err(_) => line,
        };
        Self { line, log }
    }

    fn show(&self, release: &Release, new_state: bool) {
        if self.log && new_state {
            output::complain(&format!("filial: {} is {}\n", display_name(release), release.state));
        }
        self.line.set_message(now(release));
    }
}

/// Whether the release needs an operator, or is finished.
const fn is_end(state: ReleaseState) -> bool {
    use ReleaseState as S;
    matches!(state, S::Published | S::Rejected | S::Withdrawn | S::AwaitingSignature)
}

fn now(release: &Release) -> String {
    let reason = plain(&release.why());
    // One line of a screen: what matters first.
    match &release.progress {
        Some(step) => format!("{}: {}  {reason}", display_name(release), progress(step)),
        None => format!("{} is {}  {reason}", display_name(release), release.state),
    }
}

/// Prints the end that the release came to; everything but `published` is a failure.
pub(super) fn verdict(release: &Release, json: bool) -> Result<(), Failure> {
    let name = display_name(release);
    let reason = if release.reasons.is_empty() { String::new() } else { format!(": {}", plain(&release.why())) };
    match release.state {
        ReleaseState::Published => {
            answer(json, release, |_| format!("{name} is published. Next: `filial assign BRANCH PRODUCT VERSION`."))
        }
        state => {
            if json {
                answer(json, release, |_| String::new())?;
            }
            Err(match state {
                ReleaseState::Rejected => Failure::rejected(format!("{name} is rejected{reason}")),
                ReleaseState::AwaitingSignature => Failure::waiting(
                    format!("{name} awaits approval or signatures{reason}"),
                    format!(
                        "`filial release approve {} --reason …` accepts its warnings; `filial release sign ARCHIVE --post` \
                         adds signatures of release keys.",
                        release.id
                    ),
                ),
                _ => Failure::said(format!("{name} is {state}{reason}"), "Upload a new version."),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_becomes_another_is_refused() {
        let release = |product: Option<&str>, version: &str| -> Release {
            serde_json::from_value(serde_json::json!({
                "id": Uuid::nil(), "product": product, "version": product.map(|_| version), "state": "validating",
                "file_name": "k.upd", "archive_bytes": 5, "received_bytes": 5, "payloads": [],
                "created": "2031-05-06T07:00:00Z", "changed": "2031-05-06T07:08:00Z",
            }))
            .unwrap()
        };
        let mut name = None;
        for known in
            [release(None, ""), release(Some("kiosk"), "2.4.0"), release(None, ""), release(Some("kiosk"), "2.4.0")]
        {
            check_name(&mut name, &known).unwrap();
        }
        let other = check_name(&mut name, &release(Some("kiosk"), "2.4.1")).unwrap_err().to_string();
        assert!(other.contains("was kiosk 2.4.0 and is kiosk 2.4.1 now"), "{other}");
        assert!(check_name(&mut name, &release(Some("till"), "2.4.0")).is_err());
    }

    #[test]
    fn every_state_either_moves_on_by_itself_or_is_an_end() {
        for state in ReleaseState::ALL {
            let on = state.to(ReleaseState::Validating).is_ok()
                || state.to(ReleaseState::Publishing).is_ok()
                || state.to(ReleaseState::Published).is_ok()
                || *state == ReleaseState::Validating;
            assert_eq!(is_end(*state), !on, "{state}");
        }
    }
}
