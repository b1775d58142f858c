//! What a look at a frozen part finds: by head office's database and files, by the terminal's journal and boot state.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use fleet_types::{ReleaseState, UpdateState};
use lab::{Part, Place, Recorded};

use super::Phase;
use super::director::{COMES_UP, Director, Look};

/// How long a tracker that was told may take to accept a torrent, before it is taken for one that was not.
const TOLD: Duration = Duration::from_secs(5);
/// How long a row is held for nothing.
const TOO_EARLY: Duration = Duration::from_secs(5);

impl Director<'_> {
    pub(super) async fn look(&mut self, phase: Phase) -> anyhow::Result<Look> {
        if phase < Phase::Fetching {
            // Without its database head office gets nowhere either; the look is repeated.
            let recorded = self.lab.recorded().await;
            self.trouble = recorded.as_ref().err().map(|e| format!("(the last look: {e})"));
            let Ok(Some(recorded)) = recorded else { return Ok(Look::Near) };
            match recorded.state {
                ReleaseState::Rejected | ReleaseState::Withdrawn | ReleaseState::AwaitingSignature => {
                    self.lab.thaw(&Part::head_office())?;
                    bail!("the release is {}: {:?}", recorded.state, self.lab.release(&self.version).await);
                }
                _ => {}
            }
            return self.look_at_office(phase, &recorded).await;
        }
        self.look_at_agent(phase).await
    }

    async fn look_at_office(&mut self, phase: Phase, r: &Recorded) -> anyhow::Result<Look> {
        let step = r.progress.as_ref().map_or("", |p| p.step.as_str());
        let stage = r.stage.as_deref().unwrap_or("");
        let publishing = |s: &str| r.state == ReleaseState::Publishing && stage == s;
        let passed = |by: ReleaseState| ensure_not_passed(phase, r.state, by);
        match phase {
            Phase::Uploading => {
                passed(ReleaseState::Validating)?;
                let length = length(&self.uploaded(r)?);
                Ok(in_the_middle(length, r.archive_bytes, "bytes of the archive").unwrap_or(Look::Near))
            }
            Phase::Validating => {
                passed(ReleaseState::Approved)?;
                if r.state != ReleaseState::Validating {
                    return Ok(Look::Near);
                }
                let at = self.lab.position(&Part::head_office(), &self.uploaded(r)?)?.unwrap_or(0);
                Ok(in_the_middle(at, r.archive_bytes, "bytes read").unwrap_or(Look::Near))
            }
            Phase::Encoding => {
                passed(ReleaseState::Published)?;
                let (encoding, frames) = (step == "encoding", self.largest_work_file()?);
                let middle = in_the_middle(frames, r.payload_bytes, "bytes of frames, the job in encoding");
                Ok(middle.filter(|_| encoding).unwrap_or(Look::Near))
            }
            Phase::Hashing => {
                passed(ReleaseState::Published)?;
                let at = self.hashed()?;
                let middle = in_the_middle(at, r.payload_bytes, "bytes hashed, the job in hashing");
                Ok(middle.filter(|_| step == "hashing").unwrap_or(Look::Near))
            }
            Phase::Listing | Phase::Accepted => {
                passed(ReleaseState::Published)?;
                let list = std::fs::read_to_string(self.lab.access_list(&Place::HeadOffice)?).unwrap_or_default();
                let listed = r.hashes.first().filter(|h| list.contains(&h.to_string()));
                let Some(hash) = listed.filter(|_| publishing("listing") && step == "listing") else {
                    return Ok(Look::Far);
                };
                if phase == Phase::Listing {
                    return Ok(Look::Here(
                        "stage listing; the list names the torrent, the tracker has not answered".into(),
                    ));
                }
                let (gate, hash) = (self.gate.clone(), *hash);
                self.open_gate()?;
                let accepts = async || Ok(self.lab.accepts(&Place::HeadOffice, hash).await?.then_some(()));
                if self.lab.wait("the tracker to accept the torrent", TOLD, accepts).await.is_err() {
                    // Head office stands between the list and the signal that has the tracker read it: a step further.
                    if let Some(gate) = gate {
                        self.lab.pause(&gate)?;
                        self.gate = Some(gate);
                    }
                    return Ok(Look::Near);
                }
                Ok(Look::Here("stage listing; the tracker accepts the torrent".into()))
            }
            Phase::Seeding => {
                passed(ReleaseState::Published)?;
                let here = publishing("seeding") && step == "seeding";
                let evidence = || "stage seeding; the daemon has not taken the torrent".to_owned();
                Ok(if here { Look::Here(evidence()) } else { Look::Far })
            }
            Phase::Verified | Phase::Showing => {
                self.look_at_seed(phase, r, publishing("seeding") && step == "seeding").await
            }
            _ => bail!("{phase} is not head office's"),
        }
    }

    async fn look_at_seed(&mut self, phase: Phase, r: &Recorded, seeding: bool) -> anyhow::Result<Look> {
        ensure_not_passed(phase, r.state, ReleaseState::Published)?;
        let showing = r.state == ReleaseState::Publishing && r.stage.as_deref() == Some("showing");
        if phase == Phase::Showing && showing {
            return Ok(Look::Here("stage showing; the release is still publishing".into()));
        }
        ensure!(!(phase == Phase::Verified && showing), "verified was passed: the job is showing");
        // An attempt that just began needs the row too, long before it shows the release.
        if self.held.as_ref().is_some_and(|(_, since)| since.elapsed() > TOO_EARLY) {
            self.held = None;
            return Ok(Look::Far);
        }
        let (true, Some(hash)) = (seeding, r.hashes.first()) else { return Ok(Look::Far) };
        let verified = async || {
            let torrents = self.lab.torrents(&Place::HeadOffice).await?;
            let found = torrents.into_iter().find(|(h, _)| h == hash);
            // Not there, or not at it: then there is nothing to wait for.
            Ok(found.map_or(Some(None), |(_, s)| match (s.verifying, s.complete) {
                (true, _) => None,
                (false, true) => Some(Some(s.total_bytes)),
                (false, false) => Some(None),
            }))
        };
        let Some(bytes) = self.lab.wait("the daemon to verify", COMES_UP, verified).await? else {
            return Ok(Look::Near);
        };
        if phase == Phase::Verified {
            return Ok(Look::Here(format!("stage seeding; the daemon has verified {bytes} bytes")));
        }
        if self.held.is_none() {
            // Not now: then at the next look.
            self.held = self.lab.hold_release(r.id).await.ok().map(|held| (held, Instant::now()));
        }
        // Held, it cannot pass.
        Ok(if self.held.is_some() { Look::Far } else { Look::Near })
    }

    async fn look_at_agent(&self, phase: Phase) -> anyhow::Result<Look> {
        let (lab, terminal) = (self.lab, &self.terminal);
        let j = lab.journaled(terminal)?;
        let state = if j.version.as_deref() == Some(&self.version.to_string()) { j.state.as_str() } else { "" };
        ensure!(!matches!(state, "failed" | "rolled-back" | "withdrawn"), "the update is {state}");
        let order = ["assigned", "fetching", "installing", "ready", "activating", "trying", "confirmed"];
        let at = order.iter().position(|s| *s == state);
        let wanted = match phase {
            Phase::Fetching => 1,
            Phase::Installing => 2,
            Phase::Activating => 4,
            Phase::Trying | Phase::Confirming => 5,
            _ => bail!("{phase} is not the agent's"),
        };
        let last = if phase == Phase::Confirming { 6 } else { wanted };
        ensure!(at.is_none_or(|at| at <= last), "{phase} was passed: the journal says {state}");
        let far = || {
            if at.is_some_and(|at| at + 2 >= wanted && (at > 1 || j.done + 3 > j.total)) {
                Look::Near
            } else {
                Look::Far
            }
        };
        if at.is_none_or(|at| at < wanted) {
            return Ok(far());
        }
        let env = || lab.read_env(terminal);
        Ok(match phase {
            Phase::Fetching => {
                let unit = format!("segments written, the branch has {}", self.at_the_branch().await);
                in_the_middle(j.done, j.total, &unit).unwrap_or(Look::Far)
            }
            Phase::Installing => {
                Look::Here(format!("journal: installing, all {} segments written", self.segments().await?))
            }
            // Before the restart is asked for: afterwards the machine goes down by itself.
            Phase::Activating if j.restarts == 0 => {
                let trial =
                    env()?.trial.map_or_else(|| "no trial set yet".into(), |s| format!("slot {s} set on trial"));
                Look::Here(format!("journal: activating, {trial}"))
            }
            Phase::Activating => bail!("activating was passed: the restart was asked for"),
            Phase::Trying => {
                let env = env()?;
                ensure!(env.trial == Some(self.target), "trying was passed: {env:?}");
                Look::Here(format!("journal: trying; slot {} on trial, {} left", self.target, env.trial_left))
            }
            _ => {
                if env()?.default != self.target {
                    return Ok(Look::Near);
                }
                // Head office's database may be coming up after the phase before.
                let Ok(known) = lab.updated(terminal).await else { return Ok(Look::Near) };
                ensure!(known != Some(UpdateState::Confirmed), "confirming was passed: head office knows");
                let known = known.map_or("nothing", UpdateState::as_str);
                Look::Here(format!("journal: {state}; slot {} is the default, head office knows {known}", self.target))
            }
        })
    }

    fn uploaded(&self, r: &Recorded) -> anyhow::Result<std::path::PathBuf> {
        Ok(self.lab.store(None)?.join("uploads").join(format!("{}.upd", r.id)))
    }

    /// The longest file that an encoder has begun, by what was written to it.
    fn largest_work_file(&self) -> anyhow::Result<u64> {
        let mut longest = 0;
        for folder in std::fs::read_dir(self.lab.store(None)?.join("work"))?.flatten() {
            let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
            longest = files.flatten().map(|f| length(&f.path())).chain([longest]).max().unwrap_or(0);
        }
        Ok(longest)
    }

    /// How far head office has read the encoded file.
    fn hashed(&self) -> anyhow::Result<u64> {
        let mut at = 0;
        for file in std::fs::read_dir(self.lab.store(None)?.join("work"))?.flatten() {
            if file.path().extension().is_some_and(|e| e == "seg") {
                at = self.lab.position(&Part::head_office(), &file.path())?.unwrap_or(0).max(at);
            }
        }
        Ok(at)
    }

    async fn segments(&self) -> anyhow::Result<u64> {
        Ok(self.lab.shipped(&self.version).map_or(0, |s| s.length.div_ceil(4 << 20)))
    }

    /// How much of the artifact the branch's daemon holds.
    async fn at_the_branch(&self) -> String {
        let torrents = self.lab.torrents(&Place::Branch(self.terminal.branch.clone())).await;
        let newest = torrents.ok().and_then(|t| t.into_iter().next_back());
        newest.map_or_else(|| "nothing".into(), |(_, s)| format!("{} of {} bytes", s.have_bytes, s.total_bytes))
    }
}

fn length(path: &std::path::Path) -> u64 {
    path.metadata().map_or(0, |m| m.len())
}

/// Between 5 and 95 % of it.
fn in_the_middle(done: u64, total: u64, unit: &str) -> Option<Look> {
    let middle = done > 0 && done * 20 >= total && done * 20 <= total * 19;
    middle.then(|| Look::Here(format!("{done} of {total} {unit}")))
}

fn ensure_not_passed(phase: Phase, state: ReleaseState, by: ReleaseState) -> anyhow::Result<()> {
    let order = |s: ReleaseState| {
        let states = [
            ReleaseState::Uploading,
            ReleaseState::Validating,
            ReleaseState::Approved,
            ReleaseState::Publishing,
            ReleaseState::Published,
        ];
        states.iter().position(|o| *o == s)
    };
    ensure!(order(state) < order(by), "{phase} was passed: the release is {state}");
    Ok(())
}
