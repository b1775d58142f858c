//! Phrases that a reader from the field would have to translate.

use regex::Regex;

use crate::rules::lies_in;
use crate::{Finding, House};

/// Texts that users see: string literals, the command line's help, documents, settings, what scripts print.
pub(super) fn check_texts(house: &House) -> Vec<Finding> {
    let Ok(prints) = Regex::new(r"\b(?:echo|printf|die|fail|say|note)\b.*") else { return Vec::new() };
    let mut findings = Vec::new();
    for (id, file) in house.tree.files.iter().enumerate() {
        if left_out(house, file) {
            continue;
        }
        let texts = house.references.texts.get(&id).into_iter().flatten();
        let help = house.references.help.get(&id).into_iter().flatten();
        for (line, text) in texts.chain(help) {
            judge(house, "words", file, *line, text, &mut findings);
        }
    }
    for file in house.files.iter().filter(|file| !left_out(house, file)) {
        let text = house.text(file);
        if file.ends_with(".md") {
            judge_paragraphs(house, file, &text, &mut findings);
        } else if file.ends_with(".toml") || file.ends_with(".conf") {
            for (line, comment) in comments(&text, "#") {
                judge(house, "words", file, line, &comment, &mut findings);
            }
        } else if file.ends_with(".sh") || file.ends_with(".cfg") {
            for (at, line) in text.lines().enumerate() {
                for found in prints.find_iter(line) {
                    judge(house, "words", file, at + 1, found.as_str(), &mut findings);
                }
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Comments and documentation in code.
pub(super) fn check_comments(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.files.iter().filter(|file| !left_out(house, file)) {
        let mark = if file.ends_with(".rs") {
            "//"
        } else if file.ends_with(".sh") || file.ends_with(".py") || file == "Makefile" {
            "#"
        } else {
            continue;
        };
        for (line, comment) in comments(&house.text(file), mark) {
            judge(house, "comments", file, line, &comment, &mut findings);
        }
    }
    findings
}

fn left_out(house: &House, file: &str) -> bool {
    lies_in(file, house.rules.texts_left_out.iter().map(|place| place.path.as_str()))
}

fn judge(house: &House, check: &'static str, file: &str, line: usize, text: &str, findings: &mut Vec<Finding>) {
    if house.rules.excused.iter().any(|excused| excused.file == file && excused.text == text) {
        return;
    }
    for word in &house.rules.words {
        if let Some(found) = word.find(text) {
            let before = text[..found.start()].matches('\n').count();
            let said = format!("{:?}: {}", found.as_str(), word.instead);
            findings.push(Finding { check, file: file.to_owned(), line: line + before, text: said });
        }
    }
}

/// Judges a document by paragraphs, because a phrase may be broken over lines.
fn judge_paragraphs(house: &House, file: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut fenced = false;
    let mut paragraph: Vec<&str> = Vec::new();
    let mut first = 1;
    for (at, line) in text.lines().chain([""]).enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if line.trim().is_empty() || line.trim_start().starts_with("```") || fenced {
            judge(house, "words", file, first, &paragraph.join("\n"), findings);
            paragraph.clear();
            if fenced {
                judge(house, "words", file, at + 1, line, findings);
            }
            first = at + 2;
        } else {
            paragraph.push(line);
        }
    }
}

/// Comments of a file, adjacent lines joined, each with its first line.
fn comments(text: &str, mark: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut last = 0;
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix(mark) {
            let comment = comment.trim_start_matches(['/', '!', '#']);
            match out.last_mut() {
                Some((_, before)) if last == at => {
                    before.push('\n');
                    before.push_str(comment);
                }
                _ => out.push((at + 1, comment.to_owned())),
            }
            last = at + 1;
        }
    }
    out
}
