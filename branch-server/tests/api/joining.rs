//! Join tokens: what a stranger, a stolen terminal and an impatient one can do with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use branch_server::db::site;
use branch_server::reports::proofs::{ENROLMENT, REPORTS};
use branch_server::reports::relay;
use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::server::JOIN_TRIES;
use service_kit::{Clock as _, Secret, SystemClock};
use test_kit::wait_for;
use trust::certificates::{Authority, JoinToken, Suffix, TlsKey, certificate_to_pem, request_key};
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::Report;
use wire::v1::sync::{DeniedMachines, EnrolResponse, FormerCertificate, TerminalFacts};

use crate::daemons::Later;
use crate::support::{ADMIN, Branch, JOIN, Options, PATIENCE, assert_refused, enrolment, facts, name, write};

/// Within this a refusal comes that waits for nothing.
const DEADLINE: Duration = Duration::from_secs(20);

async fn deny(branch: &Branch, terminal: &str, keep_join_token: bool) -> Value {
    let body = json!({ "reason": "stolen", "keep_join_token": keep_join_token }).to_string();
    let answer = branch.send(Method::POST, &paths::terminal_deny(&name(terminal)), Some(ADMIN), body).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

fn kept_token(branch: &Branch) -> String {
    let text = std::fs::read_to_string(&branch.app.settings.terminals.join_token_file).unwrap();
    JoinToken::parse(&Secret::new(text)).unwrap().secret.expose().to_owned()
}

/// What PostgreSQL says of the rows: any write or lock changes it.
async fn rows(branch: &Branch) -> Vec<String> {
    let client = branch.app.pool.get().await.unwrap();
    let all = "select 'terminal ' || xmin || ' ' || xmax || ' ' || ctid from terminals
        union all select 'site ' || xmin || ' ' || xmax || ' ' || ctid from site
        union all select 'queue ' || seq || ' ' || xmin from relay_queue order by 1";
    client.query(all, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_enrolment_of_the_same_key_writes_nothing() {
    let branch = Branch::enrolled().await;
    let first = branch.enrol("till-1").await;
    let before = rows(&branch).await;
    for join in [Some(JOIN), None] {
        let again = branch.try_enrol(join, "till-1", &branch.key("till-1")).await;
        assert_eq!(again.json::<EnrolResponse>().await.unwrap(), first.answer);
    }
    assert_eq!(rows(&branch).await, before);
    // Another key that asks again and again is written once.
    let thief = TlsKey::generate().unwrap();
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &thief).await, Code::OtherKey).await;
    let asked = async || -> String {
        let client = branch.app.pool.get().await.unwrap();
        client.query_one("select xmin::text from terminals", &[]).await.unwrap().get(0)
    };
    let before = asked().await;
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &thief).await, Code::OtherKey).await;
    assert_eq!(asked().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bogus_join_tokens_do_not_keep_a_terminal_from_renewing() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let stranger = TlsKey::generate().unwrap();
    let (begin, guesses) = (Instant::now(), 4 * JOIN_TRIES);
    let tries = (0..guesses).map(async |n| {
        let guess = format!("guess-{n}");
        branch.try_enrol(Some(&guess), "till-9", &stranger).await.status().as_u16()
    });
    let answers = futures_util::future::join_all(tries).await;
    let refused = answers.iter().filter(|status| **status == 403).count() as u64;
    assert!(answers.iter().all(|status| [403, 429].contains(status)), "{answers:?}");
    // One is forgiven a second.
    let most = u64::from(JOIN_TRIES) + begin.elapsed().as_secs() + 1;
    assert!(refused <= most, "{refused} of {guesses} tries at the same time were judged, more than {most}");
    assert_refused(branch.try_enrol(Some("guess"), "till-9", &stranger).await, Code::TooMany).await;
    // A list in place of an object counts as well.
    let list = json!(["guess", enrolment(None, "", &stranger).certificate_request, Value::Null]);
    assert_refused(branch.post("/v1/enrol", None, list.to_string()).await, Code::TooMany).await;
    let renewed = branch.try_enrol(None, "till-1", &branch.key("till-1")).await;
    assert_eq!(renewed.json::<EnrolResponse>().await.unwrap(), till.answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_token_enrols_as_many_terminals_as_it_may() {
    let options = || Options { join_uses: 2, ..Options::default() };
    let branch = Branch::start(options()).await;
    branch.app.poll.once().await.unwrap();
    branch.enrol("till-1").await;
    branch.enrol("till-1").await;
    let mut changed = enrolment(Some(JOIN), "till-1", &branch.key("till-1"));
    changed.terminal.as_mut().unwrap().agent_version = "0.9.0".into();
    let changed = branch.post("/v1/enrol", None, serde_json::to_string(&changed).unwrap()).await;
    assert_eq!(changed.status(), StatusCode::OK, "a name that is known is not counted again");
    branch.enrol("till-2").await;
    let key = branch.key("till-3");
    assert_refused(branch.try_enrol(Some(JOIN), "till-3", &key).await, Code::JoinExpired).await;
    // Those that are known go on, and the count outlives a restart.
    branch.enrol("till-1").await;
    let branch = branch.restart(options()).await;
    assert_refused(branch.try_enrol(Some(JOIN), "till-3", &key).await, Code::JoinExpired).await;
    // The way out that the refusal names.
    std::fs::remove_file(&branch.app.settings.terminals.join_token_file).unwrap();
    let branch = branch.restart(options()).await;
    assert_eq!(branch.try_enrol(Some(&kept_token(&branch)), "till-3", &key).await.status(), StatusCode::OK);
}

/// The attack: the join token is on the disk of the stolen terminal.
#[tokio::test(flavor = "multi_thread")]
async fn denied_terminal_does_not_come_back_under_a_new_name() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let other = branch.enrol("till-2").await;
    assert_eq!(deny(&branch, "till-1", false).await["join_token_replaced"], true);
    let thief = TlsKey::generate().unwrap();
    assert_refused(branch.try_enrol(Some(JOIN), "till-9", &thief).await, Code::JoinRefused).await;
    // Registered terminals need no token, and new ones take the new one.
    assert_eq!(branch.ask("/v1/sync", &other).await.status(), StatusCode::OK);
    assert_eq!(branch.try_enrol(None, "till-2", &branch.key("till-2")).await.status(), StatusCode::OK);
    let new = kept_token(&branch);
    let branch = branch.restart(Options::default()).await;
    assert_refused(branch.try_enrol(Some(JOIN), "till-9", &thief).await, Code::JoinRefused).await;
    assert_refused(branch.try_enrol(Some(&new), "till-1", &branch.key("till-1")).await, Code::IdentityDenied).await;
    assert_eq!(branch.try_enrol(Some(&new), "till-3", &branch.key("till-3")).await.status(), StatusCode::OK);
    assert_eq!(deny(&branch, "till-3", true).await["join_token_replaced"], false);
    assert_eq!(kept_token(&branch), new);
}

/// By the key, and a certificate of before.
async fn come_back(branch: &Branch, terminal: &str, key: &TlsKey, former: FormerCertificate) -> reqwest::Response {
    let mut request = enrolment(None, terminal, key);
    (request.terminal, request.certificate) = (Some(facts(terminal)), Some(former));
    branch.post("/v1/enrol", None, serde_json::to_string(&request).unwrap()).await
}

fn former(answer: &EnrolResponse) -> FormerCertificate {
    FormerCertificate { certificate: answer.certificate.clone(), intermediate: answer.intermediate.clone() }
}

/// What a server of `branch` with this key certified, and the key of that server.
fn certified_elsewhere(here: &Branch, branch: &str, terminal: &str, key: &TlsKey) -> (FormerCertificate, TlsKey) {
    let (server, branch) = (TlsKey::generate().unwrap(), branch.parse().unwrap());
    let request = server.request().unwrap();
    let chain = here.head_office.with(|s| s.authority.issue_branch(&request, &branch, SystemClock.now()).unwrap());
    let copy = TlsKey::from_pem(&server.to_pem()).unwrap();
    let authority = Authority::open(Suffix::default(), Some(branch), chain, copy).unwrap();
    let chain = authority.issue_terminal(&key.request().unwrap(), &name(terminal), SystemClock.now()).unwrap();
    let [certificate, intermediate] = [&chain[0], &chain[1]].map(certificate_to_pem);
    (FormerCertificate { certificate, intermediate }, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_database_lets_a_terminal_in_by_its_certificate_also_an_expired_one() {
    let clock = Arc::new(Later::default());
    let options = || Options { tls_clock: Some(clock.clone()), ..Options::default() };
    let branch = Branch::start(options()).await;
    branch.app.poll.once().await.unwrap();
    let (till, key) = (branch.enrol("till-1").await, branch.key("till-1"));
    for days in [0, 400] {
        clock.advance(TimeDelta::days(days));
        branch.app.pool.get().await.unwrap().execute("delete from terminals", &[]).await.unwrap();
        assert_refused(branch.try_enrol(None, "till-1", &key).await, Code::JoinRefused).await;
        let back = come_back(&branch, "till-1", &key, former(&till.answer)).await;
        assert_eq!(back.status(), StatusCode::OK, "after {days} days: {}", back.text().await.unwrap());
    }
    // Head office hears of it as of a new one.
    let client = branch.app.pool.get().await.unwrap();
    let newest = client.query_one("select report from relay_queue order by seq desc limit 1", &[]).await.unwrap();
    let told: Report = serde_json::from_str(newest.get(0)).unwrap();
    let signer = branch.signer("till-1").public().to_string();
    assert_eq!(told, Report::TerminalSeen { facts: facts("till-1"), key: Some(signer) });
}

#[tokio::test(flavor = "multi_thread")]
async fn server_in_a_dead_ones_place_lets_in_whom_that_one_certified_and_no_other() {
    let branch = Branch::start(Options::default()).await;
    branch.head_office.with(|s| s.denied = None);
    branch.app.poll.once().await.unwrap();
    let key = branch.key("till-1");
    let (mine, server) = certified_elsewhere(&branch, "north", "till-1", &key);
    assert_refused(come_back(&branch, "till-1", &key, mine.clone()).await, Code::NotReady).await;

    let deny = async |terminals: &[&str], issuers: Vec<fleet_types::Digest>| {
        let terminals = terminals.iter().map(|terminal| name(terminal)).collect();
        branch.head_office.with(|s| s.denied = Some(DeniedMachines { terminals, issuers, keys: Vec::new() }));
        branch.app.poll.once().await.unwrap();
    };
    deny(&["till-1"], Vec::new()).await;
    assert_refused(come_back(&branch, "till-1", &key, mine.clone()).await, Code::IdentityDenied).await;
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &key).await, Code::IdentityDenied).await;
    deny(&[], vec![request_key(&server.request().unwrap()).unwrap()]).await;
    assert_refused(come_back(&branch, "till-1", &key, mine.clone()).await, Code::CertificateRefused).await;
    deny(&[], Vec::new()).await;
    // With another key, under another name, of another branch, of another fleet.
    let thief = TlsKey::generate().unwrap();
    assert_refused(come_back(&branch, "till-1", &thief, mine.clone()).await, Code::CertificateRefused).await;
    assert_refused(come_back(&branch, "till-2", &key, mine.clone()).await, Code::CertificateRefused).await;
    let (of_south, _) = certified_elsewhere(&branch, "south", "till-1", &key);
    assert_refused(come_back(&branch, "till-1", &key, of_south).await, Code::WrongBranch).await;
    let foreign = Branch::enrolled().await;
    let (of_another_fleet, _) = certified_elsewhere(&foreign, "north", "till-1", &key);
    assert_refused(come_back(&branch, "till-1", &key, of_another_fleet).await, Code::CertificateRefused).await;
    let torn = FormerCertificate { certificate: "none".into(), ..mine.clone() };
    assert_refused(come_back(&branch, "till-1", &key, torn).await, Code::CertificateRefused).await;

    let back = come_back(&branch, "till-1", &key, mine.clone()).await;
    let till = branch.till(branch.key("till-1"), back.json().await.unwrap());
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);
    // A name that is taken stays with its key, and whom this server denies stays out.
    let (of_the_thief, _) = certified_elsewhere(&branch, "north", "till-1", &thief);
    assert_refused(come_back(&branch, "till-1", &thief, of_the_thief).await, Code::OtherKey).await;
    self::deny(&branch, "till-1", true).await;
    assert_refused(come_back(&branch, "till-1", &key, mine).await, Code::IdentityDenied).await;
}

