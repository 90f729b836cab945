//! The grants that open a session: a password, a password with a code, a key pair.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::Instant;
use uuid::Uuid;

use super::form::Form;
use super::{Granted, Refusal, holder, required};
use crate::activity::Kind;
use crate::challenges::{Fit, Unmet, Waiting};
use crate::rsa_key::RsaKey;
use crate::settings::PublicKeyForm;
use crate::world::{Login, User, World};
use crate::{Shared, clock};

const WRONG: &str = "Login failed: the user name or password is wrong, or the user has no access.";
const WRONG_CODE: &str = "Login failed: the code is wrong.";
const NO_KEY: &str = "Login failed: the public key is not registered, or its user has no access.";
const NO_CHALLENGE: &str = "Login failed: the challenge is unknown or over.";
const NO_ACCESS: &str = "Login failed: the user has no access.";

/// Lets a user in by its name and password, or asks for a code as well.
pub(super) fn password(shared: &Shared, form: &Form, read_only: bool) -> Result<Granted, Refusal> {
    let name = required(form, "username")?;
    let password = required(form, "password")?;
    let world = shared.world.read();
    let user = world.user_named(name);
    let login = user
        .filter(|user| user.account.password == password && world.may_log_in(user))
        .and_then(|user| world.password_login(user.account.uid));
    let Some(login) = login else {
        return Err(failed(shared, user, name, WRONG));
    };
    let waiting = waiting(login, read_only);
    if world.devices_of(login.user).next().is_some() {
        let token = shared.challenges.ask_for_code(waiting, Instant::now());
        return Ok(Granted::Code(token));
    }
    enter(shared, &world, waiting)
}

/// Lets a user in by the code of a TOTP device, after its password.
pub(super) fn mfa(shared: &Shared, form: &Form, read_only: bool) -> Result<Granted, Refusal> {
    let token = required(form, "mfa_token")?;
    let code = required(form, "mfa_code")?;
    let now = u64::try_from(clock::unix_now()).unwrap_or(0);
    let world = shared.world.read();
    let user = shared.challenges.user(token);
    let met = shared
        .challenges
        .meet_with_code(token, Instant::now(), |waiting| {
            world
                .devices_of(waiting.user)
                .filter_map(|(login, device)| {
                    let step = device.step_of(code, now)?;
                    Some(Fit { login, step })
                })
                .collect()
        });
    met_or_refused(shared, &world, met, user, read_only)
}

/// Challenges the holder of a registered key.
pub(super) fn public_key(
    shared: &Shared,
    form: &Form,
    read_only: bool,
) -> Result<Granted, Refusal> {
    let sent = required(form, "public_key")?;
    let world = shared.world.read();
    let Some((login, key)) = registered(shared, &world, sent) else {
        return Err(failed(shared, None, "an unknown key", NO_KEY));
    };
    let user = world.user(login.user);
    if !user.is_some_and(|user| world.may_log_in(user)) {
        return Err(failed(shared, user, &login.identifier, NO_KEY));
    }
    let waiting = waiting(login, read_only);
    let life = Duration::from_millis(shared.switches.key_challenge_life_ms);
    let now = Instant::now();
    let code = shared.challenges.ask_for_key(waiting, life, now);
    let sealed = key
        .encrypt(code.as_bytes(), shared.switches.challenge_padding)
        .ok_or(Refusal::Login(
            "Login failed: the public key cannot be used.",
        ))?;
    Ok(Granted::Challenge(BASE64.encode(sealed)))
}

/// Lets the holder of a key pair in, who could read the challenge.
pub(super) fn authorization_code(
    shared: &Shared,
    form: &Form,
    read_only: bool,
) -> Result<Granted, Refusal> {
    let code = required(form, "code")?;
    let world = shared.world.read();
    let user = shared.challenges.user(code);
    let met = shared.challenges.meet_with_key(code, Instant::now());
    met_or_refused(shared, &world, met, user, read_only)
}

/// Returns the user that grant `public_key` is about.
pub(super) fn key_user(shared: &Shared, form: &Form) -> Option<Uuid> {
    let world = shared.world.read();
    let (login, _) = registered(shared, &world, form.field("public_key")?)?;
    Some(login.user)
}

/// Finds the enabled identity that a key, as it was sent, is registered for.
fn registered<'w>(shared: &Shared, world: &'w World, sent: &str) -> Option<(&'w Login, RsaKey)> {
    let bytes = BASE64.decode(sent.trim()).ok()?;
    let form = shared.switches.public_key_form;
    let xml = std::str::from_utf8(&bytes).ok().and_then(RsaKey::from_xml);
    let xml = xml.filter(|_| form != PublicKeyForm::Spki);
    world
        .key_pairs()
        .filter(|login| login.enabled)
        .filter_map(|login| Some((login, RsaKey::from_xml(&login.parameters)?)))
        .find(|(_, key)| match &xml {
            Some(sent) => sent == key,
            None => form != PublicKeyForm::Xml && key.spki().as_ref() == Some(&bytes),
        })
}

fn waiting(login: &Login, read_only: bool) -> Waiting {
    Waiting {
        user: login.user,
        login: login.id,
        read_only,
    }
}

fn met_or_refused(
    shared: &Shared,
    world: &World,
    met: Result<Waiting, Unmet>,
    user: Option<Uuid>,
    read_only: bool,
) -> Result<Granted, Refusal> {
    match met {
        Ok(waiting) => {
            let read_only = waiting.read_only || read_only;
            enter(
                shared,
                world,
                Waiting {
                    read_only,
                    ..waiting
                },
            )
        }
        Err(unmet) => {
            let text = match unmet {
                Unmet::Unknown => NO_CHALLENGE,
                Unmet::Used | Unmet::Wrong => WRONG_CODE,
            };
            let user = user.and_then(|uid| world.user(uid));
            Err(failed(shared, user, "an unknown user", text))
        }
    }
}

/// Opens the session of a login that is complete; it is checked anew, for time may have passed.
fn enter(shared: &Shared, world: &World, waiting: Waiting) -> Result<Granted, Refusal> {
    let user = world.user(waiting.user);
    let holder = user
        .filter(|user| world.may_log_in(user))
        .and_then(|_| holder(world, waiting.login));
    let (Some(user), Some(holder)) = (user, holder) else {
        return Err(failed(shared, user, "an unknown user", NO_ACCESS));
    };
    let pair = shared.tokens.open(&holder, waiting.read_only);
    shared.activities.note(
        Kind::LoginSuccessful,
        Some(waiting.user),
        Some(user.account.organization),
        format!("{} logged in.", holder.name),
    );
    Ok(Granted::Tokens(pair))
}

/// Notes a login that failed, and returns its refusal.
fn failed(shared: &Shared, user: Option<&User>, name: &str, text: &'static str) -> Refusal {
    let name = user.map_or(name, |user| user.account.user_name.as_str());
    shared.activities.note(
        Kind::LoginFailed,
        user.map(|user| user.account.uid),
        user.map(|user| user.account.organization),
        format!("{name} could not log in."),
    );
    Refusal::Login(text)
}
