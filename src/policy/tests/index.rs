use std::collections::HashMap;

use super::super::book::Book;
use super::super::rule::Facts;
use super::*;

const NAMES: [&str; 3] = ["acme", "globex", "initech"];

/// A rule as a test reads it: the simplest form of what is compiled.
#[derive(Clone, Debug)]
struct Plain {
    methods: Vec<Method>,
    paths: Vec<Vec<String>>,
    operations: Vec<(Method, Vec<String>)>,
    tenants: Option<Vec<usize>>,
    targets: Option<Vec<u128>>,
    read_only: bool,
    hours: Option<(u16, u16)>,
}

/// A request as a test reads it.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    path: Vec<String>,
    tenant: usize,
    minute: i64,
}

impl Plain {
    fn compile(&self, name: String) -> Rule {
        let pattern = |segments: &[String]| {
            let path = format!("/api/v3/users/{}", segments.join("/"));
            PathPattern::parse(path.trim_end_matches('/')).unwrap()
        };
        let operation = |(method, segments): &(Method, Vec<String>)| {
            let segments = segments.join("/").replace('*', "{any}");
            let text = format!("{method} /users/{segments}");
            OperationPattern::parse(text.trim_end_matches('/')).unwrap()
        };
        Rule {
            name: name.into(),
            methods: Methods::Listed(self.methods.clone()),
            paths: self.paths.iter().map(|path| pattern(path)).collect(),
            operations: self.operations.iter().map(operation).collect(),
            tenants: self.tenants.as_ref().map(|tenants| {
                let names = tenants.iter().map(|tenant| Arc::from(NAMES[*tenant]));
                names.collect()
            }),
            targets: self.targets.as_ref().map(|targets| {
                let targets = targets.iter().map(|target| Uuid::from_u128(*target));
                targets.map(Subject).collect()
            }),
            access: if self.read_only {
                Access::ReadOnly
            } else {
                Access::Full
            },
            hours: self
                .hours
                .and_then(|(from, to)| Hours::new(0, from, to, 0).ok()),
            reason: Demand::Optional,
        }
    }

    /// A second reading of what a rule means, one condition after the other.
    fn matches(&self, request: &Request, allows: bool) -> bool {
        let Request { method, path, .. } = request;
        let lists = |listed: &Method| {
            listed == method || (*listed == Method::GET && *method == Method::HEAD)
        };
        let names = |pattern: &[String]| {
            let is_road = allows
                && match (method, path.as_slice()) {
                    (&Method::DELETE, [_, tokens]) => tokens == "tokens",
                    (&Method::POST, [_, logins, ..]) => logins == "logins",
                    _ => false,
                };
            !is_road || pattern.get(1).is_some_and(|second| *second == path[1])
        };
        let on_operation = |(of, pattern): &(Method, Vec<String>)| {
            lists(of) && reference(pattern, path) && names(pattern)
        };
        let on_path = if self.operations.is_empty() {
            let on = |pattern: &&Vec<String>| reference(pattern, path) && names(pattern);
            self.paths.iter().any(|pattern| on(&pattern))
        } else {
            self.operations.iter().any(on_operation)
                && (self.paths.is_empty()
                    || self.paths.iter().any(|pattern| reference(pattern, path)))
        };
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let in_hours = |(from, to): (u16, u16)| {
            let minute = u16::try_from(request.minute).unwrap();
            if from < to {
                (from..to).contains(&minute)
            } else {
                from == to || minute >= from || minute < to
            }
        };
        on_path
            && self.methods.iter().any(lists)
            && (reads || !self.read_only)
            && self.hours.is_none_or(in_hours)
            && (self
                .tenants
                .iter()
                .flatten()
                .any(|it| *it == request.tenant)
                || self.tenants.is_none())
            && (self.targets.iter().flatten().any(|it| *it == 1) || self.targets.is_none())
    }
}

fn segments(with: &'static str) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(with, 0..4)
}

fn methods() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
    ])
}

