//! One exchange with a console's `/token`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;
use zeroize::{Zeroize as _, Zeroizing};

use super::grant::{
    Grant, IssueError, Issued, Outage, SecondStep, parse_answer, parse_second_step,
};
use crate::secret::Secret;
use crate::upstream::{Console, RequestBody, UpstreamError};

/// How a token endpoint is asked, and what is made of its answers.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// Sent as `X-Client-Version`, which fixes the shape of VSPC's answers.
    pub client_version: Option<&'a HeaderValue>,
    /// What is expected of the answers.
    pub expected: Expected,
}

/// What is expected of the answers of token endpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// How long an access token lives whose answer does not say.
    pub life: Duration,
    /// The most time until an answer is there: connecting, asking and reading it.
    pub within: Duration,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(300),
            within: Duration::from_secs(10),
        }
    }
}

/// Asks a console for a token.
///
/// # Errors
/// Tells apart who is at fault, so that the caller knows when asking again makes sense.
pub async fn exchange(
    console: &Console,
    grant: &Grant<'_>,
    manner: Manner<'_>,
) -> Result<Issued, IssueError> {
    let deadline = Instant::now() + manner.expected.within;
    ask(console, grant, manner, deadline).await?.parse()
}

/// What the answer to the first step of a log-in is.
pub(super) enum FirstStep {
    /// A second step is wanted.
    Challenge {
        /// What is wanted.
        error: IssueError,
        /// What is given for it.
        step: SecondStep,
        /// The console's own time, in seconds since the Unix epoch, where the answer tells it.
        date: Option<i64>,
    },
    /// There is a token already.
    Issued(Issued),
}

/// Takes the first step of a log-in that may have two.
pub(super) async fn begin(
    console: &Console,
    grant: &Grant<'_>,
    manner: Manner<'_>,
) -> Result<FirstStep, IssueError> {
    let deadline = Instant::now() + manner.expected.within;
    let relayed = ask(console, grant, manner, deadline).await?;
    match relayed.parse() {
        Ok(issued) => Ok(FirstStep::Issued(issued)),
        Err(error @ IssueError::Challenge(_)) => {
            let step = parse_second_step(&relayed.body)
                .ok_or(IssueError::Malformed("a second step beside a token"))?;
            let date = relayed.date;
            Ok(FirstStep::Challenge { error, step, date })
        }
        Err(error) => Err(error),
    }
}

/// As [`exchange`], with a deadline of the caller's.
pub(super) async fn exchange_until(
    console: &Console,
    grant: &Grant<'_>,
    manner: Manner<'_>,
    deadline: Instant,
) -> Result<Issued, IssueError> {
    ask(console, grant, manner, deadline).await?.parse()
}

async fn ask(
    console: &Console,
    grant: &Grant<'_>,
    manner: Manner<'_>,
    deadline: Instant,
) -> Result<Relayed, IssueError> {
    let sent = send(console, wiped(grant.form()), manner);
    let answer = tokio::time::timeout_at(deadline, sent).await;
    answer
        .unwrap_or(Err(UpstreamError::Timeout))
        .map_err(|error| outage(&error))
}

/// Lends a form's own memory to the request: it is wiped when that has been sent.
fn wiped(form: Secret) -> Bytes {
    struct Form(Secret);
    impl AsRef<[u8]> for Form {
        fn as_ref(&self) -> &[u8] {
            self.0.expose().as_bytes()
        }
    }
    Bytes::from_owner(Form(form))
}

/// The token endpoint's answer to somebody else's form, as it came.
pub struct Relayed {
    /// The status.
    pub status: StatusCode,
    /// The type of the body.
    pub content_type: Option<HeaderValue>,
    /// When to ask again.
    pub retry_after: Option<HeaderValue>,
    /// When it was made, by the console's clock, in seconds since the Unix epoch.
    date: Option<i64>,
    /// How long its token lives, where it does not say.
    assumed_life: Duration,
    body: Zeroizing<Vec<u8>>,
}

