//! Callers with tokens of an identity provider, which is a small server here: what they get, what
//! reaches the console, what is recorded, and what the provider is asked.

mod provider;

use serde_json::{Value, json};
use vspc_simulator::{Settings, Simulator};

use crate::harness::{
    ACME, Answer, GLOBEX, World, ZABBIX, configuration, ok, unsigned_settings, until_true,
    until_true_async, write_secret,
};
use provider::{Provider, Signer, now, with};

const ME: &str = "/api/v3/users/me";

/// A gateway that takes the tokens of a provider: `reader` reads for acme, `mapped` for the tenant
/// that its token names.
async fn world(provider: &Provider, more: &str) -> World {
    start(&provider.url(), more, "").await
}

async fn start(issuer: &str, more: &str, clients: &str) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let base = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let text = format!(
        r#"{base}
[[issuers]]
name = "entra"
issuer = "{issuer}"
audience = ["vspc-gateway"]
{more}
[[clients]]
name = "reader"
jwt = {{ issuer = "entra", claims = {{ azp = "app-1", roles = "reader" }} }}
tenants = ["acme"]
allow = [{{ methods = ["GET"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "writer"
jwt = {{ issuer = "entra", claims = {{ azp = "app-1", roles = "writer" }} }}
tenants = ["acme"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "mapped"
jwt = {{ issuer = "entra", claims = {{ azp = "app-2" }} }}
tenant_claim = "tid_vspc"
tenants = ["*"]
allow = [{{ methods = ["GET"], paths = ["/api/v3/**"] }}]
{clients}
"#
    );
    let world = World::start_in(simulator, folder, &text, |_| {}).await;
    world.keep_issuers();
    world
}

fn claims(provider: &Provider) -> Value {
    json!({"iss": provider.url(), "sub": "5c0e", "aud": "vspc-gateway", "iat": now(),
        "exp": now() + 600, "azp": "app-1", "roles": ["reader"]})
}

impl World {
    /// Once the issuer's keys are there.
    async fn get_issued(&self, token: &str) -> Answer {
        let gone = async || self.get_as(token, ME).await.code() != "issuer_unavailable";
        until_true_async(gone).await;
        self.get_as(token, ME).await
    }
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn a_token_is_its_client_and_the_console_never_sees_it() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "").await;
    let token = signer.sign(&claims(&provider));
    let answer = world.get_issued(&token).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(answer.json()["data"]["instanceUid"], ACME);
    let record = world.outcome(&answer).await;
    assert_eq!(record["client"], "reader");
    assert_eq!(record["principal"], "entra|5c0e");
    assert_eq!(record["tenant"], "acme");
    assert!(record["credential"].as_str().unwrap().starts_with("jwt:"));
    let seen = world.reached();
    let mut lines = seen.iter().flat_map(|seen| &seen.headers);
    assert!(lines.all(|(_, value)| !value.contains(&token)));
    let log = world.records();
    assert!(
        log.iter()
            .all(|record| !record.to_string().contains(&token))
    );
    // Its rules are its client's.
    let bearer = format!("Bearer {token}");
    let answer = world
        .call("POST", "/api/v3/users", &[("authorization", &bearer)], "{}")
        .await;
    assert_eq!(refused(&answer), (403, "operation_denied"));
    assert_eq!(world.outcome(&answer).await["principal"], "entra|5c0e");
    // The keys were fetched once, however often they were used.
    assert_eq!(provider.asked("/keys"), 1);
    let changed = world
        .record(|record| record["operation"] == "issuer.keys_changed")
        .await;
    assert_eq!(changed["kind"], "config");
    assert_eq!(changed["detail"], "entra: new: \"k1\"");
    let metrics = world.admin("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains("key_fetches_total{issuer=\"entra\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
    let stamp = metrics
        .lines()
        .find(|line| line.contains("keys_timestamp_seconds{issuer=\"entra\"}"))
        .unwrap();
    let stamp: i64 = stamp.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((now() - stamp).abs() < 60, "{stamp}");
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_and_the_record_says_why() {
    let (signer, foreign) = (Signer::new("k1"), Signer::new("k1"));
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "leeway = \"0s\"").await;
    let good = claims(&provider);
    world.get_issued(&signer.sign(&good)).await;
    let reached = world.reached().len();
    let sign = |change: Value| signer.sign(&with(&good, change));
    for (token, why) in [
        (foreign.sign(&good), "signature"),
        (sign(json!({"exp": now() - 1})), "expired"),
        (sign(json!({"nbf": now() + 60})), "not good yet"),
        (sign(json!({"iat": now() + 60})), "in the future"),
        (sign(json!({"exp": now() + 100_000})), "max_lifetime"),
        (sign(json!({"aud": "other"})), "audience"),
        (sign(json!({"aud": null})), "no aud"),
        (sign(json!({"sub": null})), "no sub"),
        (
            sign(json!({"iss": "https://evil.example"})),
            "not configured",
        ),
        (sign(json!({"azp": "app-9"})), "no client"),
        (sign(json!({"azp": "app-2"})), "tenant_claim"),
        (sign(json!({"cnf": {"jkt": "x"}})), "cnf"),
        (
            signer.sign_as(&json!({"alg": "none", "kid": "k1"}), &good),
            "algorithm",
        ),
        (
            signer.sign_as(&json!({"alg": "HS256", "kid": "k1"}), &good),
            "algorithm",
        ),
        (
            signer.sign_as(&json!({"alg": "ES256", "kid": "k2"}), &good),
            "key is not one",
        ),
        (
            signer.sign_as(&json!({"alg": "ES256", "kid": "k1", "crit": ["x"]}), &good),
            "crit",
        ),
        (
            signer.sign_as(&json!({"alg": "ES256", "typ": "logout+jwt"}), &good),
            "typ",
        ),
        ("e30.e30.e30".to_owned(), "no iss"),
        ("not.a.token".to_owned(), "two readings"),
    ] {
        let answer = world.get_as(&token, ME).await;
        assert_eq!(
            refused(&answer),
            (401, "bad_credentials"),
            "{why}: {answer:?}"
        );
        let record = world.outcome(&answer).await;
        let detail = record["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{why}: {record}");
        assert_eq!(record["client"], json!(null), "{record}");
        assert_eq!(record["principal"], json!(null), "{record}");
        // The caller learns no more than it may know.
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        let is_told = ["expired", "not good yet"].contains(&why);
        assert_eq!(!told.contains("not known here"), is_told, "{why}: {told}");
    }
    assert_eq!(
        world.reached().len(),
        reached,
        "nothing reached the console"
    );
}

#[tokio::test]
async fn a_token_that_is_two_clients_and_credentials_that_disagree_are_conflicts() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "").await;
    let reader = signer.sign(&claims(&provider));
    assert!(ok(&world.get_issued(&reader).await));
    let both = with(&claims(&provider), json!({"roles": ["reader", "writer"]}));
    let answer = world.get_as(&signer.sign(&both), ME).await;
    assert_eq!(refused(&answer), (401, "conflicting_credentials"));
    let record = world.outcome(&answer).await;
    assert!(
        record["detail"]
            .as_str()
            .unwrap()
            .contains("more than one client")
    );
    let bearer = format!("Bearer {reader}");
    let headers = [("authorization", &*bearer), ("x-api-key", ZABBIX)];
    let answer = world.call("GET", ME, &headers, "").await;
    assert_eq!(refused(&answer), (401, "conflicting_credentials"));
}

#[tokio::test]
async fn a_token_names_its_tenant_and_the_header_may_repeat_it() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "").await;
    let of = |tenant: &str| {
        let change = json!({"azp": "app-2", "tid_vspc": tenant});
        signer.sign(&with(&claims(&provider), change))
    };
    for (tenant, owner) in [("acme", ACME), ("globex", GLOBEX), ("1001", ACME)] {
        let answer = world.get_issued(&of(tenant)).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(answer.json()["data"]["instanceUid"], owner);
    }
    let bearer = format!("Bearer {}", of("acme"));
    for (header, expected) in [
        ("acme", (200, "")),
        ("1001", (200, "")),
        ("globex", (403, "tenant_mismatch")),
    ] {
        let headers = [("authorization", &*bearer), ("x-tenant", header)];
        let answer = world.call("GET", ME, &headers, "").await;
        assert_eq!(refused(&answer), expected, "{header}");
    }
    let answer = world.get_as(&of("nobody"), ME).await;
    assert_eq!(refused(&answer), (403, "tenant_denied"));
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_has_it_and_strangers_cannot_have_keys_fetched() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let provider = Provider::start(&[&old]).await;
    let world = world(&provider, "refetch = \"2s\"").await;
    let token = old.sign(&claims(&provider));
    assert!(ok(&world.get_issued(&token).await));
    assert_eq!(provider.asked("/keys"), 1);
    provider.publish(&[&new]);
    let renewed = new.sign(&claims(&provider));
    // Within the pause nobody is asked; after it once, however many tokens come.
    until_true_async(async || ok(&world.get_as(&renewed, ME).await)).await;
    assert_eq!(provider.asked("/keys"), 2);
    for kid in 0..50 {
        let header = json!({"alg": "ES256", "kid": format!("k{kid}")});
        let stranger = new.sign_as(&header, &claims(&provider));
        let answer = world.get_as(&stranger, ME).await;
        assert!([401, 503].contains(&answer.status), "{answer:?}");
    }
    assert!(provider.asked("/keys") <= 4, "{}", provider.asked("/keys"));
    // The key is not the issuer's any more, and so is nothing that it has signed.
    let answer = world.get_as(&token, ME).await;
    assert_eq!(refused(&answer), (401, "bad_credentials"));
    let record = world
        .record(|record| {
            record["operation"] == "issuer.keys_changed"
                && record["detail"].as_str().unwrap().contains("withdrawn")
        })
        .await;
    assert_eq!(record["detail"], "entra: new: \"new\"; withdrawn: \"old\"");
}

#[tokio::test]
async fn keys_are_used_while_the_provider_is_down_but_not_for_ever() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "refresh = \"1s\"\nmax_stale = \"4s\"").await;
    let token = signer.sign(&claims(&provider));
    assert!(ok(&world.get_issued(&token).await));
    provider.answer("/keys", 503, b"down".to_vec());
    let down = provider.asked("/keys");
    until_true(|| provider.asked("/keys") > down).await;
    let answer = world.get_as(&token, ME).await;
    assert!(ok(&answer), "they are not too old: {answer:?}");
    let gone = async || world.get_as(&token, ME).await.code() == "issuer_unavailable";
    until_true_async(gone).await;
    let answer = world.get_as(&token, ME).await;
    assert_eq!(refused(&answer), (503, "issuer_unavailable"));
    let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    let record = world.outcome(&answer).await;
    assert_eq!(record["code"], "issuer_unavailable");
    // A good key beside it changes nothing: whether they agree is not known.
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("x-api-key", ZABBIX)];
    let answer = world.call("GET", ME, &headers, "").await;
    assert_eq!(refused(&answer), (503, "issuer_unavailable"));
    assert!(
        ok(&world.get(ZABBIX, "acme", ME).await),
        "others are served"
    );
    let record = world
        .record(|record| record["operation"] == "issuer.keys_not_fetched")
        .await;
    assert!(record["detail"].as_str().unwrap().contains("503"));
    provider.publish(&[&signer]);
    assert!(ok(&world.get_issued(&token).await));
}

