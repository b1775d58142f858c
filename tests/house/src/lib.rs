//! Checks the rules of the house that no compiler knows.
//!
//! The module graph is built from the syntax of every crate: which file uses a name that which other file defines. Two
//! rules decide what counts as an import:
//!
//! - **A file depends on the file that defines the name**, through every re-export on the way. `mod child;` and
//!   `pub use child::X` in a `mod.rs` are signposts: they tie the `mod.rs` to nothing. A child that uses what its parent's
//!   file defines is tied to the parent; if the parent's code also uses what the child defines, that is a circle.
//! - **Tests are left out**: items under `#[cfg(test)]`, and everything below a `tests` folder of a package.
//!
//! Method calls are followed where the type is known without inference: `self.f()`, `Self::f()` and `Type::f()`, so that
//! an implementation spread over several files shows.

pub mod checks;
pub mod finding;
pub mod graph;
pub mod methods;
pub mod references;
pub mod resolve;
pub mod rules;
pub mod syntax;
pub mod tree;
pub mod workspace;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use finding::Finding;

/// A workspace as it was read.
pub struct House {
    /// Its folder.
    pub root: PathBuf,
    /// Every file of it, relative to the folder.
    pub files: Vec<String>,
    /// The module trees.
    pub tree: tree::Tree,
    /// What refers to what.
    pub references: references::References,
    /// The rules' lists.
    pub rules: rules::Rules,
}

impl House {
    /// Reads the workspace at `root`, and the lists of its rules from the folder `rules`.
    pub fn read(root: &Path, rules: &Path) -> Result<Self> {
        let rules = rules::Rules::read(rules)?;
        let tree = tree::Tree::read(root, &workspace::packages(root)?)?;
        let references = references::References::collect(&tree);
        Ok(Self { root: root.to_owned(), files: workspace::files(root)?, references, tree, rules })
    }

    /// The text of a file.
    pub fn text(&self, file: &str) -> String {
        std::fs::read(self.root.join(file))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}
