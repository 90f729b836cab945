//! Independent clients drive the gateway unchanged: `veeam-spc` from PyPI, node's HTTP/2, and curl
//! with what other public clients send. `.ci/clients` installs them.
//!
//! Two wires are tapped, before the gateway and behind it, so that what the clients and the console
//! got is judged by its bytes.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there fails the test, as it should"
)]

mod curl;
mod setup;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;
use vspc_simulator::{SeenRequest, Simulator, TokenAuthorization, seed};

use crate::child::{Caller, request, unsigned};
use crate::clients::setup::{BILLING2, Program, Setup, run, tokens_in};
use crate::harness::BILLING;

const VEEAM_SPC: Program = Program::Python("veeam_spc_run.py");
const HTTP2: Program = Program::Node("http2_client.mjs");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What a client says of itself, and who it must have been for the console and the log.
struct Login {
    user: &'static str,
    key: &'static str,
    client: &'static str,
    tenant: &'static str,
    owner: seed::SeedUser,
    company: seed::SeedOrganization,
}

const LOGINS: [Login; 2] = [
    Login {
        user: r"acme\billing",
        key: BILLING,
        client: "billing",
        tenant: "acme",
        owner: seed::ACME_OWNER,
        company: seed::ACME,
    },
    Login {
        user: r"globex\billing2",
        key: BILLING2,
        client: "billing2",
        tenant: "globex",
        owner: seed::GLOBEX_OWNER,
        company: seed::GLOBEX,
    },
];

/// A request as the client logs it, as the console saw it, or as it is recorded.
type Made = (String, String, u64);

#[tokio::test]
async fn veeam_spc_works_unchanged_for_two_tenants_at_once() {
    let mut setup = Setup::start().await;
    let url = setup.url();
    let mut arguments = vec!["--keys", &url];
    arguments.extend(LOGINS.iter().flat_map(|login| [login.user, login.key]));
    let said = setup.run(VEEAM_SPC, &arguments).await;
    let said: Value = serde_json::from_str(&said).unwrap();

    let seen = setup.reached();
    let mut requests = 0;
    for (login, said) in LOGINS.iter().zip(said["logins"].as_array().unwrap()) {
        assert_eq!(said["user"], login.user);
        assert_eq!(said["me"], login.owner.uid.to_string());
        assert_eq!(said["me_name"], login.owner.name);
        assert_eq!(said["companies"], json!([login.company.name]));
        let own = |user: &Value| user.as_str().unwrap().starts_with(login.company.name);
        assert!(said["users"].as_array().unwrap().iter().all(own));
        assert_eq!(said["about"], 403);
        // The console saw what the client did, and the same user's requests saw no other's.
        let calls = calls(said);
        assert_eq!(made_by(&seen, login.owner.uid), calls);
        requests += calls.len();
        setup.own_secret(said["key"]["secret"].as_str().unwrap());
    }
    assert_eq!(seen.len(), requests, "somebody else called the console");

    let owners = LOGINS.map(|login| (login.owner.uid, 1));
    let records = setup.finish(&owners).await;
    for (login, said) in LOGINS.iter().zip(said["logins"].as_array().unwrap()) {
        assert_recorded(&records, login, said);
    }
    let refused: Vec<&Value> = outcomes(&records)
        .filter(|record| record["code"] == "bad_credentials")
        .collect();
    assert_eq!(refused.len(), LOGINS.len(), "one wrong password each");
    for record in refused {
        assert_eq!(record["operation"], "POST /token");
        assert_eq!(record["status"], 400);
    }
}

/// What stands in for a console here is one to a client that was made from Veeam's own description.
#[tokio::test]
async fn veeam_spc_takes_the_simulator_for_a_console() {
    let mut settings = unsigned();
    // The client leaves its old bearer on when it renews.
    settings.switches.token_authorization = TokenAuthorization::Ignore;
    let simulator = Simulator::start(settings).await.unwrap();
    let owners = [seed::ACME_OWNER, seed::GLOBEX_OWNER];
    let url = simulator.url();
    let mut arguments = vec![url.as_str()];
    arguments.extend(owners.iter().flat_map(|owner| [owner.name, owner.password]));
    let said = run(VEEAM_SPC, &arguments).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut seen = simulator.requests();
    seen.retain(|request| request.grant.is_none());
    for (owner, said) in owners.iter().zip(said["logins"].as_array().unwrap()) {
        assert_eq!(said["me"], owner.uid.to_string());
        assert_eq!(made_by(&seen, owner.uid), calls(said));
    }
    let state = simulator.state();
    let of = |grant| (state.grant(grant).ok, state.grant(grant).refused);
    assert_eq!((of("password"), of("refresh_token")), ((2, 2), (4, 0)));
}

