//! What is said between the agent and the root helper: one request and one answer a connection. Each is two lengths (four
//! bytes each, the highest first), a head in JSON, and a body of bytes, which only what is written to or read from a slot
//! has.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use bootslot::BootState;
use fleet_types::{Digest, ProductName, Slot};
use serde::{Deserialize, Serialize};
use wire::Envelope;
use wire::v1::reports::Reason;

/// Longest head in bytes.
///
/// A plan for a whole branch, and the metadata of a fleet of some hundred products.
pub const MAX_HEAD: usize = 32 * 1024 * 1024;

/// Longest body in bytes: one segment.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Bytes of the two lengths.
pub const LENGTHS: usize = 8;

/// What the agent may ask.
///
/// Nothing here names a device, a slot to be written, a number of attempts or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// The bootloader's state.
    Look,
    /// Accept this plan, by this metadata.
    ///
    /// Asked as soon as the agent accepted it, while the metadata is fresh.
    Accept(Evidence),
    /// Have the bootloader try the slot that does not run, which holds this.
    Activate(Order),
    /// The slot that runs becomes the default, and a trial of the other one ends.
    ///
    /// An unusable boot block is replaced.
    Settle,
    /// The slot that runs was on trial and is good.
    Confirm,
    /// The slot that runs is on trial and is not good: the other one boots next.
    GiveUp,
    /// Restart the machine.
    Restart,
    /// Length of a slot in bytes.
    Length {
        /// Which slot.
        slot: Slot,
    },
    /// Write the body into the slot that does not run. Durable after `Sync`.
    Write {
        /// Where, in bytes.
        offset: u64,
    },
    /// Read from the slot that does not run.
    Read {
        /// From where, in bytes.
        offset: u64,
        /// How much, in bytes; at most [`MAX_BODY`].
        length: u32,
    },
    /// Answer once everything written to that slot survives a power cut.
    Sync,
    /// Have what is read next come from the medium, as far as that can be had.
    DropCaches,
}

/// Why a plan is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The files of the agent's trust store by name.
    pub metadata: BTreeMap<String, String>,
    /// The plan as head office signed it.
    pub plan: Envelope,
}

/// What is to be tried.
///
/// That it was ordered is looked up in the plan; that the slot holds it is read from the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The product.
    pub product: ProductName,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// SHA-256 of the payload.
    pub payload: Digest,
}

/// What the helper answers to what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// To `Look`.
    Boot(BootState),
    /// To `Length`, in bytes.
    Length(u64),
    /// To `Read`.
    Bytes(Vec<u8>),
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
enum Head {
    Done,
    Boot { state: BootState },
    Length { bytes: u64 },
    Bytes,
    Refused { reason: Reason },
}

impl Request {
    /// How long the agent waits for the answer: what reads or syncs a whole slot takes its time.
    pub const fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Activate(_) => 3600,
            Self::Accept(_) | Self::Restart | Self::Sync | Self::DropCaches => 600,
            _ => 60,
        })
    }

    /// As it is sent, but for its body.
    ///
    /// # Errors
    /// It is longer than [`MAX_HEAD`].
    pub fn head(&self, body: usize) -> io::Result<Vec<u8>> {
        framed(self, body)
    }
}

/// An answer, or a refusal, as it is sent.
///
/// # Errors
/// It is longer than [`MAX_HEAD`].
pub fn answered(answer: Result<Answer, Reason>) -> io::Result<Vec<u8>> {
    let (head, body) = match answer {
        Ok(Answer::Done) => (Head::Done, Vec::new()),
        Ok(Answer::Boot(state)) => (Head::Boot { state }, Vec::new()),
        Ok(Answer::Length(bytes)) => (Head::Length { bytes }, Vec::new()),
        Ok(Answer::Bytes(bytes)) => (Head::Bytes, bytes),
        Err(reason) => (Head::Refused { reason }, Vec::new()),
    };
    let mut bytes = framed(&head, body.len())?;
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads an answer: the outer error is one of the connection, the inner one a refusal.
///
/// # Errors
/// It breaks off, takes too long, or is invalid.
pub fn read_answer(from: &mut dyn Read) -> io::Result<Result<Answer, Reason>> {
    let mut lengths = [0; LENGTHS];
    from.read_exact(&mut lengths)?;
    let (head, body) = lengths_of(lengths).ok_or_else(|| io::Error::other("the answer is too long"))?;
    let (mut said, mut bytes) = (vec![0; head], vec![0; body]);
    from.read_exact(&mut said)?;
    from.read_exact(&mut bytes)?;
    Ok(match serde_json::from_slice(&said)? {
        Head::Done => Ok(Answer::Done),
        Head::Boot { state } => Ok(Answer::Boot(state)),
        Head::Length { bytes } => Ok(Answer::Length(bytes)),
        Head::Bytes => Ok(Answer::Bytes(bytes)),
        Head::Refused { reason } => Err(reason),
    })
}

/// The lengths of head and body; nothing if one is longer than any is.
pub(super) fn lengths_of([a, b, c, d, e, f, g, h]: [u8; LENGTHS]) -> Option<(usize, usize)> {
    let length = |bytes| usize::try_from(u32::from_be_bytes(bytes)).ok();
    let (head, body) = (length([a, b, c, d])?, length([e, f, g, h])?);
    (head <= MAX_HEAD && body <= MAX_BODY).then_some((head, body))
}

fn framed<T: Serialize>(head: &T, body: usize) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(head)?;
    if head.len() > MAX_HEAD || body > MAX_BODY {
        let text = format!("it has {} and {body} bytes; at most {MAX_HEAD} and {MAX_BODY} are sent", head.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut framed = Vec::with_capacity(LENGTHS + head.len() + body);
    framed.extend_from_slice(&length(head.len()));
    framed.extend_from_slice(&length(body));
    framed.extend_from_slice(&head);
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_longer_ones_are_not_read() {
        let all = [
            Ok(Answer::Done),
            Ok(Answer::Boot(BootState::settled(Slot::B))),
            Ok(Answer::Length(7)),
            Ok(Answer::Bytes(vec![1, 2, 3])),
            Err(Reason::new(wire::ReasonCode::PlanExpired, "The plan expired.")),
        ];
        for answer in all {
            let bytes = answered(answer.clone()).unwrap();
            assert_eq!(read_answer(&mut &*bytes).unwrap(), answer);
            read_answer(&mut &bytes[..bytes.len() - 1]).unwrap_err();
        }
        read_answer(&mut &[0xff; 64][..]).unwrap_err();
        Request::Look.head(MAX_BODY + 1).unwrap_err();
    }

    #[test]
    fn requests_round_trip() {
        for request in [Request::Look, Request::Write { offset: 4096 }, Request::Read { offset: 1, length: 2 }] {
            let bytes = request.head(0).unwrap();
            assert_eq!(Request::read(&bytes[LENGTHS..]).unwrap(), request);
        }
    }
}