/// A database was lost: that an operator replaced a terminal's key is known to head office alone.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_key_does_not_come_back_after_a_lost_database() {
    let branch = Branch::enrolled().await;
    let (till, key) = (branch.enrol("till-1").await, branch.key("till-1"));
    branch.app.pool.get().await.unwrap().execute("delete from terminals", &[]).await.unwrap();
    let tell = async |keys| {
        branch.head_office.with(|s| s.denied = Some(DeniedMachines { keys, ..DeniedMachines::default() }));
        branch.app.poll.once().await.unwrap();
    };
    tell(vec![branch.signer("till-1").public().to_string()]).await;
    let refused = come_back(&branch, "till-1", &key, former(&till.answer)).await;
    let refused = assert_refused(refused, Code::IdentityDenied).await;
    assert!(refused.remedy.contains("--allow-again"), "{refused:?}");
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &key).await, Code::IdentityDenied).await;
    // The key in its place comes in, and so does the old one once an admin allows it again.
    let new = TlsKey::generate().unwrap();
    assert_eq!(branch.try_enrol(Some(JOIN), "till-2", &new).await.status(), StatusCode::OK);
    tell(Vec::new()).await;
    assert_eq!(come_back(&branch, "till-1", &key, former(&till.answer)).await.status(), StatusCode::OK);
}

