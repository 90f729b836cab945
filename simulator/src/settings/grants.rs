//! The words that the switches of `/token` are set to.

use serde::{Deserialize, Serialize};

/// How the challenge of a key-pair login is encrypted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengePadding {
    /// OAEP with SHA-1.
    OaepSha1,
    /// OAEP with SHA-256.
    OaepSha256,
    /// PKCS#1 v1.5 (default).
    Pkcs1,
}

/// What a new login does to the earlier sessions of its account.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParallelSessions {
    /// They go on (default).
    Many,
    /// They end.
    NewestOnly,
}

/// How a login is refused for what it proves itself by: a password, a code, a key.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordRefusal {
    /// 400 with the error `invalid_grant`.
    InvalidGrant,
    /// 400 with the error `invalid_request`, as in Veeam's example (default).
    InvalidRequest,
}

/// In which form grant `public_key` takes the key, beneath its Base64.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicKeyForm {
    /// Either.
    Any,
    /// An X.509 `SubjectPublicKeyInfo` in DER.
    Spki,
    /// The `<RSAKeyValue>` XML that was registered (default).
    Xml,
}

/// What is in the body of a 401.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnauthorizedBody {
    /// Nothing.
    Empty,
    /// The error body of the other refusals (default).
    Errors,
    /// A page of HTML.
    Html,
}
