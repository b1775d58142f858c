//! The signing keys that head office was given: a folder of `ROLE.pem` or `ROLE-NUMBER.pem`.

use fleet_types::plural;
use std::collections::BTreeMap;
use std::path::Path;

use trust::repository::{Repository, RoleName};
use trust::{Refusal, SigningKey, Why};

/// The roles that head office cannot do without.
const ONLINE: [RoleName; 4] = [RoleName::Snapshot, RoleName::Timestamp, RoleName::Derived, RoleName::Plan];

/// Keys by the role that they hold.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<RoleName, Vec<SigningKey>>);

impl Keys {
    /// Reads every key of the folder and sees that it holds the role that its file is named for.
    ///
    /// Blocking.
    ///
    /// # Errors
    /// The folder or a key cannot be read, a key does not hold its role, or one of the roles that head office signs for
    /// lacks keys.
    pub fn read(folder: &Path, repository: &Repository) -> Result<Self, Refusal> {
        let unreadable = |e: std::io::Error| {
            let text = format!("The folder of keys {} cannot be read: {e}.", folder.display());
            Refusal::new(Why::KeyFileUnreadable, text)
        };
        let mut keys = Self::default();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|e| e == "pem") {
                keys.add(&path, repository)?;
            }
        }
        for role in ONLINE {
            let (held, needed) = (keys.of(&role).len(), repository.holders(&role)?.threshold());
            if held < needed as usize {
                let file = folder.join(format!("{role}.pem"));
                let (needed, held) = (plural(needed, "key", "keys"), plural(held, "is there", "are there"));
                let sentence = format!("Role {role} needs {needed}, and {held}; {} is one.", file.display());
                return Err(Refusal::new(Why::KeyFileUnreadable, sentence));
            }
        }
        Ok(keys)
    }

    fn add(&mut self, path: &Path, repository: &Repository) -> Result<(), Refusal> {
        let key = SigningKey::read(path)?;
        let id = key.public().id();
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        // `product-kiosk-1` is the first key of kiosk, or the only one of the product kiosk-1.
        let numbered =
            stem.rsplit_once('-').filter(|(_, n)| n.bytes().all(|b| b.is_ascii_digit())).map(|(role, _)| role);
        let named: Vec<RoleName> =
            [Some(stem), numbered].into_iter().flatten().filter_map(|t| t.parse().ok()).collect();
        let holds = |role: &&RoleName| repository.holders(role).is_ok_and(|set| set.by_id(id).is_some());
        let Some(role) = named.iter().find(holds) else {
            let text = format!(
                "The key {} ({}) does not hold the role that its file is named for.",
                path.display(),
                id.short()
            );
            return Err(Refusal::new(Why::ProposalUnknownKey, text));
        };
        if matches!(role, RoleName::Root | RoleName::Targets) {
            let text = format!("The key {} of role {role} lies at head office; it belongs offline.", path.display());
            return Err(Refusal::new(Why::KeyFileExposed, text));
        }
        self.0.entry(role.clone()).or_default().push(key);
        Ok(())
    }

    /// The keys that hold a role; empty without any.
    pub fn of(&self, role: &RoleName) -> Vec<&SigningKey> {
        self.0.get(role).into_iter().flatten().collect()
    }

    /// The keys that hold a role now, if they are enough to sign for it.
    pub fn enough(&self, role: &RoleName, repository: &Repository) -> Option<Vec<&SigningKey>> {
        let holders = repository.holders(role).ok()?;
        let mut keys = self.of(role);
        keys.retain(|k| holders.by_id(k.public().id()).is_some());
        (keys.len() >= holders.threshold() as usize).then_some(keys)
    }

    /// The roles for which there are keys.
    pub fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.0.keys()
    }
}
