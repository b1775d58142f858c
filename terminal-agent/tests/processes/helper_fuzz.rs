//! The root helper's socket under thousands of requests of a user who was taken over: random ones, mutated ones, cut-off ones,
//! many at once. It does what it documents, in the slot that does not run, and nothing else.
//!
//! `FILIAL_FUZZ_SEED=N` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::release::{digest, v2};
use crate::support::scene::{PATIENCE, Scene};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use terminal_agent::helper::protocol::{LENGTHS, MAX_BODY, MAX_HEAD, read_answer};
use terminal_agent::model::request::{Evidence, Order, Request};

/// Requests of each round, and rounds; between two the machine is looked at.
const REQUESTS: usize = 900;
const ROUNDS: usize = 6;
/// Most kilobytes that the helper may ever have held: the longest request, what it becomes when read, and the program.
const MAX_RESIDENT: u64 = 160 * 1024;

/// What README.md documents, and how it is asked for with every field that it has.
const VERBS: [(&str, &str); 12] = [
    ("look", ""),
    ("accept", r#","metadata":{},"plan":{"payloadType":"","payload":"","signatures":[]}"#),
    ("activate", r#","product":"kiosk","manifest":"HEX","payload":"HEX""#),
    ("settle", ""),
    ("confirm", ""),
    ("give-up", ""),
    ("restart", ""),
    ("length", r#","slot":"A""#),
    ("write", r#","offset":0"#),
    ("read", r#","offset":0,"length":1"#),
    ("sync", ""),
    ("drop-caches", ""),
];

/// What a helper could offer and this one must not.
const NO_VERBS: [&str; 48] = [
    "exec",
    "run",
    "shell",
    "spawn",
    "command",
    "system",
    "mount",
    "umount",
    "open",
    "open-device",
    "fd",
    "pass-fd",
    "close",
    "delete",
    "remove",
    "unlink",
    "rename",
    "create",
    "mkdir",
    "chmod",
    "chown",
    "set-default",
    "set-trial",
    "start-trial",
    "write-boot",
    "read-boot",
    "boot",
    "force",
    "force-activate",
    "activate-unverified",
    "rollback",
    "reboot",
    "poweroff",
    "halt",
    "shutdown",
    "kexec",
    "write-file",
    "read-file",
    "config",
    "set-config",
    "reload",
    "debug",
    "ping",
    "version",
    "update",
    "install",
    "end-trial",
    "trust",
];

struct Fuzz {
    random: StdRng,
    counts: BTreeMap<String, usize>,
    /// Requests that ask to restart in so many words.
    restarts: usize,
}

impl Fuzz {
    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.random.random_range(0..=most)];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.random.random_range(0..of.len())]
    }

    fn value(&mut self, depth: u8) -> String {
        match self.random.random_range(0..9) {
            0 => "null".into(),
            1 => self.random.random::<i64>().to_string(),
            2 => self.random.random::<u64>().to_string(),
            3 => format!(
                "{:?}",
                ["A", "B", "/dev/sda", "../../etc/shadow", "restart", "kiosk"][self.random.random_range(0..6)]
            ),
            4 => format!("{:e}", self.random.random::<f64>() * 1e300),
            5 if depth < 4 => format!("[{},{}]", self.value(depth + 1), self.value(depth + 1)),
            6 if depth < 4 => format!("{{\"ask\":{}}}", self.value(depth + 1)),
            7 => format!("{:?}", "6".repeat(64)),
            _ => "0".into(),
        }
    }

    /// A head of a verb, known or not, with fields of any verb and any value.
    fn head(&mut self) -> String {
        const FIELDS: [&str; 12] = [
            "metadata", "plan", "product", "manifest", "payload", "slot", "offset", "length", "device", "attempts",
            "ask", "command",
        ];
        let verb = match self.random.random_bool(0.8) {
            true => self.pick(&VERBS).0,
            false => self.pick(&NO_VERBS),
        };
        let mut head = format!(r#"{{"ask":"{verb}""#);
        for _ in 0..self.random.random_range(0..4) {
            let (field, value) = (self.pick(&FIELDS).to_string(), self.value(0));
            head.push_str(&format!(r#","{field}":{value}"#));
        }
        head + "}"
    }

    /// One request as bytes, whether its end is sent, and of what kind it is.
    fn request(&mut self, honest: &[Vec<u8>]) -> (Vec<u8>, &'static str) {
        match self.random.random_range(0..8) {
            0 => (self.bytes(200), "noise"),
            1 => {
                // Lengths that are not true, near every bound.
                let bounds =
                    [0, 1, 7, MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1, MAX_BODY, MAX_BODY + 1, 1 << 31, u32::MAX as usize];
                let (head, body) = (*self.pick(&bounds), *self.pick(&bounds));
                let mut bytes = [head, body].map(|n| u32::try_from(n).unwrap().to_be_bytes()).concat();
                bytes.extend(self.bytes(300));
                (bytes, "false lengths")
            }
            2 => {
                let mut bytes = self.pick(honest).clone();
                for _ in 0..self.random.random_range(1..5) {
                    let at = self.random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << self.random.random_range(0..8);
                }
                (bytes, "flipped bits")
            }
            3 => {
                let mut bytes = self.pick(honest).clone();
                bytes.truncate(self.random.random_range(0..bytes.len()));
                (bytes, "cut off")
            }
            4 => {
                // Behind an honest one something more: one request a connection, the rest is ignored.
                let mut bytes = self.pick(honest).clone();
                bytes.extend(self.pick(honest).clone());
                (bytes, "two in one")
            }
            5 => (framed(self.value(0).as_bytes(), &[]), "any JSON"),
            _ => {
                let head = self.head();
                let body = self.bytes(4096);
                (framed(head.as_bytes(), &body), "any fields")
            }
        }
    }
}

fn framed(head: &[u8], body: &[u8]) -> Vec<u8> {
    let lengths = [head.len(), body.len()].map(|n| u32::try_from(n).unwrap().to_be_bytes()).concat();
    [&lengths, head, body].concat()
}

/// Sends bytes and their end; the code of the refusal, empty for an answer, nothing if there was none.
fn say(scene: &Scene, bytes: &[u8]) -> Option<String> {
    let mut stream = UnixStream::connect(scene.path("socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let answer = read_answer(&mut stream).ok()?;
    Some(answer.map_or_else(|reason| reason.code.to_string(), |_| String::new()))
}

/// Everything of the machine but the slot that does not run and what is the helper's own, by its digest.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if ["slot-b", "log", "socket", "confirmed", "restarted"].contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                into.insert(name, "folder".into());
                walk(root, &path, into);
            } else {
                let digest: [u8; 32] = Sha256::digest(std::fs::read(&path).unwrap()).into();
                into.insert(name, format!("{:?}", fleet_types::Digest::new(digest)));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

fn resident(scene: &Scene) -> u64 {
    let status = format!("/proc/{}/status", scene.helper.as_ref().unwrap().id());
    let text = std::fs::read_to_string(status).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What holds whatever was sent.
fn check(scene: &mut Scene, before: &BTreeMap<String, String>) {
    assert_eq!(scene.helper.as_mut().unwrap().try_wait().unwrap(), None, "the helper has ended");
    assert_eq!(scene.ask(&Request::Look, &[]), "", "it answers");
    // The boot block is in there, and the running slot, and the helper's state: nothing valid was ever shown to it.
    assert_eq!(tree(scene.dir.path()), *before, "something else than the other slot was changed");
    scene.assert_untouched();
    assert!(!scene.path("restarted").exists(), "a restart without cause");
    assert!(resident(scene) < MAX_RESIDENT, "{} kB were held", resident(scene));
}

/// An honest agent's requests, as seeds of mutations. The evidence is not this branch's: valid evidence would not be an attack.
fn honest(scene: &mut Scene) -> Vec<Vec<u8>> {
    let Request::Accept(Evidence { metadata, plan }) = scene.evidence(&scene.plan("south", "till-1")) else {
        unreachable!()
    };
    let order =
        Order { product: "kiosk".parse().unwrap(), manifest: digest(&v2().manifest), payload: v2().payload.sha256 };
    let all = [
        (Request::Look, 0),
        (Request::Accept(Evidence { metadata, plan }), 0),
        (Request::Activate(order.clone()), 0),
        (Request::CheckRunning(order), 0),
        (Request::Settle, 0),
        (Request::Confirm, 0),
        (Request::GiveUp, 0),
        (Request::Restart, 0),
        (Request::Length { slot: fleet_types::Slot::A }, 0),
        (Request::Write { offset: 4096 }, 8192),
        (Request::Read { offset: 0, length: 4096 }, 0),
        (Request::Sync, 0),
        (Request::DropCaches, 0),
    ];
    all.into_iter().map(|(request, body)| [request.head(body).unwrap(), vec![0x5a; body]].concat()).collect()
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "to repeat a run by hand")]
    let given = std::env::var("FILIAL_FUZZ_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().unwrap())
}

#[test]
fn nothing_but_what_is_documented() {
    let seed = seed();
    println!("seed {seed}");
    let mut fuzz = Fuzz { random: StdRng::seed_from_u64(seed), counts: BTreeMap::new(), restarts: 0 };
    let mut scene = Scene::new();
    scene.start();
    let honest = honest(&mut scene);
    // One of each first, so that all that is made once is there.
    for bytes in &honest {
        say(&scene, bytes);
    }
    let before = tree(scene.dir.path());
    for _ in 0..ROUNDS {
        for _ in 0..REQUESTS {
            let (bytes, kind) = fuzz.request(&honest);
            fuzz.restarts += usize::from(bytes.windows(9).any(|w| w == b"\"restart\""));
            let said = say(&scene, &bytes).unwrap_or_else(|| panic!("no answer to {kind}: {bytes:?}"));
            fuzz.count(format!("{kind}: {}", if said.is_empty() { "answered" } else { &said }));
        }
        many_at_once(&scene, &mut fuzz, &honest);
        check(&mut scene, &before);
    }
    for (what, count) in &fuzz.counts {
        println!("{count:6} {what}");
    }
    println!("{} requests named restart; at most {} kB were held", fuzz.restarts, resident(&scene));
    assert!(fuzz.restarts > 0 && fuzz.counts.len() > 20, "this showed little");
}

/// More connections than are attended to, some of which stand still until all are there.
fn many_at_once(scene: &Scene, fuzz: &mut Fuzz, honest: &[Vec<u8>]) {
    let mut waiting: Vec<(UnixStream, Vec<u8>)> = Vec::new();
    for _ in 0..60 {
        let (bytes, _) = fuzz.request(honest);
        let mut stream = UnixStream::connect(scene.path("socket")).unwrap();
        let half = bytes.len() / 2;
        let _ = stream.write_all(&bytes[..half]);
        waiting.push((stream, bytes[half..].to_vec()));
    }
    for (mut stream, rest) in waiting {
        // A part goes away without a word.
        if fuzz.random.random_bool(0.3) {
            continue;
        }
        let _ = stream.write_all(&rest);
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        fuzz.count(if read_answer(&mut stream).is_ok() {
            "many at once: answered"
        } else {
            "many at once: broken off"
        });
    }
}

#[test]
fn the_verbs_are_those_that_are_documented() {
    let mut scene = Scene::new();
    scene.start();
    let known = |head: &str| say(&scene, &framed(head.as_bytes(), &[])).unwrap() != "request-malformed";
    let mut found = BTreeSet::new();
    for (verb, fields) in VERBS {
        let fields = fields.replace("HEX", &"6".repeat(64));
        if known(&format!(r#"{{"ask":"{verb}"{fields}}}"#)) {
            found.insert(verb);
        }
        // A field more, or all of them at once, is another request.
        assert!(!known(&format!(r#"{{"ask":"{verb}"{fields},"device":"/dev/sda"}}"#)), "{verb} takes a device");
        assert!(!known(&format!(r#"{{"ask":"{verb}"{fields},"attempts":9}}"#)), "{verb} takes attempts");
    }
    assert_eq!(found, VERBS.iter().map(|(verb, _)| *verb).collect());
    for verb in NO_VERBS {
        let all: BTreeSet<_> = VERBS.iter().map(|(_, fields)| fields.replace("HEX", &"6".repeat(64))).collect();
        for fields in all {
            assert!(!known(&format!(r#"{{"ask":"{verb}"{fields}}}"#)), "{verb}{fields} is answered");
        }
    }
    scene.assert_untouched();
    assert!(!scene.path("restarted").exists());
}

/// What costs memory: the longest frames, and JSON that becomes much more when it is read.
#[test]
fn the_largest_requests_are_bounded() {
    let mut scene = Scene::new();
    scene.start();
    let room = MAX_HEAD - 100;
    let filled = |begin: &str, part: &str, end: &str| format!("{begin}{}{end}", part.repeat(room / part.len()));
    let many_files: String = (0..room / 14).map(|n| format!(r#""{n:07x}":"","#)).collect();
    let heads = [
        filled(r#"{"x":["#, "0,", r#"0],"ask":"look"}"#),
        filled(r#"{"x":["#, "{},", r#"0],"ask":"accept"}"#),
        filled(
            r#"{"ask":"accept","metadata":{"a":""#,
            "a",
            r#""},"plan":{"payloadType":"","payload":"","signatures":[]}}"#,
        ),
        filled(
            r#"{"ask":"accept","metadata":{},"plan":{"payloadType":"","payload":"","signatures":["#,
            r#"{"keyid":"","sig":""},"#,
            "0]}}",
        ),
        format!(r#"{{"ask":"accept","metadata":{{{many_files}"a":""}},"plan":{{}}}}"#),
        filled(r#"{"ask":""#, "x", r#""}"#),
        filled("", "[", ""),
        filled("", "{\"ask\":", ""),
    ];
    for head in heads {
        assert!(head.len() <= MAX_HEAD);
        let said = say(&scene, &framed(head.as_bytes(), &vec![7; MAX_BODY])).unwrap();
        assert_ne!(said, "", "{}", &head[..60]);
        println!("{:7} kB held after {}… ({said})", resident(&scene), &head[..60.min(head.len())]);
    }
    assert_eq!(say(&scene, &[0xff; LENGTHS]).unwrap(), "request-too-large");
    assert!(resident(&scene) < MAX_RESIDENT, "{} kB were held", resident(&scene));
    let log = std::fs::metadata(scene.path("log")).unwrap().len();
    assert!(log < 64 * 1024, "{log} bytes of log for a few requests");
    scene.assert_untouched();
}
