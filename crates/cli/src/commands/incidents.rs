//! `filial incidents`: corrupt data received by branches and terminals.

use chrono::{DateTime, Utc};
use service_kit::{Clock as _, SystemClock};
use wire::v1::incidents::{Incident, Incidents};
use wire::v1::paths;

use crate::args::{Global, IncidentsArgs};
use crate::failure::Failure;
use crate::output::units::{age, size};
use crate::output::{answer, table};
use crate::server::{block_on, connect};

/// Maximum addresses shown in a row; JSON has all.
const SHOWN: usize = 4;

pub(crate) fn run(global: &Global, args: &IncidentsArgs) -> Result<(), Failure> {
    let server = connect(global)?;
    let before = args.before.map(|id| format!("&before={id}")).unwrap_or_default();
    let path = format!("{}?limit={}{before}", paths::INCIDENTS, args.limit);
    let page: Incidents = block_on(async { Ok(server.get(&path).await?) })?;
    answer(global.json, &page, |page| list(page, SystemClock.now()))
}

fn list(page: &Incidents, now: DateTime<Utc>) -> String {
    if page.incidents.is_empty() {
        return "No corrupt data was reported.".to_owned();
    }
    let rows: Vec<_> = page.incidents.iter().map(|i| row(i, now)).collect();
    let mut out = table(["when", "at", "artifact", "discarded", "from"], &rows);
    if let Some(next) = page.next {
        out.push_str(&format!("\nOlder incidents: filial incidents --before {next}\n"));
    }
    out
}

/// Renders an incident: when, where, which artifact, how much, from whom.
pub(crate) fn row(i: &Incident, now: DateTime<Utc>) -> [String; 5] {
    let place = i.terminal.as_ref().map_or_else(|| i.branch.to_string(), |t| format!("{}/{t}", i.branch));
    [age(now, i.at), place, i.artifact.short(), size(i.wasted_bytes), from(i)]
}

fn from(i: &Incident) -> String {
    let shown: Vec<String> = i.addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = i.addresses.len().saturating_sub(SHOWN);
    match (i.certain, &shown[..]) {
        (_, []) => "unknown".to_owned(),
        (true, [one, ..]) => one.clone(),
        (false, [one]) => format!("probably {one}"),
        (false, _) if more > 0 => format!("one of {} and {more} more", shown.join(", ")),
        (false, _) => format!("one of {}", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(addresses: u8, certain: bool) -> Incident {
        Incident {
            id: 7,
            at: DateTime::from_timestamp(1_000, 0).unwrap(),
            branch: "north".parse().unwrap(),
            terminal: Some("till-1".parse().unwrap()),
            artifact: [1; 32].into(),
            addresses: (0..addresses).map(|n| [10, 0, 0, n].into()).collect(),
            wasted_bytes: 3 << 20,
            certain,
        }
    }

    #[test]
    fn blame_is_named_as_sure_as_it_is() {
        for (addresses, certain, said) in [
            (0, false, "unknown"),
            (1, true, "10.0.0.0"),
            (1, false, "probably 10.0.0.0"),
            (2, false, "one of 10.0.0.0, 10.0.0.1"),
            (6, false, "one of 10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more"),
        ] {
            assert_eq!(from(&incident(addresses, certain)), said);
        }
    }

    #[test]
    fn a_page_says_how_to_go_on() {
        let now = DateTime::from_timestamp(2_000, 0).unwrap();
        let page = Incidents { incidents: vec![incident(1, true)], next: Some(7) };
        let text = list(&page, now);
        assert!(text.contains("north/till-1") && text.contains("--before 7"), "{text}");
        assert_eq!(list(&Incidents { incidents: vec![], next: None }, now), "No corrupt data was reported.");
    }
}
