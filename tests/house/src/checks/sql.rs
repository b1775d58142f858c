//! SQL outside the places for it.

use regex::Regex;

use super::test_files::is_test;
use crate::rules::lies_in;
use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let Ok(sql) = Regex::new(r"(?i)^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE)\s+\S") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (id, file) in house.tree.files.iter().enumerate() {
        let exempt = lies_in(file, house.rules.sql.iter().map(|place| place.path.as_str()));
        if is_test(file) || exempt || file.contains("/db/") {
            continue;
        }
        for (line, text) in house.references.texts.get(&id).into_iter().flatten() {
            let statement = sql.find(text).is_some_and(|found| {
                // A sentence may begin with the word "Update"; a statement has its keyword in capitals.
                found.as_str().trim_start().chars().take_while(|c| c.is_alphabetic()).all(char::is_uppercase)
            });
            if statement {
                let text = "SQL outside db/ (invariant 9)".to_owned();
                findings.push(Finding { check: "sql", file: file.clone(), line: *line, text });
            }
        }
    }
    findings
}