fn plain_rules() -> impl Strategy<Value = Vec<Plain>> {
    let path = (segments("a|b|\\*|tokens|logins"), any::<bool>()).prop_map(|(mut path, open)| {
        if open {
            path.push("**".to_owned());
        }
        path
    });
    let operation = (methods(), segments("a|b|\\*|tokens|logins"));
    use proptest::option::weighted as some;
    let of = (
        proptest::collection::vec(methods(), 1..4),
        proptest::collection::vec(path, 1..3),
        proptest::collection::vec(operation, 0..3),
        some(0.3, proptest::collection::vec(0..NAMES.len(), 1..3)),
        some(0.2, proptest::collection::vec(1_u128..3, 1..3)),
        proptest::bool::weighted(0.2),
        some(0.2, (0_u16..1440, 0_u16..1440)),
    );
    let rule = of.prop_map(
        |(methods, paths, operations, tenants, targets, read_only, hours)| Plain {
            methods,
            paths,
            operations,
            tenants,
            targets,
            read_only,
            hours: hours.filter(|(from, to)| from != to),
        },
    );
    proptest::collection::vec(rule, 0..12)
}

fn requests() -> impl Strategy<Value = Request> {
    let of = (
        methods(),
        segments("a|b|tokens|logins"),
        0..NAMES.len(),
        0_i64..1440,
    );
    of.prop_map(|(method, path, tenant, minute)| Request {
        method,
        path,
        tenant,
        minute,
    })
}

fn compiled(rules: &[Plain], list: &str) -> Vec<Rule> {
    let rules = rules.iter().enumerate();
    rules
        .map(|(index, rule)| rule.compile(format!("{list}{index}")))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The index, a second reading rule by rule, and the explanation agree.
    #[test]
    fn decisions_agree_with_a_second_reading_and_with_their_explanation(
        deny in plain_rules(),
        allow in plain_rules(),
        request in requests(),
    ) {
        let rules = Rules {
            deny: compiled(&deny, "deny"),
            allow: compiled(&allow, "allow"),
            ..Rules::default()
        };
        let policy = Policy::new(vec![rules], Rules::default(), None);
        let clients = clients(Tenants::All, Targets::None);
        let caller = caller(&clients);
        let path = format!("/api/v3/users/{}", request.path.join("/"));
        let parts = parts(request.method.as_str(), &path);
        let head = RequestHead::parse(&parts, &Limits::default()).unwrap();
        let whom = Resolved::own(Named::Known(tenant(NAMES[request.tenant], Access::Full)));
        let now = Timestamp(request.minute * 60_000_000);
        let moment = Moment { now, ..WHENEVER };
        let decided = policy.authorize(&caller, &whom, &head, moment);
        let decided = decided.map(|permit| permit.rule().to_string());

        let first = |rules: &[Plain], list: &str, allows| {
            let found = rules.iter().position(|rule| rule.matches(&request, allows));
            found.map(|index| format!("{list}{index}"))
        };
        let denying = first(&deny, "deny", false);
        match (&denying, first(&allow, "allow", true)) {
            (Some(rule), _) => {
                let denied = Denied::Operation(Some(rule.as_str().into()));
                prop_assert_eq!(&decided, &Err(denied));
            }
            (None, Some(rule)) => prop_assert_eq!(&decided, &Ok(rule)),
            (None, None) => prop_assert!(decided.is_err(), "{:?}", decided),
        }

        let findings = policy.explain(&caller, &whom, &head, now);
        prop_assert_eq!(findings.len(), deny.len() + allow.len());
        let of = |effect| findings.iter().filter(move |finding| finding.effect == effect);
        let deciding = of(Effect::Deny).find(|finding| finding.applies());
        let explained = match (deciding, of(Effect::Allow).find(|finding| finding.applies())) {
            (Some(finding), _) => Err(Denied::Operation(Some(finding.rule.clone()))),
            (None, Some(finding)) => Ok(finding.rule.to_string()),
            (None, None) => {
                let mut misses: Vec<_> = of(Effect::Allow).filter(|it| it.covers_path()).collect();
                misses.sort_by_key(|it| it.unmet.len());
                Err(match misses[..] {
                    [] => Denied::Operation(None),
                    [nearest, ..] => match misses.iter().find_map(|it| match it.unmet[..] {
                        [Unmet::Road(road)] => Some(road),
                        _ => None,
                    }) {
                        Some(road) => Denied::Road(road),
                        None => Denied::Unmet(Box::new(nearest.clone())),
                    },
                })
            }
        };
        prop_assert_eq!(decided, explained);
    }
}

