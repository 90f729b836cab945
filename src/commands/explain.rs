//! `vspc-gateway explain`: who would act as whom, by which rule, or why not.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::{HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use vspc_gateway::client::{API_KEY, Certificate};
use vspc_gateway::clock::{Clock, Timestamp};
use vspc_gateway::explain::{Outcome, Plan, Question};
use vspc_gateway::secret::SecretSource;

use super::tokens::print;
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

#[derive(Args)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// The client that asks, taken to prove it: no key is needed.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// A file with the API key that is sent.
    #[arg(long, value_name = "FILE", conflicts_with = "client")]
    api_key_file: Option<PathBuf>,
    /// A header that is sent: 'X-Tenant: acme'. As often as needed.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// A certificate that the caller shows, in PEM.
    #[arg(long, value_name = "FILE.pem")]
    certificate: Option<PathBuf>,
    /// What the client's token claims: 'tid=customer-acme'. As often as needed.
    #[arg(long = "claim", value_name = "NAME=VALUE", requires = "client", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// Where the request comes from.
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// When it is sent, with its offset: 2026-12-31T22:00:00Z. Default: now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The request's method.
    method: String,
    /// Its path, with its query if it has one.
    path: String,
}

/// Explains. What is not allowed is a failure without a message.
pub(crate) fn run(arguments: ExplainArguments) -> Result<(), Failure> {
    let usage = |error: String| Failure(error, BAD_USAGE);
    let plan = Plan::load(&arguments.file.config).map_err(|error| usage(error.to_string()))?;
    let at = arguments.at.unwrap_or_else(|| Clock::System.now());
    let mut question = Question::new(&arguments.method, &arguments.path, at);
    question.headers = arguments.headers;
    if let Some(file) = &arguments.api_key_file {
        question.headers.push((API_KEY, key(file).map_err(usage)?));
    }
    let certificate = arguments.certificate.as_deref().map(certificate);
    question.certificate = certificate.transpose().map_err(usage)?;
    question.client = arguments.client;
    question.claims = arguments.claims;
    question.source = arguments.source;
    let told = plan
        .explain(&question)
        .map_err(|error| usage(error.to_string()))?;
    print(&if arguments.json {
        format!("{}\n", told.json())
    } else {
        told.to_string()
    })?;
    match told.outcome() {
        Outcome::Allowed => Ok(()),
        Outcome::Open | Outcome::Refused => Err(Failure(String::new(), FAILED)),
    }
}

fn certificate(file: &Path) -> Result<Arc<Certificate>, String> {
    let place = file.display();
    let der = CertificateDer::from_pem_file(file)
        .map_err(|error| format!("{place} cannot be read as a certificate in PEM: {error}"))?;
    let read = Certificate::read(&der).map_err(|error| format!("{place}: {error}"))?;
    Ok(Arc::new(read))
}

fn key(file: &Path) -> Result<HeaderValue, String> {
    let secret = SecretSource::File(file.to_owned()).read();
    let secret = secret.map_err(|error| error.to_string())?;
    let mut value = HeaderValue::from_str(secret.expose())
        .map_err(|_| format!("{} holds what no header can carry", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    const WRONG: &str = "must be a header such as 'X-Tenant: acme'";
    let (name, value) = text.split_once(':').ok_or(WRONG)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| WRONG)?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| WRONG)?;
    Ok((name, value))
}

fn claim(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text
        .split_once('=')
        .ok_or("must be a claim such as 'tid=acme'")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text)
        .ok_or("must be a date and a time with its offset, such as 2026-12-31T00:00:00Z")
}
