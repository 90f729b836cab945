//! Scripted misbehaviour: which requests it meets and what happens to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::answer::{self, ApiError, Ending, ErrorKind, Reply, ReplyBody};
use crate::wire;

const JSON: &str = "application/json; charset=utf-8";
const TOLD: &str = "The simulator was told to fail.";

/// One misbehaviour; every condition that is set must fit a request for the fault to meet it.
///
/// As JSON: `{"operation": "GET /users/me", "times": 2, "delay_ms": 50, "action": "unauthorized"}`.
/// Of several faults that fit, the one queued first is used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Fault {
    /// The name of the operation, as in the counters: `GET /users/logins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The beginning of the raw path, as in `/api/v3/users`, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The grant of a token request: `password`, `refresh_token`, `as` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The user of the bearer; of a token request, the user that the token would be for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Uuid>,
    /// How many fitting requests pass before the fault begins.
    #[serde(default)]
    pub skip: u64,
    /// How many requests the fault meets; 0 for all until it is taken away.
    #[serde(default = "once")]
    pub times: u64,
    /// How long the answer is held back, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Carries the operation out before misbehaving, so that its answer is lost but its effect is not.
    #[serde(default)]
    pub after_effect: bool,
    /// What happens to the request.
    #[serde(flatten)]
    pub action: Action,
}

fn once() -> u64 {
    1
}

/// What happens to a request that a fault meets.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A made-up answer.
    Answer {
        /// The status of the answer.
        status: u16,
        /// The body of the answer; by default an error body of the console for that status.
        #[serde(default)]
        body: Option<String>,
        /// The type of the body, JSON by default.
        #[serde(default)]
        content_type: Option<String>,
        /// Further headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// The connection is closed before anything is sent.
    CutBeforeHead,
    /// The connection is closed after a part of the promised body.
    CutInBody {
        /// How much is sent, in bytes.
        #[serde(default = "some")]
        sent: usize,
        /// How much is promised, in bytes.
        #[serde(default = "promised")]
        length: usize,
    },
    /// Nothing but the delay.
    Delay,
    /// An error of the console's, which may have a number of its own, as 520 with 1210.
    Error {
        /// The status of the answer.
        #[serde(default = "unnamed")]
        status: u16,
        /// The number in the body.
        code: u32,
        /// The kind of the error.
        #[serde(default, rename = "type")]
        kind: ErrorKind,
    },
    /// Bytes that are no HTTP.
    Garbage,
    /// 200 with a page of HTML.
    Html,
    /// 520 with an error body.
    ServerError,
    /// Silence after a part of the promised body, for as long as the connection lives.
    StallInBody {
        /// How much is sent, in bytes.
        #[serde(default = "some")]
        sent: usize,
        /// How much is promised, in bytes.
        #[serde(default = "promised")]
        length: usize,
    },
    /// 429, with the seconds to wait where they are given.
    Throttle {
        /// The seconds to wait; `None` as when too many requests run at once.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 200 with a literal body of type JSON, for answers of `/token` that are not what they should be.
    TokenBody {
        /// The body, byte for byte.
        body: String,
    },
    /// 401, as for an expired token.
    Unauthorized,
    /// A beginning of an answer that tells no length, and the end of the connection, without the
    /// farewell of TLS.
    Unended,
}

fn unnamed() -> u16 {
    520
}

fn some() -> usize {
    64
}

fn promised() -> usize {
    4096
}

impl Fault {
    /// Makes a fault that meets the next request, whichever it is.
    pub fn new(action: Action) -> Self {
        Self {
            operation: None,
            path: None,
            grant: None,
            subject: None,
            skip: 0,
            times: 1,
            delay_ms: 0,
            after_effect: false,
            action,
        }
    }

    /// Narrows the fault to an operation, by its name.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Narrows the fault to paths that begin like this.
    #[must_use]
    pub fn under(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Narrows the fault to a grant.
    #[must_use]
    pub fn grant(mut self, grant: &str) -> Self {
        self.grant = Some(grant.to_owned());
        self
    }

    /// Narrows the fault to requests of one user.
    #[must_use]
    pub fn subject(mut self, subject: Uuid) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Lets so many fitting requests pass first.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Meets so many requests; 0 for all.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Holds the answer back.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Carries the operation out first.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    fn fits(&self, facts: &Facts<'_>) -> bool {
        let begins = |path: &str, prefix: &str| {
            path.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        self.operation
            .as_deref()
            .is_none_or(|name| name == facts.operation)
            && self
                .path
                .as_deref()
                .is_none_or(|prefix| begins(facts.path, prefix))
            && self
                .grant
                .as_deref()
                .is_none_or(|grant| Some(grant) == facts.grant)
            && self
                .subject
                .is_none_or(|subject| Some(subject) == facts.subject)
    }
}

/// What is known of a request when faults are chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a str,
    pub(crate) grant: Option<&'static str>,
    pub(crate) subject: Option<Uuid>,
}

/// The faults that wait for their request.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    queue: Mutex<Vec<Fault>>,
    // Read on every request, so that the lock is taken only when something waits.
    waiting: AtomicUsize,
}

impl Faults {
    pub(crate) fn push(&self, fault: Fault) {
        let mut queue = self.queue.lock();
        queue.push(fault);
        self.waiting.store(queue.len(), Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        let mut queue = self.queue.lock();
        queue.clear();
        self.waiting.store(0, Ordering::Release);
    }

    pub(crate) fn waiting(&self) -> Vec<Fault> {
        self.queue.lock().clone()
    }

    /// Returns the fault that meets a request with these facts.
    pub(crate) fn take(&self, facts: &Facts<'_>) -> Option<Fault> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let mut met = None;
        for (at, fault) in queue.iter_mut().enumerate() {
            if !fault.fits(facts) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            met = Some((at, fault.clone(), fault.times == 1));
            fault.times = fault.times.saturating_sub(1);
            break;
        }
        let (at, fault, last) = met?;
        if last {
            queue.remove(at);
            self.waiting.store(queue.len(), Ordering::Release);
        }
        Some(fault)
    }
}

/// What goes out in place of an answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Reply),
    Cut,
    /// Bytes in place of an answer, and the end of the connection.
    Raw(&'static [u8]),
}

impl Action {
    /// Returns what goes out; `None` when the request is answered as usual.
    pub(crate) fn outcome(&self, retry_after_header: bool) -> Option<Outcome> {
        let reply = match self {
            Self::Answer {
                status,
                body,
                content_type,
                headers,
            } => made_up(*status, body.as_deref(), content_type.as_deref(), headers),
            Self::CutBeforeHead => return Some(Outcome::Cut),
            Self::CutInBody { sent, length } => partial(*sent, *length, Ending::Cut),
            Self::Delay => return None,
            Self::Error { status, code, kind } => {
                let status = StatusCode::from_u16(*status).unwrap_or(answer::server_fault());
                let error = ApiError::new(status, *kind, TOLD);
                error.coded(*code).into_reply()
            }
            Self::Garbage => return Some(Outcome::Raw(wire::GARBAGE)),
            Self::Html => {
                let page = "<!DOCTYPE html><html><body>Service unavailable</body></html>";
                answer::typed(StatusCode::OK, HeaderValue::from_static("text/html"), page)
            }
            Self::ServerError => failure(answer::server_fault()).into_reply(),
            Self::StallInBody { sent, length } => partial(*sent, *length, Ending::Stall),
            Self::Throttle { retry_after } => answer::throttled(*retry_after, retry_after_header),
            Self::TokenBody { body } => {
                answer::typed(StatusCode::OK, HeaderValue::from_static(JSON), body.clone())
            }
            Self::Unended => return Some(Outcome::Raw(wire::UNENDED)),
            Self::Unauthorized => {
                ApiError::unauthorized("The access token has expired.").into_reply()
            }
        };
        Some(Outcome::Answer(reply))
    }
}

/// Returns the error that goes with a status nobody asked for.
pub(crate) fn failure(status: StatusCode) -> ApiError {
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::Security,
        429 | 500.. => ErrorKind::Transport,
        _ => ErrorKind::Logical,
    };
    ApiError::new(status, kind, TOLD)
}

fn made_up(
    status: u16,
    body: Option<&str>,
    content_type: Option<&str>,
    headers: &[(String, String)],
) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut reply = match body {
        Some(body) => answer::typed(status, HeaderValue::from_static(JSON), body.to_owned()),
        None if status.is_client_error() || status.is_server_error() => {
            failure(status).into_reply()
        }
        None => answer::bare(status),
    };
    let kind = content_type.map(|kind| (CONTENT_TYPE.as_str(), kind));
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in kind.into_iter().chain(pairs) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            if name == CONTENT_TYPE {
                reply.headers_mut().insert(name, value);
            } else {
                reply.headers_mut().append(name, value);
            }
        }
    }
    reply
}

