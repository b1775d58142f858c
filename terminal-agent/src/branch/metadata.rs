//! Signed metadata through the branch server's mirror, which is not trusted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use service_kit::edge::chain;
use trust::Refusal;
use trust::client::{Body, Client, Fetch, FetchError, Limits};

use crate::config::agent::Settings;
use crate::ports::{Branch, Ports};
use crate::trust::believed::Believed;

/// How long metadata counts as the newest without a hint of newer metadata.
///
/// A timestamp lasts days.
const REFRESH: Duration = Duration::from_secs(6 * 3600);

/// One file may take this many times as long as an answer.
const FILE_FACTOR: u32 = 4;

/// What the agent believes, and when it last asked.
pub struct Metadata {
    /// The trust store.
    pub believed: Believed,
    /// When it was last brought up to date, as time since the machine started.
    updated: Option<Duration>,
}

impl Metadata {
    /// Opens the trust store, or begins it with the fleet's root file. Blocking.
    pub fn open(settings: &Settings, uptime: Duration) -> Result<Self, Refusal> {
        let mut client = Client::open_or_provision(&settings.paths.trust_store(), &settings.trust_root)?;
        client.judge_not_before(settings.not_before);
        let limits = Limits { deadline: settings.timing.request * FILE_FACTOR, ..Limits::default() };
        // An agent that was only started again asks when the branch server says that there is newer.
        let updated = client.trusted().map(|_| uptime);
        Ok(Self { believed: Believed::new(client, limits), updated })
    }

    /// Whether the branch server is to be asked, which says that it has this version.
    pub fn is_due(&self, hint: Option<u64>, uptime: Duration) -> bool {
        let newer = hint.is_some_and(|hint| Some(hint) != self.believed.version());
        newer || self.updated.is_none_or(|at| uptime.saturating_sub(at) >= REFRESH)
    }

    /// Fetches and verifies what is new; durable once this returns.
    pub async fn update(&mut self, ports: &Ports) -> Result<(), Refusal> {
        let updated = self.believed.update(Arc::new(Mirror(ports.branch.clone())), ports.clock.now()).await;
        // Also if it was refused: a newer root that came with it counts.
        ports.branch.not_before(self.believed.floor());
        updated?;
        self.updated = Some(ports.clock.uptime());
        Ok(())
    }
}

/// The branch server as a source of metadata files; who asks bounds length and time.
struct Mirror(Arc<dyn Branch>);

#[async_trait]
impl Fetch for Mirror {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let found = self.0.metadata(name).await.map_err(|e| FetchError(chain(&e)))?;
        Ok(found.map(|bytes| Box::pin(bytes.map(|chunk| chunk.map_err(|e| FetchError(chain(&e))))) as Body))
    }
}
