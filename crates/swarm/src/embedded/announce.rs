//! When a torrent announces itself, to each of its trackers apart. Pure; the announces themselves are sent by its task.

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::retry::bound_after;

use crate::tracker::{Announced, Event};

/// At the start peers are found fast.
const QUICK: Duration = Duration::from_secs(3);
const QUICK_UNTIL: Duration = Duration::from_secs(30);
/// The bounds of what a tracker may ask for.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// While content is missing and no peer is there.
const ALONE: Duration = Duration::from_secs(30);
/// The longest pause after failures.
const FAILED: Duration = Duration::from_secs(60);

/// How the torrent is doing, for the next announce.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    /// Nothing is missing.
    pub(crate) complete: bool,
    /// No peer is connected.
    pub(crate) alone: bool,
}

#[derive(Debug, Default)]
struct Tracker {
    url: String,
    /// An announce is under way.
    busy: bool,
    /// It accepted the first announce.
    started: bool,
    /// It is to be told that the content is complete.
    completed: bool,
    announced: Option<Duration>,
    interval: Duration,
    failures: u32,
    /// Asked for by hand.
    now: bool,
    counts: Option<(u32, u32)>,
    trouble: Option<String>,
}

/// The trackers of one torrent, all tiers at once.
#[derive(Debug, Default)]
pub(crate) struct Trackers {
    trackers: Vec<Tracker>,
    begin: Duration,
}

impl Trackers {
    /// Trackers that were never asked, at time `now`.
    pub(crate) fn new(urls: impl IntoIterator<Item = String>, now: Duration) -> Self {
        let mut trackers: Vec<Tracker> = Vec::new();
        for url in urls {
            if !trackers.iter().any(|tracker| tracker.url == url) {
                trackers.push(Tracker { url, ..Tracker::default() });
            }
        }
        Self { trackers, begin: now }
    }

    /// Returns the announces that are due, and notes that they are under way.
    pub(crate) fn due(&mut self, state: State, now: Duration) -> Vec<(usize, String, Event)> {
        let begin = self.begin;
        let due = |tracker: &Tracker| !tracker.busy && tracker.next(state, begin) <= now;
        let mut events = Vec::new();
        for (number, tracker) in self.trackers.iter_mut().enumerate().filter(|(_, tracker)| due(tracker)) {
            (tracker.busy, tracker.now) = (true, false);
            let event = match (tracker.started, tracker.completed) {
                (false, _) => Event::Started,
                (true, true) => Event::Completed,
                (true, false) => Event::None,
            };
            events.push((number, tracker.url.clone(), event));
        }
        events
    }

    /// When the next announce is due; `None` while all are under way.
    pub(crate) fn next(&self, state: State) -> Option<Duration> {
        self.trackers.iter().filter(|tracker| !tracker.busy).map(|tracker| tracker.next(state, self.begin)).min()
    }

    /// Notes what a tracker answered to `event`.
    pub(crate) fn answered(&mut self, number: usize, event: Event, answer: Result<&Announced, String>, now: Duration) {
        let Some(tracker) = self.trackers.get_mut(number) else { return };
        (tracker.busy, tracker.announced) = (false, Some(now));
        match answer {
            Ok(announced) => {
                tracker.started = true;
                tracker.completed &= event != Event::Completed && event != Event::Started;
                tracker.interval = announced.interval.clamp(SHORTEST, LONGEST);
                let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                tracker.counts = Some((count(announced.incomplete), count(announced.complete)));
                (tracker.failures, tracker.trouble) = (0, None);
            }
            Err(trouble) => {
                tracker.counts = None;
                tracker.failures = tracker.failures.saturating_add(1);
                tracker.trouble = Some(trouble);
            }
        }
    }

    /// Announces to all of them now.
    pub(crate) fn now(&mut self) {
        self.trackers.iter_mut().for_each(|tracker| tracker.now = true);
    }

    /// The content became complete.
    pub(crate) fn completed(&mut self) {
        self.trackers.iter_mut().for_each(|tracker| tracker.completed = true);
    }

