//! The room in the store as head office is told of it. The same sums by which [`super::plan`] admits artifacts.

use chrono::{DateTime, TimeDelta, Utc};
use wire::v1::reports::Report;

use super::model::{Disk, RESERVE_BYTES, Stage};
use crate::db::artifacts::Record;

/// The room in the store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreRoom {
    /// What artifacts may take in all.
    pub capacity: u64,
    /// What a new one may take now.
    pub free: u64,
    /// What those that are there take.
    pub held: u64,
}

impl StoreRoom {
    /// Out of what is recorded and what the disk says; none if the disk says nothing.
    pub fn of<'r>(records: impl IntoIterator<Item = &'r Record>, disk: &Disk) -> Option<Self> {
        let records: Vec<&Record> = records.into_iter().collect();
        let started = || records.iter().copied().filter(|r| !matches!(r.stage, Stage::Wanted | Stage::Described));
        let length = |r: &Record| r.wanted.artifact.length;
        let taken = started().map(length).fold(0, u64::saturating_add);
        let held = started().map(|r| r.have_bytes).fold(0, u64::saturating_add);
        let strays = disk.strays.iter().map(|s| s.bytes).fold(0, u64::saturating_add);
        // Files are sparse while they arrive: what they still have to write is spoken for.
        let arriving = started().filter(|r| r.stage == Stage::Listed && r.unnamed_since.is_none());
        let promised = arriving.map(|r| length(r).saturating_sub(r.have_bytes)).fold(0, u64::saturating_add);
        let budget = disk.budget_bytes.unwrap_or(u64::MAX);
        let on_disk = disk.free_bytes?.saturating_sub(RESERVE_BYTES);
        Some(Self {
            capacity: on_disk.saturating_add(held).saturating_add(strays).min(budget),
            free: on_disk.saturating_sub(promised).min(budget.saturating_sub(taken)),
            held,
        })
    }

    /// Whether the difference to what was told last is worth telling: a hundredth of the store.
    pub fn differs(&self, last: &Self) -> bool {
        let least = (self.capacity.max(last.capacity) / 100).max(1);
        let pairs = [(self.capacity, last.capacity), (self.free, last.free), (self.held, last.held)];
        pairs.iter().any(|(now, before)| now.abs_diff(*before) >= least)
    }

    /// Whether there is room again for a tenth of the store that was not there when it was told last.
    pub fn has_come_back(&self, last: &Self) -> bool {
        self.free > last.free && self.free - last.free >= (self.capacity / 10).max(1)
    }

    /// Whether to report this room after `last`. Releases are judged by it: room that came back is reported at once,
    /// any other notable change at most every `interval`.
    pub fn is_due(&self, now: DateTime<Utc>, last: Option<(DateTime<Utc>, Self)>, interval: TimeDelta) -> bool {
        last.is_none_or(|(at, last)| {
            self.has_come_back(&last) || now.signed_duration_since(at).abs() >= interval && self.differs(&last)
        })
    }

    /// As a report.
    pub fn report(&self) -> Report {
        Report::Store { capacity_bytes: self.capacity, free_bytes: self.free, held_bytes: self.held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::model::{Stray, Wanted};
    use fleet_types::{InfoHash, Version};
    use wire::v1::plan::{ArtifactRef, PayloadRef};

    fn record(stage: Stage, length: u64, have_bytes: u64) -> Record {
        let artifact = ArtifactRef {
            sha256: [1; 32].into(),
            length,
            index_sha256: [2; 32].into(),
            index_length: 1,
            info_hash: InfoHash::new([3; 20]),
        };
        let payload = PayloadRef { name: "rootfs".into(), sha256: [4; 32].into(), length };
        let (manifest, product) = ([5; 32].into(), "kiosk".parse().unwrap());
        let wanted = Wanted { artifact, payload, manifest, product, version: Version::new(1, 0, 0) };
        Record { wanted, stage, have_bytes, trouble: None, mismatches: 0, retry_after: None, unnamed_since: None }
    }

    fn disk(free: Option<u64>, budget_bytes: Option<u64>) -> Disk {
        Disk { free_bytes: free.map(|f| f + RESERVE_BYTES), budget_bytes, ..Disk::default() }
    }

    #[test]
    fn what_is_on_its_way_is_spoken_for() {
        let records = [record(Stage::Held, 100, 100), record(Stage::Listed, 50, 20), record(Stage::Wanted, 1000, 0)];
        let room = |disk: &Disk| StoreRoom::of(&records, disk).map(|r| (r.capacity, r.free, r.held));
        assert_eq!(room(&disk(Some(500), None)), Some((620, 470, 120)));
        assert_eq!(room(&disk(Some(500), Some(200))), Some((200, 50, 120)));
        assert_eq!(room(&disk(Some(10), None)), Some((130, 0, 120)));
        assert_eq!(room(&disk(None, Some(200))), None, "room that is not known is not told");
        let stray = Stray { artifact: [9; 32].into(), bytes: 7, modified: "2030-01-01T00:00:00Z".parse().unwrap() };
        let strays = Disk { strays: vec![stray], ..disk(Some(500), None) };
        assert_eq!(room(&strays), Some((627, 470, 120)), "they will be swept");
    }

    #[test]
    fn room_is_reported_first_then_after_notable_changes_and_at_once_when_it_comes_back() {
        let (at, minute) = ("2030-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap(), TimeDelta::minutes(1));
        let room = |free| StoreRoom { capacity: 1000, free, held: 0 };
        let due = |after: i64, free| room(free).is_due(at + TimeDelta::seconds(after), Some((at, room(500))), minute);
        assert!(room(0).is_due(at, None, minute));
        assert!(!due(59, 300) && due(60, 300) && due(-60, 300), "a clock that was set back delays nothing");
        assert!(!due(60, 500) && !due(60, 509));
        assert!(!due(1, 599) && due(1, 600));
    }

    #[test]
    fn a_tenth_of_the_store_that_is_free_again_has_come_back() {
        let room = |free| StoreRoom { capacity: 1000, free, held: 0 };
        assert!(room(500).has_come_back(&room(400)) && room(100).has_come_back(&room(0)));
        assert!(!room(500).has_come_back(&room(401)) && !room(400).has_come_back(&room(500)));
    }

    #[test]
    fn a_hundredth_of_the_store_is_worth_telling() {
        let room = |free| StoreRoom { capacity: 1000, free, held: 0 };
        assert!(!room(500).differs(&room(509)));
        assert!(room(500).differs(&room(490)));
        assert!(StoreRoom { held: 10, ..room(500) }.differs(&room(500)));
    }
}
