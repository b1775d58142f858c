//! Somebody with all that a branch server had (its address, its keys, its disk, its database), in its place: it proves to
//! terminals that it is their branch, and answers with whatever it likes.

use std::collections::BTreeMap;
use std::net::{SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use fleet_types::BranchName;
use service_kit::config::read_toml;
use service_kit::{Clock as _, SystemClock};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use trust::Refusal;
use trust::certificates::{
    Authority, Clients, FleetTime, Suffix, TlsKey, certificate_from_pem, none_denied, server_config,
};
use wire::v1::paths;
use wire::v1::sync::Sync;
use wire::{Code, Envelope, Problem};

use crate::error::LabError;
use crate::inside::inside;
use crate::lab::Lab;
use crate::net::Net;
use crate::part::Part;

/// Longest head of a request that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long one request may take to come and its answer to go.
const REQUEST: Duration = Duration::from_secs(60);

/// How long it rests after each byte of what it sends slowly.
const DRIP: Duration = Duration::from_secs(1);

/// What the impostor says and hears.
#[derive(Debug, Default)]
struct Pages {
    answers: BTreeMap<String, Vec<u8>>,
    /// What is sent a byte at a time.
    slow: Option<String>,
    asked: BTreeMap<String, usize>,
}

/// The impostor; it answers until it leaves or is dropped.
#[derive(Debug)]
pub struct Impostor {
    branch: BranchName,
    pages: Arc<Mutex<Pages>>,
    listens: JoinHandle<()>,
}

impl Lab {
    /// Ends a branch server and takes its place on its machine listener. Its daemon, tracker and database stay.
    ///
    /// # Errors
    /// The branch does not exist, or its address cannot be taken.
    pub async fn impostor(&self, branch: &BranchName) -> Result<Impostor, LabError> {
        let site = self.site(branch)?;
        let address = SocketAddrV4::new(Net::branch_lan_address(site.number), site.operators_port() + 1);
        self.end(&Part::branch(branch)).await?;
        let failed = move |source| LabError::Spawn { command: format!("an impostor at {address}"), source };
        // A socket belongs to the namespace in which it was made.
        let listener = inside(&site.namespace, move || async move {
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(listener)
        });
        let listener = tokio::net::TcpListener::from_std(listener.await?).map_err(failed)?;
        let acceptor = TlsAcceptor::from(Arc::new(stolen(branch, &site.state())?));
        let pages = Arc::<Mutex<Pages>>::default();
        let told = pages.clone();
        let listens = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), told.clone());
                let answered = async move { answer(acceptor.accept(stream).await?, told).await };
                tokio::spawn(tokio::time::timeout(REQUEST, answered));
            }
        });
        Ok(Impostor { branch: branch.clone(), pages, listens })
    }
}

impl Impostor {
    /// Offers this plan, with a hint that there is metadata of this version.
    pub fn offer(&self, plan: &Envelope, metadata: Option<u64>) {
        let sync = Sync { plan: Some(plan.clone()), available: Vec::new(), metadata, denied: None };
        // A message always serialises.
        self.lock().answers.insert(paths::SYNC.to_owned(), serde_json::to_vec(&sync).unwrap_or_default());
    }

    /// Serves these files of metadata, and no others.
    pub fn mirror(&self, files: &BTreeMap<String, Vec<u8>>) {
        let mut pages = self.lock();
        pages.slow = None;
        pages.answers.retain(|path, _| path == paths::SYNC);
        pages.answers.extend(files.iter().map(|(name, bytes)| (paths::metadata(name), bytes.clone())));
    }

    /// Sends this file of metadata a byte a second, until it mirrors again.
    pub fn drip(&self, name: &str) {
        self.lock().slow = Some(paths::metadata(name));
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.lock().asked.get(path).copied().unwrap_or(0)
    }

    /// Makes room for the branch server, which is started again.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn leave(mut self, lab: &Lab) -> Result<(), LabError> {
        self.listens.abort();
        // Once it has ended, the address is free.
        let _ = (&mut self.listens).await;
        lab.start_part(&Part::branch(&self.branch))
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// What of its identity a branch server has on its disk.
#[derive(serde::Deserialize)]
struct Kept {
    certificate: String,
    authority: String,
}

/// The TLS of a branch server, by the keys that lie on its disk.
fn stolen(branch: &BranchName, state: &Path) -> Result<ServerConfig, LabError> {
    let path = state.join("identity.toml");
    let unusable = |why: String| LabError::Content { path: path.clone(), why };
    let kept: Kept = read_toml(&path).map_err(|e| unusable(crate::api::chain(&e)))?;
    let make = || -> Result<ServerConfig, Refusal> {
        let key = TlsKey::read(&state.join("identity-key.pem"))?;
        let (chain, root) = (vec![certificate_from_pem(&kept.certificate)?], certificate_from_pem(&kept.authority)?);
        let authority = Authority::open(Suffix::default(), Some(branch.clone()), chain, key)?;
        let own = TlsKey::generate()?;
        let chain = authority.issue_own(&own.request()?, SystemClock.now())?;
        let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
        // Who presents what is the same to it.
        server_config((chain, &own), root, Suffix::default(), Clients::Optional, none_denied(), time)
    };
    make().map_err(|refusal| unusable(refusal.to_string()))
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, pages: Arc<Mutex<Pages>>) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n if head.len() + n > MAX_HEAD => return Ok(()),
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let (found, drips) = {
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        *pages.asked.entry(path.clone()).or_default() += 1;
        (pages.answers.get(&path).cloned(), pages.slow.as_ref() == Some(&path))
    };
    let (status, kind, body) = match found {
        Some(body) => (200, "application/json", body),
        None => {
            let code = if path.starts_with("/v1/metadata/") { Code::NotFound } else { Code::DatabaseUnavailable };
            let problem = Problem::new(code, "An impostor has nothing else to say.", "Send it away.");
            (code.status(), "application/problem+json", serde_json::to_vec(&problem).unwrap_or_default())
        }
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if drips {
        // Until the client gives up or the request times out.
        for byte in body {
            stream.write_all(&[byte]).await?;
            stream.flush().await?;
            tokio::time::sleep(DRIP).await;
        }
        return Ok(());
    }
    stream.write_all(&body).await?;
    stream.shutdown().await
}
