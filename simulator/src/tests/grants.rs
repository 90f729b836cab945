use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::json;

use super::*;
use crate::{DeadRefresh, Role, Rotation, TokenAuthorization};

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_password_opens_a_session_with_all_six_members() {
    let simulator = start().await;
    let form = r"grant_type=password&username=vspc\SVC-gateway&password=gateway-demo-password";
    let answer = token(&simulator, form).await;
    let body = answer.json();
    let members = [
        "access_token",
        "encrypted_code",
        "expires_in",
        "mfa_token",
        "refresh_token",
        "token_type",
    ];
    let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, members);
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["mfa_token"], Value::Null);
    let user = me(&simulator, &pair(&answer).access).await.data();
    assert_eq!(user["instanceUid"], json!(seed::SERVICE.uid));
    assert_eq!(simulator.state().grant("password").ok, 1);
    assert_eq!(simulator.state().sessions_live, 1);
}

#[tokio::test]
async fn tokens_are_signed_and_carry_the_claims_as_strings() {
    let simulator = start().await;
    let pair = service(&simulator).await;
    for (token, kind, life) in [(&pair.access, "3", 3600), (&pair.refresh, "2", 172_800)] {
        let (text, signature) = token.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, simulator.token_key().unwrap())
            .verify(text.as_bytes(), &BASE64.decode(signature).unwrap())
            .unwrap();
        let claims = claims(token);
        assert_eq!(claims["kind"], kind);
        assert_eq!(claims["sub"], json!(seed::SERVICE.uid));
        assert_eq!(claims["name"], seed::SERVICE.name);
        let time = |name: &str| claims[name].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(time("exp") - time("iat"), life);
        assert!(
            ["jti", "lid", "uid", "ts", "scope"]
                .iter()
                .all(|name| claims[name].is_string())
        );
    }
    assert_eq!(claims(&pair.access)["ts"], claims(&pair.refresh)["ts"]);
}

#[tokio::test]
async fn claims_can_be_numbers_and_signatures_left_out() {
    let simulator = switched(|switches| {
        switches.numeric_claims = true;
        switches.sign_tokens = false;
    })
    .await;
    let pair = service(&simulator).await;
    assert!(claims(&pair.access)["exp"].is_i64());
    assert_eq!(me(&simulator, &pair.access).await.status, 200);
}

#[tokio::test]
async fn odd_characters_survive_both_kinds_of_form() {
    let simulator = start().await;
    let form = r"grant_type=password&username=VSPC%5Codd&password=p%26ss%2Bw%25rd%3D%C3%BC";
    pair(&token(&simulator, form).await);
    let part = |name: &str, value: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = [
        part("grant_type", "password"),
        part("username", seed::ODD.name),
        part("password", seed::ODD.password),
        "--X--\r\n".to_owned(),
    ]
    .concat();
    let send = async |simulator: &Simulator| {
        ask("POST", "/api/v3/Token")
            .body("multipart/form-data; boundary=X", body.clone())
            .send(simulator)
            .await
    };
    pair(&send(&simulator).await);
    let strict = switched(|switches| switches.multipart = false).await;
    assert_eq!(send(&strict).await.oauth(), "invalid_request");
}

#[tokio::test]
async fn refused_logins_are_400_invalid_request() {
    let simulator = start().await;
    for form in [
        r"grant_type=password&username=VSPC\svc-gateway&password=wrong",
        r"grant_type=password&username=VSPC\nobody&password=gateway-demo-password",
        r"grant_type=password&username=Acme\former&password=administrator-demo-password",
        r"grant_type=password&username=VSPC\svc-gateway",
        r"grant_type=password&username=VSPC\svc-gateway&password=gateway-demo-password&readOnly=maybe",
        "",
    ] {
        assert_eq!(
            token(&simulator, form).await.oauth(),
            "invalid_request",
            "{form}"
        );
    }
    assert_eq!(simulator.state().grant("password").refused, 5);
    assert_eq!(simulator.state().grant("missing").refused, 1);
}

#[tokio::test]
async fn other_grants_are_not_supported() {
    let simulator = start().await;
    let answer = token(&simulator, "grant_type=client_credentials").await;
    assert_eq!(answer.oauth(), "unsupported_grant_type");
    for grant in ["mfa", "public_key", "authorization_code"] {
        let answer = token(&simulator, &format!("grant_type={grant}")).await;
        assert_eq!(answer.oauth(), "invalid_request");
    }
    assert_eq!(simulator.state().grant("mfa").refused, 1);
    assert_eq!(simulator.state().grant("other").refused, 1);
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let simulator = start().await;
    let form =
        r"grant_type=password&username=VSPC\svc-gateway&password=x&password=gateway-demo-password";
    assert_eq!(token(&simulator, form).await.oauth(), "invalid_request");
}

