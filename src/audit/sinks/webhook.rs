//! Posting records as JSON to whoever wants them.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::http::{Endpoint, Poster, secret};
use super::{Item, SendError, Sink};
use crate::secret::SecretSource;

const SIGNATURE: HeaderName = HeaderName::from_static("x-gateway-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where records are posted, and how.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where.
    pub endpoint: Endpoint,
    /// In which form.
    pub format: Format,
    /// A key by which the receiver can tell that the gateway has sent them.
    pub signing_secret: Option<SecretSource>,
}

/// How the records of a batch are put together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// A JSON array of the records.
    Array,
    /// Each record on a line, as in the log.
    #[default]
    Lines,
}

pub(super) struct Webhook {
    settings: WebhookSettings,
    poster: Poster,
}

impl Webhook {
    pub(super) fn new(settings: WebhookSettings) -> Self {
        Self {
            poster: Poster::new(settings.endpoint.clone()),
            settings,
        }
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError> {
        let (content_type, body) = body(self.settings.format, batch);
        let mut headers = HeaderMap::new();
        if let Ok(key) = HeaderValue::try_from(ids(batch)) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if let Some(source) = &self.settings.signing_secret {
            let key = secret(source)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            let signature = format!("sha256={}", hex::encode(hmac::sign(&key, &body)));
            if let Ok(signature) = HeaderValue::try_from(signature) {
                headers.insert(SIGNATURE, signature);
            }
        }
        let answer = self.poster.post(content_type, headers, body.into()).await?;
        answer.verdict()
    }
}

fn body(format: Format, batch: &[Item]) -> (&'static str, Vec<u8>) {
    let size = batch.iter().map(|item| item.line.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(size + 2);
    match format {
        Format::Array => {
            body.push(b'[');
            for (place, item) in batch.iter().enumerate() {
                if place > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(&item.line);
            }
            body.push(b']');
            ("application/json", body)
        }
        Format::Lines => {
            for item in batch {
                body.extend_from_slice(&item.line);
                body.push(b'\n');
            }
            ("application/x-ndjson", body)
        }
    }
}

/// The ids of a batch: the first, and the number of the last.
fn ids(batch: &[Item]) -> String {
    match (batch.first(), batch.last()) {
        (Some(first), Some(last)) if first.seq < last.seq => format!("{}-{}", first.id, last.seq),
        (Some(first), _) => first.id.clone(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn items() -> Vec<Item> {
        let origin = Arc::from("o/1");
        let line = |seq: u64| format!("{{\"seq\":{seq}}}").into_bytes().into();
        [4, 5, 9]
            .map(|seq| Item::record(&origin, seq, line(seq)))
            .to_vec()
    }

    #[test]
    fn a_batch_is_lines_of_json_or_one_array() {
        let text = |format| String::from_utf8(body(format, &items()).1).unwrap();
        assert_eq!(
            text(Format::Lines),
            "{\"seq\":4}\n{\"seq\":5}\n{\"seq\":9}\n"
        );
        assert_eq!(text(Format::Array), "[{\"seq\":4},{\"seq\":5},{\"seq\":9}]");
    }

    #[test]
    fn a_batch_is_named_by_its_ids() {
        assert_eq!(ids(&items()), "o/1#4-9");
        assert_eq!(ids(&items()[..1]), "o/1#4");
    }
}
