//! One-time codes by the clock (RFC 6238: SHA-1, six digits, 30 seconds, one step of skew).

use std::fmt;

use totp_rs::{Builder, Secret, Totp};

use crate::query::Query;
use crate::random;

/// The length of a new secret, in bytes.
const SECRET: usize = 20;

/// A TOTP device; its secret is never printed.
#[derive(Clone)]
pub(crate) struct Device(Totp);

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Device(..)")
    }
}

impl Device {
    /// Reads a secret in Base32, bare or as the `secret` of an `otpauth` URL; `None` when it is none,
    /// or shorter than the 128 bits that RFC 4226 asks for.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let secret = match text.split_once("://") {
            Some(("otpauth", rest)) => {
                let (_, query) = rest.split_once('?')?;
                Query::of(Some(query)).one("secret")?.to_owned()
            }
            Some(_) => return None,
            None => text.to_owned(),
        };
        let secret = secret.replace(' ', "").to_ascii_uppercase();
        let secret = Secret::try_from_base32(secret.trim_end_matches('=')).ok()?;
        Builder::new().with_secret(secret).build().ok().map(Self)
    }

    /// Makes a device with a new secret.
    pub(crate) fn new() -> Option<Self> {
        let secret = Secret::from(random::bytes::<SECRET>());
        Builder::new().with_secret(secret).build().ok().map(Self)
    }

    /// Returns the secret in Base32.
    pub(crate) fn base32(&self) -> String {
        self.0.secret().to_base32()
    }

    /// Returns the code of a moment, in seconds since the Unix epoch.
    fn code(&self, at: u64) -> String {
        self.0.generate(at).to_string()
    }

    /// Returns the 30-second step whose code this is, if that is the present one or a neighbour.
    pub(crate) fn step_of(&self, code: &str, now: u64) -> Option<u64> {
        is_code(code).then(|| self.0.check(code, now)).flatten()
    }
}

/// Tells whether a text has the form of a code.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the code that a device with this secret, in Base32 or as an `otpauth` URL, shows at a
/// moment, in seconds since the Unix epoch; `None` when the secret cannot be read.
pub fn totp_code(secret: &str, unix_seconds: u64) -> Option<String> {
    Device::read(secret).map(|device| device.code(unix_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 6238, appendix B, in Base32.
    const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn the_codes_of_the_rfc_come_out() {
        for (at, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp_code(RFC, at).as_deref(), Some(code));
        }
    }

    #[test]
    fn a_secret_is_read_bare_and_from_a_url() {
        let url = format!("otpauth://totp/Acme:jane?secret={RFC}&issuer=Acme");
        for text in [url.as_str(), "gezd gnbv gy3t qojq gezd gnbv gy3t qojq===="] {
            assert_eq!(totp_code(text, 59).as_deref(), Some("287082"), "{text}");
        }
        for text in ["", "0189", "ABC", "https://x?secret=A", "otpauth://totp/x"] {
            assert_eq!(totp_code(text, 59), None, "{text}");
        }
    }

    #[test]
    fn one_step_of_skew_is_accepted_and_no_more() {
        let device = Device::read(RFC).unwrap();
        let now = 3000;
        for (at, step) in [
            (2940, None),
            (2970, Some(99)),
            (3000, Some(100)),
            (3030, Some(101)),
            (3060, None),
        ] {
            assert_eq!(device.step_of(&device.code(at), now), step, "{at}");
        }
        assert_eq!(device.step_of("12345", now), None);
    }

    #[test]
    fn new_secrets_differ_and_can_be_read_back() {
        let (one, two) = (Device::new().unwrap(), Device::new().unwrap());
        assert_ne!(one.base32(), two.base32());
        assert_eq!(totp_code(&one.base32(), 7), Some(one.code(7)));
        assert!(!format!("{one:?}").contains(&one.base32()));
    }
}
