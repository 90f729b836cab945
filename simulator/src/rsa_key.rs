//! RSA keys in the forms that key-pair logins meet: `<RSAKeyValue>` XML and DER.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey,
    Pkcs1PublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::settings::ChallengePadding;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// The names that the integers of a private key have in XML; the first two make the public one.
const PARTS: [&str; 8] = ["Modulus", "Exponent", "D", "P", "Q", "DP", "DQ", "InverseQ"];

/// A public key; the numbers are big-endian, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// Reads the XML that .NET writes; whether the numbers make a usable key is not looked at.
    pub(crate) fn from_xml(text: &str) -> Option<Self> {
        let inner = between(text, "RSAKeyValue")?;
        Some(Self {
            modulus: number(inner, "Modulus")?,
            exponent: number(inner, "Exponent")?,
        })
    }

    /// Returns the X.509 `SubjectPublicKeyInfo`; `None` of numbers that make no key.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = self.components().as_der().ok()?;
        Some(der.as_ref().to_vec())
    }

    fn components(&self) -> PublicKeyComponents<&[u8]> {
        PublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        }
    }

    /// Encrypts a challenge; `None` when the key is unusable or too short for it.
    pub(crate) fn encrypt(&self, plain: &[u8], padding: ChallengePadding) -> Option<Vec<u8>> {
        let key: PublicEncryptingKey = self.components().try_into().ok()?;
        let oaep = match padding {
            ChallengePadding::Pkcs1 => {
                let key = Pkcs1PublicEncryptingKey::new(key).ok()?;
                let mut out = vec![0; key.ciphertext_size()];
                return Some(key.encrypt(plain, &mut out).ok()?.to_vec());
            }
            ChallengePadding::OaepSha1 => &OAEP_SHA1_MGF1SHA1,
            ChallengePadding::OaepSha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let key = OaepPublicEncryptingKey::new(key).ok()?;
        let mut out = vec![0; key.ciphertext_size()];
        Some(key.encrypt(oaep, plain, &mut out, None).ok()?.to_vec())
    }
}

/// Returns the identifier that the console gives a key, from its XML.
pub(crate) fn identifier(xml: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, xml.as_bytes());
    let digest: Vec<u8> = digest.as_ref().iter().take(16).copied().collect();
    format!("RSA::{}", hex::encode_upper(digest))
}

/// Returns what stands between the tags of an element that occurs once.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn number(xml: &str, name: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(between(xml, name)?.trim()).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..)?;
    (!bytes.is_empty()).then(|| bytes.to_vec())
}

/// Makes a key pair and returns the private and the public key in XML; `None` when the size is none
/// that keys are made in, or the system cannot make one.
pub(crate) fn generate_xml(bits: u64) -> Option<(String, String)> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        _ => return None,
    };
    let pair = KeyPair::generate(size).ok()?;
    let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    xml(der.as_ref())
}

/// Returns the public half of an RSA key in PKCS#8 as the `<RSAKeyValue>` XML that is registered for
/// key-pair logins; `None` when it is no such key.
pub fn public_key_xml(pkcs8: &[u8]) -> Option<String> {
    xml(pkcs8).map(|(_, public)| public)
}

/// Returns both XML forms of a private key in PKCS#8.
pub(crate) fn xml(pkcs8: &[u8]) -> Option<(String, String)> {
    let [(SEQUENCE, outer)] = elements(pkcs8)?[..] else {
        return None;
    };
    let [_, _, (OCTETS, inner), ..] = elements(outer)?[..] else {
        return None;
    };
    let [(SEQUENCE, key)] = elements(inner)?[..] else {
        return None;
    };
    let [_, numbers @ ..] = &elements(key)?[..] else {
        return None;
    };
    let write = |count: usize| {
        let parts = PARTS.iter().zip(numbers).take(count);
        let parts = parts.map(|(name, (kind, bytes))| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = bytes.get(zeros..).filter(|_| *kind == INTEGER)?;
            Some(format!("<{name}>{}</{name}>", BASE64.encode(bytes)))
        });
        let parts: Option<String> = parts.collect();
        Some(format!("<RSAKeyValue>{}</RSAKeyValue>", parts?))
    };
    Some((write(PARTS.len())?, write(2)?))
}

/// Splits DER into its elements, each with its tag.
fn elements(mut der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let long = usize::from(first.checked_sub(0x80).unwrap_or(0));
        let (told, rest) = rest.split_at_checked(long)?;
        let length = match long {
            0 => usize::from(*first),
            1..=4 => told
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        found.push((*tag, value));
        der = rest;
    }
    der.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    #[test]
    fn the_two_forms_of_a_key_are_one_key() {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let (private, public) = xml(pkcs8.as_ref()).unwrap();
        let read = RsaKey::from_xml(&public).unwrap();
        assert_eq!(RsaKey::from_xml(&private).unwrap(), read);
        assert_eq!(read.spki().unwrap(), spki.as_ref());
        assert!(!public.contains("<D>") && private.contains("<InverseQ>"));

        let sealed = read.encrypt(b"open", ChallengePadding::Pkcs1).unwrap();
        let key = Pkcs1PrivateDecryptingKey::new(key).unwrap();
        let mut out = vec![0; key.min_output_size()];
        assert_eq!(key.decrypt(&sealed, &mut out).unwrap(), b"open");
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        for text in [
            "",
            "<RSAKeyValue/>",
            "<RSAKeyValue><Modulus>urIs</Modulus></RSAKeyValue>",
            "<RSAKeyValue><Modulus>*</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>",
            "<RSAKeyValue><Modulus>AAA=</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>",
        ] {
            assert_eq!(RsaKey::from_xml(text), None, "{text}");
        }
        let short = "<RSAKeyValue><Modulus>urIs</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>";
        let short = RsaKey::from_xml(short).unwrap();
        assert_eq!(short.encrypt(b"open", ChallengePadding::Pkcs1), None);
        assert_eq!(generate_xml(1024), None);
    }
}
