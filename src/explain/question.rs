//! What is asked: a request as somebody would send it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, HeaderMap};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};

use crate::client::{API_KEY, Certificate, Peer};
use crate::clock::Timestamp;
use crate::config::Settings;

/// A request to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Its path, and its query if it has one, as they would be sent.
    pub target: String,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client that it is taken to come from, whatever that proves itself with.
    pub client: Option<String>,
    /// The certificate that the caller shows.
    pub certificate: Option<Arc<Certificate>>,
    /// What the caller's token claims, for a client that is named.
    pub claims: Vec<(String, String)>,
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
}

/// Why something is no question about a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadQuestion {
    /// A client is named, and credentials are there too.
    #[error("a named client needs no credential: leave out the key, or the client")]
    BesideClient,
    /// Claims without a client whose token would claim them.
    #[error("claims are those of a client's token: name the client too")]
    Claims,
    /// No client is called that.
    #[error("no client is called {name:?}; there are: {known}")]
    Client {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Not a path.
    #[error("the path must begin with a slash, such as /api/v3/users")]
    Path,
}

impl Question {
    /// A request without headers, from nowhere in particular.
    pub fn new(method: &str, target: &str, at: Timestamp) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            client: None,
            certificate: None,
            claims: Vec::new(),
            source: None,
            at,
        }
    }

    /// The other end of the connection it would come on.
    pub(super) fn peer(&self) -> Peer {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Peer {
            certificate: self.certificate.clone(),
            ..Peer::plain(self.source.unwrap_or(nowhere))
        }
    }

    /// The request as the gateway gets it; the outer error is of the question, the inner one says
    /// that no request can have that target or method.
    pub(super) fn parts(&self, settings: &Settings) -> Result<Option<Parts>, BadQuestion> {
        self.check(settings)?;
        let mut headers: HeaderMap = self.headers.iter().cloned().collect();
        if headers.is_empty() || !headers.contains_key(HOST) {
            let names = &settings.server.limits.names;
            let host = names.first().map_or("gateway", String::as_str);
            if let Ok(host) = HeaderValue::from_str(host) {
                headers.insert(HOST, host);
            }
        }
        let Ok(uri) = self.target.parse::<Uri>() else {
            return Ok(None);
        };
        let request = Request::builder().method(self.method.as_bytes()).uri(uri);
        let Ok(request) = request.body(()) else {
            return Ok(None);
        };
        let mut parts = request.into_parts().0;
        parts.headers = headers;
        Ok(Some(parts))
    }

    fn check(&self, settings: &Settings) -> Result<(), BadQuestion> {
        if !self.target.starts_with('/') {
            return Err(BadQuestion::Path);
        }
        let mut names = self.headers.iter().map(|(name, _)| name);
        let Some(client) = &self.client else {
            return match self.claims.is_empty() {
                true => Ok(()),
                false => Err(BadQuestion::Claims),
            };
        };
        if names.any(|name| *name == API_KEY || *name == AUTHORIZATION) {
            return Err(BadQuestion::BesideClient);
        }
        if settings.clients.named(client).is_none() {
            return Err(BadQuestion::Client {
                name: client.clone(),
                known: settings.clients.client_names().join(", "),
            });
        }
        Ok(())
    }

    /// The head of the request as bytes, for whoever reads those first.
    pub(super) fn wire(&self, headers: &HeaderMap) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}
