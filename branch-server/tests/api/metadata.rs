//! GET /v1/metadata/{name}, and when head office is asked for its files.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use service_kit::client::JsonClient;
use service_kit::{Clock, SystemClock};
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::repository::RoleName;
use wire::Code;
use wire::v1::paths;

use crate::head_office::Mood;
use crate::plans::plan;
use crate::support::{Branch, Options, VIEWER, assert_refused, write};

#[tokio::test(flavor = "multi_thread")]
async fn enrolled_terminals_get_every_file_byte_for_byte() {
    let branch = Branch::enrolled().await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    let token = branch.enrol("till-1").await;
    let files = branch.head_office.with(|s| s.fleet.files());
    assert!(files.len() >= 7, "{:?}", files.keys());
    for (name, bytes) in files {
        let answer = branch.ask(&paths::metadata(&name), &token).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.bytes().await.unwrap(), bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_names_of_nothing_are_turned_away() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let path = paths::metadata("timestamp.json");
    assert_refused(branch.get(branch.machines, &path, None).await, Code::Unauthenticated).await;
    assert_refused(branch.get(branch.machines, &path, Some(VIEWER)).await, Code::Unauthenticated).await;
    assert_refused(branch.get(branch.operators, &path, Some(VIEWER)).await, Code::RouteMissing).await;
    // A client walks roots until one is not there.
    for name in ["2.root.json", "root.json", "trust.json", "..%2ftrust.json", "identity.toml"] {
        assert_refused(branch.ask(&paths::metadata(name), &token).await, Code::NotFound).await;
    }
}

/// The mirror as a terminal's trust library asks it.
struct Mirror(JsonClient);

#[async_trait]
impl Fetch for Mirror {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let found = self.0.get_stream(&paths::metadata(name)).await.map_err(|e| FetchError(e.to_string()))?;
        Ok(found.map(|bytes| Box::pin(bytes.map(|chunk| chunk.map_err(|e| FetchError(e.to_string())))) as Body))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_missed_two_roots_comes_up_to_date_through_the_mirror_alone() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let folder = tempfile::tempdir().unwrap();
    let mut terminal =
        Client::open_or_provision(&folder.path().join("trust.json"), &branch.app.settings.trust_root).unwrap();
    let client = branch.client(&till);
    let mirror = Arc::new(Mirror(client));
    terminal.update(mirror.clone(), Limits::default(), SystemClock.now()).await.unwrap();
    for _ in 0..2 {
        branch.head_office.with(|s| s.fleet.rotate_root_key(SystemClock.now()).unwrap());
        branch.head_office.with(|s| s.serve_metadata());
        branch.app.poll.once().await.unwrap();
    }
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    terminal.update(mirror, Limits::default(), SystemClock.now()).await.unwrap();
    let trusted = terminal.trusted().unwrap();
    assert_eq!(trusted.version(&RoleName::Root), Some(3));
    trusted.check_plan(&plan(7), SystemClock.now()).unwrap();
    assert_eq!(terminal.timestamp_version(), branch.head_office.with(|s| s.fleet.version()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_half_way_through_still_finds_the_files_before() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let before = branch.head_office.with(|s| s.fleet.files());
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    for (name, bytes) in before.into_iter().filter(|(name, _)| name != "timestamp.json") {
        assert_eq!(branch.ask(&paths::metadata(&name), &token).await.bytes().await.unwrap(), bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_office_is_asked_for_metadata_when_it_has_newer_and_not_at_every_poll() {
    let branch = Branch::enrolled().await;
    let asked = || branch.head_office.with(|s| std::mem::take(&mut s.metadata_asked));
    assert!(asked() > 0, "at the start");
    branch.app.poll.once().await.unwrap();
    assert_eq!(asked(), 0);
    branch.head_office.with(|s| {
        s.fleet.publish(SystemClock.now()).unwrap();
        s.serve_metadata();
    });
    branch.app.poll.once().await.unwrap();
    assert!(asked() > 0, "without a plan, for there is newer");
    assert_eq!(branch.app.metadata.believed().version(), branch.head_office.with(|s| s.hint));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_believed_survives_a_restart_and_is_mirrored_without_head_office() {
    let branch = Branch::enrolled().await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    let token = branch.enrol("till-1").await;
    branch.head_office.with(|s| s.mood = Mood::Away);
    let branch = branch.restart(Options::default()).await;
    let timestamp = branch.ask(&paths::metadata("timestamp.json"), &token).await.bytes().await.unwrap();
    assert_eq!(timestamp, branch.head_office.with(|s| s.fleet.files()["timestamp.json"].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_root_file_or_with_a_damaged_store_it_does_not_start_and_says_what_to_do() {
    let branch = Branch::enrolled().await;
    let (store, root) = (branch.app.settings.trust_store(), branch.app.settings.trust_root.clone());
    std::fs::remove_file(&root).unwrap();
    let branch = branch.restart(Options::default()).await;
    let whole = std::fs::read(&store).unwrap();
    write(&store, &whole[..whole.len() / 2]);
    let said = branch.refused_start().await;
    assert!(said.contains(&store.display().to_string()) && said.contains("Move the trust store away"), "{said}");
    std::fs::remove_file(&store).unwrap();
    let said = branch.refused_start().await;
    assert!(said.contains(&root.display().to_string()) && said.contains("`filial trust init`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_office_without_metadata_is_told_and_no_plan_accepted() {
    let branch = Branch::enrolled().await;
    branch.head_office.with(|s| {
        (s.metadata, s.hint) = (Default::default(), None);
        s.plan = Some(s.fleet.seal(&plan(7)).unwrap());
    });
    let error = branch.app.poll.once().await.unwrap_err();
    assert!(error.to_string().contains("does not have timestamp.json"), "{error}");
    assert_eq!(crate::plans::kept(&branch).await, None);
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    assert_eq!(crate::plans::kept(&branch).await, Some(7));
}
