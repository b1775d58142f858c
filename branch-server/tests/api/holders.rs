//! By what name connections to the machines' listener are counted.

use service_kit::server::PeerCertificates;
use service_kit::{Clock as _, SystemClock};
use trust::certificates::{Authority, Suffix, TlsKey};
use wire::v1::sync::DeniedMachines;

use crate::support::{Branch, name};

/// A certificate of a terminal by another server's key of this branch.
fn of_another_server(branch: &Branch, of: &str, terminal: &str) -> PeerCertificates {
    let (now, key, leaf) = (SystemClock.now(), TlsKey::generate().unwrap(), TlsKey::generate().unwrap());
    let (of, terminal) = (of.parse().unwrap(), terminal.parse().unwrap());
    let chain =
        branch.head_office.with(|s| s.authority.issue_branch(&key.request().unwrap(), &of, now)).unwrap()[..1].to_vec();
    let issuer = Authority::open(Suffix::default(), Some(of), chain, key).unwrap();
    PeerCertificates(issuer.issue_terminal(&leaf.request().unwrap(), &terminal, now).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_other_keys_and_of_denied_terminals_are_strangers() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let (holder, own) = (|p: &_| branch.app.enrolment.holder(p), PeerCertificates(till.leaf.chain.clone()));
    assert_eq!(holder(&own).as_deref(), Some("terminal till-1"));
    for of in ["south", "north"] {
        let foreign = of_another_server(&branch, of, "till-1");
        branch.app.tls.check(&foreign).unwrap();
        assert_eq!(holder(&foreign), None, "issued by another server, of {of}");
    }
    let denied = DeniedMachines { terminals: vec![name("till-1")], ..DeniedMachines::default() };
    branch.head_office.with(|s| s.denied = Some(denied));
    branch.app.poll.once().await.unwrap();
    assert_eq!(holder(&own), None, "denied at head office's list");
}
