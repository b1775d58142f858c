//! Cuts with torn writes: an update is recorded once, and disks are made as they may be after a cut within it.
//!
//! Killing QEMU keeps what the host has in its cache, so that a flush that is missing stays hidden. Here all that was
//! written behind a flush is lost, kept or torn by chance.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fleet_types::{Slot, Version};
use lab::{Lab, Part};
use logwrites::{Applied, FlushPoint, Log, Tail};
use tokio::time::MissedTickBehavior;

use crate::console::Console;
use crate::cutting::{BOOTS, GOES_ON, Machine, shout};
use crate::judge::{self, Expected};
use crate::phase::Place;
use crate::points::{self, Layout, Moment};
use crate::record::{Line, Replay, Store, Verdict};
use crate::say::say;

/// How often a disk is looked at for the end of its update. It is read as a whole only then.
const LOOK: Duration = Duration::from_secs(1);
/// How much of a disk is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// A machine's recorded update.
pub(crate) struct Recorded<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) store: &'a Mutex<Store>,
    pub(crate) seed: u64,
    /// As it was before the update.
    pub(crate) machine: Machine,
    pub(crate) version: Version,
    /// The disk as it was when the recording began.
    pub(crate) base: PathBuf,
    /// How long the log was when the update was assigned.
    pub(crate) since: u64,
}

/// A disk as it may be after a cut.
struct Made {
    number: u64,
    moment: Moment,
    applied: Applied,
    of_bytes: u64,
}

impl Recorded<'_> {
    /// Makes, judges and boots the disks of these replays, then gives the machine its own disk back and switches it on.
    /// What a machine does wrong is recorded and no error; false then, and the disk stays as it was left.
    pub(crate) async fn replay(&self, numbers: &[u64]) -> Result<bool> {
        let (lab, name) = (self.lab, &self.machine.name);
        lab.vm_record_writes(name, false)?;
        // In order: QEMU writes the log to its end.
        lab.end(&Part::machine(name)).await?;
        let disk = lab.vm_disk(name)?;
        let target = self.machine.slot.other();
        let layout = Layout {
            esp: lab.vm_partition(name, "esp")?,
            slot: lab.vm_partition(name, &format!("slot-{}", target.as_str().to_lowercase()))?,
        };
        let length = disk.metadata().with_context(|| format!("cannot look at {}", disk.display()))?.len();
        let (path, since, numbers, seed) = (lab.vm_write_log(name)?, self.since, numbers.to_vec(), self.seed);
        let read = move || -> Result<_> {
            let log = Log::open(&path, length)?;
            let moments = points::moments(&log, &layout, since)?;
            let all = log.flush_points()?.last().map_or(0, |p| p.bytes);
            let chosen = points::choose(&moments, &numbers, seed);
            Ok((log, moments.len(), all, chosen, path))
        };
        let (log, flushes, of_bytes, chosen, log_path) = blocking(read).await?;
        say(format_args!("{name}: {flushes} flushes in its update, {} MB written in all", of_bytes / 1_000_000));
        let (own, following) = (beside(&disk, "own"), beside(&disk, "following"));
        rename(&disk, &own)?;
        let base = self.base.clone();
        let to = following.clone();
        blocking(move || copy(&base, &to)).await?;
        let (mut log, mut at) = (log, None);
        for (number, moment) in chosen {
            let begun = Instant::now();
            let (back, applied) = make(log, at, moment.point, self.seed ^ number, &following, &disk).await?;
            (log, at) = (back, Some(moment.point));
            let made = Made { number, moment, applied, of_bytes };
            if !self.one(&made, begun, target).await? {
                return Ok(false);
            }
            remove(&disk)?;
        }
        remove(&following)?;
        remove(&log_path)?;
        rename(&own, &disk)?;
        lab.power_on(name)?;
        Ok(true)
    }

    /// Judges and boots a disk, and records what came of it; whether all is well.
    async fn one(&self, made: &Made, begun: Instant, target: Slot) -> Result<bool> {
        let (lab, name) = (self.lab, &self.machine.name);
        let (old_slot, old) = (self.machine.slot, self.machine.version.clone());
        let expected = Expected { old_slot, old, new: self.version.clone() };
        let found = judge::disk(lab, name, &expected).await?;
        let Made { number, moment, applied, .. } = made;
        say(format_args!(
            "{name}: replay {number}, {} ({} kept, {} lost, {} torn): {}{}",
            moment.region.as_str(),
            applied.kept,
            applied.dropped,
            applied.torn,
            found.boot,
            shout(&found.wrong)
        ));
        let since = lab.console_length(name)?;
        let on = Instant::now();
        lab.power_on(name)?;
        let mut console = Console::new(lab.console(name)?, since);
        let mut place = Place::new(self.version.to_string());
        let up = console.agent_runs(lab, &mut place, BOOTS).await?;
        let boot_seconds = up.then(|| on.elapsed().as_secs_f64());
        let (verdict, why) = match (&found.wrong, up) {
            (Some(why), _) => (Verdict::WrongImage, Some(why.clone())),
            (None, false) => (Verdict::Brick, Some(format!("no agent spoke within {} s", BOOTS.as_secs()))),
            (None, true) => (Verdict::Fine, None),
        };
        let stuck = if up { self.converges(&expected, target).await? } else { Some("it did not boot".to_owned()) };
        lab.power_cut(name).await?;
        let replay = Replay {
            replay: *number,
            machine: name.to_string(),
            region: moment.region,
            entry: moment.point.entry,
            bytes: moment.point.bytes,
            of_bytes: made.of_bytes,
            kept: applied.kept,
            dropped: applied.dropped,
            torn: applied.torn,
            boot: found.boot,
            verdict,
            converged: stuck.is_none(),
            why: why.or(stuck),
            boot_seconds,
            seconds: begun.elapsed().as_secs_f64(),
        };
        let good = replay.verdict == Verdict::Fine && replay.converged;
        let how = if good { "converged".to_owned() } else { self.account(&replay)? };
        say(format_args!("{name}: replay {number}: {how}, {:.0} s", replay.seconds));
        self.store.lock().unwrap_or_else(PoisonError::into_inner).add(Line::Replay(replay))?;
        Ok(good)
    }

    /// Waits until the new slot is confirmed; why it is not.
    ///
    /// Head office cannot be the judge: it has heard of this update's end before, from the same terminal, and the branch
    /// server passes over reports whose numbers it has had. The disk is, and which slot was booted.
    async fn converges(&self, expected: &Expected, target: Slot) -> Result<Option<String>> {
        let (lab, name) = (self.lab, &self.machine.name);
        let begun = Instant::now();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let settled = || lab.vm_boot_env(name).ok().filter(|e| (e.default, e.trial) == (target, None));
        while settled().is_none() {
            if begun.elapsed() > GOES_ON {
                let found = judge::disk(lab, name, expected).await?;
                return Ok(Some(format!("after {} s: {}", GOES_ON.as_secs(), found.boot)));
            }
            tick.tick().await;
            lab.check_parts()?;
        }
        let found = judge::disk(lab, name, expected).await?;
        let booted = lab.vm_boots(name)?.into_iter().rfind(|b| b.started).map(|b| b.slot);
        let right = found.is_settled(target) && booted == Some(target);
        Ok((!right).then(|| format!("slot {booted:?} was booted last; {}{}", found.boot, shout(&found.wrong))))
    }

    fn account(&self, replay: &Replay) -> Result<String> {
        let (lab, name) = (self.lab, &self.machine.name);
        let (disk, console, tail) = (lab.vm_disk(name)?, lab.console(name)?, lab.console_tail(name, 25)?);
        let why = replay.why.as_deref().unwrap_or("");
        let (disk, console) = (disk.display(), console.display());
        Ok(format!("{:?}: {why}; disk {disk}, console {console}, which ends:\n{tail}\n", replay.verdict))
    }
}

