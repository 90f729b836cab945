//! The keys of the log: the one that signs its checkpoints, and those that verify them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::checkpoint::{Notes, Signed, VERIFIERS, read_keys};
use super::disk;
use super::fault::{Fault, OpenError};
use super::handover::{signer, successors};
use super::note::{KeyError, Signer, VerifierKey};
use crate::secret::{SecretError, SecretSource};

/// The file with the key that a log made for itself.
pub(super) const SIGNING: &str = "signing.key";

/// How the log proves itself.
#[derive(Clone, Debug, Default)]
pub struct TreeSettings {
    /// The first line of checkpoints, and the name of the key that signs them. None: the key's own.
    pub origin: Option<String>,
    /// The key that signs checkpoints. None: made at the first start, in the directory.
    pub signing_key: Option<SecretSource>,
    /// The second place of checkpoints: a file that whoever can change the log cannot change.
    pub checkpoints: Option<PathBuf>,
}

impl TreeSettings {
    /// What an operator should know of it, though the log is kept.
    pub fn warning(&self) -> Option<String> {
        self.checkpoints.is_none().then(|| {
            "audit.checkpoints: not set, so checkpoints of the audit log are kept beside it alone: whoever \
             can change the log there can change them too, and cut its end or put back an older copy. \
             Name a file on another disk or host"
                .to_owned()
        })
    }
}

/// Whether a text can be the first line of checkpoints, and the name of a key.
pub fn is_origin(text: &str) -> bool {
    let is_visible =
        |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '+';
    (1..=128).contains(&text.len()) && text.chars().all(is_visible)
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// It is not in the form of a key.
    #[error(transparent)]
    Form(#[from] KeyError),
    /// It cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The keys of the log.
pub(super) struct Keys {
    directory: PathBuf,
    /// Signs checkpoints.
    pub(super) signer: Signer,
    /// What is in the file of verifying keys.
    listed: Vec<VerifierKey>,
    /// Whether the signing key was made just now.
    pub(super) is_new: bool,
}

impl Keys {
    /// Reads the keys of a directory; makes the one that signs if there is none.
    pub(super) fn open(directory: &Path, settings: &TreeSettings) -> Result<Self, OpenError> {
        let path = directory.join(SIGNING);
        let origin = settings.origin.as_deref();
        let is_new = settings.signing_key.is_none() && !path.exists();
        let signer = if is_new {
            make(&path, origin)?
        } else {
            let source = settings.signing_key.clone();
            let source = source.unwrap_or_else(|| SecretSource::File(path.clone()));
            read(&source, origin).map_err(|source| OpenError::Key {
                path: path.clone(),
                source,
            })?
        };
        let mut keys = Self {
            directory: directory.to_owned(),
            signer,
            listed: Vec::new(),
            is_new,
        };
        keys.reload()?;
        Ok(keys)
    }

    /// The first line of checkpoints.
    pub(super) fn origin(&self) -> &str {
        self.signer.verifier().name()
    }

    /// Whether the file of verifying keys says that the log has had another key.
    pub(super) fn had_others(&self) -> bool {
        self.listed.iter().any(|key| key != self.signer.verifier())
    }

    /// Whether another key came into use after the one that signs here: then this one ends.
    pub(super) fn is_followed(&self) -> bool {
        let last = self.listed.last();
        last.is_some_and(|last| last != self.signer.verifier())
    }

    /// Whether a checkpoint was signed for this log, by a key that had not ended.
    pub(super) fn is_good(&self, signed: &Signed) -> Result<bool, Fault> {
        Ok(self.signed(signed) && !self.is_after_its_end(signed)?)
    }

    /// Whether a checkpoint is signed by a key that had ended before: one that came into use after it
    /// has signed for fewer records. Reads all checkpoints, if there is such a key.
    pub(super) fn is_after_its_end(&self, signed: &Signed) -> Result<bool, Fault> {
        let Some(place) = signer(&self.listed, &signed.note) else {
            return Ok(false);
        };
        let successors = successors(&self.listed, place);
        let successors: Vec<_> = successors.map(|(_, key)| key.clone()).collect();
        if successors.is_empty() {
            return Ok(false);
        }
        let size = signed.checkpoint.size;
        let is_theirs =
            |other: &Signed| other.checkpoint.size < size && other.note.verify(&successors).is_ok();
        let mut all = Notes::of(&self.directory)?.flatten();
        Ok(all.any(|other| is_theirs(&other)))
    }

    /// Reads anew with which keys checkpoints are verified: another process may have a new one.
    pub(super) fn reload(&mut self) -> Result<(), OpenError> {
        let path = self.directory.join(VERIFIERS);
        if path.exists() {
            self.listed = read_keys(&path).map_err(OpenError::Verifiers)?;
        }
        Ok(())
    }

    /// Puts the signing key's other half last in the file of verifying keys. Says whether it was
    /// not there.
    pub(super) fn list(&mut self) -> Result<bool, Fault> {
        let present = self.signer.verifier();
        if self.listed.last() == Some(present) {
            return Ok(false);
        }
        self.listed.push(present.clone());
        let lines: String = self.listed.iter().map(|key| format!("{key}\n")).collect();
        write(&self.directory.join(VERIFIERS), lines.as_bytes())?;
        Ok(true)
    }

    /// Whether a checkpoint was signed for this log.
    pub(super) fn signed(&self, signed: &Signed) -> bool {
        let origin = &signed.checkpoint.origin;
        let keys = self.listed.iter().chain([self.signer.verifier()]);
        let keys: Vec<_> = keys.filter(|key| key.name() == origin).cloned().collect();
        signed.note.verify(&keys).is_ok()
    }
}

fn read(source: &SecretSource, origin: Option<&str>) -> Result<Signer, BadKey> {
    let signer = Signer::parse(source.read()?.expose())?;
    Ok(match origin {
        Some(origin) => signer.renamed(origin)?,
        None => signer,
    })
}

/// Makes a key and keeps it where only the owner can read it.
fn make(path: &Path, origin: Option<&str>) -> Result<Signer, OpenError> {
    let made = match origin {
        Some(origin) => Signer::generate(origin),
        None => Signer::generate_unnamed(),
    };
    let text = made.and_then(|signer| Ok((signer.to_text()?, signer)));
    let (text, signer) = text.map_err(|error| OpenError::Key {
        path: path.to_owned(),
        source: error.into(),
    })?;
    write(path, text.expose().as_bytes())?;
    Ok(signer)
}

/// Writes a file for the owner alone, and puts it in its place whole.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Fault> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        let mut file = disk::owned().create(true).open(&beside)?;
        file.set_len(0)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            Some(directory) => fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(Fault::of("write", path))
}
