//! Releases follow each other: slots alternate, a bad release is rolled back and stays refused, and a good one follows.

use std::collections::BTreeMap;

use e2e::{Images, PATIENCE, all_confirmed, bring_out, events, ever_was, is, quick, version};
use fleet_types::{Slot, TerminalRef, UpdateState};
use lab::{Lab, SmallImage};

const WHY: &str = "the receipt printer does not answer";

#[tokio::test(flavor = "multi_thread")]
async fn slots_flip_back_and_a_bad_release_is_tried_once() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("versions", images.healthy("1.0.0", 3_000_000)?, 1, 2, 16 << 20)?).await?;

    bring_out(&lab, "2.0.0", images.healthy("2.0.0", 3_000_000)?).await?;
    all_confirmed(&lab, "2.0.0").await?;
    every_slot_is(&lab, Slot::B)?;

    bring_out(&lab, "3.0.0", images.healthy("3.0.0", 3_000_000)?).await?;
    all_confirmed(&lab, "3.0.0").await?;
    every_slot_is(&lab, Slot::A)?;

    let bad = SmallImage::new("4.0.0").with_noise(3_000_000).unhealthy(WHY);
    bring_out(&lab, "4.0.0", images.make(&bad)?).await?;
    let ended = lab
        .wait_terminals("every terminal to roll 4.0.0 back", PATIENCE, |t| {
            is(t, &version("4.0.0"), UpdateState::RolledBack)
        })
        .await?;
    for terminal in &ended {
        let update = terminal.update.as_ref().unwrap();
        let reason = update.reason.as_ref().map(|r| r.text.clone()).unwrap_or_default();
        assert!(reason.contains(WHY), "{}: head office has the reason {reason:?}", terminal.name);
        assert!(ever_was(terminal, UpdateState::Trying), "{} never tried it", terminal.name);
        assert_eq!(terminal.version, Some(version("3.0.0")), "{}", terminal.name);
    }
    every_slot_is(&lab, Slot::A)?;
    nothing_happens_again(&lab).await?;

    bring_out(&lab, "5.0.0", images.healthy("5.0.0", 3_000_000)?).await?;
    all_confirmed(&lab, "5.0.0").await?;
    every_slot_is(&lab, Slot::B)?;
    lab.stop().await?;
    Ok(())
}

fn every_slot_is(lab: &Lab, slot: Slot) -> anyhow::Result<()> {
    for terminal in lab.terminals() {
        assert_eq!(lab.running_slot(&terminal)?, slot, "{terminal}");
        let env = lab.read_env(&terminal)?;
        assert_eq!((env.default, env.trial), (slot, None), "{terminal}: {env:?}");
    }
    Ok(())
}

/// Over 20 further polls of each terminal nothing of the bad release is fetched, written or booted again.
async fn nothing_happens_again(lab: &Lab) -> anyhow::Result<()> {
    let boots = |t: &TerminalRef| lab.boots(t).map(|b| b.len());
    let mut before = BTreeMap::new();
    for terminal in lab.terminals() {
        before.insert(terminal.clone(), (boots(&terminal)?, events(lab, &terminal)?.len()));
    }
    let sent = lab.counters(&lab.branches()[0])?.lan_tx_bytes;
    let polled = polls(lab).await?;
    let further = 20 * before.len() as u64;
    lab.wait("20 further polls of every terminal", PATIENCE, async || {
        Ok((polls(lab).await.unwrap_or(0) >= polled + further).then_some(()))
    })
    .await?;
    for (terminal, (booted, happened)) in &before {
        assert_eq!(boots(terminal)?, *booted, "{terminal} booted again");
        assert_eq!(events(lab, terminal)?.len(), *happened, "{terminal} wrote or moved again");
        let now = lab.api().terminal(terminal).await?;
        assert!(is(&now, &version("4.0.0"), UpdateState::RolledBack), "{terminal}: {:?}", now.update);
    }
    let sent = lab.counters(&lab.branches()[0])?.lan_tx_bytes - sent;
    assert!(sent < 1_000_000, "the branch server sent {sent} bytes: something was fetched again");
    Ok(())
}

/// How often the terminals have asked their branch server for the plan, by its own count.
async fn polls(lab: &Lab) -> anyhow::Result<u64> {
    let branch = lab.branches().remove(0);
    let text = String::from_utf8(lab.branch_api(&branch)?.get_bytes("/metrics").await?)?;
    let counts = text.lines().filter(|l| l.starts_with("filial_http_requests") && l.contains("path=\"/v1/sync\""));
    Ok(counts.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
