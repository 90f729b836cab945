//! Fetches what an issuer publishes: the discovery document, and the keys.

use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::json::Object;
use super::keys::{KeySet, KeySetFault};
use crate::upstream::{Trust, TrustError, client_config};

/// Why an issuer's keys could not be had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchFault {
    /// The discovery document is of another issuer, or no such document.
    #[error("{0}")]
    Discovery(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// What came is no set of keys.
    #[error(transparent)]
    Keys(#[from] KeySetFault),
    /// More came than keys can be.
    #[error("{0} is larger than 1 MiB")]
    Large(String),
    /// No whole answer came in time.
    #[error("{0} did not answer within 5 s")]
    Slow(String),
    /// The answer was another one than 200. A redirect is not followed.
    #[error("{0} answered {1}")]
    Status(String, StatusCode),
    /// It could not be reached.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
}

/// Fetches documents of an issuer.
#[derive(Clone, Debug)]
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    pub(super) fn new(trust: &Trust) -> Result<Self, TrustError> {
        let tls = Arc::new(client_config(trust)?);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_LIMIT)
            // It is asked once in minutes.
            .pool_max_idle_per_host(0)
            .build(HttpsConnector::from((http, tls)));
        Ok(Self(client))
    }

    /// The keys at a URL.
    pub(super) async fn keys(&self, url: Uri) -> Result<KeySet, FetchFault> {
        Ok(KeySet::read(&self.get(url).await?)?)
    }

    /// The keys that the discovery document of an issuer leads to.
    pub(super) async fn discover(&self, issuer: &str) -> Result<KeySet, FetchFault> {
        let fault = |what: String| FetchFault::Discovery(what);
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let at = place(&url).map_err(|why| fault(format!("the issuer's URL {why}")))?;
        let is_plain = at.scheme() == Some(&http::uri::Scheme::HTTP);
        let text = self.get(at).await?;
        let document =
            Object::read(&text).map_err(|_| fault(format!("{url} is no JSON object")))?;
        match document.text("issuer") {
            Ok(Some(named)) if named == issuer => {}
            Ok(Some(named)) => {
                let named: String = named.chars().take(256).collect();
                return Err(fault(format!("{url} is of another issuer: {named:?}")));
            }
            Ok(None) | Err(_) => return Err(fault(format!("{url} names no issuer"))),
        }
        let Ok(Some(keys)) = document.text("jwks_uri") else {
            return Err(fault(format!("{url} names no jwks_uri")));
        };
        let keys = place(keys).map_err(|why| fault(format!("the jwks_uri in {url} {why}")))?;
        if !is_plain && keys.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return Err(fault(format!("the jwks_uri in {url} must be https")));
        }
        self.keys(keys).await
    }

    async fn get(&self, url: Uri) -> Result<Bytes, FetchFault> {
        let place = url.to_string();
        match tokio::time::timeout(TIMEOUT, self.exchange(url, &place)).await {
            Ok(got) => got,
            Err(_) => Err(FetchFault::Slow(place)),
        }
    }

    async fn exchange(&self, url: Uri, place: &str) -> Result<Bytes, FetchFault> {
        let unreachable = |why: String| FetchFault::Unreachable(place.to_owned(), why);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url;
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, accept);
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| unreachable(causes(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchFault::Status(place.to_owned(), answer.status()));
        }
        match Limited::new(answer.into_body(), SIZE_LIMIT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(FetchFault::Large(place.to_owned()))
            }
            Err(error) => Err(unreachable(error.to_string())),
        }
    }
}

/// The keys in a file. Blocks.
pub(super) fn read_file(path: &Path) -> Result<KeySet, FetchFault> {
    let shown = path.display().to_string();
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| {
        let limit = SIZE_LIMIT as u64 + 1;
        file.take(limit).read_to_end(&mut text)
    });
    match read {
        Err(error) => Err(FetchFault::File {
            path: shown,
            reason: error.to_string(),
        }),
        Ok(size) if size > SIZE_LIMIT => Err(FetchFault::Large(shown)),
        Ok(_) => Ok(KeySet::read(&text)?),
    }
}

/// As [`read_file`], in a task that may block.
pub(super) async fn read_file_aside(path: PathBuf) -> Result<KeySet, FetchFault> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
    read.unwrap_or_else(|error| {
        Err(FetchFault::File {
            path: shown,
            reason: error.to_string(),
        })
    })
}

/// Reads the URL of something that an issuer publishes: https, or http on the same machine.
///
/// # Errors
/// Says what is wrong with it.
pub fn place(text: &str) -> Result<Uri, &'static str> {
    const WRONG: &str = "must be a URL such as \"https://login.example.com/tenant/v2.0\"";
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || text.contains(['#', '\\']) {
        return Err(WRONG);
    }
    let url: Uri = text.parse().map_err(|_| WRONG)?;
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(WRONG);
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user name");
    }
    match scheme {
        "https" => Ok(url),
        "http" if is_loopback(authority.host()) => Ok(url),
        _ => Err("must be https (http only on the same machine)"),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let parsed = address.parse::<std::net::IpAddr>();
    host == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
}

/// An error with what is behind it.
fn causes(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The most time for one document, from looking the name up to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a document.
const SIZE_LIMIT: usize = 1024 * 1024;

/// The most bytes of an answer's head.
const HEAD_LIMIT: usize = 64 * 1024;
