//! The representation a client gets: resources in the members of the API version it asks for.

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, json};

use crate::answer::ApiError;
use crate::settings::UserIdName;
use crate::world::{Login, Organization, Role, User, World};

const CLIENT_VERSION: HeaderName = HeaderName::from_static("x-client-version");

/// The versions of the API that are told apart, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Ord, PartialOrd)]
pub(crate) enum Version {
    V3_5_1,
    V3_6,
    V3_6_1,
    V3_6_2,
    V3_7,
}

impl Version {
    /// Returns the version that `X-Client-Version` asks for, the newest without that header.
    ///
    /// Versions 3.4 and 3.5, which the console still counts as deprecated and supported, are given the
    /// members of 3.5.1. What came before them, and what is not out yet, is refused.
    pub(crate) fn asked(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(CLIENT_VERSION) else {
            return Ok(Self::V3_7);
        };
        match value.as_bytes().trim_ascii() {
            b"3.4" | b"3.5" | b"3.5.1" => Ok(Self::V3_5_1),
            b"3.6" => Ok(Self::V3_6),
            b"3.6.1" => Ok(Self::V3_6_1),
            b"3.6.2" => Ok(Self::V3_6_2),
            b"3.7" => Ok(Self::V3_7),
            _ => Err(ApiError::parameter(
                "X-Client-Version",
                "The version of the REST API is not supported.",
            )),
        }
    }

    /// Tells whether a member without a value is left out: before 3.6.1 hardly any could be null.
    fn leaves_null_out(self) -> bool {
        self < Self::V3_6_1
    }
}

/// How resources are told to one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) version: Version,
    pub(crate) user_id: UserIdName,
}

impl Shape {
    /// Returns the shape that the headers of a request ask for.
    pub(crate) fn asked(headers: &HeaderMap, user_id: UserIdName) -> Result<Self, ApiError> {
        let version = Version::asked(headers)?;
        Ok(Self { version, user_id })
    }

    /// Returns the `User` object.
    pub(crate) fn user(self, world: &World, user: &User) -> Value {
        let mut value = world.user_json(user);
        // A role that came after the client's version is told as one it knows.
        if self.version < Version::V3_6 && user.account.role == Role::CompanyTenant {
            set(&mut value, "role", Value::from("Unknown"));
        }
        self.finish(value)
    }

    /// Returns the `UserLogin` object with `parameters` in place of the remembered ones.
    pub(crate) fn login(self, world: &World, login: &Login, parameters: &str) -> Value {
        let mut value = world.login_json(login, parameters);
        if self.user_id == UserIdName::UserId {
            rename(&mut value, "userUid", "userId");
        }
        let mut value = self.finish(value);
        // Every version's document requires it, and every version's samples show it as null.
        if login.description.is_none() {
            set(&mut value, "description", Value::Null);
        }
        value
    }

    /// Returns the `Organization` object.
    pub(crate) fn organization(self, organization: &Organization) -> Value {
        let mut value = organization.json();
        if let (true, Some(members)) = (self.version < Version::V3_7, value.as_object_mut()) {
            members.remove("legalName");
            members.remove("domain");
        }
        self.finish(value)
    }

    /// Returns the `Company` object, with the organization embedded when `expand` asks for it.
    pub(crate) fn company(self, company: &Organization, expand: bool) -> Value {
        let mut value = company.company_json();
        if self.version < Version::V3_6 {
            date_company_back(&mut value);
        }
        if expand {
            let embedded = json!({ "organization": self.organization(company) });
            set(&mut value, "_embedded", embedded);
        }
        self.finish(value)
    }

    /// Leaves out what the version has no null for.
    pub(crate) fn finish(self, mut value: Value) -> Value {
        if self.version.leaves_null_out() {
            drop_nulls(&mut value);
        }
        value
    }
}

/// Gives a company the members it had before 3.6.
fn date_company_back(company: &mut Value) {
    let Some(members) = company.as_object_mut() else {
        return;
    };
    members.remove("ownerCredentials");
    let rest = members.remove("isRestAccessEnabled") == Some(Value::Bool(true));
    let permissions = if rest { json!(["REST"]) } else { json!([]) };
    members.insert("permissions".to_owned(), permissions);
}

fn set(value: &mut Value, name: &str, member: Value) {
    if let Some(members) = value.as_object_mut() {
        members.insert(name.to_owned(), member);
    }
}

fn rename(value: &mut Value, from: &str, to: &str) {
    if let Some(members) = value.as_object_mut()
        && let Some(member) = members.remove(from)
    {
        members.insert(to.to_owned(), member);
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let kept: Map<String, Value> = std::mem::take(members)
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .collect();
            *members = kept;
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(text: &'static str, expected: Option<Version>) {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_VERSION, HeaderValue::from_static(text));
        assert_eq!(Version::asked(&headers).ok(), expected, "{text}");
    }

    #[test]
    fn versions_are_read_by_their_names() {
        check("3.4", Some(Version::V3_5_1));
        check("3.5.1", Some(Version::V3_5_1));
        check("3.6", Some(Version::V3_6));
        check(" 3.6.2 ", Some(Version::V3_6_2));
        check("3.7", Some(Version::V3_7));
        for refused in ["", "2", "3.3", "3.6.3", "3.8", "v3.7", "latest"] {
            check(refused, None);
        }
        assert_eq!(Version::asked(&HeaderMap::new()).ok(), Some(Version::V3_7));
    }

    #[test]
    fn nulls_are_dropped_at_every_depth() {
        let mut value = json!({ "a": null, "b": [{ "c": null, "d": 1 }], "e": {} });
        drop_nulls(&mut value);
        assert_eq!(value, json!({ "b": [{ "d": 1 }], "e": {} }));
    }
}
