//! Certificates and requests as text (PEM, RFC 7468), and the files of an authority and of a public certificate.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use service_kit::durable;

use super::{Anchor, Authority, MAX_CERTIFICATE, Suffix, TlsKey, fingerprint};
use crate::keys::read_secret;
use crate::refusal::{Refusal, Why, refuse};

/// The authority's certificate in its folder: what a person may copy to wherever head office is to be believed.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// The authority's key in its folder, for its owner only.
const AUTHORITY_KEY: &str = "authority-key.pem";
/// Held while an authority is made, so that two processes do not make one each.
const LOCK: &str = "lock";
/// Largest file of certificates, in bytes: a public chain has a few of about 2 kB.
const MAX_CHAIN_FILE: u64 = 64 * 1024;
/// Longest certificate or request as PEM, in bytes: base64 and its two lines.
const MAX_PEM: usize = MAX_CERTIFICATE * 3 / 2;
const CERTIFICATE: &str = "CERTIFICATE";
const REQUEST: &str = "CERTIFICATE REQUEST";

fn to_pem(tag: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), lines)
}

fn from_pem(tag: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    let parsed = if text.len() <= MAX_PEM { pem::parse(text).ok() } else { None };
    match parsed.filter(|p| p.tag() == tag) {
        Some(pem) => Ok(pem.into_contents()),
        None => refuse(Why::CertificateForm, format!("This is no {} in PEM.", tag.to_lowercase())),
    }
}

/// A certificate as PEM.
pub fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    to_pem(CERTIFICATE, certificate)
}

/// The one certificate of a PEM text.
///
/// # Errors
/// It is none, or longer than one is.
pub fn certificate_from_pem(text: &str) -> Result<CertificateDer<'static>, Refusal> {
    from_pem(CERTIFICATE, text).map(Into::into)
}

/// A request for a certificate ([`TlsKey::request`]) as PEM.
pub fn request_to_pem(request: &[u8]) -> String {
    to_pem(REQUEST, request)
}

/// The request of a PEM text, in DER.
///
/// # Errors
/// It is none, or longer than one is.
pub fn request_from_pem(text: &str) -> Result<Vec<u8>, Refusal> {
    from_pem(REQUEST, text)
}

/// Whom to believe, as a person names it: 64 hexadecimal digits of the authority's fingerprint, or a file with its
/// certificate in PEM. Blocking.
///
/// # Errors
/// Neither of them, or the file cannot be read.
pub fn read_anchor(text: &str) -> Result<Anchor, Refusal> {
    if let Ok(pinned) = text.trim().parse() {
        return Ok(Anchor::Pinned(pinned));
    }
    Ok(Anchor::Known(certificate_from_pem(&read_text(Path::new(text))?)?))
}

impl Anchor {
    /// The authority's fingerprint.
    pub fn fingerprint(&self) -> fleet_types::Digest {
        match self {
            Self::Known(certificate) => fingerprint(certificate),
            Self::Pinned(pinned) => *pinned,
        }
    }
}

fn read_text(path: &Path) -> Result<String, Refusal> {
    let failed = |e: std::io::Error| {
        Refusal::new(Why::KeyFileUnreadable, format!("The file {} cannot be read: {e}.", path.display()))
    };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_CHAIN_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_CHAIN_FILE {
        return refuse(Why::TooLarge, format!("The file {} has more than {MAX_CHAIN_FILE} bytes.", path.display()));
    }
    Ok(text)
}

/// A certificate that browsers believe, with its chain and key out of PEM files as certificate authorities give them. Blocking.
///
/// # Errors
/// A file cannot be read, others can read the key, or they do not belong together.
pub fn read_public(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Refusal> {
    let text = read_text(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        let sentence = format!("The file {} holds no certificates in PEM.", certificate.display());
        Refusal::new(Why::CertificateForm, sentence)
    })?;
    let secret = read_secret(key)?;
    // The parser's own message may quote what it read: it stays here.
    let der = PrivateKeyDer::from_pem_slice(secret.expose().as_bytes())
        .map_err(|_| Refusal::new(Why::NotAKey, format!("The file {} holds no private key in PEM.", key.display())))?;
    let made = CertifiedKey::from_der(chain, der, &aws_lc_rs::default_provider());
    made.map(Arc::new).map_err(|e| {
        let sentence = format!("{} and {} cannot be used together: {e}.", certificate.display(), key.display());
        Refusal::new(Why::CertificateForm, sentence)
    })
}

impl Authority {
    /// The fleet's authority out of its folder, and whether it was made just now: key first, certificate after, so that a
    /// kill in between leaves a key whose certificate is made at the next start. Blocking.
    ///
    /// # Errors
    /// The folder cannot be written, others can read the key, or the certificate is there without its key.
    pub fn take_up(folder: &Path, suffix: Suffix, now: DateTime<Utc>) -> Result<(Self, bool), Refusal> {
        let failed = |e: std::io::Error| {
            Refusal::new(Why::Storage, format!("The folder {} cannot be used: {e}.", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let (certificate_file, key_file) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY));
        let exists = |path: &Path| path.try_exists().map_err(failed);
        let kept = exists(&certificate_file)?;
        if !exists(&key_file)? {
            if kept {
                let sentence = format!("{} is there without its key {AUTHORITY_KEY}.", certificate_file.display());
                return refuse(Why::StoreDamaged, sentence);
            }
            write(&key_file, TlsKey::generate()?.to_pem().expose(), durable::write_secret_file)?;
        }
        let key = TlsKey::read(&key_file)?;
        if kept {
            let certificate = certificate_from_pem(&read_text(&certificate_file)?)?;
            return Ok((Self::open(suffix, None, vec![certificate], key)?, false));
        }
        let authority = Self::begin(suffix, key, now)?;
        write(&certificate_file, &certificate_to_pem(&authority.chain()[0]), durable::write_file)?;
        Ok((authority, true))
    }
}

fn write(
    path: &Path,
    text: &str,
    how: impl FnOnce(&Path, &[u8]) -> Result<(), durable::DurableError>,
) -> Result<(), Refusal> {
    how(path, text.as_bytes())
        .map_err(|e| Refusal::new(Why::Storage, format!("The file {} cannot be written: {e}.", path.display())))
}
