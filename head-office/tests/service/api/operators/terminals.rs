use reqwest::Method;
use service_kit::server::Role;
use wire::Code;
use wire::v1::fleet::Terminal;

use crate::api::refusal;
use crate::support::{Office, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn terminals_are_learned_from_reports_and_listed() {
    let office = Office::start().await;
    office.branch("north", "k1", &["till-2", "till-1"]).await;
    office.branch("east", "k2", &["till-1"]).await;
    let viewer = office.as_role(Role::Viewer);
    let names = |all: &[Terminal]| all.iter().map(|t| format!("{}/{}", t.branch, t.name)).collect::<Vec<_>>();
    let all: Vec<Terminal> = viewer.get("/v1/terminals").await.unwrap();
    assert_eq!(names(&all), ["east/till-1", "north/till-1", "north/till-2"]);
    let north: Vec<Terminal> = viewer.get("/v1/terminals?branch=north").await.unwrap();
    assert_eq!(names(&north), ["north/till-1", "north/till-2"]);
    let one: Terminal = viewer.get("/v1/terminals/north/till-1").await.unwrap();
    assert_eq!((one.model.as_str(), one.slot, one.version, one.update), ("k1", None, None, None));
    assert!(one.last_heard.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_or_cannot_be_read_is_refused() {
    let office = Office::start().await;
    let viewer = office.as_role(Role::Viewer);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?branch=nowhere").await), Code::NotFound);
    assert_eq!(refusal(viewer.get::<Terminal>("/v1/terminals/north/till-1").await), Code::NotFound);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?branch=NO").await), Code::BadRequest);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?colour=red").await), Code::BadRequest);
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/terminals").await, 401);
    // A branch's certificate is nothing to the operators' listener: it asks for none.
    let branch = office.branch("north", "k1", &[]).await;
    let at_operators = office.line().client(office.operators, None, Some(&office.leaf(&branch)));
    assert_eq!(refusal(at_operators.get::<Vec<Terminal>>("/v1/terminals").await), Code::Unauthenticated);
}
