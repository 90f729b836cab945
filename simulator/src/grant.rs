//! `POST /api/v3/token`: the console's six grants and its answers.

pub(crate) mod form;
mod login;
mod refusal;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use uuid::Uuid;

use self::form::{Form, FormError};
pub(crate) use self::refusal::Refusal;
use crate::Shared;
use crate::activity::Kind;
use crate::answer::{self, Reply};
use crate::bearer;
use crate::settings::ActivityImpersonation;
use crate::tokens::{Dead, Holder, Pair, Session};
use crate::world::{Scope, World};

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
        Grant::AuthorizationCode => shared.challenges.user(form.field("code")?),
        Grant::Mfa => shared.challenges.user(form.field("mfa_token")?),
        Grant::PublicKey => login::key_user(shared, form),
        Grant::Missing | Grant::Other => None,
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
    let granted = match asked.grant {
        Grant::Password => login::password(shared, form, read_only)?,
        Grant::Mfa => login::mfa(shared, form, read_only)?,
        Grant::PublicKey => login::public_key(shared, form, read_only)?,
        Grant::AuthorizationCode => login::authorization_code(shared, form, read_only)?,
        Grant::RefreshToken => renew(shared, form, read_only)?,
        Grant::As => impersonate(shared, headers, form, read_only)?,
        Grant::Missing => return Err(Refusal::invalid("grant_type is missing")),
        Grant::Other => {
            let description = "The grant type is not supported.".to_owned();
            return Err(Refusal::OAuth("unsupported_grant_type", description));
        }
    };
    Ok(granted.into_reply())
}

/// What a token request leads to.
enum Granted {
    /// The challenge of a key-pair login, encrypted.
    Challenge(String),
    /// The token with which a code is asked for.
    Code(String),
    Tokens(Pair),
}

impl Granted {
    fn into_reply(self) -> Reply {
        let mut body = json!({
            "access_token": null,
            "token_type": null,
            "refresh_token": null,
            "mfa_token": null,
            "encrypted_code": null,
            "expires_in": 0,
        });
        let members = match self {
            Self::Challenge(code) => vec![("encrypted_code", code.into())],
            Self::Code(token) => vec![("mfa_token", token.into())],
            Self::Tokens(pair) => vec![
                ("access_token", pair.access.into()),
                ("token_type", "bearer".into()),
                ("refresh_token", pair.refresh.into()),
                ("expires_in", pair.expires_in.into()),
            ],
        };
        if let Some(body) = body.as_object_mut() {
            body.extend(
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
        let mut reply = answer::json(StatusCode::OK, &body);
        reply
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    form.field(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("{name} is missing")))
}

fn renew(shared: &Shared, form: &Form, read_only: bool) -> Result<Granted, Refusal> {
    let sent = required(form, "refresh_token")?;
    let session = shared.tokens.session(sent).map_err(Refusal::Dead)?;
    let holder = alive(&shared.world.read(), &session)?;
    let session = shared.tokens.spend(sent).map_err(Refusal::Dead)?;
    let read_only = read_only || session.read_only;
    let pair = shared.tokens.renew(&holder, &session, read_only, sent);
    if shared.switches.activity_refreshes {
        let world = shared.world.read();
        let organization = world.user(holder.uid).map(|user| user.account.organization);
        let message = format!("{} logged in.", holder.name);
        let kind = Kind::LoginSuccessful;
        shared
            .activities
            .note(kind, Some(holder.uid), organization, message);
    }
    Ok(Granted::Tokens(pair))
}

fn impersonate(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form,
    read_only: bool,
) -> Result<Granted, Refusal> {
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
    let pair = shared
        .tokens
        .impersonate(&holder, &session, read_only, sent);
    Ok(Granted::Tokens(pair))
}

/// Returns the target as a token names it, if the session's user may edit it.
fn impersonated(shared: &Shared, session: &Session, target: Uuid) -> Result<Holder, Refusal> {
    let world = shared.world.read();
    let by = alive(&world, session)?;
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
    let switches = &shared.switches;
    if !switches.as_disabled && !world.is_enabled(user) {
        return Err(Refusal::invalid("The user to impersonate is disabled."));
    }
    if !switches.as_mfa && world.devices_of(target).next().is_some() {
        return Err(Refusal::invalid(
            "The user to impersonate logs in with a code as well.",
        ));
    }
    let organization = user.account.organization;
    if !switches.as_rest_disabled && !world.has_rest(organization) {
        return Err(Refusal::invalid(
            "The company of the user to impersonate has no access to the REST API.",
        ));
    }
    let target = match switches.as_confuses {
        false => target,
        true => world.user_beside(target, session.user).unwrap_or(target),
    };
    let login = world.password_login(target);
    let holder = login
        .and_then(|login| holder(&world, login.id))
        .ok_or_else(|| Refusal::invalid("The user has no identity to act as."))?;
    let named = match switches.activity_impersonation {
        ActivityImpersonation::Impersonator => session.user,
        ActivityImpersonation::Target => holder.uid,
    };
    shared.activities.note(
        Kind::UserImpersonationSuccessful,
        Some(named),
        Some(organization),
        format!("{} acts as {}.", by.name, holder.name),
    );
    Ok(holder)
}

/// Returns the one whose session it is, as a token names it, if it could still log in as it did.
fn alive(world: &World, session: &Session) -> Result<Holder, Refusal> {
    world
        .user(session.user)
        .filter(|user| world.may_log_in(user))
        .and_then(|_| holder(world, session.login))
        .ok_or(Refusal::Dead(Dead::Revoked))
}

/// Returns the user of an enabled identity as a token names it.
fn holder(world: &World, login: u64) -> Option<Holder> {
    let login = world.login(login).filter(|login| login.enabled)?;
    let user = world.user(login.user)?;
    Some(Holder {
        uid: login.user,
        name: user.account.user_name.clone(),
        number: user.number,
        login: login.id,
        read_only: login.read_only,
        rest: login.scopes.contains(&Scope::Rest),
    })
}
