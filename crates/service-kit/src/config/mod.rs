//! Configuration in three named stages: fragments (files and environment) → inputs (what was said, all optional)
//! → settings (what holds). This module is the first stage; a program's `Inputs` and `Settings` are the others, made of
//! the sections that several programs have and of the checks in [`check`].

pub mod check;
mod place;
mod secret;
mod sections;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use place::settings;
pub use secret::{check_private, check_private_if_present, read_secret_file};
#[cfg(feature = "database")]
pub use sections::DatabaseInputs;
#[cfg(feature = "server")]
pub use sections::RequestsInputs;
pub use sections::{FolderInputs, MachinesInputs};

/// Largest configuration or secret file in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Where the configuration should be, there is nothing.
    #[error("there is no configuration at {}: write one there, or name another with --config", .0.display())]
    Absent(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {}: check that it exists and who may read it", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than a configuration can be.
    #[error("{} exceeds the {MAX_FILE} bytes that a configuration file may have", .0.display())]
    TooLarge(PathBuf),
    /// A folder holds no configuration.
    #[error("There is no *.toml in {}: write the configuration there, or name its file with --config", .0.display())]
    Empty(PathBuf),
    /// Other users can access a file that holds a secret.
    #[error("Other users can access {} (mode {mode:o}), which holds a secret: run `{remedy}`", .path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The command that mends it.
        remedy: String,
    },
    /// A file that should hold a secret is empty.
    #[error("The file {} is empty: write the secret into it", .0.display())]
    NoSecret(PathBuf),
    /// A file that should hold text holds other bytes.
    #[error("The file {} is not text: check that it is the right one, and save it as UTF-8", .0.display())]
    NotText(PathBuf),
    /// A file is not TOML.
    #[error("{} is not TOML", .path.display())]
    NotToml {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The merged whole has an unknown key or a value of the wrong type.
    #[error("the configuration of {program} has a wrong key or value (read from {read})")]
    NotInputs {
        /// The program.
        program: String,
        /// Where it came from.
        read: String,
        /// Which key and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A setting is missing or has a value that cannot be used.
    #[error("setting {key}: {why}")]
    Setting {
        /// Its dotted name.
        key: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}

impl ConfigError {
    /// A setting without which the program cannot run is absent.
    pub fn missing(key: &str, example: &str) -> Self {
        Self::Setting { key: key.to_owned(), why: format!("it is missing; write for example: {example}") }
    }

    /// A setting has a value that cannot be used.
    pub fn bad(key: &str, why: impl Into<String>) -> Self {
        Self::Setting { key: key.to_owned(), why: why.into() }
    }
}

/// Merges the fragments of `paths` (files, and the `*.toml` of folders in the order of their names; later wins)
/// with the environment `FILIAL_<PROGRAM>__SECTION__KEY` and reads them as `Inputs`. Blocking.
///
/// An environment value is read as TOML where it is TOML and as text otherwise.
///
/// # Errors
/// Something cannot be read, is not TOML, or has keys that `Inputs` does not know.
pub fn load<Inputs: DeserializeOwned>(program: &str, paths: &[PathBuf]) -> Result<Inputs, ConfigError> {
    load_with(program, paths, std::env::vars_os())
}

/// [`load`] with the environment as an argument.
///
/// # Errors
/// As [`load`].
pub fn load_with<Inputs: DeserializeOwned>(
    program: &str,
    paths: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Inputs, ConfigError> {
    let mut merged = Table::new();
    let mut read = Vec::new();
    for path in paths {
        for file in files_of(path)? {
            merge(&mut merged, parse(&file)?);
            read.push(file.display().to_string());
        }
    }
    let prefix = prefix(program);
    let mut variables: Vec<(String, String)> = environment
        .into_iter()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| k.starts_with(&prefix))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let path: Vec<String> = name[prefix.len()..].split("__").map(str::to_ascii_lowercase).collect();
        merge(&mut merged, nest(&path, environment_value(&value)));
        read.push(format!("${name}"));
    }
    // A folder of drop-ins may be empty, if something else is read.
    if let (true, Some(folder)) = (read.is_empty(), paths.first()) {
        return Err(ConfigError::Empty(folder.clone()));
    }
    let read = if read.is_empty() { "nowhere".to_owned() } else { read.join(", ") };
    let wrong = |read, source| ConfigError::NotInputs { program: program.to_owned(), read, source: Box::new(source) };
    Inputs::deserialize(merged).map_err(|source| {
        // By itself, a file is wrong with its line.
        let mut files = paths.iter().flat_map(|path| files_of(path).unwrap_or_default());
        let alone = |file: PathBuf| {
            let error = toml::from_str::<Inputs>(&read_text(&file).ok()?).err()?;
            Some(wrong(file.display().to_string(), error))
        };
        files.find_map(alone).unwrap_or_else(|| wrong(read, source))
    })
}

/// What the names of a program's environment variables begin with.
fn prefix(program: &str) -> String {
    format!("FILIAL_{}__", program.to_ascii_uppercase().replace('-', "_"))
}

/// Reads one TOML file as `T`, bounded. Blocking.
///
/// # Errors
/// It cannot be read, is too large, or is not a `T`.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    toml::from_str(&read_text(path)?)
        .map_err(|source| ConfigError::NotToml { path: path.to_owned(), source: Box::new(source) })
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let file = File::open(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text_of(path, file)
}

fn text_of(path: &Path, file: File) -> Result<String, ConfigError> {
    use std::io::Read;
    let error = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
    // Editors of Windows begin a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let error = |source| ConfigError::Read { path: path.to_owned(), source };
    let metadata = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(ConfigError::Absent(path.to_owned())),
        other => other.map_err(error)?,
    };
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(error)? {
        let file = entry.map_err(error)?.path();
        if file.extension().is_some_and(|e| e == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn parse(path: &Path) -> Result<Table, ConfigError> {
    read_text(path)?
        .parse::<Table>()
        .map_err(|source| ConfigError::NotToml { path: path.to_owned(), source: Box::new(source) })
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn nest(path: &[String], value: Value) -> Table {
    let mut table = Table::new();
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            table.insert(first.clone(), Value::Table(nest(rest, value)));
        }
    }
    table
}

fn environment_value(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inputs {
        database: Option<Database>,
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Database {
        url: Option<String>,
        pool: Option<u32>,
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn later_fragments_win_key_by_key_and_the_environment_wins_over_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("20.toml"), "[database]\npool = 2").unwrap();
        std::fs::write(dir.path().join("10.toml"), "name = \"a\"\n[database]\nurl = \"u\"\npool = 1").unwrap();
        std::fs::write(dir.path().join("readme.txt"), "not toml").unwrap();
        let paths = [dir.path().to_owned()];
        let inputs: Inputs = load_with("head-office", &paths, env(&[])).unwrap();
        let database = inputs.database.unwrap();
        assert_eq!((database.url.as_deref(), database.pool, inputs.name.as_deref()), (Some("u"), Some(2), Some("a")));

        let environment = env(&[("FILIAL_HEAD_OFFICE__DATABASE__POOL", "7"), ("FILIAL_HEAD_OFFICE__NAME", "x y")]);
        let inputs: Inputs = load_with("head-office", &paths, environment).unwrap();
        assert_eq!((inputs.database.unwrap().pool, inputs.name.as_deref()), (Some(7), Some("x y")));
    }

    #[test]
    fn an_unknown_key_is_named_together_with_where_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "nane = \"typo\"").unwrap();
        let error = load_with::<Inputs>("agent", std::slice::from_ref(&file), env(&[])).unwrap_err();
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(chain.contains("nane") && chain.contains("a.toml"), "{chain}");
        // Of several files the one that is wrong, with its line.
        std::fs::write(&file, "name = \"ok\"").unwrap();
        let other = dir.path().join("b.toml");
        std::fs::write(&other, "[database]\nurl = \"u\"\npool = \"many\"").unwrap();
        let error = load_with::<Inputs>("agent", &[file, other], env(&[])).unwrap_err();
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(chain.contains("b.toml") && chain.contains("line 3") && !chain.contains("a.toml"), "{chain}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_with::<Inputs>("agent", &["/nonexistent.toml".into()], env(&[])).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.toml"));
        let empty = tempfile::tempdir().unwrap();
        std::fs::write(empty.path().join("readme.txt"), "").unwrap();
        let error = load_with::<Inputs>("agent", &[empty.path().to_owned()], env(&[])).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "There is no *.toml in {}: write the configuration there, or name its file with --config",
                empty.path().display()
            )
        );
    }
}
