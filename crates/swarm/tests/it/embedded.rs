//! The embedded engine on addresses of 127.0.0.0/8, with a real opentracker.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use fleet_types::InfoHash;
use swarm::embedded::{EmbeddedEngine, EmbeddedSettings, HANDSHAKE_LENGTH, Handshake, Message, Network, encode};
use swarm::tend::{Duty, Measure, Subject};
use swarm::torrent::lan_tiers;
use swarm::tracker::TrackerRole;
use swarm::{Engine, EngineRole, Torrent, TorrentStatus, create};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{self, Tracker, content, until};

/// Each engine has its own address.
static ADDRESSES: AtomicU8 = AtomicU8::new(10);
const PIECE: u32 = 64 * 1024;

struct Site {
    engine: Option<EmbeddedEngine>,
    dir: TempDir,
    settings: EmbeddedSettings,
}

impl Site {
    fn new(role: EngineRole) -> Self {
        Self::with(role, |_| ())
    }

    fn with(role: EngineRole, change: impl FnOnce(&mut EmbeddedSettings)) -> Self {
        let dir = support::open_dir();
        // Tests run in processes of their own: the process tells their addresses apart.
        let own = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let address = Ipv4Addr::new(127, (process >> 8) as u8, process as u8, own);
        let mut settings = EmbeddedSettings::new(SocketAddrV4::new(address, 0), dir.path().join("state"), role);
        change(&mut settings);
        let mut site = Self { engine: None, dir, settings };
        site.open();
        site
    }

    fn open(&mut self) {
        self.engine = Some(EmbeddedEngine::open(self.settings.clone()).unwrap());
    }

    fn engine(&self) -> &EmbeddedEngine {
        self.engine.as_ref().unwrap()
    }

    async fn close(&mut self) {
        self.engine.take().unwrap().close().await;
    }

    fn ip(&self) -> IpAddr {
        IpAddr::V4(*self.settings.listen.ip())
    }

