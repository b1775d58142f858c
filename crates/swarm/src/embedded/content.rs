//! The content of a torrent's task: loaded, hashed, checked piece by piece, made to last, and given back at rest.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::jobs::{self, Checked, Done, Outcome};
use super::task::{AT_REST, DISK_FIRST, DISK_LONGEST, Phase, Task};
use super::verify::Progress;
use super::{Event, roles};
use crate::PieceSet;
use crate::tracker::announce::Counts;

/// Bytes of pieces that wait for a disk that fails. Beyond, pieces are dropped and fetched again.
const MAX_FAILED: u64 = 8 * 1024 * 1024;

/// How long trackers may take to be told that a torrent ends.
const GOODBYE: Duration = Duration::from_secs(1);

impl Task {
    pub(super) fn load(&mut self) {
        self.phase = Phase::Loading;
        self.disk.spawn(jobs::load(self.shared.clone(), self.hash, self.record.clone()));
    }

    /// Hashes the content again. Peers leave meanwhile.
    pub(super) fn verify(&mut self) {
        let Some(loaded) = self.loaded.clone() else {
            // At rest: nothing written down means that everything is hashed.
            self.forget_pieces();
            return self.load();
        };
        self.leave_all();
        let dropped: u64 = self.retries.drain(..).map(|(_, check)| check.bytes.len() as u64).sum();
        self.checking = self.checking.saturating_sub(dropped);
        let progress = Arc::new(Progress::default());
        self.phase = Phase::Verifying(progress.clone());
        self.disk.spawn(jobs::verify_content(self.shared.clone(), loaded, progress));
    }

    pub(super) fn forget_pieces(&self) {
        let _ = std::fs::remove_file(self.shared.state.pieces(&self.hash));
    }

    pub(super) fn open(&mut self, bits: Vec<u8>) {
        let Ok(held) = PieceSet::new(bits, u64::from(self.shape.piece_length()), self.shape.total()) else {
            return self.failed("its pieces cannot be counted".to_owned());
        };
        let now = self.shared.now();
        let core = roles::core(self.shared.settings.role, self.shape, &held);
        self.phase = Phase::Open(Box::new(core));
        (self.tick_at, self.look_at, self.active_at) = (now, now, now);
        self.disk_failures = 0;
        for joined in std::mem::take(&mut self.waiting) {
            self.join(joined);
        }
    }

    pub(super) fn failed(&mut self, trouble: String) {
        tracing::warn!(torrent = %self.hash, trouble, "a torrent waits for its disk");
        self.disk_trouble = Some(trouble);
        self.waiting.clear();
        let pause = self.disk_pause();
        self.phase = Phase::Failed(self.shared.now() + pause);
    }

    pub(super) fn flush(&mut self) {
        let (Some(loaded), Phase::Open(core)) = (self.loaded.clone(), &self.phase) else { return };
        let bits = bits_of(&core.held());
        (self.flushing, self.unflushed, self.dirty_since) = (true, 0, None);
        self.saved = self.record.clone();
        self.disk.spawn(jobs::flush(self.shared.clone(), self.hash, loaded, bits, self.record.clone()));
    }

    /// Compares the content with what was written down of it, once that is up to date.
    pub(super) fn compare_content(&mut self) {
        let settled = self.dirty_since.is_none() && !self.flushing && self.checking == 0;
        if let (true, true, Phase::Open(_), Some(loaded)) = (self.compare, settled, &self.phase, self.loaded.clone()) {
            self.compare = false;
            self.disk.spawn(jobs::compare(self.shared.clone(), self.hash, loaded));
        }
    }

    pub(super) fn checked(&mut self, Checked { mut check, outcome }: Checked, now: Duration) {
        let length = check.bytes.len() as u64;
        if let Outcome::Failed(error) = outcome {
            self.disk_trouble = Some(error.to_string());
            if check.failures == 0 {
                tracing::warn!(torrent = %self.hash, %error, "a piece could not be stored");
            }
            if self.checking <= MAX_FAILED && matches!(self.phase, Phase::Open(_)) {
                check.failures += 1;
                let pause = service_kit::retry::bound_after(check.failures, DISK_FIRST, DISK_LONGEST);
                self.retries.push((now + pause, check));
                return;
            }
            self.checking = self.checking.saturating_sub(length);
            return self.event(Event::NotStored { piece: check.piece });
        }
        self.checking = self.checking.saturating_sub(length);
        self.active_at = now;
        let piece = check.piece;
        if matches!(outcome, Outcome::Mismatched) {
            self.record.corrupt += length;
            return self.event(Event::Mismatched { piece, bytes: check.bytes });
        }
        self.disk_trouble = None;
        self.unflushed += length;
        self.dirty_since.get_or_insert(now);
        self.event(Event::Stored { piece });
    }

    /// Ends: what was verified is made to last, peers and trackers are told.
    pub(super) async fn stop(mut self, removed: bool) {
        self.leave_all();
        self.net.abort_all();
        if let Phase::Verifying(progress) = &self.phase {
            progress.cancel();
        }
        while let Some(done) = self.disk.join_next().await {
            if let Ok(Done::Checked(Checked { check, outcome: Outcome::Stored })) = done
                && let Phase::Open(core) = &mut self.phase
            {
                // Its actions are moot: only what is held counts now.
                let _ = core.handle(Event::Stored { piece: check.piece }, self.shared.now());
            }
        }
        if !removed {
            self.flush();
            while self.disk.join_next().await.is_some() {}
        }
        let counts = Counts { up: self.record.sent, down: self.record.received };
        let mut goodbyes = JoinSet::new();
        for url in self.trackers.told() {
            let due = (0, url, crate::tracker::Event::Stopped);
            goodbyes.spawn(jobs::announce(self.shared.clone(), self.hash, due, self.left(), counts));
        }
        let all = async { while goodbyes.join_next().await.is_some() {} };
        let _ = timeout(GOODBYE, all).await;
    }

    /// Gives back files and memory when everything is held and no peer is there.
    pub(super) fn rest(&mut self, now: Duration) {
        let quiet =
            self.peers.is_empty() && self.disk.is_empty() && self.dirty_since.is_none() && self.retries.is_empty();
        if quiet && self.active_at + AT_REST <= now && matches!(self.phase, Phase::Open(_)) && self.is_complete() {
            if self.record != self.saved {
                return self.flush();
            }
            self.phase = Phase::Resting;
            if let Some(loaded) = self.loaded.take() {
                loaded.storage.rest();
            }
        }
    }
}

/// The bitfield of a set.
pub(super) fn bits_of(held: &PieceSet) -> Vec<u8> {
    let mut bits = vec![0u8; held.count().div_ceil(8) as usize];
    for piece in (0..held.count()).filter(|piece| held.has(*piece)) {
        if let Some(byte) = bits.get_mut((piece / 8) as usize) {
            *byte |= 0x80 >> (piece % 8);
        }
    }
    bits
}
