//! What went wrong on the way to a console, told apart by type.

use std::error::Error;

use super::BodyFault;
use super::connect::NoConnection;

/// Why there is no answer from a console.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The caller's own body ended early or grew too large.
    #[error("the request body failed: {0}")]
    Body(#[source] BodyFault),
    /// The connection ended after the request was sent and before an answer came.
    #[error("the console closed the connection without an answer: {0}")]
    Cut(String),
    /// The console answered something that is not HTTP, or not the HTTP that was asked for.
    #[error("the console's answer is not valid HTTP: {0}")]
    Invalid(String),
    /// No answer within the time allowed.
    #[error("the console did not answer in time")]
    Timeout,
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("TLS with the console failed: {0}")]
    Tls(String),
    /// The request has too many header lines, or could be read in two ways; it was not sent.
    #[error("the request cannot be sent on: {0}")]
    Unsendable(crate::wire::Fault),
    /// No connection could be made.
    #[error("the console cannot be reached: {0}")]
    Unreachable(String),
}

impl From<hyper_util::client::legacy::Error> for UpstreamError {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        if error.is_connect() && fault_of(&error).is_none() {
            let made = find::<NoConnection>(&error).map(|none| none.is_tls);
            return Self::no_connection(made.unwrap_or_else(|| is_tls(&error)), &error);
        }
        Self::of(&error)
    }
}

impl From<hyper::Error> for UpstreamError {
    fn from(error: hyper::Error) -> Self {
        Self::of(&error)
    }
}

impl From<NoConnection> for UpstreamError {
    fn from(error: NoConnection) -> Self {
        Self::no_connection(error.is_tls, &error)
    }
}

impl UpstreamError {
    fn no_connection(is_tls: bool, error: &(dyn Error + 'static)) -> Self {
        let text = innermost(error);
        if is_tls {
            Self::Tls(text)
        } else {
            Self::Unreachable(text)
        }
    }

    /// Of a connection that was made.
    fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(fault) = fault_of(error) {
            return fault;
        }
        let text = innermost(error);
        match find::<hyper::Error>(error) {
            Some(hyper) if hyper.is_parse() || hyper.is_parse_too_large() => Self::Invalid(text),
            Some(hyper) if hyper.is_timeout() => Self::Timeout,
            _ => Self::Cut(text),
        }
    }
}

/// What of a request or an answer is at fault, if that is why the connection ended.
fn fault_of(error: &(dyn Error + 'static)) -> Option<UpstreamError> {
    let body = find::<BodyFault>(error).map(|fault| UpstreamError::Body(*fault));
    body.or_else(|| super::answers::fault_of(error))
}

/// The first error of a type in the chain of causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}

/// Whether an error is one of TLS.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    find::<rustls::Error>(error).is_some() || wraps_rustls(error)
}

/// rustls errors arrive inside `io::Error`s, whose `source` skips what they wrap.
fn wraps_rustls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(inner) = current
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
            && (inner.downcast_ref::<rustls::Error>().is_some() || wraps_rustls(inner))
        {
            return true;
        }
        next = current.source();
    }
    false
}

/// The text of the last cause: the outer ones only say that something failed.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
