//! What a path stands for: the file that defines the item, through every re-export on the way.

use std::collections::BTreeSet;

use crate::tree::{Definition, FileId, ModuleId, Tree};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A module.
    Module(ModuleId),
    /// An item, and the segment after it (a variant, an associated function), if the path has one.
    Item(ItemRef, Option<String>),
    /// Something outside the workspace, by its full path.
    External(Vec<String>),
}

/// An item and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemRef {
    /// The file that defines it.
    pub file: FileId,
    /// The module that defines it.
    pub module: ModuleId,
    /// Its name there.
    pub name: String,
}

type Seen = BTreeSet<(ModuleId, String)>;

impl Tree {
    /// Resolves `path` as it is written in the module `from`.
    pub fn resolve(&self, from: ModuleId, path: &[String], absolute: bool) -> Vec<Found> {
        self.resolve_seen(from, path, absolute, &mut Seen::new())
    }

    fn resolve_seen(&self, from: ModuleId, path: &[String], absolute: bool, seen: &mut Seen) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(self.modules[from].root)],
            "self" => vec![Found::Module(from)],
            "super" => self.modules[from].parent.map(Found::Module).into_iter().collect(),
            _ if absolute => vec![self.external(first)],
            _ => {
                let here = self.lookup(from, first, seen);
                if here.is_empty() { vec![self.external(first)] } else { here }
            }
        };
        for segment in rest {
            let through: Vec<Found> = found
                .iter()
                .filter(|f| matches!(f, Found::Module(_)))
                .flat_map(|f| self.step(f, segment, seen))
                .collect();
            found = if through.is_empty() {
                found
                    .iter()
                    .filter(|f| !matches!(f, Found::Module(_)))
                    .flat_map(|f| self.step(f, segment, seen))
                    .collect()
            } else {
                through
            };
        }
        found
    }

    fn step(&self, at: &Found, segment: &str, seen: &mut Seen) -> Vec<Found> {
        match at {
            Found::Module(module) => match segment {
                "self" => vec![Found::Module(*module)],
                "super" => self.modules[*module].parent.map(Found::Module).into_iter().collect(),
                _ => self.lookup(*module, segment, seen),
            },
            Found::Item(item, None) => vec![Found::Item(item.clone(), Some(segment.to_owned()))],
            Found::Item(item, after) => vec![Found::Item(item.clone(), after.clone())],
            Found::External(path) => {
                vec![Found::External(path.iter().cloned().chain([segment.to_owned()]).collect())]
            }
        }
    }

    fn external(&self, name: &str) -> Found {
        match self.libraries.get(name) {
            Some(root) => Found::Module(*root),
            None => Found::External(vec![name.to_owned()]),
        }
    }

    fn lookup(&self, module: ModuleId, name: &str, seen: &mut Seen) -> Vec<Found> {
        let here = &self.modules[module];
        let mut found = Vec::new();
        for definition in here.names.get(name).into_iter().flatten() {
            match definition {
                Definition::Item => {
                    let item = ItemRef { file: here.file, module, name: name.to_owned() };
                    found.push(Found::Item(item, None));
                }
                Definition::Exported(written) => {
                    let item = ItemRef { file: self.modules[*written].file, module: *written, name: name.to_owned() };
                    found.push(Found::Item(item, None));
                }
                Definition::Module(id) => found.push(Found::Module(*id)),
                Definition::Import(import) => {
                    if seen.insert((module, format!("{name} = {}", import.path.join("::")))) {
                        found.extend(self.resolve_seen(module, &import.path, import.absolute, seen));
                    }
                }
            }
        }
        if found.is_empty() {
            for glob in &here.globs {
                if seen.insert((module, format!("{name} in {}::*", glob.path.join("::")))) {
                    for target in self.resolve_seen(module, &glob.path, glob.absolute, seen) {
                        if let Found::Module(inner) = target {
                            found.extend(self.lookup(inner, name, seen));
                        }
                    }
                }
            }
        }
        found
    }
}
