//! The console's roles and what each may do to whom.

use serde::{Deserialize, Serialize};

/// A user's role, spelled as the console spells it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[expect(missing_docs, reason = "the variants are the console's own words")]
pub enum Role {
    CompanyAdministrator,
    CompanyInvoiceAuditor,
    CompanyLocationAdministrator,
    CompanyLocationUser,
    CompanyOwner,
    CompanySubtenant,
    CompanyTenant,
    PortalAdministrator,
    PortalOperator,
    PortalReadonlyOperator,
    ResellerAdministrator,
    ResellerInvoiceAuditor,
    ResellerOperator,
    ResellerOwner,
    ResellerUser,
    SiteAdministrator,
}

impl Role {
    /// Tells whether the role belongs to the provider's own staff, who see every organization.
    pub fn is_portal(self) -> bool {
        matches!(
            self,
            Self::PortalAdministrator
                | Self::PortalOperator
                | Self::PortalReadonlyOperator
                | Self::SiteAdministrator
        )
    }

    /// Tells whether the role may ask for lists of users.
    pub(crate) fn may_list_users(self) -> bool {
        !matches!(
            self,
            Self::CompanyInvoiceAuditor
                | Self::CompanyLocationUser
                | Self::CompanySubtenant
                | Self::ResellerInvoiceAuditor
                | Self::ResellerUser
        )
    }

    /// Tells whether the role sees the identities of everybody in its reach, not only its own.
    pub(crate) fn sees_others_logins(self) -> bool {
        self.is_portal()
            || matches!(
                self,
                Self::CompanyOwner
                    | Self::CompanyAdministrator
                    | Self::ResellerOwner
                    | Self::ResellerAdministrator
            )
    }

    /// Tells whether the role may ask for the versions of the console.
    pub(crate) fn may_ask_about(self) -> bool {
        self.is_portal() || matches!(self, Self::ResellerOwner | Self::ResellerAdministrator)
    }

    /// Tells whether the role may change companies.
    pub(crate) fn may_edit_companies(self) -> bool {
        matches!(
            self,
            Self::PortalAdministrator
                | Self::SiteAdministrator
                | Self::ResellerOwner
                | Self::ResellerAdministrator
        )
    }

    /// Tells whether the role is admitted to impersonation at all.
    pub(crate) fn may_impersonate(self) -> bool {
        matches!(
            self,
            Self::PortalAdministrator
                | Self::SiteAdministrator
                | Self::PortalOperator
                | Self::ResellerOwner
                | Self::ResellerAdministrator
                | Self::ResellerOperator
                | Self::CompanyOwner
                | Self::CompanyAdministrator
                | Self::CompanyLocationAdministrator
        )
    }

    /// Tells whether the role may edit a user of the role `other` that it can see.
    pub(crate) fn may_edit(self, other: Self) -> bool {
        match self {
            Self::PortalAdministrator | Self::CompanyOwner | Self::ResellerOwner => true,
            Self::SiteAdministrator | Self::PortalOperator => !other.is_portal(),
            Self::ResellerAdministrator | Self::ResellerOperator => other != Self::ResellerOwner,
            Self::CompanyAdministrator => other != Self::CompanyOwner,
            Self::CompanyLocationAdministrator => {
                matches!(other, Self::CompanyLocationUser | Self::CompanySubtenant)
            }
            Self::CompanyInvoiceAuditor
            | Self::CompanyLocationUser
            | Self::CompanySubtenant
            | Self::CompanyTenant
            | Self::PortalReadonlyOperator
            | Self::ResellerInvoiceAuditor
            | Self::ResellerUser => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn an_administrator_of_a_company_may_not_edit_its_owner() {
        assert!(Role::CompanyOwner.may_edit(Role::CompanyAdministrator));
        assert!(!Role::CompanyAdministrator.may_edit(Role::CompanyOwner));
    }

    #[test]
    fn a_location_administrator_edits_only_location_users_and_subtenants() {
        let role = Role::CompanyLocationAdministrator;
        assert!(role.may_edit(Role::CompanyLocationUser));
        assert!(role.may_edit(Role::CompanySubtenant));
        assert!(!role.may_edit(Role::CompanyTenant));
    }
}
