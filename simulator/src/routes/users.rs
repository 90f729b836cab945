//! Users.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, patch};
use crate::activity::Kind;
use crate::answer::{self, ApiError, ErrorKind, Reply};
use crate::page;
use crate::world::{Account, Role, User, World, account};

const HIDDEN: &str = "The user";

pub(super) fn me(call: &Call<'_>) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let user = world
        .user(call.viewer.uid)
        .ok_or_else(|| ApiError::not_found(HIDDEN))?;
    Ok(answer::data(&world.user_json(user)))
}

pub(super) fn all(call: &Call<'_>) -> Result<Reply, ApiError> {
    may_list(call)?;
    let own = (!call.viewer.role.is_portal()).then_some(call.viewer.organization);
    let world = call.shared.world.read();
    page::answer(
        world.users_of(own),
        |user| world.user_json(user),
        &call.query,
    )
}

pub(super) fn of_organization(call: &Call<'_>) -> Result<Reply, ApiError> {
    may_list(call)?;
    let uid = call.uid()?;
    let world = call.shared.world.read();
    if !call.viewer.sees(uid) || world.organization(uid).is_none() {
        return Err(ApiError::not_found("The organization"));
    }
    page::answer(
        world.users_of(Some(uid)),
        |user| world.user_json(user),
        &call.query,
    )
}

pub(super) fn one(call: &Call<'_>) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let user = visible(call, &world, call.uid()?)?;
    Ok(answer::data(&world.user_json(user)))
}

fn may_list(call: &Call<'_>) -> Result<(), ApiError> {
    if call.viewer.role.may_list_users() {
        Ok(())
    } else {
        Err(ApiError::forbidden(
            "The role does not allow the operation.",
        ))
    }
}

/// Returns a user that the caller can see; the others are hidden, not forbidden.
pub(super) fn visible<'w>(
    call: &Call<'_>,
    world: &'w World,
    uid: Uuid,
) -> Result<&'w User, ApiError> {
    world
        .user(uid)
        .filter(|user| call.viewer.sees(user.account.organization))
        .ok_or_else(|| ApiError::not_found(HIDDEN))
}

/// Returns a user that the caller may change.
pub(super) fn editable<'w>(
    call: &Call<'_>,
    world: &'w World,
    uid: Uuid,
) -> Result<&'w User, ApiError> {
    let user = visible(call, world, uid)?;
    if user.account.uid == call.viewer.uid || call.viewer.may_edit(user) {
        Ok(user)
    } else {
        Err(ApiError::forbidden(
            "The user may not be edited by the caller.",
        ))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    organization_uid: Uuid,
    role: Role,
    #[serde(default)]
    profile: Profile,
    credentials: Credentials,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    user_name: String,
    password: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(..)")
    }
}

pub(super) async fn create(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    if !call.has_type("application/json") {
        return Err(ApiError::media_type());
    }
    let body = call.body.whole().await?;
    let input: Input = serde_json::from_slice(&body)
        .map_err(|error| ApiError::property("user", error.to_string()))?;
    let mut world = call.shared.world.write();
    let organization = input.organization_uid;
    if !call.viewer.sees(organization) || world.organization(organization).is_none() {
        return Err(ApiError::not_found("The organization"));
    }
    if !call.viewer.role.may_edit(input.role) {
        return Err(ApiError::forbidden(
            "A user of the role may not be made by the caller.",
        ));
    }
    let password = input.credentials.password.unwrap_or_default();
    let new: Account = account(
        organization,
        &input.credentials.user_name,
        &password,
        input.role,
    );
    let uid = new.uid;
    if !world.add_user(new) {
        let taken = "A user of the name exists already.";
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            ErrorKind::Logical,
            taken,
        ));
    }
    let user = world
        .user_mut(uid)
        .ok_or_else(|| ApiError::not_found(HIDDEN))?;
    user.first_name = input.profile.first_name;
    user.last_name = input.profile.last_name;
    user.email = input.profile.email;
    let what = format!("The user {} was made", user.account.user_name);
    call.note(Kind::UserRecordCreated, Some(organization), &what);
    let user = visible(call, &world, uid)?;
    Ok(answer::data(&world.user_json(user)))
}

pub(super) async fn patch(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let changes = patch::read(call).await?;
    let mut world = call.shared.world.write();
    editable(call, &world, uid)?;
    let user = world
        .user_mut(uid)
        .ok_or_else(|| ApiError::not_found(HIDDEN))?;
    let enabled = user.account.enabled;
    for change in &changes {
        apply(user, change).ok_or_else(|| change.refused())?;
    }
    let kind = match (enabled, user.account.enabled) {
        (false, true) => Kind::UserRecordEnabled,
        (true, false) => Kind::UserRecordDisabled,
        _ => Kind::UserRecordModified,
    };
    let what = format!("The user {} was changed", user.account.user_name);
    call.note(kind, Some(user.account.organization), &what);
    let user = world.user(uid).ok_or_else(|| ApiError::not_found(HIDDEN))?;
    Ok(answer::data(&world.user_json(user)))
}

fn apply(user: &mut User, change: &patch::Change) -> Option<()> {
    match change.path().as_str() {
        "status" => user.account.enabled = change.choice("Enabled", "Disabled")?,
        "role" => user.account.role = serde_json::from_value(Value::from(change.text()?)).ok()?,
        "profile/firstname" => user.first_name = change.nullable()?,
        "profile/lastname" => user.last_name = change.nullable()?,
        "profile/email" => user.email = change.nullable()?,
        "credentials/password" => user.account.password = change.text()?.to_owned(),
        _ => return None,
    }
    Some(())
}

pub(super) fn delete(call: &Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let mut world = call.shared.world.write();
    let user = editable(call, &world, uid)?;
    if uid == call.viewer.uid {
        return Err(ApiError::forbidden("Users may not delete themselves."));
    }
    let organization = user.account.organization;
    let what = format!("The user {} was removed", user.account.user_name);
    world.remove_user(uid);
    call.note(Kind::UserRecordRemoved, Some(organization), &what);
    // This one operation answers with an empty object and a list of errors that is always there.
    Ok(answer::json(
        StatusCode::OK,
        &json!({ "data": {}, "errors": [] }),
    ))
}

pub(super) fn revoke_tokens(call: &Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let login = match call.query.one("userLoginId") {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| ApiError::parameter("userLoginId", "The value is not a number."))?,
        ),
    };
    let world = call.shared.world.read();
    let user = editable(call, &world, uid)?;
    call.shared.tokens.revoke_of(uid, login);
    let what = format!("The tokens of {} were revoked", user.account.user_name);
    call.note(
        Kind::UserTokenRevoked,
        Some(user.account.organization),
        &what,
    );
    Ok(answer::data(&Value::Bool(true)))
}
