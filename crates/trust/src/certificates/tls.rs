//! TLS 1.2 and newer, with one cryptographic provider, certificates of the fleet, and a time that has a floor.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use service_kit::client::OtherServer;

use super::check::{DenyList, Purpose, check_chain, fingerprint};
use super::identity::{Identity, Suffix};
use super::issue::{Chain, TlsKey};
use super::time::FleetTime;
use crate::refusal::{Refusal, Why};

/// Which clients a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Only clients with a certificate of the fleet.
    Required,
    /// Also clients without a certificate, for enrolment.
    ///
    /// A certificate that is presented must be valid.
    Optional,
}

/// Returns the current deny list.
///
/// Called at each handshake, so that a denial takes effect at once.
pub type Denied = Arc<dyn Fn() -> Arc<DenyList> + Send + Sync>;

/// An empty deny list, where one identity is accepted or denials are checked per request.
pub fn none_denied() -> Denied {
    let empty = Arc::<DenyList>::default();
    Arc::new(move || empty.clone())
}

/// The fleet's authority as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// Its certificate.
    Known(CertificateDer<'static>),
    /// Only its SHA-256, as in a join token: the server presents the certificate.
    Pinned(Digest),
}

/// Which server a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Exactly this identity.
    Exactly(Identity),
    /// Any branch's server: before enrolment, when the branch is not known yet.
    AnyBranch,
}

impl From<Identity> for Peer {
    fn from(identity: Identity) -> Self {
        Self::Exactly(identity)
    }
}

impl Peer {
    fn is(&self, found: &Identity) -> bool {
        match self {
            Self::Exactly(identity) => identity == found,
            Self::AnyBranch => matches!(found, Identity::Branch(_)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(identity) => identity.fmt(f),
            Self::AnyBranch => f.write_str("a branch"),
        }
    }
}

/// Builds the TLS configuration of a listener for machines.
///
/// The authority's certificate is sent along for clients that know only its fingerprint. Sessions are not resumed: a resumed
/// session would not be checked against the deny list again.
///
/// # Errors
/// Key and certificate do not belong together.
pub fn server_config(
    own: (Chain, &TlsKey),
    authority: CertificateDer<'static>,
    suffix: Suffix,
    clients: Clients,
    denied: Denied,
    time: FleetTime,
) -> Result<ServerConfig, Refusal> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut chain = own.0;
    chain.push(authority.clone());
    let anchor = Anchor::Known(authority);
    let verifier = Arc::new(Verifier {
        provider: provider.clone(),
        anchor,
        suffix,
        denied,
        clients,
        peer: None,
        time: time.clone(),
    });
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, own.1.to_der())
        .map_err(unusable)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Builds the TLS configuration of a listener for operators, without client certificates.
///
/// Clients that send a host name, as browsers do, get `public` if there is one; the fleet's programs send none and get the
/// fleet's certificate.
///
/// # Errors
/// Key and certificate do not belong together.
pub fn people_config(
    own: (Chain, &TlsKey),
    authority: CertificateDer<'static>,
    public: Option<Arc<CertifiedKey>>,
    time: FleetTime,
) -> Result<ServerConfig, Refusal> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut chain = own.0;
    chain.push(authority);
    let own = Arc::new(CertifiedKey::from_der(chain, own.1.to_der(), &provider).map_err(unusable)?);
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { own, public }));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// See [`people_config`].
#[derive(Debug)]
struct ByName {
    own: Arc<CertifiedKey>,
    public: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let public = self.public.as_ref().filter(|_| hello.server_name().is_some());
        Some(public.unwrap_or(&self.own).clone())
    }
}

