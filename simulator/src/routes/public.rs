//! The operations that take no token.

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::answer::{self, ApiError, Reply};
use crate::inbound::Inbound;
use crate::route::Operation;

/// Answers an operation that takes no token.
pub(crate) async fn answer(operation: Operation, body: &mut Inbound) -> Result<Reply, ApiError> {
    match operation {
        Operation::ResetPassword => members(body, &["email", "userName"]).await,
        Operation::ResetPasswordConfirm => members(body, &["code", "newPassword"]).await,
        Operation::SamlMetadata => Ok(answer::typed(
            StatusCode::OK,
            HeaderValue::from_static("application/xml"),
            r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"/>"#,
        )),
        _ => Ok(answer::data(&json!({ "logged": false }))),
    }
}

async fn members(body: &mut Inbound, names: &[&str]) -> Result<Reply, ApiError> {
    let body = body.whole().await?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::property("body", error.to_string()))?;
    let missing = |name: &&&str| body.get(**name).and_then(Value::as_str).is_none();
    match names.iter().find(missing) {
        Some(name) => Err(ApiError::property(name, "The value is missing.")),
        None => Ok(answer::data(&Value::Bool(true))),
    }
}