/// The requests that a client logged, less those of `/token`.
fn calls(said: &Value) -> Vec<Made> {
    let requests = said["requests"].as_array().unwrap().iter();
    let made = requests.map(|request| {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let status = request["status"].as_u64().unwrap();
        (text("method"), text("target"), status)
    });
    made.filter(|(_, target, _)| target != "/api/v3/token")
        .collect()
}

/// The requests that the console saw by one user's tokens.
fn made_by(seen: &[SeenRequest], user: Uuid) -> Vec<Made> {
    seen.iter()
        .filter(|seen| seen.subject == Some(user))
        .map(|seen| {
            let status = seen.status.map_or(0, u64::from);
            (seen.method.clone(), seen.target.clone(), status)
        })
        .collect()
}

fn outcomes(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| record["kind"] == "request")
}

/// Asserts that the log has what one client did, as whom, and in which of its sessions.
fn assert_recorded(records: &[Value], login: &Login, said: &Value) {
    let own = outcomes(records).filter(|record| record["client"] == login.client);
    let (tokens, calls): (Vec<&Value>, Vec<&Value>) = own
        .filter(|record| record["status"] != 400)
        .partition(|record| record["operation"] == "POST /token");
    let credential = |record: &Value, way: &str| {
        assert!(
            record["credential"].as_str().unwrap().starts_with(way),
            "{record}"
        );
    };

    let grants: Vec<&Value> = tokens.iter().map(|record| &record["grant"]).collect();
    assert_eq!(grants, ["password", "refresh_token", "refresh_token"]);
    let session = &tokens[0]["session"];
    assert!(session.is_string(), "{}", tokens[0]);
    for record in &tokens {
        assert_eq!(record["tenant"], login.tenant);
        assert_eq!(record["session"], *session);
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!("ok"), &json!(200))
        );
    }
    credential(tokens[0], "password:");
    credential(tokens[1], "refresh:");

    let (by_key, by_token) = calls.split_last().unwrap();
    credential(by_key, "bearer:");
    for record in by_token {
        credential(record, "token:");
        assert_eq!(record["session"], *session, "{record}");
    }
    for record in &calls {
        assert_eq!(record["tenant"], login.tenant);
        assert_eq!(record["target"]["uid"], login.owner.uid.to_string());
    }
    let recorded: Vec<Made> = calls.iter().map(|record| made(record)).collect();
    let told: Vec<Made> = self::calls(said).into_iter().map(without_query).collect();
    assert_eq!(recorded, told);
    assert_identities_recorded(records, &calls, login, said);
}

fn made(record: &Value) -> Made {
    let text = |name: &str| record[name].as_str().unwrap().to_owned();
    let status = record["status"].as_u64().unwrap();
    (text("method"), text("path"), status)
}

fn without_query((method, target, status): Made) -> Made {
    let path = target.split('?').next().unwrap_or_default().to_owned();
    (method, path, status)
}

/// Asserts that pages, the making and the deletion of a key are recorded with what they concerned.
fn assert_identities_recorded(records: &[Value], calls: &[&Value], login: &Login, said: &Value) {
    let owner = login.owner.uid.to_string();
    let of = |operation: &str| -> Vec<&Value> {
        let same = calls.iter().filter(|call| call["operation"] == operation);
        same.copied().collect()
    };
    let pages = of("GET /users/logins");
    let listed = said["logins"].as_array().unwrap().len();
    assert_eq!(pages.len(), 2 * listed);
    for (number, page) in pages.iter().enumerate() {
        let query = format!("limit=1&offset={}", number % listed);
        assert_eq!(page["query"], query);
        assert_eq!(page["subject"]["action"], "listed");
        assert_eq!(page["subject"]["count"], 1);
    }

    let [made] = of("POST /users/{userUid}/logins/apikey")[..] else {
        panic!("one key is made");
    };
    let [deleted] = of("DELETE /users/{userUid}/logins/{userLoginId}")[..] else {
        panic!("one identity is deleted");
    };
    for (record, action) in [(made, "created"), (deleted, "deleted")] {
        let subject = &record["subject"];
        assert_eq!(subject["action"], action);
        assert_eq!(subject["user_uid"], owner);
        assert_eq!(subject["login_id"], said["key"]["id"]);
        let intent = records
            .iter()
            .find(|other| other["kind"] == "intent" && other["request_id"] == record["request_id"]);
        let intent = intent.expect("what changes something is announced");
        assert_eq!(intent["client"], login.client);
        assert!(intent["seq"].as_u64() < record["seq"].as_u64());
    }
    assert_eq!(made["subject"]["provider"], "AK");
    assert_eq!(made["subject"]["scopes"], json!(["rest"]));
    assert_eq!(made["subject"]["description"], "key of the nightly report");
}

