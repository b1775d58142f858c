//! A walk over both route tables: deny by default. At the machines' listener, everybody who has some certificate.

use std::sync::Arc;

use branch_server::http::table::{machine_routes, operator_routes};
use chrono::TimeDelta;
use reqwest::Method;
use service_kit::server::{Role, Route};
use service_kit::{Clock as _, SystemClock};
use test_kit::{BranchKey, Leaf};
use trust::certificates::{Authority, Suffix, TlsKey, certificate_from_pem};
use wire::v1::paths;

use crate::support::{ADMIN, Branch, JOIN, OPERATOR, Till, VIEWER, name};

/// The route's path with something harmless in its variable parts.
fn example(route: &Route) -> String {
    let path = route.path.replace("{sha256}", &"0".repeat(64)).replace("{file:.*}", "index.html");
    if route.path.starts_with("/v1/metadata") { path.replace("{name}", "x") } else { path.replace("{name}", "nobody") }
}

fn method(route: &Route) -> Method {
    Method::from_bytes(route.method.as_str().as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_people_refuses_whoever_its_role_does_not_name() {
    let branch = Branch::enrolled().await;
    let knockers = [
        ("stranger", None, None),
        ("wrong token", Some("nobody-was-given-this"), None),
        ("join token", Some(JOIN), None),
        ("viewer", Some(VIEWER), Some(Role::Viewer)),
        ("operator", Some(OPERATOR), Some(Role::Operator)),
        ("admin", Some(ADMIN), Some(Role::Admin)),
    ];
    for route in operator_routes() {
        // These callers stand at the machine itself.
        let asked = route.role.asked(true);
        let mut line = format!("{:<8}{:<38}{:<12}", route.method.as_str(), route.path, route.role.as_str());
        for (who, token, role) in &knockers {
            // Logging out for real would end what the next route needs.
            if route.path == paths::SESSION && route.method == "DELETE" && role.is_some() {
                line += &format!(" {:>12}", "(in)");
                continue;
            }
            let answered = branch.send(method(&route), &example(&route), *token, "").await.status().as_u16();
            line += &format!(" {answered:>12}");
            match role {
                _ if asked.is_open() => assert!(![401, 403].contains(&answered), "{route:?} for {who}"),
                None => assert_eq!(answered, 401, "{route:?} for {who}"),
                Some(role) if !role.reaches(asked) => assert_eq!(answered, 403, "{route:?} for {who}"),
                Some(_) => assert!(![401, 403, 405].contains(&answered), "{route:?} for {who}: {answered}"),
            }
        }
        println!("{line}");
    }
}

/// What somebody with a certificate meets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Met {
    /// The connection does not come about.
    NoHandshake,
    Status(u16, &'static str),
}

/// The authority of this branch, as its server has it on its disk.
fn own_authority(branch: &Branch) -> (Authority, BranchKey, String) {
    let state = branch.dir.path().join("state");
    let kept: toml::Table = toml::from_str(&std::fs::read_to_string(state.join("identity.toml")).unwrap()).unwrap();
    let certificate = kept["certificate"].as_str().unwrap().to_owned();
    let key = TlsKey::read(&state.join("identity-key.pem")).unwrap();
    let again = BranchKey::from_pem(key.to_pem());
    let chain = vec![certificate_from_pem(&certificate).unwrap()];
    (Authority::open(Suffix::default(), Some("north".parse().unwrap()), chain, key).unwrap(), again, certificate)
}

/// A branch of the same fleet.
fn neighbour(branch: &Branch) -> Authority {
    let (key, south) = (TlsKey::generate().unwrap(), "south".parse::<fleet_types::BranchName>().unwrap());
    let request = key.request().unwrap();
    let chain = branch.head_office.with(|s| s.authority.issue_branch(&request, &south, SystemClock.now()).unwrap());
    Authority::open(Suffix::default(), Some(south), chain, key).unwrap()
}

fn terminal_of(authority: &Authority, terminal: &str, key: TlsKey, age: TimeDelta) -> Leaf {
    let request = key.request().unwrap();
    Leaf { chain: authority.issue_terminal(&request, &name(terminal), SystemClock.now() - age).unwrap(), key }
}

/// Everybody with a certificate, and what closed routes answer; none: they let it in.
async fn certified(branch: &Branch) -> Vec<(&'static str, Till, Option<Met>)> {
    let (till, denied) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let deny = paths::terminal_deny(&name("till-2"));
    assert_eq!(branch.send(Method::POST, &deny, Some(ADMIN), "{}").await.status(), 200);
    let (fresh, now) = (TimeDelta::zero(), SystemClock.now());
    let (north, key, certificate) = own_authority(branch);
    let foreign = Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), now).unwrap();
    let of_foreign = {
        let own = TlsKey::generate().unwrap();
        let chain = foreign.issue_branch(&own.request().unwrap(), &"north".parse().unwrap(), now).unwrap();
        let north = Authority::open(Suffix::default(), Some("north".parse().unwrap()), chain, own).unwrap();
        terminal_of(&north, "till-1", branch.key("till-1"), fresh)
    };
    let office = {
        let key = TlsKey::generate().unwrap();
        let chain = branch.head_office.with(|s| s.authority.issue_own(&key.request().unwrap(), now).unwrap());
        Leaf { chain, key }
    };
    // What a thief of the branch's own keys makes: only the key that enrolled is the terminal.
    let forged = terminal_of(&north, "till-1", TlsKey::generate().unwrap(), fresh);
    let unknown = terminal_of(&north, "till-9", TlsKey::generate().unwrap(), fresh);
    let expired = terminal_of(&north, "till-1", branch.key("till-1"), TimeDelta::days(100));
    let stolen = terminal_of(&neighbour(branch), "till-1", branch.key("till-1"), fresh);
    let leaf = key.leaf(&"north".parse().unwrap(), &certificate, now).unwrap();
    let (answer, refused) = (till.answer.clone(), |status, code| Some(Met::Status(status, code)));
    let of = |leaf| branch.presenting(leaf, answer.clone());
    vec![
        ("terminal", till, None),
        ("neighbour's", of(stolen), refused(403, "wrong-branch")),
        ("branch's", of(leaf), refused(403, "forbidden")),
        ("forged", of(forged), refused(403, "other-key")),
        ("unknown", of(unknown), refused(401, "unauthenticated")),
        ("denied", denied, refused(403, "identity-denied")),
        ("head office", of(office), Some(Met::NoHandshake)),
        ("expired", of(expired), Some(Met::NoHandshake)),
        ("foreign", of(of_foreign), Some(Met::NoHandshake)),
    ]
}

