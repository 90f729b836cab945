use serde_json::json;

use super::page::MOST_PAGES;
use super::*;

fn company(number: usize) -> Value {
    json!({"instanceUid": Uuid::from_u128(number as u128 + 1), "name": format!("c{number}"),
        "status": "Active", "isRestAccessEnabled": true})
}

fn page(numbers: impl IntoIterator<Item = usize>, total: Option<usize>) -> Vec<u8> {
    let data: Vec<Value> = numbers.into_iter().map(company).collect();
    let body = match total {
        Some(total) => json!({"data": data, "meta": {"pagingInfo": {"total": total}}}),
        None => json!({"data": data}),
    };
    body.to_string().into_bytes()
}

fn gather(pages: &[Vec<u8>]) -> Result<usize, DirectoryError> {
    let mut gathered = Gathered::<Company>::new();
    for page in pages {
        if gathered.add(read_page(page)?)? {
            return Ok(gathered.into_entries().len());
        }
    }
    panic!("more pages are wanted from {}", gathered.offset())
}

#[test]
fn pages_are_put_together_until_all_are_there() {
    let total = Some(1200);
    let pages = [
        page(0..500, total),
        page(500..1000, total),
        page(1000..1200, total),
    ];
    assert_eq!(gather(&pages).unwrap(), 1200);
    // A console that gives fewer at once than it was asked for.
    let total = Some(250);
    let pages = [
        page(0..100, total),
        page(100..200, total),
        page(200..250, total),
    ];
    assert_eq!(gather(&pages).unwrap(), 250);
    assert_eq!(gather(&[page(0..0, Some(0))]).unwrap(), 0);
    assert_eq!(gather(&[page(0..7, None)]).unwrap(), 7);
    assert_eq!(
        gather(&[page(0..500, None), page(0..0, None)]).unwrap(),
        500
    );
}

#[test]
fn a_console_that_ignores_the_offset_is_found_out() {
    for total in [Some(1200), None] {
        let same = page(0..500, total);
        let read = gather(&[same.clone(), same]);
        assert!(matches!(read, Err(DirectoryError::Repeated)), "{read:?}");
    }
}

#[test]
fn what_changed_while_it_was_read_is_not_taken() {
    let other_total = [page(0..500, Some(600)), page(500..599, Some(599))];
    // One was deleted from the first page and another made meanwhile: 499 slipped away.
    let slipped = [
        page(0..499, Some(600)),
        page(500..600, Some(600)),
        page(0..0, Some(600)),
    ];
    let overlapping = [page(0..500, Some(600)), page(499..599, Some(600))];
    let fewer = [page(0..500, Some(600)), page(0..0, Some(600))];
    for pages in [&other_total[..], &slipped, &overlapping, &fewer] {
        let read = gather(pages);
        assert!(matches!(read, Err(DirectoryError::Changed)), "{read:?}");
    }
}

#[test]
fn there_is_an_end_to_pages() {
    let pages: Vec<_> = (0..=MOST_PAGES)
        .map(|number| page(number..=number, Some(1_000_000)))
        .collect();
    assert!(matches!(gather(&pages), Err(DirectoryError::TooMany)));
}

