//! Strangers in great number: they make handshakes and guess join tokens, each from an address of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use test_kit::tls_from;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use wire::v1::paths;

use super::{address, length, status, withstand};
use crate::site::MEMORY;

/// Handshakes that are on their way at once to one listener.
const AT_ONCE: usize = 16;

/// Addresses that join attempts come from: more than the throttle tells apart.
const ADDRESSES: u32 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_without_requests_keep_no_caller_waiting() {
    let mut before = Duration::ZERO;
    let (site, counts) = withstand("8. handshakes without requests", MEMORY, async |site, attack| {
        before = site.spent();
        for (door, (to, tls)) in [site.people(), site.machines()].concat().into_iter().enumerate() {
            for _ in 0..AT_ONCE {
                let (tls, counts) = (tls.clone(), attack.counts.clone());
                attack.spawn(async move {
                    let mut ticks = tokio::time::interval(Duration::from_millis(10));
                    loop {
                        let made = tls_from(address(door), to, tls.clone()).await;
                        counts.add(made.is_ok().then_some(200));
                        if made.is_err() {
                            // So that this process does not do more than the servers.
                            ticks.tick().await;
                        }
                    }
                });
            }
        }
    })
    .await;
    let spent = site.spent().saturating_sub(before);
    println!(
        "  {} us of both servers for each handshake, all other work included",
        spent.as_micros() / u128::from(counts.taken().max(1))
    );
    // A thousand at once and a hundred a second of each address, which has a listener to itself.
    let most = 4 * (1_000 + 100 * (length().as_secs() + 1));
    assert!(counts.taken() > 0 && counts.taken() <= most, "{}", counts.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn join_attempts_from_ten_thousand_addresses_keep_no_newcomer_out() {
    let (_, counts) = withstand("9. join attempts from 10,000 addresses", MEMORY, async |site, attack| {
        for (to, tls) in site.machines() {
            let next = Arc::new(AtomicU32::new(0));
            for _ in 0..AT_ONCE {
                let (tls, counts, next) = (tls.clone(), attack.counts.clone(), next.clone());
                attack.spawn(async move {
                    loop {
                        // 127.16.0.0 and on.
                        let from = Ipv4Addr::from_bits(0x7f10_0000 + next.fetch_add(1, Ordering::Relaxed) % ADDRESSES);
                        counts.add(join(from, to, tls.clone()).await);
                    }
                });
            }
        }
        let begun = Instant::now();
        site.branch.enrol("till-new").await;
        site.office.enrol_as("west").await;
        println!("9. a terminal and a branch server enrolled meanwhile, in {} ms", begun.elapsed().as_millis());
    })
    .await;
    assert!(counts.taken() == 0 && counts.refused() > 0, "{}", counts.text());
}

/// One try with a wrong join token.
async fn join(from: Ipv4Addr, to: SocketAddr, tls: Arc<ClientConfig>) -> Option<u16> {
    let mut stream = tls_from(from, to, tls).await.ok()?;
    let body = "{\"join_token\":\"guessed\",\"certificate_request\":\"x\"}";
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        paths::ENROL,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    status(&mut stream).await
}
