//! `filial kit` and the folder that it is given.

use serde_json::json;

use super::fake::Fake;
use super::kit::{code, filial, json as run_json, put, stderr};

fn kit(branch: &str) -> serde_json::Value {
    json!({ "format": 1, "branch": branch, "plan": null, "manifests": {}, "made_at": "2031-05-06T07:08:09Z", "metadata": {}, "artifacts": [] })
}

#[test]
fn a_folder_that_is_no_kit_is_answered_with_the_command_that_writes_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("x")).unwrap();
    for args in [&["kit", "import", "./x"], &["kit", "reports", "./x"], &["kit", "import", "./none"]] {
        let output = filial(dir.path(), args);
        let text = stderr(&output);
        assert!(code(&output) == 1 && text.starts_with(&format!("filial: {} is not a kit\n", args[2])), "{text}");
        assert!(text.contains("to do: Give the folder that `filial kit export` wrote"), "{text}");
    }
}

#[test]
fn a_kit_is_not_written_over_the_kit_of_another_branch() {
    let office = Fake::answering(&[
        ("GET /v1/branches/north/kit", 200, kit("north")),
        ("GET /v1/branches/south/kit", 200, kit("south")),
    ]);
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("usb/other files"), b"");
    let export = |branch: &'static str| ["--server", &office.url, "kit", "export", branch, "usb"].map(str::to_owned);
    let run = |branch| {
        let args = export(branch);
        filial(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(code(&run("north")), 0, "{}", stderr(&run("north")));
    assert_eq!(code(&run("north")), 0, "the same branch again");
    let reports = filial(dir.path(), &["kit", "reports", "usb"]);
    assert!(stderr(&reports).starts_with("filial: usb holds no reports yet\n"), "{}", stderr(&reports));
    let asked = office.state.lock().unwrap().requests.len();
    let other = run("south");
    assert!(
        code(&other) == 1 && stderr(&other).starts_with("filial: usb holds the kit of branch north\n"),
        "{}",
        stderr(&other)
    );
    assert_eq!(office.state.lock().unwrap().requests.len(), asked, "refused before the server is asked");
    let there: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("usb/kit.json")).unwrap()).unwrap();
    assert_eq!(there["branch"], "north");
    run_json(dir.path(), &["--server", &office.url, "kit", "export", "south", "fresh", "--json"]);
}
