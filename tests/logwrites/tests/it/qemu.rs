//! Against the real thing: QEMU's qemu-io writes through blklogwrites, and what is replayed from the log is compared with
//! the image that it wrote.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use logwrites::{Applied, FlushPoint, Kind, Log, LogError, SECTOR, Tail, advance, cut, replay};

const IMAGE: u64 = 4 << 20;

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// An image that is not empty, written by these commands of qemu-io through a log of such sectors.
    #[expect(clippy::disallowed_methods, reason = "QEMU's own program writes the log")]
    fn written(sector: u64, commands: &[String]) -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        let byte = |n: u64| u8::try_from(n % 251).unwrap();
        let base: Vec<u8> = (0..IMAGE).map(|n| byte(n / SECTOR)).collect();
        for name in ["base", "written"] {
            File::create(scene.path(name)).unwrap().write_all(&base).unwrap();
        }
        File::create(scene.path("log")).unwrap();
        let options = format!(
            "driver=blklogwrites,file.driver=file,file.filename={},log.driver=file,log.filename={},log-sector-size={sector},\
             log-super-update-interval=64",
            scene.path("written").display(),
            scene.path("log").display()
        );
        let mut qemu = Command::new("qemu-io");
        // No flush but those that are asked for.
        qemu.args(["-t", "writeback"]);
        qemu.args(commands.iter().flat_map(|c| ["-c", c]));
        let output = qemu.args(["--image-opts", &options]).output().expect("qemu-io of the package qemu-utils");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> Log {
        Log::open(&self.path("log"), IMAGE).unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn replayed(&self, point: &FlushPoint, tail: Tail) -> (Applied, Vec<u8>) {
        let applied = replay(&self.path("base"), &self.log(), point, tail, &self.path("cut")).unwrap();
        (applied, self.read("cut"))
    }
}

fn commands(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|l| (*l).to_owned()).collect()
}

/// Writes of every length and in every order, over each other, with flushes between.
fn mixed() -> Vec<String> {
    let mut all = Vec::new();
    for n in 0..120_u64 {
        let (offset, length) = ((n * 7919 * 4096) % (IMAGE - (1 << 20)), 4096 * (1 + n * n % 37));
        all.push(match n % 13 {
            5 => "flush".to_owned(),
            9 => format!("write -z {offset} {length}"),
            11 => format!("discard {offset} {length}"),
            _ => format!("write -P {} {offset} {length}", 1 + n),
        });
    }
    // Longer than what is copied at once.
    all.push(format!("write -P 200 4096 {}", 3 << 20));
    all
}

#[test]
fn a_full_replay_is_the_image_that_was_written() {
    for sector in [512, 4096] {
        let scene = Scene::written(sector, &mixed());
        let points = scene.log().flush_points().unwrap();
        assert!(points.len() > 9, "{}", points.len());
        let last = points.last().unwrap();
        let (applied, image) = scene.replayed(last, Tail::Nothing);
        assert!(image == scene.read("written"), "sectors of {sector}");
        assert_eq!((applied.writes, applied.kept, applied.dropped), (last.writes, 0, 0));
        // Step by step it is the same.
        std::fs::copy(scene.path("base"), scene.path("follows")).unwrap();
        for pair in points.windows(2) {
            advance(&scene.log(), &scene.path("follows"), &pair[0], &pair[1]).unwrap();
        }
        assert!(scene.read("follows") == image);
        assert_eq!(scene.log().entries().count() as u64, scene.log().counted());
    }
}

#[test]
fn a_point_and_everything_after_it_is_the_next_point() {
    let scene = Scene::written(512, &mixed());
    let points = scene.log().flush_points().unwrap();
    for pair in points.windows(2) {
        let (everything, image) = scene.replayed(&pair[0], Tail::Everything);
        assert_eq!(everything.kept, pair[1].writes - pair[0].writes);
        assert!(image == scene.replayed(&pair[1], Tail::Nothing).1, "{pair:?}");
    }
}

