//! Readers of event streams that read as little as they can.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use test_kit::tls_from;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::v1::paths;

use super::{Counts, address, status, withstand};
use crate::site::MEMORY;

/// Streams that each of two machines in other hands wants of its server.
const STREAMS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_byte_a_second_hold_few_event_streams() {
    let (_, counts) = withstand("10. event streams, read a byte a second", MEMORY, async |site, attack| {
        let doors = [
            (site.office.doors()[1], site.office.line.config(Some(&site.east.leaf))),
            (site.branch.doors[1], site.branch.tls(Some(&site.hostile.leaf))),
        ];
        for (to, tls) in doors.map(|(to, tls)| (to, Arc::new(tls))) {
            for n in 0..STREAMS {
                let (tls, counts) = (tls.clone(), attack.counts.clone());
                attack.spawn(async move {
                    let mut ticks = tokio::time::interval(Duration::from_secs(1));
                    loop {
                        ticks.tick().await;
                        listen(address(n % 4), to, tls.clone(), &counts).await;
                    }
                });
            }
        }
    })
    .await;
    assert!(counts.taken() > 0 && counts.refused() > 0, "{}", counts.text());
}

/// Reads a stream until the server ends it.
async fn listen(from: Ipv4Addr, to: SocketAddr, tls: Arc<ClientConfig>, counts: &Counts) {
    let Ok(mut stream) = tls_from(from, to, tls).await else { return counts.add(None) };
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", paths::EVENTS);
    if stream.write_all(request.as_bytes()).await.is_err() || stream.flush().await.is_err() {
        return counts.add(None);
    }
    counts.add(status(&mut stream).await);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while stream.read_u8().await.is_ok() {
        ticks.tick().await;
    }
}
