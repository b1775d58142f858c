//! The readers of strangers' files, each asked in the way its program asks it.

use std::collections::BTreeMap;
use std::fmt;

use branch_server::sync::accept;
use release::{Facts, Limits, Policy, SmallestSlot, evaluate, scan};
use swarm::Torrent;
use trust::plans::Expected;
use wire::Envelope;
use wire::v1::releases::Verdict;

use crate::{ARTIFACT_LENGTH, ARTIFACT_NAME, MODEL, artifacts, envelopes};

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// Head office and `filial release validate`: an update archive, scanned and judged by every rule.
    Archive,
    /// Branch servers and terminals: the index of an artifact whose payload they know.
    Index,
    /// Terminals: one frame of an artifact.
    Frame,
    /// Branch servers and `filial torrent`: a torrent file.
    Torrent,
    /// Branch servers: an envelope with a plan.
    Plan,
    /// Terminals: GRUB's environment block.
    Block,
    /// Terminals: the kernel's command line.
    CommandLine,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Archive => "archive",
            Self::Index => "index",
            Self::Frame => "frame",
            Self::Torrent => "torrent",
            Self::Plan => "plan",
            Self::Block => "block",
            Self::CommandLine => "command-line",
        })
    }
}

impl Reader {
    /// Reads `bytes` as the program does; the codes under which it refuses them, none if it takes them.
    pub fn refusals(self, bytes: &[u8]) -> Vec<String> {
        let code = match self {
            Self::Archive => return archive(bytes),
            Self::Index => artifact::Index::parse(bytes, artifacts::payload()).map(drop).map_err(|e| e.code()),
            Self::Frame => artifacts::read_frame(bytes),
            Self::Torrent => Torrent::parse(bytes)
                .and_then(|t| t.check_carries(ARTIFACT_NAME, ARTIFACT_LENGTH))
                .map_err(|e| e.code()),
            Self::Plan => plan(bytes),
            Self::Block => bootslot::read_block(bytes).map(drop).map_err(|e| e.code()),
            Self::CommandLine => {
                let roots = bootslot::SlotRoots { a: "PARTLABEL=slot-a".into(), b: "PARTLABEL=slot-b".into() };
                bootslot::running_slot(&String::from_utf8_lossy(bytes), &roots).map(drop).map_err(|e| e.code())
            }
        };
        code.err().into_iter().map(str::to_owned).collect()
    }
}

fn archive(bytes: &[u8]) -> Vec<String> {
    let Ok(scan) = scan(bytes, &Limits::default(), &mut |_| {}) else { return vec!["unreadable".into()] };
    let slots = MODEL.parse().map(|model| BTreeMap::from([(model, SmallestSlot::new(64 << 20))]));
    let mut facts = Facts::unknown();
    (facts.models, facts.published) = (slots.ok(), Some(Vec::new()));
    let findings = evaluate(&scan, &facts, &Policy::default()).findings;
    findings.into_iter().filter(|f| f.verdict == Verdict::Fail).filter_map(|f| f.code).collect()
}

fn plan(bytes: &[u8]) -> Result<(), &'static str> {
    let offered = Envelope::parse(bytes).map_err(|e| e.code())?;
    let here = envelopes::here();
    let expected = Expected { keys: &here.keys, branch: &here.branch, now: here.now, floors: &here.floors };
    accept::receive(&offered, expected).map(drop).map_err(|e| e.code())
}
