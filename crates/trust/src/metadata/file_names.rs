//! Names of metadata files, and how long each file may be.

use super::names::RoleName;
use super::schema;

/// Whether a name is one of metadata at all, for mirrors that are asked for files by name.
pub fn is_metadata_name(name: &str) -> bool {
    role_of(name).is_some()
}

/// The role that a file name belongs to.
fn role_of(name: &str) -> Option<RoleName> {
    if name == "timestamp.json" {
        return Some(RoleName::Timestamp);
    }
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let role: RoleName = role.parse().ok()?;
    let version: u64 = version.parse().ok()?;
    // One spelling only: no leading zeros or signs.
    (role != RoleName::Timestamp && role.file(version) == name).then_some(role)
}

pub(crate) fn max_file(name: &str) -> Option<u64> {
    role_of(name).map(|role| schema::max_file(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_metadata_are_asked_for() {
        for good in ["timestamp.json", "1.root.json", "17.product-kiosk.json", "3.snapshot.json", "9.derived.json"] {
            assert!(is_metadata_name(good), "{good}");
        }
        for bad in [
            "",
            "root.json",
            "01.root.json",
            "1.timestamp.json",
            "../1.root.json",
            "1.root.json/..",
            "1.product-A.json",
            "+1.root.json",
        ] {
            assert!(!is_metadata_name(bad), "{bad}");
        }
    }
}
