//! Which moments of a recorded update are replayed: pure but for reading the log.

use std::ops::Range;

use logwrites::{Entry, FlushPoint, Log, LogError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::record::Region;

/// Where the disk's partitions lie that count here, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) esp: Range<u64>,
    /// The slot that is written.
    pub(crate) slot: Range<u64>,
}

/// A moment at which the power may go, and what is being written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) point: FlushPoint,
    pub(crate) region: Region,
}

/// In which order regions come: the boot block's and the slot's end have most of what can go wrong.
const ORDER: [Region; 6] =
    [Region::BootBlock, Region::SlotEnd, Region::BootBlock, Region::Slot, Region::BootBlock, Region::Data];
/// So many flushes before and after one belong to what it is about.
const AROUND: usize = 2;

/// What a stretch from a flush to the next one writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stretch {
    esp: bool,
    slot: bool,
    /// The update has been assigned.
    counts: bool,
}

/// The moments of a log from the byte `since` of its file on: what came before is not of the update.
pub(crate) fn moments(log: &Log, layout: &Layout, since: u64) -> Result<Vec<Moment>, LogError> {
    let points = log.flush_points()?;
    let mut stretches = vec![Stretch::default(); points.len()];
    let mut number = 0;
    for entry in log.entries() {
        let entry = entry?;
        while points.get(number + 1).is_some_and(|next| next.entry <= entry.index) {
            number += 1;
        }
        let stretch = &mut stretches[number];
        stretch.counts |= entry.data >= since;
        if entry.changes() {
            stretch.esp |= touches(&entry, &layout.esp);
            stretch.slot |= touches(&entry, &layout.slot);
        }
    }
    Ok(regions(&stretches).into_iter().map(|(n, region)| Moment { point: points[n], region }).collect())
}

fn touches(entry: &Entry, place: &Range<u64>) -> bool {
    entry.offset < place.end && entry.offset + entry.length > place.start
}

/// The region of each stretch that counts.
fn regions(stretches: &[Stretch]) -> Vec<(usize, Region)> {
    let near = |n: usize| &stretches[n.saturating_sub(AROUND)..(n + AROUND + 1).min(stretches.len())];
    let last = stretches.iter().rposition(|s| s.slot);
    let region = |n: usize| {
        if near(n).iter().any(|s| s.esp && s.counts) {
            Region::BootBlock
        } else if last.is_some_and(|last| n.abs_diff(last) <= AROUND) {
            Region::SlotEnd
        } else if stretches[n].slot {
            Region::Slot
        } else {
            Region::Data
        }
    };
    (0..stretches.len()).filter(|n| stretches[*n].counts).map(|n| (n, region(n))).collect()
}

/// The moment of each of these replays, by a seed; in the order of the log, so that one pass over it makes all disks.
pub(crate) fn choose(moments: &[Moment], numbers: &[u64], seed: u64) -> Vec<(u64, Moment)> {
    let mut chosen = Vec::new();
    for number in numbers {
        let mut rng = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let wanted = ORDER[usize::try_from(*number).unwrap_or(0) % ORDER.len()];
        let mut of: Vec<&Moment> = moments.iter().filter(|m| m.region == wanted).collect();
        if of.is_empty() {
            of = moments.iter().collect();
        }
        // These two are long: early in them, most of the update would be done once more.
        if matches!(wanted, Region::Slot | Region::Data) {
            of.drain(..of.len() / 2);
        }
        if !of.is_empty() {
            chosen.push((*number, *of[rng.random_range(0..of.len())]));
        }
    }
    chosen.sort_by_key(|(_, moment)| moment.point.entry);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(esp: bool, slot: bool, counts: bool) -> Stretch {
        Stretch { esp, slot, counts }
    }

    #[test]
    fn stretches_are_told_by_what_they_write_and_what_is_near() {
        let mut stretches = vec![stretch(true, false, false); 3];
        stretches.extend(vec![stretch(false, true, true); 10]);
        stretches.extend(vec![stretch(false, false, true); 6]);
        stretches.push(stretch(true, false, true));
        let told = regions(&stretches);
        assert_eq!(told.first(), Some(&(3, Region::Slot)), "what was before the update does not count");
        let of = |wanted| told.iter().filter(|(_, r)| *r == wanted).map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!(of(Region::SlotEnd), [10, 11, 12, 13, 14]);
        assert_eq!(of(Region::Data), [15, 16]);
        assert_eq!(of(Region::BootBlock), [17, 18, 19]);
    }

    #[test]
    fn replays_are_chosen_by_a_seed_and_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (log, layout) = recorded(folder.path());
        let moments = moments(&log, &layout, 0).unwrap();
        let numbers: Vec<u64> = (0..12).collect();
        let chosen = choose(&moments, &numbers, 1);
        assert_eq!(chosen, choose(&moments, &numbers, 1));
        assert_eq!(chosen.len(), 12);
        assert!(chosen.is_sorted_by_key(|(_, m)| m.point.entry));
        let boot = chosen.iter().filter(|(_, m)| m.region == Region::BootBlock).count();
        assert_eq!(boot, 6, "{chosen:?}");
        for (region, count) in [(Region::Slot, 2), (Region::SlotEnd, 2), (Region::Data, 2)] {
            assert_eq!(chosen.iter().filter(|(_, m)| m.region == region).count(), count, "{region:?} in {chosen:?}");
        }
        assert!(choose(&[], &numbers, 1).is_empty());
    }

    /// A log in QEMU's format: the slot written in 20 stretches, then 10 of data, then the boot block.
    fn recorded(folder: &std::path::Path) -> (Log, Layout) {
        use std::io::Write;
        let mut bytes = Vec::new();
        let mut sector = |numbers: [u64; 4], text: &[u8]| {
            let mut sector = vec![0; 512];
            for (number, place) in numbers.iter().zip(sector.chunks_exact_mut(8)) {
                place.copy_from_slice(&number.to_le_bytes());
            }
            sector[24..24 + text.len()].copy_from_slice(text);
            bytes.extend(sector);
        };
        let places: Vec<u64> = (0..20).map(|_| 8).chain((0..10).map(|_| 20)).chain([2]).collect();
        let count = places.len() as u64 * 2;
        sector([0x006a_7366_7773_6872, 1, count, 0], &512u32.to_le_bytes());
        for place in places {
            sector([place, 1, 0, 0], &[]);
            sector([7; 4], &[]);
            sector([0, 0, 1, 0], &[]);
        }
        let path = folder.join("log");
        std::fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        let log = Log::open(&path, 32 * 512).unwrap();
        (log, Layout { esp: 0..8 * 512, slot: 8 * 512..16 * 512 })
    }
}
