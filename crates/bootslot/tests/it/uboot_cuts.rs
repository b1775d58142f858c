//! Power cuts while fw_setenv writes U-Boot's redundant environment: cut at every byte, in either copy, and what the
//! result holds is what stood before or what was to stand.

use bootslot::{BootSlots, BootState, Stored, UBootEnv, Verified};
use fleet_types::Slot::{A, B};

use crate::support::uboot::{self, COPY};
use crate::support::{put, states};

/// Real runs of the tool beside the rule: one for so many cuts, and all in the checksum and the counter.
const SAMPLE: usize = 40;

struct Bench {
    dir: tempfile::TempDir,
    env: UBootEnv,
    cuts: usize,
    sampled: usize,
}

impl Bench {
    /// Cuts the write that led from `old` to `new` at every byte, forwards and backwards.
    fn cut(&mut self, old: &[u8], new: &[u8], states: [BootState; 2]) {
        let copy = (0..2).filter(|c| old[c * COPY..][..COPY] != new[c * COPY..][..COPY]).collect::<Vec<_>>();
        assert_eq!(copy.len(), 1, "fw_setenv writes one copy, and never the one that counts");
        assert_ne!(uboot::active(old), Some(copy[0]));
        let from = copy[0] * COPY;
        for at in from..=from + COPY {
            for (front, back) in [(new, old), (old, new)] {
                let torn = [&front[..at], &back[at..]].concat();
                let active = uboot::active(&torn).expect("neither copy counts: it boots neither slot");
                let of = |store: &[u8]| store[active * COPY..][..COPY] == torn[active * COPY..][..COPY];
                assert!(of(old) || of(new), "a copy that nobody wrote counts, cut at {at}");
                self.cuts += 1;
                if self.cuts.is_multiple_of(SAMPLE) || at - from < 6 {
                    self.ask_the_tool(&torn, if uboot::active(new) == Some(active) { states[1] } else { states[0] });
                }
            }
        }
    }

    /// The real fw_printenv, through our backend, sees the same.
    fn ask_the_tool(&mut self, torn: &[u8], expected: BootState) {
        put(&uboot::store(self.dir.path()), torn);
        assert_eq!(self.env.read().unwrap(), expected);
        self.sampled += 1;
    }
}

#[test]
fn a_write_cut_at_any_byte_leaves_the_old_state_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let env = uboot::fresh(dir.path());
    env.create(&BootState::settled(A)).unwrap();
    let mut bench = Bench { env, dir, cuts: 0, sampled: 0 };
    let mut state = BootState::settled(A);
    // Every state after another, so that either copy is written by turns, and each edit of an update.
    let trial = |left| BootState::settled(A).start_trial(B, left).unwrap();
    let update = [trial(3), trial(2), trial(1), trial(1).boot().1, BootState::settled(B), BootState::settled(A)];
    let all: Vec<BootState> = states().into_iter().skip(1).chain(update).collect();
    for next in &all {
        let old = uboot::bytes(bench.dir.path());
        bench.env.write(next).unwrap();
        let new = uboot::bytes(bench.dir.path());
        bench.cut(&old, &new, [state, *next]);
        put(&uboot::store(bench.dir.path()), &new);
        state = *next;
    }
    // And marks, as they are cleared before a write and set by a confirmation.
    let settled = BootState::settled(A);
    for (verified, to) in [(Verified::BOTH, Verified::only(A)), (Verified::only(A), Verified::BOTH)] {
        bench.env.mark(A, verified).unwrap();
        let old = uboot::bytes(bench.dir.path());
        bench.env.mark(A, to).unwrap();
        assert_eq!(bench.env.read_marked().unwrap(), Stored::settled(A, to));
        let new = uboot::bytes(bench.dir.path());
        bench.cut(&old, &new, [settled, settled]);
        put(&uboot::store(bench.dir.path()), &new);
    }
    println!(
        "uboot: {} writes, {} cuts, 0 lose both copies; {} of them read by fw_printenv as well",
        all.len(),
        bench.cuts,
        bench.sampled
    );
}

#[test]
fn the_counter_may_wrap() {
    let dir = tempfile::tempdir().unwrap();
    let env = uboot::fresh(dir.path());
    env.create(&BootState::settled(A)).unwrap();
    let mut bench = Bench { env, dir, cuts: 0, sampled: 0 };
    let turns = [BootState::settled(B), BootState::settled(A)];
    // Only the write where the counter goes from 255 to 0 is cut.
    for at in 0..300 {
        let (old, state) = (uboot::bytes(bench.dir.path()), turns[at % 2]);
        uboot::set(&bench.env.config, &uboot::lines(&state));
        let new = uboot::bytes(bench.dir.path());
        let counter = new[uboot::active(&new).unwrap() * COPY + 4];
        assert_eq!(bench.env.read().unwrap(), state, "at counter {counter}");
        if counter == 0 {
            bench.cut(&old, &new, [turns[(at + 1) % 2], state]);
            break;
        }
    }
    assert_eq!(bench.cuts, 2 * (COPY + 1), "the counter never wrapped");
}
