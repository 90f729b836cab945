//! The shapes of refusals.

use crate::request::CanonicalPath;

/// In which shape a refusal is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Shape {
    /// OAuth2 error JSON, for `/token`.
    OAuth2 {
        /// Whether a wrong name or key is refused in VSPC's words.
        as_vspc: bool,
    },
    /// RFC 9457 problem JSON, outside the API.
    Problem,
    /// VSPC's own `errors[]`, so that the tools' error handling works.
    Vspc,
}

impl Shape {
    /// The shape that callers of a raw path understand, however badly it is spelled.
    pub(in super::super) fn of(raw: &str, as_vspc: bool) -> Self {
        match CanonicalPath::parse(raw) {
            Ok(path) if path.as_str() == "/api/v3/token" => Self::OAuth2 { as_vspc },
            Ok(path) if path.as_str().starts_with("/api/v3") => Self::Vspc,
            Ok(_) => Self::Problem,
            Err(_)
                if raw
                    .get(..7)
                    .is_some_and(|p| p.eq_ignore_ascii_case("/api/v3")) =>
            {
                Self::Vspc
            }
            Err(_) => Self::Problem,
        }
    }
}
