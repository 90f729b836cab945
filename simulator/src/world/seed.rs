//! The inhabitants every simulator starts with; their names, UIDs and passwords never change.

use uuid::{Uuid, uuid};

use super::{Account, Kind, NewLogin, Organization, Provider, Role, Scope, World};
use crate::totp::Device;

/// A seeded organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedOrganization {
    /// The UID of the organization; a company has the same one.
    pub uid: Uuid,
    /// The name of the organization.
    pub name: &'static str,
    /// Whether its users and their keys may use the REST API.
    pub rest: bool,
}

/// A seeded user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedUser {
    /// The UID of the user, the `userUid` of grant `as`.
    pub uid: Uuid,
    /// The name to log in with.
    pub name: &'static str,
    /// The password to log in with.
    pub password: &'static str,
    /// What the user may do.
    pub role: Role,
    /// The organization the user belongs to.
    pub organization: Uuid,
    /// Whether the user may log in.
    pub enabled: bool,
}

/// The service provider.
pub const PROVIDER: SeedOrganization = SeedOrganization {
    uid: uuid!("5f8a1c30-6d2e-4b7f-9a41-0c3d5e7f9b10"),
    name: "Simulated Provider",
    rest: true,
};
/// The company Acme.
pub const ACME: SeedOrganization = SeedOrganization {
    uid: uuid!("49dcc517-a32c-438e-b53d-ee0084dc7feb"),
    name: "Acme",
    rest: true,
};
/// The company Globex.
pub const GLOBEX: SeedOrganization = SeedOrganization {
    uid: uuid!("63217eab-3aac-4bd8-87c3-f338010758f5"),
    name: "Globex",
    rest: true,
};
/// The company Initech.
pub const INITECH: SeedOrganization = SeedOrganization {
    uid: uuid!("91c20e53-8c34-4eef-ab1e-95d6eb5ded5a"),
    name: "Initech",
    rest: true,
};
/// The company Umbrella, whose users and keys may not use the REST API.
pub const UMBRELLA: SeedOrganization = SeedOrganization {
    uid: uuid!("a4d8e7f2-15b3-4c69-8e70-2f9b6c1d3a54"),
    name: "Umbrella",
    rest: false,
};

/// The service account of the gateway, a portal administrator.
pub const SERVICE: SeedUser = SeedUser {
    uid: uuid!("13a52652-69ba-4283-88d0-7bdb5083cfa6"),
    name: r"VSPC\svc-gateway",
    password: "gateway-demo-password",
    role: Role::PortalAdministrator,
    organization: PROVIDER.uid,
    enabled: true,
};
/// A portal administrator whose password holds every character that forms trip over.
pub const ODD: SeedUser = SeedUser {
    uid: uuid!("2c9a7f04-58d1-4e36-b7a2-91f0c4d8e6b3"),
    name: r"VSPC\odd",
    password: "p&ss+w%rd=ü",
    role: Role::PortalAdministrator,
    organization: PROVIDER.uid,
    enabled: true,
};
/// Acme's owner.
pub const ACME_OWNER: SeedUser = owner(
    uuid!("b3ffc78b-7982-44f3-ae66-1384415f2bea"),
    r"Acme\owner",
    ACME.uid,
);
/// Acme's administrator.
pub const ACME_ADMINISTRATOR: SeedUser = administrator(
    uuid!("36e63b2c-9cf6-4e00-97d0-04195cea501b"),
    r"Acme\administrator",
    ACME.uid,
);
/// A user of Acme that is disabled.
pub const ACME_DISABLED: SeedUser = SeedUser {
    enabled: false,
    ..administrator(
        uuid!("7d1f0a52-c3b8-4d69-8e24-5a6b9c0d1e2f"),
        r"Acme\former",
        ACME.uid,
    )
};
/// Globex's owner.
pub const GLOBEX_OWNER: SeedUser = owner(
    uuid!("c28df41e-5182-4668-b911-1987d4c9150f"),
    r"Globex\owner",
    GLOBEX.uid,
);
/// Globex's administrator.
pub const GLOBEX_ADMINISTRATOR: SeedUser = administrator(
    uuid!("0a630b4a-081d-48ad-8ad1-bd14cfecc447"),
    r"Globex\administrator",
    GLOBEX.uid,
);
/// Initech's owner.
pub const INITECH_OWNER: SeedUser = owner(
    uuid!("d02f1c7f-a6dc-492f-82d7-0c6f072b2385"),
    r"Initech\owner",
    INITECH.uid,
);
/// Initech's administrator.
pub const INITECH_ADMINISTRATOR: SeedUser = administrator(
    uuid!("737bb56d-ce1c-4666-84b0-6c9beae50ce5"),
    r"Initech\administrator",
    INITECH.uid,
);

/// A portal administrator with a TOTP device, whose secret is [`MFA_ADMINISTRATOR_SECRET`].
pub const MFA_ADMINISTRATOR: SeedUser = SeedUser {
    uid: uuid!("6b0e4d19-8f2a-4c57-93d6-e17a5b3c8f20"),
    name: r"VSPC\mfa",
    password: "mfa-demo-password",
    role: Role::PortalAdministrator,
    organization: PROVIDER.uid,
    enabled: true,
};
/// An administrator of Initech with a TOTP device, whose secret is [`INITECH_MFA_SECRET`].
pub const INITECH_MFA: SeedUser = administrator(
    uuid!("e59c2f83-4a71-4d0b-b6e8-3c7d90f1a246"),
    r"Initech\mfa",
    INITECH.uid,
);
/// Umbrella's owner, who may not use the REST API.
pub const UMBRELLA_OWNER: SeedUser = owner(
    uuid!("27f3b6c8-9d04-4e1a-a5b7-60c8e2d4f913"),
    r"Umbrella\owner",
    UMBRELLA.uid,
);

