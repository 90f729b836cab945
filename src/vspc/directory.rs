//! The wire of VSPC's directory: companies, and the users who act for them. No policy here.

mod activities;
mod me;
mod page;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::grant::{IssueError, Subject, parse_answer};
use crate::upstream::{Console, RequestBody, UpstreamError};
pub use activities::Activity;
pub use me::Me;
use page::{Entry, Gathered, LIMIT, is_own_error, read_one, read_page};

/// A company, as far as it matters for acting in its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Company {
    /// Its UID, which is that of its organization too.
    pub uid: Uuid,
    /// Its name, where it has one that can be sent.
    pub name: Option<Arc<str>>,
    /// Its other names: the alias that its users log in with, and the id that other systems know
    /// it by.
    pub aliases: Vec<Arc<str>>,
    /// Whether it is active; what is not known counts as active.
    pub is_active: bool,
    /// Whether its users may use the REST API, where the answer says so.
    pub has_rest_access: Option<bool>,
}

/// A user, as far as it matters for acting as it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Its UID, the target of grant `as`.
    pub uid: Subject,
    /// The organization it belongs to.
    pub organization: Option<Uuid>,
    /// The name it logs in with.
    pub name: Option<Arc<str>>,
    /// Whether it may log in; what is not known counts as enabled.
    pub is_enabled: bool,
    /// Its role, in the console's words.
    pub role: Option<Arc<str>>,
    /// Whether it is the owner of its company.
    pub is_owner: bool,
    /// Whether it needs a second factor, where the answer says so.
    pub needs_mfa: Option<bool>,
}

/// Why the directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The collection changed while its pages were read.
    #[error("it changed while it was read")]
    Changed,
    /// The console answered 200 and told errors.
    #[error("the console answered with errors")]
    Errors,
    /// The gateway's account may not read it.
    #[error("the gateway's account may not read it")]
    Forbidden,
    /// The answer is none that VSPC is known to give.
    #[error("the answer is not understood: {0}")]
    Malformed(&'static str),
    /// The console answers later, which is of no use here.
    #[error("the console put the answer off")]
    Postponed,
    /// Another page was asked for, and the same came.
    #[error("the console gives the same page again")]
    Repeated,
    /// Any other status.
    #[error("the console answered {0}")]
    Status(StatusCode),
    /// The console asks for patience.
    #[error("the console throttles for {} s", retry_after.as_secs())]
    Throttled {
        /// How long to stay away.
        retry_after: Duration,
    },
    /// There is more than can be read.
    #[error("there are more than can be read")]
    TooMany,
    /// The console refused the token.
    #[error("the console refused the token")]
    Unauthorized,
    /// There is no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Asks a console in the name of the gateway's own account.
pub struct Asker<'a> {
    /// The console.
    pub console: &'a Console,
    /// The value of `Authorization`.
    pub authorization: HeaderValue,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<&'a HeaderValue>,
}

impl Asker<'_> {
    /// All companies, by UID.
    ///
    /// # Errors
    /// Says why they cannot be read, also when they cannot be read as a whole.
    pub async fn companies(&self) -> Result<HashMap<Uuid, Company>, DirectoryError> {
        self.all(companies_target).await
    }

    /// All owners of companies, by UID.
    ///
    /// # Errors
    /// As [`Self::companies`].
    pub async fn owners(&self) -> Result<HashMap<Uuid, User>, DirectoryError> {
        self.all(owners_target).await
    }

    /// All users, by UID.
    ///
    /// # Errors
    /// As [`Self::companies`].
    pub async fn users(&self) -> Result<HashMap<Uuid, User>, DirectoryError> {
        self.all(users_target).await
    }

    /// One user; `None` when there is none of that UID.
    ///
    /// # Errors
    /// Says why it cannot be read.
    pub async fn user(&self, user: Subject) -> Result<Option<User>, DirectoryError> {
        let (status, body) = self.ask(&format!("/api/v3/users/{user}")).await?;
        match status {
            StatusCode::OK => read_one(&body).map(Some),
            // A 404 of something in between says nothing about the user.
            StatusCode::NOT_FOUND if is_own_error(&body) => Ok(None),
            status => Err(DirectoryError::Status(status)),
        }
    }

    async fn all<T: Entry>(
        &self,
        target: fn(usize) -> String,
    ) -> Result<HashMap<Uuid, T>, DirectoryError> {
        let mut gathered = Gathered::new();
        loop {
            let (status, body) = self.ask(&target(gathered.offset())).await?;
            if status != StatusCode::OK {
                return Err(DirectoryError::Status(status));
            }
            if gathered.add(read_page(&body)?)? {
                return Ok(gathered.into_entries());
            }
        }
    }

    async fn ask(&self, target: &str) -> Result<(StatusCode, Bytes), DirectoryError> {
        tokio::time::timeout(ANSWER_TIME, self.ask_once(target))
            .await
            .unwrap_or(Err(UpstreamError::Timeout.into()))
    }

    async fn ask_once(&self, target: &str) -> Result<(StatusCode, Bytes), DirectoryError> {
        let unfit = |error: &dyn fmt::Display| UpstreamError::Unreachable(error.to_string());
        let target: PathAndQuery = target.parse().map_err(|error| unfit(&error))?;
        let uri = self.console.uri(target).map_err(|error| unfit(&error))?;
        let mut request = Request::new(RequestBody::Empty);
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(version) = self.client_version {
            let name = HeaderName::from_static("x-client-version");
            headers.insert(name, version.clone());
        }
        let answer = self.console.send(request, None).await?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).cloned();
        let body = Limited::new(answer.into_body(), PAGE_LIMIT)
            .collect()
            .await
            .map_err(|_| UpstreamError::Invalid("cut off, or too large".to_owned()))?
            .to_bytes();
        match status {
            StatusCode::ACCEPTED => Err(DirectoryError::Postponed),
            StatusCode::FORBIDDEN => Err(DirectoryError::Forbidden),
            StatusCode::TOO_MANY_REQUESTS => Err(throttled(retry_after.as_ref(), &body)),
            StatusCode::UNAUTHORIZED => Err(DirectoryError::Unauthorized),
            status => Ok((status, body)),
        }
    }
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker")
            .field("console", &self.console.id())
            .finish_non_exhaustive()
    }
}

