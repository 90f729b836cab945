mod conditions;
mod index;
mod roads;

use std::collections::HashSet;

use http::{Method, Request};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::client::{Targets, Tenants};
use crate::clock::Timestamp;
use crate::request::{CanonicalPath, Limits};
use crate::secret::KeyDigest;
use crate::tenant::{Directory, Gone, Resolved, Tenant, TokenKey, Whom};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

const KEY: &str = "vgk_policy_000000000000000000000000000";

fn tenant(name: &str, access: Access) -> Arc<Tenant> {
    let user = Whom::User(Subject(Uuid::from_u128(1)));
    Arc::new(Tenant::configured(
        name,
        ConsoleId::new("main"),
        access,
        user,
    ))
}

fn rule(name: &str, methods: &[Method], paths: &[&str]) -> Rule {
    Rule {
        name: name.into(),
        methods: Methods::Listed(methods.to_vec()),
        paths: paths
            .iter()
            .map(|path| PathPattern::parse(path).unwrap())
            .collect(),
        ..Rule::default()
    }
}

/// A tool's head, its parts kept alive by the caller.
fn parts(method: &str, path: &str) -> http::request::Parts {
    let request = Request::builder().method(method).uri(path);
    request
        .header("host", "gw")
        .body(())
        .unwrap()
        .into_parts()
        .0
}

/// Clients that have one, which may act for all of its tenants, and its key.
fn clients(tenants: Tenants, targets: Targets) -> crate::client::Directory {
    let client = Arc::new(Client {
        name: "tool".into(),
        index: 0,
        tenants,
        targets,
        terms: crate::client::Terms::default(),
    });
    let mut clients = crate::client::Directory::default();
    let digest = KeyDigest::of(KEY.as_bytes());
    clients.add(digest, &client).unwrap();
    clients
}

/// The client, as it calls.
fn caller(clients: &crate::client::Directory) -> Caller<'_> {
    let headers = [("x-api-key".parse().unwrap(), KEY.parse().unwrap())].into_iter();
    let headers = HeaderMap::from_iter(headers);
    let peer = crate::client::Peer::plain(std::net::Ipv4Addr::LOCALHOST.into());
    clients.identify(&headers, &peer, Timestamp(0)).unwrap()
}

const WHENEVER: Moment<'_> = Moment {
    now: Timestamp(0),
    reason: Reason::NotTaken,
};

fn decide(method: &str, path: &str, tenant_name: &str) -> Result<(String, Bearer), Denied> {
    let mut directory = Directory::default();
    let tenants = [
        tenant("acme", Access::Full),
        tenant("globex", Access::Full),
        tenant("viewed", Access::ReadOnly),
    ];
    for tenant in &tenants {
        directory.add(&tenant.name, tenant).unwrap();
    }
    let names: HashSet<Arc<str>> = ["acme".into(), "viewed".into()].into();
    let clients = clients(Tenants::Named(names), Targets::None);
    let caller = caller(&clients);
    let rules = Rules {
        deny: vec![
            rule("deny0", &[Method::GET], &["/api/v3/users/*/logins/**"]),
            rule("deny1", &[Method::DELETE], &["/*/one/**"]),
        ],
        allow: vec![
            rule("allow0", &[Method::GET], &["/api/v3/**"]),
            rule(
                "allow1",
                &[Method::POST],
                &["/api/v3/users/**", "/proxy/one"],
            ),
            rule("allow2", &[Method::PUT], &["/**", "/*/x", "/api/**"]),
            rule("allow3", &[Method::DELETE], &["/proxy/**"]),
        ],
        ..Rules::default()
    };
    let policy = Policy::new(vec![rules], Rules::default(), None);
    let parts = parts(method, path);
    let limits = Limits::default();
    let head = RequestHead::parse(&parts, &limits).unwrap();
    let named = directory
        .get(tenant_name)
        .map_or(Named::Unknown, Named::Known);
    let whom = Resolved {
        named,
        aim: Aim::Own,
        rule: None,
    };
    policy
        .authorize(&caller, &whom, &head, WHENEVER)
        .map(|permit| (permit.rule().to_string(), permit.bearer()))
}

/// What operators are told of a denial.
fn told<T: std::fmt::Debug>(decided: Result<T, Denied>) -> String {
    decided.unwrap_err().detail()
}

