use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::*;
use crate::rsa_key;
use crate::{ChallengePadding, PublicKeyForm};

const OWNER: SeedUser = seed::ACME_OWNER;

/// One key for all tests: making it takes longer than they do.
static KEY: LazyLock<PrivateDecryptingKey> =
    LazyLock::new(|| PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap());

fn xml() -> String {
    let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
    rsa_key::xml(der.as_ref()).unwrap().1
}

fn spki() -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn key_form(key: &[u8]) -> String {
    let key = BASE64.encode(key);
    let key = utf8_percent_encode(&key, NON_ALPHANUMERIC);
    format!("grant_type=public_key&public_key={key}")
}

fn decrypted(answer: &Answer) -> String {
    let body = answer.json();
    let sealed = BASE64.decode(body["encrypted_code"].as_str().unwrap());
    let key = Pkcs1PrivateDecryptingKey::new(KEY.clone()).unwrap();
    let mut out = vec![0; key.min_output_size()];
    let plain = key.decrypt(&sealed.unwrap(), &mut out).unwrap();
    String::from_utf8(plain.to_vec()).unwrap()
}

fn code_form(code: &str) -> String {
    format!("grant_type=authorization_code&code={code}")
}

async fn register(simulator: &Simulator, user: &SeedUser, query: &str) -> Value {
    let access = service(simulator).await.access;
    let path = format!(
        "/api/v3/users/{}/logins/asymmetricalgorithm?description=pair&{query}",
        user.uid
    );
    ask("POST", &path)
        .bearer(&access)
        .body("application/octet-stream", xml())
        .send(simulator)
        .await
        .data()
}