/// The same seconds, found in the same places, as when the token endpoint throttles.
fn throttled(header: Option<&HeaderValue>, body: &[u8]) -> DirectoryError {
    let header = header.and_then(|value| value.to_str().ok());
    // No token comes with it, so nothing is assumed of one.
    match parse_answer(429, None, header, body, Duration::ZERO) {
        Err(IssueError::Throttled { retry_after }) => DirectoryError::Throttled { retry_after },
        _ => DirectoryError::Status(StatusCode::TOO_MANY_REQUESTS),
    }
}

fn companies_target(offset: usize) -> String {
    format!("/api/v3/organizations/companies?expand=Organization&limit={LIMIT}&offset={offset}")
}

fn owners_target(offset: usize) -> String {
    const OWNERS: &str = r#"[{"property":"role","operation":"equals","value":"CompanyOwner"}]"#;
    // A console decodes a query before it reads the JSON in it.
    let filter = utf8_percent_encode(OWNERS, NON_ALPHANUMERIC);
    format!("{}&filter={filter}", users_target(offset))
}

fn users_target(offset: usize) -> String {
    format!("/api/v3/users?limit={LIMIT}&offset={offset}")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCompany {
    instance_uid: Option<Uuid>,
    name: Option<String>,
    status: Option<String>,
    is_rest_access_enabled: Option<bool>,
    /// Before 3.6, in place of the member above.
    permissions: Option<Vec<String>>,
    #[serde(rename = "_embedded")]
    embedded: Option<Embedded>,
}

#[derive(Deserialize)]
struct Embedded {
    #[serde(alias = "Organization")]
    organization: Option<Organization>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Organization {
    alias: Option<Value>,
    company_id: Option<Value>,
}

impl Entry for Company {
    type Written = WrittenCompany;

    fn read(written: WrittenCompany) -> Option<(Uuid, Self)> {
        let uid = written.instance_uid.filter(|uid| !uid.is_nil())?;
        let name = written.name.and_then(name);
        let organization = written.embedded.and_then(|embedded| embedded.organization);
        let mut aliases = Vec::new();
        if let Some(Organization { alias, company_id }) = organization {
            let other = |value: Option<Value>| value.and_then(text).and_then(self::name);
            for alias in [other(alias), other(company_id)].into_iter().flatten() {
                if name.as_ref() != Some(&alias) && !aliases.contains(&alias) {
                    aliases.push(alias);
                }
            }
        }
        let permits_rest = |permissions: Vec<String>| {
            let mut permissions = permissions.iter();
            permissions.any(|permission| permission.eq_ignore_ascii_case("REST"))
        };
        let company = Self {
            uid,
            name,
            aliases,
            is_active: !says(written.status.as_deref(), "Disabled"),
            has_rest_access: written
                .is_rest_access_enabled
                .or_else(|| written.permissions.map(permits_rest)),
        };
        Some((uid, company))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenUser {
    instance_uid: Option<Uuid>,
    organization_uid: Option<Uuid>,
    user_name: Option<String>,
    status: Option<String>,
    role: Option<String>,
    mfa_policy_status: Option<String>,
}

impl Entry for User {
    type Written = WrittenUser;

    fn read(written: WrittenUser) -> Option<(Uuid, Self)> {
        let uid = written.instance_uid.filter(|uid| !uid.is_nil())?;
        let mfa = written.mfa_policy_status;
        let user = Self {
            uid: Subject(uid),
            organization: written.organization_uid,
            name: written.user_name.and_then(name),
            is_enabled: !says(written.status.as_deref(), "Disabled"),
            is_owner: says(written.role.as_deref(), "CompanyOwner"),
            role: written.role.as_deref().and_then(role),
            needs_mfa: mfa.map(|policy| !says(Some(&policy), "Disabled")),
        };
        Some((uid, user))
    }
}

/// A role as records can show it: of those that VSPC has, one text for all users.
fn role(text: &str) -> Option<Arc<str>> {
    static OWNER: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("CompanyOwner"));
    match text {
        "CompanyOwner" => Some(Arc::clone(&OWNER)),
        text => (text.len() <= 64).then(|| name(text.to_owned()))?,
    }
}

fn says(member: Option<&str>, word: &str) -> bool {
    member.is_some_and(|member| member.eq_ignore_ascii_case(word))
}

/// A name that a header can carry and a log can show, as it is written.
fn name(text: String) -> Option<Arc<str>> {
    let fits = !text.is_empty() && text.len() <= LONGEST_NAME;
    (fits && !text.chars().any(char::is_control)).then(|| Arc::from(text))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
    }
}

/// Asking for one page and reading it.
const ANSWER_TIME: Duration = Duration::from_secs(60);
const LONGEST_NAME: usize = 512;
/// The most bytes of one page.
const PAGE_LIMIT: usize = 8 * 1024 * 1024;
