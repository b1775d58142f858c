//! What to do about packages next: a pure function of what was observed. No clock, no I/O.

use std::time::Duration;

use wire::ReasonCode;

use crate::model::package::{Key, Package};
use crate::model::seen::Known;

/// Packages that are fetched at the same time.
pub const AT_ONCE: usize = 4;

/// How a package's torrent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageTransfer {
    /// All of it is here and verified.
    pub complete: bool,
    /// Bytes that are here.
    pub have_bytes: u64,
    /// What the engine complains of.
    pub trouble: Option<String>,
}

/// A package as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSeen {
    /// What the journal says.
    pub package: Package,
    /// It lies unpacked under its name, with the record of exactly this payload.
    pub unpacked: bool,
    /// How its torrent is doing; `None` if the engine does not have it.
    ///
    /// Looked at for those being fetched only.
    pub transfer: Known<Option<PackageTransfer>>,
    /// How long until it is retried after a failure.
    pub retry_in: Duration,
}

/// Exactly one thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageAction {
    /// Fetch and check manifest, index and torrent.
    Prepare(Key),
    /// Give the torrent to the engine.
    AddTorrent(Key),
    /// Record its progress.
    Note(Key, u64),
    /// Record what the engine complains of, or that it no longer does.
    Complain(Key, Option<String>),
    /// Check it and put it into its folder.
    Unpack(Key),
    /// Note that it is complete: it was unpacked, and the journal does not know yet.
    Complete(Key),
    /// Note that it is not complete any more: its folder or the record of it is gone.
    Lost(Key),
    /// Remove it: no plan names it any more.
    Remove(Key),
    /// Nothing, for so long at most.
    Wait(Duration),
}

impl PackageAction {
    /// The package that is acted on; `None`: nothing is done.
    pub const fn key(&self) -> Option<&Key> {
        match self {
            Self::Prepare(key)
            | Self::AddTorrent(key)
            | Self::Note(key, _)
            | Self::Complain(key, _)
            | Self::Unpack(key)
            | Self::Complete(key)
            | Self::Lost(key)
            | Self::Remove(key) => Some(key),
            Self::Wait(_) => None,
        }
    }
}

/// Bounds of the waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polls {
    /// How often to look when nothing happens.
    pub idle: Duration,
    /// How often to look at the engine.
    pub engine: Duration,
    /// Whether it is time to note progress.
    pub note: bool,
}

/// What to do next, the packages given by their keys.
pub fn decide(seen: &[PackageSeen], polls: Polls) -> PackageAction {
    let mut pause = polls.idle;
    for s in seen.iter().filter(|s| !s.retry_in.is_zero()) {
        pause = pause.min(s.retry_in);
    }
    let named = |s: &&PackageSeen| s.package.named && !s.package.refused && s.retry_in.is_zero();
    for s in seen.iter().filter(named) {
        match (s.package.complete, s.unpacked) {
            (true, false) => return PackageAction::Lost(s.package.key()),
            (false, true) => return PackageAction::Complete(s.package.key()),
            _ => {}
        }
    }
    for s in in_hand(seen) {
        if !s.package.prepared {
            return PackageAction::Prepare(s.package.key());
        }
        match &s.transfer {
            Known::Is(None) => return PackageAction::AddTorrent(s.package.key()),
            Known::Is(Some(t)) if t.complete => return PackageAction::Unpack(s.package.key()),
            Known::Is(Some(t)) if is_news(t, &s.package) => {
                return PackageAction::Complain(s.package.key(), t.trouble.clone());
            }
            Known::Is(Some(t)) if polls.note && t.have_bytes != s.package.have_bytes => {
                return PackageAction::Note(s.package.key(), t.have_bytes);
            }
            Known::Is(Some(_)) | Known::Unknown(_) => pause = pause.min(polls.engine),
        }
    }
    let over = |s: &&PackageSeen| !s.package.named && s.retry_in.is_zero() && !is_kept(s, seen);
    match seen.iter().find(over) {
        Some(s) => PackageAction::Remove(s.package.key()),
        None => PackageAction::Wait(pause),
    }
}

/// Those that are being fetched: their torrents are worth a look.
pub fn in_hand(seen: &[PackageSeen]) -> impl Iterator<Item = &PackageSeen> {
    seen.iter().filter(|s| is_in_hand(&s.package) && s.retry_in.is_zero()).take(AT_ONCE)
}

/// Whether it is to be fetched.
pub fn is_in_hand(package: &Package) -> bool {
    package.named && !package.refused && !package.complete
}

/// Whether the engine began or ceased to complain.
///
/// Its words may change with each look and are no news.
fn is_news(transfer: &PackageTransfer, package: &Package) -> bool {
    let code = package.trouble.as_ref().map(|t| &t.code);
    match transfer.trouble {
        Some(_) => code != Some(&ReasonCode::TransferTrouble),
        None => matches!(code, Some(ReasonCode::TransferTrouble | ReasonCode::EngineUnavailable)),
    }
}

