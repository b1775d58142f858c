//! A release for every update: the same image with another version in it, made in a second.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fleet_types::Version;

/// What stands before the version, wherever the image has it: its os-release, as slot images are not compressed.
const BEFORE: &[u8] = b"IMAGE_VERSION=";

/// The most releases of a campaign: versions of the same length, 2.0.1 to 2.9.9.
pub(crate) const MOST: usize = 99;

/// The version of the release with this number, from 1 on.
pub(crate) fn version(number: usize) -> Result<Version> {
    ensure!((1..=MOST).contains(&number), "a campaign has at most {MOST} updates: begin another results file");
    Ok(Version::new(2, number as u64 / 10, number as u64 % 10))
}

/// An image of which others are made.
#[derive(Debug)]
pub(crate) struct Pattern {
    image: PathBuf,
    length: usize,
    at: Vec<u64>,
}

impl Pattern {
    /// Looks for the version in the image. Blocking.
    pub(crate) fn new(image: PathBuf) -> Result<Self> {
        let own = lab::image_version(&image)?.to_string();
        let at = places(&image, own.as_bytes())?;
        ensure!(!at.is_empty(), "{} has its version nowhere: is it compressed?", image.display());
        Ok(Self { image, length: own.len(), at })
    }

    /// Makes the image of a version in `folder`. Blocking.
    pub(crate) fn make(&self, version: &Version, folder: &Path) -> Result<PathBuf> {
        let text = version.to_string();
        ensure!(text.len() == self.length, "{text} is not as long as the version of {}", self.image.display());
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{text}.squashfs"));
        let failed = || format!("cannot write {}", path.display());
        std::fs::copy(&self.image, &path).with_context(failed)?;
        let file = File::options().write(true).open(&path).with_context(failed)?;
        for at in &self.at {
            file.write_all_at(text.as_bytes(), *at).with_context(failed)?;
        }
        let made = lab::image_version(&path)?;
        ensure!(
            made == *version,
            "{} says that it is {made}: the image has its version elsewhere, too",
            path.display()
        );
        Ok(path)
    }
}

/// Where the version stands behind those words, in bytes.
fn places(image: &Path, version: &[u8]) -> Result<Vec<u64>> {
    let failed = || format!("cannot read {}", image.display());
    let mut file = BufReader::with_capacity(1 << 20, File::open(image).with_context(failed)?);
    let wanted = [BEFORE, version].concat();
    let (mut places, mut at, mut piece) = (Vec::new(), 0, Vec::new());
    // Piece by piece up to the sign in the middle, so that the search is the library's.
    loop {
        let begins_version = piece.ends_with(BEFORE);
        piece.clear();
        let read = file.read_until(b'=', &mut piece).with_context(failed)?;
        if read == 0 {
            return Ok(places);
        }
        if begins_version && piece.starts_with(&wanted[BEFORE.len()..]) {
            places.push(at);
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::{SmallImage, small_image};

    #[test]
    fn an_image_gets_another_version_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let image = small_image(folder.path(), &SmallImage::new("2.0.0")).unwrap();
        let pattern = Pattern::new(image.clone()).unwrap();
        let made = pattern.make(&version(17).unwrap(), &folder.path().join("made")).unwrap();
        assert_eq!(lab::image_version(&made).unwrap(), Version::new(2, 1, 7));
        let (before, after) = (std::fs::read(image).unwrap(), std::fs::read(made).unwrap());
        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 2);
        assert_eq!(before.len(), after.len());
        assert!(pattern.make(&Version::new(2, 10, 0), folder.path()).is_err());
        assert!(version(100).is_err() && version(0).is_err());
    }
}
