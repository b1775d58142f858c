//! One function a parser.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use artifact::{Index, PayloadId};
use branch_server::plan::judge;
use fleet_types::Digest;
use hostile::Reader;
use release::{Facts, Limits, Manifest, MemberPath, Policy, TreeError, TreeSink, evaluate, inspect, read_tree, scan};
use swarm::Torrent;
use trust::plans::{Expected, Floors, sign};
use trust::{KeySet, SigningKey};
use wire::v1::plan::Plan;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

/// A parser that reads what strangers wrote.
pub struct Target {
    /// Its name, also that of its folder under `fuzz/corpus/`.
    pub name: &'static str,
    /// Reads the bytes; panics if something is wrong with the parser.
    pub run: fn(&[u8]),
    /// Words that its format knows, for mutations to put in.
    pub words: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "archive",
        run: archive,
        words: &[b"ustar\0", b"release.toml", b"../", b"\0\0\0\0", b"12 path=x\n", b"11 size=9\n"],
    },
    Target {
        name: "manifest",
        run: manifest,
        words: &[b"[[payload]]\n", b"size = ", b"\"\"\"", b"={}", b"[[[[", b"\n[a.a]\n", b"\\u0000"],
    },
    Target {
        name: "artifact-index",
        run: artifact_index,
        words: &[b"\xf1filial\n", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\x01\0"],
    },
    Target {
        name: "artifact-frame",
        run: artifact_frame,
        words: &[b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\xff\xff\xff"],
    },
    Target {
        name: "torrent",
        run: torrent,
        words: &[b"d4:info", b"6:lengthi", b"5:filesl", b"2:..", b"e", b"i-1e", b"7:privatei1e"],
    },
    Target { name: "bencode", run: bencode, words: &[b"d", b"l", b"i", b"e", b"0:", b"i-0e", b"9223372036854775807:"] },
    Target {
        name: "envelope",
        run: envelope,
        words: &[b"\"payloadType\":", b"\"signatures\":[]", b"{", b"[", b"\\u0000", b"1e999"],
    },
    Target {
        name: "plan",
        run: plan,
        words: &[b"\"steps\":[", b"\"serial\":18446744073709551615", b"-1", b"null", b"[[[["],
    },
    Target {
        name: "env-block",
        run: env_block,
        words: &[b"filial_default=", b"filial_trial=A\n", b"\\\n", b"####", b"\n"],
    },
    Target { name: "command-line", run: command_line, words: &[b"root=", b"PARTLABEL=slot-a", b"\"", b" -- ", b"\t"] },
    Target { name: "event-stream", run: event_stream, words: &[b"data: ", b"id:", b"event:", b"\r\n", b"\n\n", b":"] },
    Target { name: "os-release", run: os_release, words: &[b"IMAGE_VERSION=", b"\"", b"'", b"\n", b"1.0.0"] },
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The target that reads what this reader of the hostile corpus reads.
pub const fn of_reader(reader: Reader) -> &'static str {
    match reader {
        Reader::Archive => "archive",
        Reader::Index => "artifact-index",
        Reader::Frame => "artifact-frame",
        Reader::Torrent => "torrent",
        Reader::Plan => "envelope",
        Reader::Block => "env-block",
        Reader::CommandLine => "command-line",
    }
}

fn archive(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(found) = scan(bytes, &limits, &mut |_| {}) else { panic!("memory cannot fail to be read") };
    assert!(found.length <= bytes.len() as u64, "more was read than there is");
    for member in &found.members {
        let path = member.path.as_str();
        assert!(member.offset + member.length <= bytes.len() as u64, "{path} lies behind the end");
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path} leads out");
    }
    let findings = evaluate(&found, &Facts::unknown(), &Policy::default()).findings;
    assert!(findings.iter().all(|f| !f.cause.is_empty() && f.cause.len() < 2000), "a cause is missing or endless");
    let Ok(head) = inspect(bytes, &limits) else { panic!("memory cannot fail to be read") };
    assert_eq!(head.manifest, found.manifest, "inspect and scan read two manifests");
    tree(bytes);
}

/// What is unpacked of a package: files and folders, each once, and none of them elsewhere.
#[derive(Default)]
struct Unpacked {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
    bytes: u64,
}

impl TreeSink for Unpacked {
    fn folder(&mut self, path: &MemberPath) -> std::io::Result<()> {
        assert!(self.folders.insert(path.to_string()), "{path} is there twice");
        Ok(())
    }

