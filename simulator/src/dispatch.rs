//! How a call that is allowed is carried out: once for each request id, at once or as an action.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Shared;
use crate::actions::{Key, RETENTION};
use crate::answer::{self, ApiError, Kept, Reply};
use crate::random;
use crate::routes::{self, Call, Order};
use crate::settings::AsyncMode;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The first answer to each request id of a user, which is given again for five minutes.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    kept: Mutex<HashMap<Key, Outcome>>,
}

#[derive(Debug)]
struct Outcome {
    since: Instant,
    answer: Arc<OnceCell<Kept>>,
}

impl Outcomes {
    fn of(&self, key: Key) -> Arc<OnceCell<Kept>> {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.retain(|_, outcome| now.saturating_duration_since(outcome.since) < RETENTION);
        let outcome = kept.entry(key).or_insert_with(|| Outcome {
            since: now,
            answer: Arc::default(),
        });
        outcome.answer.clone()
    }
}

/// Carries a call out, unless its request id has an answer already.
pub(crate) async fn carry_out(mut call: Call<'_>) -> Result<Reply, ApiError> {
    let (shared, initiator) = (call.shared, call.viewer.uid);
    let ordinary = call.route.operation.is_ordinary();
    let asked = request_id(&call.head.headers).filter(|_| ordinary);
    let action = action_id(shared.switches.async_mode, &call.head.method, asked);
    let action = action.filter(|_| ordinary);
    if asked.is_none() && action.is_none() {
        return routes::answer(&mut call).await;
    }
    // The body first: what a broken one is answered must not be what its repetition gets.
    let order = call.into_order().await?;
    let Some(id) = asked else {
        return Ok(perform(shared, order, action).await);
    };
    let outcome = shared.outcomes.of(Key { initiator, id });
    let first = async || Kept::of(perform(shared, order, action).await);
    Ok(outcome.get_or_init(first).await.reply())
}

async fn perform(shared: &Arc<Shared>, order: Order, action: Option<Uuid>) -> Reply {
    let Some(id) = action else {
        return order.carry_out(shared).await;
    };
    let initiator = order.initiator();
    let key = Key { initiator, id };
    shared.actions.begin(shared, key, order).await;
    let mut reply = answer::bare(StatusCode::ACCEPTED);
    let location = format!("{}/api/v3/asyncActions/{id}", shared.origin);
    if let Ok(location) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Returns the id of the action that a call becomes.
fn action_id(mode: AsyncMode, method: &Method, asked: Option<Uuid>) -> Option<Uuid> {
    match mode {
        AsyncMode::Always => asked,
        AsyncMode::Never => None,
        AsyncMode::Unasked => Some(asked.unwrap_or_else(random::uuid)),
        AsyncMode::Writes => asked.filter(|_| !matches!(*method, Method::GET | Method::HEAD)),
    }
}

/// Returns the id that a client gave its request; one that is no UUID is none.
fn request_id(headers: &HeaderMap) -> Option<Uuid> {
    headers.get(REQUEST_ID)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(id: u128) -> Key {
        Key {
            initiator: Uuid::nil(),
            id: Uuid::from_u128(id),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_five_minutes() {
        let outcomes = Outcomes::default();
        let answer = || Kept::of(answer::bare(StatusCode::OK));
        outcomes.of(key(1)).get_or_init(async || answer()).await;
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(outcomes.of(key(1)).initialized());
        assert!(!outcomes.of(key(2)).initialized());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!outcomes.of(key(1)).initialized());
    }

    #[test]
    fn which_calls_become_actions_is_a_mode() {
        let asked = Some(Uuid::from_u128(7));
        let get = |mode| action_id(mode, &Method::GET, asked);
        let post = |mode| action_id(mode, &Method::POST, asked);
        assert_eq!(
            (get(AsyncMode::Never), post(AsyncMode::Never)),
            (None, None)
        );
        assert_eq!(
            (get(AsyncMode::Writes), post(AsyncMode::Writes)),
            (None, asked)
        );
        assert_eq!(
            (get(AsyncMode::Always), post(AsyncMode::Always)),
            (asked, asked)
        );
        assert_eq!(action_id(AsyncMode::Always, &Method::POST, None), None);
        assert!(action_id(AsyncMode::Unasked, &Method::GET, None).is_some());
    }
}
