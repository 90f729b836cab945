//! What a test does to companies and their users while the simulator runs.

use uuid::Uuid;

use crate::Simulator;
use crate::world::{Kind, Organization, Role};

/// What [`Simulator::change_company`] changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanyChange {
    /// What its users may log in with in place of the name.
    Alias(Option<String>),
    /// What other systems call it.
    CompanyId(Option<String>),
    /// Whether it is active.
    Enabled(bool),
    /// Its name.
    Name(String),
}

impl Simulator {
    /// Makes a company without users; tells whether its UID was free.
    pub fn add_company(&self, uid: Uuid, name: &str) -> bool {
        let mut world = self.shared.world.write();
        let is_free = world.organization(uid).is_none();
        if is_free {
            world.add_organization(Organization::new(uid, Kind::Company, name));
        }
        is_free
    }

    /// Changes a company's name, alias, id or state; tells whether it is there.
    pub fn change_company(&self, company: Uuid, change: CompanyChange) -> bool {
        let mut world = self.shared.world.write();
        let Some(organization) = world.organization_mut(company) else {
            return false;
        };
        match change {
            CompanyChange::Alias(alias) => organization.alias = alias,
            CompanyChange::CompanyId(id) => organization.company_id = id,
            CompanyChange::Enabled(enabled) => organization.active = enabled,
            CompanyChange::Name(name) => organization.name = name,
        }
        true
    }

    /// Removes a company with its users, whose tokens answer 401 from now on.
    pub fn remove_company(&self, company: Uuid) -> bool {
        self.shared.world.write().remove_company(company)
    }

    /// Gives a user another role.
    pub fn set_role(&self, uid: Uuid, role: Role) -> bool {
        let mut world = self.shared.world.write();
        world
            .user_mut(uid)
            .map(|user| user.account.role = role)
            .is_some()
    }
}
