//! Hosts of package registries and paths of the machine that a file was written on.

use regex::Regex;

use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    // Written in pieces, so that this file does not name what it looks for.
    let foreign = [
        concat!(r"crates\.", "io"),
        concat!(r"registry\.npmjs", r"\.org"),
        concat!(r"pypi\.", "org"),
        concat!(r"deb\.debian", r"\.org"),
        concat!(r"security\.debian", r"\.org"),
        concat!("/wo", "rk/"),
        concat!("/root", "/"),
    ];
    let Ok(foreign) = Regex::new(&foreign.join("|")) else { return Vec::new() };
    let mut findings = Vec::new();
    for file in &house.files {
        if file == "Cargo.lock" || file.ends_with(".png") || file.ends_with(".json") || file.ends_with(".upd") {
            continue;
        }
        for (at, line) in house.text(file).lines().enumerate() {
            for found in foreign.find_iter(line) {
                let text = format!("names {:?}; take it from the host's configuration", found.as_str());
                findings.push(Finding { check: "machine", file: file.clone(), line: at + 1, text });
            }
        }
    }
    findings
}
