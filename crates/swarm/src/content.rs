//! Names under which an engine keeps the content of a torrent.

use std::path::{Path, PathBuf};

/// File names of a torrent's content. Complete content always lies under the torrent's own name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContentNames {
    unfinished: Option<&'static str>,
}

impl ContentNames {
    /// Unfinished content lies under the torrent's own name with this suffix, at least some of the time.
    pub const fn with_unfinished(suffix: &'static str) -> Self {
        Self { unfinished: Some(suffix) }
    }

    /// Returns every file of `folder` in which the content of the torrent `name` may lie, the complete one first.
    pub fn files(self, folder: &Path, name: &str) -> Vec<PathBuf> {
        let unfinished = self.unfinished.map(|suffix| folder.join(format!("{name}{suffix}")));
        [Some(folder.join(name)), unfinished].into_iter().flatten().collect()
    }

    /// Returns the name of the torrent whose content would lie in this file, complete or not.
    pub fn torrent_of(self, file: &str) -> &str {
        self.unfinished.and_then(|suffix| file.strip_suffix(suffix)).unwrap_or(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_torrent_is_known_by_its_name_again() {
        let folder = Path::new("/store");
        for (names, count) in [(ContentNames::default(), 1), (ContentNames::with_unfinished(".unfinished"), 2)] {
            let files = names.files(folder, "a.seg");
            assert_eq!((files.len(), &files[0]), (count, &folder.join("a.seg")), "the complete one comes first");
            for file in files {
                let file = file.file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!(names.torrent_of(&file), "a.seg", "{file}");
            }
        }
        assert_eq!(ContentNames::default().torrent_of("a.seg.unfinished"), "a.seg.unfinished");
    }
}
