//! The first section: the same artifact over the same shaped uplink to as many terminals, with our stack and with
//! plain aria2, both beside the floor that the link sets.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::figure::{Better, Figure, Section, megabytes, middle};
use crate::lan::Lan;
use crate::say::say;
use crate::scratch::Scratch;
use crate::shared::{Outcome, Shared, TERMINALS, UPLINK};
use crate::{aria2, stack};

/// aria2 is quick to repeat; its middle round counts.
const ROUNDS: usize = 3;

/// Completion and server bytes of plain aria2.
///
/// # Errors
/// A round could not be measured.
pub(crate) async fn aria2(shared: &Shared, scratch: &Scratch) -> Result<Section> {
    let lan = Arc::new(Lan::build(TERMINALS, UPLINK).await?);
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let outcome = Box::pin(aria2::round(&lan, &shared.content, scratch, number)).await?;
        say(format_args!("aria2, round {number} of {ROUNDS}: {:.1} s", outcome.seconds));
        rounds.push(outcome);
    }
    let spread: Vec<String> = rounds.iter().map(|o| format!("{:.1}", o.seconds)).collect();
    let outcome = middle(rounds, |o| o.seconds).context("there was no round")?;
    let version = crate::exec::run_now("aria2c", &["--version"])?;
    Ok(Section {
        title: format!("LAN swarm with plain aria2: {}", conditions()),
        notes: vec![
            format!("{}, opentracker; clients get the LAN torrent only", version.lines().next().unwrap_or("aria2")),
            format!("the middle of {ROUNDS} rounds, which took {} s", spread.join(", ")),
        ],
        figures: figures("aria2", shared.encoded.length, outcome),
    })
}

/// Completion and server bytes of our stack, in the whole lab.
///
/// # Errors
/// The lab did not come up, or the release did not reach every terminal.
pub(crate) async fn stack(shared: &Shared, programs: Option<PathBuf>) -> Result<Section> {
    let run = Box::pin(stack::run(shared, programs)).await?;
    let mut figures = figures("our stack", run.artifact_bytes, run.fetched);
    let floor = UPLINK.floor_seconds(run.artifact_bytes);
    let beside = (format!("floor: artifact ÷ {UPLINK}"), floor);
    figures.push(Figure::new("our stack: last terminal confirmed", (run.confirmed, "s"), beside, Better::Lower));
    Ok(Section {
        title: format!("LAN swarm with our stack: {}", conditions()),
        notes: vec![
            "the branch holds the artifact; agents start together; complete: all segments written to the slot".into(),
            "confirmed: read back, restarted into the new slot, healthy, and said so to head office".into(),
        ],
        figures,
    })
}

fn conditions() -> String {
    format!("{TERMINALS} terminals, the server's uplink {UPLINK}")
}

fn figures(who: &str, artifact: u64, outcome: Outcome) -> Vec<Figure> {
    let floor = (format!("floor: artifact ÷ {UPLINK}"), UPLINK.floor_seconds(artifact));
    let once = ("the artifact once", megabytes(artifact));
    vec![
        Figure::new(format!("{who}: last terminal complete"), (outcome.seconds, "s"), floor, Better::Lower),
        Figure::new(
            format!("{who}: server bytes on the LAN"),
            (megabytes(outcome.server_bytes), "MB"),
            once,
            Better::Lower,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_is_shown_beside_its_floors() {
        let shown = figures("x", 100_000_000, Outcome { seconds: 8.0, server_bytes: 150_000_000 });
        let ratios: Vec<Option<f64>> = shown.iter().map(|f| f.ratio).collect();
        // 100 MB at 25 MB/s are 4 s.
        assert_eq!(ratios, [Some(2.0), Some(1.5)]);
        assert_eq!(shown[0].beside, "floor: artifact ÷ 200mbit");
    }
}