#[tokio::test]
async fn a_client_of_http2_alone_works_on_one_connection() {
    const PATHS: [(&str, u64); 6] = [
        // Not an operation of the console; the client asks for it to see who answers.
        ("/api/v3/about/version", 404),
        ("/api/v3/users/me", 200),
        ("/api/v3/users/logins?limit=1", 200),
        ("/api/v3/organizations/companies?limit=100&offset=0", 200),
        ("/api/v3/_test/bytes?size=200000", 200),
        ("/api/v3/users", 200),
    ];
    let mut setup = Setup::start().await;
    let login = &LOGINS[0];
    let url = setup.url();
    let mut arguments = vec![url.as_str(), login.user, login.key];
    arguments.extend(PATHS.iter().map(|(path, _)| path));
    let said = setup.run(HTTP2, &arguments).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(setup.front.heard().len(), 1, "more than one connection");

    let answers = said["answers"].as_array().unwrap();
    let token = &answers[0];
    assert_eq!(
        (&token["status"], &token["headers"]["cache-control"]),
        (&json!(200), &json!("no-store"))
    );
    setup.own_tokens(&tokens_in(token["body"].as_str().unwrap()));
    for (answer, (path, status)) in answers[1..].iter().zip(PATHS) {
        assert_eq!(answer["path"], path);
        assert_eq!(answer["status"], status, "{path}");
        assert!(answer["headers"]["x-gateway-request-id"].is_string());
    }
    assert_eq!(answers[5]["bytes"], 200_000);

    let seen = setup.reached();
    let mut reached = made_by(&seen, login.owner.uid);
    let mut told = PATHS.map(|(path, status)| ("GET".to_owned(), path.to_owned(), status));
    reached.sort();
    told.sort();
    assert_eq!(reached, told);
    for seen in &seen {
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.body_length, 0);
    }

    let records = setup.finish(&[(login.owner.uid, 1)]).await;
    let own: Vec<&Value> = outcomes(&records)
        .filter(|record| record["client"] == login.client)
        .collect();
    assert_eq!(own.len(), 1 + PATHS.len());
    let sessions: HashSet<&Value> = own.iter().map(|record| &record["session"]).collect();
    assert_eq!(sessions.len(), 1);
    assert!(own.iter().all(|record| record["tenant"] == login.tenant));
}

/// Scripts log in for every run. The console does not hear of it.
#[tokio::test]
async fn a_thousand_logins_cost_the_console_one() {
    const TIMES: usize = 1000;
    let setup = Setup::start().await;
    let login = &LOGINS[0];
    let form = format!(
        "grant_type=password&username={}&password={}",
        login.user, login.key
    );
    let mut caller = Caller::new(setup.home.address);
    let mut tokens = Vec::new();
    for _ in 0..TIMES {
        let answer = caller
            .send(request("POST", "/api/v3/token", &[FORM], &form))
            .await;
        let answer = answer.unwrap().json();
        tokens.push(answer["access_token"].as_str().expect("a token").to_owned());
    }
    let distinct: HashSet<&String> = tokens.iter().collect();
    assert_eq!(distinct.len(), TIMES, "two logins share a token");
    for token in [&tokens[0], &tokens[TIMES / 2], &tokens[TIMES - 1]] {
        let bearer = format!("Bearer {token}");
        let me = request("GET", "/api/v3/users/me", &[("authorization", &bearer)], "");
        let me = caller.send(me).await.unwrap();
        assert_eq!(me.status, 200, "{me:?}");
        assert_eq!(
            me.json()["data"]["instanceUid"],
            login.owner.uid.to_string()
        );
    }
    assert_eq!(caller.connections, 1);

    let records = setup.finish(&[(login.owner.uid, 1)]).await;
    let mut operations = BTreeMap::new();
    for record in outcomes(&records).filter(|record| record["code"] == "ok") {
        *operations
            .entry(record["operation"].as_str().unwrap())
            .or_insert(0) += 1;
    }
    let expected = [("GET /users/me", 3), ("POST /token", TIMES)];
    assert_eq!(operations, BTreeMap::from(expected));
}
