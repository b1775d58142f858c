//! Terminals have no way to the WAN: one copy crosses it because nothing else can.

use e2e::{Images, quick};
use lab::{Lab, Place};

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_cannot_connect_to_head_office() -> anyhow::Result<()> {
    let images = Images::new()?;
    let lab = Lab::start(quick("reach", images.healthy("1.0.0", 100_000)?, 1, 1, 8 << 20)?).await?;
    let terminal = Place::Terminal(lab.terminals()[0].clone());
    let branch = Place::Branch(lab.branches()[0].clone());

    // The branch server's own link shows where head office is and that it answers there.
    let head_office = wan_address(&lab, &Place::HeadOffice).await?;
    let connect = format!("exec 3<>/dev/tcp/{head_office}/7002 && echo connected");
    let from_branch = lab.run_in(&branch, "bash", &["-c", &connect]).await?;
    assert!(from_branch.contains("connected"), "{from_branch}");

    let refused = lab.run_in(&terminal, "bash", &["-c", &connect]).await.unwrap_err().to_string();
    assert!(refused.contains("Network is unreachable"), "{refused}");
    let routes = lab.run_in(&terminal, "ip", &["route"]).await?;
    assert!(!routes.contains("default"), "a terminal has a default route:\n{routes}");

    // Nor does it get there by taking the branch server for a router.
    let own_branch = wan_address(&lab, &branch).await?;
    let gateway = lan_address(&lab, &branch).await?;
    lab.run_in(&terminal, "ip", &["route", "add", "default", "via", &gateway]).await?;
    let timed = format!("timeout 3 bash -c '{connect}'");
    assert!(lab.run_in(&terminal, "bash", &["-c", &timed]).await.is_err(), "the branch server forwards");
    assert_ne!(own_branch, head_office);
    lab.stop().await?;
    Ok(())
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
