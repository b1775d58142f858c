//! What each file refers to: names in other files, names outside the workspace, async code, texts and documents.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::methods::{Methods, inline, methods, type_of};
use crate::resolve::{Found, ItemRef};
use crate::syntax::{describes_arguments, document, is_double_colon, is_punct, segments, strings};
use crate::tree::{FileId, Import, ModuleId, Tree, leaves, only_in_tests};

/// A line and what stands there.
pub type At = (usize, String);

/// What is known of the references between files.
#[derive(Debug, Default)]
pub struct References {
    /// From file to file: the names that tie them, each with the first line that uses it.
    pub imports: BTreeMap<(FileId, FileId), BTreeMap<String, usize>>,
    /// Paths outside the workspace that a file uses.
    pub external: BTreeMap<FileId, Vec<At>>,
    /// Where a file is async.
    pub asynchronous: BTreeMap<FileId, Vec<At>>,
    /// String literals of a file.
    pub texts: BTreeMap<FileId, Vec<At>>,
    /// Lines of a command line's documentation, which `--help` prints.
    pub help: BTreeMap<FileId, Vec<At>>,
    /// First lines of documentation.
    pub summaries: BTreeMap<FileId, Vec<At>>,
}

impl References {
    /// Collects the references of every file of `tree`.
    pub fn collect(tree: &Tree) -> Self {
        let methods = methods(tree);
        let mut all = Self::default();
        for source in &tree.sources {
            let mut reader = Reader {
                tree,
                methods: &methods,
                module: source.module,
                file: source.file,
                of: None,
                local: Vec::new(),
                clap: false,
                out: &mut all,
            };
            reader.visit_file(&source.syntax);
        }
        all
    }
}

struct Reader<'a> {
    tree: &'a Tree,
    methods: &'a Methods,
    module: ModuleId,
    file: FileId,
    /// The type whose implementation is being read.
    of: Option<ItemRef>,
    /// What the enclosing blocks import.
    local: Vec<BTreeMap<String, Import>>,
    /// Whether the item being read describes a command line.
    clap: bool,
    out: &'a mut References,
}

impl Reader<'_> {
    fn tie(&mut self, to: FileId, name: &str, line: usize) {
        if to != self.file {
            self.out.imports.entry((self.file, to)).or_default().entry(name.to_owned()).or_insert(line);
        }
    }

    fn found(&mut self, found: Vec<Found>, line: usize) {
        for one in found {
            match one {
                Found::Item(item, after) => {
                    self.tie(item.file, &item.name, line);
                    if let Some(method) = after
                        && let Some(file) = self.methods.get(&(item.clone(), method.clone()))
                    {
                        self.tie(*file, &format!("{}::{method}", item.name), line);
                    }
                }
                Found::External(path) => {
                    self.out.external.entry(self.file).or_default().push((line, path.join("::")));
                }
                Found::Module(_) => {}
            }
        }
    }

    /// A path that is used where `called` says whether it is a function's or macro's name.
    fn refer(&mut self, path: &[String], absolute: bool, called: bool, line: usize) {
        let Some(first) = path.first() else { return };
        if first == "Self" {
            if let (Some(of), Some(method)) = (self.of.clone(), path.get(1)) {
                self.found(vec![Found::Item(of, Some(method.clone()))], line);
            }
            return;
        }
        // A lone lower-case name is a variable as often as an item.
        let alone = path.len() == 1 && !called && !first.starts_with(char::is_uppercase);
        if alone {
            return;
        }
        let local = self.local.iter().rev().find_map(|block| block.get(first)).filter(|_| !absolute);
        let found = match local {
            Some(import) => {
                let whole: Vec<String> = import.path.iter().chain(&path[1..]).cloned().collect();
                self.tree.resolve(self.module, &whole, import.absolute)
            }
            None => self.tree.resolve(self.module, path, absolute),
        };
        self.found(found, line);
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        self.text(literal.span().start().line, text.value());
                    }
                }
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let mut path = vec![ident.to_string()];
                    while is_double_colon(&trees, at + 1)
                        && let Some(TokenTree::Ident(next)) = trees.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    let after_dot = at > 0 && path.len() == 1 && is_punct(trees.get(at - 1), '.');
                    if path.len() == 1 && (ident == "async" || (ident == "await" && after_dot)) {
                        self.out.asynchronous.entry(self.file).or_default().push((line, ident.to_string()));
                    } else if !after_dot {
                        let called = is_punct(trees.get(at + 1), '!')
                            || matches!(trees.get(at + 1), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
                        self.refer(&path, false, called && path.len() > 1, line);
                    }
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    fn text(&mut self, line: usize, text: String) {
        self.out.texts.entry(self.file).or_default().push((line, text));
    }

    fn documents(&mut self, attributes: &[syn::Attribute]) {
        let lines: Vec<(usize, String)> = attributes.iter().filter_map(document).collect();
        if let Some((line, text)) = lines.first() {
            self.out.summaries.entry(self.file).or_default().push((*line, text.trim().to_owned()));
        }
        if self.clap {
            self.out.help.entry(self.file).or_default().extend(lines);
        }
    }

    fn with_clap(&mut self, attributes: &[syn::Attribute], read: impl FnOnce(&mut Self)) {
        let is = attributes.iter().any(|a| {
            a.path().is_ident("derive") && matches!(&a.meta, syn::Meta::List(list) if describes_arguments(&list.tokens))
        });
        let before = std::mem::replace(&mut self.clap, is);
        read(self);
        self.clap = before;
    }
}

