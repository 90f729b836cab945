//! Codes of a second factor by the clock (RFC 6238).

use std::fmt;

use aws_lc_rs::{digest, hmac};
use percent_encoding::percent_decode_str;
use zeroize::{Zeroize as _, Zeroizing};

use crate::secret::Secret;

/// What the codes of a second factor are made from.
pub struct Totp {
    key: hmac::Key,
    digits: u32,
    /// In seconds.
    period: u64,
    device: [u8; 16],
}

/// Why a text is no secret of a second factor. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TotpFault {
    /// A setting in the URL has a value that no console uses.
    #[error("the otpauth URL has an unusable {0}")]
    Setting(&'static str),
    /// It is a URL, but not of codes by the clock.
    #[error("must be Base32 text, or a URL that begins with otpauth://totp/")]
    NotATotpUrl,
    /// It is no Base32.
    #[error("must be Base32 text (A to Z and 2 to 7), or an otpauth:// URL")]
    NotBase32,
    /// Anybody could guess it.
    #[error("is too short: a secret has at least 16 characters of Base32")]
    TooShort,
}

impl Totp {
    /// Reads Base32 text (SHA-1, six digits, 30 seconds), or an `otpauth://` URL, which may say
    /// otherwise.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn read(text: &Secret) -> Result<Self, TotpFault> {
        let text = text.expose().trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::new(text, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 6, 30);
        };
        let (kind, rest) = rest.split_once('/').ok_or(TotpFault::NotATotpUrl)?;
        if !scheme.eq_ignore_ascii_case("otpauth") || !kind.eq_ignore_ascii_case("totp") {
            return Err(TotpFault::NotATotpUrl);
        }
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let secret = parameter(query, "secret").ok_or(TotpFault::Setting("secret"))?;
        let algorithm = match parameter(query, "algorithm") {
            None => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some(name) => match name.to_ascii_uppercase().replace('-', "").as_str() {
                "SHA1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                "SHA256" => hmac::HMAC_SHA256,
                "SHA512" => hmac::HMAC_SHA512,
                _ => return Err(TotpFault::Setting("algorithm")),
            },
        };
        let number = |name, default| match parameter(query, name) {
            None => Ok(default),
            Some(text) => text.parse::<u32>().map_err(|_| TotpFault::Setting(name)),
        };
        let (digits, period) = (number("digits", 6)?, number("period", 30)?);
        if !(6..=8).contains(&digits) {
            return Err(TotpFault::Setting("digits"));
        }
        if !(10..=300).contains(&period) {
            return Err(TotpFault::Setting("period"));
        }
        Self::new(&secret, algorithm, digits, u64::from(period))
    }

    fn new(
        base32: &str,
        algorithm: hmac::Algorithm,
        digits: u32,
        period: u64,
    ) -> Result<Self, TotpFault> {
        let secret = decode_base32(base32).ok_or(TotpFault::NotBase32)?;
        if secret.len() < LEAST_SECRET {
            return Err(TotpFault::TooShort);
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"vspc-gateway second factor\0");
        hash.update(&secret);
        let hash = hash.finish();
        Ok(Self {
            key: hmac::Key::new(algorithm, &secret),
            digits,
            period,
            device: hash.as_ref().first_chunk().copied().unwrap_or_default(),
        })
    }

    /// Recognizes the secret, wherever it is written down.
    pub(super) fn device(&self) -> [u8; 16] {
        self.device
    }

    /// How long a code is the present one, in seconds.
    pub(super) fn period(&self) -> u64 {
        self.period
    }

    /// The code of a step: the time since the Unix epoch, in periods.
    pub(super) fn code(&self, step: u64) -> Secret {
        let tag = hmac::sign(&self.key, &step.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226, 5.3: the last four bits say which four bytes make the number.
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 15);
        let bytes = tag.get(offset..).and_then(|rest| rest.first_chunk());
        let number = u32::from_be_bytes(bytes.copied().unwrap_or_default()) & 0x7fff_ffff;
        let width = usize::try_from(self.digits).unwrap_or_default();
        Secret::new(format!("{:0width$}", number % 10_u32.pow(self.digits)))
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp(..)")
    }
}

