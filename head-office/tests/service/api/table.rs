//! A walk over both route tables: deny by default.

use chrono::TimeDelta;
use reqwest::Method;
use service_kit::Clock as _;
use service_kit::client::JsonClient;
use service_kit::server::{Role, Route};
use test_kit::Leaf;
use trust::certificates::{Authority, Suffix, TlsKey, certificate_to_pem, request_from_pem};
use wire::v1::operators::{NewToken, OperatorRole};

use crate::support::people::new_token;
use crate::support::{Office, TOKENS, token_of};

/// The route's path with something harmless in its variable parts.
pub fn example(route: &Route) -> String {
    route
        .path
        .replace("{id}", "00000000-0000-4000-8000-000000000000")
        .replace("{sha256}", &"0".repeat(64))
        .replace("{branch}", "nowhere")
        .replace("{product}", "nothing")
        .replace("{name}", "nobody")
        .replace("{file:.*}", "index.html")
}

async fn status(client: &JsonClient, route: &Route) -> u16 {
    let method = Method::from_bytes(route.method.as_str().as_bytes()).unwrap();
    client.request(method, &example(route)).send().await.unwrap().status().as_u16()
}

/// A caller: its credentials, and the role that the operators' listener gives it.
struct Knocker {
    name: &'static str,
    bearer: Option<String>,
    /// None: unauthenticated. Otherwise the role, and the only groups.
    held: Option<(Role, Option<&'static str>)>,
}

impl Knocker {
    fn nobody(name: &'static str, bearer: Option<String>) -> Self {
        Self { name, bearer, held: None }
    }