fn partial(sent: usize, length: usize, ending: Ending) -> Reply {
    // Less than was promised, or nothing would be missing.
    let sent = sent.min(length.saturating_sub(1));
    let mut reply = answer::bare(StatusCode::OK);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    *reply.body_mut() = ReplyBody::broken(Bytes::from(vec![b' '; sent]), ending);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'static> = Facts {
        operation: "GET /users/me",
        path: "/api/v3/Users/me",
        grant: None,
        subject: None,
    };

    #[test]
    fn a_fault_meets_as_many_requests_as_it_says() {
        let faults = Faults::default();
        faults.push(
            Fault::new(Action::Delay)
                .on("GET /users/me")
                .skip(1)
                .times(2),
        );
        let met: Vec<bool> = (0..4).map(|_| faults.take(&FACTS).is_some()).collect();
        assert_eq!(met, [false, true, true, false]);
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn a_fault_without_end_stays() {
        let faults = Faults::default();
        faults.push(Fault::new(Action::Delay).under("/API/v3/users").times(0));
        for _ in 0..3 {
            assert!(faults.take(&FACTS).is_some());
        }
        assert_eq!(faults.waiting().len(), 1);
    }

    #[test]
    fn a_fault_for_others_is_left_alone() {
        let faults = Faults::default();
        faults.push(Fault::new(Action::Delay).grant("as"));
        faults.push(Fault::new(Action::Delay).subject(Uuid::nil()));
        assert!(faults.take(&FACTS).is_none());
        assert_eq!(faults.waiting().len(), 2);
    }

    #[test]
    fn faults_are_written_as_flat_json() {
        let text =
            r#"{"operation":"POST /token","delay_ms":5,"action":"throttle","retry_after":7}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let expected = Fault::new(Action::Throttle {
            retry_after: Some(7),
        })
        .on("POST /token")
        .delay(Duration::from_millis(5));
        assert_eq!(fault, expected);
    }
}
