//! Asynchronous actions: `/asyncActions` and what belongs to it.

use http::StatusCode;
use serde_json::json;

use super::Call;
use crate::actions::{Key, RETENTION};
use crate::answer::{self, ApiError, Reply};
use crate::page;
use crate::route::ActionStep;

const ACTION: &str = "The async action";
const RESULT: &str = "The result of the async action";

pub(super) fn answer(call: &Call<'_>, step: ActionStep) -> Result<Reply, ApiError> {
    let actions = &call.shared.actions;
    match step {
        ActionStep::Cancel => emptied(actions.cancel(key(call)?), ACTION),
        ActionStep::ClearResult => emptied(actions.clear_result(key(call)?), RESULT),
        ActionStep::Config => call.data(json!({ "resultRetentionTime": RETENTION.as_secs() })),
        ActionStep::Info => {
            let info = actions.info(key(call)?);
            let info = info.ok_or_else(|| ApiError::not_found(ACTION))?;
            call.data(call.shape.finish(info))
        }
        ActionStep::List => {
            let own = actions.all(call.viewer.uid).into_iter();
            page::answer(own, |info| call.shape.finish(info), &call.query)
        }
        // As it would have gone out at once: status, headers and body.
        ActionStep::Result => match actions.result(key(call)?) {
            Some(result) => Ok(result.reply()),
            None => Err(ApiError::not_found(RESULT)),
        },
    }
}

fn key(call: &Call<'_>) -> Result<Key, ApiError> {
    Ok(Key {
        initiator: call.viewer.uid,
        id: call.uid()?,
    })
}

fn emptied(there: bool, what: &str) -> Result<Reply, ApiError> {
    match there {
        true => Ok(answer::json(
            StatusCode::OK,
            &json!({ "data": {}, "errors": [] }),
        )),
        false => Err(ApiError::not_found(what)),
    }
}
