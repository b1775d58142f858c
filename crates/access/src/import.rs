//! Operators out of a file of token hashes: what branch servers read before they knew operators.
//!
//! It is imported once. Each name becomes a service, each token one of its tokens, with an expiry that the file never had.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, OperatorName};
use serde::Deserialize;
use serde_json::json;
use service_kit::config::{self, ConfigError};
use service_kit::database::{DatabaseError, GenericClient};
use service_kit::server::Role;
use uuid::Uuid;
use wire::v1::audit::Head;
use wire::v1::operators::{OperatorRole, Token};

use crate::audit::{self, Change};
use crate::rules::MAX_TOKENS;
use crate::{Server, db};

/// Days that an imported token lives: as long as a token whose maker says nothing.
pub const DAYS: u32 = 90;

/// Most tokens of a file.
const MAX_ENTRIES: usize = 200;

/// Longest part of a name that becomes an operator's name; the rest is for a number.
const MAX_NAME: usize = 28;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    token: Vec<Entry>,
}

/// A token of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose it is, in words.
    name: String,
    /// What it may do.
    role: Role,
    /// SHA-256 of its text.
    sha256: Digest,
}

/// Tokens of one name, as many as an operator may have, which become a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    /// The name, as near to the file's as an operator's name can be. Several services may have it.
    name: String,
    /// The name as the file has it.
    text: String,
    /// The highest of its tokens' roles.
    role: OperatorRole,
    tokens: Vec<(OperatorRole, Digest)>,
}

/// Reads the file. Blocking.
///
/// It has `[[token]]` tables with `name`, `role` and `sha256` (of the token's text).
///
/// # Errors
/// It cannot be read, or has an entry that cannot be used.
pub fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let file: TokensFile = config::read_toml(path)?;
    let mut known = HashSet::new();
    for entry in &file.token {
        let key = format!("{}: token {:?}", path.display(), entry.name);
        if !entry.role.is_operator() {
            let why = format!(
                "role {} is not a role for people; use viewer, operator, release-manager or admin",
                entry.role.as_str()
            );
            return Err(ConfigError::bad(&key, why));
        }
        if !known.insert(entry.sha256) {
            return Err(ConfigError::bad(&key, "another entry has the same token"));
        }
    }
    if file.token.len() > MAX_ENTRIES {
        let why = format!("has more than {MAX_ENTRIES} tokens: remove those that are not used");
        return Err(ConfigError::bad(&path.display().to_string(), why));
    }
    Ok(file.token)
}

/// Returns the services that the entries become, by the file's names. A name with more tokens than an operator may have becomes several.
fn services(entries: Vec<Entry>) -> Vec<Service> {
    let mut all: BTreeMap<String, Vec<(OperatorRole, Digest)>> = BTreeMap::new();
    for Entry { name, role, sha256 } in entries {
        let Some(role) = role.operator() else { continue };
        all.entry(name).or_default().push((role, sha256));
    }
    let most = usize::try_from(MAX_TOKENS).unwrap_or(usize::MAX);
    let parts = all.iter().flat_map(|(text, tokens)| tokens.chunks(most).map(move |tokens| (text, tokens)));
    let service = |(text, tokens): (&String, &[(OperatorRole, Digest)])| {
        let role = tokens.iter().map(|(role, _)| *role).max()?;
        Some(Service { name: nearest(text), text: text.clone(), role, tokens: tokens.to_vec() })
    };
    parts.filter_map(service).collect()
}

/// Returns how a character that is not ASCII is written with those that are.
const fn latin(c: char) -> &'static str {
    match c {
        'а' | 'à'..='å' => "a",
        'б' => "b",
        'в' => "v",
        'г' | 'ґ' => "g",
        'д' => "d",
        'е' | 'ё' | 'э' | 'є' | 'è'..='ë' => "e",
        'ж' => "zh",
        'з' => "z",
        'и' | 'і' | 'ї' | 'ì'..='ï' => "i",
        'й' | 'ы' | 'ý' | 'ÿ' => "y",
        'к' => "k",
        'л' => "l",
        'м' => "m",
        'н' | 'ñ' => "n",
        'о' | 'ò'..='ö' | 'ø' => "o",
        'п' => "p",
        'р' => "r",
        'с' | 'ç' => "s",
        'т' => "t",
        'у' | 'ў' | 'ù'..='ü' => "u",
        'ф' => "f",
        'х' => "kh",
        'ц' => "ts",
        'ч' => "ch",
        'ш' => "sh",
        'щ' => "shch",
        'ъ' | 'ь' => "",
        'ю' => "yu",
        'я' => "ya",
        'ß' => "ss",
        _ => "-",
    }
}

/// Returns the operator's name that is nearest to a text.
fn nearest(text: &str) -> String {
    let mut mapped = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() { mapped.push(c) } else { mapped.push_str(latin(c)) }
    }
    let cut = mapped.trim_matches('-').chars().take(MAX_NAME).collect::<String>();
    let name = cut.trim_end_matches('-');
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