async fn met(branch: &Branch, route: &Route, till: &Till) -> Met {
    let url = format!("https://{}{}", branch.machines, example(route));
    let Ok(answer) = till.http.request(method(route), url).send().await else { return Met::NoHandshake };
    let status = answer.status().as_u16();
    if answer.headers()["content-type"] != "application/problem+json" {
        return Met::Status(status, "");
    }
    let problem: wire::Problem = answer.json().await.unwrap();
    Met::Status(status, problem.code.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_machines_refuses_whoever_is_no_terminal_of_this_branch() {
    let branch = Branch::enrolled().await;
    let certified = certified(&branch).await;
    let heading: String = certified.iter().map(|(who, ..)| format!(" {who:>15}")).collect();
    println!("{:<8}{:<38}{:<11} {:>9}{heading}", "method", "machines' listener", "role", "none");
    for route in machine_routes() {
        let open = route.role.is_open();
        let mut line = format!("{:<8}{:<38}{:<11}", route.method.as_str(), route.path, route.role.as_str());
        // No certificate; a bearer token is none.
        for token in [None, Some(ADMIN), Some(JOIN)] {
            if route.method == "GET" {
                let answered = branch.get(branch.machines, &example(&route), token).await.status().as_u16();
                assert_eq!(answered == 401, !open, "{route:?} without a certificate: {answered}");
            }
        }
        let answered = branch.post(&example(&route), None, "{}").await.status().as_u16();
        if route.method == "POST" {
            assert_eq!(answered == 401, !open, "{route:?} without a certificate: {answered}");
        }
        line += &format!(" {:>9}", if open { "in" } else { "401" });
        for (who, till, wanted) in &certified {
            let met = met(&branch, &route, till).await;
            let shown = match met {
                Met::NoHandshake => "no handshake".to_owned(),
                Met::Status(status, code) if wanted.is_some() && !open => {
                    format!("{status} {code}").chars().take(15).collect()
                }
                Met::Status(status, _) => status.to_string(),
            };
            line += &format!(" {shown:>15}");
            match wanted {
                Some(Met::NoHandshake) => assert_eq!(met, Met::NoHandshake, "{route:?} for {who}"),
                _ if open => assert!(!matches!(met, Met::NoHandshake | Met::Status(401, _)), "{route:?} for {who}"),
                Some(wanted) => assert_eq!(met, *wanted, "{route:?} for {who}"),
                None => assert!(
                    !matches!(met, Met::NoHandshake | Met::Status(401 | 403 | 405, _)),
                    "{route:?} for {who}: {met:?}"
                ),
            }
        }
        println!("{line}");
    }
    // It refused others, and not everybody.
    assert_eq!(branch.ask(paths::SYNC, &certified[0].1).await.status(), 200);
}

/// The attack of the design, by its name: the terminal's key and certificate, at the server of another branch of the same fleet.
#[tokio::test(flavor = "multi_thread")]
async fn stolen_terminal_certificate_at_another_branch() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    let south = neighbour(&branch);
    let key = TlsKey::generate().unwrap();
    let stolen = terminal_of(&south, "till-1", key, TimeDelta::zero());
    let answer = branch.enrol("till-2").await.answer;
    let thief = branch.presenting(stolen, answer);
    let refused = branch.ask(paths::SYNC, &thief).await;
    assert_eq!(refused.status(), 403);
    let problem: wire::Problem = refused.json().await.unwrap();
    assert_eq!(problem.code, wire::Code::WrongBranch);
    assert!(problem.detail.contains("branch south") && problem.detail.contains("branch north"), "{}", problem.detail);
    // By its key alone it is nobody here either.
    let request = trust::certificates::request_to_pem(&thief.leaf.key.request().unwrap());
    let body = serde_json::json!({ "certificate_request": request });
    let refused = branch.post(paths::ENROL, Some(&thief), body.to_string()).await;
    crate::support::assert_refused(refused, wire::Code::JoinRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_ends_with_its_certificate() {
    let clock = Arc::new(crate::daemons::Later::default());
    let options = crate::support::Options { tls_clock: Some(clock.clone()), ..Default::default() };
    let branch = Branch::start(options).await;
    branch.app.poll.once().await.unwrap();
    let till = branch.enrol("till-1").await;
    assert_eq!(branch.ask(paths::SYNC, &till).await.status(), 200);
    clock.advance(TimeDelta::days(91));
    crate::support::assert_refused(branch.ask(paths::SYNC, &till).await, wire::Code::CertificateRefused).await;
    let renewed = branch.try_enrol(None, "till-1", &branch.key("till-1")).await;
    assert_eq!(renewed.status(), 200);
    // What is shown to terminals was renewed, too.
    let shown = test_kit::s_client(branch.machines, &[]).await;
    assert!(shown.contains("subject=CN = branch north"), "{shown}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
fn the_program_explains_itself_on_narrow_screens_and_into_closed_pipes() {
    let program = || std::process::Command::new(env!("CARGO_BIN_EXE_branch-server"));
    let narrow = program().arg("--help").env("COLUMNS", "40").output().unwrap();
    let help = String::from_utf8(narrow.stdout).unwrap();
    let example = branch_server::config::EXAMPLE.lines().map(|line| format!("  {line}").trim_end().to_owned());
    let shown: Vec<_> = help.lines().map(str::trim_end).collect();
    let example: Vec<_> = example.collect();
    assert!(shown.windows(example.len()).any(|lines| lines == example), "a wrapped comment is not TOML: {help}");
    for arguments in [&["openapi"][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program().args(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}
