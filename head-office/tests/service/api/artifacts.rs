use reqwest::Method;
use wire::v1::paths;

use crate::support::{Office, published, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn only_published_artifacts_are_answered_and_only_to_those_who_may() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "1.0.0", "k1").await;
    let unknown = service_kit::token::hash("unknown");
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let east = office.branch("east", "k1", &[]).await;
    let body = serde_json::json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    office.admin().post::<_, wire::v1::fleet::PlanIssued>("/v1/assignments", &body).await.unwrap();
    for client in [office.admin(), branch.client.clone()] {
        for path in [paths::artifact_index(&unknown), paths::artifact_torrent(&unknown)] {
            assert_eq!(status_of(&client, Method::GET, &path).await, 404);
        }
    }
    for path in [paths::artifact_index(&artifact.sha256), paths::manifest(&unknown)] {
        assert_eq!(status_of(&office.machine(None), Method::GET, &path).await, 401);
    }
    assert_eq!(status_of(&branch.client, Method::GET, &paths::manifest(&unknown)).await, 404);
    assert_eq!(status_of(&branch.client, Method::GET, "/v1/artifacts/ABC/index").await, 400);
    let manifest = service_kit::token::hash("kiosk 1.0.0 manifest");
    let bytes = branch.client.get_bytes(&paths::manifest(&manifest), 1000).await.unwrap();
    assert!(bytes.starts_with(b"format = 1\n"));
    let not_in_its_plan = east.client.get_bytes(&paths::manifest(&manifest), 1000).await;
    assert_eq!(crate::api::refusal(not_in_its_plan), wire::Code::NotInYourPlan);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_from_the_store_is_our_fault_and_says_so() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "1.0.0", "k1").await;
    let path = paths::artifact_index(&artifact.sha256);
    assert_eq!(crate::api::refusal(office.admin().get_bytes(&path, 1000).await), wire::Code::Internal);
}
