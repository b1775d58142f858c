//! How tests speak to head office: over TLS, believing its authority, and as a branch by the certificate that it issued.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use rustls::ClientConfig;
use service_kit::client::{ClientError, JsonClient, Timeouts};
use service_kit::{Clock, Secret};
use test_kit::{BranchKey, Leaf, TlsTunnel};
use trust::certificates::{
    AUTHORITY_FILE, Anchor, FleetTime, Identity, JoinToken, Suffix, client_config, none_denied, read_anchor,
};
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse};

/// Who head office must prove to be, and by which clock certificates are judged.
#[derive(Clone)]
pub struct Line {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Line {
    /// Head office whose authority lies in `folder`.
    pub fn new(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        Self { folder: folder.to_owned(), clock }
    }

    pub fn anchor(&self) -> Anchor {
        read_anchor(self.folder.join(AUTHORITY_FILE).to_str().unwrap()).unwrap()
    }

    pub fn time(&self) -> FleetTime {
        FleetTime::new(self.clock.clone(), DateTime::UNIX_EPOCH)
    }

    pub fn config(&self, own: Option<&Leaf>) -> ClientConfig {
        let (own, suffix) = (own.map(Leaf::own), Suffix::default());
        client_config(own, self.anchor(), suffix, Identity::HeadOffice, none_denied(), self.time()).unwrap()
    }

    /// At a listener, with a token, a certificate, or nothing.
    pub fn client(&self, address: SocketAddr, token: Option<&str>, own: Option<&Leaf>) -> JsonClient {
        let client = JsonClient::secure(&format!("https://{address}"), self.config(own), Timeouts::default()).unwrap();
        token.into_iter().fold(client, |client, token| client.with_token(Secret::new(token)))
    }

    /// For clients that speak plain TCP.
    pub fn tunnel(&self, address: SocketAddr, own: Option<&Leaf>) -> SocketAddr {
        TlsTunnel::start(address, self.config(own)).unwrap().address()
    }
}

/// What a branch server posts to enrol: with a join token as `filial branch add` prints it, or by its key alone.
pub fn enrolment(join_token: Option<&str>, key: &BranchKey) -> BranchEnrolRequest {
    let secret = |text: &str| match JoinToken::parse(&Secret::new(text)) {
        Ok(token) => token.secret.expose().to_owned(),
        // Plain data is sent as it is.
        Err(_) => text.to_owned(),
    };
    BranchEnrolRequest { join_token: join_token.map(secret), certificate_request: key.request().unwrap() }
}

/// Asks for a certificate.
pub async fn try_enrol(
    machines: &JsonClient,
    join_token: Option<&str>,
    key: &BranchKey,
) -> Result<BranchEnrolResponse, ClientError> {
    machines.post("/v1/enrol", &enrolment(join_token, key)).await
}
