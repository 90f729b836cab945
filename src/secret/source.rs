//! Secrets by reference: a file or an environment variable, read when they are needed.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use zeroize::Zeroize as _;

use super::Secret;

/// The most bytes a secret may have.
const LIMIT: u64 = 64 * 1024;

/// Where a secret is kept. Read anew at each use, so that a changed secret takes effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline is cut.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// Fails when it is missing, empty, not UTF-8, too long, or in a file that everybody may read.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?
            }
            Self::File(path) => read_file(path)?,
        };
        if text.is_empty() {
            return Err(SecretError::Empty(self.place()));
        }
        Ok(Secret::new(text))
    }

    /// What to call the place in a message.
    fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable {name}"),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Why a secret could not be had. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The place is there but holds nothing.
    #[error("{0} is empty")]
    Empty(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// The environment variable is not set.
    #[error("environment variable {0} is not set (or not UTF-8)")]
    NoVariable(String),
    /// The content is not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// The file is larger than a secret may be.
    #[error("{0} is larger than 64 KiB, which no secret is")]
    TooLong(String),
    /// Everybody on the machine can read the file.
    #[error("{0} can be read by everybody: run `chmod o-rwx` on it")]
    WorldReadable(String),
}

fn read_file(path: &PathBuf) -> Result<String, SecretError> {
    let name = || path.display().to_string();
    let fail = |source| SecretError::File {
        path: name(),
        source,
    };
    let file = fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::WorldReadable(name()));
    }
    if metadata.len() > LIMIT {
        return Err(SecretError::TooLong(name()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(LIMIT).read_to_end(&mut bytes).map_err(fail)?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        SecretError::NotText(name())
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretSource) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, SecretSource::File(path))
    }

    #[test]
    fn one_trailing_newline_is_cut() {
        for (content, expected) in [
            (&b"pw\n"[..], "pw"),
            (b"pw\r\n", "pw"),
            (b"pw\n\n", "pw\n"),
            (b" pw ", " pw "),
        ] {
            let (_folder, source) = file(content, 0o600);
            assert_eq!(source.read().unwrap().expose(), expected);
        }
    }

    #[test]
    fn a_file_that_everybody_reads_is_refused() {
        let (_folder, source) = file(b"pw", 0o644);
        assert!(matches!(source.read(), Err(SecretError::WorldReadable(_))));
        let (_folder, source) = file(b"pw", 0o640);
        assert!(source.read().is_ok());
    }

    #[test]
    fn missing_empty_and_binary_secrets_are_named() {
        let (_folder, empty) = file(b"\n", 0o600);
        assert!(matches!(empty.read(), Err(SecretError::Empty(_))));
        let (_folder, binary) = file(b"\xff\xfe", 0o600);
        assert!(matches!(binary.read(), Err(SecretError::NotText(_))));
        let gone = SecretSource::File("/nonexistent/secret".into());
        assert!(matches!(gone.read(), Err(SecretError::File { .. })));
        let unset = SecretSource::Env("VSPC_GATEWAY_TEST_UNSET".to_owned());
        assert!(matches!(unset.read(), Err(SecretError::NoVariable(_))));
    }
}
