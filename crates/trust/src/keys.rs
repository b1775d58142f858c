//! ed25519 keys (RFC 8032): generation, private PKCS#8 PEM files, public keys and their TUF ids.

mod secret_file;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, VerificationAlgorithm as _};
use fleet_types::{Digest, plural};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use service_kit::Secret;
use tough::schema::key as tuf;

use crate::refusal::{Refusal, Why, refuse};

pub use secret_file::{MAX_KEY_FILE, read_secret, write_new_secret};

/// Most keys that one role may have.
pub const MAX_KEYS: usize = 16;

/// A TUF key id: SHA-256 of the key's canonical JSON (TUF 1.0, 4.2).
pub type KeyId = Digest;

/// The public part of a signing key. As text: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Its TUF key id.
    pub fn id(&self) -> KeyId {
        // The canonical form (sorted, no spaces) of the JSON that `tuf_key` stands for.
        let json = format!(r#"{{"keytype":"ed25519","keyval":{{"public":"{self}"}},"scheme":"ed25519"}}"#);
        sha256(json.as_bytes())
    }

    /// Whether `signature` over `message` was made with this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ED25519.verify_sig(&self.0, message, signature).is_ok()
    }

    /// As [`PublicKey::verify`], of a signature as [`SigningKey::sign_text`] writes it.
    pub fn verify_text(&self, message: &str, signature: &str) -> bool {
        // Longer than any signature: not even decoded.
        let decoded = if signature.len() == 128 { hex::decode(signature).ok() } else { None };
        decoded.is_some_and(|signature| self.verify(message.as_bytes(), &signature))
    }

    /// A key by its 32 bytes; nothing if there are more or fewer.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key as TUF metadata carries it.
    pub fn tuf_key(&self) -> tuf::Key {
        tuf::Key::Ed25519 {
            keyval: tuf::Ed25519Key { public: self.0.to_vec().into(), _extra: Default::default() },
            scheme: tuf::Ed25519Scheme::Ed25519,
            _extra: Default::default(),
        }
    }

    /// The key out of TUF metadata; nothing if it is of another kind than the one used here.
    pub fn from_tuf(key: &tuf::Key) -> Option<Self> {
        match key {
            tuf::Key::Ed25519 { keyval, .. } => keyval.public.as_ref().try_into().ok().map(Self),
            _ => None,
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Refusal;
    fn from_str(s: &str) -> Result<Self, Refusal> {
        // The digest's spelling: 64 lower-case hexadecimal digits, so that equal keys are equal as text.
        let bytes = Digest::from_str(s)
            .map_err(|e| Refusal::new(Why::NotAKey, format!("The text is not a public key of 32 bytes: {e}.")))?;
        Ok(Self(*bytes.as_bytes()))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key that signs. `Debug` shows its public part only.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl SigningKey {
    /// A new key, from the operating system's random source.
    ///
    /// # Errors
    /// The random source failed.
    pub fn generate() -> Result<Self, Refusal> {
        Self::of(Ed25519KeyPair::generate().map_err(|_| crypto("a key could not be made"))?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, Refusal> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| crypto("a public key has not 32 bytes"))?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// Reads PKCS#8 (RFC 5958) in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// Longer than [`MAX_KEY_FILE`], or no ed25519 key. The text is in no message.
    pub fn from_pem(text: &Secret) -> Result<Self, Refusal> {
        if text.expose().len() as u64 > MAX_KEY_FILE {
            return refuse(Why::TooLarge, format!("The key is larger than {MAX_KEY_FILE} bytes."));
        }
        // The parser's own message may quote what it read: it stays here.
        let parsed = pem::parse(text.expose()).ok().filter(|p| p.tag() == "PRIVATE KEY");
        let pair = parsed.and_then(|p| Ed25519KeyPair::from_pkcs8_maybe_unchecked(p.contents()).ok());
        match pair {
            Some(pair) => Self::of(pair),
            None => refuse(Why::NotAKey, "The text is not an ed25519 key in PKCS#8 and PEM."),
        }
    }

    /// The key as PKCS#8 in PEM.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn to_pem(&self) -> Result<Secret, Refusal> {
        let der = self.pair.to_pkcs8v1().map_err(|_| crypto("a key could not be written"))?;
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(Secret::new(pem::encode_config(&pem::Pem::new("PRIVATE KEY", der.as_ref()), lines)))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Not a plain file, readable or writable by group or others, longer than [`MAX_KEY_FILE`], or no key.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        Self::from_pem(&read_secret(path)?)
    }

    /// Makes a new key and its file, mode 0600, which must not exist yet. Blocking.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Refusal> {
        let key = Self::generate()?;
        write_new_secret(path, &key.to_pem()?)?;
        Ok(key)
    }

    /// The public part.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message`: 128 hexadecimal digits.
    pub fn sign_text(&self, message: &str) -> String {
        hex::encode(self.sign(message.as_bytes()))
    }

    /// Signs `message`: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Who holds a role: different keys, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySet {
    keys: BTreeSet<PublicKey>,
    threshold: u32,
}

impl KeySet {
    /// `threshold` of `keys`.
    ///
    /// # Errors
    /// No key, one twice, more than [`MAX_KEYS`], or a threshold of zero or of more than there are keys.
    pub fn new(keys: &[PublicKey], threshold: u32) -> Result<Self, Refusal> {
        let distinct: BTreeSet<_> = keys.iter().copied().collect();
        if distinct.len() != keys.len() {
            return refuse(Why::BadKeySet, "A key is listed twice.");
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return refuse(Why::BadKeySet, format!("A role must have 1 to {MAX_KEYS} keys; {} are given.", keys.len()));
        }
        if threshold == 0 || threshold as usize > keys.len() {
            let signatures = plural(threshold, "signature", "signatures");
            let sentence = format!("{signatures} cannot come from {}.", plural(keys.len(), "key", "keys"));
            return refuse(Why::BadKeySet, sentence);
        }
        Ok(Self { keys: distinct, threshold })
    }

    /// One key.
    pub fn one(key: PublicKey) -> Self {
        Self { keys: BTreeSet::from([key]), threshold: 1 }
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.keys.iter().copied()
    }

    /// How many must sign.
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The key of this id.
    pub fn by_id(&self, id: KeyId) -> Option<PublicKey> {
        self.keys().find(|k| k.id() == id)
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            keys: Vec<PublicKey>,
            threshold: u32,
        }
        let raw = Raw::deserialize(d)?;
        Self::new(&raw.keys, raw.threshold).map_err(serde::de::Error::custom)
    }
}

/// SHA-256 (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    Digest::new(out)
}

