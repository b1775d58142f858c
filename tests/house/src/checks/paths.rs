//! URL paths that are written outside of the one list.

use std::collections::BTreeMap;

use super::test_files::is_test;
use crate::rules::lies_in;
use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut defined: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (id, file) in house.tree.files.iter().enumerate() {
        if is_test(file) {
            continue;
        }
        let home = lies_in(file, house.rules.paths.iter().map(|place| place.path.as_str()));
        for (line, path) in house.references.texts.get(&id).into_iter().flatten() {
            if path == "/v1/" || !path.starts_with("/v1/") {
                continue;
            }
            let text = if !home {
                format!("URL path {path:?} outside of wire's list: use the constant or function there")
            } else if let Some((file, line)) = defined.insert(path, (file, *line)) {
                format!("URL path {path:?} is written twice: also in line {line} of {file}")
            } else {
                continue;
            };
            findings.push(Finding { check: "paths", file: file.clone(), line: *line, text });
        }
    }
    findings
}