/// How many rules it takes to decide.
fn looked_at(rules: Rules, method: &str, path: &str, name: &str) -> (Option<String>, usize) {
    let book = Book::new(rules);
    let parts = parts(method, path);
    let head = RequestHead::parse(&parts, &Limits::default()).unwrap();
    let named = tenant(name, Access::Full);
    let facts = Facts {
        method: bit(head.method),
        path: &head.path,
        tenant: Some(&named),
        target: Some(Subject(Uuid::from_u128(1))),
        now: Timestamp(0),
        must_spell: 0,
    };
    let (judged, looked_at) = book.judge(&facts, None);
    (judged.ok().map(|rule| rule.name.to_string()), looked_at)
}

/// However many rules a client has, a decision looks at those few that its path leads to.
#[test]
fn a_decision_looks_at_few_of_many_rules() {
    let many = |make: &dyn Fn(usize) -> Rule| Rules {
        deny: (0..1_000).map(make).collect(),
        allow: (0..1_000).map(make).collect(),
        ..Rules::default()
    };
    let by_path = |number: usize| {
        let path = format!("/api/v3/things/kind{number}/**");
        rule(&format!("r{number}"), &[Method::GET], &[&path])
    };
    let mut rules = many(&by_path);
    rules.deny.truncate(500);
    let found = looked_at(rules, "GET", "/api/v3/things/kind700/1/2", "acme");
    assert_eq!(found, (Some("r700".to_owned()), 1));

    let by_tenant = |number: usize| Rule {
        tenants: Some([Arc::from(format!("tenant-{number}"))].into()),
        ..rule(&format!("r{number}"), &[Method::GET], &["/api/v3/**"])
    };
    let mut rules = many(&by_tenant);
    rules.deny.truncate(500);
    let found = looked_at(rules, "GET", "/api/v3/users", "tenant-700");
    assert_eq!(found, (Some("r700".to_owned()), 1));

    // Of equal ones the first is enough.
    let alike = |number: usize| rule(&format!("r{number}"), &[Method::GET], &["/api/v3/**"]);
    let mut rules = many(&alike);
    rules.deny.clear();
    let found = looked_at(rules, "GET", "/api/v3/users", "acme");
    assert_eq!(found, (Some("r0".to_owned()), 1));

    // Rules about other paths are not looked at when nothing is found either.
    let found = looked_at(many(&by_path), "GET", "/api/v3/things/none", "acme");
    assert_eq!(found, (None, 0));

    // A wildcard in the middle leads to two branches, not to all.
    let starred = |number: usize| {
        let first = if number.is_multiple_of(2) { "*" } else { "a" };
        let path = format!("/api/v3/{first}/kind{number}");
        rule(&format!("r{number}"), &[Method::GET], &[&path])
    };
    let mut rules = many(&starred);
    rules.deny.clear();
    let found = looked_at(rules, "GET", "/api/v3/a/kind700", "acme");
    assert_eq!(found, (Some("r700".to_owned()), 1));
}

/// A rule further up decides, wherever in the tree it stands.
#[test]
fn the_first_of_the_list_decides() {
    let rules = |order: &[&str]| {
        let patterns: HashMap<&str, &str> = HashMap::from([
            ("exact", "/api/v3/users/1"),
            ("star", "/api/v3/users/*"),
            ("open", "/api/v3/**"),
            ("all", "/**"),
        ]);
        let rule = |name: &&str| rule(name, &[Method::GET], &[patterns[*name]]);
        Rules {
            allow: order.iter().map(rule).collect(),
            ..Rules::default()
        }
    };
    for order in [
        ["exact", "star", "open", "all"],
        ["all", "open", "star", "exact"],
        ["star", "exact", "all", "open"],
        ["open", "all", "exact", "star"],
    ] {
        let (found, _) = looked_at(rules(&order), "HEAD", "/api/v3/users/1", "acme");
        assert_eq!(found.as_deref(), Some(order[0]));
    }
}
