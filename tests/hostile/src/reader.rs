//! The readers of strangers' files, each asked in the way its program asks it.

use std::collections::BTreeMap;

use branch_server::plan::judge;
use release::{Facts, Limits, Policy, SmallestSlot, evaluate, scan};
use swarm::Torrent;
use trust::plans::Expected;
use wire::Envelope;
use wire::v1::releases::Verdict;

use crate::case::Reader;
use crate::tar::MODEL;
use crate::torrents::{ARTIFACT_LENGTH, ARTIFACT_NAME};
use crate::{artifacts, envelopes};

impl Reader {
    /// Reads `bytes` as the program does.
    ///
    /// The codes under which it refuses them, none if it takes them.
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
    judge::receive(&offered, expected).map(drop).map_err(|e| e.code())
}
