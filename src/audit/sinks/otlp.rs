//! OpenTelemetry logs over HTTP, in the binary form of their protocol.

mod wire;

use async_trait::async_trait;
use http::HeaderMap;

use super::http::{Endpoint, Poster};
use super::{Item, SendError, Sink};
use wire::Rejected;

const CONTENT_TYPE: &str = "application/x-protobuf";

pub(super) struct Otlp {
    poster: Poster,
}

impl Otlp {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            poster: Poster::new(endpoint),
        }
    }
}

#[async_trait]
impl Sink for Otlp {
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError> {
        let body = wire::request(batch).into();
        let answer = self
            .poster
            .post(CONTENT_TYPE, HeaderMap::new(), body)
            .await?;
        answer.verdict()?;
        match wire::rejected(&answer.body) {
            Some(Rejected { count, why }) if count > 0 => Err(SendError::PartlyTaken(format!(
                "{count} of the {} records that were sent together with it, and maybe this one, \
                 were refused: {why}",
                batch.len()
            ))),
            _ => Ok(()),
        }
    }
}
