//! What a console gets of a request's headers.

use http::header::{AUTHORIZATION, HeaderMap};

use super::headers::{OwnedHeaders, passed_on};
use crate::request::Lines;
use crate::token::Lease;

/// The headers for a console: the caller's, less what ends at this hop and what the gateway owns in
/// any spelling, and then, set last, exactly one `Authorization`; none where there is no lease.
pub fn inject(from: &Lines<'_>, owned: &OwnedHeaders, lease: Option<&Lease>) -> HeaderMap {
    let mut headers = passed_on(from, owned);
    if let Some(lease) = lease {
        headers.insert(AUTHORIZATION, lease.authorization());
    }
    headers
}