/// The attack: a copy of the database is put back that was made before a denial, which head office remembers.
#[tokio::test(flavor = "multi_thread")]
async fn restored_database_does_not_undo_denials() {
    let branch = Branch::enrolled().await;
    let (till, other) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let key = branch.key("till-1");
    let denied = DeniedMachines { terminals: vec![name("till-1"), name("till-9")], ..DeniedMachines::default() };
    branch.head_office.with(|s| s.denied = Some(denied));
    branch.app.poll.once().await.unwrap();
    assert_refused(branch.ask("/v1/sync", &till).await, Code::IdentityDenied).await;
    for join in [None, Some(JOIN)] {
        assert_refused(branch.try_enrol(join, "till-1", &key).await, Code::IdentityDenied).await;
    }
    assert_refused(come_back(&branch, "till-1", &key, former(&till.answer)).await, Code::IdentityDenied).await;
    assert_eq!(branch.ask("/v1/sync", &other).await.status(), StatusCode::OK);
    // An admin allows it here: head office's list stays behind until it has heard of that.
    let allow = async || {
        let body = json!({ "reason": "found" }).to_string();
        let answer = branch.send(Method::POST, &paths::terminal_allow(&name("till-1")), Some(ADMIN), body).await;
        assert_eq!(answer.status(), StatusCode::OK);
    };
    allow().await;
    branch.app.poll.once().await.unwrap();
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);
    let told = async || while deliver(&branch).await {};
    told().await;
    branch.app.poll.once().await.unwrap();
    assert_refused(branch.ask("/v1/sync", &till).await, Code::IdentityDenied).await;
    // It is allowed, and head office hears of that, while its answer is on the way.
    let (denied, pool, now) = (&branch.app.denied, &branch.app.pool, branch.app.clock.now());
    let before = denied.before_asking(pool).await.unwrap();
    allow().await;
    told().await;
    assert_eq!(denied.deny_known(pool, &[name("till-1")], before, now).await.unwrap(), []);
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);
}

