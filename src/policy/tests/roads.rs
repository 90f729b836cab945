use super::*;

const USER: &str = "b3ffc78b-7982-44f3-ae66-1384415f2bea";

/// Whether a rule of any method that has these paths opens a road.
fn decide(method: &str, path: &str, patterns: &[&str]) -> Result<(), Denied> {
    let all = Rule {
        methods: Methods::Any,
        ..rule("allow0", &[], patterns)
    };
    let rules = Rules {
        allow: vec![all],
        ..Rules::default()
    };
    let policy = Policy::new(vec![rules], Rules::default(), None);
    let clients = clients(Tenants::All, Targets::None);
    let parts = parts(method, &path.replace("{u}", USER));
    let head = RequestHead::parse(&parts, &Limits::default()).unwrap();
    let whom = Resolved::own(Named::Known(tenant("acme", Access::Full)));
    let decided = policy.authorize(&caller(&clients), &whom, &head, WHENEVER);
    decided.map(drop)
}

#[test]
fn a_road_is_open_only_where_a_pattern_names_it() {
    for (method, path, road, wide, named) in [
        (
            "GET",
            "/proxy/1/vbr/api",
            "roads.proxy",
            &["/**", "/*/**", "/*/*/vbr/**"][..],
            &["/proxy/**", "/Proxy/*/vbr/**"][..],
        ),
        (
            "GET",
            "/uiapi/x",
            "roads.outside",
            &["/**", "/*/x"],
            &["/uiapi/**", "/uiapi/*"],
        ),
        (
            "GET",
            "/api/swagger/index.html",
            "roads.outside",
            &["/**", "/api/**", "/*/swagger/**"],
            &["/api/swagger/**"],
        ),
        (
            "GET",
            "/api/v3/authentication/keys/rsa",
            "roads.keys",
            &[
                "/api/v3/**",
                "/api/v3/authentication/**",
                "/api/v3/*/keys/**",
                "/api/v3/*/*/rsa",
            ],
            &[
                "/api/v3/authentication/keys/**",
                "/api/v3/Authentication/Keys/rsa",
            ],
        ),
        (
            "DELETE",
            "/api/v3/users/{u}/tokens",
            "roads.tokens",
            &[
                "/api/v3/**",
                "/api/v3/users/**",
                "/api/v3/users/*/*",
                "/api/v3/*/*/tokens",
            ],
            &[
                "/api/v3/users/*/tokens",
                "/api/v3/users/{userUid}/tokens/**",
            ],
        ),
        (
            "POST",
            "/api/v3/users/{u}/logins/apikey",
            "roads.logins",
            &[
                "/api/v3/**",
                "/api/v3/users/**",
                "/api/v3/users/*/*/apikey",
                "/api/v3/*/*/logins/**",
            ],
            &["/api/v3/users/*/logins/**", "/api/v3/users/*/logins/apikey"],
        ),
        (
            "POST",
            "/api/v3/users/{u}/LOGINS/totp/",
            "roads.logins",
            &["/api/v3/users/**"],
            &["/api/v3/users/*/logins/totp"],
        ),
    ] {
        for pattern in wide {
            let denied = decide(method, path, &[pattern]).unwrap_err();
            assert_eq!(denied.rule().as_deref(), Some(road), "{path} {pattern}");
            let told = denied.detail();
            assert!(told.starts_with("dangerous road not named: "), "{told}");
        }
        for pattern in named {
            assert_eq!(decide(method, path, &[pattern]), Ok(()), "{path} {pattern}");
            // Beside a wide one too, wherever it stands.
            for pattern in [[wide[0], pattern], [pattern, wide[0]]] {
                assert_eq!(decide(method, path, &pattern), Ok(()), "{path} {pattern:?}");
            }
        }
        assert!(Road::ALL.iter().any(|known| known.name == road));
    }
}

#[test]
fn what_lies_beside_a_road_is_not_on_it() {
    for (method, path) in [
        ("GET", "/api/v3/users/{u}/tokens"),
        ("DELETE", "/api/v3/users/{u}/logins/7"),
        ("DELETE", "/api/v3/users/{u}/tokens/7"),
        ("GET", "/api/v3/users/{u}/logins"),
        ("PATCH", "/api/v3/users/{u}/logins/7"),
        ("POST", "/api/v3/users"),
        ("POST", "/api/v3/users/logins"),
        ("GET", "/api/v3/authentication/keysx"),
        ("GET", "/api/v3/organizations/{u}/keys"),
        ("POST", "/api/v3/proxy/x"),
    ] {
        assert_eq!(decide(method, path, &["/api/v3/**"]), Ok(()), "{path}");
    }
}

#[test]
fn what_no_rule_reaches_is_not_told_as_a_road() {
    let denied = decide("GET", "/proxy/x", &["/api/v3/**"]);
    assert_eq!(denied, Err(Denied::Operation(None)));
}

#[test]
fn a_deny_reaches_every_road_by_wildcard() {
    let rules = Rules {
        deny: vec![rule("deny0", &[Method::GET], &["/**"])],
        allow: vec![rule("allow0", &[Method::GET], &["/proxy/**"])],
        ..Rules::default()
    };
    let policy = Policy::new(vec![rules], Rules::default(), None);
    let clients = clients(Tenants::All, Targets::None);
    let parts = parts("GET", "/proxy/x");
    let head = RequestHead::parse(&parts, &Limits::default()).unwrap();
    let whom = Resolved::own(Named::Known(tenant("acme", Access::Full)));
    let decided = policy.authorize(&caller(&clients), &whom, &head, WHENEVER);
    assert_eq!(
        decided.unwrap_err(),
        Denied::Operation(Some("deny0".into()))
    );
}
