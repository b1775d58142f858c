//! The loop of a torrent's task: what arrives, what is due, and what was done elsewhere.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Event;
use super::announce::State as AnnounceState;
use super::command::Command;
use super::connection::Note;
use super::jobs::{self, Done};
use super::task::{AT_REST, Phase, Task};
use crate::tracker::announce::Counts;

/// Bytes of pieces that wait for the disk before nothing more is taken from peers.
const MAX_CHECKING: u64 = 16 * 1024 * 1024;
/// What a power cut may cost: bytes, and time.
const FLUSH_BYTES: u64 = 16 * 1024 * 1024;
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// How often addresses to dial and rates are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Notes taken in one go before time is looked at again.
const BATCH: usize = 64;
/// Connections that wait until the torrent is loaded.
const MAX_WAITING: usize = 64;

impl Task {
    /// Runs until it is stopped, or the engine is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut notes: mpsc::Receiver<Note>) {
        self.load();
        loop {
            let now = self.shared.now();
            self.look(now);
            let (pause, has_room) = (self.wake_at().saturating_sub(now), self.checking < MAX_CHECKING);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop { removed }) => return self.stop(removed).await,
                    Some(command) => self.command(command),
                    None => return self.stop(false).await,
                },
                Some(done) = self.disk.join_next() => self.done(done.unwrap_or(Done::Lost)),
                Some(done) = self.net.join_next() => self.done(done.unwrap_or(Done::Lost)),
                () = sleep(pause) => {}
                Some(note) = notes.recv(), if has_room => {
                    self.note(note);
                    for _ in 1..BATCH {
                        if self.checking >= MAX_CHECKING {
                            break;
                        }
                        let Ok(note) = notes.try_recv() else { break };
                        self.note(note);
                    }
                }
            }
        }
    }

    fn announce_state(&self) -> AnnounceState {
        AnnounceState { complete: self.is_complete(), alone: self.peers.is_empty() }
    }

    /// When something is to be done by the clock.
    fn wake_at(&self) -> Duration {
        let mut at = self.shared.now() + Duration::from_secs(60);
        let mut sooner = |other: Duration| at = at.min(other);
        match &self.phase {
            Phase::Open(core) => {
                sooner(self.tick_at);
                if !self.peers.is_empty() || !core.is_complete() {
                    sooner(self.look_at);
                } else {
                    sooner(self.active_at + AT_REST);
                }
            }
            Phase::Failed(again) => sooner(*again),
            Phase::Loading | Phase::Verifying(_) | Phase::Resting => {}
        }
        if matches!(self.phase, Phase::Open(_) | Phase::Resting)
            && let Some(next) = self.trackers.next(self.announce_state())
        {
            sooner(next);
        }
        if let Some(since) = self.dirty_since.filter(|_| !self.flushing) {
            sooner(since + FLUSH_TIME);
        }
        self.retries.iter().for_each(|(at, _)| sooner(*at));
        at
    }

    /// Does what is due.
    fn look(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Failed(again) if again <= now) {
            self.load();
        }
        if self.tick_at <= now && matches!(self.phase, Phase::Open(_)) {
            self.event(Event::Tick);
        }
        if matches!(self.phase, Phase::Open(_) | Phase::Resting) {
            for due in self.trackers.due(self.announce_state(), now) {
                let (left, counts) = (self.left(), Counts { up: self.record.sent, down: self.record.received });
                self.net.spawn(jobs::announce(self.shared.clone(), self.hash, due, left, counts));
            }
        }
        if self.look_at <= now {
            self.look_at = now + LOOK;
            self.peers.measure(now);
            if matches!(self.phase, Phase::Open(_)) && !self.is_complete() {
                self.dial(now);
            }
        }
        let due = self.dirty_since.is_some_and(|since| since + FLUSH_TIME <= now) || self.unflushed >= FLUSH_BYTES;
        if due && !self.flushing {
            self.flush();
        }
        self.compare_content();
        for (_, check) in self.retries.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.check(check);
        }
        self.rest(now);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pieces(answer) => drop(answer.send(self.pieces())),
            Command::Peers(answer) => drop(answer.send(self.peers.list())),
            Command::Announce => self.trackers.now(),
            Command::Learn(addresses) => {
                self.dials.learn(addresses, self.shared.now());
                self.look_at = self.shared.now();
            }
            Command::Verify => match &self.phase {
                Phase::Open(_) | Phase::Resting => self.verify(),
                // Under way, or about to be.
                Phase::Loading | Phase::Verifying(_) | Phase::Failed(_) => {}
            },
            Command::Compare if matches!(self.phase, Phase::Resting) => self.load(),
            Command::Compare => {
                self.compare = true;
                self.dirty_since = self.dirty_since.map(|_| Duration::ZERO);
            }
            Command::Stop { .. } => {}
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.shared.now();
        match done {
            Done::Loaded(Ok((loaded, known))) => {
                self.loaded = Some(loaded);
                match known {
                    Some(bits) => self.open(bits),
                    None => self.verify(),
                }
            }
            Done::Loaded(Err(trouble)) => self.failed(trouble),
            Done::Verified(Ok(Some(bits))) => {
                self.disk_trouble = None;
                self.open(bits);
                self.dirty_since = Some(now);
            }
            Done::Verified(Ok(None)) => {}
            Done::Verified(Err(error)) => self.failed(error.to_string()),
            Done::Checked(checked) => self.checked(checked, now),
            Done::Flushed(result) => {
                self.flushing = false;
                if let Err(trouble) = result {
                    self.disk_trouble = Some(trouble);
                    let pause = self.disk_pause();
                    // Due again after the pause.
                    self.dirty_since = Some((now + pause).saturating_sub(FLUSH_TIME));
                }
            }
            Done::Compared { same: false } if matches!(self.phase, Phase::Open(_)) && self.checking == 0 => {
                self.verify()
            }
            Done::Compared { .. } => {}
            Done::Announced { number, event, answer } => {
                if let Ok(announced) = &answer {
                    let dialled = |address: &&SocketAddrV4| self.shared.may_dial((*address.ip()).into());
                    self.dials.learn(announced.peers.iter().filter(dialled).copied(), now);
                    self.look_at = now;
                }
                let answer = answer.map_err(|error| error.to_string());
                self.trackers.answered(number, event, answer.as_ref().map_err(Clone::clone), now);
            }
            Done::Lost => {
                if matches!(self.phase, Phase::Open(_)) && self.checking > 0 {
                    self.checking = 0;
                    self.verify();
                }
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Event(event) => self.peer_event(event),
            Note::Joined(joined) => match self.phase {
                Phase::Open(_) => self.join(*joined),
                Phase::Resting | Phase::Loading if self.waiting.len() < MAX_WAITING => {
                    self.waiting.push(*joined);
                    if matches!(self.phase, Phase::Resting) {
                        self.load();
                    }
                }
                _ => {}
            },
            Note::NotReached { address, is_self } => self.not_reached(address, is_self),
            Note::Unreadable { piece, error } => {
                tracing::warn!(torrent = %self.hash, piece, %error, "a piece cannot be read");
                self.disk_trouble = Some(error.to_string());
                if matches!(self.phase, Phase::Open(_)) && self.checking == 0 {
                    self.forget_pieces();
                    self.verify();
                }
            }
        }
    }
}
