//! The access list against a real opentracker, on loopback.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fleet_types::InfoHash;
use swarm::tracker::{AnnounceError, Event, TrackerRole, announce};
use swarm::{AccessList, AccessListError, AccessListSettings, Announcement, Reload};

use crate::support::{self, Tracker, free_port, until};

fn hash(n: u8) -> InfoHash {
    InfoHash::new([n; 20])
}

fn start() -> Tracker {
    Tracker::start(TrackerRole::Branch, SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()), None)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

fn plain(hash: InfoHash, port: u16) -> Announcement {
    Announcement { hash, event: Event::None, port, left: 0, want: 200 }
}

fn last_answer(error: &AccessListError) -> &AnnounceError {
    match error {
        AccessListError::NotAccepted { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_torrent_is_refused_until_listed_and_again_once_dropped() {
    let tracker = start();
    tracker.ready().await;
    let list = tracker.access_list();
    let error = announce(&client(), &tracker.url, &plain(hash(0x1f), 7001)).await.unwrap_err();
    let AnnounceError::Refused { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("not authorized"), "{reason}");
    assert!(error.to_string().contains(reason) && error.to_string().contains(&tracker.url), "{error}");

    list.replace(&BTreeSet::from([hash(0x1f), hash(0xee)])).await.unwrap();
    // The last line as well as the first.
    list.confirm(&hash(0x1f)).await.unwrap();
    list.confirm(&hash(0xee)).await.unwrap();
    assert_eq!(list.read().unwrap(), BTreeSet::from([hash(0x1f), hash(0xee)]));
    let path = tracker.dir.path().join("access.list");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(fs::read_to_string(&path).unwrap().ends_with('\n'));

    // Confirming left no peer behind: the first peer is told of itself only, the second of both.
    let first = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7001);
    let alone = announce(&client(), &tracker.url, &plain(hash(0x1f), 7001)).await.unwrap();
    assert_eq!((alone.peers.as_slice(), alone.complete), ([first].as_slice(), 1));
    let second = Announcement { left: 5, ..plain(hash(0x1f), 7002) };
    let both = announce(&client(), &tracker.url, &second).await.unwrap();
    assert!(both.peers.contains(&first), "{both:?}");
    assert_eq!((both.complete, both.incomplete), (1, 1));
    assert!(both.interval >= Duration::from_secs(60));

    list.replace(&BTreeSet::from([hash(0xee)])).await.unwrap();
    let dropped = || async { announce(&client(), &tracker.url, &plain(hash(0x1f), 7001)).await.err() };
    until("the dropped torrent is refused", dropped).await;
    list.confirm(&hash(0xee)).await.unwrap();
    list.replace(&BTreeSet::new()).await.unwrap();
    let dropped = || async { announce(&client(), &tracker.url, &plain(hash(0xee), 7001)).await.err() };
    until("an empty list lets nobody in", dropped).await;
}

#[tokio::test]
async fn a_long_list_replaced_many_times_keeps_the_tracker_alive() {
    let mut tracker = start();
    tracker.ready().await;
    let list = tracker.access_list();
    let many: BTreeSet<InfoHash> = (0..3000u32)
        .map(|n| {
            let mut bytes = [7; 20];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            InfoHash::new(bytes)
        })
        .collect();
    for _ in 0..20 {
        list.replace(&many).await.unwrap();
    }
    list.confirm(many.first().unwrap()).await.unwrap();
    list.confirm(many.last().unwrap()).await.unwrap();
    assert!(!tracker.running.has_ended());
}

#[tokio::test]
async fn an_unlisted_torrent_is_not_confirmed_and_the_error_carries_the_trackers_words() {
    let tracker = start();
    tracker.ready().await;
    let settings = AccessListSettings { deadline: Duration::from_millis(400), ..tracker.settings() };
    let error = AccessList::new(settings).unwrap().confirm(&hash(1)).await.unwrap_err();
    let AnnounceError::Refused { reason, .. } = last_answer(&error) else { panic!("{error:?}") };
    assert!(reason.contains("not authorized"), "{reason}");
    assert!(error.to_string().contains("access.list"), "{error}");
}

#[tokio::test]
async fn nobody_but_an_opentracker_is_ever_signalled() {
    let dir = support::open_dir();
    let pid_file = dir.path().join("pid");
    let settings = AccessListSettings {
        path: dir.path().join("access.list"),
        reload: Reload::PidFile(pid_file.clone()),
        announce_url: format!("http://127.0.0.1:{}/announce", free_port()),
        deadline: Duration::from_millis(200),
    };
    let list = AccessList::new(settings.clone()).unwrap();
    // SIGHUP would end this very process.
    for text in [format!("{}\n", std::process::id()), "1".into(), "0".into(), "-5".into(), "x".into(), String::new()] {
        fs::write(&pid_file, &text).unwrap();
        let error = list.replace(&BTreeSet::from([hash(3)])).await.unwrap_err();
        assert!(matches!(error, AccessListError::NoTracker { .. }), "{text}: {error}");
    }
    fs::remove_file(&pid_file).unwrap();
    assert!(matches!(list.replace(&BTreeSet::new()).await, Err(AccessListError::NoTracker { .. })));
    let error = list.confirm(&hash(3)).await.unwrap_err();
    assert!(matches!(last_answer(&error), AnnounceError::Unreachable { .. }), "{error:?}");

    let nowhere = AccessListSettings { path: dir.path().join("no/such/access.list"), ..settings.clone() };
    let error = AccessList::new(nowhere).unwrap().replace(&BTreeSet::new()).await.unwrap_err();
    assert!(matches!(error, AccessListError::Write { .. }), "{error}");
    let no_url = AccessListSettings { announce_url: "tracker:6969".into(), deadline: support::PATIENCE, ..settings };
    let error = AccessList::new(no_url).unwrap().confirm(&hash(3)).await.unwrap_err();
    assert!(matches!(last_answer(&error), AnnounceError::BadUrl { .. }), "{error:?}");
}

#[tokio::test]
async fn with_a_watcher_the_list_is_only_written() {
    let tracker = start();
    tracker.ready().await;
    let settings = AccessListSettings { reload: Reload::Watcher, ..tracker.settings() };
    let list = AccessList::new(settings).unwrap();
    list.replace(&BTreeSet::from([hash(9)])).await.unwrap();
    assert!(announce(&client(), &tracker.url, &plain(hash(9), 7001)).await.is_err());
    // What the root unit does when the file changes.
    let pid = rustix::process::Pid::from_raw(tracker.running.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    list.confirm(&hash(9)).await.unwrap();
}

#[tokio::test]
async fn a_tracker_that_missed_the_change_is_told_again_while_confirming() {
    let tracker = start();
    tracker.ready().await;
    let (pid_file, hidden) = (tracker.dir.path().join("pid"), tracker.dir.path().join("hidden"));
    fs::rename(&pid_file, &hidden).unwrap();
    let list = tracker.access_list();
    assert!(list.replace(&BTreeSet::from([hash(4)])).await.is_err());
    fs::rename(&hidden, &pid_file).unwrap();
    list.confirm(&hash(4)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_tracker_is_told_apart() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "HTTP 404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "at byte 0"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde".to_owned(), "without an interval"),
        (format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(100_000)), "over 65536"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nd8:intervali9e5:peers1:xe..".to_owned(), "at byte"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nd8:intervali9e5:peers1:xe".to_owned(), "compact"),
    ] {
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/announce", other.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut peer, _) = other.accept().await.unwrap();
            let _ = peer.read(&mut [0; 4096]).await;
            let _ = peer.write_all(answer.as_bytes()).await;
        });
        let error = announce(&client(), &url, &plain(hash(1), 1)).await.unwrap_err();
        assert!(matches!(error, AnnounceError::NotATracker { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
