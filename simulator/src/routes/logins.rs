//! The identities of users: `/users/logins` and what belongs to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::users::{editable, visible};
use super::{Call, patch};
use crate::activity::Kind;
use crate::answer::{self, ApiError, Reply};
use crate::challenges::Fit;
use crate::rsa_key::RsaKey;
use crate::totp::Device;
use crate::world::{Login, NewLogin, Provider, Scope, World};
use crate::{clock, page, random, rsa_key, totp};

/// The longest description, in characters.
const DESCRIPTION: usize = 128;

pub(super) fn all(call: &Call<'_>) -> Result<Reply, ApiError> {
    let own = (!call.viewer.role.is_portal()).then_some(call.viewer.organization);
    let world = call.shared.world.read();
    let logins = world
        .users_of(own)
        .filter(|user| call.viewer.sees_logins_of(user))
        .flat_map(|user| world.logins_of(user.account.uid));
    page::answer(logins, |login| listed(&world, login), &call.query)
}

pub(super) fn of_user(call: &Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let world = call.shared.world.read();
    seen(call, &world, uid)?;
    page::answer(
        world.logins_of(uid),
        |login| listed(&world, login),
        &call.query,
    )
}

pub(super) fn keys(call: &Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let world = call.shared.world.read();
    if !call.viewer.sees(uid) || world.organization(uid).is_none() {
        return Err(ApiError::not_found("The organization"));
    }
    let keys = world
        .users_of(Some(uid))
        .filter(|user| call.viewer.sees_logins_of(user))
        .flat_map(|user| world.logins_of(user.account.uid))
        .filter(|login| matches!(login.provider, Provider::ApiKey | Provider::KeyPair));
    page::answer(keys, |login| listed(&world, login), &call.query)
}

pub(super) fn one(call: &Call<'_>) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let login = find(call, &world)?;
    Ok(answer::data(&listed(&world, login)))
}

/// Returns an identity as it is shown after it was made; the secret of an API key is not in it.
fn listed(world: &World, login: &Login) -> Value {
    world.login_json(login, &login.parameters)
}

fn seen(call: &Call<'_>, world: &World, uid: uuid::Uuid) -> Result<(), ApiError> {
    let user = visible(call, world, uid)?;
    if call.viewer.sees_logins_of(user) {
        Ok(())
    } else {
        Err(ApiError::not_found("The user"))
    }
}

fn find<'w>(call: &Call<'_>, world: &'w World) -> Result<&'w Login, ApiError> {
    let (uid, id) = (call.uid()?, call.login()?);
    seen(call, world, uid)?;
    world
        .login(id)
        .filter(|login| login.user == uid)
        .ok_or_else(|| ApiError::not_found("The user identity"))
}

pub(super) async fn patch(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let (uid, id) = (call.uid()?, call.login()?);
    let changes = patch::read(call).await?;
    let mut world = call.shared.world.write();
    find(call, &world)?;
    editable(call, &world, uid)?;
    let login = world
        .login_mut(id)
        .ok_or_else(|| ApiError::not_found("The user identity"))?;
    for change in &changes {
        let done = match change.path().as_str() {
            "status" => change
                .choice("enabled", "disabled")
                .map(|state| login.enabled = state),
            "description" => change.nullable().map(|text| login.description = text),
            _ => None,
        };
        done.ok_or_else(|| change.refused())?;
    }
    call.shared.tokens.enable_api_key(id, login.enabled);
    let login = find(call, &world)?;
    Ok(answer::data(&listed(&world, login)))
}

pub(super) fn delete(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (uid, id) = (call.uid()?, call.login()?);
    let mut world = call.shared.world.write();
    find(call, &world)?;
    let user = editable(call, &world, uid)?;
    let organization = user.account.organization;
    let what = format!("An identity of {} was removed", user.account.user_name);
    world.remove_login(id);
    call.note(Kind::UserLoginTypeRemoved, Some(organization), &what);
    call.shared.tokens.enable_api_key(id, false);
    Ok(answer::data(&Value::Bool(true)))
}

/// Adds an API key; its secret is in this one answer and nowhere else.
pub(super) fn add_api_key(call: &Call<'_>) -> Result<Reply, ApiError> {
    let new = asked(call, Provider::ApiKey)?;
    let secret = random::api_key();
    let (user, read_only) = (new.user, new.read_only);
    let rest = new.scopes.contains(&Scope::Rest);
    let mut world = call.shared.world.write();
    let id = world.add_login(new);
    call.shared
        .tokens
        .add_api_key(&secret, user, id, read_only, rest);
    created(call, &world, id, &secret)
}

