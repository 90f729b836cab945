//! The emergency stop on the road of a request.

use super::Gateway;
use crate::client::Caller;
use crate::freeze::Stopped;
use crate::tenant::Named;

impl Gateway {
    /// Refuses a caller that is frozen, whatever it asks for.
    pub(super) fn refuse_frozen(&self, who: &Caller<'_>) -> Result<(), Stopped> {
        self.freezer.check_caller(match who {
            Caller::Client(who) => Some(&who.client().name),
            Caller::Login(..) => None,
        })
    }

    /// Refuses what was not stopped when it came, and is by now: whoever waited is asked again.
    pub(super) fn refuse_stopped(&self, who: &Caller<'_>, whom: &Named) -> Result<(), Stopped> {
        self.refuse_frozen(who)?;
        self.refuse_frozen_tenant(whom)
    }

    /// Refuses requests for a tenant that is frozen. To be asked once policy has said that it is the
    /// caller's, so that a frozen tenant cannot be told from a foreign one.
    pub(super) fn refuse_frozen_tenant(&self, whom: &Named) -> Result<(), Stopped> {
        match whom {
            // A company of a console's directory may be renamed: its id is not.
            Named::Known(tenant) => self
                .freezer
                .check_tenant(&tenant.name)
                .and_then(|()| self.freezer.check_tenant(&tenant.id)),
            Named::Nobody | Named::Unknown => Ok(()),
        }
    }
}
