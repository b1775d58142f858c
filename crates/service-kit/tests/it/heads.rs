//! Heads of requests: in time, understood in one way, and without what is not decoded here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use service_kit::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::floods::{PATIENCE, answer, start};

/// What drips is given up although the connection was used before; one that is idle is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_later_request_must_arrive_in_time() {
    let server = start(Limits { request: Duration::from_secs(1), ..Limits::default() });
    let (mut idle, _) = server.asked([127, 0, 5, 1], "v").await;
    let (dripping, _) = server.asked([127, 0, 5, 2], "v").await;
    let (mut reading, mut writing) = dripping.into_split();
    let drip = async {
        let head = format!("GET /known HTTP/1.1\r\nX: {}", "x".repeat(10_000));
        for byte in head.bytes() {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = String::new();
    let ended = async {
        tokio::select! {
            read = reading.read_to_string(&mut said) => drop(read),
            () = drip => {}
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it is given up");
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("did not arrive in time"), "{said}");
    idle.write_all(b"GET /known HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer v\r\n\r\n").await.unwrap();
    let answer = answer(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Where a proxy and this server could see different requests there is one, or none and the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_understood_in_one_way_or_the_connection_ends() {
    let proxy = [127, 0, 6, 1];
    let server = start(Limits { trusted_proxies: Arc::new([IpAddr::from(proxy)]), ..Limits::default() });
    // What a proxy may take for a body, and hides a request that it did not let through.
    let hidden = "GET /known HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n\r\n";
    let head = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Forwarded-For: 10.0.0.1\r\n";
    let length = hidden.len();
    let told_twice = [
        format!("{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0, {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length : {length}\r\n\r\n{hidden}"),
        format!("{head}Content-Length\t: {length}\r\n\r\n{hidden}"),
        format!("{head}X: a\r\n Content-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}X: a\r\n\tb\r\n\r\n{hidden}"),
        format!("{head}X: a\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}X: a\rContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{head}X: a\r\n\n{hidden}"),
        format!("{head}\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: identity\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("POST /take HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Host: y\r\n\r\n{hidden}"),
        format!("POST /take HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n{hidden}"),
        format!("POST /take HTTP/1.1\r\n Host: x\r\n\r\n{hidden}"),
    ];
    for sent in told_twice {
        let said = server.all_said(proxy, &sent).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{sent:?}: {said}");
        assert_eq!(said.matches("\r\nx-request-id: ").count(), 1, "{sent:?}: {said}");
    }
    // Chunks end where they say, whatever is between their size and the end of its line; no request follows them.
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    for (chunks, taken) in [
        ("2;a=b\r\n{}\r\n0\r\n\r\n", true),
        ("2 ;a=\"\r\n{}\r\n0\r\n\r\n", true),
        ("002\r\n{}\r\n0\r\n\r\n", true),
        ("2;a\n{}\r\n0\r\n\r\n", false),
        ("2\n{}\n0\n\n", false),
        ("0x2\r\n{}\r\n0\r\n\r\n", false),
        ("+2\r\n{}\r\n0\r\n\r\n", false),
        ("10000000000000002\r\n{}\r\n0\r\n\r\n", false),
        ("2\r\n{}0\r\n\r\n", false),
    ] {
        let said = server.all_said(proxy, &format!("{chunked}{chunks}{hidden}")).await;
        let expected = if taken { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
        assert!(said.starts_with(expected), "{chunks:?}: {said}");
        assert!(!said.contains("known"), "{chunks:?}: {said}");
    }
    // And what says its length once is a body and nothing else.
    let said = server.all_said(proxy, &format!("{head}Content-Length: 2\r\n\r\n{{}}{hidden}")).await;
    assert_eq!((said.matches("HTTP/1.1 200 ").count(), said.matches("known").count()), (2, 1), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_not_decoded() {
    let server = start(Limits::default());
    // As gzip begins; nothing looks at it.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3], [0xff; 500].as_slice()].concat();
    for encoding in ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-gzip"] {
        let mut stream = server.connect([127, 0, 7, 1]).await;
        let head = format!(
            "POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            bomb.len()
        );
        stream.write_all(&[head.as_bytes(), &bomb].concat()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("Content-Encoding"), "{encoding}: {answer}");
    }
}
