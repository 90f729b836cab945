//! `vspc::TokenForm`, URL-encoded: the form of a log-in.
//!
//! - It has the fields that the `form_urlencoded` crate finds, and no other; a field that comes twice
//!   is refused, and so is what has no grant.
//! - What a console gets instead of the bytes that came is read as the same fields by both readers.
//! - What a content type says changes nothing, other than `multipart/form-data`.

use std::collections::BTreeMap;

use vspc_gateway::vspc::grant::Access;
use vspc_gateway::vspc::{FormFault, GrantType, TokenForm};

/// Takes the input for the body of a form.
pub fn check(data: &[u8]) {
    let read = TokenForm::read(None, data);
    let expected = expected(data);
    match (&read, &expected) {
        (Ok(form), Ok((grant, fields))) => {
            check_fields(form, *grant, fields);
            check_passwords(form, data.trim_ascii_end());
            check_written(form, fields);
        }
        (Err(fault), Err(expected)) => assert_eq!(fault, expected),
        (Ok(_), Err(fault)) => panic!("it is read, not refused: {fault}"),
        (Err(fault), Ok(_)) => panic!("it is refused: {fault}"),
    }
    for kind in KINDS {
        let again = TokenForm::read(Some(kind), data);
        assert_eq!(again.err(), read.as_ref().err().copied(), "as {kind}");
    }
}

/// The fields that are there, by name; a field may be empty.
pub(crate) type Fields = BTreeMap<&'static str, Vec<u8>>;

const KINDS: [&str; 5] = [
    "application/x-www-form-urlencoded",
    "Application/X-WWW-Form-urlencoded ; charset=utf-8",
    "application/json",
    "multipart/form-dat",
    ";",
];

fn expected(body: &[u8]) -> Result<(GrantType, Fields), FormFault> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return Err(FormFault::Json);
    }
    let end = body.iter().rposition(|byte| !byte.is_ascii_whitespace());
    let body = end.map_or(&[][..], |end| &body[..=end]);
    granted(gather(encoded(body))?)
}

/// The pairs of a URL-encoded form. What is not UTF-8 stays as it is: names that mean something are
/// ASCII, and values are compared as bytes.
fn encoded(body: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let lossless = |text: &[u8]| {
        let bytes = text.iter().map(|byte| char::from(*byte));
        let latin: String = bytes.collect();
        // One code for each byte above ASCII, so that the crate sees UTF-8 whatever it was.
        let mut safe = String::new();
        let mut rest = latin.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let code = (c == '%').then(|| rest.get(..2)).flatten();
            let code = code.filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
            if code.is_some() {
                rest = &rest[2..];
            }
            match code.map_or(c, char::from) {
                c if code.is_none() && c.is_ascii() && c != '%' => safe.push(c),
                c => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        safe.push_str(&format!("%{byte:02X}"));
                    }
                }
            }
        }
        safe
    };
    let bytes = |text: &str| -> Vec<u8> {
        let low = |c| u8::try_from(u32::from(c)).unwrap_or_else(|_| panic!("{c:?} is no byte"));
        text.chars().map(low).collect()
    };
    let pairs: Vec<_> = form_urlencoded::parse(lossless(body).as_bytes())
        .map(|(name, value)| (bytes(&name), bytes(&value)))
        .collect();
    pairs.into_iter()
}

/// The fields that mean something, by name. One that comes twice is a fault.
pub(crate) fn gather(pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Fields, FormFault> {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        let known = NAMES
            .iter()
            .find(|known| known.as_bytes().eq_ignore_ascii_case(&name));
        if let Some(known) = known
            && fields.insert(known, value).is_some()
        {
            return Err(FormFault::Repeated(known));
        }
    }
    Ok(fields)
}

pub(crate) fn granted(fields: Fields) -> Result<(GrantType, Fields), FormFault> {
    let grant = match fields.get("grant_type").map(Vec::as_slice) {
        None | Some(b"") => return Err(FormFault::Missing("grant_type")),
        Some(grant) => GRANTS.iter().find(|(name, ..)| name.as_bytes() == grant),
    };
    let (_, grant, _) = grant.ok_or(FormFault::Grant)?;
    Ok((*grant, fields))
}

