//! Every way in which the gateway itself logs in to a console.

mod codes;
mod key;
#[cfg(test)]
mod tests;
mod totp;

pub use codes::Codes;
pub use key::{KeyFault, KeyForm, Padding, PrivateKey};
pub use totp::{Totp, TotpFault};

use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::exchange::{FirstStep, Manner, begin, exchange, exchange_until};
use super::grant::{Access, Grant, IssueError, Issued, Outage, is_token};
use crate::secret::{Secret, SecretSource};
use crate::upstream::Console;

/// Who the gateway is at a console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// What it logs in with.
    pub credentials: Credentials,
    /// What the tokens may do that come of it.
    pub access: Access,
}

/// What somebody logs in with. Secrets are read at each login, so that new ones take effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// A permanent key, sent as it is: nobody logs in. There is no refresh token, so it cannot
    /// impersonate.
    ApiKey(SecretSource),
    /// A registered key pair.
    KeyPair {
        /// The RSA private key, in PEM.
        private_key: SecretSource,
        /// How the console pads what it encrypts for the key.
        padding: Padding,
        /// How the public key is sent.
        form: KeyForm,
    },
    /// A name and a password, and the secret of a second factor where the account has one.
    Password {
        /// `DOMAIN\user` or `Company\user`.
        username: String,
        /// The password.
        password: SecretSource,
        /// What the codes of the second factor are made from: Base32, or an `otpauth://` URL.
        totp_secret: Option<SecretSource>,
    },
}

impl Login {
    /// The user name, where one is known.
    pub fn username(&self) -> Option<&str> {
        match &self.credentials {
            Credentials::Password { username, .. } => Some(username),
            Credentials::ApiKey(_) | Credentials::KeyPair { .. } => None,
        }
    }

    /// Whether its sessions have the refresh token that impersonation takes.
    pub fn can_impersonate(&self) -> bool {
        !matches!(self.credentials, Credentials::ApiKey(_))
    }

    /// Recognizes the secrets as they are now: changes when one of them, or the name, does. `None`
    /// when one cannot be read. Reads files.
    pub fn secret_print(&self) -> Option<[u8; 8]> {
        let sources = match &self.credentials {
            Credentials::ApiKey(key) => [Some(key), None],
            Credentials::KeyPair { private_key, .. } => [Some(private_key), None],
            Credentials::Password {
                password,
                totp_secret,
                ..
            } => [Some(password), totp_secret.as_ref()],
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut add = |text: &str| {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add(self.username().unwrap_or_default());
        for source in sources.into_iter().flatten() {
            add(source.read().ok()?.expose());
        }
        hash.finish().as_ref().first_chunk().copied()
    }
}

/// Logs in, in as many steps as it takes.
///
/// A code of a second factor that was sent already is not sent again: then this waits for the next
/// one, half a minute at most.
///
/// # Errors
/// Tells apart who is at fault, so that the caller knows when trying again makes sense.
pub async fn log_in(
    console: &Console,
    login: &Login,
    manner: Manner<'_>,
    codes: &Codes,
) -> Result<Issued, IssueError> {
    let attempt = Attempt {
        console,
        manner,
        access: login.access,
    };
    match &login.credentials {
        Credentials::ApiKey(source) => issue_key(attempt.secret(source).await?),
        Credentials::KeyPair {
            private_key,
            padding,
            form,
        } => {
            let pem = attempt.secret(private_key).await?;
            let key = PrivateKey::read(&pem).map_err(|error| attempt.unusable(&error))?;
            attempt.by_key(&key, *padding, *form).await
        }
        Credentials::Password {
            username,
            password,
            totp_secret,
        } => {
            let password = attempt.secret(password).await?;
            let totp = match totp_secret {
                None => None,
                Some(source) => {
                    let secret = attempt.secret(source).await?;
                    Some(Totp::read(&secret).map_err(|error| attempt.unusable(&error))?)
                }
            };
            let second = totp.as_ref().map(|totp| (totp, codes));
            attempt.by_password(username, &password, second).await
        }
    }
}

/// One login.
struct Attempt<'a> {
    console: &'a Console,
    manner: Manner<'a>,
    access: Access,
}

impl Attempt<'_> {
    /// Reads a secret where a slow disk keeps nobody else waiting.
    async fn secret(&self, source: &SecretSource) -> Result<Secret, IssueError> {
        let source = source.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        match read {
            Ok(read) => read.map_err(|error| self.unusable(&error)),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// A secret was good when the configuration was read, and is not now.
    fn unusable(&self, error: &dyn std::fmt::Display) -> IssueError {
        let console = self.console.id();
        tracing::error!(%console, %error, "a secret of the gateway's account cannot be used");
        IssueError::Unavailable(Outage::Internal)
    }

    async fn by_password(
        &self,
        username: &str,
        password: &Secret,
        second: Option<(&Totp, &Codes)>,
    ) -> Result<Issued, IssueError> {
        let access = self.access;
        let grant = Grant::Password {
            username,
            password,
            access,
        };
        let (error, step, date) = match begin(self.console, &grant, self.manner).await? {
            FirstStep::Issued(issued) => return Ok(issued),
            FirstStep::Challenge { error, step, date } => (error, step, date),
        };
        let (Some(token), Some((totp, codes))) = (step.mfa_token, second) else {
            return Err(error);
        };
        let code = codes.unused(totp, date).await?;
        let grant = Grant::Mfa {
            token: &token,
            code: &code,
            access,
        };
        exchange(self.console, &grant, self.manner).await
    }

    async fn by_key(
        &self,
        key: &PrivateKey,
        padding: Padding,
        form: KeyForm,
    ) -> Result<Issued, IssueError> {
        let access = self.access;
        // The console's clock starts at some time after this.
        let deadline = Instant::now() + CHALLENGE_LIFE;
        let public = key.public(form);
        let grant = Grant::PublicKey {
            key: &public,
            access,
        };
        let (error, step) = match begin(self.console, &grant, self.manner).await? {
            FirstStep::Issued(issued) => return Ok(issued),
            FirstStep::Challenge { error, step, .. } => (error, step),
        };
        let Some(encrypted) = step.encrypted_code else {
            return Err(error);
        };
        let code = key
            .open(encrypted.expose(), padding)
            .ok_or(IssueError::Malformed(
                "a challenge that the private key does not open with this padding",
            ))?;
        let code = &code;
        let grant = Grant::AuthorizationCode { code, access };
        exchange_until(self.console, &grant, self.manner, deadline).await
    }
}

/// An API key is its own token.
fn issue_key(key: Secret) -> Result<Issued, IssueError> {
    if !is_token(&key) {
        return Err(IssueError::Malformed("an API key that no header can carry"));
    }
    Ok(Issued {
        access: key,
        refresh: None,
        lifetime: KEY_REREAD,
    })
}

/// How long the console waits for the decrypted code.
const CHALLENGE_LIFE: Duration = Duration::from_secs(30);

/// An API key does not end by itself; after this its file is read anew.
const KEY_REREAD: Duration = Duration::from_secs(24 * 60 * 60);