#[tokio::test]
async fn a_renewal_uses_its_refresh_token_up() {
    let simulator = start().await;
    let first = service(&simulator).await;
    let second = pair(&token(&simulator, &refresh_form(&first.refresh)).await);
    assert_ne!(second.refresh, first.refresh);
    let again = token(&simulator, &refresh_form(&first.refresh)).await;
    assert_eq!(again.oauth(), "invalid_grant");
    assert_eq!(
        token(&simulator, &as_form(&first.refresh, seed::ACME_OWNER.uid))
            .await
            .oauth(),
        "invalid_grant"
    );
    pair(&token(&simulator, &refresh_form(&second.refresh)).await);
    let state = simulator.state();
    assert_eq!(
        (
            state.grant("refresh_token").ok,
            state.grant("refresh_token").refused
        ),
        (2, 1)
    );
    assert_eq!((state.refresh_reused, state.sessions_live), (2, 1));
}

#[tokio::test]
async fn rotation_is_a_switch() {
    let keeping = switched(|switches| switches.rotation = Rotation::KeepOld).await;
    let first = service(&keeping).await;
    let second = pair(&token(&keeping, &refresh_form(&first.refresh)).await);
    assert_ne!(second.refresh, first.refresh);
    pair(&token(&keeping, &refresh_form(&first.refresh)).await);
    let same = switched(|switches| switches.rotation = Rotation::Same).await;
    let first = service(&same).await;
    let second = pair(&token(&same, &refresh_form(&first.refresh)).await);
    assert_eq!(second.refresh, first.refresh);
}

#[tokio::test]
async fn a_dead_refresh_token_is_refused_as_the_switch_says() {
    for (switch, error) in [
        (DeadRefresh::InvalidGrant, "invalid_grant"),
        (DeadRefresh::InvalidRequest, "invalid_request"),
    ] {
        let simulator = switched(|switches| switches.dead_refresh = switch).await;
        let access = service(&simulator).await.access;
        assert_eq!(
            token(&simulator, &refresh_form("no-such-token"))
                .await
                .oauth(),
            error
        );
        assert_eq!(
            token(&simulator, &refresh_form(&access)).await.oauth(),
            error
        );
    }
    let simulator = switched(|switches| switches.dead_refresh = DeadRefresh::Unauthorized).await;
    token(&simulator, &refresh_form("no-such-token"))
        .await
        .error(401);
}

#[tokio::test]
async fn ended_sessions_cannot_be_renewed() {
    let simulator = start().await;
    let pair = service(&simulator).await;
    assert_eq!(simulator.end_sessions(Some(seed::SERVICE.uid)), 2);
    assert_eq!(
        token(&simulator, &refresh_form(&pair.refresh))
            .await
            .oauth(),
        "invalid_grant"
    );
}

#[tokio::test]
async fn impersonation_acts_as_the_target_and_gives_the_refresh_token_back() {
    let simulator = start().await;
    let own = service(&simulator).await;
    let lent = pair(&token(&simulator, &as_form(&own.refresh, seed::ACME_OWNER.uid)).await);
    assert_eq!(lent.refresh, own.refresh);
    let user = me(&simulator, &lent.access).await.data();
    assert_eq!(user["userName"], seed::ACME_OWNER.name);
    assert_eq!(user["role"], "CompanyOwner");
    let state = simulator.state();
    assert_eq!(state.impersonated[&seed::ACME_OWNER.uid], 1);
    assert_eq!(state.subjects[&seed::ACME_OWNER.uid], 1);
    assert_eq!((state.sessions_live, state.access_tokens_live), (1, 2));
}

#[tokio::test]
async fn impersonation_needs_a_target_that_is_there_and_enabled() {
    let simulator = start().await;
    let refresh = service(&simulator).await.refresh;
    let stranger = as_form(&refresh, Uuid::nil());
    let disabled = as_form(&refresh, seed::ACME_DISABLED.uid);
    let bare = format!("grant_type=as&refresh_token={refresh}");
    let word = format!("{bare}&userUid=acme");
    let twice = format!("{disabled}&userUid={}", seed::ACME_OWNER.uid);
    for form in [&stranger, &disabled, &bare, &word, &twice] {
        assert_eq!(
            token(&simulator, form).await.oauth(),
            "invalid_request",
            "{form}"
        );
    }
    let lenient = switched(|switches| switches.as_disabled = true).await;
    let refresh = service(&lenient).await.refresh;
    let lent = pair(&token(&lenient, &as_form(&refresh, seed::ACME_DISABLED.uid)).await);
    assert_eq!(me(&lenient, &lent.access).await.status, 200);
}

