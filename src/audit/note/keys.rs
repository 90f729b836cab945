//! The keys that sign notes, and those that verify what they signed.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Note, NoteError, Signature, checked_text};
use crate::secret::Secret;

/// What a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The bytes of a key, private or public.
const KEY_BYTES: usize = 32;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The number in it is not the one that its name and bytes have.
    #[error("the key's number does not fit its name and its bytes: a part of it was changed")]
    Altered,
    /// It is not in the form of a key.
    #[error("a key has the form <name>+<8 hex digits>+<base64>")]
    Form,
    /// Its name is none.
    #[error("the name of a key has no spaces and no `+`, and is not empty")]
    Name,
    /// The system gives no random bytes, or the library takes no such key.
    #[error("no key can be made: the cryptographic library refuses")]
    Refused,
    /// It is of another kind.
    #[error("the key is neither one for notes (Ed25519) nor one of a witness (cosignature/v1)")]
    Unknown,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// The text of a note.
    Note,
    /// The text and a time: the key of a witness.
    Cosignature,
}

impl KeyKind {
    /// The byte by which keys tell it.
    fn byte(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Cosignature => 4,
        }
    }
}

/// What signatures are verified with. As text: `<name>+<8 hex digits>+<base64>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; KEY_BYTES],
}

impl VerifierKey {
    /// Takes a public key under a name.
    ///
    /// # Errors
    /// Fails when the name cannot be one.
    pub fn new(name: &str, kind: KeyKind, public: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Ok(Self {
            name: checked(name)?.to_owned(),
            kind,
            public,
        })
    }

    /// Whose key it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        self.public
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The number that stands in its signatures.
    pub fn id(&self) -> [u8; 4] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.name.as_bytes());
        context.update(&[b'\n', self.kind.byte()]);
        context.update(&self.public);
        let digest = context.finish();
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The time of the signature if it is by this key and right: seconds since 1970, 0 where the
    /// key is none of a witness.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.kind {
            KeyKind::Note => key.verify(text.as_bytes(), signature).ok().map(|()| 0),
            KeyKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let signed = cosigned(time, text);
                key.verify(signed.as_bytes(), signature).ok().map(|()| time)
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(&self.public);
        let (id, key) = (hex::encode(self.id()), STANDARD.encode(bytes));
        write!(f, "{}+{id}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, bytes) = parts(text)?;
        let (kind, public) = bytes.split_first().ok_or(KeyError::Form)?;
        let kind = match kind {
            1 => KeyKind::Note,
            4 => KeyKind::Cosignature,
            _ => return Err(KeyError::Unknown),
        };
        let public = public.try_into().map_err(|_| KeyError::Form)?;
        let key = Self::new(name, kind, public)?;
        if key.id() == id {
            Ok(key)
        } else {
            Err(KeyError::Altered)
        }
    }
}

/// Name, number and bytes of a key.
type Parts<'a> = (&'a str, [u8; 4], Zeroizing<Vec<u8>>);

/// Takes a key apart.
fn parts(text: &str) -> Result<Parts<'_>, KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Form)?;
    let (digits, key) = rest.split_once('+').ok_or(KeyError::Form)?;
    let mut id = [0; 4];
    hex::decode_to_slice(digits, &mut id).map_err(|_| KeyError::Form)?;
    let bytes = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
    Ok((checked(name)?, id, Zeroizing::new(bytes)))
}

/// A name, if it can be one.
pub(super) fn checked(name: &str) -> Result<&str, KeyError> {
    let is_bad = |char: char| char.is_whitespace() || char.is_control() || char == '+';
    if name.is_empty() || name.contains(is_bad) {
        Err(KeyError::Name)
    } else {
        Ok(name)
    }
}

/// What a witness signs.
pub(super) fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What signs notes.
pub struct Signer {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl Signer {
    /// Makes a key under a name.
    ///
    /// # Errors
    /// Fails when the name cannot be one, or the system gives no random bytes.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(seed.as_mut()).map_err(|_| KeyError::Refused)?;
        Self::from_seed(name, &seed[..])
    }

    /// Makes a key under the name that its own bytes give it: `vspc-gateway/` and the first 16 hex
    /// digits of the SHA-256 of the public key.
    ///
    /// # Errors
    /// Fails when the system gives no random bytes.
    pub fn generate_unnamed() -> Result<Self, KeyError> {
        let unnamed = Self::generate("unnamed")?;
        let hash = digest::digest(&digest::SHA256, &unnamed.verifier.public);
        let start = hash.as_ref().first_chunk::<8>().ok_or(KeyError::Refused)?;
        unnamed.renamed(&format!("vspc-gateway/{}", hex::encode(start)))
    }

    /// The same key under another name, which gives it another number.
    ///
    /// # Errors
    /// Fails when the name cannot be one.
    pub fn renamed(mut self, name: &str) -> Result<Self, KeyError> {
        self.verifier.name = checked(name)?.to_owned();
        Ok(self)
    }

    /// Reads a key in the form that Go's `note` has: `PRIVATE+KEY+<name>+<8 hex digits>+<base64>`.
    /// Space around it is left out.
    ///
    /// # Errors
    /// Fails when it is in no such form, or its number is not its own.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim().strip_prefix(PRIVATE).ok_or(KeyError::Form)?;
        let (name, id, bytes) = parts(text)?;
        let (kind, seed) = bytes.split_first().ok_or(KeyError::Form)?;
        if *kind != KeyKind::Note.byte() {
            return Err(KeyError::Unknown);
        }
        let signer = Self::from_seed(name, seed)?;
        if signer.verifier.id() == id {
            Ok(signer)
        } else {
            Err(KeyError::Altered)
        }
    }

    fn from_seed(name: &str, seed: &[u8]) -> Result<Self, KeyError> {
        if seed.len() != KEY_BYTES {
            return Err(KeyError::Form);
        }
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Refused)?;
        let public = key.public_key().as_ref();
        let public = public.try_into().map_err(|_| KeyError::Refused)?;
        let verifier = VerifierKey::new(name, KeyKind::Note, public)?;
        Ok(Self { key, verifier })
    }

    /// The private key, in the form that [`Signer::parse`] reads.
    ///
    /// # Errors
    /// Fails when the library does not give it out.
    pub fn to_text(&self) -> Result<Secret, KeyError> {
        let seed = self.key.seed().map_err(|_| KeyError::Refused)?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Refused)?;
        let mut bytes = Zeroizing::new(vec![KeyKind::Note.byte()]);
        bytes.extend_from_slice(seed.as_ref());
        let (name, id) = (&self.verifier.name, hex::encode(self.verifier.id()));
        let key = Zeroizing::new(STANDARD.encode(&*bytes));
        Ok(Secret::new(format!("{PRIVATE}{name}+{id}+{}", *key)))
    }

    /// What its signatures are verified with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which ends in a newline and has no control characters but newlines.
    ///
    /// # Errors
    /// Fails when it is no such text.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        let signature = Signature {
            name: self.verifier.name.clone(),
            id: self.verifier.id(),
            bytes: self.key.sign(text.as_bytes()).as_ref().to_vec(),
        };
        Ok(Note {
            text: checked_text(text)?.to_owned(),
            signatures: vec![signature],
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}
