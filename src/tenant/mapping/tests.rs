use std::collections::HashSet;

use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;
use crate::client::{SubjectName, Targets, Tenants};
use crate::clock::Timestamp;
use crate::request::Limits;
use crate::tenant::{Tenant, Whom};
use crate::upstream::{ConsoleId, Fingerprint256};
use crate::vspc::grant::Access;

const UID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
const OTHER: &str = "b3ffc78b-7982-44f3-ae66-1384415f2bea";

fn directory() -> Directory {
    let mut directory = Directory::default();
    for (number, name) in ["acme", "globex"].into_iter().enumerate() {
        let user = Whom::User(Subject(Uuid::from_u128(number as u128)));
        let main = ConsoleId::new("main");
        let tenant = Arc::new(Tenant::configured(name, main, Access::Full, user));
        directory.add(name, &tenant).unwrap();
        directory.add(&format!("100{number}"), &tenant).unwrap();
    }
    directory
}

fn client(tenants: &[&str]) -> Client {
    let tenants = tenants.iter().map(|name| Arc::from(*name)).collect();
    Client {
        name: "tool".into(),
        index: 0,
        tenants: Tenants::Named(tenants),
        targets: Targets::None,
        terms: crate::client::Terms::default(),
    }
}

fn asker(client: &Client) -> Asker<'_> {
    Asker {
        client,
        tenant: None,
        aim: Aim::Own,
        certificate: None,
        claims: Claims::None,
    }
}

/// What comes of a request with these headers; of a tenant its name, of an unknown one nothing.
fn outcome(
    mapping: &Mapping,
    lines: &[(&str, &[u8])],
    asker: &Asker<'_>,
) -> Result<(Option<String>, Aim), Unresolved> {
    with_head(lines, |head| {
        let resolved = mapping.resolve_for(head, asker, &directory())?;
        let name = match resolved.named {
            Named::Known(tenant) => Some(tenant.name.to_string()),
            Named::Nobody | Named::Unknown => None,
        };
        Ok((name, resolved.aim))
    })
}

fn with_head<T>(lines: &[(&str, &[u8])], use_it: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let mut request = Request::builder().uri("/api/v3/users");
    if !lines.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "gw:8280");
    }
    for (name, value) in lines {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    use_it(&RequestHead::parse(&parts, &Limits::default()).unwrap())
}

fn named(
    mapping: &Mapping,
    lines: &[(&str, &[u8])],
    tenants: &[&str],
) -> Result<Option<String>, Unresolved> {
    let client = client(tenants);
    outcome(mapping, lines, &asker(&client)).map(|(name, _)| name)
}

fn by_header() -> Mapping {
    Mapping {
        tenant_header: Some(HeaderName::from_static("x-tenant")),
        ..Mapping::default()
    }
}

fn header(name: &'static str) -> Source {
    Source::of_header(HeaderName::from_static(name))
}

fn exact(source: Source, value: &str) -> Condition {
    let test = Test::Exact(value.into());
    Condition { source, test }
}

fn fits(source: Source, pattern: &str) -> Condition {
    let test = Test::Fits(Pattern::parse(pattern).unwrap());
    Condition { source, test }
}

/// A rule called `r`.
fn rule(conditions: Vec<Condition>, tenant: Option<&str>) -> Rule {
    Rule {
        name: "r".into(),
        clients: None,
        conditions,
        tenant: tenant.map(Arc::from),
    }
}

fn scoped(client: &str, rule: Rule) -> Rule {
    let clients = Some(HashSet::from([Arc::from(client)]));
    Rule { clients, ..rule }
}

fn by_rules(rules: Vec<Rule>) -> Mapping {
    Mapping {
        rules: Rules::new(rules),
        ..by_header()
    }
}

const BOTH: &[&str] = &["acme", "globex"];

fn some(name: &str) -> Result<Option<String>, Unresolved> {
    Ok(Some(name.to_owned()))
}

fn claiming(
    lines: &[&[u8]],
    claim: Option<&str>,
    tenants: &[&str],
) -> Result<Option<String>, Unresolved> {
    let client = client(tenants);
    let asker = Asker {
        tenant: claim.map(TenantClaim::NameOrAlias),
        ..asker(&client)
    };
    let lines: Vec<_> = lines.iter().map(|line| ("x-tenant", *line)).collect();
    outcome(&by_header(), &lines, &asker).map(|(name, _)| name)
}