    fn file(&mut self, path: &MemberPath, _: bool) -> std::io::Result<()> {
        assert!(self.files.insert(path.to_string()), "{path} is there twice");
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tree(bytes: &[u8]) {
    let mut unpacked = Unpacked::default();
    let read = read_tree(bytes, &mut unpacked);
    assert!(matches!(read, Ok(()) | Err(TreeError::Flaw(_))), "memory cannot fail to be read: {read:?}");
    assert!(unpacked.bytes <= bytes.len() as u64, "more was unpacked than there is");
    for path in unpacked.files.iter().chain(&unpacked.folders) {
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path} leads out");
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        assert!(above.into_iter().all(|above| !unpacked.files.contains(above)), "{path} lies in a file");
    }
    assert!(unpacked.files.is_disjoint(&unpacked.folders), "a file is a folder");
}

fn manifest(bytes: &[u8]) {
    let Ok(read) = Manifest::parse(bytes) else { return };
    let Ok(text) = read.to_toml() else { panic!("a manifest that was read cannot be written") };
    assert_eq!(Manifest::parse(text.as_bytes()).as_ref(), Ok(&read), "a manifest changes when it is written");
}

fn artifact_index(bytes: &[u8]) {
    let by_itself = Index::read_from(&mut &bytes[..]);
    // As if the plan had named the payload that the index names.
    let named = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let digest = bytes.get(32..64).and_then(|b| <[u8; 32]>::try_from(b).ok());
    let (Some(length), Some(digest)) = (named(24), digest) else { return };
    let whole = Index::parse(bytes, PayloadId { sha256: Digest::new(digest), length });
    let Ok(index) = whole else { return };
    assert_eq!(by_itself.ok().as_ref(), Some(&index), "two readings of one index");
    assert_eq!(index.index_len(), bytes.len() as u64);
    let held: u64 = index.segments().iter().map(|s| u64::from(s.payload_length)).sum();
    assert_eq!(held, length, "the segments do not cover the payload");
    assert!(index.artifact_len() >= index.index_len());
}

fn artifact_frame(bytes: &[u8]) {
    hostile::decode_frame(bytes);
}

fn torrent(bytes: &[u8]) {
    let Ok(read) = Torrent::parse(bytes) else { return };
    let again = Torrent::parse(&read.to_file(read.tiers()));
    let Ok(again) = again else { panic!("a torrent that was read cannot be read again: {again:?}") };
    assert_eq!(again.info_hash(), read.info_hash(), "a torrent changes its swarm when it is written");
    assert_eq!(read.piece_count(), read.length().div_ceil(u64::from(read.piece_length())));
    let plain = |name: &String| !name.is_empty() && !name.contains('/') && name != "..";
    assert!(read.files().iter().flat_map(|f| &f.path).all(plain), "a file leads out");
}

fn bencode(bytes: &[u8]) {
    if swarm::check_bencode(bytes).is_ok() {
        // Canonical means: nothing can be put behind it.
        assert!(swarm::check_bencode(&[bytes, b"e"].concat()).is_err());
    }
}

fn envelope(bytes: &[u8]) {
    let Ok(read) = Envelope::parse(bytes) else { return };
    if let Ok(payload) = read.payload_bytes(PLAN_PAYLOAD_TYPE) {
        assert!(payload.len() <= bytes.len());
        plan(&payload);
    }
    let Ok(text) = serde_json::to_vec(&read) else { panic!("an envelope that was read cannot be written") };
    assert_eq!(Envelope::parse(&text).ok().as_ref(), Some(&read), "an envelope changes when it is written");
}

/// The plans of strangers reach this parser only with a genuine signature.
static PLAN_KEY: OnceLock<Option<SigningKey>> = OnceLock::new();

fn plan(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<Plan>(bytes) else { return };
    let Some(key) = PLAN_KEY.get_or_init(|| SigningKey::generate().ok()) else { panic!("there is no randomness") };
    let Ok(sealed) = sign(&read, &[key]) else { panic!("a plan cannot be signed") };
    // A time at which the corpus' plans are good, and no sum of times overflows.
    let now = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    let (keys, floors) = (KeySet::one(key.public()), Floors::default());
    if let Ok(taken) = judge::receive(&sealed, Expected { keys: &keys, branch: &read.branch, now, floors: &floors }) {
        assert_eq!(taken.plan(), &read, "a plan changes when it is signed");
        assert!(read.expires > now && read.entries().count() <= judge::MAX_STEPS);
    }
}

fn env_block(bytes: &[u8]) {
    if let Ok(state) = bootslot::read_block(bytes) {
        assert_eq!(bytes.len(), bootslot::BLOCK_SIZE);
        assert!(state.trial.is_none_or(|t| t.slot != state.default && t.left <= bootslot::MAX_ATTEMPTS));
    }
}

fn command_line(bytes: &[u8]) {
    let roots = bootslot::SlotRoots { a: "PARTLABEL=slot-a".into(), b: "PARTLABEL=slot-b".into() };
    let text = String::from_utf8_lossy(bytes);
    if bootslot::running_slot(&text, &roots).is_ok() {
        assert!(text.contains("slot-"), "a slot was guessed");
    }
}

fn event_stream(bytes: &[u8]) {
    let whole = service_kit::client::read_events([bytes]);
    assert_eq!(whole, service_kit::client::read_events(bytes.chunks(7)), "events depend on how the bytes are cut");
    let size = |e: &service_kit::client::SseEvent| e.event.len() + e.data.len();
    // Each broken byte becomes a replacement character of three.
    assert!(whole.is_none_or(|events| events.iter().map(size).sum::<usize>() <= 3 * bytes.len()));
}

fn os_release(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(value) = terminal_agent::adapters::os_release_value(&text, "IMAGE_VERSION") {
        assert!(text.contains(&value) && !value.contains('\n'));
    }
}
