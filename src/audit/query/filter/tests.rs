use super::*;

const RECORD: &str = r#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z","kind":"request","request_id":"01M8038X919W8R0GHFVH60Z063","session":"s-1","client":"billing","credential":"token:59bc8e07","principal":"entra|5c0e","grant":"password","source":"10.1.2.3","tenant":"acme","console":"main","target":{"uid":"b3ffc78b-7982-44f3-ae66-1384415f2bea","name":"Ann"},"user":"DOM\\ann","operation":"POST /users/{userUid}/logins/apikey","method":"POST","path":"/api/v3/users/b3ffc78b/logins/apikey","rule":"clients.billing.allow[1]","code":"ok","status":404,"subject":{"action":"created","user_uid":"c28df41e","login_id":10},"future":{"a":[1]}}"#;

fn all<T: std::str::FromStr<Err: std::fmt::Debug>>(values: &[&str]) -> Vec<T> {
    values.iter().map(|value| value.parse().unwrap()).collect()
}

fn takes(filter: &Filter) -> bool {
    takes_of(filter, RECORD)
}

fn takes_of(filter: &Filter, record: &str) -> bool {
    filter.takes(&Line {
        seq: 7,
        json: record.as_bytes().to_vec(),
    })
}

/// One filter each: what sets it, values that fit the record, values that do not.
type Row = (
    fn(&mut Filter) -> &mut Vec<Pattern>,
    &'static [&'static str],
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    (
        |f| &mut f.client,
        &["billing", "BILLING", "b*"],
        &["zabbix", "bill", "main"],
    ),
    (|f| &mut f.tenant, &["acme"], &["globex", "acme "]),
    (|f| &mut f.console, &["main"], &["other"]),
    (
        |f| &mut f.target,
        &["B3FFC78B-7982-44f3-ae66-1384415f2bea", "ann", "b3ffc78b*"],
        &["b3ffc78b", "bob"],
    ),
    (|f| &mut f.user, &["dom\\ann", "*\\ann"], &["ann"]),
    (
        |f| &mut f.operation,
        &["*logins*", "post /users/*"],
        &["logins", "GET *"],
    ),
    (|f| &mut f.method, &["post", "POST"], &["GET"]),
    (
        |f| &mut f.path,
        &["/api/v3/users/*", "*/LOGINS/*"],
        &["/api/v3/users", "/api/v4/*"],
    ),
    (|f| &mut f.code, &["ok"], &["tenant_denied"]),
    (|f| &mut f.kind, &["request"], &["intent"]),
    (
        |f| &mut f.request_id,
        &["01M8038X919W8R0GHFVH60Z063"],
        &["01M8038X919W8R0GHFVH60Z064"],
    ),
    (|f| &mut f.session, &["s-1"], &["s-2"]),
    (
        |f| &mut f.credential,
        &["token:59bc8e07", "token:*"],
        &["api_key:*"],
    ),
    (
        |f| &mut f.principal,
        &["entra|5c0e", "entra|*", "*|5c0e"],
        &["entra", "5c0e"],
    ),
    (|f| &mut f.grant, &["password"], &["refresh_token"]),
    (|f| &mut f.action, &["created"], &["deleted"]),
    (
        |f| &mut f.subject,
        &["c28df41e", "10", "1*"],
        &["1", "b3ffc78b"],
    ),
    (
        |f| &mut f.rule,
        &["clients.billing.allow[1]", "clients.billing.*"],
        &["clients.billing.allow[0]"],
    ),
];

#[test]
fn each_text_filter_takes_what_fits_and_leaves_the_rest() {
    for (number, (member, fitting, others)) in ROWS.iter().enumerate() {
        let filter = |values: &[&str]| {
            let mut filter = Filter::default();
            *member(&mut filter) = all(values);
            filter
        };
        for value in *fitting {
            assert!(takes(&filter(&[value])), "{number}: {value}");
            assert!(
                takes(&filter(&[others[0], value])),
                "{number}: one of two is enough"
            );
            let bare = r#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z"}"#;
            assert!(
                !takes_of(&filter(&[value, "*"]), bare),
                "{number}: a member that is missing fits nothing"
            );
        }
        assert!(!takes(&filter(others)), "{number}");
        // All options must fit.
        let mut both = filter(&fitting[..1]);
        both.status = all(&["500"]);
        assert!(!takes(&both), "{number}");
    }
}

