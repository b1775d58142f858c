//! What a simulated run consists of.

use std::time::Duration;

use super::network::{Kind, Node};

/// The nodes of a run: 0 is the server, then the terminals, and last the upstream if there is one.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) nodes: Vec<Node>,
    pub(super) total: u64,
    pub(super) piece_length: u32,
    pub(super) isolated: bool,
    /// The last node is head office, from which the server fetches.
    pub(super) upstream: bool,
    pub(super) seed: u64,
}

impl Scene {
    /// A complete server with an uplink of 200 Mbit/s and terminals with 1 Gbit/s.
    pub(super) fn lan(terminals: usize, total: u64, piece_length: u32) -> Self {
        let server = Node { up: 25_000_000, ..Node::LAN };
        let nodes = std::iter::once(server).chain(std::iter::repeat_n(Node::LAN, terminals)).collect();
        Self { nodes, total, piece_length, isolated: false, upstream: false, seed: 1 }
    }

    /// The same with an empty server that fetches at `wan` bits a second.
    pub(super) fn wan(terminals: usize, total: u64, piece_length: u32, wan: u64) -> Self {
        let mut scene = Self::lan(terminals, total, piece_length);
        scene.nodes.push(Node { up: wan / 8, latency: Duration::from_millis(10), ..Node::LAN });
        Self { upstream: true, ..scene }
    }

    /// Of random terminals, good and odd ones mixed.
    pub(super) fn of(good: Vec<Node>, odd: Vec<Node>, total: u64, piece_length: u32, wan: bool, seed: u64) -> Self {
        let mut scene =
            if wan { Self::wan(0, total, piece_length, 100_000_000) } else { Self::lan(0, total, piece_length) };
        let mut terminals = good;
        for (at, node) in odd.into_iter().enumerate() {
            terminals.insert((seed as usize).wrapping_add(at) % (terminals.len() + 1), node);
        }
        scene.nodes.splice(1..1, terminals);
        Self { seed, ..scene }
    }

    pub(super) fn with(mut self, at: usize, node: Node) -> Self {
        self.nodes[at] = node;
        self
    }

    /// Terminals do not reach each other.
    pub(super) fn isolated(self) -> Self {
        Self { isolated: true, ..self }
    }

    pub(super) fn is_poisoned(&self, node: usize) -> bool {
        self.nodes[node].kind == Kind::Poisoned
    }

    pub(super) fn head_office(&self) -> Option<usize> {
        self.upstream.then(|| self.nodes.len() - 1)
    }

    pub(super) fn terminals(&self) -> std::ops::Range<usize> {
        1..self.nodes.len() - usize::from(self.upstream)
    }
}