/// That the form has these fields, and no other.
pub(crate) fn check_fields(form: &TokenForm, grant: GrantType, fields: &Fields) {
    assert_eq!(form.grant(), grant);
    for name in NAMES {
        let value = fields.get(name).filter(|value| !value.is_empty());
        let value = value.map(Vec::as_slice).ok_or(FormFault::Missing(name));
        assert_eq!(form.field(name), value, "{name}");
        let text = value.and_then(|value| str::from_utf8(value).or(Err(FormFault::Value(name))));
        assert_eq!(form.text(name), text, "{name}");
    }
    for name in ["", "client_id", "Password", "scope"] {
        assert_eq!(form.field(name), Err(FormFault::Missing(name)));
    }
    let told: Vec<&[u8]> = form.values().collect();
    assert!(
        fields
            .values()
            .all(|value| told.contains(&value.as_slice()))
    );
    assert!((fields.len()..=fields.len() + 1).contains(&told.len()));

    let read_only = fields
        .get("readOnly")
        .map(|value| value.to_ascii_lowercase());
    let access = match read_only.as_deref() {
        None | Some(b"" | b"false" | b"0") => Ok(Access::Full),
        Some(b"true" | b"1") => Ok(Access::ReadOnly),
        Some(_) => Err(FormFault::Value("readOnly")),
    };
    assert_eq!(form.access(), access);
}

/// A password is what its field says, or else a piece of the body from there to the next field.
fn check_passwords(form: &TokenForm, body: &[u8]) {
    let mut passwords: Vec<Vec<u8>> = Vec::new();
    passwords.extend(form.field("password").map(<[u8]>::to_vec));
    let name = |pair: &[u8]| -> Vec<u8> {
        let name = pair.split(|byte| *byte == b'=').next();
        name.unwrap_or_default().to_ascii_lowercase()
    };
    let pairs: Vec<&[u8]> = body.split(|byte| *byte == b'&').collect();
    if let Some(at) = pairs.iter().position(|pair| name(pair) == b"password") {
        let is_known = |pair: &&[u8]| {
            NAMES
                .iter()
                .any(|known| known.to_lowercase().as_bytes() == name(pair))
        };
        let behind = &pairs[at + 1..];
        let count = behind.iter().position(is_known).unwrap_or(behind.len());
        let mut plain = vec![pairs[at].get(9..).unwrap_or_default()];
        plain.extend(&behind[..count]);
        passwords.push(plain.join(&b'&'));
    }
    assert!(form.passwords().eq(passwords.iter().map(Vec::as_slice)));
}

/// That what is written anew has the fields of its grant, to both readers, and nothing else.
pub(crate) fn check_written(form: &TokenForm, fields: &Fields) {
    let written = form.written();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"*-._%&=".contains(byte);
    assert!(written.iter().all(plain));
    let (name, grant, wanted) = GRANTS[GRANTS
        .iter()
        .position(|row| row.1 == form.grant())
        .unwrap_or_default()];
    let mut expected = vec![(b"grant_type".to_vec(), name.as_bytes().to_vec())];
    for name in wanted {
        let value = fields.get(name).filter(|value| !value.is_empty());
        expected.extend(value.map(|value| (name.as_bytes().to_vec(), value.clone())));
    }
    assert!(encoded(&written).eq(expected.iter().cloned()));

    let again = match TokenForm::read(None, &written) {
        Ok(again) => again,
        Err(fault) => panic!("what was written anew is no form: {fault}"),
    };
    match gather(expected.into_iter()) {
        Ok(fields) => check_fields(&again, grant, &fields),
        Err(fault) => panic!("{fault}"),
    }
    assert_eq!(again.written(), written);
}

pub(crate) const NAMES: [&str; 10] = [
    "code",
    "grant_type",
    "mfa_code",
    "mfa_token",
    "password",
    "public_key",
    "readOnly",
    "refresh_token",
    "userUid",
    "username",
];

/// The grants, and which of their fields a console gets.
const GRANTS: [(&str, GrantType, &[&str]); 6] = [
    ("as", GrantType::As, &[]),
    (
        "authorization_code",
        GrantType::AuthorizationCode,
        &["code", "readOnly"],
    ),
    (
        "mfa",
        GrantType::Mfa,
        &["mfa_token", "mfa_code", "readOnly"],
    ),
    (
        "password",
        GrantType::Password,
        &["username", "password", "readOnly"],
    ),
    (
        "public_key",
        GrantType::PublicKey,
        &["public_key", "readOnly"],
    ),
    (
        "refresh_token",
        GrantType::Refresh,
        &["refresh_token", "readOnly"],
    ),
];