/// Attributes whose strings are for other programmers, not for users.
const NOT_FOR_USERS: [&str; 8] = ["allow", "expect", "warn", "deny", "forbid", "cfg", "cfg_attr", "derive"];

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = crate::tree::attributes(item);
        if only_in_tests(attributes) {
            return;
        }
        self.with_clap(attributes, |reader| {
            reader.documents(attributes);
            visit::visit_item(reader, item);
        });
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if let Some(inner) = inline(self.tree, self.module, item) {
            let outer = std::mem::replace(&mut self.module, inner);
            visit::visit_item_mod(self, item);
            self.module = outer;
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let private = matches!(item.vis, syn::Visibility::Inherited);
        for leaf in leaves(&item.tree) {
            let line = item.span().start().line;
            let found = self.tree.resolve(self.module, &leaf.path, item.leading_colon.is_some());
            // A re-export is a signpost: whoever follows it depends on the definition, the signpost does not.
            let found = found.into_iter().filter(|f| private || matches!(f, Found::External(_))).collect();
            self.found(found, line);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let before = std::mem::replace(&mut self.of, type_of(self.tree, self.module, &item.self_ty));
        visit::visit_item_impl(self, item);
        self.of = before;
    }

    fn visit_impl_item(&mut self, item: &'a syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(i) => &i.attrs,
            syn::ImplItem::Const(i) => &i.attrs,
            syn::ImplItem::Type(i) => &i.attrs,
            _ => &Vec::new(),
        };
        if !only_in_tests(attributes) {
            self.documents(attributes);
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'a syn::TraitItem) {
        if let syn::TraitItem::Fn(method) = item {
            self.documents(&method.attrs);
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        self.documents(&field.attrs);
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.documents(&variant.attrs);
        visit::visit_variant(self, variant);
    }

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        let path = attribute.path();
        if path.is_ident("doc") || NOT_FOR_USERS.iter().any(|name| path.is_ident(name)) {
            return;
        }
        if let syn::Meta::List(list) = &attribute.meta {
            let line = attribute.span().start().line;
            self.tokens(list.tokens.clone());
            for text in strings(list.tokens.clone()) {
                // serde names functions in strings.
                if let Ok(path) = syn::parse_str::<syn::Path>(&text)
                    && path.segments.len() > 1
                {
                    self.refer(&segments(&path), path.leading_colon.is_some(), true, line);
                }
            }
        }
    }

    fn visit_block(&mut self, block: &'a syn::Block) {
        let mut names = BTreeMap::new();
        for statement in &block.stmts {
            if let syn::Stmt::Item(syn::Item::Use(import)) = statement {
                let absolute = import.leading_colon.is_some();
                for leaf in leaves(&import.tree) {
                    names.extend(leaf.name.map(|name| (name, Import { path: leaf.path, absolute })));
                }
            }
        }
        self.local.push(names);
        visit::visit_block(self, block);
        self.local.pop();
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.refer(&segments(path), path.leading_colon.is_some(), false, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func
            && path.path.segments.len() == 1
        {
            self.refer(&segments(&path.path), false, true, call.span().start().line);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        if let (syn::Expr::Path(receiver), Some(of)) = (&*call.receiver, self.of.clone())
            && receiver.path.is_ident("self")
        {
            self.found(vec![Found::Item(of, Some(call.method.to_string()))], call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, written: &'a syn::Macro) {
        let line = written.span().start().line;
        let path = segments(&written.path);
        match (path.as_slice(), self.tree.macros.get(&path[0])) {
            ([name], Some(module)) if self.tree.modules[*module].root == self.tree.modules[self.module].root => {
                self.tie(self.tree.modules[*module].file, &format!("{name}!"), line);
            }
            _ => self.refer(&path, written.path.leading_colon.is_some(), true, line),
        }
        let parser = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        match syn::parse::Parser::parse2(parser, written.tokens.clone()) {
            Ok(arguments) => arguments.iter().for_each(|argument| self.visit_owned(argument)),
            Err(_) => self.tokens(written.tokens.clone()),
        }
    }

    fn visit_lit_str(&mut self, literal: &'a syn::LitStr) {
        self.text(literal.span().start().line, literal.value());
    }

    fn visit_expr_await(&mut self, expression: &'a syn::ExprAwait) {
        let line = expression.await_token.span().start().line;
        self.out.asynchronous.entry(self.file).or_default().push((line, ".await".to_owned()));
        visit::visit_expr_await(self, expression);
    }

    fn visit_expr_async(&mut self, expression: &'a syn::ExprAsync) {
        let line = expression.async_token.span().start().line;
        self.out.asynchronous.entry(self.file).or_default().push((line, "async".to_owned()));
        visit::visit_expr_async(self, expression);
    }

    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        if let Some(token) = &signature.asyncness {
            let what = format!("async fn {}", signature.ident);
            self.out.asynchronous.entry(self.file).or_default().push((token.span().start().line, what));
        }
        visit::visit_signature(self, signature);
    }
}

impl Reader<'_> {
    /// Visits syntax that lives shorter than the file, such as a macro's arguments.
    fn visit_owned(&mut self, expression: &syn::Expr) {
        Visit::visit_expr(self, expression);
    }
}
