//! Long answers leave in slices, so that a connection holds a slice of one and not a copy of it.

use std::convert::Infallible;

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use bytes::Bytes;
use futures_util::stream;

/// Longest piece that is handed to the HTTP library at once, in bytes. It copies pieces into the connection's buffer until that holds
/// as much.
pub(super) const SLICE: usize = 16 * 1024;

/// The same body; one that is long and known is a stream of its slices.
pub(super) fn sliced<B: MessageBody + 'static>(body: B) -> BoxBody {
    match body.try_into_bytes() {
        Ok(bytes) if bytes.len() > SLICE => {
            let length = bytes.len() as u64;
            BoxBody::new(SizedStream::new(length, Box::pin(stream::unfold(bytes, next))))
        }
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => BoxBody::new(body),
    }
}

async fn next(mut rest: Bytes) -> Option<(Result<Bytes, Infallible>, Bytes)> {
    if rest.is_empty() {
        return None;
    }
    // Slices share what they are of.
    let slice = rest.split_to(rest.len().min(SLICE));
    Some((Ok(slice), rest))
}

#[cfg(test)]
mod tests {
    use actix_web::body::{BodySize, to_bytes};

    use super::*;

    #[actix_web::test]
    async fn what_is_sliced_arrives_as_it_was() {
        for length in [0, 1, SLICE, SLICE + 1, 5 * SLICE - 1] {
            let bytes: Bytes = (0..length).map(|n| n as u8).collect();
            let body = sliced(bytes.clone());
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            assert_eq!(to_bytes(body).await.unwrap(), bytes);
        }
    }
}
