//! Which members of a record an index knows.

use crate::audit::query::view::{Scalar, View};

use super::bloom;

/// Members that have few values in a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::audit::query) enum Field {
    Kind,
    Client,
    Tenant,
    Console,
    Operation,
    Method,
    Code,
    Status,
    Source,
    Credential,
    Grant,
    Action,
    Rule,
}

/// How many there are.
pub(super) const FIELDS: usize = Field::Rule as usize + 1;

/// Members that have many values. Those of one kind are asked for by one option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::audit::query) enum Many {
    RequestId = 1,
    Session,
    Target,
    User,
    Principal,
    Subject,
    Client,
    Tenant,
}

impl Many {
    /// The hash of such a member with this text.
    pub(in crate::audit::query) fn hash(self, text: &str) -> u64 {
        bloom::hash(self as u8, text)
    }
}

/// The members with few values.
pub(super) fn few<'v, 'a>(view: &'v View<'a>) -> [(Field, &'v Scalar<'a>); FIELDS] {
    [
        (Field::Kind, &view.kind),
        (Field::Client, &view.client),
        (Field::Tenant, &view.tenant),
        (Field::Console, &view.console),
        (Field::Operation, &view.operation),
        (Field::Method, &view.method),
        (Field::Code, &view.code),
        (Field::Status, &view.status),
        (Field::Source, &view.source),
        (Field::Credential, &view.credential),
        (Field::Grant, &view.grant),
        (Field::Action, &view.subject.0.action),
        (Field::Rule, &view.rule),
    ]
}

/// The members with many values.
pub(super) fn many<'v, 'a>(view: &'v View<'a>) -> [(Many, &'v Scalar<'a>); 10] {
    let (target, subject) = (&view.target.0, &view.subject.0);
    [
        (Many::RequestId, &view.request_id),
        (Many::Session, &view.session),
        (Many::Target, &target.uid),
        (Many::Target, &target.name),
        (Many::User, &view.user),
        (Many::Principal, &view.principal),
        (Many::Subject, &subject.user_uid),
        (Many::Subject, &subject.login_id),
        (Many::Client, &view.client),
        (Many::Tenant, &view.tenant),
    ]
}
