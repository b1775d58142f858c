//! Follows a release from its upload to its end: the checklist, then publishing.

use std::time::Duration;

use fleet_types::ReleaseState;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use service_kit::client::JsonClient;
use service_kit::retry::Backoff;
use uuid::Uuid;
use wire::v1::releases::Release;

use crate::commands::{called, fetch};
use crate::failure::Failure;
use crate::output::checklist::{checklist, summary};
use crate::output::{answer, plain, say};
use crate::status::picture;

/// How often head office is asked.
const INTERVAL: Duration = Duration::from_millis(500);

/// The release as it stands, also if head office is away for a moment: all of the archive arrived.
pub(super) async fn look(server: &JsonClient, id: Uuid, retries: u32) -> Result<Release, Failure> {
    let mut backoff = Backoff::new(INTERVAL, Duration::from_secs(30));
    loop {
        match fetch(server, id).await {
            Err(Failure::Client(e)) if e.is_transient() && backoff.failures() < retries => {
                tokio::time::sleep(backoff.next()).await;
            }
            answer => return answer,
        }
    }
}

/// Waits until nothing further happens by itself to the release.
pub(super) async fn follow(server: &JsonClient, id: Uuid, retries: u32, json: bool) -> Result<(), Failure> {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let line = ProgressBar::with_draw_target(None, target);
    // A bar of its own shows no message.
    let line = match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => line.with_style(style),
        Err(_) => line,
    };
    let mut backoff = Backoff::new(INTERVAL, Duration::from_secs(30));
    let mut shown = false;
    loop {
        match fetch(server, id).await {
            Ok(release) => {
                backoff.reset();
                if let (false, false, Some(report)) = (shown, json, &release.report) {
                    shown = true;
                    line.suspend(|| say(&format!("{}\n{}", checklist(report), summary(report))))?;
                }
                if is_end(release.state) {
                    line.finish_and_clear();
                    return end(&release, json);
                }
                line.set_message(now(&release));
                tokio::time::sleep(INTERVAL).await;
            }
            Err(Failure::Client(e)) if e.is_transient() && backoff.failures() < retries => {
                line.set_message("head office does not answer; trying again");
                tokio::time::sleep(backoff.next()).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Whether the release waits for a person, or for nothing.
const fn is_end(state: ReleaseState) -> bool {
    use ReleaseState as S;
    matches!(state, S::Published | S::Rejected | S::Withdrawn | S::AwaitingSignature)
}

fn now(release: &Release) -> String {
    let reason = plain(release.reason.as_deref().unwrap_or_default());
    // One line of a screen: what matters first.
    match &release.progress {
        Some(progress) => format!("{}: {}  {reason}", called(release), picture::progress(progress)),
        None => format!("{} is {}  {reason}", called(release), release.state),
    }
}

fn end(release: &Release, json: bool) -> Result<(), Failure> {
    let name = called(release);
    let reason = release.reason.as_deref().map(|r| format!(": {}", plain(r))).unwrap_or_default();
    match release.state {
        ReleaseState::Published => {
            answer(json, release, |_| format!("{name} is published. `filial assign` brings it to a branch."))
        }
        state => {
            if json {
                answer(json, release, |_| String::new())?;
            }
            Err(match state {
                ReleaseState::Rejected => Failure::rejected(format!("{name} is rejected{reason}")),
                ReleaseState::AwaitingSignature => Failure::said(
                    format!("{name} waits for a person{reason}"),
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