#[test]
fn a_tenant_is_found_by_name_alias_credential_or_because_it_is_the_only_one() {
    assert_eq!(claiming(&[b"acme"], None, BOTH), some("acme"));
    assert_eq!(claiming(&[b"1000"], None, BOTH), some("acme"));
    assert_eq!(claiming(&[], Some("acme"), BOTH), some("acme"));
    assert_eq!(claiming(&[], None, &["acme"]), some("acme"));
    assert_eq!(claiming(&[b"1000"], Some("acme"), BOTH), some("acme"));
    assert_eq!(claiming(&[], None, BOTH), Err(Unresolved::Required));
    for other in [&b"globex"[..], b"nobody"] {
        let mismatch = claiming(&[other], Some("acme"), BOTH);
        assert_eq!(mismatch, Err(Unresolved::Mismatch));
    }
}

#[test]
fn a_header_that_comes_twice_or_holds_a_list_is_ambiguous() {
    for lines in [
        &[&b"acme"[..], b"acme"][..],
        &[b"acme", b"globex"],
        &[b""],
        &[b"acme,globex"],
        &[b"acme, acme"],
        &[b","],
    ] {
        let refused = claiming(lines, None, &["acme"]);
        assert_eq!(refused, Err(Unresolved::Ambiguous), "{lines:?}");
    }
}

#[test]
fn a_foreign_tenant_and_an_unknown_one_look_alike_however_they_are_named() {
    let mine = &["acme"][..];
    for name in ["globex", "nowhere"] {
        let twice = claiming(&[name.as_bytes()], Some(name), mine);
        assert!(
            matches!(twice, Ok(found) if found.as_deref() != Some("acme")),
            "{name}"
        );
        let other = claiming(&[b"1001"], Some(name), mine);
        assert_eq!(other, Err(Unresolved::Mismatch), "{name}");
        let rules = vec![rule(vec![exact(header("x-site"), "7")], Some(name))];
        let lines = [("x-site", &b"7"[..]), ("x-tenant", b"1001")];
        let other = named(&by_rules(rules), &lines, mine);
        assert_eq!(other, Err(Unresolved::Disagree), "{name}");
    }
}

#[test]
fn odd_values_are_unknown_names() {
    let long = "a".repeat(300);
    for line in [
        &b"Acme"[..],
        b"ac me",
        b"acm\xc3\xa9",
        b"\xff\xfe",
        "аcme".as_bytes(),
        b"ac\tme",
        long.as_bytes(),
    ] {
        assert_eq!(claiming(&[line], None, &["acme"]), Ok(None), "{line:?}");
    }
}

#[test]
fn rules_find_the_tenant_by_exact_values_and_by_what_patterns_capture() {
    let mapping = by_rules(vec![
        rule(
            vec![exact(header("user-agent"), "Acme (a, b)/2")],
            Some("acme"),
        ),
        rule(
            vec![fits(
                Source::Host,
                r"(?<tenant>[a-z0-9-]+)\.gw\.example\.com",
            )],
            None,
        ),
        rule(
            vec![
                exact(header("x-site"), "7"),
                fits(header("x-unit"), "^(?<tenant>.+)$"),
            ],
            None,
        ),
    ]);
    for (lines, tenant) in [
        (&[("user-agent", &b"Acme (a, b)/2"[..])][..], "acme"),
        (&[("host", b"globex.gw.example.com:8280")], "globex"),
        (&[("host", b"GLOBEX.gw.Example.com")], "globex"),
        (&[("x-site", b"7"), ("x-unit", b"1001")], "globex"),
        (&[("x-unit", b"acme"), ("x-site", b"7")], "acme"),
        (
            &[("x-tenant", b"acme"), ("host", b"1000.gw.example.com")],
            "acme",
        ),
    ] {
        assert_eq!(named(&mapping, lines, BOTH), some(tenant), "{lines:?}");
    }
    for (lines, expected) in [
        (
            &[("user-agent", &b"acme (a, b)/2"[..])][..],
            Unresolved::Required,
        ),
        (
            &[("host", b"globex.gw.example.com.evil")],
            Unresolved::Required,
        ),
        (
            &[("host", b"x.globex.gw.example.com")],
            Unresolved::Required,
        ),
        (
            &[("x-tenant", b"acme"), ("host", b"globex.gw.example.com")],
            Unresolved::Disagree,
        ),
        (
            &[("x-site", b"7"), ("x-unit", b"a"), ("x-unit", b"a")],
            Unresolved::Ambiguous,
        ),
        (
            &[("x-site", b"7,7"), ("x-unit", b"a")],
            Unresolved::Ambiguous,
        ),
        (&[("x-site", b"")], Unresolved::Ambiguous),
        (
            &[("user-agent", b"a"), ("user-agent", b"a")],
            Unresolved::Ambiguous,
        ),
    ] {
        assert_eq!(named(&mapping, lines, BOTH), Err(expected), "{lines:?}");
    }
}

