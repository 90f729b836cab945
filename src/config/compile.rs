//! From the file's face to values that cannot be wrong.

mod addresses;
pub(super) mod audit;
mod clients;
mod conditions;
mod connections;
mod console_tls;
pub(super) mod consoles;
pub(super) mod credentials;
mod files;
mod issuers;
mod listeners;
mod login;
mod mapping;
pub(super) mod operations;
mod postgres;
mod quotas;
mod reason;
mod reconcile;
mod rules;
pub(super) mod server;
mod shares;
mod sinks;
mod tenants;
mod tokens;

use std::path::Path;

use super::reader::Section;
use super::{AdminAddress, Settings, Source};
use crate::quota;

/// Compiles a whole file. `None` means that there are faults; there may be faults all the same
/// when there is a value.
pub(super) fn settings(root: &mut Section<'_>, folder: &Path) -> Option<Settings> {
    let audit = audit::audit(root, folder);
    let upgrade_default = audit
        .as_ref()
        .map(|audit| audit.directory.join("upgrade.sock"));
    let consoles = consoles::consoles(root, folder);
    let server = server::server(root, folder, upgrade_default, &consoles.consoles);
    let admin = server::admin(root, folder);
    if let (Some(server), Some(Some(admin))) = (&server, &admin)
        && let AdminAddress::Tcp(address) = admin.listen
        && address.port() != 0
        && server.listen.iter().any(|other| other.address == address)
    {
        root.fault(
            "admin.listen",
            "is where clients connect: server.listen has it too",
        );
    }
    let log = server::log(root);
    let state = server::state(root, folder);
    if let (Some(audit), Some(state)) = (&audit, &state)
        && audit.directory == state.directory
    {
        root.fault("state.directory", "is where the audit log is kept");
    }
    let wait = server.as_ref().map(|server| server.token_wait);
    let refresh = tokens::tokens(root, wait);
    let mut quotas = quota::Settings::default();
    let tenants = tenants::tenants(root, &consoles, &mut quotas.tenants);
    let (mapping, scopes, reasons) = mapping::mapping(root, &tenants);
    let issuers = issuers::issuers(root, folder);
    let known = (&tenants, &issuers);
    let rules = (consoles.rules, reasons);
    let (clients, policy) = clients::clients(root, known, &mapping, rules, &mut quotas.clients);
    mapping::check_scopes(&scopes, &clients);
    quotas.guesses = server.as_ref().and_then(|server| server.guesses);
    root.finish();

    Some(Settings {
        source: Source::of(root.text()),
        server: server?,
        admin: admin?,
        log: log?,
        audit: audit?,
        state: state?,
        refresh: refresh?,
        consoles: consoles.consoles,
        issuers: issuers.settings,
        clients,
        tenants: tenants.directory,
        tenant_logins: tenants.logins,
        mapping,
        policy,
        quotas,
    })
}
