//! Reading answers, also the beginning of one: what was read before it breaks off counts.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Answered, Identity, SCOPES, public_key_fingerprint};

/// Reads an answer, or the beginning of a long one; `None` when it is not one of the family's (an
/// error, a removal, one that breaks off too soon).
pub fn read_answer(body: &[u8]) -> Option<Answered> {
    let mut read = Read::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let is_whole = deserializer.deserialize_map(Envelope(&mut read)).is_ok();
    match read {
        Read {
            one: Some(identity),
            ..
        } => Some(Answered::One(identity)),
        Read {
            many: Some(identities),
            ..
        } => Some(Answered::Many {
            identities,
            is_whole,
        }),
        Read {
            one: None,
            many: None,
        } => None,
    }
}

/// What was read so far.
#[derive(Default)]
struct Read {
    one: Option<Identity>,
    many: Option<Vec<Identity>>,
}

struct Envelope<'a>(&'a mut Read);

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name.eq_ignore_ascii_case("data") {
                map.next_value_seed(Data(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Data<'a>(&'a mut Read);

impl<'de> serde::de::DeserializeSeed<'de> for Data<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one identity or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let many = self.0.many.insert(Vec::new());
        while let Some(written) = seq.next_element::<Written>()? {
            many.push(written.into());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let written = Written::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.0.one = Some(written.into());
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom("a removal"))
    }
}

/// An identity as it is written. A member of another type than it should have says nothing.
#[derive(Default)]
struct Written(Identity);

impl From<Written> for Identity {
    fn from(written: Written) -> Self {
        written.0
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        let mut identity = Identity::default();
        let mut public_key = None;
        let mut members = 0_usize;
        while let Some(name) = map.next_key::<String>()? {
            members += 1;
            if members > MEMBERS {
                return Err(A::Error::custom("no identity"));
            }
            match &*name.to_ascii_lowercase() {
                // This one holds a new API key: it is looked at as long as it takes to see that it
                // is a public key, and wiped.
                "parameters" => {
                    let parameters = map.next_value::<Parameters>()?.0;
                    public_key = parameters.and_then(|text| public_key_fingerprint(&text));
                }
                "id" => identity.id = map.next_value::<Value>()?.as_i64(),
                "useruid" | "userid" => {
                    let value = map.next_value::<Value>()?;
                    let uid = value.as_str().and_then(|text| Uuid::try_parse(text).ok());
                    identity.user_uid = identity.user_uid.or(uid);
                }
                "identityprovidername" => identity.provider = text(&map.next_value()?),
                "description" => identity.description = text(&map.next_value()?),
                "status" => identity.status = text(&map.next_value()?),
                "isreadaccessonly" => identity.read_only = map.next_value::<Value>()?.as_bool(),
                "scopes" => {
                    let value = map.next_value::<Value>()?;
                    let listed = value.as_array().into_iter().flatten();
                    identity.scopes = listed.filter_map(text).take(SCOPES).collect();
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        identity.key_fingerprint = public_key;
        Ok(Written(identity))
    }
}

/// A text that may be a secret.
struct Parameters(Option<Zeroizing<String>>);

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Text(text) => Some(Zeroizing::new(text)),
            Any::Other(_) => None,
        }))
    }
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    Some(text.chars().take(128).collect())
}

/// More members than any identity has.
const MEMBERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vspc::logins::key_fingerprint;

    const KEY: &str =
        "<RSAKeyValue><Modulus>urIs1X6dTVE=</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>";

    #[test]
    fn an_identity_is_read_in_all_spellings_and_never_its_secret() {
        let user = Uuid::from_u128(7);
        for (id, name) in [("id", "userUid"), ("Id", "UserId"), ("id", "userId")] {
            let body = format!(
                r#"{{"data":{{"{id}":3,"{name}":"{user}","identityProviderName":"AK",
                "parameters":"canary-secret","scopes":["rest"],"isReadAccessOnly":false,
                "description":null,"status":"enabled"}}}}"#
            );
            let Some(Answered::One(identity)) = read_answer(body.as_bytes()) else {
                panic!("not one identity")
            };
            let expected = Identity {
                id: Some(3),
                user_uid: Some(user),
                provider: Some("AK".to_owned()),
                scopes: vec!["rest".to_owned()],
                read_only: Some(false),
                description: None,
                status: Some("enabled".to_owned()),
                key_fingerprint: None,
            };
            assert_eq!(identity, expected, "{name}");
        }
    }

    #[test]
    fn the_public_key_of_an_answer_has_the_fingerprint_that_it_was_submitted_with() {
        let body = format!(r#"{{"data":{{"id":3,"parameters":"{KEY}"}}}}"#);
        let Some(Answered::One(identity)) = read_answer(body.as_bytes()) else {
            panic!("not one identity")
        };
        let submitted = key_fingerprint(KEY.as_bytes());
        assert_eq!(identity.key_fingerprint, Some(submitted));
    }

    #[test]
    fn a_list_is_read_as_far_as_it_goes() {
        let page = br#"{"meta":{"pagingInfo":{"total":2}},"data":[{"id":1,"scopes":null},{"id":2}],"errors":[]}"#;
        let ids = |answered: Option<Answered>| match answered {
            Some(Answered::Many {
                identities,
                is_whole,
            }) => {
                let ids: Vec<_> = identities.iter().filter_map(|one| one.id).collect();
                (ids, is_whole)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ids(read_answer(page)), (vec![1, 2], true));
        // Cut anywhere, it says no more than it does.
        for len in 0..page.len() {
            if let Some(answered) = read_answer(&page[..len]) {
                let (ids, is_whole) = ids(Some(answered));
                assert!([1, 2].starts_with(&ids) && !is_whole, "{len}");
            }
        }
        assert_eq!(ids(read_answer(br#"{"data":[]}"#)), (vec![], true));
    }

    #[test]
    fn what_is_no_answer_of_the_family_says_nothing() {
        for body in [
            &b""[..],
            b"<html>",
            b"7",
            b"[]",
            br#"{"data":true}"#,
            br#"{"errors":[{"message":"no"}]}"#,
            br#"{"data":"canary"}"#,
        ] {
            assert_eq!(read_answer(body), None);
        }
        let odd = br#"{"data":{"id":"x","scopes":7,"isReadAccessOnly":"yes","parameters":[1]}}"#;
        assert_eq!(read_answer(odd), Some(Answered::One(Identity::default())));
    }
}