/// A header that is there for rules alone says something: what no rule knows is an unknown tenant,
/// not the client's only one.
#[test]
fn a_value_that_no_rule_knows_is_not_the_only_tenant() {
    let mapping = by_rules(vec![
        rule(vec![exact(header("x-site"), "7")], Some("acme")),
        rule(
            vec![exact(header("x-zone"), "1"), exact(header("x-unit"), "1")],
            Some("acme"),
        ),
        scoped(
            "other",
            rule(vec![exact(header("x-own"), "7")], Some("acme")),
        ),
    ]);
    let mine = &["acme"][..];
    assert_eq!(named(&mapping, &[("x-site", b"7")], mine), some("acme"));
    let long = vec![b'7'; VALUE_LIMIT + 1];
    for value in [&b"8"[..], b"\xff", &long] {
        assert_eq!(named(&mapping, &[("x-site", value)], mine), Ok(None));
    }
    assert_eq!(named(&mapping, &[("x-zone", b"1")], mine), Ok(None));
    let both = [("x-zone", &b"1"[..]), ("x-site", b"8")];
    assert_eq!(named(&mapping, &both, mine), Ok(None));
    let beside = [("x-tenant", &b"acme"[..]), ("x-site", b"8")];
    assert_eq!(named(&mapping, &beside, mine), Err(Unresolved::Disagree));
    // No rule of this client looks at these.
    for line in [("x-own", b"8"), ("user-agent", b"8")] {
        let (name, value) = line;
        assert_eq!(named(&mapping, &[(name, value)], mine), some("acme"));
    }
}

#[test]
fn a_rule_is_for_its_clients_alone() {
    let site = |tenant| rule(vec![exact(header("x-site"), "7")], Some(tenant));
    let rules = vec![
        scoped("tool", site("acme")),
        scoped("other", site("globex")),
    ];
    assert_eq!(conflicts(&rules), []);
    let mapping = by_rules(rules);
    assert_eq!(named(&mapping, &[("x-site", b"7")], BOTH), some("acme"));
}

#[test]
fn claims_and_certificates_name_tenants_and_bind_to_them() {
    let certificate = Certificate {
        fingerprint: Fingerprint256::parse(&"0a".repeat(32)).unwrap(),
        subject: "CN=tool,O=Globex".to_owned(),
        names: vec![
            SubjectName::Dns("globex.tools.example".to_owned()),
            SubjectName::Uri("spiffe://example/globex".to_owned()),
            SubjectName::Email("acme.tools.example".to_owned()),
        ],
        expires: Timestamp(0),
    };
    let claims = [("tid".to_owned(), "t-globex".to_owned())];
    let tool = client(BOTH);
    let asker = Asker {
        certificate: Some(&certificate),
        claims: Claims::Listed(&claims),
        ..asker(&tool)
    };
    let digest = "0a".repeat(32);
    for condition in [
        fits(
            Source::Certificate(Part::SanDns),
            r"(?<tenant>\w+)\.tools\.example",
        ),
        fits(
            Source::Certificate(Part::SanUri),
            "spiffe://example/(?<tenant>[a-z]+)",
        ),
        fits(Source::Claim("tid".into()), "t-(?<tenant>[a-z]+)"),
    ] {
        let mapping = by_rules(vec![rule(vec![condition], None)]);
        let (found, _) = outcome(&mapping, &[], &asker).unwrap();
        assert_eq!(found.as_deref(), Some("globex"));
        let refused = outcome(&mapping, &[("x-tenant", b"acme")], &asker);
        assert_eq!(refused, Err(Unresolved::Mismatch));
    }
    for (part, value) in [
        (Part::Subject, "CN=tool,O=Globex"),
        (Part::Fingerprint, &*digest),
    ] {
        let condition = exact(Source::Certificate(part), value);
        let mapping = by_rules(vec![rule(vec![condition], Some("globex"))]);
        let (found, _) = outcome(&mapping, &[], &asker).unwrap();
        assert_eq!(found.as_deref(), Some("globex"));
    }
}

