//! A walk over both route tables: deny by default.

use reqwest::Method;
use service_kit::client::JsonClient;
use service_kit::server::{Role, Route};

use crate::support::{Office, TOKENS, token_of};

/// The route's path with something harmless in its variable parts.
fn example(route: &Route) -> String {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_whoever_its_role_does_not_name() {
    let mut office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    for (routes, at_machines) in
        [(head_office::app::operator_routes(), false), (head_office::app::machine_routes(), true)]
    {
        let client = |token| {
            if at_machines {
                office.machine(token)
            } else {
                let stranger = office.stranger();
                token.map_or(stranger.clone(), |t: &str| stranger.with_token(service_kit::Secret::new(t)))
            }
        };
        let tokens: Vec<(Role, &str)> = TOKENS.into_iter().chain([(Role::Branch, branch.token.as_str())]).collect();
        for route in &routes {
            if route.role.is_open() {
                assert!(![401, 403].contains(&status(&client(None), route).await) || route.role == Role::JoinToken);
                continue;
            }
            assert_eq!(status(&client(None), route).await, 401, "{route:?} without a token");
            assert_eq!(
                status(&client(Some("nobody-was-given-this")), route).await,
                401,
                "{route:?} with a wrong token"
            );
            for (role, token) in &tokens {
                let answered = status(&client(Some(token)), route).await;
                // A token is known on its own listener only.
                let known = role.is_operator() != at_machines;
                match (known, role.reaches(route.role)) {
                    (false, _) => assert_eq!(answered, 401, "{route:?} with a token of the other listener"),
                    (true, false) => assert_eq!(answered, 403, "{route:?} as {}", role.as_str()),
                    (true, true) => {
                        assert!(![401, 403, 405].contains(&answered), "{route:?} as {}: {answered}", role.as_str());
                    }
                }
            }
        }
    }
    office.stop().await;
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
