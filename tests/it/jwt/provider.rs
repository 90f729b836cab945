//! An identity provider: a discovery document, keys, and whatever else a test has it answer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vspc_gateway::clock::Clock;

/// The machine's time in seconds, by which tokens are judged.
pub(super) fn now() -> i64 {
    Clock::System.now().0 / 1_000_000
}

/// An object with some members in place of, or besides, its own; null takes one out.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is used"
)]
pub(super) fn with(base: &Value, changes: Value) -> Value {
    let mut base = base.clone();
    let members = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    base
}

/// A key that signs tokens.
pub(super) struct Signer {
    kid: String,
    key: EcdsaKeyPair,
}

impl Signer {
    pub(super) fn new(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.kid, "typ": "at+jwt"});
        self.sign_as(&header, claims)
    }

    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = self.key.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let coordinate = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap());
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256",
            "x": coordinate(1..33), "y": coordinate(33..65)})
    }
}

/// A set of keys, as text.
pub(super) fn set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// The provider, for as long as it is held.
pub(super) struct Provider {
    url: String,
    desk: Arc<Mutex<Desk>>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Desk {
    /// By path: a status, a `Location`, a body.
    answers: HashMap<String, (u16, Option<String>, Bytes)>,
    asked: Vec<String>,
}

impl Provider {
    pub(super) async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Mutex::new(Desk::default()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&desk)));
        let provider = Self { url, desk, serving };
        let keys = format!("{}/keys", provider.url);
        let document = json!({"issuer": provider.url, "jwks_uri": keys});
        let document = document.to_string().into_bytes();
        provider.answer("/.well-known/openid-configuration", 200, document);
        provider.publish(signers);
        provider
    }

    /// What it is called, as issuer and as place.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn publish(&self, signers: &[&Signer]) {
        self.answer("/keys", 200, set(signers).into_bytes());
    }

    pub(super) fn answer(&self, path: &str, status: u16, body: Vec<u8>) {
        let answer = (status, None, Bytes::from(body));
        self.desk.lock().answers.insert(path.to_owned(), answer);
    }

    pub(super) fn redirect(&self, path: &str, to: &str) {
        let answer = (302, Some(to.to_owned()), Bytes::new());
        self.desk.lock().answers.insert(path.to_owned(), answer);
    }

    /// How often it was asked for a path, or for any.
    pub(super) fn asked(&self, path: &str) -> usize {
        let desk = self.desk.lock();
        let asked = desk.asked.iter();
        asked
            .filter(|asked| path.is_empty() || *asked == path)
            .count()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, desk: Arc<Mutex<Desk>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let desk = Arc::clone(&desk);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut desk = desk.lock();
            let path = request.uri().path().to_owned();
            let known = desk.answers.get(&path).cloned();
            desk.asked.push(path);
            let (status, location, body) = known.unwrap_or((404, None, Bytes::new()));
            let mut answer = Response::builder().status(status);
            if let Some(location) = location {
                answer = answer.header("location", location);
            }
            let answer = answer.body(Full::new(body)).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // It ends as it likes.
            http.serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}
