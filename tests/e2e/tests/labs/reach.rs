//! Terminals have no way to the WAN: one copy crosses it because nothing else can. Trackers and daemons are reached from
//! the networks only that belong to them.

use anyhow::Context as _;
use e2e::{Images, quick};
use lab::{Lab, Place};

/// Head office's port for branch servers.
const HEAD_OFFICE: u16 = 7002;
/// A branch server's port for terminals.
const BRANCH: u16 = 7004;
/// A branch's tracker, for its LAN.
const TRACKER: u16 = 6969;
/// Every daemon's port for peers.
const PEERS: u16 = 51413;
/// A port on which no program listens.
const CLOSED: u16 = 9;

/// What became of an attempt to open a TCP connection.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Connected,
    /// The address answered that no program listens there: packets went there and back.
    Refused,
    /// The sender itself has no route to the address.
    Unreachable,
    /// No answer within three seconds, or a router on the way had no route.
    Silent,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_cannot_connect_to_head_office() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("reach", images.healthy("1.0.0", 100_000)?, 1, 1, 8 << 20)?).await?;
    let terminal = Place::Terminal(lab.terminals()[0].clone());
    let branch = Place::Branch(lab.branches()[0].clone());
    let (head_office, own_branch) = (wan_address(&lab, &Place::HeadOffice).await?, wan_address(&lab, &branch).await?);
    let gateway = lan_address(&lab, &branch).await?;
    assert_ne!(own_branch, head_office);

    // The branch server's own link shows where head office is and that it answers there.
    assert_eq!(attempt(&lab, &branch, &head_office, HEAD_OFFICE).await?, Attempt::Connected);
    // A terminal reaches its branch server, and nothing but its own network.
    assert_eq!(attempt(&lab, &terminal, &gateway, BRANCH).await?, Attempt::Connected);
    assert_eq!(attempt(&lab, &terminal, &head_office, HEAD_OFFICE).await?, Attempt::Unreachable);
    assert_eq!(attempt(&lab, &terminal, &own_branch, CLOSED).await?, Attempt::Unreachable);
    let routes = lab.run_in(&terminal, "ip", &["route"]).await?;
    assert!(!routes.contains("default"), "a terminal has a default route:\n{routes}");

    // With the branch server as its router, packets leave: the branch server's address on the WAN answers, but it
    // forwards none of them.
    lab.run_in(&terminal, "ip", &["route", "add", "default", "via", &gateway]).await?;
    assert_eq!(attempt(&lab, &terminal, &own_branch, CLOSED).await?, Attempt::Refused);
    assert_eq!(attempt(&lab, &terminal, &head_office, HEAD_OFFICE).await?, Attempt::Silent);
    assert_eq!(attempt(&lab, &terminal, &head_office, CLOSED).await?, Attempt::Silent);
    assert_eq!(attempt(&lab, &branch, &head_office, CLOSED).await?, Attempt::Refused);
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trackers_and_daemons_are_reached_only_from_the_networks_that_belong_to_them() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("filters", images.healthy("1.0.0", 100_000)?, 2, 1, 8 << 20)?).await?;
    let [first, other] = &lab.branches()[..] else { anyhow::bail!("two branches") };
    let terminal = Place::Terminal(lab.terminals_of(first)[0].clone());
    let (first, other) = (Place::Branch(first.clone()), Place::Branch(other.clone()));
    let head_office = wan_address(&lab, &Place::HeadOffice).await?;
    let (wan, lan) = (wan_address(&lab, &first).await?, lan_address(&lab, &first).await?);

    for (from, address, port) in [
        (&terminal, &lan, TRACKER),
        (&terminal, &lan, PEERS),
        (&Place::HeadOffice, &wan, PEERS),
        (&first, &head_office, TRACKER),
        (&first, &head_office, PEERS),
        (&other, &head_office, PEERS),
    ] {
        assert_eq!(attempt(&lab, from, address, port).await?, Attempt::Connected);
    }
    // Another branch knows the way to the LAN's address; the tracker does not answer it.
    lab.run_in(&other, "ip", &["route", "add", &format!("{lan}/32"), "via", &wan]).await?;
    assert_eq!(attempt(&lab, &other, &lan, CLOSED).await?, Attempt::Refused);
    assert_eq!(attempt(&lab, &other, &lan, TRACKER).await?, Attempt::Silent);
    // Branches exchange nothing: the one's own rules end it at once, and without them the other's do not answer.
    assert_eq!(attempt(&lab, &other, &wan, PEERS).await?, Attempt::Refused);
    lab.run_in(&other, "nft", &["delete table inet filial_peers"]).await?;
    assert_eq!(attempt(&lab, &other, &wan, PEERS).await?, Attempt::Silent);
    lab.stop().await?;
    Ok(())
}

/// Opens a connection from a place. Whatever is not one of the known ends is an error.
async fn attempt(lab: &Lab, from: &Place, address: &str, port: u16) -> anyhow::Result<Attempt> {
    let connect = format!("exec 3<>/dev/tcp/{address}/{port} && echo connected");
    let script = format!("LC_ALL=C timeout 3 bash -c '{connect}' 2>&1; echo \"exit code $?\"");
    let said = lab.run_in(from, "bash", &["-c", &script]).await?;
    println!("{from} to {address}:{port}: {}", said.trim().replace('\n', "; "));
    let ends = [
        ("connected", Attempt::Connected),
        ("Connection refused", Attempt::Refused),
        ("Network is unreachable", Attempt::Unreachable),
        ("No route to host", Attempt::Silent),
        ("exit code 124", Attempt::Silent),
    ];
    let end = ends.into_iter().find(|(text, _)| said.contains(text)).map(|(_, attempt)| attempt);
    end.with_context(|| format!("{from} to {address}:{port} ended in another way: {said}"))
}

/// The addresses of a place, as `ip` lists them: (interface, address).
async fn addresses(lab: &Lab, place: &Place) -> anyhow::Result<Vec<(String, String)>> {
    let listed = lab.run_in(place, "ip", &["-o", "-4", "addr", "show"]).await?;
    let one = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let interface = words.next()?.to_owned();
        let address = words.nth(1)?.split('/').next()?.to_owned();
        Some((interface, address))
    };
    Ok(listed.lines().filter_map(one).filter(|(i, _)| i != "lo").collect())
}

async fn named(lab: &Lab, place: &Place, part: &str) -> anyhow::Result<String> {
    let all = addresses(lab, place).await?;
    let found = all.iter().find(|(interface, _)| interface.contains(part));
    let address = found.map(|(_, address)| address.clone());
    address.ok_or_else(|| anyhow::anyhow!("no interface named like {part:?} among {all:?}"))
}

async fn wan_address(lab: &Lab, place: &Place) -> anyhow::Result<String> {
    named(lab, place, "wan").await
}

async fn lan_address(lab: &Lab, place: &Place) -> anyhow::Result<String> {
    named(lab, place, "lan").await
}
