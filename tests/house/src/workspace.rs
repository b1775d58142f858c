//! The packages of the workspace and their crate roots, from the `Cargo.toml` files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name in `Cargo.toml`.
    pub name: String,
    /// Its folder, relative to the workspace.
    pub folder: String,
    /// The library's root file, relative to the workspace.
    pub library: Option<String>,
    /// The library's name in paths.
    pub library_name: String,
    /// The root files of its programs.
    pub programs: Vec<String>,
}

/// Reads the packages that the workspace at `root` names.
pub fn packages(root: &Path) -> Result<Vec<Package>> {
    let manifest = manifest(&root.join("Cargo.toml"))?;
    let members = manifest.get("workspace").and_then(|w| w.get("members")).and_then(|m| m.as_array());
    let members: Vec<String> = match members {
        Some(members) => members.iter().filter_map(|m| m.as_str().map(str::to_owned)).collect(),
        None => vec![String::new()],
    };
    members.iter().map(|folder| package(root, folder)).collect()
}

fn manifest(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not valid TOML", path.display()))
}

fn package(root: &Path, folder: &str) -> Result<Package> {
    let here = root.join(folder);
    let manifest = manifest(&here.join("Cargo.toml"))?;
    let text = |table: &toml::Value, key: &str| table.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let name = manifest.get("package").and_then(|p| text(p, "name"));
    let name = name.with_context(|| format!("{folder}/Cargo.toml names no package"))?;
    let lib = manifest.get("lib");
    let library = lib.and_then(|l| text(l, "path")).unwrap_or_else(|| "src/lib.rs".to_owned());
    let library_name = lib.and_then(|l| text(l, "name")).unwrap_or_else(|| name.replace('-', "_"));
    let mut programs: BTreeMap<PathBuf, ()> = BTreeMap::new();
    for bin in manifest.get("bin").and_then(|b| b.as_array()).into_iter().flatten() {
        if let Some(path) = text(bin, "path") {
            programs.insert(path.into(), ());
        }
    }
    programs.insert("src/main.rs".into(), ());
    for entry in std::fs::read_dir(here.join("src/bin")).into_iter().flatten().flatten() {
        let path = entry.path();
        let program = if path.is_dir() { path.join("main.rs") } else { path };
        if let Ok(inside) = program.strip_prefix(&here) {
            programs.insert(inside.to_owned(), ());
        }
    }
    let inside = |path: &Path| Path::new(folder).join(path).to_string_lossy().into_owned();
    Ok(Package {
        library: here.join(&library).is_file().then(|| inside(Path::new(&library))),
        programs: programs
            .keys()
            .filter(|p| p.extension().is_some_and(|e| e == "rs") && here.join(p).is_file())
            .map(|p| inside(p))
            .collect(),
        folder: folder.to_owned(),
        library_name,
        name,
    })
}

/// Every file below `root` that the project keeps, relative to it, sorted.
pub fn files(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name();
            if kind.is_dir() {
                let kept = !["target", ".git", ".cache", "node_modules"].iter().any(|skip| name == *skip);
                if kept {
                    folders.push(path);
                }
            } else if kind.is_file()
                && name != ".git"
                && let Ok(inside) = path.strip_prefix(root)
            {
                found.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
