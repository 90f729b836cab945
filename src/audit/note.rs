//! Signed notes (C2SP signed-note): a text, an empty line, and a line for each signature.
//!
//! Keys are Ed25519. Those of witnesses sign the text together with the time at which they saw it
//! (C2SP tlog-cosignature, `cosignature/v1`).

mod keys;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use keys::{KeyError, KeyKind, Signer, VerifierKey};

use keys::checked;

/// What a line of a signature begins with: an em dash and a space.
const MARK: &str = "\u{2014} ";
/// The most bytes of a note, and signatures in it.
const MOST_BYTES: usize = 1024 * 1024;
const MOST_SIGNATURES: usize = 100;
/// Why a note is none, or proves nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteError {
    /// It is not in the form of a signed note.
    #[error("it is no signed note: {0}")]
    Form(&'static str),
    /// No signature is by any of the keys.
    #[error("it is not signed by any of the keys that are trusted{}", signers(.0))]
    Unsigned(Vec<String>),
    /// A signature by one of the keys is wrong.
    #[error("the signature by {0} is wrong: the note was changed, or somebody made it up")]
    Wrong(String),
}

fn signers(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(", but by {}", names.join(", "))
}

/// A line of a note by which somebody signed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Signature {
    /// Who is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            name: checked(name).ok()?.to_owned(),
            id: *id,
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty())?.to_vec(),
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{MARK}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A signature that is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Whose it is.
    pub name: String,
    /// When a witness signed, in seconds since 1970.
    pub time: Option<u64>,
}

/// A text and signatures of it, which are not verified by being here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// Fails when it is in no such form.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MOST_BYTES {
            return Err(NoteError::Form("it is longer than any"));
        }
        let missing = NoteError::Form("no empty line parts its text from its signatures");
        let at = note.rfind("\n\n").ok_or(missing)?;
        let (text, rest) = note.split_at_checked(at + 1).unwrap_or_default();
        let text = checked_text(text)?.to_owned();
        let lines = rest
            .strip_prefix('\n')
            .and_then(|lines| lines.strip_suffix('\n'))
            .ok_or(NoteError::Form("its last line does not end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let bad = NoteError::Form("a line after its text is no signature");
            signatures.push(Signature::parse(line).ok_or(bad)?);
            if signatures.len() > MOST_SIGNATURES {
                return Err(NoteError::Form("it has more signatures than any"));
            }
        }
        Ok(Self { text, signatures })
    }

    /// What is signed, with the newline at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, verified or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Whether it says that it is signed by a key.
    pub(super) fn is_by(&self, key: &VerifierKey) -> bool {
        self.signatures.iter().any(|signature| signature.is_by(key))
    }

    /// Tells which of the keys signed. Signatures by other keys are passed over, so that anybody
    /// may sign besides.
    ///
    /// # Errors
    /// Fails when none of the keys did, or a signature that is said to be by one of them is wrong.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Verified>, NoteError> {
        let mut verified: Vec<Verified> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| signature.is_by(key)) else {
                continue;
            };
            let time = key
                .verify(&self.text, &signature.bytes)
                .ok_or_else(|| NoteError::Wrong(signature.name.clone()))?;
            verified.push(Verified {
                name: signature.name.clone(),
                time: (key.kind() == KeyKind::Cosignature).then_some(time),
            });
        }
        if verified.is_empty() {
            let names = self.signatures.iter().map(|it| it.name.clone()).collect();
            return Err(NoteError::Unsigned(names));
        }
        Ok(verified)
    }

    /// The names of those who signed, and whose keys are not among these.
    pub fn strangers(&self, keys: &[VerifierKey]) -> Vec<&str> {
        let is_known = |it: &&Signature| !keys.iter().any(|key| it.is_by(key));
        let strangers = self.signatures.iter().filter(is_known);
        strangers.map(Signature::name).collect()
    }

    /// The note with only those signatures that are right by one of the keys, in their order.
    #[must_use]
    pub fn only_by(&self, keys: &[VerifierKey]) -> Self {
        let is_right = |signature: &&Signature| {
            let key = keys.iter().find(|key| signature.is_by(key));
            key.is_some_and(|key| key.verify(&self.text, &signature.bytes).is_some())
        };
        Self {
            text: self.text.clone(),
            signatures: self.signatures.iter().filter(is_right).cloned().collect(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// A text, if a note can have it.
fn checked_text(text: &str) -> Result<&str, NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Form("its text does not end in a newline"));
    }
    if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Form("its text has control characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