#[test]
fn the_user_header_names_a_user_once_and_changes_no_bound_one() {
    let mapping = Mapping {
        user_header: Some(HeaderName::from_static("x-user")),
        ..by_header()
    };
    let tool = client(&["acme"]);
    let uid = Subject(Uuid::try_parse(UID).unwrap());
    let other = Subject(Uuid::try_parse(OTHER).unwrap());
    let aim = |of_credential, values: &[&str]| {
        let asker = Asker {
            aim: of_credential,
            ..asker(&tool)
        };
        let lines: Vec<_> = values.iter().map(|v| ("x-user", v.as_bytes())).collect();
        outcome(&mapping, &lines, &asker).map(|(_, aim)| aim)
    };
    assert_eq!(aim(Aim::Own, &[UID]), Ok(Aim::Named(uid)));
    assert_eq!(aim(Aim::Own, &[&UID.to_uppercase()]), Ok(Aim::Named(uid)));
    for bound in [Aim::Named(uid), Aim::Was(uid)] {
        assert_eq!(aim(bound, &[]), Ok(bound));
        assert_eq!(aim(bound, &[UID]), Ok(bound));
    }
    for bound in [Aim::Named(other), Aim::Was(other)] {
        assert_eq!(aim(bound, &[UID]), Err(Unresolved::Mismatch));
    }
    let simple = UID.replace('-', "");
    let braced = format!("{{{UID}}}");
    let nil = Uuid::nil().to_string();
    let list = format!("{UID},{UID}");
    for values in [
        &[UID, UID][..],
        &[""],
        &[&simple],
        &[&braced],
        &[&nil],
        &[&list],
        &["me"],
        &["0f0e0d0c-0b0a-4908-8706-0504030201%26"],
    ] {
        assert_eq!(aim(Aim::Own, values), Err(Unresolved::User), "{values:?}");
    }
}

/// The clashes of rules as pairs of places, with the values.
fn clashes(rules: &[Rule]) -> Vec<(usize, usize, Clash)> {
    let found = conflicts(rules).into_iter();
    found.map(|it| (it.one, it.other, it.clash)).collect()
}

fn both(values: &[&str]) -> Clash {
    Clash::Both(values.iter().map(|value| (*value).to_owned()).collect())
}

#[test]
fn rules_that_one_value_fits_must_name_one_tenant() {
    let site = |condition: fn(Source, &str) -> Condition, value, tenant| {
        rule(vec![condition(header("x-site"), value)], tenant)
    };
    let (acme, globex) = (Some("acme"), Some("globex"));
    for (one, other, expected) in [
        (site(exact, "7", acme), site(exact, "8", globex), None),
        (site(exact, "7", acme), site(exact, "7", acme), None),
        (site(exact, "7", acme), site(exact, "7", globex), Some("7")),
        (site(exact, "7", acme), site(fits, "[0-6]", globex), None),
        (
            site(exact, "7", acme),
            site(fits, "[0-9]", globex),
            Some("7"),
        ),
        (site(exact, "7", acme), site(fits, "[0-9]", acme), None),
        (
            site(exact, "7", acme),
            site(fits, "(?<tenant>[0-9])", None),
            Some("7"),
        ),
        (
            site(exact, "acme", acme),
            site(fits, "(?<tenant>[a-z]+)", None),
            None,
        ),
        (
            site(fits, "a.*", acme),
            site(fits, ".*b", globex),
            Some("ab"),
        ),
        (
            site(fits, "a[0-9]*", acme),
            site(fits, "a[a-z]+", globex),
            None,
        ),
        (
            site(fits, "a|ab", acme),
            site(fits, "ab|abc", globex),
            Some("ab"),
        ),
        (site(fits, r"\d+", acme), site(fits, "[a-z]+", globex), None),
        (
            site(fits, "(?i)ACME", acme),
            site(fits, "acme", globex),
            Some("acme"),
        ),
        (
            site(fits, "x-(?<tenant>.+)", None),
            site(fits, "y-(?<tenant>.+)", None),
            None,
        ),
        (
            site(fits, "x-(?<tenant>.+)", None),
            site(fits, "(?<tenant>x-b)", None),
            Some("x-b"),
        ),
        (site(fits, "", acme), site(fits, "^$", globex), Some("")),
        (
            site(fits, "[^a]", acme),
            site(fits, "a|é", globex),
            Some("é"),
        ),
    ] {
        let shown = format!("{one:?} {other:?}");
        let expected: Vec<_> = expected
            .map(|value| (0, 1, both(&[value])))
            .into_iter()
            .collect();
        assert_eq!(clashes(&[one, other]), expected, "{shown}");
    }
}

