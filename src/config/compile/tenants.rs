//! `[[tenants]]`

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::consoles::{Consoles, name};
use super::login::login;
use super::quotas::allowance;
use crate::config::reader::{Item, Section};
use crate::quota::Allowance;
use crate::tenant::{Directory, IdentityId, Tenant, Whom};
use crate::token::Login;
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// The tenants, and the names of all that the file speaks of.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) directory: Directory,
    pub(super) names: HashMap<String, String>,
    /// Of those that impersonate nobody.
    pub(super) logins: HashMap<IdentityId, Login>,
    /// Whether there are tenants that only a console's directory knows.
    pub(super) has_directory: bool,
}

pub(super) fn tenants(
    root: &mut Section<'_>,
    consoles: &Consoles,
    limits: &mut HashMap<Arc<str>, Allowance>,
) -> Tenants {
    let mut all = Tenants {
        has_directory: consoles.has_directory,
        ..Tenants::default()
    };
    for mut section in root.sections("tenants") {
        let allowance = allowance(&mut section);
        let Some((tenant, aliases, login)) = tenant(section, consoles, &mut all.names) else {
            continue;
        };
        limits.insert(Arc::clone(&tenant.id), allowance);
        if let (Some(login), Some(account)) = (login, tenant.account()) {
            all.logins.insert(account.identity.clone(), login);
        }
        for name in std::iter::once(&*tenant.name).chain(aliases.iter().map(String::as_str)) {
            // A name that is taken was reported when it was read.
            if all.directory.add(name, &tenant).is_err() {
                continue;
            }
        }
    }
    all
}

/// Reads one tenant and its aliases. `names` holds whose each name is, in lower case: names that
/// differ only in case would be told apart by nobody.
fn tenant(
    mut section: Section<'_>,
    consoles: &Consoles,
    names: &mut HashMap<String, String>,
) -> Option<(Arc<Tenant>, Vec<String>, Option<Login>)> {
    let name = section
        .required("name")
        .and_then(|item| item.read_with(name));
    let aliases = section
        .optional("aliases")
        .map_or(Some(Vec::new()), |item| aliases(&item));
    let own = name.iter().map(|name| ("name", name));
    let others = aliases.iter().flatten().map(|alias| ("aliases", alias));
    for (key, taken) in own.chain(others) {
        let owner = name.clone().unwrap_or_default();
        let spelled_otherwise = key == "aliases" && name.as_ref().is_some_and(|own| own != taken);
        if let Some(other) = names.insert(taken.to_lowercase(), owner.clone())
            && !(spelled_otherwise && other == owner)
        {
            let message = format!("{taken:?} already stands for tenant {other:?}");
            section.fault(key, message);
        }
    }
    let console = console(&mut section, consoles);
    let (whom, login) = acts(&mut section, consoles);
    let read_only = section.or("read_only", false);
    if whom.as_ref().is_some_and(|whom| *whom != Whom::Account)
        && let Some(console) = console.as_ref().and_then(|name| consoles.named(name))
        && !console.login.can_impersonate()
    {
        section.fault(
            "impersonate",
            "an API key has no refresh token, so it cannot impersonate: use grant password or \
             public_key for the console's login",
        );
    }
    section.finish();
    let access = match read_only? {
        true => Access::ReadOnly,
        false => Access::Full,
    };
    // All tenants of a console share its name, which every look-up of a token reads.
    let console = console?;
    let id = match consoles.named(&console) {
        Some(console) => console.upstream.id.clone(),
        None => ConsoleId::new(&console),
    };
    let tenant = Tenant::configured(&name?, id, access, whom?);
    let login = match login {
        None => None,
        Some(login) => Some(Login { access, ..login? }),
    };
    Some((Arc::new(tenant), aliases?, login))
}

/// Who acts for a tenant: a user, or an account of its own.
fn acts(section: &mut Section<'_>, consoles: &Consoles) -> (Option<Whom>, Option<Option<Login>>) {
    let login = section
        .optional("login")
        .map(|item| login(&item, consoles.folder()));
    let whom = match (section.optional("impersonate"), &login) {
        (Some(item), None) => whom(&item),
        (None, Some(_)) => Some(Whom::Account),
        (None, None) => {
            let message =
                "is missing: say whom to impersonate, or give the tenant a login of its own";
            section.fault("impersonate", message);
            None
        }
        (Some(_), Some(_)) => {
            let message = "cannot stand beside impersonate: a login of its own impersonates nobody";
            section.fault("login", message);
            None
        }
    };
    (whom, login)
}

fn aliases(item: &Item<'_>) -> Option<Vec<String>> {
    let elements = item.elements()?;
    let read: Vec<_> = elements.iter().map(|item| item.read_with(name)).collect();
    read.into_iter().collect()
}

/// The tenant's console; the only one, where the tenant does not say.
fn console(section: &mut Section<'_>, consoles: &Consoles) -> Option<String> {
    match section.optional("console") {
        Some(item) => item.read_with(|name: String| {
            if consoles.names.contains(&name) {
                return Ok(name);
            }
            Err(format!("no console is called {name:?}"))
        }),
        None if consoles.names.len() == 1 => consoles.names.iter().next().cloned(),
        // That there is no console was reported already.
        None if consoles.names.is_empty() => None,
        None => {
            section.fault("console", "is missing: there is more than one console");
            None
        }
    }
}

/// Who acts for a tenant: a user, or the owner of a company.
fn whom(item: &Item<'_>) -> Option<Whom> {
    let mut section = item.section()?;
    let user = section
        .optional("user")
        .map(|item| item.read_with(|text: String| subject(&text).map(Whom::User)));
    let company = section.optional("company").map(|item| {
        item.read_with(|text: String| {
            uid(&text)
                .map(Whom::Company)
                .ok_or("must be the instanceUid of a company, a UUID of 36 characters")
        })
    });
    let named = section.optional("company_name").map(|item| {
        item.read_with(|text: String| match text.as_str() {
            "" => Err("must not be empty"),
            name => Ok(Whom::CompanyNamed(Arc::from(name))),
        })
    });
    let mut given = [user, company, named].into_iter().flatten();
    let whom = match (given.next(), given.next()) {
        (Some(whom), None) => whom,
        _ => {
            section.fault("", "needs exactly one of user, company and company_name");
            None
        }
    };
    section.finish();
    whom
}

/// A user by the UUID that VSPC gives it.
pub(super) fn subject(text: &str) -> Result<Subject, &'static str> {
    uid(text)
        .map(Subject)
        .ok_or("must be the userUid of a VSPC user, a UUID of 36 characters")
}

/// A UUID in its usual spelling.
pub(super) fn uid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text)
        .ok()
        .filter(|uid| !uid.is_nil() && text.len() == 36)
}
