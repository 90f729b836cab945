//! The little that operators' commands need of a file. Whether the rest is in order is not theirs to
//! say: an emergency stop does not depend on it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::server;
use crate::config::Operations;
use crate::config::reader::{Item, Section};
use crate::config::value::path;

pub(in crate::config) fn operations(root: &mut Section<'_>, folder: &Path) -> Option<Operations> {
    let admin = server::admin(root, folder);
    let state_directory = state_directory(root, folder);
    let mut tenants = HashMap::new();
    for mut tenant in root.sections("tenants") {
        let Some(name) = text(tenant.optional("name")) else {
            continue;
        };
        let aliases = tenant.optional("aliases");
        let aliases = aliases.and_then(|item| item.elements()).unwrap_or_default();
        for alias in aliases {
            text(Some(alias)).map(|alias| tenants.insert(alias, name.clone()));
        }
        tenants.insert(name.clone(), name);
    }
    let clients: HashSet<String> = root
        .sections("clients")
        .into_iter()
        .filter_map(|mut client| text(client.optional("name")))
        .collect();
    Some(Operations {
        admin: admin?,
        state_directory: state_directory?,
        tenants,
        clients,
    })
}

fn state_directory(root: &mut Section<'_>, folder: &Path) -> Option<PathBuf> {
    match root.optional("state") {
        None => Some(folder.join("state")),
        Some(item) => path(&item.section()?.required("directory")?, folder),
    }
}

fn text(item: Option<Item<'_>>) -> Option<String> {
    item?.raw().as_str().map(str::to_owned)
}