    /// The addresses, in their order.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.trackers.iter().map(|tracker| tracker.url.clone()).collect()
    }

    /// The trackers that know this torrent.
    pub(crate) fn told(&self) -> Vec<String> {
        self.trackers.iter().filter(|tracker| tracker.started).map(|tracker| tracker.url.clone()).collect()
    }

    /// How many clients fetch, and how many hold everything, by tracker.
    pub(crate) fn counts(&self) -> (BTreeMap<String, u32>, BTreeMap<String, u32>) {
        let known = || self.trackers.iter().filter_map(|tracker| Some((tracker.url.clone(), tracker.counts?)));
        (known().map(|(url, counts)| (url, counts.0)).collect(), known().map(|(url, counts)| (url, counts.1)).collect())
    }

    /// What a tracker that failed said.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trackers.iter().find_map(|tracker| tracker.trouble.clone())
    }
}

impl Tracker {
    fn next(&self, state: State, begin: Duration) -> Duration {
        let Some(announced) = self.announced.filter(|_| !self.now) else { return Duration::ZERO };
        if self.failures > 0 {
            return announced + bound_after(self.failures, QUICK, FAILED);
        }
        if self.completed {
            return Duration::ZERO;
        }
        let pause = match state {
            State { complete: false, .. } if announced < begin + QUICK_UNTIL => QUICK,
            State { complete: false, alone: true } => ALONE,
            _ => self.interval,
        };
        announced + pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCHING: State = State { complete: false, alone: false };
    const SEEDING: State = State { complete: true, alone: true };
    const S: Duration = Duration::from_secs(1);

    fn answer(interval: u64) -> Announced {
        Announced { interval: S * u32::try_from(interval).unwrap(), complete: 3, incomplete: 2, peers: Vec::new() }
    }

    /// The seconds and events of a tracker's announces until `end`, each answered at once by `answer`.
    fn announces(state: State, end: u32, answer: &Result<Announced, String>) -> Vec<(u64, Event)> {
        let mut trackers = Trackers::new(["a".to_owned(), "a".to_owned()], Duration::ZERO);
        let mut all = Vec::new();
        for now in (0..end).map(|n| S * n) {
            for (number, url, event) in trackers.due(state, now) {
                assert_eq!((number, url.as_str()), (0, "a"), "listed twice, asked once");
                assert!(trackers.due(state, now + S * 10_000).is_empty(), "one announce at a time");
                trackers.answered(number, event, answer.as_ref().map_err(String::clone), now);
                all.push((now.as_secs(), event));
            }
        }
        all
    }

    #[test]
    fn a_torrent_that_fetches_announces_often_at_first_and_then_as_the_tracker_asks() {
        let times: Vec<u64> = announces(FETCHING, 700, &Ok(answer(300))).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 330, 630]);
        let alone = State { alone: true, ..FETCHING };
        assert_eq!(announces(alone, 100, &Ok(answer(300))).last().unwrap().0, 90);
        let events = announces(SEEDING, 700, &Ok(answer(300)));
        assert_eq!(events, [(0, Event::Started), (300, Event::None), (600, Event::None)]);
    }

    #[test]
    fn what_a_tracker_asks_for_is_bounded_and_failures_back_off() {
        let times = |interval| announces(SEEDING, 7200, &Ok(answer(interval))).len();
        assert_eq!((times(0), times(1_000_000_000)), (120, 4));
        let failed = announces(FETCHING, 200, &Err("refused".to_owned()));
        let expected = [0, 3, 9, 21, 45, 93, 153].map(|at| (at, Event::Started));
        assert_eq!(failed, expected);
    }

    #[test]
    fn every_tracker_learns_once_that_the_content_is_complete() {
        let mut trackers = Trackers::new(["a".to_owned(), "b".to_owned()], Duration::ZERO);
        for (number, _, event) in trackers.due(FETCHING, S) {
            let told = if number == 0 { Ok(&answer(300)) } else { Err("down".to_owned()) };
            trackers.answered(number, event, told, S);
        }
        assert_eq!(trackers.trouble().unwrap(), "down");
        assert_eq!(trackers.told(), ["a"]);
        trackers.completed();
        let mut events = Vec::new();
        for now in 1..10 {
            for (number, url, event) in trackers.due(SEEDING, S * now) {
                trackers.answered(number, event, Ok(&answer(300)), S * now);
                events.push((url, event));
            }
        }
        assert_eq!(events, [("a".to_owned(), Event::Completed), ("b".to_owned(), Event::Started)]);
        assert_eq!(trackers.counts().0, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
        trackers.now();
        assert_eq!(trackers.due(SEEDING, S * 10).len(), 2);
        assert_eq!(trackers.next(SEEDING), None);
    }
}