/// A parameter of a URL's query, decoded.
fn parameter(query: &str, name: &str) -> Option<Zeroizing<String>> {
    let value = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let decoded = percent_decode_str(value).decode_utf8().ok()?;
    Some(Zeroizing::new(decoded.into_owned()))
}

/// Decodes Base32 as people copy it: in either case, with blanks and hyphens, with or without padding.
fn decode_base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 5 / 8 + 1));
    let (mut bits, mut held) = (0_u32, 0_u32);
    let signs = text.trim_end_matches('=').bytes();
    for sign in signs.filter(|sign| !matches!(sign, b' ' | b'-')) {
        let value = match sign.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    bits.zeroize();
    // Five bits or more are a sign too many.
    (held < 5 && !bytes.is_empty()).then_some(bytes)
}

/// 80 bits, as some consoles make them; the standard asks for 128.
const LEAST_SECRET: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The secrets of RFC 6238, appendix B: `1234567890` over and over, to the length of the hash.
    const SHA1: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const SHA256: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
    const SHA512: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
        GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";

    fn read(text: &str) -> Result<Totp, TotpFault> {
        Totp::read(&Secret::new(text.to_owned()))
    }

    fn code(text: &str, at: u64) -> String {
        let totp = read(text).unwrap();
        totp.code(at / totp.period()).expose().to_owned()
    }

    #[test]
    fn the_codes_of_the_rfc_come_out() {
        for (at, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            for (algorithm, secret, expected) in [
                ("SHA1", SHA1, sha1),
                ("sha256", SHA256, sha256),
                ("SHA-512", SHA512, sha512),
            ] {
                let url = format!(
                    "otpauth://totp/VSPC:svc?issuer=VSPC&secret={secret}&digits=8&algorithm={algorithm}"
                );
                assert_eq!(code(&url, at), expected, "{algorithm} {at}");
            }
            assert!(sha1.ends_with(&code(SHA1, at)), "{at}");
        }
    }

    #[test]
    fn a_secret_is_read_as_people_copy_it() {
        for text in [
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ====",
            "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ%3D%3D",
            "OTPAUTH://TOTP/x?Secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq&period=30",
        ] {
            assert_eq!(code(text, 59), "287082", "{text}");
            assert_eq!(read(text).unwrap().device(), read(SHA1).unwrap().device());
        }
        let slow = format!("otpauth://totp/x?secret={SHA1}&period=60");
        assert_eq!(code(&slow, 60), code(SHA1, 30));
    }

    #[test]
    fn what_is_no_secret_is_told_without_repeating_it() {
        for (text, expected) in [
            ("canary!", TotpFault::NotBase32),
            ("", TotpFault::NotBase32),
            ("ABC", TotpFault::NotBase32),
            ("GEZDGNBVGY3TQOI", TotpFault::TooShort),
            ("https://x/?secret=A", TotpFault::NotATotpUrl),
            ("otpauth://hotp/x?secret=A", TotpFault::NotATotpUrl),
            ("otpauth://totp", TotpFault::NotATotpUrl),
            ("otpauth://totp/x", TotpFault::Setting("secret")),
            (
                "otpauth://totp/x?secret=A&algorithm=MD5",
                TotpFault::Setting("algorithm"),
            ),
            (
                "otpauth://totp/x?secret=A&digits=9",
                TotpFault::Setting("digits"),
            ),
            (
                "otpauth://totp/x?secret=A&period=0",
                TotpFault::Setting("period"),
            ),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!(fault, expected, "{text}");
            assert!(!fault.to_string().contains("canary"));
        }
        assert_eq!(format!("{:?}", read(SHA1).unwrap()), "Totp(..)");
    }
}
