//! The envelope around signed statements: DSSE v1 (github.com/secure-systems-lab/dsse, protocol.md, envelope.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The `payloadType` of a plan.
pub const PLAN_PAYLOAD_TYPE: &str = "application/vnd.filial.plan.v1+json";

/// Largest payload that is decoded, in bytes. A plan for 1,000 terminals is about 1 MB.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Longest envelope that [`Envelope::parse`] reads, in bytes: its payload in base64, its signatures, and room.
pub const MAX_ENVELOPE: usize = MAX_PAYLOAD / 3 * 4 + 64 * 1024;

/// Most signatures that an envelope may carry.
pub const MAX_SIGNATURES: usize = 16;

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// More bytes than any envelope has.
    #[error("the envelope has {0} bytes, at most {MAX_ENVELOPE} are read")]
    TooLong(usize),
    /// Not an envelope.
    #[error("this is not an envelope")]
    NotEnvelope(#[source] serde_json::Error),
    /// It holds a statement of another type.
    #[error("the envelope holds {found:?}, expected {expected:?}")]
    WrongType {
        /// What it says it holds.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// Larger than [`MAX_PAYLOAD`].
    #[error("the envelope's payload has {0} bytes, at most {MAX_PAYLOAD} are read")]
    TooLarge(usize),
    /// More than [`MAX_SIGNATURES`].
    #[error("the envelope has {0} signatures, at most {MAX_SIGNATURES} are read")]
    TooManySignatures(usize),
    /// The payload is not base64.
    #[error("the envelope's payload is not base64")]
    NotBase64(#[source] base64::DecodeError),
    /// The payload is not the statement that its type promises.
    #[error("the envelope's payload is not the statement its type promises")]
    NotStatement(#[source] serde_json::Error),
}

impl EnvelopeError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "envelope-too-long",
            Self::NotEnvelope(_) => "envelope-form",
            Self::WrongType { .. } => "envelope-type",
            Self::TooLarge(_) => "envelope-payload-too-large",
            Self::TooManySignatures(_) => "envelope-too-many-signatures",
            Self::NotBase64(_) => "envelope-base64",
            Self::NotStatement(_) => "envelope-statement",
        }
    }
}

/// A statement and its signatures. The payload's bytes are kept as they were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Envelope {
    /// The media type of the payload; part of what is signed.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement, base64 (RFC 4648, 4).
    pub payload: String,
    /// Signatures over the pre-authentication encoding. Of the plan keys; a plan without any is refused everywhere.
    pub signatures: Vec<Signature>,
}

/// One signature over an envelope's pre-authentication encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Signature {
    /// Which key; a hint only.
    pub keyid: String,
    /// The signature, base64.
    pub sig: String,
}

impl Envelope {
    /// Reads an envelope. Nothing is checked but its form; [`Envelope::open`] does the rest.
    ///
    /// # Errors
    /// Too long, or not an envelope's JSON. A key that is there twice is refused, one that is not known passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(EnvelopeError::NotEnvelope)
    }

    /// Wraps `statement` without a signature.
    ///
    /// # Errors
    /// The statement cannot be written as JSON.
    pub fn unsigned<T: Serialize>(payload_type: &str, statement: &T) -> Result<Self, serde_json::Error> {
        let payload = STANDARD.encode(serde_json::to_vec(statement)?);
        Ok(Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() })
    }

    /// The payload's bytes, bounded.
    ///
    /// # Errors
    /// Another type, too large, or not base64.
    pub fn payload_bytes(&self, expected: &'static str) -> Result<Vec<u8>, EnvelopeError> {
        if self.payload_type != expected {
            let found = self.payload_type.chars().take(100).collect();
            return Err(EnvelopeError::WrongType { found, expected });
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures(self.signatures.len()));
        }
        if self.payload.len() > MAX_PAYLOAD / 3 * 4 {
            return Err(EnvelopeError::TooLarge(self.payload.len() / 4 * 3));
        }
        STANDARD.decode(&self.payload).map_err(EnvelopeError::NotBase64)
    }

    /// The statement inside, without a check of signatures.
    ///
    /// # Errors
    /// As [`Envelope::payload_bytes`], or the payload is not a `T`.
    pub fn open<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T, EnvelopeError> {
        serde_json::from_slice(&self.payload_bytes(expected)?).map_err(EnvelopeError::NotStatement)
    }

    /// What a signature is made over: DSSE's pre-authentication encoding.
    pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        out.extend_from_slice(payload);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        // The example of DSSE's protocol.md.
        let pae = Envelope::pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(pae, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn a_statement_comes_out_as_it_went_in() {
        let e = Envelope::unsigned("a", &vec![1, 2, 3]).unwrap();
        assert_eq!(e.open::<Vec<u8>>("a").unwrap(), [1, 2, 3]);
        assert!(matches!(e.open::<Vec<u8>>("b"), Err(EnvelopeError::WrongType { .. })));
    }

    #[test]
    fn sizes_are_bounded_before_anything_is_decoded() {
        let mut e = Envelope::unsigned("a", &0).unwrap();
        e.payload = "A".repeat(MAX_PAYLOAD * 2);
        assert!(matches!(e.open::<u8>("a"), Err(EnvelopeError::TooLarge(_))));
        e.payload = "AAAA".into();
        e.signatures = vec![Signature { keyid: String::new(), sig: String::new() }; 17];
        assert!(matches!(e.open::<u8>("a"), Err(EnvelopeError::TooManySignatures(17))));
    }
}