fn crypto(what: &str) -> Refusal {
    Refusal::new(Why::Crypto, format!("The cryptographic library failed: {what}."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root-1.pem");
        let key = SigningKey::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = SigningKey::read(&path).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(key.public().verify(b"message", &again.sign(b"message")));
        assert!(!key.public().verify(b"massage", &again.sign(b"message")));
        assert_eq!(SigningKey::create(&path).unwrap_err().why(), Why::KeyFileExists);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.pem");
        SigningKey::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(SigningKey::read(&path).unwrap_err().why(), Why::KeyFileExposed, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        SigningKey::read(&path).unwrap();
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_its_code() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            write_new_secret(&path, &Secret::new(text)).unwrap();
            SigningKey::read(&path).unwrap_err().why()
        };
        assert_eq!(write("long", &"x".repeat(5000)), Why::TooLarge);
        assert_eq!(write("text", "hunter2"), Why::NotAKey);
        assert_eq!(
            write("rsa", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
            Why::NotAKey
        );
        assert_eq!(SigningKey::read(dir.path()).unwrap_err().why(), Why::KeyFileExposed);
        assert_eq!(SigningKey::read(&dir.path().join("absent")).unwrap_err().why(), Why::KeyFileUnreadable);
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(SigningKey::read(&pipe).unwrap_err().why(), Why::KeyFileExposed);
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let key = SigningKey::generate().unwrap();
        let pem = key.to_pem().unwrap();
        let secret: String = pem.expose().lines().filter(|l| !l.starts_with('-')).collect();
        let shown = format!("{key:?} {pem:?} {pem}");
        assert!(!shown.contains(&secret) && shown.contains(&key.public().to_string()));
        let refused = SigningKey::from_pem(&Secret::new(pem.expose().replace("PRIVATE", "PUBLIC"))).unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains(&secret));
    }

    #[test]
    fn the_key_id_is_the_one_that_tough_demands() {
        let key = SigningKey::generate().unwrap().public();
        assert_eq!(key.id().as_bytes().as_slice(), key.tuf_key().key_id().unwrap().into_vec());
        assert_eq!(PublicKey::from_tuf(&key.tuf_key()), Some(key));
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    }

    #[test]
    fn a_key_set_that_cannot_work_is_refused() {
        let keys: Vec<_> = (0..17).map(|_| SigningKey::generate().unwrap().public()).collect();
        assert!(KeySet::new(&keys[..3], 2).is_ok());
        for (keys, threshold) in [(&keys[..0], 1), (&keys[..1], 0), (&keys[..1], 2), (&keys[..], 1)] {
            assert_eq!(KeySet::new(keys, threshold).unwrap_err().why(), Why::BadKeySet);
        }
        assert_eq!(KeySet::new(&[keys[0], keys[0]], 2).unwrap_err().why(), Why::BadKeySet);
    }
}
