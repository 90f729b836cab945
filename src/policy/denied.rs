//! Why a request is not allowed.

use std::sync::Arc;

use super::{Finding, ReasonFault, Road};
use crate::tenant::Gone;
use crate::vspc::grant::Subject;

/// Why a request is not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denied {
    /// The tenant exists, but not for this client. The caller gets the same answer as for an
    /// unknown one; the audit record tells them apart.
    ForeignTenant(Arc<str>),
    /// Nobody can act for the tenant at the console.
    Gone(Gone),
    /// The tenant acts as another user than when the token was issued.
    Moved,
    /// Who acts for the tenant is not known yet.
    NotYet,
    /// No rule is about the operation, or one denies it: which.
    Operation(Option<Arc<str>>),
    /// What allows it needs a reason, and there is none that can be taken.
    Reason(Arc<str>, Box<ReasonFault>),
    /// The tenant's tokens, or those of the log-in, are read-only; which rule would have allowed it.
    ReadOnly(Arc<str>),
    /// Rules reach there by wildcards only, and the road must be named.
    Road(&'static Road),
    /// The client may not name this user.
    Target(Subject),
    /// `/token` and its like are answered by the gateway or not at all.
    Token,
    /// No tenant has the name.
    UnknownTenant,
    /// No rule allows it; the nearest is about the path, but not all of its conditions hold.
    Unmet(Box<Finding>),
}

impl Denied {
    /// The rule that stands against it, or what takes the place of one, as records name it.
    pub fn rule(&self) -> Option<Arc<str>> {
        match self {
            Self::Operation(Some(rule)) | Self::Reason(rule, _) | Self::ReadOnly(rule) => {
                Some(Arc::clone(rule))
            }
            Self::Road(road) => Some(Arc::from(road.name)),
            Self::ForeignTenant(_)
            | Self::Gone(_)
            | Self::Moved
            | Self::NotYet
            | Self::Operation(None)
            | Self::Target(_)
            | Self::Token
            | Self::UnknownTenant
            | Self::Unmet(_) => None,
        }
    }

    /// What operators are told.
    pub fn detail(&self) -> String {
        match self {
            Self::ForeignTenant(_) => "the tenant is not among the client's".to_owned(),
            Self::Gone(gone) => gone.text().to_owned(),
            Self::NotYet => "the directory was never read".to_owned(),
            Self::Moved => "the tenant's user is another one now".to_owned(),
            Self::Operation(Some(rule)) => format!("denied by {rule}"),
            Self::Operation(None) => "no rule allows it".to_owned(),
            Self::Reason(rule, fault) => format!("{rule} needs a reason: {fault}"),
            Self::ReadOnly(_) => "the tenant, or the token, is read-only".to_owned(),
            Self::Road(road) => format!("dangerous road not named: {}; {}", road.road, road.why),
            Self::Target(target) => format!("the user {target} is not among its targets"),
            Self::Token => "the token endpoint is never forwarded".to_owned(),
            Self::UnknownTenant => "no tenant has that name".to_owned(),
            Self::Unmet(nearest) => format!("no rule allows it: {nearest}"),
        }
    }
}