/// The newest complete one stays until its successor is complete.
fn is_kept(old: &PackageSeen, seen: &[PackageSeen]) -> bool {
    let kin = || seen.iter().map(|s| &s.package).filter(|p| p.is_kin(&old.package));
    let awaited = kin().any(|p| p.named) && !kin().any(|p| p.named && p.complete);
    let newer = kin().any(|p| p.complete && !p.named && p.version > old.package.version);
    old.package.complete && awaited && !newer
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::v1::plan::{ArtifactRef, PayloadRef};
    use wire::v1::reports::Reason;

    const POLLS: Polls = Polls { idle: Duration::from_secs(60), engine: Duration::from_secs(1), note: true };

    fn package(product: &str, minor: u64) -> Package {
        Package {
            product: product.parse().unwrap(),
            version: fleet_types::Version::new(1, minor, 0),
            manifest: [1; 32].into(),
            payload: PayloadRef { name: "p".into(), sha256: [2; 32].into(), length: 10 },
            artifact: ArtifactRef {
                sha256: [3; 32].into(),
                length: 9,
                index_sha256: [4; 32].into(),
                index_length: 5,
                info_hash: [5; 20].into(),
            },
            named: true,
            prepared: true,
            complete: false,
            have_bytes: 0,
            trouble: None,
            refused: false,
        }
    }

    fn fetching(package: Package) -> PackageSeen {
        let transfer = Known::Is(Some(PackageTransfer { complete: false, have_bytes: 0, trouble: None }));
        PackageSeen { package, unpacked: false, transfer, retry_in: Duration::ZERO }
    }

    fn complete(minor: u64, named: bool) -> PackageSeen {
        let package = Package { complete: true, named, ..package("a", minor) };
        PackageSeen { unpacked: true, ..fetching(package) }
    }

    #[test]
    fn at_most_four_are_fetched_at_a_time_and_one_that_rests_or_is_refused_takes_no_place() {
        let mut seen: Vec<PackageSeen> =
            ["a", "b", "c", "d", "e"].into_iter().map(|p| fetching(package(p, 0))).collect();
        seen[4].package.prepared = false;
        assert_eq!(decide(&seen, POLLS), PackageAction::Wait(POLLS.engine), "the fifth waits for its turn");
        seen[1].retry_in = Duration::from_secs(9);
        assert_eq!(decide(&seen, POLLS), PackageAction::Prepare("e/1.0.0/p".into()));
        (seen[1].retry_in, seen[1].package.refused) = (Duration::ZERO, true);
        assert_eq!(decide(&seen, POLLS), PackageAction::Prepare("e/1.0.0/p".into()));
    }

    #[test]
    fn a_complete_torrent_is_unpacked_whatever_else_is_fetched() {
        let mut seen = vec![fetching(package("a", 0)), fetching(package("b", 0))];
        seen[1].transfer = Known::Is(Some(PackageTransfer { complete: true, have_bytes: 9, trouble: None }));
        assert_eq!(decide(&seen, POLLS), PackageAction::Unpack("b/1.0.0/p".into()));
        seen[0].transfer = Known::Unknown("the daemon is silent".into());
        assert_eq!(decide(&seen, POLLS), PackageAction::Unpack("b/1.0.0/p".into()));
    }

    #[test]
    fn a_complaint_of_the_engine_is_recorded_once_and_taken_back() {
        let complaint = |text: &str| PackageTransfer { trouble: Some(text.into()), complete: false, have_bytes: 0 };
        let mut seen = fetching(package("a", 0));
        seen.transfer = Known::Is(Some(complaint("no space left")));
        let complain = PackageAction::Complain("a/1.0.0/p".into(), Some("no space left".into()));
        assert_eq!(decide(std::slice::from_ref(&seen), POLLS), complain);
        seen.package.trouble = Some(Reason::new(ReasonCode::TransferTrouble, "no space left"));
        seen.transfer = Known::Is(Some(complaint("still no space left")));
        assert_eq!(decide(std::slice::from_ref(&seen), POLLS), PackageAction::Wait(POLLS.engine));
        seen.transfer = fetching(package("a", 0)).transfer;
        assert_eq!(decide(&[seen], POLLS), PackageAction::Complain("a/1.0.0/p".into(), None));
    }

    #[test]
    fn of_what_no_plan_names_only_the_newest_complete_one_of_a_kin_that_is_awaited_stays() {
        let wait = PackageAction::Wait(POLLS.engine);
        let awaited = || fetching(package("a", 9));
        assert_eq!(decide(&[complete(2, false), awaited()], POLLS), wait);
        assert_eq!(
            decide(&[complete(1, false), complete(2, false), awaited()], POLLS),
            PackageAction::Remove("a/1.1.0/p".into())
        );
        assert_eq!(decide(&[complete(2, false), complete(9, true)], POLLS), PackageAction::Remove("a/1.2.0/p".into()));
        assert_eq!(decide(&[complete(2, false)], POLLS), PackageAction::Remove("a/1.2.0/p".into()));
        let other = fetching(package("b", 9));
        assert_eq!(decide(&[complete(2, false), other], POLLS), PackageAction::Remove("a/1.2.0/p".into()));
        let mut held = complete(2, false);
        held.retry_in = Duration::from_secs(7);
        assert_eq!(decide(&[held], POLLS), PackageAction::Wait(Duration::from_secs(7)), "a command runs in it");
    }

    #[test]
    fn the_journal_follows_the_disk() {
        let mut seen = complete(1, true);
        assert_eq!(decide(std::slice::from_ref(&seen), POLLS), PackageAction::Wait(POLLS.idle));
        seen.unpacked = false;
        assert_eq!(decide(std::slice::from_ref(&seen), POLLS), PackageAction::Lost("a/1.1.0/p".into()));
        (seen.unpacked, seen.package.complete) = (true, false);
        assert_eq!(decide(&[seen], POLLS), PackageAction::Complete("a/1.1.0/p".into()));
    }
}
