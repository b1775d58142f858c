//! Commands that README.md shows and that do not exist.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use crate::{Finding, House};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let (Ok(target), Ok(inline)) =
        (Regex::new(r"(?m)^([a-z0-9-]+):"), Regex::new(r"`((?:make|filial|target/debug/[a-z-]+) [^`]+)`"))
    else {
        return Vec::new();
    };
    let makefile = house.text("Makefile");
    let targets: BTreeSet<&str> =
        target.captures_iter(&makefile).filter_map(|c| c.get(1)).map(|m| m.as_str()).collect();
    let readme = house.text("README.md");
    let mut findings = Vec::new();
    let mut shown: Vec<(usize, String)> = Vec::new();
    let mut fence: Option<bool> = None;
    for (at, line) in readme.lines().enumerate() {
        if let Some(kind) = line.trim().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind == "sh" || kind == "console") };
        } else if fence == Some(true) {
            shown.push((at + 1, line.trim().trim_start_matches("$ ").to_owned()));
        } else if fence.is_none() {
            shown.extend(inline.captures_iter(line).filter_map(|c| c.get(1)).map(|m| (at + 1, m.as_str().to_owned())));
        }
    }
    for (line, command) in shown {
        let words = words(&command);
        let problem = match words.split_first() {
            Some((first, rest)) if first == "make" => rest
                .iter()
                .find(|word| !word.contains('=') && !word.starts_with('-') && !targets.contains(word.as_str()))
                .map(|word| format!("`make {word}` does not exist")),
            Some((first, rest)) if first == "filial" || first == "target/debug/filial" => {
                filial(&house.root, rest).map(|why| format!("`{command}` {why}"))
            }
            _ => None,
        };
        if let Some(text) = problem {
            findings.push(Finding { check: "readme", file: "README.md".to_owned(), line, text });
        }
    }
    findings
}

/// Splits a shell command into words: quotes are honoured, a comment ends it.
fn words(command: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in command.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            ('#', None) if !begun => return out,
            (c, None) if c.is_whitespace() => {
                if begun {
                    out.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, None) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        out.push(word);
    }
    out
}

/// What is wrong with a `filial` command, if anything.
fn filial(root: &Path, arguments: &[String]) -> Option<String> {
    let program = root.join("target/debug/filial");
    if !program.exists() {
        return Some("cannot be checked: target/debug/filial is not built; run `make build`".to_owned());
    }
    // Everything before --help is parsed first: an unknown verb or option fails, with its right neighbours or without.
    #[allow(clippy::disallowed_methods, reason = "this check is about what the built program accepts")]
    let output = std::process::Command::new(program).args(arguments).arg("--help").output();
    (!output.is_ok_and(|output| output.status.success())).then(|| "does not exist".to_owned())
}
