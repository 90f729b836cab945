//! `server.listen` and the TLS of listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::server::socket_address;
use crate::client::Proxies;
use crate::config::reader::{Item, Section};
use crate::config::value::{path, secret_source};
use crate::listen::Listener;
use crate::listen::tls::{CallerRules, Demand, MinVersion, PairSource, Settings, Tls};

/// The listeners, each with its own TLS, that of `server.tls`, or none. `proxies` are those that may
/// send a PROXY header; `None` where they are at fault.
pub(super) fn listeners(
    section: &mut Section<'_>,
    folder: &Path,
    proxies: Option<&Proxies>,
) -> Option<Vec<Listener>> {
    let is_proxied = section.optional("proxy_protocol");
    let is_proxied = is_proxied.map_or(Some(false), |item| proxy_protocol(&item, proxies));
    let shared = section.optional("tls").map(|item| tls(&item, folder));
    let item = section.required("listen")?;
    let elements = if item.raw().is_array() {
        item.elements()?
    } else {
        vec![item.clone()]
    };
    if elements.is_empty() {
        item.fault("needs at least one address");
        return None;
    }
    let mut read: Vec<Listener> = Vec::new();
    let mut shared_by = 0;
    for element in &elements {
        let Element {
            address,
            own,
            proxy_protocol,
        } = listener(element, folder, proxies)?;
        if address.port() != 0 && read.iter().any(|other| other.address == address) {
            element.fault("stands here twice");
        }
        let settings = match (own, &shared) {
            (Own::Tls(settings), _) => Some(settings),
            (Own::Shared, Some(settings)) => {
                shared_by += 1;
                Some(settings.clone()?)
            }
            (Own::Plain, _) | (Own::Shared, None) => None,
        };
        let tls = match settings {
            None => None,
            Some(_) if section.is_alone() => None,
            // What they share is at fault once.
            Some(settings) => Some(open(section, settings, address)?),
        };
        read.push(Listener {
            address,
            tls,
            proxy_protocol: proxy_protocol.or(is_proxied)?,
        });
    }
    if shared.is_some() && shared_by == 0 {
        section.fault("tls", "is used by no listener: each has its own");
    }
    Some(read)
}

/// What stands for one listener.
struct Element {
    address: SocketAddr,
    own: Own,
    /// `None` where the server's counts.
    proxy_protocol: Option<bool>,
}

/// What an element says of TLS.
enum Own {
    Plain,
    Shared,
    Tls(Settings),
}

/// An address, or a table with one.
fn listener(item: &Item<'_>, folder: &Path, proxies: Option<&Proxies>) -> Option<Element> {
    if !item.raw().is_table() {
        let address = item.read_with(|text: String| socket_address(&text))?;
        return Some(Element {
            address,
            own: Own::Shared,
            proxy_protocol: None,
        });
    }
    let mut section = item.section()?;
    let address = section
        .required("address")
        .and_then(|item| item.read_with(|text: String| socket_address(&text)));
    let own = match section.optional("tls") {
        None => Some(Own::Shared),
        Some(item) if item.raw().as_bool() == Some(false) => Some(Own::Plain),
        Some(item) if item.raw().is_table() => tls(&item, folder).map(Own::Tls),
        Some(item) => {
            item.expected("a table, or false for a listener without TLS");
            None
        }
    };
    let proxied = section.optional("proxy_protocol");
    let proxied = proxied.map(|item| proxy_protocol(&item, proxies));
    section.finish();
    Some(Element {
        address: address?,
        own: own?,
        proxy_protocol: match proxied {
            None => None,
            Some(read) => Some(read?),
        },
    })
}

/// Whether connections begin with a header of the PROXY protocol.
fn proxy_protocol(item: &Item<'_>, proxies: Option<&Proxies>) -> Option<bool> {
    let is_on = item.read()?;
    if is_on && proxies.is_some_and(|proxies| proxies.networks.is_empty()) {
        item.fault("needs trusted_proxies: without it everybody could say to come from anywhere");
    }
    Some(is_on)
}

