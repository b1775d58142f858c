//! The module tree of every crate: which names each module has, and in which file each item stands.
//!
//! Items and files under `#[cfg(test)]` are left out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use syn::{Item, Meta, UseTree};

use crate::workspace::Package;

/// A module's place in [`Tree::modules`].
pub type ModuleId = usize;
/// A file's place in [`Tree::files`].
pub type FileId = usize;

/// One module of one crate.
#[derive(Debug)]
pub struct Module {
    /// The crate's root module.
    pub root: ModuleId,
    /// The module that declares this one.
    pub parent: Option<ModuleId>,
    /// The file that it stands in.
    pub file: FileId,
    /// What its names stand for.
    pub names: BTreeMap<String, Vec<Definition>>,
    /// What it imports by `*`.
    pub globs: Vec<Import>,
}

/// What a name in a module stands for.
#[derive(Clone, Debug)]
pub enum Definition {
    /// An item that is written here.
    Item,
    /// A module.
    Module(ModuleId),
    /// Something imported.
    Import(Import),
    /// An exported macro, which stands at the crate's root and is written in this module.
    Exported(ModuleId),
}

/// A path in a `use` declaration.
#[derive(Clone, Debug)]
pub struct Import {
    /// Its segments.
    pub path: Vec<String>,
    /// Whether it begins with `::`.
    pub absolute: bool,
}

/// A parsed source file as one module's content.
pub struct Source {
    /// Its file.
    pub file: FileId,
    /// The module that it is the content of.
    pub module: ModuleId,
    /// Its syntax.
    pub syntax: syn::File,
}

/// The module trees of a workspace.
#[derive(Default)]
pub struct Tree {
    /// Every module.
    pub modules: Vec<Module>,
    /// Every file that belongs to a module, relative to the workspace.
    pub files: Vec<String>,
    /// The package that each file belongs to.
    pub packages: Vec<String>,
    /// Each file's content.
    pub sources: Vec<Source>,
    /// The libraries' roots by the name that paths use.
    pub libraries: BTreeMap<String, ModuleId>,
    /// Macros by example by name: they are visible by order of text, not by path.
    pub macros: BTreeMap<String, ModuleId>,
}

impl Tree {
    /// Reads the module tree of every crate of `packages`.
    pub fn read(root: &Path, packages: &[Package]) -> Result<Self> {
        let mut tree = Self::default();
        for package in packages {
            for (path, library) in package
                .library
                .iter()
                .map(|l| (l, true))
                .chain(package.programs.iter().filter(|p| package.library.as_ref() != Some(p)).map(|p| (p, false)))
            {
                let module = tree.add_file(root, path, None, &package.name)?;
                if library {
                    tree.libraries.insert(package.library_name.clone(), module);
                }
            }
        }
        Ok(tree)
    }

