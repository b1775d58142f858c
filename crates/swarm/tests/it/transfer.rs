//! Real transfers: two transmission-daemons and an opentracker in namespaces of their own.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use swarm::torrent::lan_tiers;
use swarm::tracker::TrackerRole;
use swarm::{Engine, EngineRole, create};

use crate::support::net::Network;
use crate::support::{self, Daemon, Tracker, content, until};

const RPC: u16 = 9091;
const PEER: u16 = 51413;

#[test]
fn an_artifact_crosses_from_seed_to_terminal_once_the_tracker_accepts_it() {
    if !rustix::process::geteuid().is_root() {
        support::skip("network namespaces need root");
        return;
    }
    let network = Network::new(3);
    let [hub, seed_node, leech_node] = network.nodes.as_slice() else { panic!("three nodes") };
    let address = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 6969);
    let tracker = Tracker::start(TrackerRole::Branch, address, Some(&hub.name));
    let start = |role, node: &support::net::Node| Daemon::start(role, node.address, RPC, PEER, Some(&node.name));
    let seed = start(EngineRole::Branch, seed_node);
    let leech = start(EngineRole::Terminal, leech_node);

    let bytes = content(3_000_000, 11);
    let path = seed.content_dir().join("a.seg");
    fs::write(&path, &bytes).unwrap();
    let torrent = create(&path, "a.seg", None, &mut |_| {}).unwrap().torrent;
    let hash = torrent.info_hash();
    let file = torrent.to_file(&lan_tiers(&tracker.url));

    // Added too early: the tracker's refusal reaches the status, in its words.
    let (engine, folder, early) = (seed.engine(), seed.content_dir().to_owned(), file.clone());
    let refusal = seed_node.run(async move {
        until("the daemon answers", || async { engine.info().await.ok() }).await;
        engine.add(&early, &folder).await.unwrap();
        until("the refusal is seen", || async { engine.status(&hash).await.unwrap().and_then(|s| s.trouble) }).await
    });
    assert!(refusal.contains("not authorized"), "{refusal}");

    let list = tracker.access_list();
    hub.run(async move {
        list.replace(&BTreeSet::from([hash])).await.unwrap();
        list.confirm(&hash).await.unwrap();
    });

    // Announcing now, not in the five minutes the daemon would wait by itself, gets it in.
    let engine = seed.engine();
    seed_node.run(async move {
        engine.announce(&hash).await.unwrap();
        let well = || async { engine.status(&hash).await.unwrap().filter(|s| s.complete && s.trouble.is_none()) };
        until("the tracker knows the seed", well).await;
    });

    let (engine, folder) = (leech.engine(), leech.content_dir().to_owned());
    let total = bytes.len() as u64;
    leech_node.run(async move {
        until("the daemon answers", || async { engine.info().await.ok() }).await;
        engine.add(&file, &folder).await.unwrap();
        let peers = || async { engine.peers(&hash).await.unwrap().into_iter().next() };
        let peer = until("a peer is connected", peers).await;
        assert_eq!(peer.address.ip(), Ipv4Addr::new(10, 77, 0, 2));
        let complete = || async { engine.status(&hash).await.unwrap().filter(|s| s.complete) };
        let status = until("it is complete", complete).await;
        assert_eq!((status.have_bytes, status.corrupt_bytes), (total, 0));
        assert!(status.received_bytes >= total);
        assert!(engine.pieces(&hash).await.unwrap().unwrap().is_complete());
    });
    assert!(torrent.verify(&leech.content_dir().join("a.seg"), &mut |_| {}).unwrap().is_good());
    // umask 027: others cannot look, the group can.
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(leech.content_dir().join("a.seg")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let engine = seed.engine();
    let sent = move || {
        let engine = engine.clone();
        async move { engine.status(&hash).await.unwrap().filter(|s| s.sent_bytes >= total) }
    };
    seed_node.run(async move { until("the seed has counted what it sent", sent).await });
}
