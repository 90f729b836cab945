use serde_json::json;

use super::*;
use crate::clock;
use crate::{PasswordRefusal, Role, totp_code};

const MFA: SeedUser = seed::MFA_ADMINISTRATOR;
const SECRET: &str = seed::MFA_ADMINISTRATOR_SECRET;

/// Returns the code of a step before, of or after the present one.
fn code(secret: &str, step: i64) -> String {
    let at = clock::unix_now() + 30 * step;
    totp_code(secret, u64::try_from(at).unwrap()).unwrap()
}

fn password_form(user: &SeedUser) -> String {
    let (name, password) = (user.name, user.password);
    format!("grant_type=password&username={name}&password={password}")
}

async fn challenge(simulator: &Simulator, user: &SeedUser) -> String {
    let body = token(simulator, &password_form(user)).await.json();
    body["mfa_token"].as_str().unwrap().to_owned()
}

fn mfa_form(token: &str, code: &str) -> String {
    format!("grant_type=mfa&mfa_token={token}&mfa_code={code}")
}

#[tokio::test]
async fn a_password_of_a_user_with_a_device_is_answered_with_a_challenge() {
    let simulator = start().await;
    let answer = token(&simulator, &password_form(&MFA)).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "access_token": null,
        "token_type": null,
        "refresh_token": null,
        "mfa_token": answer.json()["mfa_token"],
        "encrypted_code": null,
        "expires_in": 0,
    });
    assert_eq!(answer.json(), expected);
    assert!(answer.json()["mfa_token"].is_string());
    assert_eq!(simulator.state().sessions_live, 0);
}

#[tokio::test]
async fn a_code_completes_a_login_once() {
    let simulator = start().await;
    for (user, secret) in [(MFA, SECRET), (seed::INITECH_MFA, seed::INITECH_MFA_SECRET)] {
        let asked = challenge(&simulator, &user).await;
        let form = mfa_form(&asked, &code(secret, 0));
        let opened = pair(&token(&simulator, &form).await);
        let shown = me(&simulator, &opened.access).await.data();
        assert_eq!(shown["instanceUid"], json!(user.uid));
        assert_eq!(shown["mfaPolicyStatus"], "Enabled");
        assert_eq!(shown["mfaPolicyConfigurationStatus"], "Configured");
        assert_eq!(token(&simulator, &form).await.oauth(), "invalid_request");
        pair(&token(&simulator, &refresh_form(&opened.refresh)).await);
    }
    assert_eq!(simulator.state().grant("mfa").ok, 2);
}

#[tokio::test]
async fn a_code_is_never_accepted_twice() {
    let simulator = start().await;
    // Both are accepted for another 30 seconds, even if a new step begins while the test runs.
    let (present, next) = (code(SECRET, 0), code(SECRET, 1));
    let first = challenge(&simulator, &MFA).await;
    pair(&token(&simulator, &mfa_form(&first, &next)).await);
    let second = challenge(&simulator, &MFA).await;
    let refused = token(&simulator, &mfa_form(&second, &next)).await;
    assert_eq!(refused.oauth(), "invalid_request");
    pair(&token(&simulator, &mfa_form(&second, &present)).await);
}

#[tokio::test]
async fn codes_that_are_wrong_or_too_far_off_are_refused_and_the_fifth_is_the_last() {
    let simulator = switched(|switches| {
        switches.password_refusal = PasswordRefusal::InvalidGrant;
    })
    .await;
    let asked = challenge(&simulator, &MFA).await;
    for wrong in [code(SECRET, 10), code(SECRET, -10), "12345".to_owned()] {
        let refused = token(&simulator, &mfa_form(&asked, &wrong)).await;
        assert_eq!(refused.oauth(), "invalid_grant");
    }
    for _ in 0..2 {
        token(&simulator, &mfa_form(&asked, "no")).await.oauth();
    }
    let late = token(&simulator, &mfa_form(&asked, &code(SECRET, 0))).await;
    assert_eq!(late.oauth(), "invalid_grant");
}

