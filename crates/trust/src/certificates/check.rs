//! Checks certificate chains that peers present.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Digest;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::FromDer as _;

use super::identity::{Identity, Suffix};
use super::issue::MAX_CERTIFICATE;
use crate::keys::{PublicKey, sha256};
use crate::refusal::{Refusal, Why, refuse};

/// Maximum certificates in a peer's chain.
///
/// Its own, its branch's intermediate, the authority's.
const MAX_CHAIN: usize = 3;

/// The role in which a certificate is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// By a connecting client.
    Client,
    /// By a server.
    Server,
}

/// Revoked certificates and keys that have not expired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyList {
    /// Serial numbers, in lower-case hexadecimal digits.
    pub serials: BTreeSet<String>,
    /// SHA-256 of public keys (SubjectPublicKeyInfo, DER).
    ///
    /// A key that was stolen stays denied under any certificate.
    pub keys: BTreeSet<Digest>,
}

/// A verified chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The identity of the leaf.
    pub identity: Identity,
    /// The leaf's serial number, in lower-case hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the leaf's public key (SubjectPublicKeyInfo, DER).
    pub key: Digest,
    /// SHA-256 of the intermediate's public key, by which head office knows a branch server.
    ///
    /// `None` if the authority itself issued the leaf.
    pub issuer: Option<Digest>,
    /// When the leaf expires.
    pub expires: DateTime<Utc>,
}

/// Returns the SHA-256 of a certificate, as join tokens carry it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Digest {
    sha256(certificate)
}

/// Checks a chain, the leaf first, against the fleet's authority.
///
/// # Errors
/// Unreadable, not issued by the authority, expired or not valid yet, for another purpose, without exactly one name of the
/// fleet, issued by another branch than it names, or denied.
pub fn check_chain(
    chain: &[CertificateDer<'_>],
    authority: &CertificateDer<'_>,
    suffix: &Suffix,
    purpose: Purpose,
    now: DateTime<Utc>,
    denied: &DenyList,
) -> Result<Checked, Refusal> {
    let Some((leaf, rest)) = chain.split_first() else {
        return refuse(Why::CertificateForm, "No certificate was presented.");
    };
    if chain.len() > MAX_CHAIN || chain.iter().any(|c| c.len() > MAX_CERTIFICATE) {
        let sentence = format!("The chain exceeds {MAX_CHAIN} certificates of {MAX_CERTIFICATE} bytes.");
        return refuse(Why::TooLarge, sentence);
    }
    let path = verify_path(leaf, rest, authority, purpose, now)?;
    let leaf = parse(leaf)?;
    let mut checked = Checked {
        identity: only_name(&leaf, suffix)?,
        issuer: None,
        serial: hex::encode(leaf.raw_serial()),
        key: sha256(leaf.public_key().raw),
        expires: DateTime::from_timestamp(leaf.validity().not_after.timestamp(), 0).unwrap_or_default(),
    };
    check_denied(&leaf, denied)?;
    checked.issuer = check_issuer(&checked.identity, &path, suffix, denied)?;
    Ok(checked)
}

/// Checks a chain as [`check_chain`] does, except that it may have expired: who had a certificate keeps the identity.
///
/// Everything is judged at the last moment at which the leaf was valid.
///
/// # Errors
/// As [`check_chain`]; also a leaf that is not valid yet.
pub fn check_former(
    chain: &[CertificateDer<'_>],
    authority: &CertificateDer<'_>,
    suffix: &Suffix,
    now: DateTime<Utc>,
    denied: &DenyList,
) -> Result<Checked, Refusal> {
    let Some(leaf) = chain.first().filter(|leaf| leaf.len() <= MAX_CERTIFICATE) else {
        return refuse(Why::CertificateForm, "No certificate was presented, or it is too large.");
    };
    let (_, until) = validity(leaf)?;
    check_chain(chain, authority, suffix, Purpose::Client, now.min(until - TimeDelta::seconds(1)), denied)
}

/// Returns a certificate's validity period.
///
/// # Errors
/// It cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(DateTime<Utc>, DateTime<Utc>), Refusal> {
    let certificate = parse(certificate)?;
    let at = |time: i64| DateTime::from_timestamp(time, 0).unwrap_or_default();
    let validity = certificate.validity();
    Ok((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}

/// Returns a certificate's ed25519 key, which also signs statements; `None` for another kind.
///
/// # Errors
/// It cannot be read.
pub fn certificate_signer(certificate: &CertificateDer<'_>) -> Result<Option<PublicKey>, Refusal> {
    let certificate = parse(certificate)?;
    let key = certificate.public_key();
    let is_ed25519 = key.algorithm.algorithm == OID_SIG_ED25519;
    Ok(PublicKey::from_bytes(&key.subject_public_key.data).filter(|_| is_ed25519))
}

/// Verifies signatures, times, usage and authority with webpki.
///
/// Returns the intermediates used, from the leaf up.
fn verify_path(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    authority: &CertificateDer<'_>,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let unreadable = |e| Refusal::new(Why::CertificateForm, format!("The certificate is malformed: {e}."));
    let entity = EndEntityCert::try_from(leaf).map_err(unreadable)?;
    let anchor = webpki::anchor_from_trusted_cert(authority).map_err(unreadable)?;
    // "Required" also of the intermediate, and not only if it says anything about uses.
    let usage = match purpose {
        Purpose::Client => KeyUsage::required(CLIENT_AUTH),
        Purpose::Server => KeyUsage::required(SERVER_AUTH),
    };
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let anchors = [anchor];
    let path = entity.verify_for_usage(algorithms, &anchors, rest, time, usage, None, None).map_err(|e| {
        let why = match e {
            webpki::Error::RequiredEkuNotFoundContext(_) => Why::CertificatePurpose,
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Why::CertificateExpired,
            _ => Why::CertificateChain,
        };
        let here = shown(time);
        let sentence = match e {
            webpki::Error::CertExpired { not_after, .. } => {
                format!("The certificate expired on {}, and the time here is {here}.", shown(not_after))
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                format!(
                    "The certificate is valid from {}, and the time here is {here}: is this clock right?",
                    shown(not_before)
                )
            }
            e => format!("The certificate is not valid: {e}."),
        };
        Refusal::new(why, sentence)
    })?;
    Ok(path.intermediate_certificates().map(|c| c.der().to_vec()).collect())
}

/// A time of webpki's, for people.
fn shown(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(|| "a time out of range".to_owned(), |time| time.format("%-d %b %Y %H:%M UTC").to_string())
}

/// The object identifiers of RFC 5280, 4.2.1.12, as webpki takes them.
///
/// 1.3.6.1.5.5.7.3.1 and .2.
const SERVER_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 2];

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Refusal> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => refuse(Why::CertificateForm, "The certificate is malformed."),
    }
}