#[test]
fn what_no_rule_allows_is_denied_and_deny_wins() {
    let yes = |rule: &str| Ok((rule.to_owned(), Bearer::Target));
    assert_eq!(decide("GET", "/api/v3/users", "acme"), yes("allow0"));
    assert_eq!(decide("HEAD", "/API/V3/Users/", "acme"), yes("allow0"));
    assert_eq!(decide("POST", "/api/v3/users", "acme"), yes("allow1"));
    assert_eq!(
        told(decide("PATCH", "/api/v3/users", "acme")),
        "no rule allows it: allow0 covers the path but lists only GET"
    );
    let denied = Err(Denied::Operation(Some("deny0".into())));
    assert_eq!(decide("GET", "/api/v3/users/1/logins", "acme"), denied);
    assert_eq!(decide("HEAD", "/api/v3/users/1/LOGINS/2", "acme"), denied);
    assert_eq!(decide("GET", "/api/v3/users/logins", "acme"), yes("allow0"));
}

#[test]
fn a_tenant_must_be_the_clients_own() {
    assert_eq!(
        decide("GET", "/api/v3/users", "nobody"),
        Err(Denied::UnknownTenant)
    );
    assert!(matches!(
        decide("GET", "/api/v3/users", "globex"),
        Err(Denied::ForeignTenant(tenant)) if &*tenant == "globex"
    ));
    assert_eq!(
        decide("POST", "/api/v3/users", "viewed"),
        Err(Denied::ReadOnly("allow1".into()))
    );
    assert!(decide("GET", "/api/v3/users", "viewed").is_ok());
}

