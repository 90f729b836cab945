//! The simulator from outside: every test starts one and speaks HTTP to it.

mod activities;
mod control;
mod faults;
mod grants;
mod guards;
mod key_pairs;
mod logins;
mod mfa;
mod probes;
mod sessions;
mod users;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::seed::SeedUser;
use crate::{Settings, Simulator, Switches, seed};

const FORM: &str = "application/x-www-form-urlencoded";

async fn start() -> Simulator {
    switched(|_| {}).await
}

async fn switched(change: impl FnOnce(&mut Switches)) -> Simulator {
    let mut settings = Settings::default();
    change(&mut settings.switches);
    Simulator::start(settings).await.unwrap()
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the `data` of an answer that must be 200.
    #[track_caller]
    fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["data"].clone()
    }

    /// Returns the one error of an answer that must have this status.
    #[track_caller]
    fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0]["code"], status);
        errors[0].clone()
    }

    /// Returns the OAuth error of an answer that must be 400.
    #[track_caller]
    fn oauth(&self) -> String {
        assert_eq!(self.status, 400, "{self:?}");
        let body = self.json();
        assert!(body["error_description"].is_string());
        assert_eq!(body["error_uri"], Value::Null);
        body["error"].as_str().unwrap().to_owned()
    }
}

/// A request to be sent on a connection of its own.
struct Ask {
    request: http::request::Builder,
    body: Bytes,
}

fn ask(method: &str, target: &str) -> Ask {
    Ask {
        request: Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(target)
            .header(HOST, "simulator"),
        body: Bytes::new(),
    }
}

fn get(target: &str) -> Ask {
    ask("GET", target)
}

impl Ask {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    fn body(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), kind)
    }

    fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    async fn send(self, simulator: &Simulator) -> Answer {
        self.attempt(simulator).await.unwrap()
    }

    async fn attempt(self, simulator: &Simulator) -> Result<Answer, hyper::Error> {
        let stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        let request = self.request.version(Version::HTTP_11);
        let response = sender
            .send_request(request.body(Full::new(self.body)).unwrap())
            .await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

/// Sends a token request with this body.
async fn token(simulator: &Simulator, form: &str) -> Answer {
    ask("POST", "/api/v3/token")
        .body(FORM, form.to_owned())
        .send(simulator)
        .await
}

/// The tokens of an answer that must be 200.
#[derive(Clone, Debug)]
struct Pair {
    access: String,
    refresh: String,
}

#[track_caller]
fn pair(answer: &Answer) -> Pair {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Pair {
        access: text("access_token"),
        refresh: text("refresh_token"),
    }
}

async fn login(simulator: &Simulator, user: &SeedUser) -> Pair {
    let (name, password) = (user.name, user.password);
    let form = format!("grant_type=password&username={name}&password={password}");
    pair(&token(simulator, &form).await)
}

async fn service(simulator: &Simulator) -> Pair {
    login(simulator, &seed::SERVICE).await
}

/// Waits for a condition that other tasks bring about.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

fn as_form(refresh: &str, target: Uuid) -> String {
    format!("grant_type=as&refresh_token={refresh}&userUid={target}")
}

fn refresh_form(refresh: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={refresh}")
}

async fn me(simulator: &Simulator, access: &str) -> Answer {
    get("/api/v3/users/me").bearer(access).send(simulator).await
}
