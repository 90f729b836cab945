//! A receiver of posts that answers as a test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::seq_of;
use crate::child::free_address;

/// What it answers.
pub(super) enum Reply {
    /// 200, but not soon.
    After(Duration),
    /// 200 with a body.
    Body(Vec<u8>),
    /// 503 and when to come again, in seconds.
    Later(u64),
    Status(StatusCode, Option<&'static str>),
}

/// What was posted.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    taken: bool,
}

impl Post {
    pub(super) fn lines(&self) -> Vec<Value> {
        let lines = self.body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

type Answers = dyn Fn(usize, &Post) -> Reply + Send + Sync;

pub(super) struct Receiver {
    address: SocketAddr,
    answers: Arc<Answers>,
    posts: Arc<Mutex<Vec<Post>>>,
    serving: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts one; it is asked for each post, with how many there were before.
    pub(super) async fn start(
        answers: impl Fn(usize, &Post) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let mut receiver = Self {
            address: free_address(),
            answers: Arc::new(answers),
            posts: Arc::default(),
            serving: None,
        };
        receiver.resume().await;
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings of a sink that sends to it.
    pub(super) fn webhook(&self, more: &str) -> String {
        format!("kind = \"webhook\"\nurl = \"{}/hook\"\n{more}", self.url())
    }

    /// What came so far, and was taken.
    pub(super) fn posts(&self) -> Vec<Post> {
        let posts = self.posts.lock();
        posts.iter().filter(|post| post.taken).cloned().collect()
    }

    /// The numbers of the records that it took, as lines.
    pub(super) fn seqs(&self) -> Vec<u64> {
        let posts = self.posts();
        let lines = posts.iter().flat_map(Post::lines);
        lines.map(|line| seq_of(&line)).collect()
    }

    pub(super) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            assert!(serving.await.unwrap_err().is_cancelled());
        }
    }

    pub(super) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (answers, posts) = (Arc::clone(&self.answers), Arc::clone(&self.posts));
        self.serving = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, posts) = (Arc::clone(&answers), Arc::clone(&posts));
                connections.spawn(async move {
                    let service = service_fn(|request| answer(&answers, &posts, request));
                    let builder = hyper::server::conn::http1::Builder::new();
                    // Whoever goes away in the middle gets nothing.
                    builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        }));
    }
}

async fn answer(
    answers: &Arc<Answers>,
    posts: &Mutex<Vec<Post>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut post = Post {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
        taken: false,
    };
    let number = posts.lock().len();
    let reply = answers(number, &post);
    let response = Response::builder();
    let (status, response, body) = match reply {
        Reply::After(time) => {
            tokio::time::sleep(time).await;
            (StatusCode::OK, response, Bytes::new())
        }
        Reply::Body(body) => (StatusCode::OK, response, body.into()),
        Reply::Later(seconds) => {
            let response = response.header("retry-after", seconds);
            (StatusCode::SERVICE_UNAVAILABLE, response, Bytes::new())
        }
        Reply::Status(status, text) => {
            let body = Bytes::from_static(text.unwrap_or_default().as_bytes());
            (status, response, body)
        }
    };
    post.taken = status.is_success();
    posts.lock().push(post);
    Ok(response.status(status).body(Full::new(body)).unwrap())
}
