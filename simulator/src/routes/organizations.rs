//! Organizations and companies.

use super::{Call, patch};
use crate::activity;
use crate::answer::{self, ApiError, Reply};
use crate::page;
use crate::world::{Kind, Organization};

pub(super) fn all(call: &Call<'_>) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let visible = world
        .organizations()
        .filter(|item| call.viewer.sees(item.uid));
    page::answer(visible, Organization::json, &call.query)
}

pub(super) fn companies(call: &Call<'_>) -> Result<Reply, ApiError> {
    let expand = expands(call);
    let world = call.shared.world.read();
    let visible = world
        .organizations()
        .filter(|item| item.kind == Kind::Company && call.viewer.sees(item.uid));
    page::answer(visible, |item| item.company_json(expand), &call.query)
}

pub(super) fn company(call: &Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let world = call.shared.world.read();
    let company = world
        .organization(uid)
        .filter(|item| item.kind == Kind::Company && call.viewer.sees(uid))
        .ok_or_else(|| ApiError::not_found("The company"))?;
    Ok(answer::data(&company.company_json(expands(call))))
}

pub(super) async fn patch(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let uid = call.uid()?;
    let changes = patch::read(call).await?;
    let mut world = call.shared.world.write();
    let company = world
        .organization_mut(uid)
        .filter(|item| item.kind == Kind::Company && call.viewer.sees(uid))
        .ok_or_else(|| ApiError::not_found("The company"))?;
    if !call.viewer.role.may_edit_companies() {
        return Err(ApiError::forbidden(
            "The role does not allow the operation.",
        ));
    }
    let (mut name, mut active, mut rest) = (company.name.clone(), company.active, company.rest);
    for change in &changes {
        let done = match change.path().as_str() {
            "name" => change.text().map(|text| name = text.to_owned()),
            "status" => change
                .choice("Active", "Disabled")
                .map(|state| active = state),
            "isrestaccessenabled" => change.truth().map(|state| rest = state),
            _ => None,
        };
        done.ok_or_else(|| change.refused())?;
    }
    if rest != company.rest {
        let what = format!("The REST access of {} was changed", company.name);
        call.note(
            activity::Kind::CompanyRestApiAccessModified,
            Some(uid),
            &what,
        );
    }
    (company.name, company.active, company.rest) = (name, active, rest);
    Ok(answer::data(&company.company_json(false)))
}

fn expands(call: &Call<'_>) -> bool {
    call.query
        .all("expand")
        .any(|value| value.eq_ignore_ascii_case("organization"))
}