/// What a provider must not do: nothing of it leads to a key, to a crash, or anywhere else.
#[tokio::test]
async fn what_is_no_discovery_and_no_set_of_keys_is_not_believed() {
    let signer = Signer::new("k1");
    let elsewhere = Provider::start(&[&signer]).await;
    let document = |provider: &Provider, change: Value| {
        let base =
            json!({"issuer": provider.url(), "jwks_uri": format!("{}/keys", provider.url())});
        with(&base, change).to_string().into_bytes()
    };
    type Prepare<'a> = Box<dyn Fn(&Provider) + 'a>;
    const DISCOVERY: &str = "/.well-known/openid-configuration";
    let discovered = |change: Value| -> Prepare<'_> {
        let document = &document;
        Box::new(move |provider| {
            provider.answer(DISCOVERY, 200, document(provider, change.clone()));
        })
    };
    let keys = |status: u16, body: Vec<u8>| -> Prepare<'_> {
        Box::new(move |provider| provider.answer("/keys", status, body.clone()))
    };
    let cases: Vec<(Prepare<'_>, &str)> = vec![
        (
            discovered(json!({"issuer": "https://evil.example"})),
            "another issuer",
        ),
        (discovered(json!({"issuer": null})), "names no issuer"),
        (discovered(json!({"jwks_uri": null})), "names no jwks_uri"),
        (
            discovered(json!({"jwks_uri": "http://192.0.2.1/keys"})),
            "must be https",
        ),
        (
            discovered(json!({"jwks_uri": "file:///etc/passwd"})),
            "must be",
        ),
        (
            Box::new(|provider: &Provider| provider.answer(DISCOVERY, 200, b"<html>".to_vec())),
            "no JSON object",
        ),
        (
            Box::new(|provider: &Provider| {
                provider.redirect(DISCOVERY, &format!("{}{DISCOVERY}", elsewhere.url()));
            }),
            "302",
        ),
        (
            Box::new(|provider: &Provider| {
                provider.redirect("/keys", &format!("{}/keys", elsewhere.url()));
            }),
            "302",
        ),
        (keys(200, vec![b' '; 10 * 1024 * 1024]), "larger than 1 MiB"),
        (keys(200, b"{}".to_vec()), "no JWK set"),
        (keys(200, br#"{"keys":[]}"#.to_vec()), "none of its keys"),
        (keys(404, b"{}".to_vec()), "404"),
    ];
    for (prepare, why) in cases {
        let provider = Provider::start(&[&signer]).await;
        prepare(&provider);
        let world = world(&provider, "").await;
        let record = world
            .record(|record| record["operation"] == "issuer.keys_not_fetched")
            .await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{why}: {detail}");
        let answer = world.get_as(&signer.sign(&claims(&provider)), ME).await;
        assert_eq!(refused(&answer), (503, "issuer_unavailable"), "{why}");
        assert_eq!(world.reached(), []);
    }
    assert_eq!(elsewhere.asked(""), 0, "a redirect was followed");
}

#[tokio::test]
async fn keys_come_from_a_file_or_a_url_as_well() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let url = format!("jwks = {{ url = \"{}/keys\" }}", provider.url());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    write_secret(&file, &provider::set(&[&signer]));
    let file = format!("jwks = {{ file = \"{}\" }}", file.display());
    for more in [url, file] {
        // No discovery: what tokens say need not be a place.
        let world = start("issuer of the house", &more, "").await;
        let claims = with(&claims(&provider), json!({"iss": "issuer of the house"}));
        let answer = world.get_issued(&signer.sign(&claims)).await;
        assert!(ok(&answer), "{more}: {answer:?}");
    }
    assert_eq!(provider.asked("/keys"), 1);
    assert_eq!(provider.asked("/.well-known/openid-configuration"), 0);
}

