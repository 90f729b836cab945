//! JSON Patch (RFC 6902), as far as the console's resources are changed by it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use crate::answer::ApiError;

/// One operation of a patch.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    op: String,
    path: String,
    #[serde(default)]
    value: Value,
}

impl Change {
    /// Returns the path in lower case without its leading slash, which clients leave out at times.
    pub(super) fn path(&self) -> String {
        self.path.trim_start_matches('/').to_ascii_lowercase()
    }

    /// Returns the new value as text; `None` for what is not text.
    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Returns the new value as a truth value; `None` for what is none.
    pub(super) fn truth(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Returns the new value as text, where the resource can also do without one.
    pub(super) fn nullable(&self) -> Option<Option<String>> {
        match &self.value {
            Value::Null => Some(None),
            Value::String(text) => Some(Some(text.clone())),
            _ => None,
        }
    }

    /// Returns one of two states by its name, without regard to case.
    pub(super) fn choice(&self, yes: &str, no: &str) -> Option<bool> {
        let text = self.text()?;
        if text.eq_ignore_ascii_case(yes) {
            Some(true)
        } else {
            text.eq_ignore_ascii_case(no).then_some(false)
        }
    }

    /// Returns the refusal of this operation.
    pub(super) fn refused(&self) -> ApiError {
        ApiError::patch(json!({ "op": self.op, "path": self.path }))
    }
}

/// Reads the patch in the body of a call.
pub(super) async fn read(call: &mut Call<'_>) -> Result<Vec<Change>, ApiError> {
    if !call.has_type("application/json") {
        return Err(ApiError::media_type());
    }
    let body = call.body.whole().await?;
    let changes: Vec<Change> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::property("patch", error.to_string()))?;
    match changes
        .iter()
        .find(|change| !matches!(change.op.as_str(), "add" | "replace"))
    {
        Some(other) => Err(other.refused()),
        None => Ok(changes),
    }
}