#[tokio::test]
async fn the_holder_of_a_registered_key_logs_in_without_a_password() {
    let simulator = start().await;
    register(&simulator, &OWNER, "scopes=rest").await;
    let answer = token(&simulator, &key_form(xml().as_bytes())).await;
    let expected = json!({
        "access_token": null,
        "token_type": null,
        "refresh_token": null,
        "mfa_token": null,
        "encrypted_code": answer.json()["encrypted_code"],
        "expires_in": 0,
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    let code = decrypted(&answer);
    let opened = pair(&token(&simulator, &code_form(&code)).await);
    let shown = me(&simulator, &opened.access).await.data();
    assert_eq!(shown["instanceUid"], json!(OWNER.uid));
    pair(&token(&simulator, &refresh_form(&opened.refresh)).await);
    let again = token(&simulator, &code_form(&code)).await;
    assert_eq!(again.oauth(), "invalid_request");
    assert_eq!(simulator.state().grant("authorization_code").ok, 1);
}

#[tokio::test]
async fn a_key_pair_opens_a_session_for_a_user_with_a_device() {
    let simulator = start().await;
    let id = simulator.add_public_key(seed::MFA_ADMINISTRATOR.uid, &xml(), false);
    assert!(id.is_some());
    let code = decrypted(&token(&simulator, &key_form(xml().as_bytes())).await);
    let opened = pair(&token(&simulator, &code_form(&code)).await);
    let form = as_form(&opened.refresh, OWNER.uid);
    let lent = pair(&token(&simulator, &form).await);
    let shown = me(&simulator, &lent.access).await.data();
    assert_eq!(shown["instanceUid"], json!(OWNER.uid));
}

#[tokio::test]
async fn challenges_are_padded_as_the_switch_says() {
    for (padding, algorithm) in [
        (ChallengePadding::OaepSha1, &OAEP_SHA1_MGF1SHA1),
        (ChallengePadding::OaepSha256, &OAEP_SHA256_MGF1SHA256),
    ] {
        let simulator = switched(|switches| switches.challenge_padding = padding).await;
        simulator.add_public_key(OWNER.uid, &xml(), false).unwrap();
        let body = token(&simulator, &key_form(xml().as_bytes())).await.json();
        let sealed = BASE64.decode(body["encrypted_code"].as_str().unwrap());
        let key = OaepPrivateDecryptingKey::new(KEY.clone()).unwrap();
        let mut out = vec![0; key.min_output_size()];
        let plain = key
            .decrypt(algorithm, &sealed.unwrap(), &mut out, None)
            .unwrap();
        let code = std::str::from_utf8(plain).unwrap();
        pair(&token(&simulator, &code_form(code)).await);
    }
}

#[tokio::test]
async fn the_form_of_the_key_is_a_switch() {
    for (form, takes_xml, takes_spki) in [
        (PublicKeyForm::Xml, true, false),
        (PublicKeyForm::Spki, false, true),
        (PublicKeyForm::Any, true, true),
    ] {
        let simulator = switched(|switches| switches.public_key_form = form).await;
        simulator.add_public_key(OWNER.uid, &xml(), false).unwrap();
        for (sent, taken) in [(xml().into_bytes(), takes_xml), (spki(), takes_spki)] {
            let answer = token(&simulator, &key_form(&sent)).await;
            assert_eq!(answer.status == 200, taken, "{form:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_identity() {
    let simulator = start().await;
    let open = async || {
        let code = decrypted(&token(&simulator, &key_form(xml().as_bytes())).await);
        pair(&token(&simulator, &code_form(&code)).await)
    };
    let reader = register(&simulator, &OWNER, "scopes=rest&isReadAccessOnly=true").await;
    let opened = open().await;
    me(&simulator, &opened.access).await.data();
    let renewed = pair(&token(&simulator, &refresh_form(&opened.refresh)).await);
    for access in [&opened.access, &renewed.access] {
        ask("POST", "/api/v3/users")
            .bearer(access)
            .send(&simulator)
            .await
            .error(403);
    }
    let admin = service(&simulator).await.access;
    let path = format!("/api/v3/users/{}/logins/{}", OWNER.uid, reader["id"]);
    ask("DELETE", &path)
        .bearer(&admin)
        .send(&simulator)
        .await
        .data();
    let dead = token(&simulator, &refresh_form(&renewed.refresh)).await;
    assert_eq!(dead.oauth(), "invalid_grant");
    register(&simulator, &OWNER, "scopes=ui").await;
    let screen = open().await;
    me(&simulator, &screen.access).await.error(403);
    let form = as_form(&screen.refresh, seed::ACME_ADMINISTRATOR.uid);
    let lent = pair(&token(&simulator, &form).await);
    me(&simulator, &lent.access).await.error(403);
}

#[tokio::test]
async fn keys_that_are_unknown_or_switched_off_are_refused() {
    let simulator = start().await;
    let unknown = token(&simulator, &key_form(xml().as_bytes())).await;
    assert_eq!(unknown.oauth(), "invalid_request");
    let made = register(&simulator, &OWNER, "scopes=rest").await;
    let admin = service(&simulator).await.access;
    let path = format!("/api/v3/users/{}/logins/{}", OWNER.uid, made["id"]);
    let patch = json!([{ "op": "replace", "path": "/status", "value": "disabled" }]);
    ask("PATCH", &path)
        .bearer(&admin)
        .json(&patch)
        .send(&simulator)
        .await
        .data();
    for form in [
        key_form(xml().as_bytes()),
        key_form(b"no key"),
        "grant_type=public_key&public_key=***".to_owned(),
        code_form("0000"),
    ] {
        assert_eq!(
            token(&simulator, &form).await.oauth(),
            "invalid_request",
            "{form}"
        );
    }
}

#[tokio::test]
async fn the_console_makes_key_pairs() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let send = async |query: &str| {
        let path = format!("/api/v3/authentication/keys/rsa{query}");
        get(&path).bearer(&access).send(&simulator).await
    };
    let made = send("").await.data();
    let public = made["publicKey"].as_str().unwrap();
    assert!(simulator.add_public_key(OWNER.uid, public, false).is_some());
    assert!(made["privateKey"].as_str().unwrap().contains("<InverseQ>"));
    assert_eq!(
        send("?keySize=1000").await.error(400)["parameterName"],
        "keySize"
    );
}
