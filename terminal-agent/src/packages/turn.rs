//! One turn of the packages: look, judge and treat torrents, decide, act, and record what came of it.

use std::time::Duration;

use rand::random;
use service_kit::retry::bound_after;
use wire::v1::reports::{PackageReport, Reason, Report};

use super::act::{PackageContext, PackageOutcome, act};
use super::decide::{PackageAction, PackageSeen, Polls, decide};
use super::observe::{Look, observe};
use crate::branch::fetch::renew_torrent;
use crate::branch::reports::report_bad_data;
use crate::branch::talk::Talk;
use crate::config::agent::Settings;
use crate::error::AgentError;
use crate::memory::journal::Held;
use crate::memory::keeper::Keeper;
use crate::memory::session::Session;
use crate::model::package::{Key, Package};
use crate::model::reasons::DETAIL;
use crate::model::seen::Known;
use crate::ports::Ports;
use crate::swarm::remedies::apply;

/// What a turn works with.
pub struct PackagesTurn<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// The settings.
    pub settings: &'a Settings,
    /// The journal.
    pub keeper: &'a mut Keeper,
    /// What is kept in memory only.
    pub session: &'a mut Session,
    /// The branch server.
    pub talk: &'a Talk,
}

impl PackagesTurn<'_> {
    /// Performs one action; returns how long to wait. To be called while the slot is at rest.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn take(mut self) -> Result<Duration, AgentError> {
        let (uptime, limits) = (self.ports.clock.uptime(), &self.settings.limits);
        let polls =
            Polls { idle: limits.idle_poll, engine: limits.engine_poll, note: uptime >= self.session.packages.note_at };
        if self.keeper.journal().packages.is_empty() {
            return Ok(polls.idle);
        }
        let looks = observe(self.ports, self.settings, self.keeper.journal(), &self.session.packages).await;
        let action = decide(&self.treat(looks).await?, polls);
        let Some(key) = action.key().cloned() else {
            return Ok(match action {
                PackageAction::Wait(time) => time,
                _ => Duration::ZERO,
            });
        };
        let Some(package) = self.keeper.journal().packages.get(&key).cloned() else { return Ok(Duration::ZERO) };
        match action {
            PackageAction::Prepare(_) => self.hold(&package)?,
            PackageAction::Note(..) => self.session.packages.note_at = uptime + self.settings.timing.progress,
            _ => {}
        }
        let recipient = self.talk.recipient();
        let context = PackageContext {
            ports: self.ports,
            settings: self.settings,
            plans: self.talk.plans(),
            recipient: recipient.as_ref(),
        };
        let outcome = act(&action, &package, context).await;
        self.record(&key, package, outcome)?;
        // The engine takes a moment before it says how an added torrent is doing.
        Ok(if matches!(action, PackageAction::AddTorrent(_)) { polls.engine } else { Duration::ZERO })
    }

    /// Judges the looks at torrents and does what they ask for, before a package is decided on.
    ///
    /// A torrent that is to be given to the engine again counts as one that the engine does not have.
    async fn treat(&mut self, looks: Vec<Look>) -> Result<Vec<PackageSeen>, AgentError> {
        let mut all = Vec::with_capacity(looks.len());
        for (mut seen, torrent) in looks {
            if let Some(torrent) = torrent {
                let judge = |observation: &_| self.ports.swarm.judge(observation);
                let applied = apply(self.session.peers.judge(&torrent, judge), &torrent, self.ports).await;
                if let Some(bad) = applied.report {
                    report_bad_data(torrent.artifact.sha256, bad, self.ports, self.settings, self.keeper)?;
                }
                let is_moved = applied.is_stalled
                    && renew_torrent(self.ports, self.settings, &torrent.artifact, torrent.status()).await;
                if is_moved || applied.add_again || self.session.peers.starts_again(&torrent) {
                    seen.transfer = Known::Is(None);
                }
            }
            all.push(seen);
        }
        Ok(all)
    }

    /// Records the artifact before any of it reaches the disk or the engine.
    fn hold(&mut self, package: &Package) -> Result<(), AgentError> {
        let held = Held { info_hash: package.artifact.info_hash, unwanted_since: None, drop_now: false };
        if self.keeper.journal().artifacts.get(&package.artifact.sha256) != Some(&held) {
            let now = self.ports.clock.now();
            self.keeper.change(now, |j| _ = j.artifacts.insert(package.artifact.sha256, held))?;
        }
        Ok(())
    }

    /// Makes durable what came of an action, together with the report of it.
    fn record(&mut self, key: &Key, old: Package, outcome: PackageOutcome) -> Result<(), AgentError> {
        let now = self.ports.clock.now();
        let retries = &mut self.session.packages;
        let new = match outcome {
            PackageOutcome::Done => {
                retries.worked(key);
                return Ok(());
            }
            PackageOutcome::Removed => {
                tracing::info!(key, "package removed");
                retries.worked(key);
                let report = self.report(&old, true);
                return Ok(self.keeper.change(now, |j| {
                    j.packages.remove(key);
                    j.reports.push(now, report);
                })?);
            }
            PackageOutcome::Changed(new) => {
                retries.worked(key);
                *new
            }
            PackageOutcome::Failed { reason, refused } => {
                let (count, timing) = (retries.failed(key), &self.settings.timing);
                let wait = bound_after(count, timing.retry_min, timing.retry_max).mul_f64(0.5 + random::<f64>() / 2.0);
                let Reason { code, text, params } = &reason;
                tracing::warn!(key, count, %code, text, detail = params.get(DETAIL), "a package makes no progress");
                retries.hold(key, self.ports.clock.uptime() + wait);
                Package { trouble: Some(reason), refused, ..old.clone() }
            }
        };
        if new == old {
            return Ok(());
        }
        let code = |p: &Package| p.trouble.as_ref().map(|t| t.code.clone());
        let news = (old.prepared, old.complete, code(&old)) != (new.prepared, new.complete, code(&new));
        let report = news.then(|| self.report(&new, false));
        self.keeper.change(now, |j| {
            j.packages.insert(key.clone(), new);
            if let Some(report) = report {
                j.reports.push(now, report);
            }
        })?;
        Ok(())
    }

    fn report(&self, package: &Package, removed: bool) -> Report {
        Report::Package {
            terminal: self.settings.identity.name.clone(),
            package: PackageReport {
                product: package.product.clone(),
                version: package.version.clone(),
                name: package.payload.name.clone(),
                payload: package.payload.sha256,
                have_bytes: package.have_bytes.min(package.artifact.length),
                total_bytes: package.artifact.length,
                complete: package.complete && !removed,
                removed,
                trouble: package.trouble.clone().filter(|_| !removed),
            },
        }
    }
}