/// Delivers reports to head office. False if none wait.
async fn deliver(branch: &Branch) -> bool {
    let (app, now) = (&branch.app, branch.app.clock.now());
    let delivery = relay::deliver(&app.pool, &*app.head_office, 200, now).await.unwrap();
    delivery != relay::Delivery::Nothing
}

/// The attack: a terminal's facts change with each enrolment, so that each is one more report for head office.
#[tokio::test(flavor = "multi_thread")]
async fn enrolments_with_changed_facts_count_as_reports_of_the_terminal() {
    let branch = Branch::enrolled().await;
    let (till, other) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let changed = async |n: usize| {
        let mut request = enrolment(None, "till-1", &branch.key("till-1"));
        let agent_version = format!("0.9.{n}");
        (request.terminal, request.certificate) =
            (Some(TerminalFacts { agent_version, ..facts("till-1") }), Some(former(&till.answer)));
        branch.post("/v1/enrol", None, serde_json::to_string(&request).unwrap()).await
    };
    let most = REPORTS as usize / (ENROLMENT + 1);
    let mut taken = 0;
    let refused = loop {
        let answer = changed(taken).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        taken += 1;
        // Some are forgiven while this test takes its time.
        assert!(taken < 2 * most, "{taken} enrolments with changed facts");
    };
    assert_refused(refused, Code::TooMany).await;
    // What changes nothing is answered all the same, and another terminal is not concerned.
    assert_eq!(branch.try_enrol(None, "till-1", &branch.key("till-1")).await.status(), StatusCode::OK);
    assert_eq!(branch.ask("/v1/sync", &other).await.status(), StatusCode::OK);
}