pub(super) async fn add_public_key(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let new = asked(call, Provider::KeyPair)?;
    let encoded = call.has_type("application/binary+base64");
    if !encoded && !call.has_type("application/octet-stream") {
        return Err(ApiError::media_type());
    }
    let body = call.body.whole().await?;
    let wrong = || ApiError::property("body", "The public key cannot be read.");
    let body = match encoded {
        true => BASE64.decode(body.trim_ascii()).map_err(|_| wrong())?,
        false => body.to_vec(),
    };
    let key = String::from_utf8(body).map_err(|_| wrong())?;
    RsaKey::from_xml(&key).ok_or_else(wrong)?;
    let mut world = call.shared.world.write();
    let id = world.add_login(NewLogin {
        identifier: Some(rsa_key::identifier(&key)),
        parameters: key.clone(),
        ..new
    });
    created(call, &world, id, &key)
}

/// Adds a TOTP device, once a code shows that the user has it.
pub(super) fn add_totp(call: &Call<'_>) -> Result<Reply, ApiError> {
    let new = asked(call, Provider::Totp)?;
    let wrong = |name| ApiError::parameter(name, "The value is missing or cannot be read.");
    let code = call.query.one("code").filter(|code| totp::is_code(code));
    let code = code.ok_or_else(|| wrong("code"))?;
    let secret = call.query.one("secretUrl").and_then(Device::read);
    let device = secret.ok_or_else(|| wrong("secretUrl"))?;
    let now = u64::try_from(clock::unix_now()).unwrap_or(0);
    let step = device
        .step_of(code, now)
        .ok_or_else(|| ApiError::parameter("code", "The code does not fit the secret."))?;
    let mut world = call.shared.world.write();
    let login = world.add_login(NewLogin {
        device: Some(device),
        ..new
    });
    call.shared.challenges.use_code(Fit { login, step });
    created(call, &world, login, "")
}

fn created(call: &Call<'_>, world: &World, id: u64, parameters: &str) -> Result<Reply, ApiError> {
    let login = world
        .login(id)
        .ok_or_else(|| ApiError::not_found("The user identity"))?;
    if let Some(user) = world.user(login.user) {
        let what = format!("An identity of {} was made", user.account.user_name);
        let organization = Some(user.account.organization);
        call.note(Kind::UserLoginTypeCreated, organization, &what);
    }
    Ok(answer::data(&world.login_json(login, parameters)))
}

/// Reads the parameters that all new identities have.
fn asked(call: &Call<'_>, provider: Provider) -> Result<NewLogin, ApiError> {
    let user = call.uid()?;
    editable(call, &call.shared.world.read(), user)?;
    let lenient = call.shared.switches.lenient_logins;
    let description = match call.query.one("description") {
        None if lenient => None,
        None => return Err(ApiError::parameter("description", "The value is missing.")),
        Some(text) => Some(described(text)?),
    };
    let scopes = scopes(call)?;
    if scopes.is_empty() && !lenient {
        return Err(ApiError::parameter("scopes", "The value is missing."));
    }
    Ok(NewLogin {
        user,
        provider,
        description,
        read_only: call.query.truth("isReadAccessOnly", false)?,
        scopes: if scopes.is_empty() {
            Scope::ALL.to_vec()
        } else {
            scopes
        },
        parameters: String::new(),
        device: None,
        identifier: None,
    })
}

fn described(text: &str) -> Result<String, ApiError> {
    let length = text.chars().count();
    if (1..=DESCRIPTION).contains(&length) && !text.contains(['<', '>', '=']) {
        Ok(text.to_owned())
    } else {
        Err(ApiError::parameter(
            "description",
            "The value does not fit the pattern.",
        ))
    }
}

/// Reads the scopes: the parameter repeated, or once with a JSON list.
fn scopes(call: &Call<'_>) -> Result<Vec<Scope>, ApiError> {
    let mut scopes = Vec::new();
    for value in call.query.all("scopes") {
        let names: Vec<String> = match serde_json::from_str(value) {
            Ok(names) => names,
            Err(_) => vec![value.to_owned()],
        };
        for name in names {
            let scope = Scope::named(&name)
                .ok_or_else(|| ApiError::parameter("scopes", "The scope is not known."))?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
    }
    Ok(scopes)
}
