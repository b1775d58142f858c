//! Where a setting stands that cannot be used: an environment variable, or a file and its line.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{ConfigError, files_of, load, prefix, read_text};

/// Reads the configuration of a program as [`load`] does, and checks it. Blocking.
///
/// # Errors
/// As [`load`], or a setting cannot be used: then the error says where it stands.
pub fn settings<Inputs, Settings>(program: &str, paths: &[PathBuf]) -> Result<Settings, ConfigError>
where
    Inputs: DeserializeOwned,
    Settings: TryFrom<Inputs, Error = ConfigError>,
{
    let inputs: Inputs = load(program, paths)?;
    Settings::try_from(inputs).map_err(|error| located(error, program, paths))
}

/// Adds to an error about a setting where it stands, or what was read if it stands nowhere.
fn located(error: ConfigError, program: &str, paths: &[PathBuf]) -> ConfigError {
    let ConfigError::Setting { key, why } = error else { return error };
    let files: Vec<PathBuf> = paths.iter().flat_map(|path| files_of(path).unwrap_or_default()).collect();
    let variable = format!("{}{}", prefix(program), key.to_ascii_uppercase().replace('.', "__"));
    let place = if std::env::var_os(&variable).is_some() {
        format!("${variable}")
    } else {
        // The last file that has it wins.
        let found = files.iter().rev().find_map(|file| Some((file, line_of(&read_text(file).ok()?, &key)?)));
        match found {
            Some((file, line)) => format!("{}, line {line}", file.display()),
            None => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        }
    };
    let why = if place.is_empty() { why } else { format!("{why} (in {place})") };
    ConfigError::Setting { key, why }
}

/// Returns the line, from 1, on which TOML sets a dotted key; also the line of a table with that name.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut table = String::new();
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        let name = |text: &str| text.split('.').map(|part| part.trim().trim_matches('"')).collect::<Vec<_>>().join(".");
        let here = if let Some(header) = text.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = name(header.trim_start_matches('['));
            table.clone()
        } else if let Some((left, _)) = text.split_once('=') {
            let left = name(left);
            if table.is_empty() { left } else { format!("{table}.{left}") }
        } else {
            continue;
        };
        if here == key {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_tables_and_dotted() {
        let text = "# a\nname = 1\n[store]\nfolder = \"x\"\n\n[ engine . transmission ]\n\"url\" = 2\nsync.poll = 3\n";
        for (key, line) in [
            ("name", Some(2)),
            ("store", Some(3)),
            ("store.folder", Some(4)),
            ("engine.transmission.url", Some(7)),
            ("engine.transmission.sync.poll", Some(8)),
            ("folder", None),
        ] {
            assert_eq!(line_of(text, key), line, "{key}");
        }
    }

    #[test]
    fn setting_that_cannot_be_used_is_told_with_its_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("10.toml"), dir.path().join("20.toml"));
        std::fs::write(&first, "[store]\nbudget = 1\n").unwrap();
        std::fs::write(&second, "\n[store]\nbudget = 2\n").unwrap();
        let told = |key| {
            let error = ConfigError::bad(key, "must be more");
            located(error, "no-such-program", &[dir.path().to_owned()]).to_string()
        };
        let told_of = |key, place: String| assert_eq!(told(key), format!("setting {key}: must be more (in {place})"));
        told_of("store.budget", format!("{}, line 3", second.display()));
        told_of("store.folder", format!("{}, {}", first.display(), second.display()));
    }
}