/// Builds a client's TLS configuration.
///
/// The server must be `peer`, whatever address was dialled.
///
/// Without `own`, as before enrolment, the client presents no certificate.
///
/// # Errors
/// Key and certificate do not belong together.
pub fn client_config(
    own: Option<(Chain, &TlsKey)>,
    anchor: Anchor,
    suffix: Suffix,
    peer: impl Into<Peer>,
    denied: Denied,
    time: FleetTime,
) -> Result<ClientConfig, Refusal> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = Clients::Required;
    let verifier = Verifier {
        provider: provider.clone(),
        anchor,
        suffix,
        denied,
        clients,
        peer: Some(peer.into()),
        time: time.clone(),
    };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key.to_der()).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    // The identity is proven by certificate, so the host name is not needed and not revealed on the wire.
    config.enable_sni = false;
    Ok(config)
}

fn unusable(error: Error) -> Refusal {
    Refusal::new(Why::CertificateForm, format!("Cannot set up TLS with this certificate and key: {error}."))
}

/// Verifies either direction.
///
/// [`check_chain`] judges the identity, the provider the handshake's signature.
struct Verifier {
    provider: Arc<CryptoProvider>,
    anchor: Anchor,
    suffix: Suffix,
    denied: Denied,
    clients: Clients,
    peer: Option<Peer>,
    time: FleetTime,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.suffix)
    }
}

impl Verifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        purpose: Purpose,
        now: DateTime<Utc>,
    ) -> Result<Identity, Refusal> {
        let chain: Vec<_> = std::iter::once(leaf).chain(rest).cloned().collect();
        let authority = match &self.anchor {
            Anchor::Known(authority) => authority,
            Anchor::Pinned(pinned) => rest.iter().find(|c| fingerprint(c) == *pinned).ok_or_else(|| {
                let sentence = format!("The server did not present the pinned authority {}.", pinned.short());
                Refusal::new(Why::CertificateChain, sentence)
            })?,
        };
        let checked = check_chain(&chain, authority, &self.suffix, purpose, now, &(self.denied)());
        checked.map(|c| c.identity)
    }
}

/// Converts a refusal for a client, whose own log gets the sentence.
fn refused(refusal: Refusal) -> Error {
    let error = match refusal.why() {
        Why::CertificateDenied => CertificateError::Revoked,
        Why::CertificatePurpose => CertificateError::InvalidPurpose,
        Why::CertificateForm | Why::TooLarge => CertificateError::BadEncoding,
        _ => CertificateError::Other(OtherError(Arc::new(refusal))),
    };
    Error::InvalidCertificate(error)
}

/// Converts a refusal for a listener.
///
/// The client learns only the alert, one per kind of reason.
fn turned_away(refusal: Refusal) -> Error {
    match refusal.why() {
        Why::CertificateExpired => Error::InvalidCertificate(CertificateError::Expired),
        Why::CertificateChain => Error::InvalidCertificate(CertificateError::UnknownIssuer),
        _ => refused(refusal),
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = i64::try_from(now.as_secs()).ok().and_then(|s| DateTime::from_timestamp(s, 0)).unwrap_or_default();
        let checked = self.check(end_entity, intermediates, Purpose::Client, now).map_err(turned_away);
        checked.map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = |now| self.check(end_entity, intermediates, Purpose::Server, now);
        let identity = self.time.times().hold(judge).map_err(refused)?;
        match &self.peer {
            Some(peer) if peer.is(&identity) => Ok(ServerCertVerified::assertion()),
            _ => {
                let expected = self.peer.as_ref().map_or("no server".to_owned(), Peer::to_string);
                let other = OtherServer { identity: identity.to_string(), expected };
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(other)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_of_a_client_has_an_alert_of_its_own() {
        use rustls::AlertDescription as Alert;
        let alert = |why| match turned_away(Refusal::new(why, "For the test.")) {
            Error::InvalidCertificate(error) => Alert::from(error),
            other => panic!("{other}"),
        };
        let whys = [Why::CertificateExpired, Why::CertificateChain, Why::CertificatePurpose, Why::CertificateDenied];
        let alerts =
            [Alert::CertificateExpired, Alert::UnknownCA, Alert::UnsupportedCertificate, Alert::CertificateRevoked];
        assert_eq!(whys.map(alert), alerts);
    }
}
