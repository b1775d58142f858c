//! The lists that the checks work from: `house.toml` and `words.toml`.

use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;

/// Where the lists stand in the workspace.
pub const FOLDER: &str = "tests/house";

/// The lists of the rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Files and folders that are pure: no clock, no input or output, nothing async.
    pub pure: Vec<String>,
    /// Folders whose circles are tolerated.
    #[serde(default)]
    pub circles_left_out: Vec<Place>,
    /// The source folders of programs whose top-level modules form layers.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Arrows between such modules that are tolerated although they close a circle.
    #[serde(default)]
    pub arrows: Vec<Arrow>,
    /// Modules that only what composes a program may import.
    #[serde(default)]
    pub compositions: Vec<Composition>,
    /// Paths outside the workspace that make a file impure, by their beginning.
    pub impure: Vec<String>,
    /// Files and folders that may read a clock.
    pub clocks: Vec<Place>,
    /// Files and folders that may contain SQL.
    pub sql: Vec<Place>,
    /// Where URL paths are defined.
    pub paths: Vec<Place>,
    /// Names that one BitTorrent engine has, and where they may stand.
    #[serde(default)]
    pub engines: Engines,
    /// Files and folders whose texts are not checked.
    #[serde(default)]
    pub texts_left_out: Vec<Place>,
    /// Texts that contain a phrase for a good reason.
    #[serde(default)]
    pub excused: Vec<Excused>,
    /// Phrases that are written otherwise.
    #[serde(default, skip)]
    pub words: Vec<Word>,
}

/// A file or folder with an exemption, and its reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The file or folder.
    pub path: String,
    /// Why it is exempt.
    pub reason: String,
}

/// An arrow between two top-level modules of a program that closes a circle, and why it is still there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrow {
    /// The program's source folder.
    pub program: String,
    /// The module that imports.
    pub from: String,
    /// The module that is imported.
    pub to: String,
    /// Why it is tolerated.
    pub reason: String,
}

impl std::fmt::Display for Arrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} -> {}", self.program, self.from, self.to)
    }
}

/// A module that holds all parts of a program, and who may import it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// The module's file.
    pub module: String,
    /// Files and folders that may import it. One that no longer does is a finding.
    pub users: Vec<String>,
}

/// Names that one BitTorrent engine has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    /// The names, in lower case.
    pub names: Vec<String>,
    /// Files and folders that may contain them. One that no longer does is a finding.
    #[serde(default)]
    pub places: Vec<Place>,
}

/// A text that contains a phrase for a good reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excused {
    /// The file.
    pub file: String,
    /// The whole text.
    pub text: String,
    /// Why it stays.
    pub reason: String,
}

/// A phrase that is written otherwise.
#[derive(Debug)]
pub struct Word {
    /// What finds it.
    pub pattern: Regex,
    /// What it may find all the same.
    pub except: Option<Regex>,
    /// What to write.
    pub instead: String,
    /// Texts that it must find.
    pub finds: Vec<String>,
    /// Texts that it must not find.
    pub passes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    word: Vec<RawWord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWord {
    pattern: String,
    except: Option<String>,
    instead: String,
    finds: Vec<String>,
    #[serde(default)]
    passes: Vec<String>,
}

impl Word {
    /// The first place in `text` where the phrase stands.
    pub fn find<'t>(&self, text: &'t str) -> Option<regex::Match<'t>> {
        let excused = |found: &regex::Match| self.except.as_ref().is_some_and(|e| e.is_match(found.as_str()));
        self.pattern.find_iter(text).find(|found| !excused(found))
    }
}

impl Rules {
    /// Reads both lists from `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut rules: Self = toml::from_str(&read("house.toml")?).context("house.toml is not valid")?;
        let words: Words = toml::from_str(&read("words.toml")?).context("words.toml is not valid")?;
        rules.words = words.word.into_iter().map(RawWord::compiled).collect::<Result<_>>()?;
        Ok(rules)
    }
}

impl RawWord {
    fn compiled(self) -> Result<Word> {
        let compiled = |text: &str| Regex::new(text).with_context(|| format!("{text:?} is not a valid expression"));
        Ok(Word {
            pattern: compiled(&self.pattern)?,
            except: self.except.as_deref().map(compiled).transpose()?,
            instead: self.instead,
            finds: self.finds,
            passes: self.passes,
        })
    }
}

/// Whether `file` is one of `places` or lies below one.
pub fn lies_in<'a>(file: &str, places: impl IntoIterator<Item = &'a str>) -> bool {
    places.into_iter().any(|place| {
        file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || place.ends_with('/'))
    })
}