/// The attack: every stranger's request waits for the row that all terminals need, and others wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_never_hold_the_sites_row() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    deny(&branch, "till-1", true).await;
    let mut client = branch.app.pool.get().await.unwrap();
    let held = client.transaction().await.unwrap();
    held.execute("select 1 from site for update", &[]).await.unwrap();
    let (stranger, denied) = (TlsKey::generate().unwrap(), branch.key("till-1"));
    let refusals = async {
        assert_refused(branch.try_enrol(None, "till-9", &stranger).await, Code::JoinRefused).await;
        assert_refused(branch.try_enrol(Some("guess"), "till-9", &stranger).await, Code::JoinRefused).await;
        assert_refused(branch.try_enrol(None, "till-1", &denied).await, Code::IdentityDenied).await;
    };
    tokio::time::timeout(DEADLINE, refusals).await.expect("a refusal waits for the row");
    held.commit().await.unwrap();
}

/// The attack: the folder of the join token is restored from a copy, or a file of before is put back.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_join_token_does_not_count_again_with_its_old_file() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let file = branch.app.settings.terminals.join_token_file.clone();
    let copy = std::fs::read(&file).unwrap();
    deny(&branch, "till-1", false).await;
    let second = kept_token(&branch);
    write(&file, copy);
    let branch = branch.restart(Options::default()).await;
    let (third, key) = (kept_token(&branch), branch.key("till-2"));
    assert!(third != JOIN && third != second, "a new token");
    for old in [JOIN, &second] {
        assert_refused(branch.try_enrol(Some(old), "till-2", &key).await, Code::JoinRefused).await;
    }
    assert_eq!(branch.try_enrol(Some(&third), "till-2", &key).await.status(), StatusCode::OK);
    // The one that counts is taken up at each start.
    let branch = branch.restart(Options::default()).await;
    assert_eq!(kept_token(&branch), third);
    // So many are remembered, the newest.
    let client = branch.app.pool.get().await.unwrap();
    for n in 0..40 {
        site::join_since(&client, &fleet_types::Digest::new([n; 32]), branch.app.clock.now()).await.unwrap();
    }
    let kept: i64 = client.query_one("select count(*) from replaced_join_tokens", &[]).await.unwrap().get(0);
    let newest = site::is_replaced_join(&client, &fleet_types::Digest::new([38; 32])).await.unwrap();
    assert_eq!((kept, newest), (32, true));
}

/// Head office's database was lost, or a copy of before put back: it hears of each denial at the branch server's next start.
#[tokio::test(flavor = "multi_thread")]
async fn all_denials_are_reported_at_each_start() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    branch.enrol("till-2").await;
    deny(&branch, "till-1", true).await;
    while deliver(&branch).await {}
    branch.head_office.with(|s| s.counted.clear());
    let branch = branch.restart(Options::default()).await;
    branch.start_jobs();
    let denied = Report::TerminalDenied { terminal: name("till-1"), denied: true };
    let told = || branch.head_office.with(|s| s.counted.iter().any(|numbered| numbered.report == denied));
    wait_for("the denial at head office", PATIENCE, async || if told() { Ok(()) } else { Err("not told") }).await;
}
