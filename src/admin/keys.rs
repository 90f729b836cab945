//! The key that signs the gateway's tokens, in operators' hands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json, parse};
use crate::client::RotateError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: Option<String>,
}

impl Admin {
    /// `POST /tokens/rotate-key`
    pub(super) async fn rotate_key(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("tokens.rotate_key");
        let asked =
            parse(body).and_then(|asked: Asked| super::freeze::checked_reason(asked.reason));
        record.reason = self.or_record(&record, asked).await?;
        self.record_first(&record).await?;
        let gateway = self.gateway();
        let (tokens, now) = (Arc::clone(&gateway.tokens), gateway.clock.now());
        let rotated = tokio::task::spawn_blocking(move || tokens.rotate(now)).await;
        let unavailable = |error: String| {
            let message = format!("there is no new key: {error}");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "state_unavailable",
                message,
            )
        };
        let rotated = match rotated {
            Ok(Ok(rotated)) => Ok(rotated),
            Ok(Err(error @ RotateError::TooSoon)) => Err(Refusal::too_soon(
                &error.to_string(),
                Duration::from_secs(60),
            )),
            Ok(Err(error @ RotateError::State(_))) => Err(unavailable(error.to_string())),
            Err(error) => Err(unavailable(error.to_string())),
        };
        let rotated = self.or_record(&record, rotated).await?;
        tracing::warn!(%who, key = rotated.key, "an operator has made a new key to sign tokens with");
        let key = format!("key {}", rotated.key);
        self.record_done(&record, "tokens.key_rotated", key);
        let note = "it signs in a few seconds; nobody is logged out: tokens that older keys have \
                    signed stay good until they end";
        let until = rotated.older_until.map(|until| until.in_seconds());
        let body = json!({"key": rotated.key, "keys": rotated.keys, "older_keys_until": until,
            "note": note});
        Ok(as_json(StatusCode::OK, &body))
    }
}
