//! The private key of a key pair: reading it, and opening what was encrypted for it.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::secret::Secret;

/// How a challenge is padded before it is encrypted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Padding {
    /// Any of the others: the one that gives a code.
    #[default]
    Auto,
    /// OAEP with SHA-1.
    OaepSha1,
    /// OAEP with SHA-256.
    OaepSha256,
    /// PKCS#1 v1.5.
    Pkcs1,
}

/// In which form a public key is sent, beneath its Base64.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyForm {
    /// An X.509 `SubjectPublicKeyInfo` in DER.
    Spki,
    /// The `<RSAKeyValue>` XML of .NET.
    #[default]
    Xml,
}

/// An RSA private key of 2,048 to 8,192 bits.
pub struct PrivateKey {
    key: PrivateDecryptingKey,
    spki: Vec<u8>,
    xml: String,
}

/// Why a text is no private key. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyFault {
    /// It is protected by a passphrase.
    #[error(
        "is encrypted: decrypt it with `openssl pkey -in KEY -out NEW`, and keep it where only the \
         gateway can read"
    )]
    Encrypted,
    /// There is no private key in it.
    #[error("holds no private key in PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)")]
    NoKey,
    /// It is a key of another kind.
    #[error("is no RSA key: consoles take no other")]
    NotRsa,
    /// It has fewer than 2,048 bits.
    #[error("is an RSA key that is too short: at least 2048 bits are needed")]
    TooShort,
    /// It has more than 8,192 bits.
    #[error("is an RSA key that is too long: at most 8192 bits are possible")]
    TooLong,
    /// It is damaged, or not what it says.
    #[error("is no usable RSA private key")]
    Unusable,
}

impl PrivateKey {
    /// Reads PEM: PKCS#8 or PKCS#1, unencrypted.
    ///
    /// # Errors
    /// Says why there is no such key in it.
    pub fn read(pem: &Secret) -> Result<Self, KeyFault> {
        let pem = pem.expose();
        if pem.contains("ENCRYPTED") {
            return Err(KeyFault::Encrypted);
        }
        let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyFault::NoKey)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err(KeyFault::NotRsa),
        };
        der.zeroize();
        Self::new(&pair.map_err(fault)?).ok_or(KeyFault::Unusable)
    }

    fn new(pair: &KeyPair) -> Option<Self> {
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).ok()?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        Some(Self {
            spki: spki.as_ref().to_vec(),
            xml: xml(pair.public_key().as_ref())?,
            key,
        })
    }

    /// The public key as grant `public_key` sends it.
    pub(super) fn public(&self, form: KeyForm) -> String {
        match form {
            KeyForm::Spki => BASE64.encode(&self.spki),
            KeyForm::Xml => BASE64.encode(&self.xml),
        }
    }

    /// Opens a challenge, which comes in Base64.
    ///
    /// Of several paddings the first is taken that gives printable text. Those that notice by
    /// themselves whether they fit come first: what does not fit PKCS#1 v1.5 may, by design,
    /// be opened to noise.
    pub(super) fn open(&self, encrypted: &str, padding: Padding) -> Option<Secret> {
        let sealed = BASE64.decode(encrypted.trim_ascii()).ok()?;
        let oaep = |algorithm| self.open_oaep(&sealed, algorithm);
        match padding {
            Padding::Auto => oaep(&OAEP_SHA1_MGF1SHA1)
                .or_else(|| oaep(&OAEP_SHA256_MGF1SHA256))
                .or_else(|| self.open_pkcs1(&sealed)),
            Padding::OaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1),
            Padding::OaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256),
            Padding::Pkcs1 => self.open_pkcs1(&sealed),
        }
    }

    fn open_oaep(&self, sealed: &[u8], algorithm: &'static OaepAlgorithm) -> Option<Secret> {
        let key = OaepPrivateDecryptingKey::new(self.key.clone()).ok()?;
        let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
        printable(key.decrypt(algorithm, sealed, &mut out, None).ok()?)
    }

    fn open_pkcs1(&self, sealed: &[u8]) -> Option<Secret> {
        let key = Pkcs1PrivateDecryptingKey::new(self.key.clone()).ok()?;
        let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
        printable(key.decrypt(sealed, &mut out).ok()?)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A code is text; anything else is what a wrong padding leaves.
fn printable(plain: &[u8]) -> Option<Secret> {
    let is_text = !plain.is_empty() && plain.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(plain).ok().filter(|_| is_text)?;
    Some(Secret::new(text.to_owned()))
}

fn fault(rejected: KeyRejected) -> KeyFault {
    // The error has nothing to tell them apart by but its word.
    match rejected.description_() {
        "TooSmall" => KeyFault::TooShort,
        "TooLarge" => KeyFault::TooLong,
        "WrongAlgorithm" => KeyFault::NotRsa,
        _ => KeyFault::Unusable,
    }
}

/// The XML that .NET writes, from an `RSAPublicKey` in DER: a sequence of two integers.
fn xml(der: &[u8]) -> Option<String> {
    let (0x30, inner, []) = element(der)? else {
        return None;
    };
    let (0x02, modulus, rest) = element(inner)? else {
        return None;
    };
    let (0x02, exponent, []) = element(rest)? else {
        return None;
    };
    // DER puts a zero before a number whose first bit is set, .NET does not.
    let number = |bytes: &[u8]| BASE64.encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
    let (modulus, exponent) = (number(modulus), number(exponent));
    Some(format!(
        "<RSAKeyValue><Modulus>{modulus}</Modulus><Exponent>{exponent}</Exponent></RSAKeyValue>"
    ))
}

/// Splits DER into the tag and the value of its first element, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let long = usize::from(first.checked_sub(0x80).unwrap_or(0));
    let (told, rest) = rest.split_at_checked(long)?;
    let length = match long {
        0 => usize::from(*first),
        1..=4 => told
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

#[cfg(test)]
mod tests;