fn admit(
    tenant: &Arc<Tenant>,
    targets: Targets,
    aim: Aim,
    access: Access,
) -> Result<TokenKey, Denied> {
    let client = Client {
        name: "tool".into(),
        index: 0,
        tenants: Tenants::Named(["acme".into(), "viewed".into()].into()),
        targets,
        terms: crate::client::Terms::default(),
    };
    let policy = Policy::new(vec![Rules::default()], Rules::default(), None);
    let whom = Resolved {
        named: Named::Known(Arc::clone(tenant)),
        aim,
        rule: None,
    };
    let permit = policy.admit(&client, &whom, access)?;
    match permit.acting() {
        Acting::For(key) => {
            // The user that the tenant acts as, however it came to be asked for.
            assert_eq!(permit.is_own(), key.target == Subject(Uuid::from_u128(1)));
            Ok(TokenKey::clone(key))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_names_only_users_among_its_targets() {
    let acme = tenant("acme", Access::Full);
    let two = || Targets::Listed([Subject(Uuid::from_u128(2))].into());
    let own = Subject(Uuid::from_u128(1));
    let other = Subject(Uuid::from_u128(2));
    let third = Subject(Uuid::from_u128(3));
    for (targets, aim, expected) in [
        (Targets::None, Aim::Own, Ok(own)),
        (Targets::None, Aim::Named(own), Ok(own)),
        (Targets::None, Aim::Named(other), Err(Denied::Target(other))),
        (two(), Aim::Named(other), Ok(other)),
        (two(), Aim::Named(own), Ok(own)),
        (two(), Aim::Named(third), Err(Denied::Target(third))),
        (Targets::All, Aim::Named(other), Ok(other)),
        (Targets::All, Aim::Was(own), Ok(own)),
        (Targets::All, Aim::Was(other), Err(Denied::Moved)),
    ] {
        let key = admit(&acme, targets, aim, Access::Full);
        assert_eq!(key.map(|key| key.target), expected);
    }
}

#[test]
fn read_only_is_never_widened() {
    let access = |tenant_access, asked| {
        let tenant = tenant("acme", tenant_access);
        admit(&tenant, Targets::None, Aim::Own, asked)
            .unwrap()
            .access
    };
    assert_eq!(access(Access::Full, Access::Full), Access::Full);
    for (of_tenant, asked) in [
        (Access::ReadOnly, Access::Full),
        (Access::Full, Access::ReadOnly),
        (Access::ReadOnly, Access::ReadOnly),
    ] {
        assert_eq!(access(of_tenant, asked), Access::ReadOnly);
    }
}

#[test]
fn wildcards_do_not_reach_outside_the_api_unless_the_root_is_named() {
    assert!(decide("POST", "/proxy/one", "acme").is_ok());
    let closed = |method, path: &str| told(decide(method, path, "acme"));
    assert_eq!(
        closed("POST", "/proxy/two"),
        "no rule allows it: allow3 covers the path but lists only DELETE"
    );
    for path in ["/proxy/x", "/uiapi/x", "/api/v2/token"] {
        let closed = closed("PUT", path);
        assert!(closed.starts_with("dangerous road not named: "), "{closed}");
    }
    assert!(decide("PUT", "/api/v3/x", "acme").is_ok());
    assert!(decide("DELETE", "/proxy/two", "acme").is_ok());
    let denied = Err(Denied::Operation(Some("deny1".into())));
    assert_eq!(decide("DELETE", "/proxy/one/x", "acme"), denied);
}

#[test]
fn the_token_endpoint_is_never_forwarded() {
    for path in [
        "/api/v3/token",
        "/api/v3/Token",
        "/api/v3/%74oken/",
        "/API/v3/TOKEN",
    ] {
        assert_eq!(decide("POST", path, "acme"), Err(Denied::Token), "{path}");
        assert_eq!(decide("PUT", path, "acme"), Err(Denied::Token), "{path}");
    }
}

#[test]
fn operations_without_a_token_get_none() {
    let post = decide("POST", "/api/v3/users/resetpassword", "acme").unwrap();
    assert_eq!(post.1, Bearer::Nobody);
}

#[test]
fn patterns_cover_whole_segments() {
    let covers = |pattern: &str, path: &str| {
        PathPattern::parse(pattern)
            .unwrap()
            .covers(&CanonicalPath::parse(path).unwrap())
    };
    assert!(covers("/api/v3/users/**", "/api/v3/users"));
    assert!(covers("/api/v3/users/**", "/api/v3/users/1/2/3"));
    assert!(!covers("/api/v3/users/**", "/api/v3/usersx"));
    assert!(!covers("/api/v3/users", "/api/v3/users/1"));
    assert!(covers(
        "/api/v3/users/{userUid}/logins",
        "/api/v3/Users/1/Logins/"
    ));
    assert!(!covers("/api/v3/users/*/logins", "/api/v3/users/logins"));
    assert_eq!(
        PathPattern::parse("/a/**/b").unwrap_err(),
        PatternFault::InnerRest
    );
    assert_eq!(
        PathPattern::parse("/a/b*").unwrap_err(),
        PatternFault::PartialWildcard
    );
    for bad in ["/a?x=1", "/a#b", "/a b"] {
        assert_eq!(
            PathPattern::parse(bad).unwrap_err(),
            PatternFault::NotOnlyAPath
        );
    }
    for bad in ["", "api", "//a", "/a/../b", "/a%2fb"] {
        assert_eq!(
            PathPattern::parse(bad).unwrap_err(),
            PatternFault::NotAPath,
            "{bad}"
        );
    }
}

/// A second, slow reading of patterns: by recursion over both lists.
fn reference(pattern: &[String], path: &[String]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([last], _) if last == "**" => true,
        ([one, rest @ ..], [segment, tail @ ..]) => {
            (one == "*" || one == segment) && reference(rest, tail)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_agree_with_a_second_reading(
        pattern in proptest::collection::vec("[ab*]", 0..4),
        open in any::<bool>(),
        path in proptest::collection::vec("[ab]", 0..5),
    ) {
        let mut pattern: Vec<String> = pattern;
        if open {
            pattern.push("**".to_owned());
        }
        let spelled = format!("/api/v3/{}", pattern.join("/"));
        let asked = format!("/api/v3/{}", path.join("/"));
        let covers = PathPattern::parse(&spelled)
            .unwrap()
            .covers(&CanonicalPath::parse(&asked).unwrap());
        prop_assert_eq!(covers, reference(&pattern, &path), "{} {}", spelled, asked);
    }
}

#[test]
fn whose_tenant_it_is_is_said_before_what_became_of_it() {
    let uid = Uuid::from_u128(9);
    let main = ConsoleId::new("main");
    let (own, foreign) = ("acme", "globex");
    let decide = |name: &str, at| {
        let whom = Whom::Company(uid);
        let tenant = Arc::new(Tenant::configured(name, main.clone(), Access::Full, whom));
        if let Some(at) = at {
            tenant.aim(at);
        }
        admit(&tenant, Targets::None, Aim::Own, Access::Full)
    };
    let user = Subject(Uuid::from_u128(1));
    for gone in Gone::ALL {
        assert_eq!(decide(own, Some(Err(gone))), Err(Denied::Gone(gone)));
    }
    assert_eq!(decide(own, None), Err(Denied::NotYet));
    assert_eq!(decide(own, Some(Ok(user))).unwrap().target, user);
    for at in [None, Some(Err(Gone::UserMissing)), Some(Ok(user))] {
        assert_eq!(
            decide(foreign, at),
            Err(Denied::ForeignTenant(foreign.into()))
        );
    }
}
