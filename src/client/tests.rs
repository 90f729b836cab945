use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;

use super::*;

const PEER: Peer = Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST));
const ZABBIX: &str = "vgk_zabbix_key_of_more_than_32_characters";
const BILLING: &str = "vgk_billing_key_of_more_than_32_characters";

fn directory() -> Directory {
    let mut directory = Directory::default();
    for (index, (name, key)) in [("zabbix", ZABBIX), ("billing", BILLING)]
        .iter()
        .enumerate()
    {
        let client = Arc::new(Client {
            name: Arc::from(*name),
            index,
            tenants: Tenants::All,
            targets: Targets::None,
            terms: Terms::default(),
        });
        directory
            .add(KeyDigest::of(key.as_bytes()), &client)
            .unwrap();
    }
    directory
}

fn identify(lines: &[(&'static str, String)]) -> Result<(String, Option<String>), Unidentified> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    directory()
        .identify(&headers, &PEER, Timestamp(0))
        .map(|caller| {
            let Caller::Client(who) = caller else {
                panic!("a client");
            };
            (
                format!(
                    "{} {}",
                    who.client().name,
                    who.credential().split(':').next().unwrap()
                ),
                who.tenant().map(|tenant| match tenant {
                    TenantClaim::Name(name) | TenantClaim::NameOrAlias(name) => name.to_owned(),
                }),
            )
        })
}

fn basic(user: &str, key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

#[test]
fn a_key_is_known_in_each_of_its_three_places() {
    let yes = |name: &str| Ok((name.to_owned(), None));
    assert_eq!(
        identify(&[("x-api-key", ZABBIX.into())]),
        yes("zabbix api_key")
    );
    assert_eq!(
        identify(&[("authorization", format!("bearer {ZABBIX}"))]),
        yes("zabbix bearer")
    );
    assert_eq!(
        identify(&[("authorization", basic("zabbix", ZABBIX))]),
        yes("zabbix basic")
    );
    assert_eq!(
        identify(&[("authorization", basic("acme\\zabbix", ZABBIX))]),
        Ok(("zabbix basic".into(), Some("acme".into())))
    );
}

#[test]
fn what_is_wrong_is_bad_and_what_is_absent_is_missing() {
    let one_off = ZABBIX.replace("zab", "zaB");
    assert_eq!(identify(&[]), Err(Unidentified::Missing));
    for line in [
        ("x-api-key", one_off.clone()),
        ("x-api-key", String::new()),
        ("x-api-key", format!("{ZABBIX}x")),
        ("authorization", format!("Bearer {one_off}")),
        ("authorization", ZABBIX.to_owned()),
        ("authorization", format!("Digest {ZABBIX}")),
        ("authorization", "Basic ???".to_owned()),
        ("authorization", basic("billing", ZABBIX)),
        ("authorization", basic("acme\\billing", ZABBIX)),
    ] {
        assert_eq!(
            identify(std::slice::from_ref(&line)),
            Err(Unidentified::Bad),
            "{line:?}"
        );
    }
}

#[test]
fn two_credentials_must_name_one_client() {
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    let key = |key: &str| ("x-api-key", key.to_owned());
    assert!(identify(&[key(ZABBIX), bearer(ZABBIX)]).is_ok());
    for lines in [
        [key(ZABBIX), bearer(BILLING)],
        [key(ZABBIX), bearer("unknown")],
        [key("unknown"), bearer(ZABBIX)],
        [key(ZABBIX), key(BILLING)],
        [bearer(ZABBIX), bearer(BILLING)],
    ] {
        assert_eq!(
            identify(&lines),
            Err(Unidentified::Conflicting),
            "{lines:?}"
        );
    }
    assert_eq!(identify(&[key("a"), bearer("b")]), Err(Unidentified::Bad));
}

#[test]
fn one_key_cannot_belong_to_two_clients() {
    let mut directory = directory();
    let other = Arc::new(Client {
        name: "other".into(),
        index: 2,
        tenants: Tenants::All,
        targets: Targets::None,
        terms: Terms::default(),
    });
    let refused = directory
        .add(KeyDigest::of(ZABBIX.as_bytes()), &other)
        .unwrap_err();
    assert_eq!(refused, KeyFault::Shared("zabbix".to_owned()));
}

const DAY: i64 = 24 * 3600 * 1_000_000;
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

fn tool(name: &str, require: Require) -> Arc<Client> {
    Arc::new(Client {
        name: Arc::from(name),
        index: 0,
        tenants: Tenants::All,
        targets: Targets::None,
        terms: Terms {
            require,
            ..Terms::default()
        },
    })
}

fn key(text: &str) -> KeyDigest {
    KeyDigest::of(text.as_bytes())
}

fn labelled(label: &str, expires: Timestamp) -> KeyTerms {
    KeyTerms {
        label: Some(label.to_owned()),
        expires: Some(expires),
    }
}

fn certificate(print: u8, names: &[&str], subject: &str) -> Certificate {
    Certificate {
        fingerprint: fingerprint(print),
        subject: subject.to_owned(),
        names: names.iter().map(|name| read_name(name).unwrap()).collect(),
        expires: Timestamp(NOW.0 + DAY),
    }
}

fn fingerprint(print: u8) -> crate::upstream::Fingerprint256 {
    crate::upstream::Fingerprint256::parse(&hex::encode([print; 32])).unwrap()
}

fn terms(prints: &[u8], name: Option<&str>, subject: Option<&str>) -> CertificateTerms {
    let prints = prints.iter().map(|print| fingerprint(*print)).collect();
    let name = name.map(|name| read_name(name).unwrap());
    CertificateTerms::new(prints, name.as_ref(), subject)
        .unwrap()
        .unwrap()
}

/// Who a caller is that has sent a key, or none, on a connection with a certificate.
fn who(
    directory: &Directory,
    sent: Option<&str>,
    shown: Option<Certificate>,
) -> Result<(String, String), Unidentified> {
    let mut headers = HeaderMap::new();
    if let Some(sent) = sent {
        headers.insert("x-api-key", sent.parse().unwrap());
    }
    let peer = Peer {
        certificate: shown.map(Arc::new),
        ..PEER
    };
    let caller = directory.identify(&headers, &peer, NOW)?;
    let Caller::Client(who) = caller else {
        panic!("a client");
    };
    Ok((who.client().name.to_string(), who.credential().to_string()))
}

fn lack(refused: Result<(String, String), Unidentified>) -> String {
    let Err(Unidentified::Unfit(unfit)) = refused else {
        panic!("{refused:?}");
    };
    let client = unfit.client.as_deref().unwrap_or("-");
    format!("{client} {}: {}", unfit.credential, unfit.lack)
}

#[test]
fn a_key_is_good_until_it_expires_and_then_told_from_an_unknown_one_in_the_record_alone() {
    let mut directory = Directory::default();
    let zabbix = tool("zabbix", Require::Any);
    let soon = Timestamp(NOW.0 + 1);
    directory
        .add_key(key(ZABBIX), labelled("old", NOW), &zabbix)
        .unwrap();
    directory
        .add_key(key(BILLING), labelled("new", soon), &zabbix)
        .unwrap();
    let (client, credential) = who(&directory, Some(BILLING), None).unwrap();
    let digits = key(BILLING).label();
    assert_eq!(client, "zabbix");
    assert_eq!(credential, format!("api_key:{digits}(new)"));
    let expired = who(&directory, Some(ZABBIX), None);
    let told = expired.as_ref().unwrap_err().to_string();
    assert_eq!(told, Unidentified::Bad.to_string());
    let digits = key(ZABBIX).label();
    assert_eq!(
        lack(expired),
        format!("zabbix api_key:{digits}(old): key old expired")
    );
    // By whichever way it comes, and as the key of a log-in.
    for line in [format!("Bearer {ZABBIX}"), basic("zabbix", ZABBIX)] {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", line.parse().unwrap());
        let refused = directory.identify(&headers, &PEER, NOW).unwrap_err();
        assert!(matches!(refused, Unidentified::Unfit(_)), "{line}");
    }
    let credential = || Arc::from("password:x");
    let check = |id: &str| directory.check_log_in(&zabbix, id, credential, (&PEER, NOW));
    assert!(matches!(
        check(&key(ZABBIX).id()),
        Err(Unidentified::Unfit(_))
    ));
    assert!(check(&key(BILLING).id()).is_ok());
    assert_eq!(
        check("0123456789abcdef"),
        Err(Unidentified::Token(TokenFault::Revoked))
    );
}

#[test]
fn a_label_is_one_key_of_a_client() {
    let mut directory = Directory::default();
    let (one, other) = (tool("one", Require::Any), tool("other", Require::Any));
    let add = |directory: &mut Directory, text: &str, client| {
        directory.add_key(key(text), labelled("q4", NOW), client)
    };
    add(&mut directory, "a", &one).unwrap();
    add(&mut directory, "b", &other).unwrap();
    let twice = add(&mut directory, "c", &one).unwrap_err();
    assert_eq!(twice, KeyFault::Label("q4".to_owned()));
}

#[test]
fn operators_are_warned_two_weeks_before_a_key_ends_and_of_certificates_that_nobody_asks_for() {
    let mut directory = Directory::default();
    let zabbix = tool("zabbix", Require::Any);
    for (name, days) in [("gone", -1), ("soon", 13), ("later", 15)] {
        let end = Timestamp(NOW.0 + days * DAY);
        directory
            .add_key(key(name), labelled(name, end), &zabbix)
            .unwrap();
    }
    let warnings = directory.warnings(NOW, false);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("key gone of client zabbix expired at 2026-09-20T"));
    assert!(warnings[1].contains("key soon of client zabbix expires at"));
    assert!(warnings[1].contains("in 13 days"), "{warnings:?}");
    assert_eq!(directory.key_ends().len(), 3);
    directory.add_certificate(terms(&[1], None, None), &zabbix);
    assert_eq!(directory.warnings(NOW, true).len(), 2);
    assert_eq!(directory.warnings(NOW, false).len(), 3);
}

#[test]
fn a_certificate_is_a_clients_when_all_that_is_asked_of_it_is_so() {
    let mut directory = Directory::default();
    for (name, terms) in [
        ("print", terms(&[1, 2], None, None)),
        ("san", terms(&[], Some("uri:spiffe://a/b"), None)),
        ("subject", terms(&[], None, Some("CN=tool, O=Example"))),
        ("both", terms(&[], Some("both.example"), Some("CN=both"))),
        ("address", terms(&[], Some("ip:192.0.2.7"), None)),
        ("mail", terms(&[], Some("email:Ann@Example.com"), None)),
    ] {
        directory.add_certificate(terms, &tool(name, Require::Any));
    }
    for (shown, whose) in [
        (certificate(1, &[], ""), "print"),
        (certificate(2, &["x.example"], "CN=x"), "print"),
        (certificate(9, &["uri:spiffe://a/b"], ""), "san"),
        (
            certificate(10, &["c.example", "uri:spiffe://a/b"], "CN=c"),
            "san",
        ),
        (certificate(11, &[], "CN=tool,O=Example"), "subject"),
        (certificate(12, &["BOTH.example"], "CN=both"), "both"),
        (certificate(13, &["ip:192.0.2.7"], ""), "address"),
        (certificate(14, &["email:Ann@example.com"], ""), "mail"),
    ] {
        let print = format!("{:?}", shown.fingerprint);
        let (client, credential) = who(&directory, None, Some(shown)).unwrap();
        assert_eq!(client, whose);
        let digits = print.get(..8).unwrap();
        assert_eq!(credential, format!("certificate:{digits}"));
    }
    for stranger in [
        certificate(21, &[], ""),
        certificate(22, &["uri:spiffe://a/B"], ""),
        certificate(23, &["uri:spiffe://a/b/c"], ""),
        certificate(24, &[], "CN=tool"),
        certificate(25, &[], "CN=tool,O=Example,C=DE"),
        certificate(26, &["both.example"], "CN=other"),
        certificate(27, &["a.both.example"], "CN=both"),
        certificate(28, &[], "CN=both"),
        certificate(29, &["dns:192.0.2.7"], ""),
        certificate(30, &["email:ann@example.com"], ""),
    ] {
        let shown = format!("{stranger:?}");
        let lack = lack(who(&directory, None, Some(stranger)));
        assert!(lack.starts_with("- certificate:"), "{shown}: {lack}");
        assert!(lack.ends_with("is no client's"), "{shown}: {lack}");
    }
}

/// What a real certificate cannot be made to say here: a name with a `*` is compared as it stands.
#[test]
fn a_wildcard_in_a_certificate_names_nobody() {
    let mut directory = Directory::default();
    let zabbix = tool("zabbix", Require::Any);
    directory.add_certificate(terms(&[], Some("zabbix.example"), None), &zabbix);
    let mut wild = certificate(1, &[], "");
    wild.names = vec![SubjectName::Dns("*.example".to_owned())];
    assert!(who(&directory, None, Some(wild)).is_err());
    assert!(read_name("*.example").is_err());
}

#[test]
fn a_key_and_a_certificate_name_one_client_or_nobody_is_let_in() {
    let mut directory = Directory::default();
    let (zabbix, billing) = (tool("zabbix", Require::Any), tool("billing", Require::Any));
    directory.add(key(ZABBIX), &zabbix).unwrap();
    directory.add(key(BILLING), &billing).unwrap();
    directory.add_certificate(terms(&[1], None, None), &zabbix);
    let own = || Some(certificate(1, &[], ""));
    let (client, credential) = who(&directory, Some(ZABBIX), own()).unwrap();
    assert_eq!(client, "zabbix");
    assert!(credential.starts_with("api_key:"));
    let conflict = Err(Unidentified::Conflicting);
    assert_eq!(who(&directory, Some(BILLING), own()), conflict);
    assert_eq!(who(&directory, Some("unknown"), own()), conflict);
    // A certificate that names nobody says nothing, and is in no key's way.
    let stranger = || Some(certificate(2, &[], ""));
    assert!(who(&directory, Some(BILLING), stranger()).is_ok());
    assert_eq!(
        who(&directory, Some("unknown"), stranger()),
        Err(Unidentified::Bad)
    );
}

#[test]
fn a_client_that_must_give_all_its_proofs_gives_all() {
    let mut directory = Directory::default();
    let zabbix = tool("zabbix", Require::All);
    directory.add(key(ZABBIX), &zabbix).unwrap();
    directory.add_certificate(terms(&[1], None, None), &zabbix);
    let own = || Some(certificate(1, &[], ""));
    assert!(who(&directory, Some(ZABBIX), own()).is_ok());
    let bare = lack(who(&directory, Some(ZABBIX), None));
    assert!(bare.ends_with("must show its certificate too"), "{bare}");
    let stranger = Some(certificate(2, &[], ""));
    let stranger = lack(who(&directory, Some(ZABBIX), stranger));
    assert!(stranger.ends_with("must show its certificate too"));
    let keyless = lack(who(&directory, None, own()));
    assert!(keyless.ends_with("must send a key beside its certificate"));
    // Whoever has stolen a key does not learn that it is one.
    let told = |sent: &str| who(&directory, Some(sent), None).unwrap_err().to_string();
    assert_eq!(told(ZABBIX), told("unknown"));
}

#[test]
fn a_certificate_of_two_clients_lets_nobody_in_and_is_told_at_the_start_where_it_can_be() {
    let mut directory = Directory::default();
    let (one, other) = (tool("one", Require::Any), tool("other", Require::Any));
    let by_name = terms(&[], Some("a.example"), None);
    let by_subject = terms(&[], None, Some("CN=a"));
    let by_both = terms(&[], Some("b.example"), Some("CN=b"));
    let looser = terms(&[], None, Some("CN=b"));
    let prints = terms(&[7, 8], None, None);
    let print_and_name = terms(&[8], Some("p.example"), None);
    let all = [
        (&by_name, &one),
        (&by_subject, &other),
        (&by_both, &one),
        (&looser, &other),
        (&prints, &one),
        (&print_and_name, &other),
    ];
    for (terms, client) in all {
        directory.add_certificate(terms.clone(), client);
    }
    let found: Vec<bool> = all
        .iter()
        .map(|(terms, client)| directory.check_certificate(terms, client).is_err())
        .collect();
    assert_eq!(found, [false, false, true, false, false, true]);
    // What nobody could prove.
    let both = certificate(1, &["a.example"], "CN=a");
    assert_eq!(
        who(&directory, None, Some(both)),
        Err(Unidentified::Conflicting)
    );
    let one_of_them = certificate(2, &["a.example"], "CN=c");
    assert!(who(&directory, None, Some(one_of_them)).is_ok());
}

#[test]
fn a_connection_that_outlives_its_certificate_is_nobodys() {
    let mut directory = Directory::default();
    let zabbix = tool("zabbix", Require::Any);
    directory.add_certificate(terms(&[1], None, None), &zabbix);
    let mut old = certificate(1, &[], "CN=old");
    old.expires = NOW;
    let lack = lack(who(&directory, None, Some(old)));
    assert!(
        lack.ends_with("the certificate of \"CN=old\" expired"),
        "{lack}"
    );
}

#[test]
fn a_thousand_clients_are_told_apart_by_what_is_asked_of_each() {
    let mut directory = Directory::default();
    let clients: Vec<_> = (0..1000)
        .map(|index| tool(&format!("c{index}"), Require::Any))
        .collect();
    for (index, client) in clients.iter().enumerate() {
        let name = format!("c{index}.example");
        directory.add_certificate(terms(&[], Some(&name), None), client);
    }
    for index in [0_usize, 500, 999] {
        let name = format!("c{index}.example");
        let shown = certificate(u8::try_from(index % 251).unwrap(), &[&name], "");
        let (client, _) = who(&directory, None, Some(shown)).unwrap();
        assert_eq!(client, format!("c{index}"));
    }
}

#[test]
fn names_are_read_by_their_kinds() {
    for (text, name) in [
        ("Tool.Example", SubjectName::Dns("tool.example".to_owned())),
        ("dns:a", SubjectName::Dns("a".to_owned())),
        (
            "ip:2001:db8::1",
            SubjectName::Ip("2001:db8::1".parse().unwrap()),
        ),
        (
            "uri:spiffe://a/b",
            SubjectName::Uri("spiffe://a/b".to_owned()),
        ),
        ("email:a@b", SubjectName::Email("a@b".to_owned())),
    ] {
        assert_eq!(read_name(text), Ok(name), "{text}");
    }
    for text in [
        "",
        "dns:",
        "a..b",
        ".a",
        "a.",
        "*.a",
        "dns:*",
        "a b",
        "spiffe://a/b",
        "uri:a",
        "uri:s://*",
        "ip:a",
        "ip:10.0.0.0/8",
        "email:a",
        "email:@b",
        "email:a@b@c",
        "a\0b",
        "DNS:a",
        "dns:ä",
    ] {
        assert!(read_name(text).is_err(), "{text}");
    }
}
