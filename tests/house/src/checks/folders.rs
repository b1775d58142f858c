//! Import circles between the top-level modules of a program, and arrows that no longer need to be tolerated.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;
use crate::rules::{Arrow, FOLDER};
use crate::tree::FileId;
use crate::{Finding, House};

/// How many imports of an arrow are shown.
const SHOWN: usize = 4;

/// The top-level modules of a program, numbered by name, and what ties them.
struct Layers<'a> {
    folder: &'a str,
    modules: Vec<&'a str>,
    arrows: BTreeMap<(usize, usize), Vec<(FileId, FileId)>>,
}

pub(super) fn check(house: &House) -> Vec<Finding> {
    let programs = &house.rules.programs;
    let mut findings = Vec::new();
    for program in programs {
        let layers = Layers::of(house, program);
        if layers.modules.is_empty() {
            findings.push(listed(format!("program {program} does not exist; correct the list")));
        }
        findings.extend(layers.findings(house));
    }
    let unknown = house.rules.arrows.iter().filter(|arrow| !programs.contains(&arrow.program));
    findings.extend(unknown.map(|arrow| listed(format!("{arrow}: {} is not a listed program", arrow.program))));
    findings
}

fn listed(text: String) -> Finding {
    Finding { check: "folders", file: format!("{FOLDER}/house.toml"), line: 0, text }
}

/// The top-level module that a file belongs to; `None` for a crate's root, which composes them.
fn module<'a>(file: &'a str, folder: &str) -> Option<&'a str> {
    let inside = file.strip_prefix(folder)?.strip_prefix('/')?;
    let name = inside.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (!["lib", "main", "bin"].contains(&name)).then_some(name)
}

impl<'a> Layers<'a> {
    fn of(house: &'a House, folder: &'a str) -> Self {
        let files = &house.tree.files;
        let modules: BTreeSet<&str> = files.iter().filter_map(|file| module(file, folder)).collect();
        let modules: Vec<&str> = modules.into_iter().collect();
        let number = |file: FileId| module(&files[file], folder).and_then(|name| modules.binary_search(&name).ok());
        let mut arrows: BTreeMap<(usize, usize), Vec<(FileId, FileId)>> = BTreeMap::new();
        for (from, to) in house.references.imports.keys() {
            if let (Some(begin), Some(end)) = (number(*from), number(*to))
                && begin != end
            {
                arrows.entry((begin, end)).or_default().push((*from, *to));
            }
        }
        Self { folder, modules, arrows }
    }

    fn findings(&self, house: &House) -> Vec<Finding> {
        let tolerated: Vec<&Arrow> = house.rules.arrows.iter().filter(|arrow| arrow.program == self.folder).collect();
        let ends = |arrow: &Arrow| {
            let number = |name: &str| self.modules.binary_search(&name).ok();
            number(&arrow.from).zip(number(&arrow.to)).filter(|ends| self.arrows.contains_key(ends))
        };
        let left_out: BTreeSet<(usize, usize)> = tolerated.iter().filter_map(|arrow| ends(arrow)).collect();
        let graph = Graph::new(self.arrows.keys().filter(|ends| !left_out.contains(ends)).copied());
        let circles = graph.circles().into_iter().map(|circle| self.finding(house, &circle));
        let needless = tolerated.iter().filter_map(|arrow| match ends(arrow) {
            None => Some(listed(format!("{arrow}: no import leads there any more; remove it from the list"))),
            Some((from, to)) if !graph.reach(to).contains(&from) => {
                Some(listed(format!("{arrow} closes no circle any more; remove it from the list")))
            }
            Some(_) => None,
        });
        circles.chain(needless).collect()
    }

    fn finding(&self, house: &House, circle: &[usize]) -> Finding {
        let mut text = "top-level modules import each other in a circle".to_owned();
        for (at, from) in circle.iter().enumerate() {
            let to = circle[(at + 1) % circle.len()];
            let imports = &self.arrows[&(*from, to)];
            text += &format!("\n    {} -> {}", self.modules[*from], self.modules[to]);
            for (file, other) in imports.iter().take(SHOWN) {
                let names = &house.references.imports[&(*file, *other)];
                let (name, line) = names.first_key_value().map_or(("", 0), |(name, line)| (name.as_str(), *line));
                let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
                let files = &house.tree.files;
                text += &format!("\n        {}:{line}: {name}{more} of {}", files[*file], files[*other]);
            }
            if imports.len() > SHOWN {
                text += &format!("\n        and {} more", imports.len() - SHOWN);
            }
        }
        Finding { check: "folders", file: self.folder.to_owned(), line: 0, text }
    }
}