    fn at(&self) -> SocketAddrV4 {
        match self.engine().address() {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => unreachable!(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn add(&self, torrent: &[u8]) {
        self.engine().add(torrent, self.dir.path()).await.unwrap();
    }

    async fn status(&self, hash: &InfoHash) -> TorrentStatus {
        self.engine().status(hash).await.unwrap().unwrap()
    }

    async fn complete(&self, hash: &InfoHash) -> TorrentStatus {
        until("it is complete", || async { Some(self.status(hash).await).filter(|status| status.complete) }).await
    }
}

/// A torrent of `length` bytes whose content lies at `path`.
fn seeded(path: &Path, length: usize) -> (Torrent, Vec<u8>) {
    let bytes = content(length, length as u64);
    fs::write(path, &bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    (create(path, name, Some(PIECE), &mut |_| {}).unwrap().torrent, bytes)
}

async fn tracker_for(torrent: &Torrent) -> Tracker {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, support::free_port());
    let tracker = Tracker::start(TrackerRole::Branch, address, None);
    tracker.ready().await;
    tracker.access_list().replace(&BTreeSet::from([torrent.info_hash()])).await.unwrap();
    tracker.access_list().confirm(&torrent.info_hash()).await.unwrap();
    tracker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_crosses_between_engines_that_find_each_other_by_a_tracker() {
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, bytes) = seeded(&seed.file("a.seg"), 3_000_000);
    let tracker = tracker_for(&torrent).await;
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&lan_tiers(&tracker.url)));
    seed.add(&file).await;
    let status = seed.complete(&hash).await;
    assert_eq!((status.have_bytes, status.received_bytes), (3_000_000, 0));
    leech.add(&file).await;
    let status = leech.complete(&hash).await;
    assert_eq!((status.have_bytes, status.received_bytes, status.corrupt_bytes), (3_000_000, 3_000_000, 0));
    assert_eq!(status.trackers, std::slice::from_ref(&tracker.url));
    assert!(fs::read(leech.file("a.seg")).unwrap() == bytes);
    assert!(leech.engine().pieces(&hash).await.unwrap().unwrap().is_complete());
    assert_eq!(leech.engine().not_seeding().await.unwrap(), []);

    // Bytes by source are exact on both sides.
    let sent = || async { Some(seed.status(&hash).await).filter(|status| status.sent_bytes == 3_000_000) };
    until("the seed has counted all it sent", sent).await;
    let (sources, others) = leech.engine().bytes_by_source();
    assert_eq!((sources.len(), sources[0].0, sources[0].1.received), (1, seed.ip(), 3_000_000));
    assert_eq!(others.received, 0);
    assert_eq!(seed.engine().bytes_by_source().0[0].1.sent, 3_000_000);
    // The tracker counted two that hold everything.
    let counted = || async { seed.status(&hash).await.serving.get(&tracker.url).copied().filter(|count| *count == 2) };
    seed.engine().announce(&hash).await.unwrap();
    until("the tracker counts both", counted).await;
    seed.engine().remove(&hash, true).await.unwrap();
    assert!(!seed.file("a.seg").exists() && seed.engine().list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was_and_damaged_content_is_fetched_again() {
    let (mut seed, mut leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, bytes) = seeded(&seed.file("a.seg"), 2_000_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    seed.add(&file).await;
    seed.complete(&hash).await;
    leech.add(&file).await;
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    leech.complete(&hash).await;
    leech.close().await;
    seed.close().await;

    // Nothing is hashed again: the content is as it was left.
    leech.open();
    assert_eq!(leech.engine().list().await.unwrap(), [hash]);
    let status = leech.complete(&hash).await;
    assert_eq!((status.received_bytes, status.have_bytes), (2_000_000, 2_000_000), "counters go on");
    leech.close().await;

    // A killed engine leaves a file that tells less than there is: nothing is lost.
    let pieces = leech.dir.path().join(format!("state/torrents/{hash}.pieces"));
    fs::remove_file(&pieces).unwrap();
    leech.open();
    assert_eq!(leech.complete(&hash).await.received_bytes, 2_000_000);
    leech.close().await;

    // Damaged while it was off.
    let mut damaged = bytes.clone();
    damaged[PIECE as usize * 3] ^= 1;
    fs::write(leech.file("a.seg"), &damaged).unwrap();
    seed.open();
    leech.open();
    until("the damage is seen", || async {
        Some(leech.status(&hash).await).filter(|s| !s.verifying && s.have_bytes == 2_000_000 - u64::from(PIECE))
    })
    .await;
    assert_eq!(leech.engine().not_seeding().await.unwrap(), [hash]);
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    assert_eq!(leech.complete(&hash).await.received_bytes, 2_000_000 + u64::from(PIECE));
    assert!(fs::read(leech.file("a.seg")).unwrap() == bytes);

    // Gone while it runs: adding it again notices.
    fs::remove_file(leech.file("a.seg")).unwrap();
    leech.add(&file).await;
    let seen = || async { Some(leech.status(&hash).await).filter(|status| status.received_bytes > 3_000_000) };
    until("it is fetched again", seen).await;
    leech.complete(&hash).await;
    assert!(fs::read(leech.file("a.seg")).unwrap() == bytes);
}

/// Shakes hands as a peer of its own at `from` with the engine at `to`.
async fn stranger(from: Ipv4Addr, to: SocketAddrV4, hash: InfoHash) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(to.into()).await?;
    stream.write_all(&Handshake::new(*hash.as_bytes(), *b"-XX0000-stranger0000").encode()).await?;
    let mut answer = [0; HANDSHAKE_LENGTH];
    stream.read_exact(&mut answer).await?;
    assert_eq!(Handshake::decode(&answer).unwrap().info_hash, *hash.as_bytes());
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_never_read_slow_no_other_and_cost_little() {
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, _) = seeded(&seed.file("a.seg"), 4_000_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    seed.add(&file).await;
    seed.complete(&hash).await;
    let mut held = Vec::new();
    for n in 0..4 {
        let from = Ipv4Addr::new(127, 200, (std::process::id() % 250) as u8, 100 + n);
        let mut stream = stranger(from, seed.at(), hash).await.unwrap();
        let mut requests = Vec::new();
        encode(&Message::Interested, &mut requests);
        for index in 0..240 {
            let block = swarm::embedded::Block { piece: index / 4, begin: index % 4 * 16_384, length: 16_384 };
            encode(&Message::Request(block), &mut requests);
        }
        stream.write_all(&requests).await.unwrap();
        held.push(stream);
    }
    leech.add(&file).await;
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    assert_eq!(leech.complete(&hash).await.received_bytes, 4_000_000);
    let peers = seed.engine().peers(&hash).await.unwrap();
    assert_eq!(peers.len(), 5, "they are still connected: {peers:?}");
    // An EOF in a handshake bans no address.
    for _ in 0..20 {
        drop(TcpStream::connect(seed.at()).await.unwrap());
    }
    // Until they are seen to be gone, their address has no more places.
    until("the address is let in", || async { stranger(Ipv4Addr::LOCALHOST, seed.at(), hash).await.ok() }).await;
}

/// Serves every block of the torrent, with the first byte of each block changed.
async fn poisoner(listener: TcpListener, hash: InfoHash, pieces: u32, bytes: Vec<u8>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let bytes = bytes.clone();
        tokio::spawn(async move {
            let mut theirs = [0; HANDSHAKE_LENGTH];
            stream.read_exact(&mut theirs).await?;
            let mut out = Handshake::new(*hash.as_bytes(), *b"-XX0000-poisoner0000").encode().to_vec();
            let mut bits = vec![0xff; pieces.div_ceil(8) as usize];
            if !pieces.is_multiple_of(8) {
                *bits.last_mut().unwrap() <<= 8 - pieces % 8;
            }
            encode(&Message::Bitfield(bits), &mut out);
            encode(&Message::Unchoke, &mut out);
            stream.write_all(&out).await?;
            let mut decoder = swarm::embedded::Decoder::new(pieces, 16_384);
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return std::io::Result::Ok(());
                }
                decoder.feed(&buffer[..read]);
                while let Ok(Some(message)) = decoder.next() {
                    let Message::Request(block) = message else { continue };
                    let from = block.piece as usize * PIECE as usize + block.begin as usize;
                    let mut data = bytes[from..from + block.length as usize].to_vec();
                    data[0] ^= 1;
                    let mut out = Vec::new();
                    encode(&Message::Piece { piece: block.piece, begin: block.begin, data: data.into() }, &mut out);
                    stream.write_all(&out).await?;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_corrupt_data_is_named_refused_and_costs_few_pieces() {
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, bytes) = seeded(&seed.file("a.seg"), 2_000_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    seed.add(&file).await;
    seed.complete(&hash).await;
    let bad = Ipv4Addr::new(127, 201, (std::process::id() >> 8) as u8, std::process::id() as u8);
    let listener = TcpListener::bind((bad, 0)).await.unwrap();
    let std::net::SocketAddr::V4(bad_at) = listener.local_addr().unwrap() else { panic!("IPv4") };
    let pieces = u32::try_from(torrent.piece_count()).unwrap();
    tokio::spawn(poisoner(listener, hash, pieces, bytes.clone()));

    leech.add(&file).await;
    leech.engine().add_peers(&hash, vec![bad_at]).await.unwrap();
    let blamed = || async {
        let (sources, _) = leech.engine().bytes_by_source();
        sources.into_iter().find(|(address, source)| *address == bad && source.corrupt > 0)
    };
    until("the poisoner is blamed", blamed).await;
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    let status = leech.complete(&hash).await;
    assert!(fs::read(leech.file("a.seg")).unwrap() == bytes);
    println!("{} corrupt bytes of {}", status.corrupt_bytes, status.received_bytes);

    let subject = Subject { hash, status, duty: Duty::Fetch, sources: Vec::new(), at: std::time::Duration::ZERO };
    let observation = leech.engine().observe(subject).await;
    let measures = leech.engine().judge(&observation);
    let [Measure::Report(report)] = measures.as_slice() else { panic!("{measures:?}") };
    assert_eq!((report.candidates.as_slice(), report.certain), ([IpAddr::V4(bad)].as_slice(), true));
    assert!(report.wasted_bytes > 0);
    // It is not let in again.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((bad, 0).into()).unwrap();
    let mut again = socket.connect(leech.at().into()).await.unwrap();
    let _ = again.write_all(&Handshake::new(*hash.as_bytes(), [1; 20]).encode()).await;
    assert!(matches!(again.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    let (sources, _) = leech.engine().bytes_by_source();
    assert!(sources.iter().any(|(address, source)| *address == bad && source.refused > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_with_its_remedy_and_overcome() {
    if !rustix::process::geteuid().is_root() {
        support::skip("mounting a small disk needs root");
        return;
    }
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, bytes) = seeded(&seed.file("a.seg"), 1_500_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    seed.add(&file).await;
    seed.complete(&hash).await;
    let disk = test_kit::SmallDisk::mount(3 << 20).unwrap();
    disk.fill(600_000).unwrap();
    leech.engine().add(&file, disk.path()).await.unwrap();
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    let trouble = until("the full disk is seen", || async { leech.status(&hash).await.trouble }).await;
    assert!(trouble.contains("free space") && trouble.contains("a.seg"), "{trouble}");
    disk.clear().unwrap();
    let status = leech.complete(&hash).await;
    assert_eq!((status.received_bytes, status.trouble), (1_500_000, None), "nothing is fetched twice");
    assert!(fs::read(disk.path().join("a.seg")).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_server_fetches_each_byte_once_and_its_terminals_share_it() {
    let head_office = Site::new(EngineRole::HeadOffice);
    let upstream = vec![Network::new(*head_office.settings.listen.ip(), 32)];
    let branch = Site::with(EngineRole::Branch, |settings| settings.upstream = upstream);
    let terminals: Vec<Site> = (0..3).map(|_| Site::new(EngineRole::Terminal)).collect();
    let (torrent, bytes) = seeded(&head_office.file("a.seg"), 6_000_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    head_office.add(&file).await;
    for site in terminals.iter().chain([&branch]) {
        site.add(&file).await;
    }
    let addresses: Vec<SocketAddrV4> = terminals.iter().chain([&branch]).map(Site::at).collect();
    for terminal in &terminals {
        terminal.engine().add_peers(&hash, addresses.clone()).await.unwrap();
    }
    branch.engine().add_peers(&hash, vec![head_office.at()]).await.unwrap();
    for site in terminals.iter().chain([&branch]) {
        site.complete(&hash).await;
        assert!(fs::read(site.file("a.seg")).unwrap() == bytes);
    }
    assert_eq!(branch.status(&hash).await.received_bytes, 6_000_000, "each byte crosses the WAN once");
    let counted = || async { Some(head_office.status(&hash).await.sent_bytes).filter(|sent| *sent == 6_000_000) };
    until("head office has counted what it sent", counted).await;
    let sent = branch.status(&hash).await.sent_bytes;
    println!("the branch server sent {:.2} copies to {} terminals", sent as f64 / 6e6, terminals.len());
    assert!(sent < 2 * 6_000_000, "terminals exchange: {sent} bytes sent");
}

/// The files of `folder` that this process has open.
fn open_files(folder: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(folder)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torrent_at_rest_holds_no_file_and_serves_again_when_a_peer_comes() {
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, _) = seeded(&seed.file("a.seg"), 500_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    seed.add(&file).await;
    seed.complete(&hash).await;
    until("its file is closed", || async { (open_files(seed.dir.path()) == 0).then_some(()) }).await;
    let status = seed.status(&hash).await;
    assert!(status.complete && !status.verifying, "{status:?}");
    leech.add(&file).await;
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    assert_eq!(leech.complete(&hash).await.received_bytes, 500_000);
    assert!(open_files(seed.dir.path()) <= 1, "one handle a torrent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_while_it_runs() {
    let (seed, leech) = (Site::new(EngineRole::HeadOffice), Site::new(EngineRole::Terminal));
    let (torrent, _) = seeded(&seed.file("a.seg"), 2_000_000);
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    // At one byte a second this would take a month.
    let limits = swarm::Limits { down: None, up: Some(1) };
    seed.engine().set_limits(limits).await.unwrap();
    seed.add(&file).await;
    seed.complete(&hash).await;
    leech.add(&file).await;
    leech.engine().add_peers(&hash, vec![seed.at()]).await.unwrap();
    until("they are connected", || async { (leech.status(&hash).await.peers == 1).then_some(()) }).await;
    assert!(leech.status(&hash).await.received_bytes <= 3 * 16 * 1024);
    seed.engine().set_limits(swarm::Limits::default()).await.unwrap();
    leech.complete(&hash).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dial_at_once_and_one_connection_stays() {
    let (one, other) = (Site::new(EngineRole::Terminal), Site::new(EngineRole::Terminal));
    let (torrent, _) = seeded(&one.file("a.seg"), 200_000);
    fs::remove_file(one.file("a.seg")).unwrap();
    let (hash, file) = (torrent.info_hash(), torrent.to_file(&[]));
    one.add(&file).await;
    other.add(&file).await;
    let (one_at, other_at) = (one.at(), other.at());
    // Its own address as well, as a tracker would name it.
    let (first, second) = tokio::join!(
        one.engine().add_peers(&hash, vec![one_at, other_at]),
        other.engine().add_peers(&hash, vec![one_at, other_at]),
    );
    first.unwrap();
    second.unwrap();
    let settled = || async {
        let (one, other) = (one.engine().peers(&hash).await.unwrap(), other.engine().peers(&hash).await.unwrap());
        (one.len() == 1 && other.len() == 1).then(|| (one[0].address.ip(), other[0].address.ip()))
    };
    assert_eq!(until("one connection is left", settled).await, (other.ip(), one.ip()));
}
