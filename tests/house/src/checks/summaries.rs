//! First lines of documentation that are too long to be read at a glance.

use super::test_files::is_test;
use crate::{Finding, House};

const LIMIT: usize = 90;

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, lines) in &house.references.summaries {
        let file = &house.tree.files[*id];
        for (line, text) in lines {
            let length = text.chars().count();
            if length >= LIMIT && !is_test(file) {
                let text =
                    format!("documentation begins with a line of {length} characters; say what it is in under {LIMIT}");
                findings.push(Finding { check: "summaries", file: file.clone(), line: *line, text });
            }
        }
    }
    findings
}