#[test]
fn combined_rules_are_disjoint_where_one_header_is() {
    let (acme, globex) = (Some("acme"), Some("globex"));
    let site = |value| exact(header("x-site"), value);
    let unit = |pattern| fits(header("x-unit"), pattern);
    let seven = || rule(vec![site("7"), unit("[0-4]+")], acme);
    for (other, expected) in [
        (rule(vec![unit("[5-9]+"), site("7")], globex), None),
        (rule(vec![unit("[0-4]+"), site("8")], globex), None),
        (
            rule(vec![unit("[3-9]+"), site("7")], globex),
            Some(&["7", "3"][..]),
        ),
        // A part of the other's headers.
        (rule(vec![site("7")], globex), Some(&["7"])),
        (rule(vec![site("8")], globex), None),
        (rule(vec![unit("1")], globex), Some(&["1"])),
        // Headers of its own: both can be sent, which is refused then.
        (rule(vec![exact(header("x-zone"), "7")], globex), None),
        (
            rule(vec![site("7"), exact(header("x-zone"), "7")], globex),
            None,
        ),
    ] {
        let expected: Vec<_> = expected
            .map(|values| (0, 1, both(values)))
            .into_iter()
            .collect();
        assert_eq!(clashes(&[seven(), other]), expected);
    }
}

#[test]
fn what_cannot_be_proven_is_a_clash() {
    // Its automaton has to remember which of the last bytes were an a.
    let wide = |tail: &str| {
        let pattern = format!("(?:a|b)*a(?:a|b){{18}}{tail}");
        fits(header("x-site"), &pattern)
    };
    let rules = [
        rule(vec![wide("c")], Some("acme")),
        rule(vec![wide("d")], Some("globex")),
    ];
    assert_eq!(clashes(&rules), [(0, 1, Clash::Unproven)]);
    // Where only some are too large, the others are told apart all the same.
    let narrow = rule(vec![fits(header("x-site"), "x-[0-9]+")], Some("acme"));
    let [one, _] = rules;
    let other = rule(vec![fits(header("x-site"), "y-[0-9]+")], Some("globex"));
    let found = clashes(&[one, narrow, other]);
    assert!(
        found.iter().all(|(one, other, _)| (*one, *other) != (1, 2)),
        "{found:?}"
    );
}

#[test]
fn a_thousand_rules_are_proven_disjoint() {
    let patterns = (0..300).map(|number| {
        let pattern = format!("site-{number:03}-(?<tenant>[a-z]+)");
        rule(vec![fits(header("x-site"), &pattern)], None)
    });
    let exact = (0..700).map(|number| {
        let condition = exact(header("x-site"), &number.to_string());
        rule(
            vec![condition],
            Some(if number % 2 == 0 { "acme" } else { "globex" }),
        )
    });
    let rules: Vec<_> = patterns.chain(exact).collect();
    assert_eq!(conflicts(&rules), []);
    let mapping = by_rules(rules);
    let site = |value: &str| named(&mapping, &[("x-site", value.as_bytes())], BOTH);
    assert_eq!(site("698"), some("acme"));
    assert_eq!(site("699"), some("globex"));
    assert_eq!(site("site-299-acme"), some("acme"));
    assert_eq!(site("site-300-acme"), Ok(None));
}

