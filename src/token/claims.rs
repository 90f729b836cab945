//! What a token of the console says about itself.
//!
//! Nobody but the console can verify these tokens, and old documents print some that contradict
//! themselves. So what is read here only ever makes the gateway more careful.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::vspc::grant::Subject;

/// What could be read; all of it may be missing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Claims {
    /// From its beginning to its end.
    pub(super) lifetime: Option<Duration>,
    /// Whose token it is.
    pub(super) subject: Option<Subject>,
}

#[derive(Deserialize)]
struct Payload {
    exp: Option<Value>,
    iat: Option<Value>,
    sub: Option<Value>,
}

impl Claims {
    /// Reads the middle part of a JWT. What is none says nothing.
    pub(super) fn read(token: &Secret) -> Self {
        let mut parts = token.expose().split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Self::default();
        };
        let Ok(decoded) = URL_SAFE_NO_PAD.decode(payload).map(Zeroizing::new) else {
            return Self::default();
        };
        let Ok(payload) = serde_json::from_slice::<Payload>(&decoded) else {
            return Self::default();
        };
        let lifetime = || {
            let begun = seconds(payload.iat.as_ref()?)?;
            let seconds = seconds(payload.exp.as_ref()?)?.checked_sub(begun)?;
            (seconds > 0).then(|| Duration::from_secs(seconds))
        };
        let subject = payload.sub.as_ref().and_then(Value::as_str);
        Self {
            lifetime: lifetime(),
            subject: subject
                .and_then(|text| Uuid::try_parse(text).ok())
                .map(Subject),
        }
    }
}

/// VSPC writes numbers as text in its samples.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Secret {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        Secret::new(format!("eyJhbGciOiJSUzI1NiJ9.{payload}.c2ln"))
    }

    #[test]
    fn numbers_may_be_text_and_everything_may_be_missing() {
        let uid = "13a52652-69ba-4283-88d0-7bdb5083cfa6";
        let subject = Some(Subject(uid.parse().unwrap()));
        let read = |payload: &str| Claims::read(&token(payload));
        let both = read(&format!(
            r#"{{"iat":"1583008178","exp":"1583180978","sub":"{uid}"}}"#
        ));
        assert_eq!(both.lifetime, Some(Duration::from_secs(172_800)));
        assert_eq!(both.subject, subject);
        let numbers = read(r#"{"iat":100,"exp":160,"sub":"DOMAIN\\user"}"#);
        assert_eq!(numbers.lifetime, Some(Duration::from_secs(60)));
        assert_eq!(numbers.subject, None);
        for odd in [
            r#"{"iat":100,"exp":100}"#,
            r#"{"iat":100,"exp":-5}"#,
            r#"{"exp":"soon"}"#,
            "[]",
            "no json",
        ] {
            assert_eq!(read(odd), Claims::default(), "{odd}");
        }
    }

    #[test]
    fn an_opaque_token_says_nothing() {
        for text in ["", "opaque", "a.b", "a.%%.c", "a.b.c.d", "..", "a.e30.c"] {
            let claims = Claims::read(&Secret::new(text.to_owned()));
            assert_eq!(claims, Claims::default(), "{text}");
        }
    }
}
