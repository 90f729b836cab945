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
    });
    let refused = directory
        .add(KeyDigest::of(ZABBIX.as_bytes()), &other)
        .unwrap_err();
    assert_eq!(refused.0, "zabbix");
}