#[test]
fn a_pattern_is_about_whole_values_however_it_is_written() {
    for (pattern, value, expected) in [
        ("acme", "acme", true),
        ("acme", "xacme", false),
        ("acme", "acmex", false),
        ("^acme$", "acme", true),
        ("a|b", "ax", false),
        ("a|b", "b", true),
        ("(?x)a # comment", "a", true),
        ("(?x)a # comment", "ax", false),
        ("(?m)^a$", "a\nb", false),
        ("a|ab", "ab", true),
        ("(?i)acme", "ACME", true),
        (".", "é", true),
        ("", "", true),
        ("", "a", false),
    ] {
        let fits = Pattern::parse(pattern).unwrap().fits(value);
        assert_eq!(fits, expected, "{pattern} {value}");
    }
    for pattern in [
        "a)|(?:b",
        "(",
        "(?=a)",
        r"(a)\1",
        "a{1000000}",
        "(?<tenant>a)(?<tenant>b)",
    ] {
        assert!(Pattern::parse(pattern).is_err(), "{pattern}");
    }
    assert!(Pattern::parse(&"a".repeat(2000)).is_err());
    let pattern = Pattern::parse("x-(?<tenant>[a-z]*)(?:-(?<rest>.*))?").unwrap();
    assert_eq!(pattern.capture("x-acme-1"), Some("acme"));
    assert_eq!(pattern.capture("x-"), Some(""));
    assert_eq!(pattern.capture("y-acme"), None);
}

#[test]
fn what_each_source_says_can_be_explained() {
    let mapping = by_rules(vec![rule(vec![exact(header("x-site"), "7")], Some("acme"))]);
    let tool = client(BOTH);
    let asker = Asker {
        tenant: Some(TenantClaim::NameOrAlias("acme")),
        ..asker(&tool)
    };
    let lines = [("x-site", &b"7"[..]), ("x-tenant", b"globex")];
    let (said, refused) = with_head(&lines, |head| {
        let explained = mapping.explain(head, &asker, &directory());
        let said = explained.said.iter();
        let said: Vec<_> = said
            .map(|it| (it.by.to_string(), it.name.clone()))
            .collect();
        let said = format!("{said:?}");
        (said, explained.resolved.unwrap_err())
    });
    let order = ["the credential", "the header x-tenant", "\"r\""];
    let places: Vec<_> = order.iter().map(|by| said.find(by).unwrap()).collect();
    assert!(places.is_sorted(), "{said}");
    assert_eq!(refused, Unresolved::Mismatch);
}

/// A value or a pattern of few letters, so that many meet.
fn test() -> impl Strategy<Value = Test> {
    let piece = prop_oneof![
        "[abc]",
        Just("[ab]".to_owned()),
        Just("[^a]".to_owned()),
        "[abc]\\*"
    ];
    let pattern = proptest::collection::vec(piece, 0..4).prop_map(|pieces| {
        let pattern = pieces.concat();
        Test::Fits(Pattern::parse(&pattern).unwrap())
    });
    let capturing = ("[abc]?", "[abc]{1,2}\\*?").prop_map(|(start, name)| {
        let pattern = format!("{start}(?<tenant>{name})");
        Test::Fits(Pattern::parse(&pattern).unwrap())
    });
    let exact = "[abc]{1,3}".prop_map(|value| Test::Exact(value.into()));
    prop_oneof![3 => exact, 2 => pattern, 1 => capturing]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let source = prop_oneof![Just("x-one"), Just("x-two")];
    let tenant = prop_oneof![Just("a"), Just("b")];
    (source, test(), tenant, 0_usize..3).prop_map(|(source, test, tenant, scope)| {
        let captures = matches!(&test, Test::Fits(pattern) if pattern.captures());
        let condition = Condition {
            source: header(source),
            test,
        };
        let rule = rule(vec![condition], (!captures).then_some(tenant));
        match scope {
            0 => scoped("tool", rule),
            1 => scoped("other", rule),
            _ => rule,
        }
    })
}

