//! Differences between two statuses, one JSON value per change.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wire::v1::status::Status;

use crate::failure::Failure;

/// The last status, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    seen: BTreeMap<(&'static str, String), Value>,
}

impl Changes {
    /// Returns what was added, changed or removed since the last status.
    ///
    /// Everything the first time.
    pub(crate) fn since(&mut self, status: &Status) -> Result<Vec<Value>, Failure> {
        let now = index(status)?;
        let mut changes = Vec::new();
        for ((kind, name), value) in &now {
            if self.seen.get(&(*kind, name.clone())) != Some(value) {
                changes.push(json!({ "kind": kind, "name": name, "at": status.now, (*kind): value }));
            }
        }
        for (kind, name) in self.seen.keys().filter(|key| !now.contains_key(*key)) {
            changes.push(json!({ "kind": kind, "name": name, "at": status.now, "gone": true }));
        }
        self.seen = now;
        Ok(changes)
    }
}

fn index(status: &Status) -> Result<BTreeMap<(&'static str, String), Value>, Failure> {
    let mut all = BTreeMap::new();
    for release in &status.releases {
        all.insert(("release", release.id.to_string()), value(release)?);
    }
    for branch in &status.branches {
        all.insert(("branch", branch.name.to_string()), value(branch)?);
    }
    for terminal in &status.terminals {
        all.insert(("terminal", format!("{}/{}", terminal.branch, terminal.name)), value(terminal)?);
    }
    Ok(all)
}

fn value(thing: &impl serde::Serialize) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(thing).map_err(Failure::Json)?;
    if let Some(object) = value.as_object_mut() {
        // Heartbeats are not changes: they would print a line per machine at every refresh.
        object.remove("last_heard");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::picture::tests::status;

    #[test]
    fn each_change_is_told_once_and_a_sign_of_life_is_none() {
        let mut changes = Changes::default();
        let mut now = status();
        assert_eq!(changes.since(&now).unwrap().len(), 3);
        assert_eq!(changes.since(&now).unwrap().len(), 0);

        now.branches[0].last_heard = Some(now.now);
        assert_eq!(changes.since(&now).unwrap().len(), 0);

        now.terminals[0].update.as_mut().unwrap().segments_done += 1;
        let told = changes.since(&now).unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0]["kind"].as_str(), told[0]["name"].as_str()), (Some("terminal"), Some("north/till-1")));
        assert_eq!(told[0]["terminal"]["update"]["segments_done"], 14);

        now.terminals.clear();
        assert_eq!(changes.since(&now).unwrap()[0]["gone"], true);
    }
}
