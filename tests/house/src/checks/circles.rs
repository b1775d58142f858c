//! Import circles between files of a package.

use crate::graph::Graph;
use crate::rules::lies_in;
use crate::tree::FileId;
use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let left_out = |file: FileId| {
        lies_in(&house.tree.files[file], house.rules.circles_left_out.iter().map(|place| place.path.as_str()))
    };
    let within = |(from, to): &&(FileId, FileId)| {
        house.tree.packages[*from] == house.tree.packages[*to] && !(left_out(*from) && left_out(*to))
    };
    let graph = Graph::new(house.references.imports.keys().filter(within).copied());
    let knots = graph.knots().into_iter().map(|files| knot(house, &files));
    knots.chain(graph.circles().into_iter().map(|circle| finding(house, &circle))).collect()
}

fn knot(house: &House, files: &[FileId]) -> Finding {
    let names: Vec<&str> = files.iter().map(|file| house.tree.files[*file].as_str()).collect();
    let text = format!("a knot of {} files, of which each reaches every other: {}", names.len(), names.join(", "));
    Finding { check: "circles", file: names[0].to_owned(), line: 0, text }
}

fn finding(house: &House, circle: &[FileId]) -> Finding {
    let files = &house.tree.files;
    let mut text = "import circle".to_owned();
    for (at, from) in circle.iter().enumerate() {
        let to = circle[(at + 1) % circle.len()];
        let names = &house.references.imports[&(*from, to)];
        let shown: Vec<String> = names.iter().take(6).map(|(name, line)| format!("{name} (line {line})")).collect();
        let more = if names.len() > 6 { format!(" and {} more", names.len() - 6) } else { String::new() };
        text += &format!("\n    {} -> {}: {}{more}", files[*from], files[to], shown.join(", "));
    }
    Finding { check: "circles", file: files[circle[0]].clone(), line: 0, text }
}
