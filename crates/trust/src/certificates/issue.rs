//! Issuing: the fleet's authority, the branches' intermediates, leaves from requests.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use service_kit::Secret;
use time::OffsetDateTime;

use super::identity::{Identity, Suffix};
use super::time::Times;
use crate::keys::{PublicKey, SigningKey, read_secret, sha256, write_new_secret};
use crate::refusal::{Refusal, Why, refuse};

/// How long the fleet's authority lasts.
pub const ROOT_LIFETIME: TimeDelta = TimeDelta::days(20 * 365);
/// How long a branch's intermediate lasts.
pub const BRANCH_LIFETIME: TimeDelta = TimeDelta::days(3 * 365);
/// How long a machine's own certificate lasts.
pub const LEAF_LIFETIME: TimeDelta = TimeDelta::days(90);
/// Certificates begin this much before they are made: clocks of a fleet differ.
const BACKDATED: TimeDelta = TimeDelta::days(1);
/// Largest certificate or request in bytes, in DER.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// A certificate and those between it and the fleet's authority, in DER, the leaf first.
pub type Chain = Vec<CertificateDer<'static>>;

/// A key for certificates: ed25519, or P-256 where browsers connect.
///
/// `Debug` shows its public part only.
pub struct TlsKey(KeyPair);

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsKey({})", sha256(self.0.public_key_raw()).short())
    }
}

impl TlsKey {
    /// A new P-256 key, which every TLS client understands.
    ///
    /// # Errors
    /// The random source failed.
    pub fn generate() -> Result<Self, Refusal> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(|e| crypto(&e))
    }

    /// The same key as signs a machine's reports.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn from_signing_key(key: &SigningKey) -> Result<Self, Refusal> {
        Self::from_pem(&key.to_pem()?)
    }

    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// No ed25519 or P-256 key. The text is in no message.
    pub fn from_pem(text: &Secret) -> Result<Self, Refusal> {
        let parsed = pem::parse(text.expose()).ok().filter(|p| p.tag() == "PRIVATE KEY");
        let der = parsed.map(|p| PrivatePkcs8KeyDer::from(p.into_contents()));
        let read = |algorithm| der.as_ref().and_then(|d| KeyPair::from_pkcs8_der_and_sign_algo(d, algorithm).ok());
        match read(&PKCS_ED25519).or_else(|| read(&PKCS_ECDSA_P256_SHA256)) {
            Some(pair) => Ok(Self(pair)),
            None => refuse(Why::NotAKey, "The text is not an ed25519 or P-256 key in PKCS#8 and PEM."),
        }
    }

    /// Reads a key file that only its owner can read. Blocking.
    ///
    /// # Errors
    /// Other users can read it, or it is not a key.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        Self::from_pem(&read_secret(path)?)
    }

    /// Makes a new P-256 key and its file, mode 0600, which must not exist yet. Blocking.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Refusal> {
        let key = Self::generate()?;
        write_new_secret(path, &key.to_pem())?;
        Ok(key)
    }

    /// The key as PKCS#8 in PEM.
    pub fn to_pem(&self) -> Secret {
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Secret::new(pem::encode_config(&pem::Pem::new("PRIVATE KEY", self.0.serialized_der()), lines))
    }

    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.serialized_der().to_vec().into())
    }

    /// Creates a certificate request in DER, which proves possession of the key.
    ///
    /// The issuer decides the identity.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn request(&self) -> Result<Vec<u8>, Refusal> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.0).map(|r| r.der().to_vec()).map_err(|e| crypto(&e))
    }
}

/// Returns the SHA-256 of a request's public key (SubjectPublicKeyInfo, DER).
///
/// # Errors
/// Too long, no request, not signed by its own key, or a key of another kind.
pub fn request_key(request: &[u8]) -> Result<Digest, Refusal> {
    Ok(sha256(&parse_request(request)?.public_key.subject_public_key_info()))
}

/// Returns a request's ed25519 key, which also signs statements; `None` for another kind.
///
/// # Errors
/// As [`request_key`].
pub fn request_signer(request: &[u8]) -> Result<Option<PublicKey>, Refusal> {
    let parsed = parse_request(request)?;
    let is_ed25519 = parsed.public_key.algorithm() == &PKCS_ED25519;
    Ok(PublicKey::from_bytes(parsed.public_key.der_bytes()).filter(|_| is_ed25519))
}

fn parse_request(request: &[u8]) -> Result<CertificateSigningRequestParams, Refusal> {
    if request.len() > MAX_CERTIFICATE {
        return refuse(
            Why::TooLarge,
            format!("The certificate request has {} bytes; the limit is {MAX_CERTIFICATE}.", request.len()),
        );
    }
    let parsed = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
        .map_err(|e| Refusal::new(Why::CertificateForm, format!("The certificate request is invalid: {e}.")))?;
    let kind = parsed.public_key.algorithm();
    if kind != &PKCS_ED25519 && kind != &PKCS_ECDSA_P256_SHA256 {
        return refuse(Why::CertificateForm, "The request's key is neither ed25519 nor P-256.");
    }
    Ok(parsed)
}

