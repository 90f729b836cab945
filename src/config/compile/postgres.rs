//! Of `[[audit.sinks]]`: `kind = "postgres"`.

use std::path::{Path, PathBuf};

use super::console_tls;
use super::sinks::source;
use crate::audit::sinks::postgres::{Host, Names, Settings};
use crate::config::reader::{Item, Section};
use crate::upstream::Tls;

/// Where the database is, and who writes into it.
pub(super) fn postgres(section: &mut Section<'_>, folder: &Path) -> Option<Settings> {
    let port = section.optional("port").map_or(Some(5432), |item| {
        item.read_with(|port: u32| match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err("must be between 1 and 65535"),
        })
    });
    let host = section.required("host");
    let hosts = host.as_ref().and_then(|item| hosts(item, port?));
    let database = named(section.required("database"));
    let user = named(section.required("user"));
    let password = source(section.optional("password"), folder);
    let tls = tls(section, hosts.as_deref(), folder);
    let default = Names::default();
    let schema = section.or("schema", default.schema().to_owned());
    let prefix = section.or("prefix", default.prefix().to_owned());
    let names = schema.zip(prefix).and_then(|(schema, prefix)| {
        let names = Names::new(&schema, &prefix);
        names
            .map_err(|error| section.fault("schema", error.to_string()))
            .ok()
    });
    let application_name = section.or("application_name", "vspc-gateway".to_owned());
    Some(Settings {
        hosts: hosts?,
        database: database?,
        user: user?,
        password: password?,
        tls: tls?,
        names: names?,
        application_name: application_name?,
    })
}

/// One server or several: names, addresses, or folders of Unix sockets.
fn hosts(item: &Item<'_>, port: u16) -> Option<Vec<Host>> {
    let host = |item: &Item<'_>| item.read_with(|text: String| host(text, port));
    if item.raw().is_str() {
        return host(item).map(|host| vec![host]);
    }
    let hosts: Vec<_> = item.elements()?.iter().map(host).collect();
    let hosts: Option<Vec<Host>> = hosts.into_iter().collect();
    let hosts = hosts?;
    let sockets = hosts.iter().filter(|host| matches!(host, Host::Socket(..)));
    let sockets = sockets.count();
    if hosts.is_empty() || (sockets > 0 && sockets < hosts.len()) {
        item.fault("needs at least one server, and all by the network or all by sockets");
        return None;
    }
    Some(hosts)
}

fn host(text: String, port: u16) -> Result<Host, &'static str> {
    if text.starts_with('/') {
        return Ok(Host::Socket(PathBuf::from(text), port));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match !bare.is_empty() && (is_address || bare.chars().all(is_name)) {
        true => Ok(Host::Tcp(bare.to_owned(), port)),
        false => Err(
            "must be a name or address such as \"db.example.com\", or the folder of a Unix socket; \
             the port stands in `port`",
        ),
    }
}

fn named(item: Option<Item<'_>>) -> Option<String> {
    item?.read_with(
        |text: String| match text.is_empty() || text.contains('\0') {
            true => Err("must not be empty"),
            false => Ok(text),
        },
    )
}

/// With TLS unless everything stays on this machine, or it is not wanted.
fn tls(section: &mut Section<'_>, hosts: Option<&[Host]>, folder: &Path) -> Option<Option<Tls>> {
    let plaintext = section.or("danger_plaintext", false);
    let item = section.optional("tls");
    let set = item.is_some();
    let tls = item.map_or_else(
        || Some(Tls::default()),
        |item| console_tls::tls(&item, folder),
    );
    let is_local = hosts?.iter().all(Host::is_local);
    let has_socket = hosts?.iter().any(|host| matches!(host, Host::Socket(..)));
    if set && (plaintext? || has_socket) {
        section.fault(
            "tls",
            "means nothing by a Unix socket or with danger_plaintext",
        );
        return None;
    }
    match set || !(is_local || plaintext?) {
        true => tls.map(Some),
        false => Some(None),
    }
}
