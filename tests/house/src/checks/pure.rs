//! Pure modules that reach an impure one.

use super::clocks::reads;
use crate::graph::Graph;
use crate::rules::lies_in;
use crate::tree::FileId;
use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = missing(house);
    let graph = Graph::new(house.references.imports.keys().copied());
    for (id, file) in house.tree.files.iter().enumerate() {
        if !lies_in(file, house.rules.pure.iter().map(String::as_str)) {
            continue;
        }
        if let Some((line, what)) = impurity(house, id) {
            findings.push(Finding {
                check: "pure",
                file: file.clone(),
                line,
                text: format!("{what} in a pure module"),
            });
        }
        for next in graph.after(id) {
            let impure = |to: FileId| impurity(house, to).is_some();
            let mut way = vec![id, next];
            if !impure(next) {
                match graph.way(next, impure) {
                    Some(further) => way.extend(further.into_iter().skip(1)),
                    None => continue,
                }
            }
            let names = &house.references.imports[&(id, next)];
            let (name, line) = names.first_key_value().map_or(("", 0), |(name, line)| (name.as_str(), *line));
            let steps: Vec<&str> = way.iter().skip(1).map(|file| house.tree.files[*file].as_str()).collect();
            let last = *way.last().unwrap_or(&id);
            let (at, what) = impurity(house, last).unwrap_or_default();
            let text = format!(
                "a pure module imports {name} and so reaches {what} (line {at} of {}): -> {}",
                house.tree.files[last],
                steps.join(" -> ")
            );
            findings.push(Finding { check: "pure", file: file.clone(), line, text });
        }
    }
    findings
}

fn missing(house: &House) -> Vec<Finding> {
    let exists = |pure: &str| house.tree.files.iter().any(|file| lies_in(file, [pure]));
    let gone = house.rules.pure.iter().filter(|pure| !exists(pure));
    gone.map(|pure| {
        let text = format!("{pure} is listed as pure but does not exist; correct the list");
        Finding { check: "pure", file: format!("{}/house.toml", crate::rules::FOLDER), line: 0, text }
    })
    .collect()
}

/// The first thing that makes a file impure.
fn impurity(house: &House, file: FileId) -> Option<(usize, String)> {
    let asynchronous = house.references.asynchronous.get(&file).into_iter().flatten().cloned();
    let external = house.references.external.get(&file).into_iter().flatten();
    let forbidden =
        external.filter(|(_, path)| reads(path) || house.rules.impure.iter().any(|begin| begins(path, begin)));
    asynchronous.chain(forbidden.cloned()).min()
}

fn begins(path: &str, begin: &str) -> bool {
    path.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
