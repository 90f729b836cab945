//! Every refusal: one enum, one table, one answer.

mod codes;
mod shape;

pub(super) use shape::Shape;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use codes::{
    BAD_CREDENTIALS, CONCURRENCY_LIMITED, DIRECTORY_UNAVAILABLE, METHOD_REFUSED, RATE_LIMITED,
    UPSTREAM_TLS, caller_code, gone_code, head_code, unresolved_code, upstream_code, wire_code,
};

use super::answer::AnswerBody;
use crate::audit::Unavailable;
use crate::client::{Unidentified, Untraceable};
use crate::freeze::{Scope, Stopped};
use crate::policy::{Denied, ReasonFault};
use crate::quota::{Exceeded, Short};
use crate::request::{HeadFault, METHODS};
use crate::state::StateError;
use crate::tenant::Unresolved;
use crate::token::TokenError;
use crate::upstream::{BodyFault, NoTurn, UpstreamError};
use crate::vspc::FormFault;
use crate::wire;

/// Why a request is refused by the gateway.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The request cannot be recorded, so it is not done.
    #[error("the request cannot be recorded")]
    Audit(#[from] Unavailable),
    /// Policy does not allow it.
    #[error("not allowed")]
    Denied(Denied),
    /// The console's directory was never read, so nobody knows who acts for whom.
    #[error("the console's directory was never read")]
    Directory {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// A client or a tenant has had its share at the door.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// It is about an asynchronous action that somebody else started.
    #[error("this action was started for another tenant, or as another user")]
    ForeignAction,
    /// The form of a log-in cannot be used.
    #[error(transparent)]
    Form(#[from] FormFault),
    /// An operator has stopped it.
    #[error("an operator has stopped it")]
    Frozen(Stopped),
    /// Too many credentials were wrong.
    #[error("too many credentials were wrong: wait before the next")]
    Guessing {
        /// When the next may be tried.
        retry_after: Duration,
        /// What was wrong with this one, for the operator.
        what: Option<String>,
    },
    /// The request itself is malformed or not served.
    #[error(transparent)]
    Head(#[from] HeadFault),
    /// A fault of the gateway.
    #[error("the gateway failed")]
    Internal,
    /// It is not the request's turn, or nobody's.
    #[error(transparent)]
    NoTurn(#[from] NoTurn),
    /// What came as a reason is none.
    #[error("{0}")]
    Reason(ReasonFault),
    /// The client may not call from there.
    #[error("this client may not call from this address")]
    Source,
    /// The console refused even a fresh token.
    #[error("the console refused a fresh token")]
    RefusedToken,
    /// The gateway's own state cannot be read or written.
    #[error("the gateway cannot read or write its own state")]
    State(#[from] StateError),
    /// No token can be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Only POST is served on `/token`.
    #[error("only POST is served here")]
    TokenMethod,
    /// The token was renewed, but the request's body is not held any more.
    #[error("the token was renewed while the body was on its way: send the request again")]
    TokenRenewed,
    /// Nobody knows who is calling.
    #[error(transparent)]
    Unidentified(#[from] Unidentified),
    /// Nobody knows for whom.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// A trusted proxy does not say for whom it speaks.
    #[error(transparent)]
    Untraceable(#[from] Untraceable),
    /// The console did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// What came is not a request that has one reading.
    #[error(transparent)]
    Wire(#[from] wire::Fault),
}

impl From<Stopped> for Rejection {
    fn from(stopped: Stopped) -> Self {
        Self::Frozen(stopped)
    }
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Rejection {
    /// The stable code and the status: the table of refusals.
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Audit(_) => ("audit_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Denied(denied) => match denied {
                Denied::ForeignTenant(_) | Denied::UnknownTenant => {
                    ("tenant_denied", StatusCode::FORBIDDEN)
                }
                Denied::Operation(_)
                | Denied::ReadOnly(_)
                | Denied::Road(_)
                | Denied::Token
                | Denied::Unmet(_) => ("operation_denied", StatusCode::FORBIDDEN),
                Denied::Reason(..) => ("reason_required", StatusCode::FORBIDDEN),
                Denied::Gone(gone) => gone_code(*gone),
                Denied::Moved => BAD_CREDENTIALS,
                Denied::NotYet => DIRECTORY_UNAVAILABLE,
                Denied::Target(_) => ("target_denied", StatusCode::FORBIDDEN),
            },
            Self::Directory { .. } => DIRECTORY_UNAVAILABLE,
            Self::ForeignAction => ("action_denied", StatusCode::FORBIDDEN),
            Self::Exceeded(exceeded) => match exceeded.short {
                Short::Places => CONCURRENCY_LIMITED,
                Short::Rate => RATE_LIMITED,
            },
            Self::Guessing { .. } => RATE_LIMITED,
            Self::Form(_) | Self::Reason(_) | Self::Untraceable(_) => {
                ("bad_request", StatusCode::BAD_REQUEST)
            }
            Self::Frozen(_) => ("frozen", StatusCode::FORBIDDEN),
            Self::Head(fault) => head_code(*fault),
            Self::Internal => ("internal_error", StatusCode::INTERNAL_SERVER_ERROR),
            Self::NoTurn(NoTurn::Share(refused)) if refused.why.is_the_tenants() => RATE_LIMITED,
            Self::NoTurn(NoTurn::Share(_)) => ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::NoTurn(NoTurn::Unwell(_)) => ("console_unwell", StatusCode::SERVICE_UNAVAILABLE),
            Self::RefusedToken => ("upstream_refused_token", StatusCode::BAD_GATEWAY),
            Self::Source => ("source_denied", StatusCode::FORBIDDEN),
            Self::State(_) => ("state_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::TokenMethod => METHOD_REFUSED,
            Self::Token(TokenError::WrongSubject { .. }) => {
                ("wrong_subject", StatusCode::BAD_GATEWAY)
            }
            Self::Token(error) if error.is_refusal() => ("login_refused", StatusCode::BAD_GATEWAY),
            Self::Token(error) if error.is_tls() => UPSTREAM_TLS,
            Self::Token(_) => ("token_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::TokenRenewed => ("token_renewed", StatusCode::SERVICE_UNAVAILABLE),
            Self::Unidentified(who) => caller_code(who),
            Self::Unresolved(whom) => unresolved_code(whom),
            Self::Upstream(error) => upstream_code(error),
            Self::Wire(fault) => wire_code(fault.what),
        }
    }

    /// Whether nobody is left to be answered: the caller went away in the middle of its request.
    pub(super) fn is_hang_up(&self) -> bool {
        matches!(
            self,
            Self::Upstream(UpstreamError::Body(BodyFault::Aborted))
        )
    }

    /// Whether the request's target is not to be recorded, since it holds a credential.
    pub(super) fn hides_target(&self) -> bool {
        matches!(self, Self::Head(HeadFault::KeyInQuery))
    }

    /// What the caller is told: never more than it may know.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Denied(Denied::ForeignTenant(_) | Denied::UnknownTenant) => {
                "this client may not act for that tenant".into()
            }
            Self::Denied(Denied::Gone(gone)) => gone.text().into(),
            Self::Denied(Denied::NotYet) | Self::Directory { .. } => {
                "the console's companies and users are not known yet".into()
            }
            Self::Denied(Denied::Operation(_) | Denied::Road(_) | Denied::Unmet(_)) => {
                "no rule of this client allows it".into()
            }
            Self::Denied(Denied::Reason(_, fault)) => {
                format!("this needs a reason in the request: {fault}").into()
            }
            Self::Denied(Denied::ReadOnly(_)) => "this tenant, or this token, is read-only".into(),
            Self::Denied(Denied::Moved) => {
                "the tenant acts as another user since this token was issued: log in again".into()
            }
            Self::Denied(Denied::Target(_)) => "this client may not act as that user".into(),
            Self::Denied(Denied::Token) => "log-ins are sent to /api/v3/token".into(),
            Self::Frozen(Stopped(hold)) => match hold.scope {
                Scope::Everything => "the operator of the gateway has stopped all requests",
                Scope::Client(_) => "the operator of the gateway has stopped this client",
                Scope::Tenant(_) => "the operator of the gateway has stopped this tenant",
            }
            .into(),
            Self::Token(error) if error.is_refusal() => {
                "the console refused the log-in for this tenant; the operator has the details"
                    .into()
            }
            Self::Token(TokenError::WrongSubject { .. }) => {
                "the console gave a token of another user; it was not used".into()
            }
            Self::Token(error) if error.is_tls() => TLS_FAILED.into(),
            Self::Token(_) => "no token can be had from the console just now".into(),
            Self::Upstream(UpstreamError::Cut(_)) => {
                "the console closed the connection without an answer".into()
            }
            Self::Upstream(UpstreamError::Invalid(_)) => {
                "the console's answer is not valid HTTP".into()
            }
            Self::Upstream(UpstreamError::Tls(_)) => TLS_FAILED.into(),
            Self::Upstream(UpstreamError::Unreachable(_)) => "the console cannot be reached".into(),
            other => other.to_string().into(),
        }
    }

    /// The rule that refuses it, in the audit record.
    pub fn rule(&self) -> Option<Arc<str>> {
        match self {
            Self::Denied(denied) => denied.rule(),
            _ => None,
        }
    }

    /// What the operator is told, in the audit record.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Denied(denied) => Some(denied.detail()),
            Self::Frozen(Stopped(hold)) => Some(format!("frozen: {hold}")),
            Self::NoTurn(none) => Some(none.to_string()),
            Self::Guessing {
                what: Some(what), ..
            } => Some(format!("{self}: {what}")),
            Self::Directory { .. }
            | Self::Exceeded(_)
            | Self::Guessing { .. }
            | Self::Untraceable(_) => Some(self.to_string()),
            Self::State(error) => Some(error.to_string()),
            Self::Token(error) => Some(error.to_string()),
            Self::Unidentified(Unidentified::Jwt(fault)) => Some(fault.to_string()),
            Self::Unidentified(Unidentified::Token(fault)) => Some(fault.to_string()),
            Self::Unidentified(Unidentified::Unfit(unfit)) => Some(unfit.lack.to_string()),
            Self::Upstream(error) => Some(error.to_string()),
            Self::Wire(fault) => Some(fault.to_string()),
            _ => None,
        }
    }

    /// Seconds after which the caller may try again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Audit(_) | Self::Denied(Denied::NotYet) => Some(1),
            Self::Directory { retry_after }
            | Self::Guessing { retry_after, .. }
            | Self::Unidentified(Unidentified::NoKeys { retry_after }) => {
                Some(whole_seconds(*retry_after))
            }
            Self::Exceeded(exceeded) => Some(whole_seconds(exceeded.retry_after)),
            Self::State(_) | Self::TokenRenewed => Some(1),
            Self::NoTurn(NoTurn::Share(refused)) => Some(whole_seconds(refused.retry_after)),
            Self::NoTurn(NoTurn::Unwell(open)) => Some(whole_seconds(open.retry_after)),
            Self::Token(error) if !error.is_refusal() => Some(error.retry_after().as_secs().max(1)),
            _ => None,
        }
    }

    /// The answer, in the shape that callers of a path understand.
    pub(super) fn answer(&self, shape: Shape) -> Response<AnswerBody> {
        let (code, mut status) = self.code();
        let text = format!("{code}: {}", self.message());
        let (content_type, body) = match shape {
            Shape::OAuth2 { as_vspc } => {
                // Neither OAuth2 nor VSPC has a 401 for a wrong name or password.
                if status == StatusCode::UNAUTHORIZED {
                    status = StatusCode::BAD_REQUEST;
                }
                let error = self.oauth2_error(as_vspc);
                (
                    JSON,
                    json!({"error": error, "error_description": text, "error_uri": null}),
                )
            }
            Shape::Problem => (
                "application/problem+json",
                json!({"type": "about:blank", "title": status.canonical_reason(),
                    "status": status.as_u16(), "detail": text, "code": code}),
            ),
            Shape::Vspc => {
                let kind = match status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "security",
                    StatusCode::SERVICE_UNAVAILABLE => "retryableLogical",
                    StatusCode::TOO_MANY_REQUESTS => "transport",
                    status if status.is_server_error() => "transport",
                    _ => "logical",
                };
                let code = status.as_u16();
                let mut error = json!({"message": text, "type": kind, "code": code});
                if let (429, Some(members)) = (code, error.as_object_mut()) {
                    members.insert("retryAfter".to_owned(), self.retry_after().into());
                }
                (JSON, json!({"errors": [error]}))
            }
        };
        let mut response = Response::new(AnswerBody::full(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(super::GATEWAY_CODE, HeaderValue::from_static(code));
        self.add_hints(headers, status);
        response
    }

    /// OAuth2's word for it; one of those that VSPC has too, where the caller is at fault.
    fn oauth2_error(&self, as_vspc: bool) -> &'static str {
        match self {
            Self::Denied(Denied::Moved) | Self::Unidentified(_) if as_vspc => "invalid_request",
            Self::Denied(Denied::Moved) | Self::Unidentified(_) => "invalid_grant",
            Self::Form(FormFault::Grant | FormFault::NotHere) => "unsupported_grant_type",
            Self::Frozen(_) => "unauthorized_client",
            Self::Exceeded(_) | Self::Guessing { .. } => "temporarily_unavailable",
            other if other.code().1.is_server_error() => "temporarily_unavailable",
            Self::Denied(_) | Self::Source | Self::Unresolved(_) => "unauthorized_client",
            _ => "invalid_request",
        }
    }

    fn add_hints(&self, headers: &mut HeaderMap, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(r#"Basic realm="vspc-gateway""#);
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let served = match self {
                Self::TokenMethod => "POST",
                _ => METHODS,
            };
            headers.insert(ALLOW, HeaderValue::from_static(served));
        }
        let is_doubtful = match self {
            Self::Head(fault) => fault.is_doubtful(),
            Self::Upstream(UpstreamError::Body(_)) | Self::Wire(_) => true,
            _ => false,
        };
        if is_doubtful {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

/// What is told never ends before the time does.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0 || time.is_zero())
}

const JSON: &str = "application/json; charset=utf-8";
const TLS_FAILED: &str = "TLS with the console failed";
