//! Methods of inherent implementations, so that one that is spread over several files shows.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use crate::resolve::{Found, ItemRef};
use crate::syntax::segments;
use crate::tree::{Definition, FileId, ModuleId, Tree, only_in_tests};

/// Methods of inherent implementations: by type and name, the file that has them.
pub type Methods = BTreeMap<(ItemRef, String), FileId>;

/// Reads every inherent implementation of the tree.
pub fn methods(tree: &Tree) -> Methods {
    struct Finder<'a> {
        tree: &'a Tree,
        module: ModuleId,
        file: FileId,
        out: Methods,
    }
    impl<'a> Visit<'a> for Finder<'_> {
        fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
            if let Some(inner) = inline(self.tree, self.module, item) {
                let outer = std::mem::replace(&mut self.module, inner);
                visit::visit_item_mod(self, item);
                self.module = outer;
            }
        }

        fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
            if item.trait_.is_some() || only_in_tests(&item.attrs) {
                return;
            }
            if let Some(of) = type_of(self.tree, self.module, &item.self_ty) {
                for inner in &item.items {
                    if let syn::ImplItem::Fn(method) = inner {
                        self.out.insert((of.clone(), method.sig.ident.to_string()), self.file);
                    }
                }
            }
        }
    }
    let mut out = Methods::new();
    for source in &tree.sources {
        let mut finder = Finder { tree, module: source.module, file: source.file, out };
        finder.visit_file(&source.syntax);
        out = finder.out;
    }
    out
}

/// The module that an inline `mod` item is.
pub fn inline(tree: &Tree, module: ModuleId, item: &syn::ItemMod) -> Option<ModuleId> {
    item.content.as_ref()?;
    tree.modules[module].names.get(&item.ident.to_string())?.iter().find_map(|d| match d {
        Definition::Module(id) => Some(*id),
        _ => None,
    })
}

/// The type that an implementation is for.
pub fn type_of(tree: &Tree, module: ModuleId, of: &syn::Type) -> Option<ItemRef> {
    let syn::Type::Path(path) = of else { return None };
    let found = tree.resolve(module, &segments(&path.path), path.path.leading_colon.is_some());
    found.into_iter().find_map(|f| match f {
        Found::Item(item, _) => Some(item),
        _ => None,
    })
}
