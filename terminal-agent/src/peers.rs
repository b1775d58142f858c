//! Watches who serves the artifact in hand: bad data is reported upward, whoever may have sent it is refused, and the
//! tracker is asked again when nothing comes.

use std::time::Duration;

use service_kit::edge::chain;
use swarm::{TorrentStatus, Watch, addresses_of};
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{MAX_ADDRESSES, Report};

use crate::agent::{Agent, AgentError};
use crate::config::Settings;
use crate::ports::Ports;
use crate::session::Session;

/// Looks at the peers; true if the torrent must be given to the engine again: it was removed, or the engine has nothing of it
/// although its file is on the disk. Adding such a one has the file verified.
pub(crate) async fn watch(
    ports: &Ports,
    settings: &Settings,
    artifact: &ArtifactRef,
    status: &TorrentStatus,
    session: &mut Session,
    uptime: Duration,
) -> bool {
    let hash = &artifact.info_hash;
    if session.forgotten(status, artifact, &settings.engine.download_dir) {
        tracing::info!(artifact = %artifact.sha256, "the daemon has nothing of what may lie on the disk: it is to look");
        return true;
    }
    if session.stalls.look(hash, status, uptime)
        && let Err(error) = ports.swarm.announce(hash).await
    {
        tracing::debug!(error = chain(&error), "the tracker could not be asked again");
    }
    // The branch server is never refused: whoever spoils its pieces, the update comes from there.
    let sources = match status.corrupt_bytes {
        0 => Default::default(),
        _ => addresses_of(settings.branch.hosts().collect()).await,
    };
    match session.guard.watch(&*ports.swarm, Watch { hash, status, sources: &sources, at: uptime }).await {
        Ok(outcome) => {
            if let Some(bad) = outcome.report {
                session.bad_data = Some((artifact.sha256, bad));
            }
            outcome.removed
        }
        Err(error) => {
            tracing::debug!(error = chain(&error), "the peers could not be looked at");
            false
        }
    }
}

impl Agent {
    /// Queues the report of bad data, if some arrived.
    pub(crate) fn report_bad_data(&mut self) -> Result<(), AgentError> {
        let Some((artifact, bad)) = self.session.bad_data.take() else { return Ok(()) };
        tracing::warn!(%artifact, bytes = bad.wasted_bytes, from = ?bad.candidates, certain = bad.certain, "bad data");
        let mut addresses = bad.candidates;
        addresses.truncate(MAX_ADDRESSES);
        let report = Report::BadPeer {
            terminal: Some(self.settings.identity.name.clone()),
            artifact,
            addresses,
            wasted_bytes: bad.wasted_bytes,
            certain: bad.certain,
        };
        let now = self.ports.clock.now();
        Ok(self.keeper.change(now, |journal| journal.reports.push(now, report))?)
    }
}
