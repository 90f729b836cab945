//! The answers of `/token`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::AnswerBody;
use crate::secret::Secret;
use crate::vspc::Relayed;

/// An answer of `/token`. Its memory is wiped once it is sent.
pub(super) struct TokenReply {
    status: StatusCode,
    content_type: HeaderValue,
    retry_after: Option<HeaderValue>,
    body: Zeroizing<Vec<u8>>,
}

/// All members of VSPC's own answer, in its order.
#[derive(Serialize)]
struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'a str,
    refresh_token: &'a str,
    mfa_token: Option<&'a str>,
    encrypted_code: Option<&'a str>,
    expires_in: u64,
}

impl TokenReply {
    /// Tokens of the gateway.
    pub(super) fn tokens(access: &Secret, refresh: &Secret, lifetime: Duration) -> Self {
        let tokens = Tokens {
            access_token: access.expose(),
            token_type: "bearer",
            refresh_token: refresh.expose(),
            mfa_token: None,
            encrypted_code: None,
            expires_in: lifetime.as_secs(),
        };
        let worst = 2 * (access.expose().len() + refresh.expose().len()) + 256;
        let mut body = Zeroizing::new(Vec::with_capacity(worst));
        // Writing plain members to memory cannot fail.
        drop(serde_json::to_writer(&mut *body, &tokens));
        Self {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static(JSON),
            retry_after: None,
            body,
        }
    }

    /// The console's own answer as it came.
    pub(super) fn relayed(answer: &Relayed) -> Self {
        Self::of(answer, Zeroizing::new(answer.body().to_vec()))
    }

    /// The console's own answer to an earlier log-in: what is left of its lifetime is told.
    pub(super) fn shared(answer: &Relayed, remaining: Duration) -> Self {
        Self::of(answer, answer.body_with_lifetime(remaining.as_secs()))
    }

    fn of(answer: &Relayed, body: Zeroizing<Vec<u8>>) -> Self {
        let json = || HeaderValue::from_static(JSON);
        Self {
            status: answer.status,
            content_type: answer.content_type.clone().unwrap_or_else(json),
            retry_after: answer.retry_after.clone(),
            body,
        }
    }

    /// As an answer for the caller, which must not be kept by anybody on the way.
    pub(super) fn into_response(self) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::full(Bytes::from_owner(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds);
        }
        response
    }
}

const JSON: &str = "application/json; charset=utf-8";
