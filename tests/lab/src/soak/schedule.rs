//! Which fault comes when: a pure function of the seed, the length and the lab's size.
//!
//! Every fault is an order of `lab fault`, so each can be repeated by hand. To add one, add a line to [`KINDS`].

use std::collections::BTreeMap;
use std::time::Duration;

/// What the faults are to hit, by name.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) branches: Vec<String>,
    pub(super) terminals: Vec<String>,
}

impl Places {
    /// The places of a lab of this size.
    pub(super) fn new(branches: usize, terminals: usize) -> Self {
        let branches: Vec<String> = (1..=branches).map(|b| format!("branch-{b}")).collect();
        let terminals = branches.iter().flat_map(|b| (1..=terminals).map(move |t| format!("{b}/till-{t}"))).collect();
        Self { branches, terminals }
    }

    fn servers(&self) -> Vec<String> {
        std::iter::once("head-office".to_owned()).chain(self.branches.iter().cloned()).collect()
    }

    fn all(&self) -> Vec<String> {
        self.servers().into_iter().chain(self.terminals.iter().cloned()).collect()
    }

    /// Every process: programs and their daemons.
    fn parts(&self) -> Vec<String> {
        let servers = self.servers().into_iter().flat_map(|s| {
            let daemons = ["postgres", "transmission", "opentracker"].map(|d| format!("{s}:{d}"));
            std::iter::once(s).chain(daemons)
        });
        let terminals =
            self.terminals.iter().flat_map(|t| [t.clone(), format!("{t}:helper"), format!("{t}:transmission")]);
        servers.chain(terminals).collect()
    }

    fn volumes(&self) -> Vec<String> {
        self.all().into_iter().chain(self.servers().into_iter().map(|s| format!("{s}:postgres"))).collect()
    }
}

/// Chance that a seed repeats: splitmix64, here so that no library's next version changes a schedule.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(purpose.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number in `range`, both ends among them.
    pub(super) fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// One of these; the default if there is none.
    pub(super) fn one_of<T: Clone + Default>(&mut self, all: &[T]) -> T {
        let index = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(index).cloned().unwrap_or_default()
    }
}

/// A kind of fault.
struct Kind {
    /// How often it comes, against the others.
    weight: u64,
    /// For how many seconds, at least and at most.
    seconds: (u64, u64),
    /// The order, the order that lifts it, and what nothing else of its kind may hit meanwhile.
    make: fn(&mut Dice, &Places) -> (String, Option<String>, String),
}

/// Every kind of fault.
const KINDS: &[Kind] = &[
    Kind {
        weight: 6,
        seconds: (0, 12),
        make: |dice, places| {
            let part = dice.one_of(&places.parts());
            (format!("kill {part}"), Some(format!("start {part}")), part)
        },
    },
    Kind {
        weight: 3,
        seconds: (0, 0),
        make: |dice, places| {
            let part = dice.one_of(&places.parts());
            (format!("restart {part}"), None, part)
        },
    },
    Kind {
        weight: 4,
        seconds: (1, 25),
        make: |dice, places| {
            let part = dice.one_of(&places.parts());
            (format!("pause {part}"), Some(format!("resume {part}")), part)
        },
    },
    Kind {
        weight: 5,
        seconds: (1, 60),
        make: |dice, places| {
            let branch = dice.one_of(&places.branches);
            (format!("cut-wan {branch}"), Some(format!("restore-wan {branch}")), format!("wan {branch}"))
        },
    },
    Kind {
        weight: 2,
        seconds: (5, 30),
        make: |dice, places| {
            let (branch, rate) = (dice.one_of(&places.branches), dice.within((100, 2000)));
            let order = format!("slow-wan {branch} {rate}kbit");
            (order, Some(format!("restore-wan {branch}")), format!("wan {branch}"))
        },
    },
    Kind {
        weight: 4,
        seconds: (1, 40),
        make: |dice, places| {
            let till = dice.one_of(&places.terminals);
            (format!("cut-terminal {till}"), Some(format!("restore-terminal {till}")), format!("link {till}"))
        },
    },
    Kind {
        weight: 4,
        seconds: (0, 0),
        make: |dice, places| {
            let till = dice.one_of(&places.terminals);
            (format!("power-cycle {till}"), None, till)
        },
    },
    Kind {
        weight: 4,
        seconds: (2, 25),
        make: |dice, places| {
            let volume = dice.one_of(&places.volumes());
            (format!("fill-disk {volume}"), Some(format!("free-disk {volume}")), format!("disk {volume}"))
        },
    },
    Kind {
        weight: 2,
        seconds: (0, 0),
        make: |dice, places| {
            let place = dice.one_of(&places.all());
            (format!("empty-daemon {place}"), None, format!("{place}:transmission"))
        },
    },
    Kind {
        weight: 1,
        seconds: (0, 0),
        make: |dice, places| {
            let branch = dice.one_of(&places.branches);
            (format!("empty-store {branch}"), None, format!("{branch}:transmission"))
        },
    },
    Kind {
        weight: 3,
        seconds: (5, 40),
        make: |dice, places| {
            let (place, seconds) = (dice.one_of(&places.all()), dice.within((60, 7200)));
            let sign = dice.one_of(&["+", "-"]);
            (format!("clock {place} {sign}{seconds}"), Some(format!("clock {place} 0")), format!("clock {place}"))
        },
    },
];

