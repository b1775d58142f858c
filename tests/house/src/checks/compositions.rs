//! Modules of the domain that take all parts of a program instead of those that they use.

use crate::rules::{FOLDER, lies_in};
use crate::{Finding, House};

const CHECK: &str = "compositions";

pub(super) fn check(house: &House) -> Vec<Finding> {
    let files = &house.tree.files;
    let mut findings = Vec::new();
    let listed = |text| Finding { check: CHECK, file: format!("{FOLDER}/house.toml"), line: 0, text };
    for composition in &house.rules.compositions {
        let module = &composition.module;
        let Some(id) = files.iter().position(|file| file == module) else {
            findings.push(listed(format!("{module} does not exist; correct the list")));
            continue;
        };
        let imports = house.references.imports.iter().filter(|((_, to), _)| *to == id);
        let importers: Vec<_> = imports.map(|((from, _), names)| (files[*from].as_str(), names)).collect();
        let users = || composition.users.iter().map(String::as_str);
        for (file, names) in importers.iter().filter(|(file, _)| !lies_in(file, users())) {
            let (name, line) = names.first_key_value().map_or(("", 0), |(name, line)| (name.as_str(), *line));
            let text = format!("imports {name} of {module}: take the parts that are used here instead");
            findings.push(Finding { check: CHECK, file: (*file).to_owned(), line, text });
        }
        for user in users().filter(|user| !importers.iter().any(|(file, _)| lies_in(file, [*user]))) {
            findings.push(listed(format!("{user} does not import {module} any more; remove it from the list")));
        }
    }
    findings
}
