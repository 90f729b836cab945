//! New key pairs and secrets, which the console makes and forgets.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::Call;
use crate::answer::{self, ApiError, Reply};
use crate::rsa_key;
use crate::totp::Device;

pub(super) fn totp_secret(call: &Call<'_>) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let user = world
        .user(call.viewer.uid)
        .ok_or_else(|| ApiError::not_found("The user"))?;
    let name = utf8_percent_encode(&user.account.user_name, NON_ALPHANUMERIC);
    let secret = Device::new()
        .ok_or_else(|| ApiError::not_found("A secret"))?
        .base32();
    let url = format!("otpauth://totp/{name}?secret={secret}&issuer=VSPC");
    Ok(answer::data(&json!({ "secret": secret, "secretUrl": url })))
}

pub(super) fn rsa(call: &Call<'_>) -> Result<Reply, ApiError> {
    let bits = call.query.number("keySize", 2048..=4096, 2048)?;
    let (private, public) = rsa_key::generate_xml(bits)
        .ok_or_else(|| ApiError::parameter("keySize", "The value must be 2048, 3072 or 4096."))?;
    Ok(answer::data(
        &json!({ "privateKey": private, "publicKey": public }),
    ))
}
