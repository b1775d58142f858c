//! The checks, one per file.

mod circles;
mod clocks;
mod compositions;
mod engines;
mod folders;
mod lengths;
mod links;
mod machine;
mod paths;
mod pure;
mod readme;
mod sql;
mod summaries;
mod test_files;
mod words;

use crate::{Finding, House};

/// A check: its name, what it demands, and the function that finds where it is broken.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it demands.
    pub rule: &'static str,
    /// Finds where it is broken.
    pub run: fn(&House) -> Vec<Finding>,
}

/// Every check.
pub const ALL: &[Check] = &[
    Check { name: "circles", rule: "files of a package do not import each other in a circle", run: circles::check },
    Check {
        name: "folders",
        rule: "top-level modules of a program do not import each other in a circle",
        run: folders::check,
    },
    Check {
        name: "compositions",
        rule: "only what composes a program imports all of its parts",
        run: compositions::check,
    },
    Check { name: "pure", rule: "pure modules reach no clock, no input or output and nothing async", run: pure::check },
    Check { name: "clocks", rule: "the clock is read in clocks only", run: clocks::check },
    Check { name: "paths", rule: "each URL path is written once, in wire", run: paths::check },
    Check { name: "sql", rule: "SQL stands in db/ only", run: sql::check },
    Check { name: "engines", rule: "programs name no BitTorrent engine", run: engines::check },
    Check { name: "words", rule: "texts for users use the field's words", run: words::check_texts },
    Check { name: "comments", rule: "comments use the field's words", run: words::check_comments },
    Check { name: "summaries", rule: "the first line of documentation is under 90 characters", run: summaries::check },
    Check { name: "lengths", rule: "files stay under 400 lines, tests under 600", run: lengths::check },
    Check { name: "machine", rule: "no file names a registry's host or a path of a machine", run: machine::check },
    Check { name: "links", rule: "files that documents name exist", run: links::check },
    Check { name: "readme", rule: "every command in README.md exists", run: readme::check },
];
