//! Circles and ways in the import graph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tree::FileId;

/// Which file imports which.
#[derive(Debug, Default)]
pub struct Graph {
    next: BTreeMap<FileId, BTreeSet<FileId>>,
}

impl Graph {
    /// The graph of these edges.
    pub fn new(edges: impl IntoIterator<Item = (FileId, FileId)>) -> Self {
        let mut graph = Self::default();
        for (from, to) in edges {
            graph.next.entry(from).or_default().insert(to);
        }
        graph
    }

    /// What `from` imports directly.
    pub fn after(&self, from: FileId) -> impl Iterator<Item = FileId> + '_ {
        self.next.get(&from).into_iter().flatten().copied()
    }

    /// The shortest way from `from` to a file that `wanted` accepts, `from` itself not counted.
    pub fn way(&self, from: FileId, wanted: impl Fn(FileId) -> bool) -> Option<Vec<FileId>> {
        let mut before: BTreeMap<FileId, FileId> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for next in self.after(at) {
                if wanted(next) {
                    let mut way = vec![next, at];
                    while let Some(previous) = before.get(way.last()?)
                        && *way.last()? != from
                    {
                        way.push(*previous);
                    }
                    way.reverse();
                    return Some(way);
                }
                if next != from && !before.contains_key(&next) {
                    before.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Every file that can be reached from `from`.
    pub fn reach(&self, from: FileId) -> BTreeSet<FileId> {
        let mut seen = BTreeSet::new();
        let mut stack: Vec<FileId> = self.after(from).collect();
        while let Some(at) = stack.pop() {
            if seen.insert(at) {
                stack.extend(self.after(at));
            }
        }
        seen
    }

    /// Groups of more than two files of which each reaches every other.
    pub fn knots(&self) -> Vec<Vec<FileId>> {
        let reach: BTreeMap<FileId, BTreeSet<FileId>> =
            self.next.keys().map(|from| (*from, self.reach(*from))).collect();
        let mut found: BTreeSet<Vec<FileId>> = BTreeSet::new();
        for (from, reached) in &reach {
            let back = |to: &&FileId| reach.get(to).is_some_and(|further| further.contains(from));
            let knot: Vec<FileId> = reached.iter().filter(back).copied().collect();
            if knot.len() > 2 {
                found.insert(knot);
            }
        }
        found.into_iter().collect()
    }

    /// Circles that together touch every file that is in one; short ones first.
    pub fn circles(&self) -> Vec<Vec<FileId>> {
        let mut found: BTreeSet<(usize, Vec<FileId>)> = BTreeSet::new();
        for from in self.next.keys() {
            // Every pair that imports each other, and for other files the shortest circle through them.
            let pairs: Vec<FileId> = self.after(*from).filter(|to| self.after(*to).any(|back| back == *from)).collect();
            for to in &pairs {
                found.insert((2, vec![*from.min(to), *from.max(to)]));
            }
            if pairs.is_empty()
                && let Some(mut way) = self.way(*from, |to| to == *from)
            {
                way.pop();
                let least = way.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(at, _)| at);
                way.rotate_left(least);
                found.insert((way.len(), way));
            }
        }
        found.into_iter().map(|(_, circle)| circle).collect()
    }
}
