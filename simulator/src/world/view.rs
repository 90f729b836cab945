//! The JSON of users, identities and organizations, with the members of REST API 3.7.

use serde_json::{Value, json};

use super::{Kind, Login, Organization, Provider, User, World};

impl World {
    /// Returns the `User` object; a password is never in it.
    pub(crate) fn user_json(&self, user: &User) -> Value {
        let account = &user.account;
        let (policy, configuration) = match self.devices_of(account.uid).next() {
            Some(_) => ("Enabled", "Configured"),
            None => ("Disabled", "NotConfigured"),
        };
        json!({
            "instanceUid": account.uid,
            "organizationUid": account.organization,
            "userName": account.user_name,
            "status": if account.enabled { "Enabled" } else { "Disabled" },
            "mfaPolicyStatus": policy,
            "mfaPolicyConfigurationStatus": configuration,
            "role": account.role,
            "profile": {
                "firstName": user.first_name,
                "lastName": user.last_name,
                "title": "Unknown",
                "email": user.email,
                "address": null,
                "phone": null,
            },
            "credentials": { "userName": account.user_name, "password": null },
        })
    }

    /// Returns the `UserLogin` object with `parameters` in place of the remembered ones.
    pub(crate) fn login_json(&self, login: &Login, parameters: &str) -> Value {
        let user = self.user(login.user);
        let organization = user.and_then(|user| self.organization(user.account.organization));
        let scopes: Vec<&str> = login.scopes.iter().map(|scope| scope.name()).collect();
        json!({
            "id": login.id,
            "userUid": login.user,
            "userName": user.map(|user| &user.account.user_name),
            "companyId": organization.map(|organization| organization.uid),
            "companyName": organization.map(|organization| &organization.name),
            "identityProviderName": login.provider.name(),
            "description": login.description,
            "isReadAccessOnly": login.read_only,
            "scopes": scopes,
            "status": self.login_status(login, user),
            "parameters": parameters,
            "identifierInProvider": login.identifier,
            "creationDate": login.created,
        })
    }

    fn login_status(&self, login: &Login, user: Option<&User>) -> &'static str {
        match user {
            _ if !login.enabled => "disabled",
            Some(user) if !user.account.enabled => "disabledDueToUser",
            Some(user) if !self.is_enabled(user) => "disabledDueToCompany",
            // Names and passwords still open the web interface of a company without REST access.
            Some(user)
                if matches!(login.provider, Provider::ApiKey | Provider::KeyPair)
                    && !self.has_rest(user.account.organization) =>
            {
                "disabledDueToCompany"
            }
            Some(_) => "enabled",
            None => "Unknown",
        }
    }
}

impl Organization {
    /// Returns the `Organization` object.
    pub(crate) fn json(&self) -> Value {
        json!({
            "instanceUid": self.uid,
            "name": self.name,
            "alias": self.alias,
            "type": match self.kind {
                Kind::Company => "Company",
                Kind::Provider => "Provider",
            },
            "taxId": null,
            "legalName": null,
            "email": null,
            "phone": null,
            "country": null,
            "state": null,
            "countryName": null,
            "regionName": null,
            "city": null,
            "street": null,
            "locationAdmin0Code": null,
            "locationAdmin1Code": null,
            "locationAdmin2Code": null,
            "notes": null,
            "zipCode": null,
            "domain": null,
            "website": null,
            "veeamTenantId": null,
            "companyId": self.company_id,
        })
    }

    /// Returns the `Company` object.
    pub(crate) fn company_json(&self) -> Value {
        json!({
            "instanceUid": self.uid,
            "name": self.name,
            "status": if self.active { "Active" } else { "Disabled" },
            "resellerUid": null,
            "subscriptionPlanUid": null,
            "isRestAccessEnabled": self.rest,
            "isAlarmDetectEnabled": false,
            "companyServices": {},
            "ownerCredentials": { "userName": self.owner.as_deref().unwrap_or(""), "password": null },
            "loginUrl": null,
        })
    }
}