#[tokio::test]
async fn impersonation_needs_the_right_to_edit_the_target() {
    let simulator = start().await;
    let reader = simulator
        .user(
            seed::PROVIDER.uid,
            r"VSPC\reader",
            "pw",
            Role::PortalReadonlyOperator,
        )
        .unwrap();
    let reader = SeedUser {
        uid: reader,
        name: r"VSPC\reader",
        password: "pw",
        ..seed::SERVICE
    };
    let expected = [
        (seed::ACME_OWNER, seed::ACME_ADMINISTRATOR.uid, None),
        (
            seed::ACME_ADMINISTRATOR,
            seed::ACME_OWNER.uid,
            Some("unauthorized_client"),
        ),
        (
            seed::ACME_OWNER,
            seed::GLOBEX_OWNER.uid,
            Some("invalid_request"),
        ),
        (reader, seed::ACME_OWNER.uid, Some("unauthorized_client")),
    ];
    for (by, target, error) in expected {
        let refresh = login(&simulator, &by).await.refresh;
        let answer = token(&simulator, &as_form(&refresh, target)).await;
        match error {
            Some(error) => assert_eq!(answer.oauth(), error),
            None => assert_eq!(answer.status, 200),
        }
    }
}

#[tokio::test]
async fn a_read_only_token_only_reads() {
    let simulator = start().await;
    let refresh = service(&simulator).await.refresh;
    let form = format!("{}&readOnly=TRUE", as_form(&refresh, seed::ACME_OWNER.uid));
    let access = pair(&token(&simulator, &form).await).access;
    assert_eq!(me(&simulator, &access).await.status, 200);
    let target = format!("/api/v3/users/{}", seed::ACME_ADMINISTRATOR.uid);
    let error = ask("DELETE", &target)
        .bearer(&access)
        .send(&simulator)
        .await
        .error(403);
    assert_eq!(error["type"], "security");
    assert_eq!(simulator.state().read_only_refused, 1);
}

#[tokio::test]
async fn a_session_opened_read_only_stays_so() {
    let simulator = start().await;
    let form = r"grant_type=password&username=VSPC\svc-gateway&password=gateway-demo-password&readOnly=true";
    let first = pair(&token(&simulator, form).await);
    let second = pair(&token(&simulator, &refresh_form(&first.refresh)).await);
    for access in [first.access, second.access] {
        ask("POST", "/api/v3/users")
            .bearer(&access)
            .send(&simulator)
            .await
            .error(403);
    }
}

#[tokio::test]
async fn a_bearer_on_the_token_path_is_refused_unless_ignored() {
    let form = r"grant_type=password&username=VSPC\svc-gateway&password=gateway-demo-password";
    let send = async |simulator: &Simulator| {
        let ask = ask("POST", "/api/v3/token").body(FORM, form);
        ask.bearer("stale").send(simulator).await
    };
    let strict = start().await;
    assert_eq!(send(&strict).await.oauth(), "invalid_request");
    assert_eq!(strict.state().authorization_on_token, 1);
    let lenient =
        switched(|switches| switches.token_authorization = TokenAuthorization::Ignore).await;
    pair(&send(&lenient).await);
    assert_eq!(lenient.state().authorization_on_token, 1);
}

#[tokio::test]
async fn impersonation_can_need_the_bearer_of_the_impersonator() {
    let simulator = switched(|switches| switches.as_requires_bearer = true).await;
    let own = service(&simulator).await;
    let form = as_form(&own.refresh, seed::ACME_OWNER.uid);
    assert_eq!(token(&simulator, &form).await.oauth(), "invalid_client");
    let ask = ask("POST", "/api/v3/token").body(FORM, form);
    pair(&ask.bearer(&own.access).send(&simulator).await);
}

#[tokio::test]
async fn lives_can_be_set_while_it_runs() {
    let simulator = start().await;
    let hour = std::time::Duration::from_secs(3600);
    simulator.set_lifetimes(std::time::Duration::from_millis(1500), hour);
    let form = r"grant_type=password&username=VSPC\svc-gateway&password=gateway-demo-password";
    assert_eq!(token(&simulator, form).await.json()["expires_in"], 2);
    simulator.set_lifetimes(std::time::Duration::ZERO, std::time::Duration::ZERO);
    let dead = service(&simulator).await;
    me(&simulator, &dead.access).await.error(401);
    assert_eq!(
        token(&simulator, &refresh_form(&dead.refresh))
            .await
            .oauth(),
        "invalid_grant"
    );
}
