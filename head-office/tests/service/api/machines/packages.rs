//! Packages of terminals.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;
use wire::Code;
use wire::v1::fleet::{Branch, PlanIssued, Terminal};
use wire::v1::reports::{Acknowledged, Batch, Numbered, PackageReport, Reason, Report};

use super::reports::{numbered, seen, send};
use crate::api::refusal;
use crate::support::archive::insert_published_as;
use crate::support::{Office, begin, count};

fn package(seq: u64, edit: impl FnOnce(&mut PackageReport)) -> Numbered {
    let mut package = PackageReport {
        product: "tools".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        name: "tools".into(),
        payload: service_kit::token::hash("tools 1.0.0 payload"),
        have_bytes: 0,
        total_bytes: 1000,
        complete: false,
        removed: false,
        trouble: None,
    };
    edit(&mut package);
    numbered(seq, Report::Package { terminal: "till-1".parse().unwrap(), package })
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_a_terminal_are_shown_until_they_are_gone() {
    let office = Office::start().await;
    let pool = office.pool().await;
    insert_published_as(&pool, "tools", "1.0.0", "k1", ("tools", "package")).await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap().packages;
    let full = Reason::new("data-full", "make room");
    send(&branch, epoch, vec![seen(1), package(2, |_| {}), package(3, |p| p.trouble = Some(full.clone()))]).await;
    let packages = shown().await;
    assert_eq!((packages.len(), packages[0].complete, &packages[0].trouble), (1, false, &Some(full)));
    assert_eq!(packages[0].since, begin() + TimeDelta::seconds(3));
    send(&branch, epoch, vec![package(4, |p| (p.complete, p.have_bytes) = (true, 1000))]).await;
    let packages = shown().await;
    assert_eq!((packages.len(), packages[0].complete, packages[0].have_bytes), (1, true, 1000));
    assert_eq!(packages[0].trouble, None);
    let all: Vec<Terminal> = office.admin().get("/v1/terminals").await.unwrap();
    assert!(all[0].packages.is_empty(), "lists are short");

    // What no release delivers is not stored, and what cannot be stored is refused.
    let inventions = vec![
        package(5, |p| p.name = "invented".into()),
        package(6, |p| p.payload = [7; 32].into()),
        package(7, |p| p.version = "9.0.0".parse().unwrap()),
    ];
    assert_eq!(send(&branch, epoch, inventions).await.through, 7);
    assert_eq!(shown().await.len(), 1);
    let bad = Batch { epoch, reports: vec![package(8, |p| p.name = "x".repeat(33))] };
    assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &bad).await), Code::BadField);

    send(&branch, epoch, vec![package(8, |p| p.removed = true)]).await;
    assert_eq!(shown().await, []);
    send(&branch, epoch, vec![package(9, |_| {})]).await;
    let gone: serde_json::Value = office.admin().delete("/v1/branches/north?force=true").await.unwrap();
    assert_eq!(gone["terminals"], 1, "packages go with their terminal");
    assert_eq!(count(&pool, "SELECT count(*) FROM terminal_packages").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_of_packages_alone_counts_as_confirmed_once_they_are_complete() {
    let office = Office::start().await;
    insert_published_as(&office.pool().await, "tools", "1.0.0", "k1", ("tools", "package")).await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1)]).await;
    let body = json!({ "branch": "north", "product": "tools", "version": "1.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let confirmed = async || office.admin().get::<Branch>("/v1/branches/north").await.unwrap().confirmed;
    assert_eq!(confirmed().await, 0);
    send(&branch, epoch, vec![package(2, |p| p.have_bytes = 500)]).await;
    assert_eq!(confirmed().await, 0);
    send(&branch, epoch, vec![package(3, |p| (p.complete, p.have_bytes) = (true, 1000))]).await;
    assert_eq!(confirmed().await, 1);
}
