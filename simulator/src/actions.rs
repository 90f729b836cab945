//! Asynchronous actions: calls that were answered 202, and what became of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Shared;
use crate::answer::Kept;
use crate::routes::Order;

/// How long an action that is over can be asked for.
pub(crate) const RETENTION: Duration = Duration::from_secs(300);

/// An action by the user it belongs to and by its id; of another user it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) initiator: Uuid,
    pub(crate) id: Uuid,
}

#[derive(Debug)]
struct Action {
    number: u64,
    name: &'static str,
    body: Option<String>,
    query: Value,
    state: State,
}

#[derive(Debug)]
enum State {
    Canceled {
        at: Instant,
    },
    Done {
        at: Instant,
        succeeded: bool,
        /// The answer of the operation, until it is deleted.
        result: Option<Kept>,
    },
    Running(AbortHandle),
}

impl State {
    fn done(result: Kept) -> Self {
        Self::Done {
            at: Instant::now(),
            succeeded: result.is_success(),
            result: Some(result),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Canceled { .. } => "canceled",
            Self::Done {
                succeeded: false, ..
            } => "failed",
            Self::Done { .. } => "succeed",
            Self::Running(_) => "running",
        }
    }

    fn forgotten(&self, now: Instant) -> bool {
        match self {
            Self::Canceled { at } | Self::Done { at, .. } => {
                now.saturating_duration_since(*at) >= RETENTION
            }
            Self::Running(_) => false,
        }
    }
}

/// All actions that can be asked for.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    kept: Mutex<Store>,
    /// Dropped with the simulator, which ends what still runs.
    running: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Store {
    actions: HashMap<Key, Action>,
    last: u64,
}

impl Store {
    fn add(&mut self, key: Key, order: &Order, state: State) {
        self.last += 1;
        let action = Action {
            number: self.last,
            name: order.name(),
            body: order.body_text(),
            query: order.query_parameters(),
            state,
        };
        self.actions.insert(key, action);
    }

    /// Throws away what nobody can ask for any more.
    fn fresh(&mut self) -> &mut HashMap<Key, Action> {
        let now = Instant::now();
        self.actions
            .retain(|_, action| !action.state.forgotten(now));
        &mut self.actions
    }
}

impl Actions {
    /// Carries an order out as an action: before this returns, or later when actions take their time.
    pub(crate) async fn begin(&self, shared: &Arc<Shared>, key: Key, order: Order) {
        let duration = Duration::from_millis(shared.switches.async_duration_ms);
        if duration.is_zero() {
            let result = Kept::of(order.carry_out(shared).await);
            self.kept.lock().add(key, &order, State::done(result));
            return;
        }
        let order = Arc::new(order);
        let task = later(Arc::downgrade(shared), key, order.clone(), duration);
        // Locked over both, so that the action is there before its end can be noted.
        let mut kept = self.kept.lock();
        kept.fresh();
        let mut running = self.running.lock();
        while running.try_join_next().is_some() {}
        let handle = running.spawn(task);
        kept.add(key, &order, State::Running(handle));
    }

    fn finish(&self, key: Key, result: Kept) {
        if let Some(action) = self.kept.lock().actions.get_mut(&key)
            && matches!(action.state, State::Running(_))
        {
            action.state = State::done(result);
        }
    }

    /// Returns the `AsyncActionInfo` of an action.
    pub(crate) fn info(&self, key: Key) -> Option<Value> {
        let mut kept = self.kept.lock();
        kept.fresh().get(&key).map(|action| info(key, action))
    }

    /// Returns the `AsyncActionInfo` of all actions of a user, oldest first.
    pub(crate) fn all(&self, initiator: Uuid) -> Vec<Value> {
        let mut kept = self.kept.lock();
        let own = kept.fresh().iter();
        let mut own: Vec<_> = own.filter(|(key, _)| key.initiator == initiator).collect();
        own.sort_by_key(|(_, action)| action.number);
        own.into_iter()
            .map(|(key, action)| info(*key, action))
            .collect()
    }

    /// Stops an action if it still runs; tells whether there is one.
    pub(crate) fn cancel(&self, key: Key) -> bool {
        let mut kept = self.kept.lock();
        let Some(action) = kept.fresh().get_mut(&key) else {
            return false;
        };
        if let State::Running(handle) = &action.state {
            handle.abort();
            let at = Instant::now();
            action.state = State::Canceled { at };
        }
        true
    }

    /// Returns the answer of an operation that is over.
    pub(crate) fn result(&self, key: Key) -> Option<Kept> {
        match &self.kept.lock().fresh().get(&key)?.state {
            State::Done { result, .. } => result.clone(),
            State::Canceled { .. } | State::Running(_) => None,
        }
    }

    /// Deletes the answer of an operation that is over; tells whether there was one.
    pub(crate) fn clear_result(&self, key: Key) -> bool {
        match self.kept.lock().fresh().get_mut(&key) {
            Some(Action {
                state: State::Done { result, .. },
                ..
            }) => result.take().is_some(),
            Some(_) | None => false,
        }
    }
}

async fn later(shared: Weak<Shared>, key: Key, order: Arc<Order>, duration: Duration) {
    tokio::time::sleep(duration).await;
    if let Some(shared) = shared.upgrade() {
        let result = Kept::of(order.carry_out(&shared).await);
        shared.actions.finish(key, result);
    }
}

fn info(key: Key, action: &Action) -> Value {
    json!({
        "id": key.id,
        "initiatorUid": key.initiator,
        "actionName": action.name,
        "status": action.state.name(),
        "requestBody": action.body,
        "queryParameters": action.query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_action_is_forgotten_five_minutes_after_its_end() {
        let key = Key {
            initiator: Uuid::nil(),
            id: Uuid::nil(),
        };
        let actions = Actions::default();
        let at = Instant::now();
        let action = Action {
            number: 1,
            name: "",
            body: None,
            query: Value::Null,
            state: State::Canceled { at },
        };
        actions.kept.lock().actions.insert(key, action);
        tokio::time::advance(RETENTION - Duration::from_millis(1)).await;
        assert!(actions.info(key).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(actions.info(key).is_none());
        assert!(!actions.cancel(key));
    }
}
