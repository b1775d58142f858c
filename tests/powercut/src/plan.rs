//! Which phases the next updates' cuts aim at: pure, by a seed and by what was hit so far.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::phase::Phase;

/// Most cuts of one update.
pub(crate) const MOST: usize = 4;

/// How many cuts each phase is to have of `count`: the same number, and what is left to phases that the seed chooses.
fn shares(seed: u64, count: usize) -> Vec<(Phase, usize)> {
    let mut phases = Phase::ALL;
    phases.shuffle(&mut StdRng::seed_from_u64(seed));
    let (each, rest) = (count / phases.len(), count % phases.len());
    // A double cut is the dearest, and needs another cut: it is the first to be left out of a small campaign.
    phases.sort_by_key(|p| *p == Phase::Again);
    phases.into_iter().enumerate().map(|(n, p)| (p, each + usize::from(n < rest))).collect()
}

/// The cuts of each machine's next update, in the order in which they come. `hit` has the phase of every cut so far.
pub(crate) fn next(seed: u64, count: usize, hit: &[Phase], machines: usize) -> Vec<Vec<Phase>> {
    let mut rng = StdRng::seed_from_u64(seed ^ (hit.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut left = count.saturating_sub(hit.len());
    // What a phase still lacks; more cuts than its share leave less than nothing.
    let had = |phase: Phase| hit.iter().filter(|h| **h == phase).count() as i64;
    let mut lacks: Vec<(Phase, i64)> =
        shares(seed, count).into_iter().map(|(p, share)| (p, share as i64 - had(p))).collect();
    let mut plans = Vec::new();
    for machine in 0..machines {
        let fair = left.div_ceil(machines - machine);
        // The last updates take what is left, so that none is needed for a single cut.
        let wanted = if fair <= MOST { fair } else { rng.random_range(1..=MOST) };
        lacks.shuffle(&mut rng);
        lacks.sort_by_key(|(_, lack)| -lack);
        let mut chosen: Vec<Phase> = lacks.iter().map(|(p, _)| *p).take(wanted).collect();
        if chosen == [Phase::Again] {
            // It comes after another one.
            chosen = lacks.iter().map(|(p, _)| *p).filter(|p| *p != Phase::Again).take(1).collect();
        }
        for (phase, lack) in &mut lacks {
            *lack -= i64::from(chosen.contains(phase));
        }
        left -= chosen.len();
        plans.push(in_order(chosen, &mut rng));
    }
    plans
}

/// As an update goes through them; a double cut after any of them.
fn in_order(mut chosen: Vec<Phase>, rng: &mut StdRng) -> Vec<Phase> {
    chosen.sort();
    if chosen.len() > 1 && chosen.last() == Some(&Phase::Again) {
        chosen.pop();
        let after = rng.random_range(1..=chosen.len());
        chosen.insert(after, Phase::Again);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(seed: u64, count: usize, machines: usize) -> (Vec<Phase>, usize) {
        let (mut hit, mut rounds) = (Vec::new(), 0);
        while hit.len() < count {
            let plans = next(seed, count, &hit, machines);
            assert_eq!(plans, next(seed, count, &hit, machines), "a seed repeats its choices");
            for plan in plans {
                assert!(plan.len() <= MOST && plan.first() != Some(&Phase::Again), "{plan:?}");
                let others: Vec<_> = plan.iter().filter(|p| **p != Phase::Again).collect();
                assert!(others.is_sorted(), "{plan:?}");
                hit.extend(plan);
            }
            rounds += 1;
        }
        (hit, rounds)
    }

    #[test]
    fn every_phase_gets_its_share() {
        for seed in 0..20 {
            let (hit, _) = campaign(seed, 40, 2);
            assert_eq!(hit.len(), 40);
            for phase in Phase::ALL {
                let share = hit.iter().filter(|h| **h == phase).count();
                assert!((4..=6).contains(&share), "{phase}: {share} of {hit:?}");
            }
        }
    }

    #[test]
    fn six_cuts_are_six_phases_in_one_update_of_two_machines() {
        for seed in 0..20 {
            let (mut hit, rounds) = campaign(seed, 6, 2);
            hit.sort();
            hit.dedup();
            assert_eq!((hit.len(), rounds), (6, 1), "{hit:?}");
        }
    }

    #[test]
    fn what_was_missed_is_aimed_at_again() {
        let missed = [Phase::Activating; 4];
        let aimed: Vec<Phase> = next(1, 8, &missed, 1).concat();
        assert!(!aimed.contains(&Phase::Activating), "{aimed:?}");
    }
}
