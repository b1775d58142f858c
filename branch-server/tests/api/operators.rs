//! Operators of a branch: the first admin, sessions, tokens, the audit, and the tokens file of an earlier version.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use access::audit::Change;
use access::bootstrap::{Bootstrap, BootstrapError, bootstrap};
use branch_server::reports::audit_head;
use branch_server::reports::relay::deliver;
use chrono::TimeDelta;
use fleet_types::Digest;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::database::{begin, commit, connection};
use service_kit::server::{Caller, Role};
use service_kit::{Clock as _, SystemClock, token};
use test_kit::wait_for;
use wire::Code;
use wire::v1::audit::{AuditHead, Head};
use wire::v1::paths;
use wire::v1::reports::{MAX_BATCH, Numbered, Report};

use crate::daemons::Later;
use crate::head_office::HeadOfficeDouble;
use crate::support::{ADMIN, Branch, Options, PATIENCE, VIEWER, assert_refused, empty_database, name, open_dir, write};

const PASSWORD: &str = "correct horse battery staple";

async fn post(branch: &Branch, path: &str, body: Value) -> reqwest::Response {
    branch.send(Method::POST, path, Some(ADMIN), body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_an_operator_leaves_a_row_of_the_audit() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let [deny, allow] = [paths::terminal_deny(&name("till-1")), paths::terminal_allow(&name("till-1"))];
    let key = Digest::new([7; 32]);
    for (path, body) in [
        (&deny, json!({ "reason": "stolen" })),
        // The same again changes nothing and adds no row.
        (&deny, json!({ "keep_join_token": true })),
        (&allow, json!({ "key": key, "reason": "new disk" })),
        (&allow, json!({ "key": key })),
    ] {
        assert_eq!(post(&branch, path, body).await.status(), StatusCode::OK);
    }
    let operator = json!({ "name": "ann", "role": "viewer", "password": PASSWORD });
    assert_eq!(post(&branch, paths::OPERATORS, operator).await.status(), StatusCode::CREATED);
    let rows = branch.audit().await;
    let said =
        rows.iter().map(|row| (row.who.as_str(), row.action.as_str(), row.subject.as_str(), row.reason.as_deref()));
    let wanted = [
        ("admin", "POST /v1/terminals/{name}/deny", "terminal till-1", Some("stolen")),
        ("admin", "POST /v1/terminals/{name}/deny", "join token of terminals", Some("terminal till-1 is denied")),
        ("admin", "POST /v1/terminals/{name}/allow", "terminal till-1", Some("new disk")),
        ("admin", "POST /v1/operators", "operator ann", None),
    ];
    assert_eq!(said.collect::<Vec<_>>(), wanted);
    let (before, after) = (rows[2].before.as_ref().unwrap(), rows[2].after.as_ref().unwrap());
    assert!(before["denied"].is_string() && after["denied"].is_null(), "{before} {after}");
    assert_eq!(after["key"], key.to_string());
    assert!(rows.iter().all(|row| row.via.starts_with("token ") && row.address.is_some()), "{rows:?}");
    // The file outside the database has followed.
    let heads: AuditHead = branch.get(branch.operators, paths::AUDIT_HEAD, Some(ADMIN)).await.json().await.unwrap();
    assert_eq!((heads.head.seq, heads.anchor), (4, Some(heads.head)));
    assert_refused(branch.get(branch.operators, paths::AUDIT, Some(VIEWER)).await, Code::Forbidden).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_row_cannot_be_written_does_not_happen() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let client = connection(&branch.app.pool).await.unwrap();
    client.batch_execute("alter table audit rename to away").await.unwrap();
    let deny = paths::terminal_deny(&name("till-1"));
    assert_refused(post(&branch, &deny, json!({})).await, Code::Internal).await;
    assert_eq!(branch.ask(paths::SYNC, &till).await.status(), StatusCode::OK);
    client.batch_execute("alter table away rename to audit").await.unwrap();
    let keep = json!({ "keep_join_token": true });
    assert_eq!(post(&branch, &deny, keep).await.status(), StatusCode::OK);
    assert_eq!(branch.audit().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_tells_of_a_replaced_join_token_only_once_it_is_replaced() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let file = branch.app.settings.terminals.join_token_file.clone();
    let before = std::fs::read(&file).unwrap();
    // The new token cannot be written where a folder is.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    let deny = paths::terminal_deny(&name("till-1"));
    assert_refused(post(&branch, &deny, json!({})).await, Code::Internal).await;
    let subjects = async || branch.audit().await.into_iter().map(|row| row.subject).collect::<Vec<_>>();
    assert_eq!(subjects().await, ["terminal till-1"]);
    std::fs::remove_dir_all(&file).unwrap();
    assert_eq!(post(&branch, &deny, json!({})).await.status(), StatusCode::OK);
    assert_eq!(subjects().await, ["terminal till-1", "join token of terminals"]);
    assert_ne!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_and_a_change_of_an_admin_do_not_lock_each_other_out() {
    let branch = Branch::enrolled().await;
    let mut client = connection(&branch.app.pool).await.unwrap();
    let tx = begin(&mut client).await.unwrap();
    assert!(!access::db::operators::lock_admins(&tx).await.unwrap().is_empty());
    let (pool, now) = (branch.app.pool.clone(), branch.app.clock.now());
    let wish = Bootstrap { name: "eve".parse().unwrap(), password: None, token: Some((token::generate("test"), 1)) };
    let other = tokio::spawn(async move { bootstrap(access::BRANCH_SERVER, &pool, wish, now).await });
    wait_for("the bootstrap to wait for the admins", PATIENCE, async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let watcher = connection(&branch.app.pool).await.unwrap();
        let count: i64 = watcher.query_one(waiting, &[]).await.unwrap().get(0);
        if count > 0 { Ok(()) } else { Err("it does not wait") }
    })
    .await;
    let caller = Caller::operator("ann", Role::Admin);
    access::audit::record(&tx, &caller, Change::of("operator admin"), now).await.unwrap();
    commit(tx).await.unwrap();
    assert!(matches!(other.await.unwrap(), Err(BootstrapError::AdminExists(_))));
}

/// Runs the program as an administrator of the machine does, beside the running server.
#[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
fn program(branch: &Branch, arguments: &[&str], stdin: &str) -> Output {
    let config = branch.dir.path().join("branch-server.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_branch-server"));
    command.arg("--config").arg(config).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_makes_the_first_admin_of_a_branch_who_logs_in_and_gives_others_access() {
    let head_office = HeadOfficeDouble::start().await;
    let branch = Branch::start_with(Options::default(), empty_database().await, open_dir(), head_office).await;
    assert_refused(branch.get(branch.operators, paths::STATUS, Some(ADMIN)).await, Code::Unauthenticated).await;
    let password = format!("{PASSWORD}\n");
    let made = program(&branch, &["bootstrap", "--name", "ann", "--password-file", "-"], &password);
    assert!(made.status.success() && said(&made).contains("ann is the first admin."), "{}", said(&made));
    let again = program(&branch, &["bootstrap", "--name", "eve", "--password-file", "-"], &password);
    assert!(!again.status.success() && said(&again).contains("ann is an admin already"), "{}", said(&again));
    // Beside the server that runs: she can log in at once.
    let body = json!({ "name": "ann", "password": PASSWORD }).to_string();
    let answer = branch.send(Method::POST, paths::SESSION, None, body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-filial-branch-server="), "{cookie}");
    let session: Value = answer.json().await.unwrap();
    let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
    let origin = format!("https://{}", branch.operators);
    let request = http.post(format!("{origin}{}", paths::TOKENS)).header("Cookie", &cookie);
    let new = json!({ "name": "desk", "role": "admin", "scope": ["terminals"], "days": 2 });
    assert_eq!(request.try_clone().unwrap().json(&new).send().await.unwrap().status(), 403, "no proof of its site");
    let request = request.header("Origin", &origin).header("X-Filial-Csrf", session["csrf_token"].as_str().unwrap());
    let made: Value = request.json(&new).send().await.unwrap().json().await.unwrap();
    let desk = made["token"].as_str().unwrap();
    // The token does what its scope names, and nothing else.
    assert_eq!(branch.get(branch.operators, paths::TERMINALS, Some(desk)).await.status(), StatusCode::OK);
    assert_refused(branch.get(branch.operators, paths::STATUS, Some(desk)).await, Code::OutOfScope).await;
    let gone = branch.send(Method::DELETE, paths::SESSION, Some(desk), "").await;
    assert_refused(gone, Code::OutOfScope).await;
    let done = program(&branch, &["recover", "ann", "--password-file", "-"], &format!("{PASSWORD} 2\n"));
    assert!(said(&done).contains("Sessions ended: 1; tokens revoked: 1."), "{}", said(&done));
    assert_refused(branch.get(branch.operators, paths::TERMINALS, Some(desk)).await, Code::Unauthenticated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_of_a_branch_is_refused() {
    let clock = Arc::new(Later::default());
    let branch = Branch::start(Options { clock: clock.clone(), ..Options::default() }).await;
    let made = post(&branch, paths::TOKENS, json!({ "name": "week", "role": "viewer", "days": 7 })).await;
    let made: Value = made.json().await.unwrap();
    let week = made["token"].as_str().unwrap();
    assert_eq!(branch.get(branch.operators, paths::STATUS, Some(week)).await.status(), StatusCode::OK);
    clock.advance(TimeDelta::days(7));
    assert_refused(branch.get(branch.operators, paths::STATUS, Some(week)).await, Code::Unauthenticated).await;
}

fn entry(name: &str, role: &str, secret: &str) -> String {
    format!("[[token]]\nname = {name:?}\nrole = {role:?}\nsha256 = \"{}\"\n", token::hash(secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_file_is_imported_once_and_its_tokens_expire() {
    let (clock, dir) = (Arc::new(Later::default()), open_dir());
    let file = dir.path().join("tokens.toml");
    let options = || Options { clock: clock.clone(), tokens_file: Some(file.clone()), ..Options::default() };
    write(&file, entry("Front desk", "admin", ADMIN) + &entry("screen", "viewer", VIEWER));
    let head_office = HeadOfficeDouble::start().await;
    let branch = Branch::start_with(options(), empty_database().await, dir, head_office).await;
    assert_eq!(branch.get(branch.operators, paths::OPERATORS, Some(ADMIN)).await.status(), StatusCode::OK);
    assert_refused(branch.get(branch.operators, paths::OPERATORS, Some(VIEWER)).await, Code::Forbidden).await;
    let rows = branch.audit().await;
    let subjects: Vec<_> = rows.iter().map(|row| (row.who.as_str(), row.subject.as_str())).collect();
    assert_eq!(subjects, [("import", "operator front-desk"), ("import", "operator screen")]);
    assert!(rows.iter().all(|row| row.action == "branch-server start" && row.via == "console"), "{rows:?}");
    // What is added later is not read, and what was revoked does not come back.
    write(&file, entry("Front desk", "admin", ADMIN) + &entry("late", "admin", "too-late"));
    let branch = branch.restart(options()).await;
    assert_refused(branch.get(branch.operators, paths::STATUS, Some("too-late")).await, Code::Unauthenticated).await;
    assert_eq!(branch.audit().await.len(), 2);
    // Not even a file that cannot be read matters any more.
    write(&file, "[[token]]\nname = 1");
    let branch = branch.restart(options()).await;
    clock.advance(TimeDelta::days(89));
    assert_eq!(branch.get(branch.operators, paths::STATUS, Some(VIEWER)).await.status(), StatusCode::OK);
    clock.advance(TimeDelta::days(1));
    for token in [ADMIN, VIEWER] {
        assert_refused(branch.get(branch.operators, paths::STATUS, Some(token)).await, Code::Unauthenticated).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_whose_tokens_have_ended_does_not_lock_the_branch_out() {
    let (head_office, dir) = (HeadOfficeDouble::start().await, open_dir());
    let file = dir.path().join("tokens.toml");
    write(&file, entry("desk", "admin", ADMIN));
    let clock = Arc::new(Later::default());
    clock.advance(TimeDelta::days(-91));
    let options = Options { clock: clock.clone(), tokens_file: Some(file), ..Options::default() };
    let branch = Branch::start_with(options, empty_database().await, dir, head_office).await;
    assert_eq!(branch.get(branch.operators, paths::STATUS, Some(ADMIN)).await.status(), StatusCode::OK);
    // By the machine's own clock they ended yesterday.
    assert!(SystemClock.now() - clock.now() > TimeDelta::days(90));
    let password = format!("{PASSWORD}\n");
    let made = program(&branch, &["bootstrap", "--name", "ann", "--password-file", "-"], &password);
    assert!(made.status.success(), "{}", said(&made));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_the_audit_is_reported_to_head_office_also_when_the_audit_was_cut() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let deny = paths::terminal_deny(&name("till-1"));
    let keep = json!({ "keep_join_token": true });
    assert_eq!(post(&branch, &deny, keep).await.status(), StatusCode::OK);
    let mut reported = None;
    let once = async |reported: &mut Option<Head>| {
        let (pool, now) = (&branch.app.pool, branch.app.clock.now());
        let queued = audit_head::once(pool, now, reported).await.unwrap();
        deliver(pool, &*branch.app.head_office, MAX_BATCH, now).await.unwrap();
        queued
    };
    assert!(once(&mut reported).await);
    assert!(!once(&mut reported).await, "nothing changed");
    let told = |branch: &Branch| -> Vec<u64> {
        let of = |n: &Numbered| match n.report {
            Report::AuditHead { head } => Some(head.seq),
            _ => None,
        };
        branch.head_office.with(|s| s.counted.iter().filter_map(of).collect())
    };
    assert_eq!((told(&branch), reported.unwrap().seq), (vec![1], 1));
    let client = connection(&branch.app.pool).await.unwrap();
    client.batch_execute("delete from audit; update audit_head set seq = 0, hash = repeat('0', 64)").await.unwrap();
    assert!(once(&mut reported).await);
    assert_eq!(told(&branch), [1, 0]);
    // A start tells it in any case.
    assert!(once(&mut None).await);
}
