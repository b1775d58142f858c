//! Strangers: they have no token and no certificate.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use test_kit::{connect_from, tls_from};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::v1::paths;

use super::{Attack, address, client, text, withstand};
use crate::site::{MEMORY, MEMORY_OF_CONNECTIONS, Site};
use crate::support::{count, pool};

/// Whose 1.5 MB everybody may read.
const FILE: &str = "/swagger-ui/swagger-ui-bundle.js";

/// Connections of each kind at one operators' listener.
const SILENT: usize = 420;
const SLOW: usize = 40;
/// Connections that post to one machines' listener.
const POSTING: usize = 200;
/// Idle connections to each listener, and how many of them come from one address.
const IDLE: usize = 1_400;
const MOST_IDLE: usize = 1_100;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_exhaust_memory() {
    let (_, counts) = withstand("1. strangers exhaust memory", MEMORY_OF_CONNECTIONS, async |site, attack| {
        never_read(site, attack);
        post_to_enrol(site, attack);
    })
    .await;
    assert!(counts.taken() == 0 && counts.refused() > 0, "{}", counts.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_reach_the_limit_of_open_files() {
    let (_, counts) = withstand("5. idle connections to the descriptor limit", MEMORY, async |site, attack| {
        let doors = [site.people(), site.machines()].concat();
        for (to, tls) in doors {
            for n in 0..IDLE {
                // Most of them from one address.
                let from = address(n.saturating_sub(MOST_IDLE) % 4);
                let (tls, counts) = (tls.clone(), attack.counts.clone());
                attack.spawn(async move {
                    let mut ticks = tokio::time::interval(Duration::from_millis(500));
                    loop {
                        ticks.tick().await;
                        if idle(from, to, tls.clone(), n).await.is_ok() {
                            counts.add(None);
                        }
                    }
                });
            }
        }
    })
    .await;
    assert!(counts.ended() > 1_000, "{}", counts.text());
}

/// Opens a connection and holds it until it is ended: without a word, or in the middle of a handshake, of a head that drips, or of a
/// body that does not come.
async fn idle(from: Ipv4Addr, to: SocketAddr, tls: Arc<ClientConfig>, n: usize) -> std::io::Result<()> {
    let begin = match n % 8 {
        // As a handshake begins (RFC 8446, 5.1).
        0 => {
            let mut stream = connect_from(from, to).await?;
            stream.write_all(&[0x16, 3, 1, 2, 0]).await?;
            return stream.read(&mut [0; 1]).await.map(drop);
        }
        1 => String::new(),
        2 => "GET /healthz HTTP/1.1\r\nHost: x\r\nX: ".to_owned(),
        3 => format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
            paths::ENROL
        ),
        _ => return connect_from(from, to).await?.read(&mut [0; 1]).await.map(drop),
    };
    let (mut reading, mut writing) = tokio::io::split(tls_from(from, to, tls).await?);
    writing.write_all(begin.as_bytes()).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let drip = async {
        loop {
            ticks.tick().await;
            if n % 8 == 2 && (writing.write_all(b"x").await.is_err() || writing.flush().await.is_err()) {
                break;
            }
        }
    };
    let mut piece = [0; 512];
    let ended = async { while reading.read(&mut piece).await.is_ok_and(|n| n > 0) {} };
    tokio::select! {
        () = ended => {}
        () = drip => {}
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_enrolment_costs_others_nothing() {
    let audit = async |site: &Site| {
        let rows = async |url: String| count(&pool(&url).await, "SELECT count(*) FROM audit").await;
        (rows(site.database.url()).await, rows(site.branch.database.url()).await)
    };
    let mut before = (0, 0);
    let (site, counts) = withstand("7. enrolment repeated", MEMORY, async |site, attack| {
        before = audit(site).await;
        let bodies = [text(&site.east.enrolment), text(&site.hostile.enrolment)];
        for ((to, tls), body) in site.machines().into_iter().zip(bodies) {
            let stranger = client(address(0), &tls);
            attack.posts(32, &stranger, &format!("https://{to}{}", paths::ENROL), move || body.clone());
        }
    })
    .await;
    assert_eq!(audit(&site).await, before, "repeating an enrolment is recorded");
    assert!(counts.taken() > 0 && counts.refused() > counts.taken(), "{}", counts.text());
}

/// 840 connections that ask for a large file many times and read nothing, and 80 that read it slowly.
fn never_read(site: &Site, attack: &mut Attack) {
    for (door, (to, tls)) in site.people().into_iter().enumerate() {
        for n in 0..SILENT + SLOW {
            let (from, tls) = (address(door * 6 + n % 6), tls.clone());
            attack.spawn(async move {
                loop {
                    read_little(from, to, tls.clone(), n >= SILENT).await;
                }
            });
        }
    }
}

/// Until the server ends the connection.
async fn read_little(from: Ipv4Addr, to: SocketAddr, tls: Arc<ClientConfig>, some: bool) {
    let Ok(stream) = tls_from(from, to, tls).await else { return };
    let (mut reading, mut writing) = tokio::io::split(stream);
    let requests = format!("GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(8);
    if !some {
        // Without end, until the server resets it; without a read, only a write notices.
        while writing.write_all(requests.as_bytes()).await.is_ok() && writing.flush().await.is_ok() {}
        return;
    }
    if writing.write_all(requests.as_bytes()).await.is_err() || writing.flush().await.is_err() {
        return;
    }
    let (mut piece, mut ticks) = ([0; 4096], tokio::time::interval(Duration::from_millis(250)));
    while reading.read(&mut piece).await.is_ok_and(|n| n > 0) {
        ticks.tick().await;
    }
}

/// From four addresses: bodies as large as open routes take, and larger ones.
fn post_to_enrol(site: &Site, attack: &mut Attack) {
    for (to, tls) in site.machines() {
        for n in 0..4 {
            let stranger = client(address(20 + n), &tls);
            let token = "x".repeat(if n % 2 == 0 { 15 << 10 } else { 1 << 20 });
            let body: Arc<str> = format!("{{\"join_token\":\"{token}\",\"certificate_request\":\"x\"}}").into();
            attack.posts(POSTING / 4, &stranger, &format!("https://{to}{}", paths::ENROL), move || body.to_string());
        }
    }
}