    fn add_file(&mut self, root: &Path, path: &str, parent: Option<ModuleId>, package: &str) -> Result<ModuleId> {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let syntax = syn::parse_file(&text).with_context(|| format!("{path} is not valid Rust"))?;
        let file = self.files.iter().position(|f| f == path).unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.packages.push(package.to_owned());
            self.files.len() - 1
        });
        let module = self.add_module(parent, file);
        let path = Path::new(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        let stem = path.file_stem().unwrap_or_default();
        // A crate's root and a mod.rs have their children beside them, another file in a folder of its name.
        let children = if parent.is_none() || stem == "mod" { folder.to_owned() } else { folder.join(stem) };
        self.add_items(root, &syntax.items, module, (&children, folder), package)?;
        self.sources.push(Source { file, module, syntax });
        Ok(module)
    }

    fn add_module(&mut self, parent: Option<ModuleId>, file: FileId) -> ModuleId {
        let id = self.modules.len();
        let root = parent.map_or(id, |p| self.modules[p].root);
        self.modules.push(Module { root, parent, file, names: BTreeMap::new(), globs: Vec::new() });
        id
    }

    fn define(&mut self, module: ModuleId, name: impl ToString, definition: Definition) {
        self.modules[module].names.entry(name.to_string()).or_default().push(definition);
    }

    fn add_items(
        &mut self,
        root: &Path,
        items: &[Item],
        module: ModuleId,
        (children, folder): (&Path, &Path),
        package: &str,
    ) -> Result<()> {
        for item in items {
            if only_in_tests(attributes(item)) {
                continue;
            }
            match item {
                Item::Mod(declared) => {
                    let name = declared.ident.to_string();
                    let id = if let Some((_, items)) = &declared.content {
                        let id = self.add_module(Some(module), self.modules[module].file);
                        let below = children.join(&name);
                        self.add_items(root, items, id, (&below, &below), package)?;
                        id
                    } else {
                        let path = match named_path(&declared.attrs) {
                            Some(path) => normal(&folder.join(path)),
                            None => {
                                let beside = children.join(format!("{name}.rs"));
                                let inside = children.join(&name).join("mod.rs");
                                if root.join(&beside).is_file() { beside } else { inside }
                            }
                        };
                        self.add_file(root, &path.to_string_lossy(), Some(module), package)?
                    };
                    self.define(module, name, Definition::Module(id));
                }
                Item::Use(import) => {
                    let absolute = import.leading_colon.is_some();
                    for leaf in leaves(&import.tree) {
                        let found = Import { path: leaf.path, absolute };
                        match leaf.name {
                            Some(name) if name == "*" => self.modules[module].globs.push(found),
                            Some(name) => self.define(module, name, Definition::Import(found)),
                            None => {}
                        }
                    }
                }
                Item::Macro(written) => {
                    if let Some(name) = &written.ident {
                        self.define(module, name, Definition::Item);
                        self.macros.insert(name.to_string(), module);
                        if written.attrs.iter().any(|a| a.path().is_ident("macro_export")) {
                            self.define(self.modules[module].root, name, Definition::Exported(module));
                        }
                    }
                }
                other => {
                    if let Some(name) = name_of(other) {
                        self.define(module, name, Definition::Item);
                    }
                }
            }
        }
        Ok(())
    }
}

/// One name that a `use` declaration brings in.
#[derive(Debug)]
pub struct Leaf {
    /// The path that it stands for.
    pub path: Vec<String>,
    /// The name here: `*` for a glob, none for `_`.
    pub name: Option<String>,
}

/// Flattens a `use` tree.
pub fn leaves(tree: &UseTree) -> Vec<Leaf> {
    fn walk(tree: &UseTree, before: &mut Vec<String>, out: &mut Vec<Leaf>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                walk(&path.tree, before, out);
                before.pop();
            }
            UseTree::Name(name) if name.ident == "self" => {
                out.push(Leaf { path: before.clone(), name: before.last().cloned() });
            }
            UseTree::Name(name) => {
                let path = before.iter().cloned().chain([name.ident.to_string()]).collect();
                out.push(Leaf { path, name: Some(name.ident.to_string()) });
            }
            UseTree::Rename(rename) => {
                let mut path = before.clone();
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                let name = rename.rename.to_string();
                out.push(Leaf { path, name: (name != "_").then_some(name) });
            }
            UseTree::Glob(_) => out.push(Leaf { path: before.clone(), name: Some("*".to_owned()) }),
            UseTree::Group(group) => group.items.iter().for_each(|item| walk(item, before, out)),
        }
    }
    let mut out = Vec::new();
    walk(tree, &mut Vec::new(), &mut out);
    out
}

/// Whether these attributes leave an item out of everything but tests.
pub fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    fn requires_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) => {
                let inner = list
                    .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                    .unwrap_or_default();
                if list.path.is_ident("all") {
                    inner.iter().any(requires_test)
                } else if list.path.is_ident("any") {
                    !inner.is_empty() && inner.iter().all(requires_test)
                } else {
                    false
                }
            }
            Meta::NameValue(_) => false,
        }
    }
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|meta| requires_test(&meta))
    })
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::TraitAlias(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(i) => Some(&i.ident),
        Item::Enum(i) => Some(&i.ident),
        Item::Fn(i) => Some(&i.sig.ident),
        Item::Static(i) => Some(&i.ident),
        Item::Struct(i) => Some(&i.ident),
        Item::Trait(i) => Some(&i.ident),
        Item::TraitAlias(i) => Some(&i.ident),
        Item::Type(i) => Some(&i.ident),
        Item::Union(i) => Some(&i.ident),
        _ => None,
    }
}

fn named_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find(|a| a.path().is_ident("path")).and_then(|a| match &a.meta {
        Meta::NameValue(pair) => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Resolves `..` in a path without asking the disk.
fn normal(path: &Path) -> std::path::PathBuf {
    let mut out = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
