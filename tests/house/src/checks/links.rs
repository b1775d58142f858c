//! Files that documents name and that do not exist.

use std::path::Path;

use regex::Regex;

use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let (Ok(quoted), Ok(link)) =
        (Regex::new(r"`((?:[\w.-]+/)+[\w.-]*)(?:::\w+|:\d+)?`"), Regex::new(r"\]\(([\w./-]+)(?:#[\w-]*)?\)"))
    else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for file in house.files.iter().filter(|file| file.ends_with(".md")) {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let exists = |path: &Path| house.root.join(path).exists();
        for (at, line) in house.text(file).lines().enumerate() {
            let linked = link.captures_iter(line).filter_map(|c| c.get(1)).map(|m| (m.as_str(), true));
            let named = quoted.captures_iter(line).filter_map(|c| c.get(1)).map(|m| (m.as_str(), false));
            for (name, relative) in linked.chain(named) {
                // In prose a path is meant from the workspace or from the document's folder, if its first folder is there.
                let first = name.split('/').next().unwrap_or_default();
                let found = exists(&folder.join(name)) || (!relative && exists(Path::new(name)));
                let placeholder =
                    |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                if first == "target" || name.split('/').any(placeholder) {
                    continue;
                }
                let meant = relative || exists(&folder.join(first)) || exists(Path::new(first));
                if meant && !found {
                    let text = format!("names {name:?}, which does not exist");
                    findings.push(Finding { check: "links", file: file.clone(), line: at + 1, text });
                }
            }
        }
    }
    findings
}
