use reqwest::Method;
use service_kit::server::Role;
use wire::v1::status::Status;

use crate::support::{Office, begin, published, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn one_picture_of_everything() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    office.branch("north", "k1", &["till-1"]).await;
    let status: Status = office.as_role(Role::Viewer).get("/v1/status").await.unwrap();
    assert_eq!(status.now, begin());
    assert_eq!((status.releases.len(), status.branches.len(), status.terminals.len()), (1, 1, 1));
    assert_eq!(status.releases[0].payloads.len(), 1);
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/status").await, 401);
    assert_eq!(status_of(&office.admin(), Method::POST, "/v1/status").await, 405);
}
