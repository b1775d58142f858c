//! A peer that serves garbage is dropped and stays blocked, its address is reported to head office, and it wastes little.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use e2e::{Images, PATIENCE, is, quick, version};
use fleet_types::{Slot, UpdateState};
use lab::{Lab, Part, Place, Rate, ReleaseSpec, Role, StrangerPeer};
use wire::v1::incidents::Incidents;

const NOISE: usize = 32_000_000;

/// Bytes that a place may throw away, in pieces.
const MAX_WASTED_PIECES: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_piece_from_a_stranger_who_is_dropped_and_reported() -> anyhow::Result<()> {
    let images = Images::new()?;
    // The stranger is as quick as the machine, the branch server is not: it gets asked.
    let mut options = quick("poison", images.healthy("1.0.0", 100_000)?, 1, 2, 80 << 20)?.with_wan(Rate::mbit(200));
    options.lan = Some(Rate::mbit(40));
    let lab = Lab::start(options).await?;
    let branch = lab.branches().remove(0);
    let image: PathBuf = images.healthy("2.0.0", NOISE)?;
    let release = lab.publish(&ReleaseSpec::new("2.0.0", image.clone())?, PATIENCE).await?;
    let artifact = release.payloads[0].artifact.clone().unwrap();
    let poison = lab.poisoner(&branch, &artifact).await?;
    let agents: Vec<Part> = lab.terminals().iter().map(Part::agent).collect();
    // No agent starts before the tracker knows the stranger; the honest source waits until the stranger was asked.
    agents.iter().try_for_each(|agent| lab.pause(agent))?;
    lab.assign_all(&version("2.0.0")).await?;
    poison.serve(&lab).await?;
    let honest = Place::Branch(branch.clone());
    lab.wait("the branch to hold the artifact", PATIENCE, async || {
        let held = lab.api().branches().await?.remove(0).artifacts;
        Ok(held.iter().any(|a| a.artifact == artifact.sha256 && a.complete).then_some(()))
    })
    .await?;
    lab.pause(&honest.part(Role::Transmission))?;
    agents.iter().try_for_each(|agent| lab.resume(agent))?;
    lab.wait("a peer to request data from the stranger", PATIENCE, async || {
        Ok((poison.sent().await? > 0).then_some(()))
    })
    .await?;
    lab.resume(&honest.part(Role::Transmission))?;

    let mut watch = Watch::new(&lab, &poison, artifact.info_hash.to_string());
    let confirmed = version("2.0.0");
    lab.wait("every terminal to be confirmed in spite of the stranger", PATIENCE, async || {
        watch.look(&lab).await?;
        let terminals = lab.api().terminals().await?;
        Ok(terminals.iter().all(|t| is(t, &confirmed, UpdateState::Confirmed)).then_some(()))
    })
    .await?;

    let expected = std::fs::read(&image)?;
    for terminal in lab.terminals() {
        assert_eq!(lab.running_slot(&terminal)?, Slot::B);
        let slot = std::fs::read(lab.slot_path(&terminal, Slot::B)?)?;
        assert!(slot[..expected.len()] == expected[..], "{terminal} holds other bytes");
    }
    assert!(poison.sent().await? > 0, "no peer requested data from the stranger: this shows nothing");
    let spoilt: Vec<_> = watch.wasted.iter().filter(|(_, bytes)| **bytes > 0).collect();
    assert!(!spoilt.is_empty(), "no peer received a bad piece: this shows nothing");
    let piece = watch.piece_length;
    for (place, bytes) in &watch.wasted {
        println!("{place} threw away {bytes} bytes: {} pieces", bytes / piece);
        assert!(*bytes <= MAX_WASTED_PIECES * piece, "{place} threw away {} pieces", bytes / piece);
    }
    assert!(watch.came_back.is_empty(), "the stranger was connected again: {:?}", watch.came_back);
    assert!(poison.peers().await?.is_empty(), "a peer is still connected to the stranger");

    let address = IpAddr::V4(poison.address());
    let incidents = lab
        .wait("head office to know the stranger's address from every affected terminal", PATIENCE, async || {
            let page: Incidents = lab.api().get("/v1/incidents").await?;
            let named = |place: &Place| {
                let terminal = if let Place::Terminal(t) = place { Some(&t.terminal) } else { None };
                page.incidents.iter().any(|i| i.terminal.as_ref() == terminal && i.addresses.contains(&address))
            };
            Ok(spoilt.iter().all(|(place, _)| named(place)).then_some(page.incidents))
        })
        .await?;
    for incident in &incidents {
        assert_eq!((&incident.branch, &incident.artifact), (&branch, &artifact.sha256));
        assert!(!incident.certain || incident.addresses == [address], "an innocent is blamed: {incident:?}");
    }
    assert!(lab.filial(["incidents"]).await?.contains(&address.to_string()));
    assert!(lab.filial(["status"]).await?.contains("CORRUPT DATA"));
    lab.stop().await?;
    Ok(())
}

/// What the daemons themselves say, look after look.
struct Watch {
    hash: String,
    stranger: String,
    piece_length: u64,
    corrupt: BTreeMap<Place, u64>,
    /// Bytes thrown away, also before a torrent was added again.
    wasted: BTreeMap<Place, u64>,
    /// Whether the stranger was connected, and is gone since.
    gone: BTreeMap<Place, bool>,
    came_back: Vec<Place>,
}

impl Watch {
    fn new(lab: &Lab, poison: &StrangerPeer, hash: String) -> Self {
        let places: Vec<Place> = lab.terminals().into_iter().map(Place::Terminal).collect();
        let branches = lab.branches().into_iter().map(Place::Branch);
        let corrupt = places.into_iter().chain(branches).map(|p| (p, 0)).collect::<BTreeMap<_, _>>();
        let (stranger, wasted) = (poison.address().to_string(), corrupt.clone());
        Self { hash, stranger, piece_length: 1, corrupt, wasted, gone: BTreeMap::new(), came_back: Vec::new() }
    }

    async fn look(&mut self, lab: &Lab) -> Result<(), lab::LabError> {
        let places: Vec<Place> = self.corrupt.keys().cloned().collect();
        for place in places {
            // A terminal that restarts has no daemon for a moment.
            let asked = lab.daemon_rpc(&place)?.torrent(&self.hash, &["corruptEver", "pieceSize", "peers"]).await;
            let Ok(torrent) = asked else { continue };
            let (Some(corrupt), Some(piece)) = (torrent["corruptEver"].as_u64(), torrent["pieceSize"].as_u64()) else {
                continue;
            };
            self.piece_length = piece;
            let before = self.corrupt.insert(place.clone(), corrupt).unwrap_or(0);
            *self.wasted.entry(place.clone()).or_default() += corrupt.checked_sub(before).unwrap_or(corrupt);
            let connected = torrent["peers"].as_array().into_iter().flatten().any(|p| p["address"] == *self.stranger);
            // Thrown out once it spoilt something: until then it may come and go.
            match (self.wasted[&place] >= 5 * piece, connected, self.gone.get(&place)) {
                (true, false, None) => _ = self.gone.insert(place, true),
                (true, true, Some(true)) => self.came_back.push(place),
                _ => {}
            }
        }
        Ok(())
    }
}
