//! Small workspaces for tests.

use std::path::Path;

use house::{Finding, House, checks};

const RULES: &str = r#"
pure = ["one/src/pure.rs"]
impure = ["std::fs", "tokio"]
programs = ["one/src"]
clocks = [{ path = "one/src/clock.rs", reason = "the clock" }]
sql = [{ path = "one/src/statements", reason = "the statements" }]
paths = [{ path = "one/src/paths.rs", reason = "the list" }]
"#;

const WORDS: &str = r#"
[[word]]
pattern = '(?i)\bnobody\b'
except = 'NOBODY'
instead = "no operator"
finds = ["nobody"]
"#;

/// A workspace of one package `one` with these files of its own, and `two`, a library that it may use.
pub struct Small(tempfile::TempDir);

impl Small {
    /// Writes these files; a library root that is not among them declares a module for each file beside it.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let small = Self(folder);
        let package = |name: &str| format!("[package]\nname = \"{name}\"\n");
        small.write("Cargo.toml", "[workspace]\nmembers = [\"one\", \"two\"]\n");
        small.write("one/Cargo.toml", &package("one"));
        small.write("two/Cargo.toml", &package("two"));
        small.write("two/src/lib.rs", "pub mod disk;\npub mod value;\n");
        small.write("two/src/disk.rs", "pub struct Disk;\nfn read() { let _ = std::fs::read(\"x\"); }\n");
        small.write("two/src/value.rs", "pub struct Value;\n");
        small.write("tests/house/house.toml", RULES);
        small.write("tests/house/words.toml", WORDS);
        let mut modules = String::new();
        for (path, text) in files {
            small.write(path, text);
            if let Some(name) = path.strip_prefix("one/src/").and_then(|p| p.strip_suffix(".rs"))
                && !name.contains('/')
                && name != "lib"
            {
                modules += &format!("mod {name};\n");
            }
        }
        if !files.iter().any(|(path, _)| *path == "one/src/lib.rs") {
            small.write("one/src/lib.rs", &modules);
        }
        if !files.iter().any(|(path, _)| *path == "one/src/pure.rs") {
            let text = RULES.replace("\"one/src/pure.rs\"", "");
            small.write("tests/house/house.toml", &text);
        }
        small
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes one more file.
    #[allow(clippy::disallowed_methods, reason = "a file of a test, which need not survive a power cut")]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What the check of this name finds.
    pub fn findings(&self, check: &str) -> Vec<Finding> {
        let house = House::read(self.path(), &self.path().join("tests/house")).unwrap();
        (checks::ALL.iter().find(|c| c.name == check).unwrap().run)(&house)
    }

    /// What the check of this name finds, as `file:line`.
    pub fn places(&self, check: &str) -> Vec<String> {
        self.findings(check).iter().map(|f| format!("{}:{}", f.file, f.line)).collect()
    }
}
