//! `login`: who somebody is at a console, and what it logs in with.

use std::path::Path;

use crate::config::reader::{Item, Section};
use crate::config::value::{secret, secret_text};
use crate::secret::{Secret, SecretSource};
use crate::token::Login;
use crate::vspc::grant::{Access, is_token};
use crate::vspc::login::{Credentials, KeyForm, Padding, PrivateKey, Totp};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Grant {
    ApiKey,
    Password,
    PublicKey,
}

/// What was read of a key that may be absent: `None` is absent, `Some(None)` has a fault.
type Given<T> = Option<Option<T>>;

/// All keys there are; those of other grants are faults.
struct Keys {
    api_key: Given<SecretSource>,
    padding: Given<Padding>,
    password: Given<SecretSource>,
    private_key: Given<SecretSource>,
    public_key_form: Given<KeyForm>,
    totp_secret: Given<SecretSource>,
    username: Given<String>,
}

/// Reads a `login`. The secrets that it names are read too, and must be fit for their use.
pub(super) fn login(item: &Item<'_>, folder: &Path) -> Option<Login> {
    let mut section = item.section()?;
    let named = section.optional("grant").map(|item| grant(&item));
    let mut keys = Keys::read(&mut section, folder);
    section.finish();
    let grant = match named {
        Some(grant) => grant?,
        None if keys.api_key.is_some() => Grant::ApiKey,
        None => {
            section.fault(
                "grant",
                r#"is missing: "password", "public_key", or an api_key alone"#,
            );
            return None;
        }
    };
    keys.refuse_surplus(grant, &section);
    let credentials = keys.credentials(grant, &section)?;
    Some(Login {
        credentials,
        access: Access::Full,
    })
}

fn grant(item: &Item<'_>) -> Option<Grant> {
    item.read_with(|text: String| match text.as_str() {
        "api_key" => Ok(Grant::ApiKey),
        "password" => Ok(Grant::Password),
        "public_key" => Ok(Grant::PublicKey),
        _ => Err(r#"must be "password", "public_key" or "api_key""#),
    })
}

impl Keys {
    fn read(section: &mut Section<'_>, folder: &Path) -> Self {
        let api_key = section.optional("api_key");
        let padding = section.optional("padding");
        let password = section.optional("password");
        let private_key = section.optional("private_key");
        let public_key_form = section.optional("public_key_form");
        let totp_secret = section.optional("totp_secret");
        let username = section.optional("username");
        Self {
            api_key: api_key.map(|item| {
                checked(&item, secret(&item, folder)?, |key| match is_token(key) {
                    true => Ok(()),
                    false => Err("holds what no header can carry: an API key is visible ASCII"),
                })
            }),
            padding: padding.map(|item| self::padding(&item)),
            password: password.map(|item| secret(&item, folder).map(|(source, _)| source)),
            private_key: private_key.map(|item| {
                let text = secret_text(&item, folder)?;
                checked(&item, text, |pem| PrivateKey::read(pem).map(drop))
            }),
            public_key_form: public_key_form.map(|item| form(&item)),
            totp_secret: totp_secret.map(|item| {
                let text = secret(&item, folder)?;
                checked(&item, text, |secret| Totp::read(secret).map(drop))
            }),
            username: username.map(|item| self::username(&item)),
        }
    }

    fn refuse_surplus(&self, grant: Grant, section: &Section<'_>) {
        for (key, is_given, owner) in [
            ("api_key", self.api_key.is_some(), Grant::ApiKey),
            ("padding", self.padding.is_some(), Grant::PublicKey),
            ("password", self.password.is_some(), Grant::Password),
            ("private_key", self.private_key.is_some(), Grant::PublicKey),
            (
                "public_key_form",
                self.public_key_form.is_some(),
                Grant::PublicKey,
            ),
            ("totp_secret", self.totp_secret.is_some(), Grant::Password),
            ("username", self.username.is_some(), Grant::Password),
        ] {
            if is_given && owner != grant {
                let (own, other) = (grant.name(), owner.name());
                section.fault(
                    key,
                    format!("belongs to {other}, and the grant here is {own}: remove it"),
                );
            }
        }
    }

    fn credentials(&mut self, grant: Grant, section: &Section<'_>) -> Option<Credentials> {
        Some(match grant {
            Grant::ApiKey => Credentials::ApiKey(needed(self.api_key.take(), "api_key", section)?),
            Grant::Password => {
                let username = needed(self.username.take(), "username", section);
                let password = needed(self.password.take(), "password", section);
                let totp_secret = match self.totp_secret.take() {
                    None => None,
                    Some(given) => Some(given?),
                };
                Credentials::Password {
                    username: username?,
                    password: password?,
                    totp_secret,
                }
            }
            Grant::PublicKey => Credentials::KeyPair {
                private_key: needed(self.private_key.take(), "private_key", section)?,
                padding: self.padding.unwrap_or(Some(Padding::Auto))?,
                form: self.public_key_form.unwrap_or(Some(KeyForm::Xml))?,
            },
        })
    }
}

impl Grant {
    fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Password => "password",
            Self::PublicKey => "public_key",
        }
    }
}

/// A key that the grant cannot do without.
fn needed<T>(given: Given<T>, key: &str, section: &Section<'_>) -> Option<T> {
    given.unwrap_or_else(|| {
        section.fault(key, "is missing");
        None
    })
}

/// A secret that is there and passes a test.
fn checked<E: ToString>(
    item: &Item<'_>,
    (source, secret): (SecretSource, Secret),
    test: impl FnOnce(&Secret) -> Result<(), E>,
) -> Option<SecretSource> {
    if item.is_alone() {
        return Some(source);
    }
    match test(&secret) {
        Ok(()) => Some(source),
        Err(error) => {
            item.fault(error.to_string());
            None
        }
    }
}

fn username(item: &Item<'_>) -> Option<String> {
    item.read_with(|text: String| match text.is_empty() {
        true => Err("must not be empty"),
        false => Ok(text),
    })
}

fn padding(item: &Item<'_>) -> Option<Padding> {
    item.read_with(|text: String| match text.as_str() {
        "auto" => Ok(Padding::Auto),
        "oaep_sha1" => Ok(Padding::OaepSha1),
        "oaep_sha256" => Ok(Padding::OaepSha256),
        "pkcs1" => Ok(Padding::Pkcs1),
        _ => Err(r#"must be "auto", "pkcs1", "oaep_sha1" or "oaep_sha256""#),
    })
}

fn form(item: &Item<'_>) -> Option<KeyForm> {
    item.read_with(|text: String| match text.as_str() {
        "spki" => Ok(KeyForm::Spki),
        "xml" => Ok(KeyForm::Xml),
        _ => Err(r#"must be "xml" or "spki""#),
    })
}