fn open(section: &Section<'_>, settings: Settings, address: SocketAddr) -> Option<Arc<Tls>> {
    let place = settings.place.clone();
    match Tls::open(settings, address.to_string()) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(faults) => {
            for fault in faults {
                section.fault_at(&place, &fault.place, fault.wrong.to_string());
            }
            None
        }
    }
}

/// The settings of TLS.
fn tls(item: &Item<'_>, folder: &Path) -> Option<Settings> {
    let mut section = item.section()?;
    let place = section.path().to_owned();
    let single = match (section.optional("certificate"), section.optional("key")) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => pair("", &certificate, &key, folder).map(Some),
        (Some(_), None) => {
            section.fault("key", "is missing");
            None
        }
        (None, Some(_)) => {
            section.fault("certificate", "is missing");
            None
        }
    };
    let more = pairs(&mut section, folder);
    let callers = callers(&mut section, folder);
    let min_version = section
        .optional("min_version")
        .map_or(Some(MinVersion::default()), |item| {
            item.read_with(|text: String| match text.as_str() {
                "1.2" => Ok(MinVersion::Tls12),
                "1.3" => Ok(MinVersion::Tls13),
                _ => Err(r#"must be "1.2" or "1.3": what is older is not safe any more"#),
            })
        });
    let strict_sni = section.or("strict_sni", false);
    let pairs: Option<Vec<_>> = single
        .zip(more)
        .map(|(single, more)| single.into_iter().chain(more).collect());
    if pairs.as_ref().is_some_and(Vec::is_empty) {
        section.fault("certificate", "is missing, and so are certificates");
    }
    section.finish();
    Some(Settings {
        place,
        pairs: pairs.filter(|pairs| !pairs.is_empty())?,
        callers: callers?,
        min_version: min_version?,
        strict_sni: strict_sni?,
    })
}

/// The pairs of `certificates`.
fn pairs(section: &mut Section<'_>, folder: &Path) -> Option<Vec<PairSource>> {
    let Some(item) = section.optional("certificates") else {
        return Some(Vec::new());
    };
    let read = item.elements()?.into_iter().enumerate();
    let read: Vec<_> = read
        .map(|(index, item)| {
            let mut section = item.section()?;
            let certificate = section.required("certificate");
            let key = section.required("key");
            section.finish();
            pair(
                &format!("certificates[{index}]."),
                &certificate?,
                &key?,
                folder,
            )
        })
        .collect();
    read.into_iter().collect()
}

/// A certificate and its key, which may be written as a path too: both are files most often.
fn pair(place: &str, certificate: &Item<'_>, key: &Item<'_>, folder: &Path) -> Option<PairSource> {
    let certificate = path(certificate, folder);
    let key = secret_source(key, folder);
    Some(PairSource {
        place: place.to_owned(),
        certificate: certificate?,
        key: key?,
    })
}

fn callers(section: &mut Section<'_>, folder: &Path) -> Option<Option<CallerRules>> {
    let authorities = section.optional("client_ca");
    let authorities = authorities.map(|item| path(&item, folder));
    let revoked = section.optional("client_crl");
    let revoked = revoked.map(|item| path(&item, folder));
    let demand = section.optional("client_certificates").map(|item| {
        item.read_with(|text: String| match text.as_str() {
            "optional" => Ok(Demand::Optional),
            "required" => Ok(Demand::Required),
            _ => Err(r#"must be "optional" or "required""#),
        })
    });
    let Some(authorities) = authorities else {
        for (key, is_there) in [
            ("client_crl", revoked.is_some()),
            ("client_certificates", demand.is_some()),
        ] {
            if is_there {
                section.fault(key, "means nothing without client_ca");
            }
        }
        return Some(None);
    };
    let revoked = match revoked {
        None => None,
        Some(path) => Some(path?),
    };
    Some(Some(CallerRules {
        authorities: authorities?,
        revoked,
        demand: demand.unwrap_or(Some(Demand::default()))?,
    }))
}
