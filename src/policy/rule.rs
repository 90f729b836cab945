//! One rule: what it is about, and its conditions.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use http::Method;

use super::{Hours, PathPattern};
use crate::clock::Timestamp;
use crate::request::{CanonicalPath, METHODS};
use crate::tenant::{Tenant, Whom};
use crate::vspc::grant::{Access, Subject};

/// The rules of one client. A matching `deny` wins over every `allow`, and the first of those that
/// match decides.
#[derive(Debug, Default)]
pub struct Rules {
    /// What is denied.
    pub deny: Vec<Rule>,
    /// What is allowed.
    pub allow: Vec<Rule>,
    /// Whether every request needs a reason.
    pub reason: Demand,
}

/// What a rule is about, and its conditions: all of them must hold.
#[derive(Debug, Default)]
pub struct Rule {
    /// How the rule is called in audit records.
    pub name: Arc<str>,
    /// The methods it is about; `GET` covers `HEAD`.
    pub methods: Methods,
    /// The paths it is about. None: all that its operations are about.
    pub paths: Vec<PathPattern>,
    /// The operations it is about. None: all that its methods and paths are about.
    pub operations: Vec<OperationPattern>,
    /// The tenants it is about, by name or by the UID of a company; absent, all.
    pub tenants: Option<HashSet<Arc<str>>>,
    /// The users acted as that it is about; absent, all.
    pub targets: Option<HashSet<Subject>>,
    /// What a request may do that it allows. One of a rule that is read-only gets such a token too.
    pub access: Access,
    /// When it holds; absent, always.
    pub hours: Option<Hours>,
    /// Whether a request that it allows needs a reason.
    pub reason: Demand,
}

/// Whether something must be there.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Demand {
    /// It may be left out.
    #[default]
    Optional,
    /// It must be there.
    Required,
}

/// The methods a rule is about.
#[derive(Debug, Default, Eq, PartialEq)]
pub enum Methods {
    /// All that are served.
    #[default]
    Any,
    /// These.
    Listed(Vec<Method>),
}

/// An operation as VSPC's reference writes it: a method, and a path below `/api/v3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperationPattern {
    method: Method,
    path: PathPattern,
}

/// Why a text is not an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OperationFault {
    /// Of another form.
    #[error(
        "must be a method and a path below /api/v3, such as \"GET /users/{{userUid}}/logins\"; {{name}} stands for any one segment"
    )]
    Form,
    /// The API's own prefix.
    #[error("leave /api/v3 out: operations are written as in VSPC's reference")]
    Prefix,
    /// `/token`
    #[error("is answered by the gateway and never forwarded: no rule is about it")]
    Token,
}

/// Some of the methods that are served, one bit each.
pub(super) type MethodSet = u8;

/// One way in which a rule can be about a request: methods and a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) methods: MethodSet,
    pub(super) path: &'a PathPattern,
}

/// What rules look at.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) method: MethodSet,
    pub(super) path: &'a CanonicalPath,
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) target: Option<Subject>,
    pub(super) now: Timestamp,
    /// The places of segments that a rule must spell out to allow the request.
    pub(super) must_spell: u32,
}

