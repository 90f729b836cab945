//! `POST /api/v3/token`: the grants `password`, `refresh_token` and `as`, with the console's answers.

pub(crate) mod form;

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use uuid::Uuid;

use self::form::{Form, FormError};
use crate::Shared;
use crate::answer::{self, ApiError, Reply};
use crate::bearer;
use crate::settings::DeadRefresh;
use crate::tokens::{Dead, Holder, Pair, Session};
use crate::world::World;

/// The grants of the console, under the names that counters and faults use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Ord, PartialOrd)]
pub(crate) enum Grant {
    As,
    AuthorizationCode,
    Mfa,
    Missing,
    Other,
    Password,
    PublicKey,
    RefreshToken,
}

impl Grant {
    fn of(form: &Form) -> Self {
        match form.field("grant_type") {
            None | Some("") => Self::Missing,
            Some("as") => Self::As,
            Some("authorization_code") => Self::AuthorizationCode,
            Some("mfa") => Self::Mfa,
            Some("password") => Self::Password,
            Some("public_key") => Self::PublicKey,
            Some("refresh_token") => Self::RefreshToken,
            Some(_) => Self::Other,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::AuthorizationCode => "authorization_code",
            Self::Mfa => "mfa",
            Self::Missing => "missing",
            Self::Other => "other",
            Self::Password => "password",
            Self::PublicKey => "public_key",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// A token request that has been read but not judged.
pub(crate) struct Asked {
    pub(crate) grant: Grant,
    /// The user the token would be for, as far as the form tells.
    pub(crate) subject: Option<Uuid>,
    form: Result<Form, FormError>,
}

impl Asked {
    pub(crate) fn read(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Self {
        let form = Form::read(headers, body, shared.switches.multipart);
        let grant = form.as_ref().map_or(Grant::Missing, Grant::of);
        let subject = form
            .as_ref()
            .ok()
            .and_then(|form| subject(shared, grant, form));
        Self {
            grant,
            subject,
            form,
        }
    }
}

fn subject(shared: &Shared, grant: Grant, form: &Form) -> Option<Uuid> {
    match grant {
        Grant::As => form.field("userUid")?.parse().ok(),
        Grant::Password => {
            let world = shared.world.read();
            Some(world.user_named(form.field("username")?)?.account.uid)
        }
        Grant::RefreshToken => Some(
            shared
                .tokens
                .session(form.field("refresh_token")?)
                .ok()?
                .user,
        ),
        Grant::AuthorizationCode
        | Grant::Mfa
        | Grant::Missing
        | Grant::Other
        | Grant::PublicKey => None,
    }
}

/// Why a token request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    Dead(Dead),
    OAuth(&'static str, String),
}

impl Refusal {
    fn invalid(description: impl Into<String>) -> Self {
        Self::OAuth("invalid_request", description.into())
    }

    /// Tells whether a refresh token was sent again after its successor had gone out.
    pub(crate) fn is_reuse(&self) -> bool {
        matches!(self, Self::Dead(Dead::Spent))
    }

    pub(crate) fn into_reply(self, switch: DeadRefresh) -> Reply {
        let (error, description) = match self {
            Self::OAuth(error, description) => (error, description),
            Self::Dead(_) if switch == DeadRefresh::Unauthorized => {
                return ApiError::unauthorized("The refresh token is not valid.").into_reply();
            }
            Self::Dead(dead) => {
                let error = match switch {
                    DeadRefresh::InvalidGrant => "invalid_grant",
                    DeadRefresh::InvalidRequest | DeadRefresh::Unauthorized => "invalid_request",
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

/// Carries a token request out.
pub(crate) fn carry_out(
    shared: &Shared,
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<Reply, Refusal> {
    let form = match &asked.form {
        Ok(form) => form,
        Err(error) => return Err(Refusal::invalid(error.to_string())),
    };
    let read_only = match form.field("readOnly") {
        None => false,
        Some(text) if text.is_empty() || text.eq_ignore_ascii_case("false") => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(_) => return Err(Refusal::invalid("readOnly must be true or false")),
    };
    let pair = match asked.grant {
        Grant::Password => password(shared, form, read_only)?,
        Grant::RefreshToken => renew(shared, form, read_only)?,
        Grant::As => impersonate(shared, headers, form, read_only)?,
        Grant::Missing => return Err(Refusal::invalid("grant_type is missing")),
        Grant::AuthorizationCode | Grant::Mfa | Grant::Other | Grant::PublicKey => {
            let description = "The grant type is not supported.".to_owned();
            return Err(Refusal::OAuth("unsupported_grant_type", description));
        }
    };
    Ok(issued(&pair))
}

fn issued(pair: &Pair) -> Reply {
    let body = json!({
        "access_token": pair.access,
        "token_type": "bearer",
        "refresh_token": pair.refresh,
        "mfa_token": null,
        "encrypted_code": null,
        "expires_in": pair.expires_in,
    });
    let mut reply = answer::json(StatusCode::OK, &body);
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    form.field(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("{name} is missing")))
}

fn password(shared: &Shared, form: &Form, read_only: bool) -> Result<Pair, Refusal> {
    let name = required(form, "username")?;
    let password = required(form, "password")?;
    let holder = {
        let world = shared.world.read();
        world
            .user_named(name)
            .filter(|user| user.account.password == password && world.is_enabled(user))
            .and_then(|user| holder(&world, user.account.uid))
    };
    let wrong = "Login failed: the user name or password is wrong, or the user has no access.";
    let holder = holder.ok_or_else(|| Refusal::invalid(wrong))?;
    Ok(shared.tokens.open(&holder, read_only))
}

fn renew(shared: &Shared, form: &Form, read_only: bool) -> Result<Pair, Refusal> {
    let sent = required(form, "refresh_token")?;
    let session = shared.tokens.session(sent).map_err(Refusal::Dead)?;
    let holder = session_holder(shared, &session)?;
    let session = shared.tokens.spend(sent).map_err(Refusal::Dead)?;
    let read_only = read_only || session.read_only;
    Ok(shared.tokens.renew(&holder, &session, read_only, sent))
}

fn impersonate(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form,
    read_only: bool,
) -> Result<Pair, Refusal> {
    let sent = required(form, "refresh_token")?;
    let target = required(form, "userUid")?;
    let target: Uuid = target
        .parse()
        .map_err(|_| Refusal::invalid("userUid is not a UUID"))?;
    let session = shared.tokens.session(sent).map_err(Refusal::Dead)?;
    if shared.switches.as_requires_bearer {
        let caller = bearer::caller(shared, headers).ok();
        if caller.is_none_or(|caller| caller.viewer.uid != session.user) {
            let description = "The access token of the impersonating user is needed.".to_owned();
            return Err(Refusal::OAuth("invalid_client", description));
        }
    }
    let holder = impersonated(shared, &session, target)?;
    let read_only = read_only || session.read_only;
    Ok(shared
        .tokens
        .impersonate(&holder, &session, read_only, sent))
}

/// Returns the target as a token names it, if the session's user may edit it.
fn impersonated(shared: &Shared, session: &Session, target: Uuid) -> Result<Holder, Refusal> {
    let world = shared.world.read();
    let viewer = world
        .viewer(session.user, false)
        .ok_or(Refusal::Dead(Dead::Revoked))?;
    let not_allowed = |text: &str| Refusal::OAuth("unauthorized_client", text.to_owned());
    if !viewer.role.may_impersonate() {
        return Err(not_allowed(
            "The role of the user does not allow impersonation.",
        ));
    }
    let user = world
        .user(target)
        .filter(|user| viewer.sees(user.account.organization))
        .ok_or_else(|| Refusal::invalid("The user to impersonate is not found."))?;
    if !viewer.may_edit(user) {
        return Err(not_allowed(
            "The user to impersonate may not be edited by this user.",
        ));
    }
    if !shared.switches.as_disabled && !world.is_enabled(user) {
        return Err(Refusal::invalid("The user to impersonate is disabled."));
    }
    holder(&world, target).ok_or_else(|| Refusal::invalid("The user has no identity to act as."))
}

fn session_holder(shared: &Shared, session: &Arc<Session>) -> Result<Holder, Refusal> {
    let world = shared.world.read();
    world
        .user(session.user)
        .filter(|user| world.is_enabled(user))
        .and_then(|user| holder(&world, user.account.uid))
        .ok_or(Refusal::Dead(Dead::Revoked))
}

fn holder(world: &World, uid: Uuid) -> Option<Holder> {
    let user = world.user(uid)?;
    Some(Holder {
        uid,
        name: user.account.user_name.clone(),
        number: user.number,
        login: world.password_login(uid)?.id,
    })
}
