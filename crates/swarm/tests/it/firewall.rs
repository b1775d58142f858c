//! The rules of opentracker-conf/ before a real opentracker and a real transmission-daemon, in namespaces of their own.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fleet_types::InfoHash;
use swarm::tracker::{AnnounceError, Event, TrackerRole, announce, render_peer_firewall, render_tracker_firewall};
use swarm::{Announcement, Engine as _, EngineRole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::net::{Network, Node, command};
use crate::support::{self, Daemon, Tracker};

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

/// Loads the rules twice: loading again replaces.
fn load(node: &Node, rules: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.nft");
    fs::write(&file, rules).unwrap();
    for _ in 0..2 {
        let output = command(Some(&node.name), "nft").arg("-f").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What becomes of a connection to the daemon's port for peers; `None` if nothing comes back.
async fn connect(address: SocketAddrV4) -> Option<Result<(), ErrorKind>> {
    let attempt = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await.ok()?;
    Some(attempt.map(drop).map_err(|e| e.kind()))
}

#[test]
fn pieces_go_only_between_the_networks_that_belong_together() {
    if !rustix::process::geteuid().is_root() {
        support::skip("network namespaces need root");
        return;
    }
    let network = Network::new(3);
    let [hub, terminal, stranger] = network.nodes.as_slice() else { panic!("three nodes") };
    let port = 51413;
    let at = |node: &Node| SocketAddrV4::new(node.address, port);
    let start = |node: &Node| Daemon::start(EngineRole::Branch, Ipv4Addr::UNSPECIFIED, 9091, port, Some(&node.name));
    let daemons = [start(hub), start(stranger)];
    for (node, daemon) in [hub, stranger].into_iter().zip(&daemons) {
        let engine = daemon.engine();
        node.run(async move { support::until("the daemon answers", || async { engine.info().await.ok() }).await });
    }
    for (from, to) in [(terminal, hub), (stranger, hub), (hub, stranger)] {
        assert_eq!(from.run(connect(at(to))), Some(Ok(())), "without the rules every machine is reached");
    }

    let (elsewhere, within) = (Ipv4Addr::new(10, 78, 0, 0), Ipv4Addr::new(10, 78, 0, 9));
    load(hub, &render_peer_firewall(port, &[(terminal.address, 32), (elsewhere, 24), (within, 32)]).unwrap());
    assert_eq!(terminal.run(connect(at(hub))), Some(Ok(())));
    assert_eq!(stranger.run(connect(at(hub))), None);
    // Its own connections end at once, so that the daemon does not wait.
    assert_eq!(hub.run(connect(at(stranger))), Some(Err(ErrorKind::ConnectionRefused)));
    // A client whose own port is the same number is answered.
    let from_that_port = async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
        let attempt = socket.connect(SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 9).into());
        tokio::time::timeout(Duration::from_secs(2), attempt).await.map(|tried| tried.unwrap_err().kind()).ok()
    };
    assert_eq!(terminal.run(from_that_port), Some(ErrorKind::ConnectionRefused));
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

    let (elsewhere, within) = (Ipv4Addr::new(10, 78, 0, 0), Ipv4Addr::new(10, 78, 0, 9));
    load(hub, &render_tracker_firewall(6969, &[(terminal.address, 32), (elsewhere, 24), (within, 32)]).unwrap());
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