#[test]
fn a_seed_keeps_whole_sectors_of_what_was_not_flushed_and_nothing_else() {
    let volatile: Vec<String> = (0..12).map(|n| format!("write -P {} {} 8k", 100 + n, 65_536 * (1 + n))).collect();
    let before = commands(&["write -P 17 0 4k", "flush"]);
    let after = commands(&["flush", "write -P 18 0 4k"]);
    let scene = Scene::written(512, &[before, volatile, after].concat());
    let points = scene.log().flush_points().unwrap();
    let durable = scene.replayed(&points[1], Tail::Nothing).1;
    let (mut seen, mut images) = (Applied::default(), std::collections::BTreeSet::new());
    for seed in 0..60 {
        let (applied, image) = scene.replayed(&points[1], Tail::Seeded(seed));
        assert_eq!(scene.replayed(&points[1], Tail::Seeded(seed)), (applied, image.clone()), "a seed is one outcome");
        assert_eq!((applied.writes, applied.kept + applied.dropped + applied.torn), (1, 12));
        assert_eq!(image[..4096], [17; 4096], "what was flushed is there, and what came after the next flush is not");
        let mut found = Applied { writes: 1, flush: applied.flush, ..Applied::default() };
        for n in 0..12_u8 {
            let at = 65_536 * (1 + usize::from(n));
            let kept = image[at..at + 8192].chunks(512).filter(|s| **s == [100 + n; 512]).count();
            let old = (0..16).filter(|s| image[at + s * 512..][..512] == durable[at + s * 512..][..512]).count();
            assert_eq!(kept + old, 16, "a sector is old or new");
            match kept {
                0 => found.dropped += 1,
                16 => found.kept += 1,
                _ => found.torn += 1,
            }
        }
        assert_eq!(found, applied, "seed {seed}");
        (seen.kept, seen.dropped, seen.torn) =
            (seen.kept + found.kept, seen.dropped + found.dropped, seen.torn + found.torn);
        images.insert(image);
    }
    assert!(seen.kept > 50 && seen.dropped > 50 && seen.torn > 50, "{seen:?}");
    assert!(images.len() > 40, "{} images of 60 seeds", images.len());
}

#[test]
fn a_log_whose_super_block_is_behind_is_read_as_far_as_it_is_whole() {
    let scene = Scene::written(512, &mixed());
    let whole: Vec<_> = scene.log().entries().map(Result::unwrap).collect();
    let image = scene.read("written");
    // As QEMU leaves it when it is killed: the count is old.
    let log = File::options().write(true).open(scene.path("log")).unwrap();
    log.write_all_at(&3_u64.to_le_bytes(), 16).unwrap();
    assert_eq!(scene.log().counted(), 3);
    assert_eq!(scene.log().entries().map(Result::unwrap).collect::<Vec<_>>(), whole);
    let last = *scene.log().flush_points().unwrap().last().unwrap();
    assert!(scene.replayed(&last, Tail::Everything).1 == image);
    // Cut off within the last write's data: that write is not there, and what was before it is.
    let write = whole.iter().rfind(|e| e.kind == Kind::Write && e.changes()).unwrap();
    for end in [write.data + write.length, write.data + write.length - 1, write.data + 1, write.data] {
        log.set_len(end).unwrap();
        assert_eq!(scene.log().entries().count() as u64, write.index, "cut at {end}");
    }
    // Nothing says any more that the write before it came as a whole.
    log.set_len(write.data - 1).unwrap();
    assert_eq!(scene.log().entries().count() as u64, write.index - 1);
    log.set_len(write.data).unwrap();
    // The same where the count says that it is there is damage.
    log.write_all_at(&(write.index + 1).to_le_bytes(), 16).unwrap();
    let error = scene.log().flush_points().unwrap_err();
    assert!(matches!(error, LogError::Entry { index, .. } if index == write.index), "{error}");
}

#[test]
fn an_image_of_another_length_and_the_base_itself_are_refused() {
    let scene = Scene::written(512, &commands(&["write -P 1 0 4k", "flush"]));
    let point = scene.log().flush_points().unwrap()[1];
    File::create(scene.path("short")).unwrap().set_len(IMAGE - 512).unwrap();
    cut(&scene.log(), &scene.path("short"), &point, Tail::Nothing).unwrap_err();
    replay(&scene.path("base"), &scene.log(), &point, Tail::Nothing, &scene.path("base")).unwrap_err();
    assert_eq!(scene.read("base").len() as u64, IMAGE, "it is as it was");
    let other = Scene::written(512, &mixed());
    let foreign = *other.log().flush_points().unwrap().last().unwrap();
    assert!(matches!(cut(&scene.log(), &scene.path("written"), &foreign, Tail::Nothing), Err(LogError::NoPoint(_))));
}