/// Returns the identity of the only name, a DNS name of this fleet.
fn only_name(certificate: &X509Certificate<'_>, suffix: &Suffix) -> Result<Identity, Refusal> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| Refusal::new(Why::CertificateForm, "The certificate has two lists of names."))?;
    match names.map(|n| &n.value.general_names[..]) {
        Some([GeneralName::DNSName(name)]) => Identity::from_dns_name(name, suffix),
        Some(names) => refuse(
            Why::CertificateName,
            format!("The certificate must have exactly one DNS name; it has {} name(s).", names.len()),
        ),
        None => refuse(Why::CertificateName, "The certificate has no DNS name."),
    }
}

fn check_denied(certificate: &X509Certificate<'_>, denied: &DenyList) -> Result<(), Refusal> {
    let serial = hex::encode(certificate.raw_serial());
    if denied.serials.contains(&serial) {
        return refuse(Why::CertificateDenied, format!("The certificate with serial number {serial} is denied."));
    }
    let key = sha256(certificate.public_key().raw);
    if denied.keys.contains(&key) {
        return refuse(Why::CertificateDenied, format!("The key {} is denied.", key.short()));
    }
    Ok(())
}

/// Checks that the issuer may issue for this identity.
///
/// Returns the intermediate's key, if any.
///
/// The authority itself issues for head office; a branch's intermediate issues for that branch and its terminals only.
fn check_issuer(
    identity: &Identity,
    path: &[Vec<u8>],
    suffix: &Suffix,
    denied: &DenyList,
) -> Result<Option<Digest>, Refusal> {
    let issuer = match path {
        [] => None,
        [intermediate] => {
            let intermediate = parse(intermediate)?;
            check_denied(&intermediate, denied)?;
            Some((only_name(&intermediate, suffix)?, sha256(intermediate.public_key().raw)))
        }
        _ => {
            return refuse(Why::CertificateChain, "The chain has more than one intermediate authority.");
        }
    };
    let fits = match (identity.branch(), &issuer) {
        (None, None) => true,
        (Some(branch), Some((Identity::Branch(issuer), _))) => branch == issuer,
        _ => false,
    };
    if fits {
        return Ok(issuer.map(|(_, key)| key));
    }
    let issuer = issuer.map_or("the fleet's authority".to_owned(), |(name, _)| name.to_string());
    refuse(Why::CertificateChain, format!("The certificate of {identity} was issued by {issuer}."))
}
