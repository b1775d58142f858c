//! `terminal-agent run PRODUCT -- COMMAND…`: which package is meant, and whether a command may run in it. And
//! `terminal-agent packages`: what there is.

use std::fmt::Write;
use std::path::Path;

use fleet_types::{ProductName, Version};
use serde_json::{Value, json};

use super::place::Place;
use crate::memory::journal::Journal;
use crate::model::package::Package;

/// Exit code: several packages fit, it must be said which (as of every usage error).
pub const EXIT_USAGE: u8 = 2;
/// Exit code: there is no such package for this terminal (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Exit code: not complete yet, try again (EX_TEMPFAIL).
pub const EXIT_NOT_YET: u8 = 75;

/// Which package is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The product.
    pub product: ProductName,
    /// The version; `None` means the plan's.
    pub version: Option<Version>,
    /// The payload's name; none: there is only one.
    pub name: Option<String>,
}

/// Why no command is run: the exit code and what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code.
    pub code: u8,
    /// One or two sentences: cause and remedy.
    pub text: String,
}

/// The package that is meant, if a command may run in it as far as the journal knows. Pure.
///
/// # Errors
/// Why not, with the exit code.
pub fn choose<'a>(journal: Option<&'a Journal>, wish: &Wish) -> Result<&'a Package, Refusal> {
    let no = |code, text: String| Err(Refusal { code, text });
    let Some(journal) = journal else {
        return no(
            EXIT_NOT_YET,
            "The agent has not run here yet. Start it: systemctl start terminal-agent.".to_owned(),
        );
    };
    let fits = |p: &&Package| {
        p.product == wish.product
            && wish.version.as_ref().map_or(p.named, |v| *v == p.version)
            && wish.name.as_ref().is_none_or(|n| *n == p.payload.name)
    };
    let found: Vec<&Package> = journal.packages.values().filter(fits).collect();
    let product = &wish.product;
    match found[..] {
        [package] if package.complete => Ok(package),
        [package] => {
            let trouble = package.trouble.as_ref().map(|t| format!(": {}", t.text)).unwrap_or_default();
            let (have, total) = (package.have_bytes, package.artifact.length);
            let text = format!("{} is not complete yet, {have} of {total} bytes are here{trouble}", package.key());
            no(EXIT_NOT_YET, format!("{}. Try again later.", text.trim_end_matches('.')))
        }
        [] if journal.floor == 0 => {
            no(EXIT_NOT_YET, "The branch server has not sent a plan yet. Try again later.".to_owned())
        }
        [] => {
            let remedy =
                "Assign a release that has one to this branch, or list the packages with `terminal-agent packages`.";
            no(EXIT_UNAVAILABLE, format!("No plan names a package of {product} for this terminal. {remedy}"))
        }
        _ => {
            let names: Vec<&str> = found.iter().map(|p| p.payload.name.as_str()).collect();
            no(EXIT_USAGE, format!("{product} has several packages; choose one with --name: {}.", names.join(", ")))
        }
    }
}

/// Checks that a complete package is in its place; reads all of it with `thorough`.
///
/// Call it while the package is held.
///
/// # Errors
/// Why not, with the exit code.
pub fn check(place: &Place, package: &Package, thorough: bool) -> Result<(), Refusal> {
    let no = |text: String| Err(Refusal { code: EXIT_NOT_YET, text });
    let Some(record) = place.record().filter(|r| r.payload == package.payload.sha256) else {
        return no(format!("{} is incomplete; the agent unpacks it again. Try again later.", package.key()));
    };
    if !thorough {
        return Ok(());
    }
    match place.recheck(&record) {
        Ok(true) => Ok(()),
        Ok(false) => no(format!(
            "{} was changed after it was unpacked. Remove its folder {} and try again later.",
            package.key(),
            place.tree().display()
        )),
        Err(error) => no(format!("{} cannot be read: {error}.", place.tree().display())),
    }
}

/// What there is, for programs.
pub fn as_json(journal: &Journal, data_dir: &Path) -> Value {
    let one = |p: &Package| {
        json!({
            "product": p.product,
            "version": p.version,
            "name": p.payload.name,
            "payload": p.payload.sha256,
            "state": state(p),
            "named": p.named,
            "have_bytes": p.have_bytes,
            "total_bytes": p.artifact.length,
            "folder": p.complete.then(|| Place::of(data_dir, p).tree()),
            "trouble": p.trouble,
        })
    };
    Value::Array(journal.packages.values().map(one).collect())
}

/// What there is, for people.
pub fn as_text(journal: &Journal) -> String {
    if journal.packages.is_empty() {
        return "No plan names a package for this terminal.\n".to_owned();
    }
    let mut text = format!("{:<20} {:<12} {:<16} {:<10} BYTES\n", "PRODUCT", "VERSION", "NAME", "STATE");
    for p in journal.packages.values() {
        let (version, bytes) = (p.version.to_string(), format!("{} of {}", p.have_bytes, p.artifact.length));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<20} {version:<12} {:<16} {:<10} {bytes}", p.product, p.payload.name, state(p));
        if let Some(trouble) = &p.trouble {
            let _ = writeln!(text, "  {}: {}", trouble.code.cleaned(), trouble.text);
        }
    }
    text
}

fn state(package: &Package) -> &'static str {
    match package {
        Package { named: false, .. } => "leaving",
        Package { complete: true, .. } => "complete",
        Package { refused: true, .. } => "refused",
        Package { prepared: true, .. } => "fetching",
        _ => "assigned",
    }
}
