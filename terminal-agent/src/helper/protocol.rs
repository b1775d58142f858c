//! What is said between the agent and the root helper: one request and one answer a connection. Each is two lengths (four
//! bytes each, the highest first), a head in JSON, and a body of bytes, which only what is written to or read from a slot
//! has.

use std::io::{self, Read};

use bootslot::BootState;
use serde::{Deserialize, Serialize};
use wire::v1::reports::Reason;

use crate::model::request::{Answer, Request};

/// Longest head in bytes.
///
/// A plan for a whole branch, and the metadata of a fleet of some hundred products.
pub const MAX_HEAD: usize = 32 * 1024 * 1024;

/// Longest body in bytes: one segment.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Bytes of the two lengths.
pub const LENGTHS: usize = 8;

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
    use fleet_types::Slot;

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
