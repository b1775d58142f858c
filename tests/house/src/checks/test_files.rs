//! Which files are tests.

/// Whether a file is a test or serves tests only.
pub(super) fn is_test(file: &str) -> bool {
    format!("/{file}").contains("/tests/") || file.ends_with("tests.rs") || file.starts_with("fuzz/")
}
