//! SQL outside the places for it.

use regex::Regex;

use super::test_files::is_test;
use crate::rules::lies_in;
use crate::{Finding, House};

/// The beginnings of statements, with a part that no sentence has: "Update the release" does not match.
const STATEMENT: &str = r"(?isx) ^\s* (?:
    select \s .+ \s from \s | select \s+ \w+ \( | insert \s+ into \s | update \s+ \w+ \s+ (?:\w+\s+)? set \s |
    delete \s+ from \s | (?:create|alter|drop) \s+ (?:table|index|database|role|schema) \s | with \s+ \w+ \s+ as \s* \( )";

pub(super) fn check(house: &House) -> Vec<Finding> {
    let Ok(statement) = Regex::new(STATEMENT) else { return Vec::new() };
    let mut findings = Vec::new();
    for (id, file) in house.tree.files.iter().enumerate() {
        let exempt = lies_in(file, house.rules.sql.iter().map(|place| place.path.as_str()));
        if is_test(file) || exempt || file.contains("/db/") {
            continue;
        }
        let texts = house.references.texts.get(&id).into_iter().flatten();
        for (line, _) in texts.filter(|(_, text)| statement.is_match(text)) {
            let text = "SQL outside db/ (invariant 9)".to_owned();
            findings.push(Finding { check: "sql", file: file.clone(), line: *line, text });
        }
    }
    findings
}
