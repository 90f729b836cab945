//! Why a token request is refused, and how that is said.

use http::StatusCode;
use serde_json::json;

use crate::answer::{self, ApiError, Reply};
use crate::settings::{DeadRefresh, PasswordRefusal, Switches};
use crate::tokens::Dead;

/// Why a token request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    Dead(Dead),
    /// The password, code or key is wrong, or may not be used.
    Login(&'static str),
    OAuth(&'static str, String),
}

impl Refusal {
    pub(super) fn invalid(description: impl Into<String>) -> Self {
        Self::OAuth("invalid_request", description.into())
    }

    /// Tells whether a refresh token was sent again after its successor had gone out.
    pub(crate) fn is_reuse(&self) -> bool {
        matches!(self, Self::Dead(Dead::Spent))
    }

    pub(crate) fn into_reply(self, switches: &Switches) -> Reply {
        let (error, description) = match self {
            Self::OAuth(error, description) => (error, description),
            Self::Login(description) => {
                let error = match switches.password_refusal {
                    PasswordRefusal::InvalidGrant => "invalid_grant",
                    PasswordRefusal::InvalidRequest => "invalid_request",
                };
                (error, description.to_owned())
            }
            Self::Dead(dead) => {
                let error = match switches.dead_refresh {
                    DeadRefresh::InvalidGrant => "invalid_grant",
                    DeadRefresh::InvalidRequest => "invalid_request",
                    DeadRefresh::Unauthorized => {
                        let message = "The refresh token is not valid.";
                        return ApiError::unauthorized(message).into_reply();
                    }
                };
                (error, dead_description(dead).to_owned())
            }
        };
        let body = json!({
            "error": error,
            "error_description": description,
            "error_uri": null,
        });
        answer::json(StatusCode::BAD_REQUEST, &body)
    }
}

fn dead_description(dead: Dead) -> &'static str {
    match dead {
        Dead::Expired => "The refresh token has expired.",
        Dead::NotRefresh => "The token is not a refresh token.",
        Dead::Revoked => "The refresh token was revoked.",
        Dead::Spent => "The refresh token was used before.",
        Dead::Unknown => "The refresh token is unknown.",
    }
}