#[tokio::test]
async fn read_only_asked_for_with_the_password_holds_after_the_code() {
    let simulator = start().await;
    let form = format!("{}&readOnly=true", password_form(&MFA));
    let body = token(&simulator, &form).await.json();
    let asked = body["mfa_token"].as_str().unwrap();
    let access = pair(&token(&simulator, &mfa_form(asked, &code(SECRET, 0))).await).access;
    ask("POST", "/api/v3/users")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(403);
}

#[tokio::test]
async fn a_login_is_over_when_its_user_is_disabled_in_between() {
    let simulator = start().await;
    let asked = challenge(&simulator, &MFA).await;
    assert!(simulator.set_user_enabled(MFA.uid, false));
    let refused = token(&simulator, &mfa_form(&asked, &code(SECRET, 0))).await;
    assert_eq!(refused.oauth(), "invalid_request");
}

#[tokio::test]
async fn a_device_needs_its_secret_and_a_code_that_fits() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let owner = seed::ACME_OWNER;
    let made = get("/api/v3/authentication/keys/totp-secret")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    let secret = made["secret"].as_str().unwrap();
    let url = made["secretUrl"].as_str().unwrap();
    assert_eq!(totp_code(url, 1), totp_code(secret, 1));
    let send = async |query: String| {
        let path = format!(
            "/api/v3/users/{}/logins/totp?description=phone&scopes=ui{query}",
            owner.uid
        );
        ask("POST", &path).bearer(&access).send(&simulator).await
    };
    let sent = format!("&secretUrl={secret}");
    let right = code(secret, 0);
    let parameter = async |query: String| send(query).await.error(400)["parameterName"].clone();
    assert_eq!(parameter(format!("&code={right}")).await, "secretUrl");
    assert_eq!(
        parameter(format!("&secretUrl=abc&code={right}")).await,
        "secretUrl"
    );
    assert_eq!(parameter(format!("{sent}&code=12")).await, "code");
    assert_eq!(
        parameter(format!("{sent}&code={}", code(secret, 10))).await,
        "code"
    );
    login(&simulator, &owner).await;
    let device = send(format!("{sent}&code={right}")).await.data();
    assert_eq!(
        (&device["identityProviderName"], &device["parameters"]),
        (&json!("TOTP"), &json!(""))
    );

    let asked = challenge(&simulator, &owner).await;
    let again = token(&simulator, &mfa_form(&asked, &right)).await;
    assert_eq!(
        again.oauth(),
        "invalid_request",
        "the code was used to add the device"
    );
    pair(&token(&simulator, &mfa_form(&asked, &code(secret, 1))).await);

    let path = format!("/api/v3/users/{}/logins/{}", owner.uid, device["id"]);
    ask("DELETE", &path)
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    login(&simulator, &owner).await;
}

#[tokio::test]
async fn impersonation_of_users_with_a_device_is_a_switch() {
    let lenient = start().await;
    let refresh = service(&lenient).await.refresh;
    let form = as_form(&refresh, seed::INITECH_MFA.uid);
    let lent = pair(&token(&lenient, &form).await);
    assert_eq!(me(&lenient, &lent.access).await.status, 200);
    let strict = switched(|switches| switches.as_mfa = false).await;
    let refresh = service(&strict).await.refresh;
    let form = as_form(&refresh, seed::INITECH_MFA.uid);
    assert_eq!(token(&strict, &form).await.oauth(), "invalid_request");
    pair(&token(&strict, &as_form(&refresh, seed::INITECH_OWNER.uid)).await);
}

#[tokio::test]
async fn faults_find_the_user_of_a_challenge() {
    let simulator = start().await;
    let asked = challenge(&simulator, &MFA).await;
    let other = simulator
        .user(seed::ACME.uid, r"Acme\other", "pw", Role::CompanyTenant)
        .unwrap();
    for subject in [other, MFA.uid] {
        let mut fault = crate::Fault::new(crate::Action::ServerError);
        fault.subject = Some(subject);
        simulator.fault(fault);
    }
    let form = mfa_form(&asked, &code(SECRET, 0));
    assert_eq!(token(&simulator, &form).await.status, 520);
    assert_eq!(simulator.faults().len(), 1);
    pair(&token(&simulator, &form).await);
}
