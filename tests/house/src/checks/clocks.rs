//! Reading the clock outside a clock.

use super::test_files::is_test;
use crate::rules::lies_in;
use crate::{Finding, House};

const CLOCKS: [&str; 4] = ["Instant::now", "SystemTime::now", "Utc::now", "Local::now"];

/// Whether this path reads a clock.
pub(super) fn reads(path: &str) -> bool {
    CLOCKS.iter().any(|clock| path.strip_suffix(clock).is_some_and(|rest| rest.is_empty() || rest.ends_with("::")))
}

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, file) in house.tree.files.iter().enumerate() {
        if is_test(file) || lies_in(file, house.rules.clocks.iter().map(|place| place.path.as_str())) {
            continue;
        }
        for (line, path) in house.references.external.get(&id).into_iter().flatten().filter(|(_, path)| reads(path)) {
            let text = format!("{path} outside a clock: take the time, or a clock, as an argument");
            findings.push(Finding { check: "clocks", file: file.clone(), line: *line, text });
        }
    }
    findings.sort();
    findings.dedup();
    findings
}
