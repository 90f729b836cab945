//! Values that never print: zeroizing newtypes, constant-time equality, fingerprints.

mod source;

pub use source::{SecretError, SecretSource};

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::{digest, hmac, rand};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Text that must never be printed, logged or serialized.
///
/// The memory is wiped on drop. Equality takes the same time wherever the texts differ.
/// There is no `Display`, no `Serialize` and no `Clone`: a copy has to be asked for by name.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a secret text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the few places that must write it on a wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second holder of the same text.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.to_string())
    }

    /// A short keyed hash that may be printed: equal secrets have equal fingerprints under one key
    /// ([`fingerprint_by`]), and nothing about the secret can be learnt from it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.expose().as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // By digests, so that the time does not tell the length either.
        let digest = |secret: &Self| KeyDigest::of(secret.expose().as_bytes());
        digest(self).0.ct_eq(&digest(other).0).into()
    }
}

impl Eq for Secret {}

/// A keyed hash (HMAC-SHA-256), cut to 64 bits: 16 hex digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Fingerprint([u8; 8]);

/// The key of this process's fingerprints.
static FINGERPRINTS: OnceLock<hmac::Key> = OnceLock::new();

/// Takes fingerprints by this key from now on, so that they can be compared with those of another
/// process that has it. To be called before the first is taken: one that was taken, or another key
/// that was set, stands for the rest of the process. Says whether this key is the one.
pub fn fingerprint_by(key: &[u8]) -> bool {
    let made = hmac::Key::new(hmac::HMAC_SHA256, key);
    let probe = |key: &hmac::Key| {
        *hmac::sign(key, b"probe")
            .as_ref()
            .first_chunk::<8>()
            .unwrap_or(&[0; 8])
    };
    probe(FINGERPRINTS.get_or_init(|| made.clone())) == probe(&made)
}

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let key = FINGERPRINTS.get_or_init(|| {
            let mut seed = [0_u8; 32];
            // A random source that fails leaves a fixed key: fingerprints then stay one-way but
            // could be compared between processes. Nothing else rests on this key.
            if rand::fill(&mut seed).is_err() {
                seed = [0x5a; 32];
            }
            hmac::Key::new(hmac::HMAC_SHA256, &seed)
        });
        let tag = hmac::sign(key, bytes);
        let mut cut = [0_u8; 8];
        for (slot, byte) in cut.iter_mut().zip(tag.as_ref()) {
            *slot = *byte;
        }
        Self(cut)
    }
}

impl Fingerprint {
    /// The sixteen hex digits.
    pub fn hex(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut text = [0_u8; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The SHA-256 digest of a presented key: what the configuration keeps instead of the key.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Digests a presented key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0_u8; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(bytes)
    }

    /// Reads `sha256:` followed by 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(text.strip_prefix("sha256:")?, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The first sixteen hex digits: no other key has them, and nobody finds the key by them.
    pub fn id(&self) -> String {
        self.0
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The first eight hex digits: enough to tell the keys of one client apart in an audit record.
    pub fn label(&self) -> String {
        self.0
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({}..)", self.label())
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

/// Makes a new API key: `vgk_` and 43 characters of 256 random bits.
///
/// # Errors
/// Fails when the operating system gives no randomness.
pub fn new_api_key() -> Result<Secret, SecretError> {
    use base64::Engine as _;
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice());
    Ok(Secret::new(format!("vgk_{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2-canary".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret(..))");
        assert!(!format!("{} {0:?}", secret.fingerprint()).contains("canary"));
    }

    #[test]
    fn the_first_key_of_fingerprints_stands() {
        let print = || Secret::new("lease".to_owned()).fingerprint();
        let before = print();
        assert!(!fingerprint_by(b"another key"));
        assert_eq!(print(), before);
    }

    #[test]
    fn secrets_are_equal_where_their_whole_texts_are() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert_eq!(secret("admin-token"), secret("admin-token"));
        for other in [
            "",
            "a",
            "admin-toke",
            "admin-tokem",
            "admin-token ",
            "Admin-token",
        ] {
            assert_ne!(secret("admin-token"), secret(other), "{other:?}");
        }
    }

    #[test]
    fn equal_secrets_have_equal_fingerprints() {
        let a = Secret::new("a".to_owned());
        assert_eq!(a.fingerprint(), a.duplicate().fingerprint());
        assert_ne!(a.fingerprint(), Secret::new("b".to_owned()).fingerprint());
        assert_eq!(a, a.duplicate());
    }

    #[test]
    fn digests_read_back_what_they_print() {
        let digest = KeyDigest::of(b"some key");
        assert_eq!(KeyDigest::parse(&digest.to_string()), Some(digest));
        assert_eq!(KeyDigest::parse("sha256:12"), None);
        assert_eq!(KeyDigest::parse(&hex::encode([0; 32])), None);
    }

    #[test]
    fn new_keys_differ_and_are_long_enough() {
        let (a, b) = (new_api_key().unwrap(), new_api_key().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.expose().len(), 47);
    }
}