/// One fault of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Fault {
    /// Its place in the schedule.
    pub(super) index: usize,
    /// When it begins, in seconds.
    pub(super) at: u64,
    /// The order.
    pub(super) order: String,
    /// The order that lifts it, and when.
    pub(super) lifted: Option<(u64, String)>,
}

/// The whole schedule.
pub(super) fn schedule(seed: u64, length: Duration, places: &Places) -> Vec<Fault> {
    let (mut dice, end) = (Dice::new(seed, "faults"), length.as_secs());
    let mut busy: BTreeMap<String, u64> = BTreeMap::new();
    let (mut faults, mut at) = (Vec::new(), 1);
    while at < end {
        let (order, lift, subject) = {
            let kind = pick(&mut dice);
            let (order, lift, subject) = (kind.make)(&mut dice, places);
            let lasts = dice.within(kind.seconds);
            (order, lift.map(|lift| ((at + lasts).min(end), lift)), subject)
        };
        // A second fault on the same thing would be lifted by the first one's end.
        if busy.get(&subject).is_none_or(|until| *until < at) {
            busy.insert(subject, lift.as_ref().map_or(at, |(until, _)| *until));
            faults.push(Fault { index: faults.len(), at, order, lifted: lift });
        }
        at += dice.within((1, 4));
    }
    faults
}

fn pick(dice: &mut Dice) -> &'static Kind {
    let mut left = dice.below(KINDS.iter().map(|k| k.weight).sum());
    for kind in KINDS {
        if left < kind.weight {
            return kind;
        }
        left -= kind.weight;
    }
    &KINDS[0]
}

/// What is to be done when: every fault's order, and the one that lifts it.
pub(super) fn timeline(faults: &[Fault]) -> Vec<(u64, usize, String)> {
    let begins = faults.iter().map(|f| (f.at, f.index, f.order.clone()));
    let ends = faults.iter().filter_map(|f| f.lifted.clone().map(|(at, order)| (at, f.index, order)));
    let mut all: Vec<_> = begins.chain(ends).collect();
    // A stable sort: a fault that lasts no second is still begun before it is lifted.
    all.sort_by_key(|(at, _, _)| *at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64) -> Vec<Fault> {
        schedule(seed, Duration::from_secs(1200), &Places::new(2, 3))
    }

    #[test]
    fn a_seed_gives_the_same_schedule_and_another_seed_another() {
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_kind_of_fault_comes_and_all_are_lifted_in_time() {
        let faults = of(1);
        let verbs = ["kill", "restart", "pause", "cut-wan", "slow-wan", "cut-terminal", "power-cycle", "fill-disk"];
        for verb in verbs.iter().chain(&["empty-daemon", "empty-store", "clock"]) {
            assert!(faults.iter().any(|f| f.order.starts_with(&format!("{verb} "))), "no {verb}");
        }
        assert!(faults.iter().all(|f| f.lifted.as_ref().is_none_or(|(at, _)| (f.at..=1200).contains(at))));
        let lifting = ["kill", "pause", "cut-", "slow-", "fill-", "clock"];
        for fault in faults.iter().filter(|f| lifting.iter().any(|l| f.order.starts_with(l))) {
            assert!(fault.lifted.is_some(), "{} stays", fault.order);
        }
    }

    #[test]
    fn a_fault_is_lifted_before_the_next_one_of_its_kind_hits_the_same_thing() {
        let mut filled: BTreeMap<String, bool> = BTreeMap::new();
        for (_, _, order) in timeline(&of(3)) {
            if let Some(place) = order.strip_prefix("fill-disk ") {
                assert!(!filled.insert(place.to_owned(), true).unwrap_or(false), "{place} twice");
            } else if let Some(place) = order.strip_prefix("free-disk ") {
                filled.insert(place.to_owned(), false);
            }
        }
        assert!(filled.values().all(|full| !full));
    }
}