    fn wanted(&self, route: &Route) -> Wanted {
        match self.held {
            None => Wanted::Status(401),
            Some((role, _)) if !role.reaches(route.role.asked(true)) => Wanted::Status(403),
            Some((_, Some(group))) if group != route.group() => Wanted::Status(403),
            Some(_) => Wanted::In,
        }
    }
}

#[derive(PartialEq)]
enum Wanted {
    Status(u16),
    In,
}

/// All callers of the operators' listener.
async fn knockers(office: &Office) -> Vec<Knocker> {
    let made = async |operator: &str, days: u32| {
        let name = operator.parse().unwrap();
        let new = NewToken { operator: Some(name), days: Some(days), ..new_token("walk", OperatorRole::Admin) };
        office.token(Role::Admin, &new).await
    };
    office.service("walker", OperatorRole::Admin).await;
    office.service("gone", OperatorRole::Admin).await;
    let (expired, revoked, gone) = (made("walker", 1).await, made("walker", 9).await, made("gone", 9).await);
    let scope = Some(vec!["incidents".to_owned()]);
    let narrow = NewToken { scope, days: Some(9), ..new_token("narrow", OperatorRole::Admin) };
    let narrow = office.token(Role::Admin, &narrow).await;
    let revoke = format!("/v1/tokens/{}", revoked.kept.id);
    assert_eq!(crate::support::status_of(&office.admin(), Method::DELETE, &revoke).await, 204);
    office.disable("gone", true).await;
    office.clock.advance(TimeDelta::days(2));
    let mut all = vec![
        Knocker::nobody("stranger", None),
        Knocker::nobody("wrong token", Some("nobody-was-given-this".into())),
        Knocker::nobody("expired token", Some(expired.token)),
        Knocker::nobody("revoked token", Some(revoked.token)),
        Knocker::nobody("disabled", Some(gone.token)),
    ];
    let names = ["viewer", "operator", "release-manager", "admin"];
    for ((role, token), name) in TOKENS.into_iter().zip(names) {
        assert_eq!(role.as_str(), name);
        all.push(Knocker { name, bearer: Some(token.into()), held: Some((role, None)) });
    }
    let held = Some((Role::Admin, Some("incidents")));
    all.push(Knocker { name: "scope incidents", bearer: Some(narrow.token), held });
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_whoever_its_role_does_not_name() {
    let mut office = Office::start().await;
    let knockers = knockers(&office).await;
    let heading: String = knockers.iter().map(|k| format!(" {:>15}", k.name)).collect();
    println!("{:<8}{:<38}{:<16}{heading}", "method", "operators' listener", "role");
    for route in head_office::http::table::operator_routes() {
        let mut line = format!("{:<8}{:<38}{:<16}", route.method.as_str(), route.path, route.role.as_str());
        for knocker in &knockers {
            // Logging out for real would end what the next route needs.
            if route.path == "/v1/session" && route.method == "DELETE" && knocker.wanted(&route) == Wanted::In {
                line += &format!(" {:>15}", "(in)");
                continue;
            }
            let client = office.client(knocker.bearer.as_deref());
            let answered = status(&client, &route).await;
            line += &format!(" {answered:>15}");
            if route.role.asked(true).is_open() {
                assert!(![401, 403].contains(&answered), "{route:?} is open, {}: {answered}", knocker.name);
                continue;
            }
            match knocker.wanted(&route) {
                Wanted::Status(wanted) => assert_eq!(answered, wanted, "{route:?} for {}", knocker.name),
                Wanted::In => {
                    assert!(![401, 403, 405].contains(&answered), "{route:?} for {}: {answered}", knocker.name);
                }
            }
        }
        println!("{line}");
    }
    machines(&office, &knockers).await;
    office.stop().await;
}

/// The answer to a caller with a certificate.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Met {
    /// The connection does not come about.
    NoHandshake,
    Status(u16),
}

/// All callers with a certificate, and what closed routes answer; none: they admit it.
async fn certified(office: &Office) -> Vec<(&'static str, JsonClient, Option<Met>)> {
    let [north, denied, removed] = [
        office.branch("north", "k1", &[]).await,
        office.branch("denied", "k1", &[]).await,
        office.branch("removed", "k1", &[]).await,
    ];
    let now = office.clock.now();
    let of_removed = office.leaf(&removed);
    let gone = "/v1/branches/removed?force=true";
    office.admin().delete::<wire::v1::fleet::BranchRemoved>(gone).await.unwrap();
    // Another server has the name since.
    office.branch("removed", "k1", &[]).await;
    let deny = serde_json::json!({ "reason": "stolen" });
    office.admin().post::<_, wire::v1::fleet::Branch>("/v1/branches/denied/deny", &deny).await.unwrap();
    let foreign = Authority::begin(Suffix::default(), TlsKey::generate().unwrap(), now).unwrap();
    let request = request_from_pem(&north.key.request().unwrap()).unwrap();
    let of_foreign = foreign.issue_branch(&request, &north.name, now).unwrap();
    let of_foreign = north.key.leaf(&north.name, &certificate_to_pem(&of_foreign[0]), now).unwrap();
    let expired = north.key.leaf(&north.name, &north.certificate, now - TimeDelta::days(100)).unwrap();
    // What north's own authority says of others.
    let neighbour = north.key.leaf(&"denied".parse().unwrap(), &north.certificate, now).unwrap();
    let terminal = {
        let chain = vec![trust::certificates::certificate_from_pem(&north.certificate).unwrap()];
        let key = TlsKey::from_pem(&north.key.to_pem()).unwrap();
        let authority = Authority::open(Suffix::default(), Some(north.name.clone()), chain, key).unwrap();
        let key = TlsKey::generate().unwrap();
        let till = "till-1".parse().unwrap();
        Leaf { chain: authority.issue_terminal(&key.request().unwrap(), &till, now).unwrap(), key }
    };
    let (broken, status) = (Some(Met::NoHandshake), |status| Some(Met::Status(status)));
    let all = [
        ("branch", office.leaf(&north), None),
        ("expired", expired, broken),
        ("foreign", of_foreign, broken),
        ("neighbour's", neighbour, broken),
        ("terminal's", terminal, status(401)),
        ("denied", office.leaf(&denied), status(403)),
        ("removed", of_removed, status(403)),
    ];
    let line = office.line();
    all.into_iter().map(|(name, leaf, met)| (name, line.client(office.machines, None, Some(&leaf)), met)).collect()
}

/// The same at the machines' listener, where only certificates authenticate.
async fn machines(office: &Office, knockers: &[Knocker]) {
    let certified = certified(office).await;
    let heading: String = certified.iter().map(|(name, ..)| format!(" {name:>12}")).collect();
    println!("{:<8}{:<38}{:<11} {:>12}{heading}", "method", "machines' listener", "role", "no certif.");
    for route in head_office::http::table::machine_routes() {
        let mut others = std::collections::BTreeSet::new();
        for knocker in knockers {
            others.insert(status(&office.machine(knocker.bearer.as_deref()), &route).await);
        }
        let mut line = format!("{:<8}{:<38}{:<11} ", route.method.as_str(), route.path, route.role.as_str());
        line += &format!("{:>12}", format!("{others:?}"));
        let open = route.role.is_open();
        assert!(open || others.into_iter().eq([401]), "{route:?}");
        for (name, client, wanted) in &certified {
            let method = Method::from_bytes(route.method.as_str().as_bytes()).unwrap();
            let met = match client.request(method, &example(&route)).send().await {
                Ok(answer) => Met::Status(answer.status().as_u16()),
                Err(_) => Met::NoHandshake,
            };
            line += &format!(
                " {:>12}",
                match met {
                    Met::Status(status) => status.to_string(),
                    Met::NoHandshake => "no handshake".to_owned(),
                }
            );
            match wanted {
                Some(Met::NoHandshake) => assert_eq!(met, Met::NoHandshake, "{route:?} for {name}"),
                // Enrolment and health are open to every caller.
                _ if open => assert!(![Met::NoHandshake, Met::Status(401)].contains(&met), "{route:?} for {name}"),
                Some(status) => assert_eq!(met, *status, "{route:?} for {name}"),
                None => {
                    let out = [Met::NoHandshake, Met::Status(401), Met::Status(405)];
                    assert!(!out.contains(&met), "{route:?} for {name}: {met:?}");
                }
            }
        }
        println!("{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_table_does_not_exist() {
    let office = Office::start().await;
    for client in [office.stranger(), office.admin(), office.machine(None)] {
        for path in ["/", "/v1", "/v1/uploads/", "/admin", "/v1/releases/a/b/c"] {
            let answered = client.request(Method::GET, path).send().await.unwrap();
            assert!([404, 405].contains(&answered.status().as_u16()), "{path}: {}", answered.status());
        }
    }
    // No operator's route leaks onto the machines' listener, and the other way round.
    let machine = office.machine(Some(token_of(Role::Admin)));
    assert_eq!(crate::support::status_of(&machine, Method::GET, "/v1/releases").await, 404);
    assert_eq!(crate::support::status_of(&office.admin(), Method::GET, "/v1/sync").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_of_a_known_path_is_a_405_that_names_the_right_ones() {
    let office = Office::start().await;
    let answer = office.admin().request(Method::DELETE, "/v1/branches").send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, POST");
    let problem: wire::Problem = answer.json().await.unwrap();
    assert_eq!(problem.code, wire::Code::MethodNotAllowed);
}