/// What an answer is, as far as the gateway treats it differently.
#[derive(Debug)]
pub enum Verdict {
    /// A token was issued.
    Issued(Issued),
    /// Name and secret are wrong.
    Refused,
    /// A second step is wanted; with the token for it, where there is one.
    SecondStep(Option<Secret>),
    /// An error of another kind.
    Failed,
    /// It asks to be left alone for so long.
    Throttled(Duration),
    /// Something that must not be passed on.
    Unfit(&'static str),
}

/// Passes somebody else's form on.
///
/// # Errors
/// Says why there is no answer.
pub async fn relay(
    console: &Console,
    form: Zeroizing<Vec<u8>>,
    manner: Manner<'_>,
) -> Result<Relayed, UpstreamError> {
    let sent = send(console, Bytes::from_owner(form), manner);
    tokio::time::timeout(manner.expected.within, sent)
        .await
        .unwrap_or(Err(UpstreamError::Timeout))
}

async fn send(
    console: &Console,
    form: Bytes,
    manner: Manner<'_>,
) -> Result<Relayed, UpstreamError> {
    let uri = console
        .uri(PathAndQuery::from_static("/api/v3/token"))
        .map_err(|error| UpstreamError::Unreachable(error.to_string()))?;
    let mut request = Request::new(RequestBody::Full(form));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form_type);
    if let Some(version) = manner.client_version {
        headers.insert(HeaderName::from_static("x-client-version"), version.clone());
    }
    let answer = console.send(request, None).await?;
    let status = answer.status();
    let header = |name: HeaderName| answer.headers().get(name).cloned();
    let (content_type, retry_after) = (header(CONTENT_TYPE), header(RETRY_AFTER));
    // What was asked for plain is not unpacked: it could be a thousand times its size.
    if header(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(UpstreamError::Invalid("a packed answer".to_owned()));
    }
    let date = header(DATE).and_then(|value| unix_seconds(&value));
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT + 1)
        .collect()
        .await
        .map_err(|_| UpstreamError::Invalid("cut off, or too large".to_owned()))?
        .to_bytes();
    Ok(Relayed {
        status,
        content_type,
        retry_after,
        date,
        assumed_life: manner.expected.life,
        // Its own memory, where nobody else holds it.
        body: Zeroizing::new(Vec::from(body)),
    })
}

impl Relayed {
    /// The body as it came. It may hold tokens.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads it.
    pub fn read(&self) -> Verdict {
        match self.parse() {
            Ok(issued) => Verdict::Issued(issued),
            Err(IssueError::Challenge(_)) => parse_second_step(&self.body)
                .map_or(Verdict::Unfit("a second step beside a token"), |step| {
                    Verdict::SecondStep(step.mfa_token)
                }),
            Err(IssueError::Refused { .. }) => Verdict::Refused,
            Err(IssueError::Malformed(what)) => Verdict::Unfit(what),
            Err(IssueError::WrongSubject { .. }) => Verdict::Unfit("a token of somebody else"),
            Err(IssueError::Throttled { retry_after }) => Verdict::Throttled(retry_after),
            Err(IssueError::NextCode { .. } | IssueError::Unavailable(_)) => Verdict::Failed,
        }
    }

    /// The body with another lifetime of its token, for somebody who gets it later.
    pub fn body_with_lifetime(&self, seconds: u64) -> Zeroizing<Vec<u8>> {
        let Ok(mut answer) = serde_json::from_slice::<Value>(&self.body) else {
            return self.body.clone();
        };
        if let Some(members) = answer.as_object_mut() {
            members.insert("expires_in".to_owned(), Value::from(seconds));
        }
        let body = Zeroizing::new(answer.to_string().into_bytes());
        for value in answer
            .as_object_mut()
            .into_iter()
            .flat_map(|all| all.values_mut())
        {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
        body
    }

    fn parse(&self) -> Result<Issued, IssueError> {
        let text = |value: &Option<HeaderValue>| {
            let value = value.as_ref()?.to_str().ok()?;
            Some(value.to_owned())
        };
        parse_answer(
            self.status.as_u16(),
            text(&self.content_type).as_deref(),
            text(&self.retry_after).as_deref(),
            &self.body,
            self.assumed_life,
        )
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Reads the value of a `Date` header.
fn unix_seconds(value: &HeaderValue) -> Option<i64> {
    let date = OffsetDateTime::parse(value.to_str().ok()?, &Rfc2822).ok()?;
    Some(date.unix_timestamp())
}

/// What went wrong on the way holds nothing secret: it is for the operator's eyes.
fn outage(error: &UpstreamError) -> IssueError {
    IssueError::Unavailable(match error {
        UpstreamError::Timeout => Outage::TimedOut,
        UpstreamError::Tls(how) => Outage::Tls(how.as_str().into()),
        UpstreamError::Cut(how) | UpstreamError::Unreachable(how) => {
            Outage::Connection(how.as_str().into())
        }
        UpstreamError::Body(_) | UpstreamError::Unsendable(_) => Outage::Internal,
        UpstreamError::Invalid(_) => {
            return IssueError::Malformed("not valid HTTP, cut off, packed, or too large");
        }
    })
}

/// More than any answer of the token endpoint has.
const ANSWER_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_sent_from_the_memory_that_is_wiped() {
        let form = Secret::new("grant_type=password&password=canary".to_owned());
        let (place, length) = (form.expose().as_ptr(), form.expose().len());
        let sent = wiped(form);
        assert_eq!((sent.as_ptr(), sent.len()), (place, length));
    }

    #[test]
    fn dates_are_read_as_http_writes_them() {
        let read = |text| unix_seconds(&HeaderValue::from_static(text));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(read("yesterday"), None);
    }
}
