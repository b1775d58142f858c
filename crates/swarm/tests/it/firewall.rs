//! The rules of opentracker-conf/firewall.nft before a real opentracker, in namespaces of their own.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fleet_types::InfoHash;
use swarm::Announcement;
use swarm::tracker::{AnnounceError, Event, TrackerRole, announce, render_firewall};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::net::{Network, command};
use crate::support::{self, Tracker};

const HASH: InfoHash = InfoHash::new([0x5a; 20]);
const TRACKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 6969);

async fn ask(url: String, patience: Duration) -> Result<(), AnnounceError> {
    let client = reqwest::Client::builder().no_proxy().timeout(patience).build().unwrap();
    let plain = Announcement { hash: HASH, event: Event::None, port: 5000, left: 1, want: 50 };
    announce(&client, &url, &plain).await.map(|_| ())
}

/// What comes back for a request sent in these pieces; empty if the connection is reset.
async fn request(pieces: Vec<&'static str>) -> String {
    let mut stream = TcpStream::connect(TRACKER).await.unwrap();
    // Each piece in a separate packet.
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        if stream.write_all(piece.as_bytes()).await.is_err() {
            return String::new();
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn only_the_subnets_may_announce_and_nobody_may_list_the_hashes() {
    if !rustix::process::geteuid().is_root() {
        support::skip("network namespaces need root");
        return;
    }
    let network = Network::new(3);
    let [hub, terminal, stranger] = network.nodes.as_slice() else { panic!("three nodes") };
    let tracker = Tracker::start(TrackerRole::Branch, TRACKER, Some(&hub.name));
    let list = tracker.access_list();
    hub.run(async move {
        list.replace(&BTreeSet::from([HASH])).await.unwrap_or_else(|e| println!("{e}"));
        list.confirm(&HASH).await.unwrap();
    });
    let url = || tracker.url.clone();
    let all = "GET /scrape HTTP/1.0\r\n\r\n";
    stranger.run(ask(url(), support::PATIENCE)).unwrap();
    assert!(terminal.run(request(vec![all])).contains("200 OK"), "without the rules everything is listed");

    let rules = tracker.dir.path().join("firewall.nft");
    fs::write(&rules, render_firewall(6969, &[(terminal.address, 32)]).unwrap()).unwrap();
    // Twice: loading again replaces.
    for _ in 0..2 {
        let output = command(Some(&hub.name), "nft").arg("-f").arg(&rules).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    terminal.run(ask(url(), support::PATIENCE)).unwrap();
    hub.run(ask(url(), support::PATIENCE)).unwrap();
    assert!(matches!(stranger.run(ask(url(), Duration::from_secs(2))), Err(AnnounceError::Unreachable { .. })));
    for pieces in [
        vec![all],
        vec!["GET ", "/scrape HTTP/1.0\r\n\r\n"],
        vec!["G", "ET /scrape HTTP/1.0\r\n\r\n"],
        vec!["GET /stats HTTP/1.0\r\n\r\n"],
        vec!["GET /announce HTTP/1.0\r\n\r\n"],
        vec!["GET /ascrape HTTP/1.0\r\n\r\n"],
    ] {
        let shown = format!("{pieces:?}");
        assert_eq!(terminal.run(request(pieces)), "", "{shown}");
    }
}
