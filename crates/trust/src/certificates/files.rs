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

use super::check::fingerprint;
use super::identity::Suffix;
use super::issue::{Authority, MAX_CERTIFICATE, TlsKey};
use super::tls::Anchor;
use crate::keys::read_secret;
use crate::refusal::{Refusal, Why, refuse};

/// File name of the authority's certificate; safe to copy to operators' machines.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// File name of the authority's key, readable by its owner only.
const AUTHORITY_KEY: &str = "authority-key.pem";
/// Lock held while an authority is created, so that two processes do not create two.
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
        None => refuse(Why::CertificateForm, format!("The text is not a {} in PEM.", tag.to_lowercase())),
    }
}

/// A certificate as PEM.
pub fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    to_pem(CERTIFICATE, certificate)
}

/// The one certificate of a PEM text.
///
/// # Errors
/// It is not valid, or too long.
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
/// It is not valid, or too long.
pub fn request_from_pem(text: &str) -> Result<Vec<u8>, Refusal> {
    from_pem(REQUEST, text)
}

/// Reads the authority that an operator names.
///
/// Its fingerprint in 64 hexadecimal digits, or a file with its certificate in PEM. Blocking.
///
/// # Errors
/// It is neither, or the file cannot be read.
pub fn read_anchor(text: &str) -> Result<Anchor, Refusal> {
    if let Ok(pinned) = text.trim().parse() {
        return Ok(Anchor::Pinned(pinned));
    }
    if !Path::new(text).exists() {
        let sentence = format!("{text} is neither a fingerprint (64 hexadecimal digits) nor a file.");
        return refuse(Why::AuthorityUnknown, sentence);
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
    let failed =
        |e: std::io::Error| Refusal::new(Why::KeyFileUnreadable, format!("Cannot read {}: {e}.", path.display()));
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_CHAIN_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_CHAIN_FILE {
        return refuse(Why::TooLarge, format!("{} is larger than {MAX_CHAIN_FILE} bytes.", path.display()));
    }
    Ok(text)
}

/// Reads a public certificate for browsers, with chain and key, from PEM files. Blocking.
///
/// # Errors
/// A file cannot be read, others can read the key, or they do not belong together.
pub fn read_public(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Refusal> {
    let text = read_text(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        let sentence = format!("{} contains no certificates in PEM.", certificate.display());
        Refusal::new(Why::CertificateForm, sentence)
    })?;
    let secret = read_secret(key)?;
    // The parser's message may quote the key, so it is dropped.
    let der = PrivateKeyDer::from_pem_slice(secret.expose().as_bytes())
        .map_err(|_| Refusal::new(Why::NotAKey, format!("{} contains no private key in PEM.", key.display())))?;
    let made = CertifiedKey::from_der(chain, der, &aws_lc_rs::default_provider());
    made.map(Arc::new).map_err(|e| {
        let sentence =
            format!("The certificate {} and the key {} do not match: {e}.", certificate.display(), key.display());
        Refusal::new(Why::CertificateForm, sentence)
    })
}

impl Authority {
    /// Opens the fleet's authority in its folder, or creates it.
    ///
    /// Also returns whether it was created. Blocking.
    ///
    /// The key is written first, so that after a kill in between the next start creates the certificate.
    ///
    /// # Errors
    /// The folder cannot be written, others can read the key, or the certificate is there without its key.
    pub fn open_or_create(folder: &Path, suffix: Suffix, now: DateTime<Utc>) -> Result<(Self, bool), Refusal> {
        let failed =
            |e: std::io::Error| Refusal::new(Why::Storage, format!("Cannot use the folder {}: {e}.", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let (certificate_file, key_file) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY));
        let exists = |path: &Path| path.try_exists().map_err(failed);
        let kept = exists(&certificate_file)?;
        if !exists(&key_file)? {
            if kept {
                let sentence =
                    format!("{} exists, but its key {AUTHORITY_KEY} is missing.", certificate_file.display());
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
    how(path, text.as_bytes()).map_err(|e| Refusal::new(Why::Storage, format!("Cannot write {}: {e}.", path.display())))
}
