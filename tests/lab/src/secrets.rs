//! No secret stands in a log: each one that the parts of a lab were given, or made, is looked for in every log.

use std::path::{Path, PathBuf};

use crate::error::LabError;

/// Shortest text that counts as a secret, in bytes: words and names are shorter.
const SHORTEST: usize = 16;
/// Largest file that is searched for secrets, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Looks for every secret below `folder` in every log below it. How many were looked for.
///
/// # Errors
/// A log holds one (which log, and which file the secret is of: never the secret), or something cannot be read.
pub(crate) fn check(folder: &Path) -> Result<usize, LabError> {
    let (mut secrets, mut logs) = (Vec::new(), Vec::new());
    walk(folder, &mut |path| {
        if is_log(path) {
            logs.push(path.to_owned());
        } else if is_secret(path) && path.metadata().is_ok_and(|m| m.len() <= MAX_SECRET_FILE) {
            let text = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
            secrets.extend(texts(&text).map(|secret| (path.to_owned(), secret.to_owned())));
        }
        Ok(())
    })?;
    for log in logs {
        let said = String::from_utf8_lossy(&std::fs::read(&log).map_err(LabError::file("read", &log))?).into_owned();
        if let Some((file, _)) = secrets.iter().find(|(_, secret)| said.contains(secret.as_str())) {
            return Err(LabError::Content { path: log, why: format!("it tells the secret of {}", file.display()) });
        }
    }
    Ok(secrets.len())
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path) -> Result<(), LabError>) -> Result<(), LabError> {
    for entry in std::fs::read_dir(folder).map_err(LabError::file("list", folder))?.flatten() {
        let path: PathBuf = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, visit)?,
            Ok(kind) if kind.is_file() => visit(&path)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "log" || e == "jsonl")
}

fn is_secret(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.ends_with("token") || name.ends_with("password") || name.ends_with(".pem") || name.starts_with("identity.")
}

/// The secret part of a join token, whose other part everybody may know.
fn joins(word: &str) -> Option<&str> {
    let (secret, fingerprint) = word.rsplit_once('-')?;
    (fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit())).then_some(secret)
}

/// What in a file is long enough to be one, of the letters of tokens, of hexadecimal digits and of base64.
fn texts(text: &str) -> impl Iterator<Item = &str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let words = text.split(move |c| !letter(c)).flat_map(|word| [Some(word), joins(word)].into_iter().flatten());
    words.filter(|word| word.len() >= SHORTEST && word.chars().any(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_log_is_found_and_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            crate::recipe::write(&path, text).unwrap();
        };
        write("a/join-token", "join-0123456789abcdef0123456789\n");
        write("a/identity.toml", "branch = \"branch-1\"\ntoken = \"branch-77770123456789abcdef\"\n");
        write("a/key.pem", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDk3\n-----END PRIVATE KEY-----\n");
        write("logs/one.log", "branch-1 asks; BEGIN PRIVATE KEY is only a title\n");
        assert_eq!(check(folder.path()).unwrap(), 3);
        for leak in ["token branch-77770123456789abcdef", "MC4CAQAwBQYDK2VwBCIEIDk3", "join-0123456789abcdef0123456789"]
        {
            write("data/agent/events.jsonl", leak);
            let said = check(folder.path()).unwrap_err().to_string();
            assert!(said.contains("events.jsonl") && !said.contains(leak), "{said}");
        }
    }
}
