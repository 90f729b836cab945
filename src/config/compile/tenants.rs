//! `[[tenants]]` and `[mapping]`.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use http::header;
use uuid::Uuid;

use super::consoles::{Consoles, name};
use crate::client::API_KEY;
use crate::config::reader::{Item, Section};
use crate::tenant::{Directory, Mapping, Tenant};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// The tenants, and the names of all that the file speaks of.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) directory: Directory,
    pub(super) tenants: Vec<Arc<Tenant>>,
    pub(super) names: HashMap<String, String>,
}

pub(super) fn mapping(root: &mut Section<'_>) -> Mapping {
    let Some(mut section) = root.optional("mapping").and_then(|item| item.section()) else {
        return Mapping::default();
    };
    let tenant_header = section
        .optional("tenant_header")
        .and_then(|item| item.read_with(|text: String| mapping_header(&text)));
    section.finish();
    Mapping { tenant_header }
}

/// A header that a mapping may use: not one that means something to HTTP or to the gateway.
fn mapping_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not a header name"))?;
    let taken = [
        API_KEY,
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("x-client-version"),
    ];
    if taken.contains(&name) {
        return Err(format!(
            "{text} has another meaning and would be taken from every request"
        ));
    }
    Ok(name)
}

pub(super) fn tenants(root: &mut Section<'_>, consoles: &Consoles) -> Tenants {
    let mut all = Tenants::default();
    for mut section in root.sections("tenants") {
        let name = section
            .required("name")
            .and_then(|item| item.read_with(name));
        let aliases = section
            .optional("aliases")
            .map_or(Some(Vec::new()), |item| {
                let read: Vec<_> = item
                    .elements()?
                    .iter()
                    .map(|item| item.read_with(super::consoles::name))
                    .collect();
                read.into_iter().collect()
            });
        for (key, taken) in name
            .iter()
            .map(|n| ("name", n))
            .chain(aliases.iter().flatten().map(|alias| ("aliases", alias)))
        {
            let owner = name.clone().unwrap_or_default();
            if let Some(other) = all.names.insert(taken.to_lowercase(), owner) {
                section.fault(
                    key,
                    format!("{taken:?} already stands for tenant {other:?}"),
                );
            }
        }
        let console = console(&mut section, consoles);
        let target = section
            .required("impersonate")
            .and_then(|item| target(&item));
        let read_only = section.or("read_only", false);
        section.finish();
        let tenant = (|| {
            let access = if read_only? {
                Access::ReadOnly
            } else {
                Access::Full
            };
            let (name, console) = (Arc::from(name?), ConsoleId::new(&console?));
            Some(Arc::new(Tenant {
                name,
                console,
                target: target?,
                access,
            }))
        })();
        let (Some(tenant), Some(aliases)) = (tenant, aliases) else {
            continue;
        };
        for name in std::iter::once(&*tenant.name).chain(aliases.iter().map(String::as_str)) {
            // A name that is taken was reported above.
            if all.directory.add(name, &tenant).is_err() {
                continue;
            }
        }
        all.tenants.push(tenant);
    }
    all
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
        None => {
            section.fault("console", "is missing: there is more than one console");
            None
        }
    }
}

fn target(item: &Item<'_>) -> Option<Subject> {
    let mut section = item.section()?;
    let user = section.required("user").and_then(|item| {
        item.read_with(|text: String| {
            Uuid::try_parse(&text)
                .ok()
                .filter(|uid| !uid.is_nil() && text.len() == 36)
                .ok_or("must be the userUid of a VSPC user, a UUID of 36 characters")
        })
    });
    section.finish();
    user.map(Subject)
}
