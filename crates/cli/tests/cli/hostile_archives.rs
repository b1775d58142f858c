//! Hostile archives on an operator's own machine.

use hostile::archives;

use super::kit::{code, filial, put, stderr};

#[test]
fn every_hostile_archive_is_refused_under_its_code() {
    let dir = tempfile::tempdir().unwrap();
    for file in archives() {
        put(&dir.path().join("x.upd"), &file.bytes);
        let output = filial(dir.path(), &["--json", "release", "validate", "x.upd"]);
        assert_eq!(code(&output), 4, "{}: {}", file.name, stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}: {}", file.name, stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let codes: Vec<_> = report["findings"].as_array().unwrap().iter().filter_map(|f| f["code"].as_str()).collect();
        assert!(codes.contains(&file.code), "{}: {} is not among {codes:?}", file.name, file.code);
        // `inspect` reads only the manifest: it may find nothing wrong, and never fails in another way.
        let inspected = filial(dir.path(), &["release", "inspect", "x.upd"]);
        let said = stderr(&inspected);
        assert!([0, 1].contains(&code(&inspected)) && !said.contains("panicked"), "{}: {said}", file.name);
    }
}

#[test]
fn people_see_the_code_beside_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = archives().into_iter().find(|f| f.name == "gzip").unwrap();
    put(&dir.path().join("x.upd"), &file.bytes);
    let output = filial(dir.path(), &["release", "validate", "x.upd"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("compressed with gzip") && text.contains("[archive-compressed]"), "{text}");
    let said = stderr(&filial(dir.path(), &["release", "inspect", "x.upd"]));
    assert!(said.contains("[archive-compressed]"), "{said}");
}