#[test]
fn status_and_source_take_ranges() {
    for (statuses, expected) in [
        (&["404"][..], true),
        (&["4xx"], true),
        (&["5xx", "400-403"], false),
    ] {
        let status = all(statuses);
        assert_eq!(
            takes(&Filter {
                status,
                ..Filter::default()
            }),
            expected,
            "{statuses:?}"
        );
    }
    for (sources, expected) in [
        (&["10.1.2.3"][..], true),
        (&["::1", "10.0.0.0/8"], true),
        (&["10.1.2.4"], false),
    ] {
        let source = all(sources);
        assert_eq!(
            takes(&Filter {
                source,
                ..Filter::default()
            }),
            expected,
            "{sources:?}"
        );
    }
    let everything = Filter {
        status: all(&["100-999"]),
        ..Filter::default()
    };
    for status in ["null", "\"404\"", "true", "-404"] {
        let record = RECORD.replace("\"status\":404", &format!("\"status\":{status}"));
        assert!(!takes_of(&everything, &record), "{status}");
    }
}

#[test]
fn refused_is_what_the_gateway_refused() {
    let refused = Filter {
        refused: true,
        ..Filter::default()
    };
    for (code, expected) in [
        ("tenant_denied", true),
        ("ok", false),
        ("aborted", false),
        ("unknown", false),
        ("upstream_cut", false),
        ("upstream_timeout", true),
    ] {
        let record = RECORD.replace("\"code\":\"ok\"", &format!("\"code\":\"{code}\""));
        assert_eq!(takes_of(&refused, &record), expected, "{code}");
    }
    assert!(!takes_of(&refused, r#"{"seq":7,"kind":"intent"}"#));
}

#[test]
fn times_are_from_and_before_and_numbers_from_and_to() {
    let at = |text: &str| value::timestamp(text).map(Bound::from);
    for (since, until, expected) in [
        (
            "2026-03-04T05:06:07.000089Z",
            "2026-03-04T05:06:07.000090Z",
            true,
        ),
        ("2026-03-04T05:06:07.000090Z", "2026-03-05", false),
        ("2026-03-04", "2026-03-04T05:06:07.000089Z", false),
        ("2026-03-04", "2026-03-05", true),
        ("2026-03-04T06:06:07.000089+01:00", "2027-01-01", true),
    ] {
        let filter = Filter {
            since: at(since),
            until: at(until),
            ..Filter::default()
        };
        for stamp in [
            "\"time\":\"2026-03-04T05:06:07.000089Z\"",
            "\"time\":\"2026-03-04T07:06:07.000089+02:00\"",
            "\"other\":1,\"time\":\"2026-03-04T05:06:07.0000891Z\"",
        ] {
            let record = RECORD.replace("\"time\":\"2026-03-04T05:06:07.000089Z\"", stamp);
            assert_eq!(
                takes_of(&filter, &record),
                expected,
                "{since} {until} {stamp}"
            );
        }
        assert!(!takes_of(&filter, r#"{"seq":7,"kind":"request"}"#));
        assert!(!takes_of(&filter, r#"{"seq":7,"time":"noon"}"#));
    }
    for (from, to, expected) in [(7, 7, true), (8, 9, false), (0, 6, false), (0, 7, true)] {
        let filter = Filter {
            from_seq: Some(from),
            to_seq: Some(to),
            ..Filter::default()
        };
        assert_eq!(takes(&filter), expected, "{from} {to}");
    }
}

#[test]
fn no_filter_takes_every_record_and_nothing_else() {
    assert!(takes(&Filter::default()));
    assert!(takes_of(&Filter::default(), r#"{"seq":7}"#));
    assert!(!takes_of(&Filter::default(), r#"{"seq":7,"#));
}
