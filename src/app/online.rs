//! `check --online`: what is there at the consoles of a configuration, and what to do about it.
//!
//! Nothing that is found out here is kept, and nothing that is secret is told. Without `log_in`
//! nothing is sent but one GET without a token, and that only over TLS that is believed.

mod account;
mod finding;
mod tls;

pub use finding::{Finding, Grade};
pub use tls::soon;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{Request, Response, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::clock::Clock;
use crate::config;
use crate::upstream::{Console, RequestBody, Settings, places};
use crate::vspc::Expected;

/// What was found at one console.
#[derive(Debug)]
pub struct ConsoleReport {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// What was found at each address.
    pub addresses: Vec<AddressReport>,
    /// What holds of the console whatever the address.
    pub findings: Vec<Finding>,
}

/// What was found at one address of a console.
#[derive(Debug)]
pub struct AddressReport {
    /// The address as the configuration has it, and where that led.
    pub address: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl AddressReport {
    fn works(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.grade != Grade::Failed)
    }
}

impl ConsoleReport {
    /// Everything that was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let addresses = self.addresses.iter();
        let there = addresses.flat_map(|address| &address.findings);
        there.chain(&self.findings)
    }
}

/// Tries all consoles out, at the same time; with `log_in` the gateway's accounts there, too, whose
/// answers are to be as this says.
pub async fn check(consoles: &[config::Console], log_in: Option<Expected>) -> Vec<ConsoleReport> {
    join_all(consoles.iter().map(|console| report(console, log_in))).await
}

async fn report(console: &config::Console, log_in: Option<Expected>) -> ConsoleReport {
    let settings = &console.upstream;
    let mut addresses = Vec::new();
    let led = places(settings).await;
    let places = led.iter().map(|(label, led)| place(settings, label, led));
    for reports in join_all(places).await {
        addresses.extend(reports);
    }
    let findings = match (log_in, addresses.iter().any(AddressReport::works)) {
        (Some(expected), true) => account::check(console, expected).await,
        (Some(_), false) => vec![Finding::warning(
            "log-in",
            "was not tried: no address works",
        )],
        (None, _) => Vec::new(),
    };
    ConsoleReport {
        name: settings.id.to_string(),
        url: format!("{}://{}", settings.scheme, settings.authority),
        addresses,
        findings,
    }
}

/// All that one name leads to.
async fn place(
    settings: &Settings,
    label: &str,
    led: &Result<Vec<SocketAddr>, String>,
) -> Vec<AddressReport> {
    let led = match led {
        Ok(led) => led,
        Err(why) => {
            let remedy = "is the name right, and does this machine's resolver know it?";
            return vec![AddressReport {
                address: label.to_owned(),
                findings: vec![Finding::failed("look-up", why).remedy(remedy)],
            }];
        }
    };
    let tried = led.iter().map(|address| try_out(settings, label, *address));
    let mut reports = join_all(tried).await;
    // Where a name leads to IPv6 as well, and this machine has none, requests take the other address.
    if reports.iter().any(AddressReport::works) {
        let findings = reports.iter_mut().flat_map(|report| &mut report.findings);
        for finding in findings.filter(|finding| finding.what == TCP) {
            finding.grade = finding.grade.min(Grade::Warning);
        }
    }
    reports
}

async fn try_out(settings: &Settings, label: &str, address: SocketAddr) -> AddressReport {
    let shown = address.to_string();
    let address_text = if shown == label {
        shown
    } else {
        format!("{shown} ({label})")
    };
    let mut findings = Vec::new();
    if reach(settings, address, &mut findings).await {
        findings.extend(ask(settings, address).await);
    }
    AddressReport {
        address: address_text,
        findings,
    }
}

/// TCP and TLS; whether a request may be sent.
async fn reach(settings: &Settings, address: SocketAddr, findings: &mut Vec<Finding>) -> bool {
    let probe = match settings.probe(address).await {
        Ok(probe) => probe,
        Err(fault) => {
            findings.push(Finding::failed("TLS", fault.to_string()));
            return false;
        }
    };
    match probe.tcp {
        Ok(took) => {
            let text = format!("connected in {} ms", took.as_millis());
            findings.push(Finding::ok(TCP, text));
        }
        Err(why) => {
            let remedy = "does the console run, and do firewalls let this machine in?";
            findings.push(Finding::failed(TCP, why).remedy(remedy));
            return false;
        }
    }
    let Some(tls) = probe.tls else { return true };
    tls::judge(settings, tls, findings)
}

/// A GET without a token, over the road that requests go.
async fn ask(settings: &Settings, address: SocketAddr) -> Vec<Finding> {
    let failed = |why: String| {
        let remedy = "does VSPC listen there, and not something else?";
        vec![Finding::failed("HTTP", why).remedy(remedy)]
    };
    let path = settings
        .checks
        .as_ref()
        .and_then(|checks| checks.path.clone());
    let path = path.unwrap_or_else(|| PathAndQuery::from_static(IS_LOGGED));
    let console = match Console::new(settings.at(address)) {
        Ok(console) => console,
        Err(fault) => return failed(fault.to_string()),
    };
    let mut request = Request::new(RequestBody::Empty);
    *request.uri_mut() = match console.uri(path.clone()) {
        Ok(uri) => uri,
        Err(error) => return failed(error.to_string()),
    };
    let sending = tokio::time::timeout(patience(settings), console.send(request, None));
    match sending.await {
        Ok(Ok(answer)) => {
            let mut findings = vec![answered(&answer, &path)];
            findings.extend(clock(&answer));
            findings
        }
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed("no answer within connect_timeout".to_owned()),
    }
}

fn patience(settings: &Settings) -> Duration {
    settings.connect_timeout
}

fn answered<B>(answer: &Response<B>, path: &PathAndQuery) -> Finding {
    let version = match answer.version() {
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    };
    let status = answer.status();
    let text = format!("GET {path} answered {} over {version}", status.as_u16());
    if status.is_success() {
        return Finding::ok("HTTP", text);
    }
    if status.is_server_error() {
        let remedy = "the console does not work; its own logs say why";
        return Finding::failed("HTTP", text).remedy(remedy);
    }
    Finding::warning("HTTP", text).remedy("is it VSPC's REST API, port 1280 as a rule?")
}

/// How the console's clock goes. TOTP codes and the times in tokens depend on it.
fn clock<B>(answer: &Response<B>) -> Option<Finding> {
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    let there = OffsetDateTime::parse(date, &Rfc2822).ok()?.unix_timestamp();
    let here = Clock::System.now().0.div_euclid(1_000_000);
    let ahead = there.saturating_sub(here);
    let text = match ahead {
        -1..=1 => "the console's clock and this machine's agree".to_owned(),
        ahead if ahead > 0 => format!("the console's clock is {ahead} s ahead of this machine's"),
        behind => format!(
            "the console's clock is {} s behind this machine's",
            behind.unsigned_abs()
        ),
    };
    if ahead.unsigned_abs() <= CLOCK_APART {
        return Some(Finding::ok("clock", text));
    }
    let remedy = "set both by NTP: codes of second factors and the times in tokens depend on it";
    Some(Finding::warning("clock", text).remedy(remedy))
}

const TCP: &str = "TCP";

/// One of the operations that need no token, and change nothing.
const IS_LOGGED: &str = "/api/v3/plugins/user/islogged";

/// So many seconds apart are no matter.
const CLOCK_APART: u64 = 30;
