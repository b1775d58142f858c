//! Clocks that a person can set: Debian's libfaketime over unchanged programs, told by a file a place.
//!
//! Only the time of day is shifted. Time since the machine started goes on as it does in life when a clock is set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::LabError;
use crate::part::{Part, Place, Role};
use crate::recipe::{Recipe, write};

/// Runs a program under libfaketime. Its shared memory gets a dedicated mount that ends with the program, because a
/// killed program cannot remove it. Drops to the target user first: that memory belongs to one user.
fn under(user: &[String]) -> String {
    let become_user = user.join(" ");
    format!("mount -t tmpfs -o size=1m clock /dev/shm && exec {become_user} env LD_PRELOAD=\"$0\" \"$@\"")
}

/// Arguments before a program's own, and what its environment needs.
type Wrapped = (Vec<OsString>, Vec<(&'static str, OsString)>);

/// The clocks of a lab's places.
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    folder: PathBuf,
    library: PathBuf,
}

impl Clocks {
    /// Clocks that tell the right time until they are set.
    pub(crate) fn new(folder: &Path) -> Result<Self, LabError> {
        let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut libraries = libraries.map(|e| e.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|p| p.exists()).ok_or(LabError::ToolMissing { tool: "libfaketime" })?;
        std::fs::create_dir_all(folder).map_err(LabError::file("create", folder))?;
        Ok(Self { folder: folder.to_owned(), library })
    }

    fn file(&self, place: &Place) -> PathBuf {
        self.folder.join(place.to_string().replace('/', "."))
    }

    /// Sets a place's clock so many seconds ahead, or behind.
    pub(crate) fn set(&self, place: &Place, seconds: i64) -> Result<(), LabError> {
        let file = self.file(place);
        let new = self.folder.join(format!("{}.new", file.display()));
        // Renamed into place: a program that reads half a number ends.
        write(&new, format!("{seconds:+}\n"))?;
        std::fs::rename(&new, &file).map_err(LabError::file("set the clock", &file))
    }

    /// Whether a part goes by its place's clock: our own programs and the daemons that they speak to.
    fn tells(part: &Part) -> bool {
        matches!(part.role, Role::Program | Role::Helper | Role::Transmission)
    }

    /// The program and arguments that run a part by its place's clock, and what its environment needs.
    pub(crate) fn wrap(&self, part: &Part, recipe: &Recipe) -> Result<Option<Wrapped>, LabError> {
        if !Self::tells(part) {
            return Ok(None);
        }
        let file = self.file(&part.place);
        if !file.exists() {
            self.set(&part.place, 0)?;
        }
        let (script, program) = (under(&recipe.user), recipe.program.clone());
        let mut words: Vec<OsString> = vec!["-c".into(), script.into(), self.library.clone().into(), program.into()];
        words.extend_from_slice(&recipe.args);
        let environment = vec![
            ("FAKETIME_TIMESTAMP_FILE", file.into_os_string()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        Ok(Some((words, environment)))
    }
}
