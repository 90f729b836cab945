//! The codes and statuses of refusals, where they hang on more than their kind.

use http::StatusCode;

use crate::client::Unidentified;
use crate::client::jwt::JwtFault;
use crate::request::HeadFault;
use crate::tenant::Gone;
use crate::upstream::{BodyFault, UpstreamError};
use crate::wire::What;

pub(super) fn caller_code(who: &Unidentified) -> (&'static str, StatusCode) {
    match who {
        Unidentified::Conflicting | Unidentified::Jwt(JwtFault::SeveralClients) => {
            ("conflicting_credentials", StatusCode::UNAUTHORIZED)
        }
        Unidentified::Bad | Unidentified::Jwt(_) | Unidentified::Token(_) => BAD_CREDENTIALS,
        Unidentified::Missing => NO_CREDENTIALS,
        Unidentified::NoKeys { .. } => ("issuer_unavailable", StatusCode::SERVICE_UNAVAILABLE),
        Unidentified::Unfit(unfit) if unfit.is_missing() => NO_CREDENTIALS,
        Unidentified::Unfit(_) => BAD_CREDENTIALS,
    }
}

/// The same code as in records and metrics.
pub(super) fn gone_code(gone: Gone) -> (&'static str, StatusCode) {
    match gone {
        Gone::CompanyAmbiguous => ("company_ambiguous", StatusCode::BAD_GATEWAY),
        Gone::CompanyDisabled => ("company_disabled", StatusCode::BAD_GATEWAY),
        Gone::CompanyMissing => ("company_missing", StatusCode::BAD_GATEWAY),
        Gone::RestAccessOff => ("rest_access_off", StatusCode::BAD_GATEWAY),
        Gone::UserDisabled => ("user_disabled", StatusCode::BAD_GATEWAY),
        Gone::UserMissing => ("user_missing", StatusCode::BAD_GATEWAY),
    }
}

pub(super) fn head_code(fault: HeadFault) -> (&'static str, StatusCode) {
    match fault {
        HeadFault::AmbiguousPath => ("ambiguous_path", StatusCode::BAD_REQUEST),
        HeadFault::BodyTooLarge => BODY_TOO_LARGE,
        HeadFault::Expectation => ("expectation_failed", StatusCode::EXPECTATION_FAILED),
        HeadFault::Blank | HeadFault::Host | HeadFault::Length | HeadFault::Unannounced => {
            ("bad_request", StatusCode::BAD_REQUEST)
        }
        HeadFault::HeadTooLarge => HEAD_TOO_LARGE,
        HeadFault::KeyInQuery => ("key_in_query", StatusCode::BAD_REQUEST),
        HeadFault::Method => METHOD_REFUSED,
        HeadFault::Target => BAD_TARGET,
        HeadFault::TargetTooLong => TARGET_TOO_LONG,
        HeadFault::WrongHost => ("wrong_host", StatusCode::MISDIRECTED_REQUEST),
    }
}

pub(super) fn wire_code(what: What) -> (&'static str, StatusCode) {
    match what {
        What::BodyTooLarge => BODY_TOO_LARGE,
        What::HeadTooLarge => HEAD_TOO_LARGE,
        What::Method => METHOD_REFUSED,
        What::Slow => REQUEST_TIMEOUT,
        What::Target => BAD_TARGET,
        What::TargetTooLong => TARGET_TOO_LONG,
        What::ChunkData
        | What::ChunkExtension
        | What::ChunkExtensions
        | What::ChunkSize
        | What::Coding
        | What::CodingInOld
        | What::Doubtful
        | What::Folded
        | What::Interims
        | What::Length
        | What::LengthAndCoding
        | What::Lengths
        | What::LineEnd
        | What::Name
        | What::RequestLine
        | What::StatusLine
        | What::Switched
        | What::Value
        | What::Version => ("bad_request", StatusCode::BAD_REQUEST),
    }
}

pub(super) fn upstream_code(error: &UpstreamError) -> (&'static str, StatusCode) {
    match error {
        UpstreamError::Body(BodyFault::TooLarge) => BODY_TOO_LARGE,
        UpstreamError::Body(BodyFault::Aborted | BodyFault::Malformed | BodyFault::Superseded) => {
            ("bad_request", StatusCode::BAD_REQUEST)
        }
        UpstreamError::Body(BodyFault::Stalled) => REQUEST_TIMEOUT,
        UpstreamError::Cut(_) | UpstreamError::Unreachable(_) => {
            ("upstream_unreachable", StatusCode::BAD_GATEWAY)
        }
        UpstreamError::Invalid(_) => ("upstream_invalid", StatusCode::BAD_GATEWAY),
        UpstreamError::Unsendable(fault) => wire_code(fault.what),
        UpstreamError::Timeout => ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT),
        UpstreamError::Tls(_) => ("upstream_tls", StatusCode::BAD_GATEWAY),
    }
}

pub(super) const BAD_TARGET: (&str, StatusCode) = ("bad_target", StatusCode::BAD_REQUEST);
pub(super) const BODY_TOO_LARGE: (&str, StatusCode) =
    ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE);
pub(super) const BAD_CREDENTIALS: (&str, StatusCode) =
    ("bad_credentials", StatusCode::UNAUTHORIZED);
pub(super) const CONCURRENCY_LIMITED: (&str, StatusCode) =
    ("concurrency_limited", StatusCode::TOO_MANY_REQUESTS);
pub(super) const DIRECTORY_UNAVAILABLE: (&str, StatusCode) =
    ("directory_unavailable", StatusCode::SERVICE_UNAVAILABLE);
pub(super) const HEAD_TOO_LARGE: (&str, StatusCode) = (
    "head_too_large",
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
);
pub(super) const METHOD_REFUSED: (&str, StatusCode) =
    ("method_refused", StatusCode::METHOD_NOT_ALLOWED);
pub(super) const RATE_LIMITED: (&str, StatusCode) = ("rate_limited", StatusCode::TOO_MANY_REQUESTS);
pub(super) const NO_CREDENTIALS: (&str, StatusCode) = ("no_credentials", StatusCode::UNAUTHORIZED);
pub(super) const REQUEST_TIMEOUT: (&str, StatusCode) =
    ("request_timeout", StatusCode::REQUEST_TIMEOUT);
pub(super) const TARGET_TOO_LONG: (&str, StatusCode) =
    ("target_too_long", StatusCode::URI_TOO_LONG);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_refusals_of_a_tenant_have_one_code() {
        for gone in Gone::ALL {
            assert_eq!(gone_code(gone).0, gone.code());
        }
    }
}