/// A server that has no keys, but a certificate: whether it is believed is all that is asked here.
#[tokio::test]
async fn keys_are_asked_of_nobody_whose_certificate_is_not_believed() {
    let settings = Settings {
        tls: true,
        ..unsigned_settings()
    };
    let secure = Simulator::start(settings).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, secure.ca_pem().unwrap()).unwrap();
    let url = format!("jwks = {{ url = \"{}/keys\" }}", secure.url());
    let pin = secure.certificate_sha256().unwrap();
    for (trust, believed) in [
        (format!("ca = \"{}\"", ca.display()), true),
        (format!("fingerprint_sha256 = [\"{pin}\"]"), true),
        (
            format!("fingerprint_sha256 = [\"{}\"]", "00".repeat(32)),
            false,
        ),
    ] {
        let before = secure.requests().len();
        let more = format!("{url}\ntls = {{ {trust} }}");
        let world = start("https://issuer.example", &more, "").await;
        let record = world
            .record(|record| record["operation"] == "issuer.keys_not_fetched")
            .await;
        let detail = record["detail"].as_str().unwrap();
        assert_eq!(detail.contains("no JWK set"), believed, "{trust}: {detail}");
        assert_eq!(secure.requests().len() > before, believed, "{trust}");
    }
}

/// All at once, while there are no keys: one fetch.
#[tokio::test]
async fn many_callers_at_the_start_make_one_fetch() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "").await;
    let token = signer.sign(&claims(&provider));
    let calls = (0..50).map(|_| world.get_as(&token, ME));
    for answer in futures_util::future::join_all(calls).await {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
    }
    assert!(ok(&world.get_issued(&token).await));
    assert_eq!(provider.asked("/keys"), 1);
}

/// What is the gateway's own stays so, beside issuers.
#[tokio::test]
async fn keys_and_the_gateways_own_tokens_are_known_beside_issuers() {
    let signer = Signer::new("k1");
    let provider = Provider::start(&[&signer]).await;
    let world = world(&provider, "").await;
    let bearer = format!("Bearer {ZABBIX}");
    let headers = [("authorization", &*bearer), ("x-tenant", "acme")];
    assert!(ok(&world.call("GET", ME, &headers, "").await));
    let login = world.log_in("acme\\zabbix", ZABBIX).await;
    let own = login.text("access_token");
    assert!(ok(&world.get_as(&own, ME).await));
    // Nobody but the gateway signs what it has issued.
    let forged = with(&claims(&provider), json!({"iss": "vspc-gateway"}));
    let answer = world.get_as(&signer.sign(&forged), ME).await;
    assert_eq!(refused(&answer), (401, "bad_credentials"));
    // A token of an issuer is no password.
    let answer = world
        .log_in("acme\\reader", &signer.sign(&claims(&provider)))
        .await;
    assert_eq!(refused(&answer), (400, "bad_credentials"));
}