impl Rule {
    /// Each pair of methods and path that the rule is about, conditions aside.
    pub(super) fn ways(&self) -> impl Iterator<Item = Way<'_>> {
        let methods = self.methods.set();
        let of_operations = self.operations.iter().map(move |operation| Way {
            methods: of_method(&operation.method) & methods,
            path: &operation.path,
        });
        let none = self.operations.is_empty();
        let paths = self.paths.iter().filter(move |_| none);
        of_operations.chain(paths.map(move |path| Way { methods, path }))
    }

    /// Whether no request can match: no method is left of what it says of them.
    pub fn is_impossible(&self) -> bool {
        let methods = self.ways().fold(0, |all, way| all | way.methods);
        let left = match self.access {
            Access::Full => methods,
            Access::ReadOnly => methods & READING,
        };
        left == 0
    }

    /// Whether it matches whatever [`Self::ways`] and its tenants let through.
    pub(super) fn is_sure(&self) -> bool {
        self.targets.is_none()
            && self.hours.is_none()
            && (self.operations.is_empty() || self.paths.is_empty())
    }

    /// Whether it holds whatever the tenant, the user and the time are.
    pub(super) fn is_unconditional(&self) -> bool {
        self.tenants.is_none() && self.is_sure()
    }

    /// Whether what its operations and tenants do not say holds too.
    pub(super) fn agrees(&self, facts: &Facts<'_>) -> bool {
        self.is_for_target(facts) && self.is_time(facts) && self.is_on_path(facts)
    }

    pub(super) fn is_for_target(&self, facts: &Facts<'_>) -> bool {
        let is_listed = |targets: &HashSet<_>| facts.target.is_some_and(|it| targets.contains(&it));
        self.targets.as_ref().is_none_or(is_listed)
    }

    pub(super) fn is_time(&self, facts: &Facts<'_>) -> bool {
        self.hours.is_none_or(|hours| hours.hold(facts.now))
    }

    /// Where a rule has operations and paths, both must be about a request.
    pub(super) fn is_on_path(&self, facts: &Facts<'_>) -> bool {
        self.operations.is_empty()
            || self.paths.is_empty()
            || self.paths.iter().any(|path| path.covers(facts.path))
    }

    pub(super) fn is_for_tenant(&self, facts: &Facts<'_>) -> bool {
        let Some(tenants) = &self.tenants else {
            return true;
        };
        facts.tenant.is_some_and(|tenant| {
            tenants.contains(&*tenant.name)
                || with_uid(tenant, |uid| uid.is_some_and(|uid| tenants.contains(uid)))
        })
    }

    /// Whether whatever `other` matches is matched by this rule as well.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let covers = |way: Way<'_>, other: Way<'_>| {
            way.methods & other.methods == other.methods && way.path.includes(other.path)
        };
        self.is_unconditional()
            && other
                .ways()
                .all(|theirs| self.ways().any(|own| covers(own, theirs)))
    }
}

/// Does something with the UID of the company that a tenant is, as text.
pub(super) fn with_uid<T>(tenant: &Tenant, look: impl FnOnce(Option<&str>) -> T) -> T {
    match tenant.whom {
        Whom::Company(uid) => {
            let mut buffer = uuid::Uuid::encode_buffer();
            look(Some(uid.hyphenated().encode_lower(&mut buffer)))
        }
        Whom::Account | Whom::CompanyNamed(_) | Whom::User(_) => look(None),
    }
}

impl Methods {
    fn set(&self) -> MethodSet {
        match self {
            Self::Any => MethodSet::MAX,
            Self::Listed(listed) => listed.iter().fold(0, |set, one| set | of_method(one)),
        }
    }
}

/// The methods that a listed one covers.
fn of_method(method: &Method) -> MethodSet {
    match *method {
        Method::GET => bit(method) | bit(&Method::HEAD),
        _ => bit(method),
    }
}

/// The bit of a method; none of one that is not served.
pub(super) fn bit(method: &Method) -> MethodSet {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::PATCH => 1 << 4,
        Method::DELETE => 1 << 5,
        Method::OPTIONS => 1 << 6,
        _ => 0,
    }
}

/// Those that change nothing: GET, HEAD and OPTIONS.
pub(super) const READING: MethodSet = 0b100_0011;

impl OperationPattern {
    /// Reads an operation.
    ///
    /// # Errors
    /// Says what cannot be understood.
    pub fn parse(text: &str) -> Result<Self, OperationFault> {
        let (method, path) = text.split_once(' ').ok_or(OperationFault::Form)?;
        if !METHODS.split(", ").any(|served| served == method) || !path.starts_with('/') {
            return Err(OperationFault::Form);
        }
        if path.to_ascii_lowercase().starts_with("/api/v3") {
            return Err(OperationFault::Prefix);
        }
        let plain = |segment: &str| !segment.contains(['*', '{', '}']);
        let named = |segment: &str| {
            let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            inner.is_some_and(|name| !name.is_empty() && plain(name))
        };
        if !path.split('/').all(|part| plain(part) || named(part)) {
            return Err(OperationFault::Form);
        }
        if path.trim_end_matches('/').eq_ignore_ascii_case("/token") {
            return Err(OperationFault::Token);
        }
        let path = PathPattern::parse(&format!("/api/v3{path}"));
        Ok(Self {
            method: Method::from_bytes(method.as_bytes()).map_err(|_| OperationFault::Form)?,
            path: path.map_err(|_| OperationFault::Form)?,
        })
    }
}

/// The names of some methods.
pub(super) struct MethodNames(pub(super) MethodSet);

impl fmt::Display for MethodNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = METHODS.split(", ").filter(|name| {
            let method = Method::from_bytes(name.as_bytes()).unwrap_or_default();
            // Whoever lists GET does not think of HEAD.
            let is_implied = method == Method::HEAD && self.0 & bit(&Method::GET) != 0;
            self.0 & bit(&method) != 0 && !is_implied
        });
        for (index, name) in named.enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}
