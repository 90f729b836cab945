use http::HeaderName;

use super::*;

/// A policy of one client with these rules that allow.
fn allowing(allow: Vec<Rule>) -> Policy {
    let rules = Rules {
        allow,
        ..Rules::default()
    };
    Policy::new(vec![rules], Rules::default(), None)
}

/// Decides on a request for a tenant whose user is 1; 2 may be named.
fn ask<'p>(
    policy: &'p Policy,
    method: &str,
    path: &str,
    named: &Resolved,
    moment: Moment<'_>,
) -> Result<Permit<'p>, Denied> {
    let targets = Targets::Listed([Subject(Uuid::from_u128(2))].into());
    let clients = clients(Tenants::All, targets);
    let parts = parts(method, path);
    let head = RequestHead::parse(&parts, &Limits::default()).unwrap();
    policy.authorize(&caller(&clients), named, &head, moment)
}

fn known(name: &str) -> Resolved {
    Resolved::own(Named::Known(tenant(name, Access::Full)))
}

fn reads(name: &str) -> Rule {
    rule(name, &[Method::GET], &["/api/v3/**"])
}

fn by_name<T: FromIterator<Arc<str>>>(names: &[&str]) -> T {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn a_rule_is_for_its_tenants() {
    let uid = Uuid::from_u128(0xabc);
    let of = |names: &[&str]| Rule {
        tenants: Some(by_name(names)),
        ..reads("allow0")
    };
    let policy = allowing(vec![of(&["acme", &uid.to_string()])]);
    let decide = |named: &Resolved| ask(&policy, "GET", "/api/v3/users", named, WHENEVER).map(drop);
    assert_eq!(decide(&known("acme")), Ok(()));
    assert_eq!(
        told(decide(&known("globex"))),
        "no rule allows it: allow0 covers the path but is for other tenants"
    );
    let company = Tenant::found("Böhm".into(), ConsoleId::new("main"), uid, None);
    company.aim(Ok(Subject(Uuid::from_u128(1))));
    assert_eq!(
        decide(&Resolved::own(Named::Known(Arc::new(company)))),
        Ok(())
    );
}

#[test]
fn a_rule_is_for_its_users() {
    let of = |user| Rule {
        targets: Some([Subject(Uuid::from_u128(user))].into()),
        ..reads("allow0")
    };
    let decide = |user| {
        let policy = allowing(vec![of(user)]);
        ask(&policy, "GET", "/api/v3/users", &known("acme"), WHENEVER).map(drop)
    };
    assert_eq!(decide(1), Ok(()));
    assert!(told(decide(2)).ends_with("is for other users"));
}

#[test]
fn a_rule_holds_at_its_hours() {
    let hours = Hours::new(Hours::days("thu").unwrap(), 60, 120, 0).unwrap();
    let policy = allowing(vec![Rule {
        hours: Some(hours),
        ..reads("allow0")
    }]);
    let at = |minute: i64| {
        let now = Timestamp(minute * 60_000_000);
        let moment = Moment { now, ..WHENEVER };
        ask(&policy, "GET", "/api/v3/users", &known("acme"), moment).map(drop)
    };
    assert_eq!(at(60), Ok(()));
    assert_eq!(
        told(at(120)),
        "no rule allows it: allow0 covers the path but holds only thu 01:00 to 02:00 UTC"
    );
}

#[test]
fn operations_are_methods_and_paths_as_the_reference_writes_them() {
    let parse = |text: &str| OperationPattern::parse(text);
    let policy = allowing(vec![Rule {
        methods: Methods::Any,
        operations: vec![
            parse("GET /users/logins").unwrap(),
            parse("DELETE /users/{userUid}/logins/{userLoginId}").unwrap(),
            parse("DELETE /users/{userUid}/tokens").unwrap(),
        ],
        ..rule("allow0", &[], &[])
    }]);
    let decide = |method, path| ask(&policy, method, path, &known("acme"), WHENEVER).is_ok();
    assert!(decide("GET", "/api/v3/users/logins"));
    assert!(decide("HEAD", "/api/v3/Users/Logins/"));
    assert!(decide("DELETE", "/api/v3/users/1/logins/7"));
    assert!(decide("DELETE", "/api/v3/users/1/tokens"), "it is named");
    assert!(!decide("DELETE", "/api/v3/users/logins"));
    assert!(!decide("GET", "/api/v3/users/1/logins/7"));
    assert!(!decide("GET", "/api/v3/users/logins/7"));
    for (bad, fault) in [
        ("GET", OperationFault::Form),
        ("GET  /users", OperationFault::Form),
        ("get /users", OperationFault::Form),
        ("FETCH /users", OperationFault::Form),
        ("GET users", OperationFault::Form),
        ("GET /users/*", OperationFault::Form),
        ("GET /users/**", OperationFault::Form),
        ("GET /users/{}", OperationFault::Form),
        ("GET /users/{a}b", OperationFault::Form),
        ("GET /users/../x", OperationFault::Form),
        ("GET /users?x", OperationFault::Form),
        ("GET /api/v3/users", OperationFault::Prefix),
        ("POST /Token", OperationFault::Token),
    ] {
        assert_eq!(parse(bad), Err(fault), "{bad}");
    }
}

#[test]
fn methods_paths_and_operations_must_all_hold() {
    let rule = Rule {
        operations: vec![
            OperationPattern::parse("GET /users/{uid}").unwrap(),
            OperationPattern::parse("POST /users/{uid}").unwrap(),
        ],
        ..rule(
            "allow0",
            &[Method::GET],
            &["/api/v3/users/1", "/api/v3/users/2"],
        )
    };
    assert!(!rule.is_impossible());
    let policy = allowing(vec![rule]);
    let decide = |method, path| ask(&policy, method, path, &known("acme"), WHENEVER).map(drop);
    assert_eq!(decide("GET", "/api/v3/users/2"), Ok(()));
    assert!(told(decide("POST", "/api/v3/users/2")).ends_with("lists only GET"));
    assert_eq!(told(decide("GET", "/api/v3/users/3")), "no rule allows it");
}

#[test]
fn a_rule_without_a_method_is_impossible() {
    let posts = || vec![OperationPattern::parse("POST /users").unwrap()];
    let gets = |operations| Rule {
        operations,
        ..rule("a", &[Method::GET], &[])
    };
    assert!(gets(posts()).is_impossible());
    let reading = Rule {
        access: Access::ReadOnly,
        ..rule("a", &[Method::POST], &["/api/v3/users"])
    };
    assert!(reading.is_impossible());
    assert!(!reads("a").is_impossible());
}

#[test]
fn a_rule_that_is_read_only_gives_such_a_token_and_leaves_the_rest_to_others() {
    let viewing = Rule {
        methods: Methods::Any,
        access: Access::ReadOnly,
        ..rule("viewing", &[], &["/api/v3/**"])
    };
    let writing = rule(
        "writing",
        &[Method::POST, Method::GET],
        &["/api/v3/users/**"],
    );
    let policy = allowing(vec![viewing, writing]);
    let decide = |method, path| {
        let permit = ask(&policy, method, path, &known("acme"), WHENEVER)?;
        assert!(permit.is_own());
        match permit.acting() {
            Acting::For(key) => Ok((permit.rule().to_string(), key.access)),
            other => panic!("{other:?}"),
        }
    };
    let reading = Ok(("viewing".to_owned(), Access::ReadOnly));
    assert_eq!(decide("GET", "/api/v3/users"), reading);
    let writing = Ok(("writing".to_owned(), Access::Full));
    assert_eq!(decide("POST", "/api/v3/users"), writing);
    assert_eq!(
        told(decide("POST", "/api/v3/alarms")),
        "no rule allows it: viewing covers the path but is for reading only"
    );
}

#[test]
fn a_reason_that_is_needed_must_be_given() {
    let header = HeaderName::from_static("x-audit-reason");
    let with_reason = |of_client, of_rule| {
        let rules = Rules {
            allow: vec![Rule {
                reason: of_rule,
                ..reads("allow0")
            }],
            reason: of_client,
            ..Rules::default()
        };
        Policy::new(vec![rules], Rules::default(), None)
    };
    let missing = Reason::Faulty(&header, NotAReason::Missing);
    let faulty = Reason::Faulty(&header, NotAReason::Pattern);
    for (of_client, of_rule) in [
        (Demand::Required, Demand::Optional),
        (Demand::Optional, Demand::Required),
    ] {
        let policy = with_reason(of_client, of_rule);
        let decide = |reason| {
            let moment = Moment { reason, ..WHENEVER };
            ask(&policy, "GET", "/api/v3/users", &known("acme"), moment).map(drop)
        };
        assert_eq!(decide(Reason::Given("INC1234")), Ok(()));
        for (reason, told_as) in [
            (missing, "x-audit-reason is missing"),
            (
                faulty,
                "x-audit-reason does not have the form that is asked for",
            ),
            (Reason::NotTaken, "the gateway has no header for reasons"),
        ] {
            let denied = decide(reason).unwrap_err();
            assert_eq!(denied.rule().as_deref(), Some("allow0"));
            assert_eq!(denied.detail(), format!("allow0 needs a reason: {told_as}"));
        }
        assert_eq!(policy.asking(), Some("allow0"));
    }
    let policy = with_reason(Demand::Optional, Demand::Optional);
    for reason in [missing, faulty, Reason::NotTaken] {
        let moment = Moment { reason, ..WHENEVER };
        assert!(ask(&policy, "GET", "/api/v3/users", &known("acme"), moment).is_ok());
    }
    assert_eq!(policy.asking(), None);
    assert!(missing.refuse_faulty().is_ok() && faulty.refuse_faulty().is_err());
}

#[test]
fn rules_that_do_nothing_are_told() {
    let warnings = |deny: Vec<Rule>, allow: Vec<Rule>| {
        let rules = Rules {
            deny,
            allow,
            ..Rules::default()
        };
        Policy::new(vec![rules], Rules::default(), None).warnings()
    };
    let closed = || {
        rule(
            "closed",
            &[Method::GET, Method::POST],
            &["/api/v3/users/**"],
        )
    };
    let users = || {
        rule(
            "users",
            &[Method::GET],
            &["/api/v3/users/*", "/api/v3/users"],
        )
    };
    assert_eq!(
        warnings(vec![closed()], vec![users(), reads("all")]),
        ["users allows nothing: closed denies all of it"]
    );
    let at_times = Rule {
        tenants: Some(by_name(&["acme"])),
        ..closed()
    };
    assert_eq!(warnings(vec![at_times], vec![users()]), [""; 0]);
    let asking = || Rule {
        reason: Demand::Required,
        ..users()
    };
    assert_eq!(
        warnings(Vec::new(), vec![reads("all"), asking()]),
        ["users asks for nothing: all stands before it and allows all of it without"]
    );
    assert_eq!(warnings(Vec::new(), vec![asking(), reads("all")]), [""; 0]);
    assert_eq!(warnings(Vec::new(), vec![reads("all"), users()]), [""; 0]);
}