/// Brings the image that follows the log to a point, and makes the disk of a cut behind that.
async fn make(
    log: Log,
    at: Option<FlushPoint>,
    point: FlushPoint,
    seed: u64,
    following: &Path,
    disk: &Path,
) -> Result<(Log, Applied)> {
    let (following, disk) = (following.to_owned(), disk.to_owned());
    blocking(move || {
        logwrites::advance(&log, &following, &at.unwrap_or_else(|| log.beginning()), &point)?;
        copy(&following, &disk)?;
        let applied = logwrites::cut(&log, &disk, &point, Tail::Seeded(seed))?;
        Ok((log, applied))
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread of the campaign ended early")?
}

/// Copies a disk and leaves out its zeros: most of it is empty.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let unread = || format!("cannot read {}", from.display());
    let unwritten = || format!("cannot write {}: is there room for it?", to.display());
    let mut source = File::open(from).with_context(unread)?;
    let target = File::create(to).with_context(unwritten)?;
    target.set_len(source.metadata().with_context(unread)?.len()).with_context(unwritten)?;
    let (zeros, mut buffer, mut at) = (vec![0; CHUNK], vec![0; CHUNK], 0);
    loop {
        let read = source.read(&mut buffer).with_context(unread)?;
        if read == 0 {
            return Ok(());
        }
        if buffer[..read] != zeros[..read] {
            target.write_all_at(&buffer[..read], at).with_context(unwritten)?;
        }
        at += read as u64;
    }
}

fn beside(disk: &Path, name: &str) -> PathBuf {
    disk.with_file_name(format!("{name}.raw"))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_is_the_same_and_takes_no_room_for_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = File::create(path("a")).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"something", 5_000_000).unwrap();
        copy(&path("a"), &path("b")).unwrap();
        assert_eq!(std::fs::read(path("a")).unwrap(), std::fs::read(path("b")).unwrap());
        assert!(path("b").metadata().unwrap().blocks() * 512 < 8 << 20);
    }
}
