//! Artifacts in use, which are not removed meanwhile. In memory: a process that was killed uses
//! nothing, and one process at a time has the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fleet_types::Digest;

/// The artifacts in use. Clones share the knowledge.
#[derive(Debug, Clone, Default)]
pub struct Holds(Arc<Mutex<HashMap<Digest, Use>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Readers(usize),
    Eviction,
}

/// As long as this lives, the artifact is not evicted.
#[derive(Debug)]
pub struct Reader {
    holds: Holds,
    artifact: Digest,
}

/// As long as this lives, no reader begins to use the artifact.
#[derive(Debug)]
pub struct Eviction {
    holds: Holds,
    artifact: Digest,
}

impl Holds {
    /// Begins to use an artifact; none while it is being evicted.
    pub fn read(&self, artifact: &Digest) -> Option<Reader> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.entry(*artifact).or_insert(Use::Readers(0)) {
            Use::Readers(count) => *count += 1,
            Use::Eviction => return None,
        }
        Some(Reader { holds: self.clone(), artifact: *artifact })
    }

    /// Keeps readers away from an artifact; none while it is in use.
    pub fn evict(&self, artifact: &Digest) -> Option<Eviction> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.contains_key(artifact) {
            return None;
        }
        uses.insert(*artifact, Use::Eviction);
        Some(Eviction { holds: self.clone(), artifact: *artifact })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut uses = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(&self.artifact) {
            Some(Use::Readers(count)) if *count > 1 => *count -= 1,
            _ => drop(uses.remove(&self.artifact)),
        }
    }
}

impl Drop for Eviction {
    fn drop(&mut self) {
        self.holds.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.artifact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_and_evictions_exclude_each_other() {
        let (holds, artifact) = (Holds::default(), Digest::new([7; 32]));
        let (one, two) = (holds.read(&artifact).unwrap(), holds.read(&artifact).unwrap());
        drop(one);
        assert!(holds.evict(&artifact).is_none(), "one still reads");
        drop(two);
        let eviction = holds.evict(&artifact).unwrap();
        assert!(holds.read(&artifact).is_none() && holds.evict(&artifact).is_none());
        assert!(holds.read(&Digest::new([8; 32])).is_some(), "another one is free");
        drop(eviction);
        assert!(holds.read(&artifact).is_some());
        assert!(holds.0.lock().unwrap().is_empty(), "nothing is remembered of what nobody uses");
    }
}