/// Adds the services and tokens of the file, with a row of the audit for each service.
///
/// `c` must be a transaction. Returns the audit's last row; none if the file has no token.
///
/// # Errors
/// The database failed.
pub async fn import<C: GenericClient>(
    c: &C,
    server: Server,
    entries: Vec<Entry>,
    now: DateTime<Utc>,
) -> Result<Option<Head>, DatabaseError> {
    let caller = server.caller("import", "start");
    let (mut head, expires) = (None, now + TimeDelta::days(i64::from(DAYS)));
    for Service { name, text, role, tokens } in services(entries) {
        let Some(operator) = insert(c, &name, role, now).await? else {
            tracing::warn!(
                name = text,
                tokens = tokens.len(),
                "tokens are not imported: every name like theirs is taken"
            );
            continue;
        };
        let mut ids = Vec::new();
        for (role, sha256) in tokens {
            let token = Token {
                id: Uuid::new_v4(),
                operator: operator.clone(),
                name: "imported".into(),
                role,
                scope: None,
                made: now,
                expires,
                last_used: None,
                revoked: None,
            };
            db::tokens::insert(c, &token, &sha256).await?;
            ids.push(json!({ "id": token.id, "role": role }));
        }
        let after = json!({ "name": text, "role": role, "service": true, "tokens": ids, "expires": expires });
        let change = Change::of(format!("operator {operator}")).because(Some("imported from the tokens file"));
        head = Some(audit::record(c, &caller, change.after(after), now).await?);
    }
    Ok(head)
}

/// Adds a service under the first name that is free.
///
/// An operator who has the name already does not get the tokens.
async fn insert<C: GenericClient>(
    c: &C,
    name: &str,
    role: OperatorRole,
    now: DateTime<Utc>,
) -> Result<Option<OperatorName>, DatabaseError> {
    let numbered = (2..=999).map(|n| format!("{name}-{n}"));
    for name in std::iter::once(name.to_owned()).chain(numbered) {
        let Ok(name) = name.parse::<OperatorName>() else { continue };
        if db::operators::insert(c, &name, role, None, "import", now).await? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;
    use service_kit::token;

    fn parsed(text: &str) -> Result<Vec<Entry>, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn entry(name: &str, role: &str, secret: &str) -> String {
        format!("[[token]]\nname = {name:?}\nrole = {role:?}\nsha256 = \"{}\"\n", token::hash(secret))
    }

    #[test]
    fn machines_roles_and_double_tokens_are_refused() {
        assert!(parsed(&entry("a", "branch", "x")).unwrap_err().to_string().contains("role branch"));
        assert!(parsed(&entry("a", "viewer", "x").repeat(2)).unwrap_err().to_string().contains("same token"));
        let many: String = (0..201).map(|n| entry("a", "viewer", &n.to_string())).collect();
        assert!(parsed(&many).unwrap_err().to_string().contains("more than 200 tokens"));
    }

    #[test]
    fn tokens_of_one_name_are_one_service_with_the_highest_of_their_roles() {
        use OperatorRole::{Admin, Viewer};
        let text = entry("Desk 1", "viewer", "x") + &entry("Desk 1", "admin", "y") + &entry("desk-1", "viewer", "z");
        let found = services(parsed(&text).unwrap());
        let of = |text: &str, role, tokens: &[(OperatorRole, &str)]| Service {
            name: "desk-1".into(),
            text: text.into(),
            role,
            tokens: tokens.iter().map(|(role, secret)| (*role, token::hash(secret))).collect(),
        };
        let wanted = [of("Desk 1", Admin, &[(Viewer, "x"), (Admin, "y")]), of("desk-1", Viewer, &[(Viewer, "z")])];
        assert_eq!(found, wanted);
    }

    #[test]
    fn names_of_other_scripts_stay_readable_and_apart() {
        for (text, name) in [
            ("касса", "kassa"),
            ("Склад № 2", "sklad---2"),
            ("Щёголев", "shchegolev"),
            ("Объект", "obekt"),
            ("Müller", "muller"),
            ("窓口", "imported"),
        ] {
            assert_eq!(nearest(text), name);
        }
    }

    #[test]
    fn no_token_of_a_name_with_many_is_left_out() {
        let text: String = (0..120).map(|n| entry("desk", "viewer", &n.to_string())).collect();
        let found = services(parsed(&text).unwrap());
        let counts: Vec<_> = found.iter().map(|service| (service.name.as_str(), service.tokens.len())).collect();
        assert_eq!(counts, [("desk", 50), ("desk", 50), ("desk", 20)]);
    }

    #[test]
    fn every_name_becomes_one_that_operators_can_have() {
        for text in ["", "-", "a b", &"x".repeat(99), "ÄÖ", "-a-", &format!("{}-b", "x".repeat(27))] {
            let name = nearest(text);
            assert!(name.parse::<OperatorName>().is_ok(), "{text:?}: {name:?}");
            assert!(format!("{name}-999").parse::<OperatorName>().is_ok(), "{text:?}: {name:?}");
        }
    }
}