#[test]
fn an_answer_that_is_no_page_is_an_error() {
    for body in [
        &br#"{"data":null,"errors":[{"message":"no","code":1210}]}"#[..],
        br#"{"data":[],"errors":[{"code":1}]}"#,
    ] {
        let read = read_page::<Company>(body).map(drop);
        assert!(matches!(read, Err(DirectoryError::Errors)), "{read:?}");
    }
    for body in [
        &b"<html>"[..],
        b"",
        b"[]",
        br#"{"data":null}"#,
        br#"{"data":{"instanceUid":1}}"#,
        br#"{"data":[{"instanceUid":"no"}]}"#,
    ] {
        let read = read_page::<Company>(body).map(drop);
        assert!(
            matches!(read, Err(DirectoryError::Malformed(_))),
            "{read:?}"
        );
    }
    assert!(read_page::<Company>(br#"{"data":[],"errors":[]}"#).is_ok());
    assert!(read_page::<Company>(br#"{"data":[],"errors":null,"more":1}"#).is_ok());
}

#[test]
fn a_company_is_read_with_whatever_members_it_has() {
    let uid = Uuid::from_u128(7);
    let read = |value: Value| Company::read(serde_json::from_value(value).unwrap());
    let full = json!({"instanceUid": uid, "name": "Böhm & Co, KG", "status": "Disabled",
        "isRestAccessEnabled": false, "companyServices": {"x": []},
        "_embedded": {"organization": {"alias": "boehm", "companyId": 4711, "name": "Böhm & Co, KG"}}});
    let (_, company) = read(full).unwrap();
    assert_eq!(company.name.as_deref(), Some("Böhm & Co, KG"));
    assert_eq!(company.aliases, [Arc::from("boehm"), Arc::from("4711")]);
    assert!(!company.is_active);
    assert_eq!(company.has_rest_access, Some(false));

    let (_, bare) = read(json!({"instanceUid": uid})).unwrap();
    assert!(bare.is_active && bare.name.is_none() && bare.has_rest_access.is_none());
    assert_eq!(read(json!({"name": "no uid"})), None);
    assert_eq!(read(json!({"instanceUid": Uuid::nil()})), None);
    // As versions before 3.6 tell it.
    for (permissions, has) in [(json!(["REST"]), Some(true)), (json!([]), Some(false))] {
        let (_, old) = read(json!({"instanceUid": uid, "permissions": permissions})).unwrap();
        assert_eq!(old.has_rest_access, has);
    }
    // Names that nobody could send, or that would spoil a log.
    for name in ["", "a\nb", &"x".repeat(600)] {
        let (_, odd) = read(json!({"instanceUid": uid, "name": name})).unwrap();
        assert_eq!(odd.name, None, "{name:?}");
    }
    let same = json!({"instanceUid": uid, "name": "A",
        "_embedded": {"Organization": {"alias": "A", "companyId": ""}}});
    assert!(read(same).unwrap().1.aliases.is_empty());
}

#[test]
fn a_user_is_read_with_whatever_members_it_has() {
    let uid = Uuid::from_u128(7);
    let read = |value: Value| User::read(serde_json::from_value(value).unwrap());
    let (_, user) = read(
        json!({"instanceUid": uid, "organizationUid": uid, "status": "disabled",
        "role": "CompanyOwner", "userName": "Acme\\owner", "mfaPolicyStatus": "Enabled"}),
    )
    .unwrap();
    assert!(!user.is_enabled && user.is_owner);
    assert_eq!(user.role.as_deref(), Some("CompanyOwner"));
    assert_eq!(user.needs_mfa, Some(true));
    let (_, bare) = read(json!({"instanceUid": uid, "role": "Unknown"})).unwrap();
    assert!(bare.is_enabled && !bare.is_owner && bare.needs_mfa.is_none());
}

#[test]
fn only_the_consoles_own_404_says_that_there_is_none() {
    assert!(is_own_error(
        br#"{"errors":[{"message":"not found","code":404}]}"#
    ));
    assert!(!is_own_error(b"<html>404</html>"));
    assert!(!is_own_error(br#"{"errors":[]}"#));
}

#[test]
fn the_filter_is_json_that_any_console_can_decode() {
    let target = owners_target(500);
    assert!(target.parse::<PathAndQuery>().is_ok());
    let (_, filter) = target.split_once("&filter=").unwrap();
    let filter = percent_encoding::percent_decode_str(filter)
        .decode_utf8()
        .unwrap();
    let filter: Value = serde_json::from_str(&filter).unwrap();
    assert_eq!(filter[0]["value"], "CompanyOwner");
    assert!(target.starts_with("/api/v3/users?limit=500&offset=500&"));
}