/// An issuer: head office, or a branch server for its branch.
#[derive(Debug)]
pub struct Authority {
    suffix: Suffix,
    /// `None`: the fleet's authority.
    branch: Option<BranchName>,
    chain: Chain,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates the fleet's authority with a new self-signed certificate.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn begin(suffix: Suffix, key: TlsKey, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let mut params = params(&format!("Filial {suffix}"), now.into(), ROOT_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key.0).map_err(|e| crypto(&e))?;
        Self::open(suffix, None, vec![certificate.der().clone()], key)
    }

    /// Opens an authority from its chain and key: the fleet's, or a branch's intermediate.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn open(suffix: Suffix, branch: Option<BranchName>, chain: Chain, key: TlsKey) -> Result<Self, Refusal> {
        let Some(own) = chain.first() else { return refuse(Why::CertificateForm, "The certificate chain is empty.") };
        let issuer = Issuer::from_ca_cert_der(own, key.0).map_err(|e| {
            Refusal::new(Why::CertificateForm, format!("Cannot read the authority's certificate: {e}."))
        })?;
        Ok(Self { suffix, branch, chain, issuer })
    }

    /// The authority's own certificate.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Issues a branch's intermediate from its server's request; the fleet's authority only.
    ///
    /// # Errors
    /// The request is invalid, or this authority is a branch's.
    pub fn issue_branch(&self, request: &[u8], branch: &BranchName, now: DateTime<Utc>) -> Result<Chain, Refusal> {
        if self.branch.is_some() {
            return refuse(Why::CertificatePurpose, "A branch cannot issue another authority.");
        }
        let identity = Identity::Branch(branch.clone());
        let mut params = params(&format!("Filial {identity}"), now.into(), BRANCH_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // What is below it is for these uses only, and for this branch only: `check_chain` compares the name.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![dns(&identity, &self.suffix)?];
        self.sign(request, &params)
    }

    /// Issues a terminal's client certificate from its request; branches only.
    ///
    /// Valid for 90 days, by clock and by floor.
    ///
    /// # Errors
    /// The request is invalid, or this authority is not a branch's.
    pub fn issue_terminal(
        &self,
        request: &[u8],
        terminal: &TerminalName,
        times: impl Into<Times>,
    ) -> Result<Chain, Refusal> {
        let Some(branch) = &self.branch else {
            return refuse(Why::CertificatePurpose, "Only a branch issues certificates for terminals.");
        };
        let identity = Identity::Terminal(branch.clone(), terminal.clone());
        self.issue_leaf(request, &identity, vec![ExtendedKeyUsagePurpose::ClientAuth], times.into())
    }

    /// Issues the authority's own TLS certificate from a request.
    ///
    /// For head office as a server, for a branch server as server and client. Valid by clock and by floor.
    ///
    /// # Errors
    /// The request is invalid.
    pub fn issue_own(&self, request: &[u8], times: impl Into<Times>) -> Result<Chain, Refusal> {
        let times = times.into();
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        match &self.branch {
            None => self.issue_leaf(request, &Identity::HeadOffice, vec![server], times),
            Some(branch) => {
                let uses = vec![server, ExtendedKeyUsagePurpose::ClientAuth];
                self.issue_leaf(request, &Identity::Branch(branch.clone()), uses, times)
            }
        }
    }

    fn issue_leaf(
        &self,
        request: &[u8],
        identity: &Identity,
        uses: Vec<ExtendedKeyUsagePurpose>,
        times: Times,
    ) -> Result<Chain, Refusal> {
        let mut params = params(&identity.to_string(), times, LEAF_LIFETIME)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = uses;
        params.subject_alt_names = vec![dns(identity, &self.suffix)?];
        self.sign(request, &params)
    }

    /// Signs the request's public key; names and uses are decided here.
    fn sign(&self, request: &[u8], params: &CertificateParams) -> Result<Chain, Refusal> {
        let request = parse_request(request)?;
        let made = params.signed_by(&request.public_key, &self.issuer).map_err(|e| crypto(&e))?;
        let mut chain = vec![made.der().clone()];
        if self.branch.is_some() {
            // The fleet's authority is pinned at the other end; the intermediate is sent along.
            chain.extend(self.chain.first().cloned());
        }
        Ok(chain)
    }
}

fn params(common_name: &str, times: Times, lifetime: TimeDelta) -> Result<CertificateParams, Refusal> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // For people; at most 64 characters (RFC 5280, appendix A.1). The identity is in the DNS name.
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    params.not_before = at(times.clock - BACKDATED)?;
    params.not_after = at(times.latest + lifetime)?;
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| Refusal::new(Why::Crypto, "The random source failed."))?;
    // A positive number of at most 20 bytes (RFC 5280, 4.1.2.2), never zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn at(time: DateTime<Utc>) -> Result<OffsetDateTime, Refusal> {
    OffsetDateTime::from_unix_timestamp(time.timestamp())
        .map_err(|_| Refusal::new(Why::CertificateForm, format!("{time} is outside the range of certificate dates.")))
}

fn dns(identity: &Identity, suffix: &Suffix) -> Result<SanType, Refusal> {
    let name = identity.dns_name(suffix);
    let name = name
        .try_into()
        .map_err(|e: rcgen::Error| Refusal::new(Why::CertificateName, format!("The DNS name is invalid: {e}.")))?;
    Ok(SanType::DnsName(name))
}

fn crypto(error: &rcgen::Error) -> Refusal {
    Refusal::new(Why::Crypto, format!("Cannot create the certificate: {error}."))
}
