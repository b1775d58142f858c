//! Removes folders that no package of the journal owns.

use std::fs::File;
use std::path::Path;

use super::place::Place;
use crate::memory::journal::Journal;
use crate::model::package::Package;

/// Removes folders of packages that the journal does not know, such as after its loss.
///
/// Packages that a plan names again are known by then.
pub fn sweep(data_dir: &Path, journal: &Journal) {
    let root = Place::root(data_dir);
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    for product in folders(&root) {
        for version in folders(&product.path()) {
            let is_of = |p: &Package| {
                (p.product.as_str(), p.version.to_string().as_str())
                    == (&*product.file_name().to_string_lossy(), &*version.file_name().to_string_lossy())
            };
            let held = || File::open(version.path()).is_ok_and(|f| f.try_lock().is_err());
            if !journal.packages.values().any(is_of) && !held() {
                tracing::info!(folder = %version.path().display(), "a folder of an unknown package is removed");
                if let Err(error) = std::fs::remove_dir_all(version.path()) {
                    tracing::warn!(%error, "it cannot be removed");
                }
            }
        }
    }
}
