//! What a program inside one of the lab's networks sees: daemons and trackers asked from where they can be reached.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use fleet_types::InfoHash;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use swarm::tracker::{AnnounceError, Announcement, Event, announce};
use swarm::{Engine, TorrentStatus, TransmissionEngine, TransmissionSettings};

use crate::error::LabError;
use crate::lab::Lab;
use crate::part::Place;
use crate::sites::{RPC_URL, RPC_USER, Site};

/// How long a daemon may take to answer a look; one that was told to stand still does not answer at all.
const ANSWERS: Duration = Duration::from_secs(3);

/// Runs `work` on a dedicated thread inside a network namespace.
pub(crate) async fn inside<T, F>(namespace: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<T, LabError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, LabError>>,
{
    let path = format!("/run/netns/{namespace}");
    let command = format!("a thread in {path}");
    let (answer, answered) = tokio::sync::oneshot::channel();
    let run = move || {
        let entered = File::open(&path).and_then(|file| {
            // A thread's own namespace: nothing else of this process moves.
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()
        });
        let done = match entered {
            Ok(runtime) => runtime.block_on(work()),
            Err(source) => Err(LabError::Spawn { command: format!("a thread in {path}"), source }),
        };
        // The caller may be gone.
        let _ = answer.send(done);
    };
    let spawned = std::thread::Builder::new().name("inside".into()).spawn(run);
    spawned.map_err(|source| LabError::Spawn { command: command.clone(), source })?;
    answered.await.unwrap_or_else(|e| Err(LabError::Spawn { command, source: std::io::Error::other(e) }))
}

impl Lab {
    /// The torrents that a site's daemon has, and how each is doing, as its own RPC says.
    ///
    /// # Errors
    /// There is no such site, or its daemon does not answer.
    pub async fn torrents(&self, place: &Place) -> Result<Vec<(InfoHash, TorrentStatus)>, LabError> {
        let site = self.site_of(place)?;
        let password = site.folder.join("transmission-password");
        let password = std::fs::read_to_string(&password).map_err(LabError::file("read", &password))?;
        let settings = TransmissionSettings {
            url: RPC_URL.into(),
            user: RPC_USER.into(),
            password: password.trim().into(),
            timeout: ANSWERS,
        };
        inside(&site.namespace, move || async move {
            let failed = |e: swarm::EngineError| LabError::Api {
                method: "RPC",
                url: RPC_URL.into(),
                why: crate::api::chain(&e),
            };
            let engine = TransmissionEngine::new(settings).map_err(failed)?;
            let mut torrents = Vec::new();
            for hash in engine.list().await.map_err(failed)? {
                // Removed meanwhile: then it is not there.
                if let Some(status) = engine.status(&hash).await.map_err(failed)? {
                    torrents.push((hash, status));
                }
            }
            Ok(torrents)
        })
        .await
    }

    /// Whether a site's tracker accepts a torrent, learned by an announce that is taken back at once.
    ///
    /// # Errors
    /// There is no such site, or its tracker does not answer.
    pub async fn accepts(&self, place: &Place, hash: InfoHash) -> Result<bool, LabError> {
        let site = self.site_of(place)?;
        let url = site.announce_url();
        inside(&site.namespace, move || async move {
            let failed = |why: String| LabError::Api { method: "GET", url: url.clone(), why };
            let client = reqwest::Client::builder().no_proxy().timeout(ANSWERS).pool_max_idle_per_host(0).build();
            let client = client.map_err(|e| failed(e.to_string()))?;
            // The discard port: a peer that hears of it meanwhile finds nothing there.
            let plain = Announcement { hash, event: Event::None, port: 9, left: 0, want: 0 };
            match announce(&client, &url, &plain).await {
                Ok(_) => {}
                Err(AnnounceError::Refused { .. }) => return Ok(false),
                Err(e) => return Err(failed(crate::api::chain(&e))),
            }
            let stopped = Announcement { event: Event::Stopped, ..plain };
            announce(&client, &url, &stopped).await.map(|_| true).map_err(|e| failed(crate::api::chain(&e)))
        })
        .await
    }

    pub(crate) fn site_of(&self, place: &Place) -> Result<&Site, LabError> {
        match place {
            Place::HeadOffice => Ok(&self.head_office),
            Place::Branch(branch) => self.site(branch),
            Place::Terminal(terminal) => Err(LabError::NoSuchPart(terminal.to_string())),
        }
    }
}
