//! Names of one BitTorrent engine outside the places for them.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::test_files::is_test;
use crate::rules::{FOLDER, lies_in};
use crate::tree::{attributes, only_in_tests};
use crate::{Finding, House};

const CHECK: &str = "engines";

pub(super) fn check(house: &House) -> Vec<Finding> {
    let engines = &house.rules.engines;
    let mut needed = vec![false; engines.places.len()];
    let mut findings = Vec::new();
    for source in house.tree.sources.iter().filter(|source| !is_test(&house.tree.files[source.file])) {
        let file = &house.tree.files[source.file];
        let mut names = Names { names: &engines.names, found: Vec::new() };
        names.visit_file(&source.syntax);
        for (line, text) in house.references.help.get(&source.file).into_iter().flatten() {
            names.judge(*line, text);
        }
        let place = engines.places.iter().position(|place| lies_in(file, [place.path.as_str()]));
        match place {
            Some(place) => needed[place] |= !names.found.is_empty(),
            None => findings.extend(names.found.into_iter().map(|(line, name)| {
                let text = format!("{name:?} names one engine: ask the `Engine` trait, or move this into crates/swarm");
                Finding { check: CHECK, file: file.clone(), line, text }
            })),
        }
    }
    for (place, _) in engines.places.iter().zip(&needed).filter(|(_, needed)| !**needed) {
        let text = format!("{:?} names no engine any more: remove the exception", place.path);
        findings.push(Finding { check: CHECK, file: format!("{FOLDER}/house.toml"), line: 0, text });
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Finds names in code and texts, but not in comments and tests.
struct Names<'a> {
    names: &'a [String],
    found: Vec<(usize, String)>,
}

impl Names<'_> {
    fn judge(&mut self, line: usize, text: &str) {
        let text = text.to_lowercase();
        let named = self.names.iter().filter(|name| text.contains(name.as_str()));
        self.found.extend(named.map(|name| (line, name.clone())));
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => self.judge(ident.span().start().line, &ident.to_string()),
                TokenTree::Literal(literal) => self.judge(literal.span().start().line, &literal.to_string()),
                TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'a> Visit<'a> for Names<'_> {
    fn visit_item(&mut self, item: &'a syn::Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_ident(&mut self, ident: &'a proc_macro2::Ident) {
        self.judge(ident.span().start().line, &ident.to_string());
    }

    fn visit_lit_str(&mut self, literal: &'a syn::LitStr) {
        self.judge(literal.span().start().line, &literal.value());
    }

    fn visit_macro(&mut self, written: &'a syn::Macro) {
        self.tokens(written.tokens.clone());
        visit::visit_macro(self, written);
    }
}