/// The secret of the TOTP device of [`MFA_ADMINISTRATOR`], in Base32.
pub const MFA_ADMINISTRATOR_SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
/// The secret of the TOTP device of [`INITECH_MFA`], in Base32.
pub const INITECH_MFA_SECRET: &str = "KRSXG5CTMVRXEZLUKN2XAZLSKNSWG4TF";

/// The companies every simulator starts with.
pub const COMPANIES: [SeedOrganization; 4] = [ACME, GLOBEX, INITECH, UMBRELLA];

/// The users every simulator starts with, in the order of their numbers.
pub const USERS: [SeedUser; 12] = [
    SERVICE,
    ODD,
    ACME_OWNER,
    ACME_ADMINISTRATOR,
    ACME_DISABLED,
    GLOBEX_OWNER,
    GLOBEX_ADMINISTRATOR,
    INITECH_OWNER,
    INITECH_ADMINISTRATOR,
    MFA_ADMINISTRATOR,
    INITECH_MFA,
    UMBRELLA_OWNER,
];

/// The password of all owners, the generated ones included.
pub const OWNER_PASSWORD: &str = "owner-demo-password";
/// The password of all administrators of companies.
pub const ADMINISTRATOR_PASSWORD: &str = "administrator-demo-password";

const fn owner(uid: Uuid, name: &'static str, organization: Uuid) -> SeedUser {
    SeedUser {
        uid,
        name,
        password: OWNER_PASSWORD,
        role: Role::CompanyOwner,
        organization,
        enabled: true,
    }
}

const fn administrator(uid: Uuid, name: &'static str, organization: Uuid) -> SeedUser {
    SeedUser {
        uid,
        name,
        password: ADMINISTRATOR_PASSWORD,
        role: Role::CompanyAdministrator,
        organization,
        enabled: true,
    }
}

/// Returns the UID of the `n`th generated company, counted from 0.
pub fn generated_company(n: usize) -> Uuid {
    numbered(0x00c0_ffee_0000_4000_8000_0000_0000_0000, n)
}

/// Returns the UID of the owner of the `n`th generated company, counted from 0.
pub fn generated_owner(n: usize) -> Uuid {
    numbered(0x00de_c0de_0000_4000_8000_0000_0000_0000, n)
}

/// Returns the name of the `n`th generated company, counted from 0; its owner is `<name>\owner`.
pub fn generated_name(n: usize) -> String {
    format!("Company {n:06}")
}

fn numbered(base: u128, n: usize) -> Uuid {
    // The last 48 bits of a UUID are free of version and variant.
    Uuid::from_u128(base | (n as u128 & 0xffff_ffff_ffff))
}

/// Makes the world that a simulator starts with.
pub(super) fn world(companies: usize) -> World {
    let mut world = World::default();
    world.add_organization(Organization::new(
        PROVIDER.uid,
        Kind::Provider,
        PROVIDER.name,
    ));
    for company in COMPANIES {
        let organization = Organization::new(company.uid, Kind::Company, company.name);
        world.add_organization(Organization {
            rest: company.rest,
            ..organization
        });
    }
    for user in USERS {
        world.add_user(Account {
            uid: user.uid,
            organization: user.organization,
            user_name: user.name.to_owned(),
            password: user.password.to_owned(),
            role: user.role,
            enabled: user.enabled,
        });
    }
    for (user, secret) in [
        (MFA_ADMINISTRATOR, MFA_ADMINISTRATOR_SECRET),
        (INITECH_MFA, INITECH_MFA_SECRET),
    ] {
        world.add_login(NewLogin {
            user: user.uid,
            provider: Provider::Totp,
            description: Some("device".to_owned()),
            read_only: false,
            scopes: vec![Scope::Ui],
            parameters: String::new(),
            device: Device::read(secret),
            identifier: None,
        });
    }
    for n in 0..companies {
        let name = generated_name(n);
        let organization = generated_company(n);
        world.add_organization(Organization::new(organization, Kind::Company, &name));
        world.add_user(Account {
            uid: generated_owner(n),
            organization,
            user_name: format!(r"{name}\owner"),
            password: OWNER_PASSWORD.to_owned(),
            role: Role::CompanyOwner,
            enabled: true,
        });
    }
    world
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_of_the_seed_can_be_read() {
        assert!(Device::read(MFA_ADMINISTRATOR_SECRET).is_some());
        assert!(Device::read(INITECH_MFA_SECRET).is_some());
    }

    #[test]
    fn generated_uids_are_distinct_version_4_uuids() {
        for n in [0, 1, 99_999] {
            assert_eq!(generated_owner(n).get_version_num(), 4);
            assert_ne!(generated_owner(n), generated_owner(n + 1));
            assert_ne!(generated_owner(n), generated_company(n));
        }
    }

    #[test]
    fn seeded_uids_are_distinct_version_4_uuids() {
        let mut uids: Vec<Uuid> = USERS.iter().map(|user| user.uid).collect();
        uids.extend(COMPANIES.iter().map(|company| company.uid));
        assert!(uids.iter().all(|uid| uid.get_version_num() == 4));
        uids.sort();
        let before = uids.len();
        uids.dedup();
        assert_eq!(uids.len(), before);
    }
}