/// The tenants that a rule names for a value of its header.
fn says(rule: &Rule, value: &str) -> Option<String> {
    let [condition] = &rule.conditions[..] else {
        panic!("{rule:?}");
    };
    match (&rule.tenant, &condition.test) {
        (Some(tenant), test) => test.passes(value).then(|| tenant.to_string()),
        (None, Test::Fits(pattern)) => pattern.capture(value).map(str::to_owned),
        (None, Test::Exact(_)) => None,
    }
}

proptest! {
    /// Rules without a clash: no value makes two of one header name two tenants. With one: the
    /// value that is told does, or at least fits both.
    #[test]
    fn no_value_fits_two_rules_that_were_proven_disjoint(
        rules in proptest::collection::vec(any_rule(), 1..6),
        values in proptest::collection::vec("[abcd]{0,4}", 1..30),
    ) {
        let found = conflicts(&rules);
        for (one, other, clash) in clashes(&rules) {
            let Clash::Both(values) = clash else { panic!("{rules:?}") };
            prop_assert!(says(&rules[one], &values[0]).is_some(), "{values:?}");
            prop_assert!(says(&rules[other], &values[0]).is_some(), "{values:?}");
        }
        for value in &values {
            for (place, other) in rules.iter().enumerate() {
                for (before, one) in rules.iter().enumerate().take(place) {
                    let is_same_header = one.conditions[0].source == other.conditions[0].source;
                    let clients = [one, other].map(|rule| rule.clients.clone());
                    let is_apart = matches!(&clients, [Some(a), Some(b)] if a.is_disjoint(b));
                    let told = found.iter().any(|it| (it.one, it.other) == (before, place));
                    if let (Some(a), Some(b)) = (says(one, value), says(other, value))
                        && is_same_header && !is_apart && !told
                    {
                        prop_assert_eq!(a, b, "{} {:?} {:?}", value, one, other);
                    }
                }
            }
        }
    }

    /// What comes of a request is what its rules say, one by one, whatever the order of its headers.
    #[test]
    fn rules_say_together_what_they_say_alone(
        rules in proptest::collection::vec(any_rule(), 1..8),
        one in proptest::option::of("[abc]{1,3}"),
        two in proptest::option::of("[abc]{1,3}"),
    ) {
        let mut expected: Vec<String> = Vec::new();
        let mut unheard = 0;
        for (name, value) in [("x-one", &one), ("x-two", &two)] {
            let mine = rules.iter().filter(|rule| {
                let clients = rule.clients.as_ref();
                rule.conditions[0].source == header(name)
                    && clients.is_none_or(|clients| clients.contains("tool"))
            });
            let Some(value) = value else { continue };
            let said: Vec<_> = mine.clone().filter_map(|rule| says(rule, value)).collect();
            unheard += usize::from(said.is_empty() && mine.count() > 0);
            expected.extend(said);
        }
        let mapping = Mapping { rules: Rules::new(rules), ..Mapping::default() };
        let mut lines: Vec<(&str, &[u8])> = Vec::new();
        lines.extend(one.iter().map(|value| ("x-one", value.as_bytes())));
        lines.extend(two.iter().map(|value| ("x-two", value.as_bytes())));
        let tool = client(BOTH);
        let heard = |lines: &[(&str, &[u8])]| with_head(lines, |head| {
            let asker = asker(&tool);
            let explained = mapping.explain(head, &asker, &directory());
            let mut names: Vec<_> = explained.said.iter().map(|said| {
                let name = said.name.as_deref();
                name.map(|name| String::from_utf8(name.to_vec()).unwrap())
            }).collect();
            names.sort();
            let ok = explained.resolved.map(|resolved| matches!(resolved.named, Named::Known(_)));
            (names, ok)
        });
        let (names, resolved) = heard(&lines);
        let mut all: Vec<_> = expected.iter().cloned().map(Some).collect();
        all.extend(std::iter::repeat_n(None, unheard));
        all.sort();
        prop_assert_eq!(&names, &all);
        expected.sort();
        expected.dedup();
        prop_assert_eq!(
            resolved,
            match (expected.len(), unheard) {
                (0, 0) => Err(Unresolved::Required),
                (0, _) | (1, 0) => Ok(false),
                _ => Err(Unresolved::Disagree),
            }
        );
        lines.reverse();
        prop_assert_eq!(heard(&lines), (names, resolved));
    }
}
