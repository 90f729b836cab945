//! The emergency stop on the road of a request.

use std::sync::Arc;

use super::Gateway;
use crate::client::{Caller, SessionKey};
use crate::freeze::Stopped;
use crate::policy::{Acting, Permit};
use crate::tenant::{Named, Tenant};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

impl Gateway {
    /// Refuses a caller that is frozen, whatever it asks for.
    pub(super) fn refuse_frozen(&self, who: &Caller<'_>) -> Result<(), Stopped> {
        self.freezer.check_caller(match who {
            Caller::Client(who) => Some(&who.client().name),
            Caller::Login(..) => None,
        })
    }

    /// Refuses what was not stopped when it came, and is by now: whoever waited is asked again.
    pub(super) fn refuse_stopped(
        &self,
        who: &Caller<'_>,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<(), Stopped> {
        self.refuse_frozen(who)?;
        self.refuse_frozen_tenant(whom, permit)
    }

    /// Refuses requests for a tenant that is frozen, and those that act as a user whom such a tenant acts
    /// as, for whichever tenant they name that user. To be asked once policy has said that it is the
    /// caller's, so that a frozen tenant cannot be told from a foreign one.
    pub(super) fn refuse_frozen_tenant(
        &self,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<(), Stopped> {
        match whom {
            Named::Known(tenant) => self.check_tenant(tenant)?,
            Named::Nobody | Named::Unknown => {}
        }
        match permit.acting() {
            Acting::For(key) if !permit.is_own() => self.check_user(&key.console, key.target),
            Acting::Itself(session) => self.refuse_frozen_visitor(session),
            Acting::For(_) | Acting::Account(..) => Ok(()),
        }
    }

    /// Refuses whoever logged in as itself and is the user whom a frozen tenant acts as. Who it is
    /// the console's token says; where that does not, nobody knows.
    pub(super) fn refuse_frozen_visitor(&self, session: &SessionKey) -> Result<(), Stopped> {
        match self.broker.subject_of(session) {
            Some(user) => self.check_user(&session.console, user),
            None => Ok(()),
        }
    }

    /// Refuses what is done as a user whom a frozen tenant acts as.
    fn check_user(&self, console: &ConsoleId, user: Subject) -> Result<(), Stopped> {
        if !self.freezer.stops_tenants() {
            return Ok(());
        }
        let is_user = |tenant: &&Arc<Tenant>| {
            let own = tenant.key();
            own.is_some_and(|own| own.target == user && own.console == *console)
        };
        let tenants = self.tenants.all();
        let mut of_user = tenants.iter().filter(is_user);
        of_user.try_for_each(|tenant| self.check_tenant(tenant))
    }

    fn check_tenant(&self, tenant: &Tenant) -> Result<(), Stopped> {
        // A company of a console's directory may be renamed: its id is not.
        self.freezer.check_tenant(&tenant.name)?;
        self.freezer.check_tenant(&tenant.id)
    }
}
