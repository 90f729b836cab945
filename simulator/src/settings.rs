//! What a simulator is started with, and the switches for what is unknown about the real console.

mod grants;

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::grants::{
    ChallengePadding, ParallelSessions, PasswordRefusal, PublicKeyForm, UnauthorizedBody,
};

/// The value of `location_host` for the address that is listened on.
pub(crate) const OWN: &str = "own";

/// What a simulator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Serves HTTPS with a certificate of an authority made at start.
    pub tls: bool,
    /// The behaviours that are not known of the real console.
    pub switches: Switches,
    /// How many companies are generated beside the seeded ones, each with an owner.
    pub companies: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            switches: Switches::default(),
            companies: 0,
        }
    }
}

/// The behaviours that are not known of the real console, each with its likeliest value as default, and
/// those that can be configured there, switched off.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Accepts `multipart/form-data` on `/token` (`multipart`, default true).
    pub multipart: bool,
    /// How a dead or unknown refresh token is refused (`dead_refresh`).
    pub dead_refresh: DeadRefresh,
    /// What a renewal does to the refresh token it was sent (`rotation`).
    pub rotation: Rotation,
    /// Writes the claims `iat` and `exp` as numbers instead of strings (`numeric_claims`, default false).
    pub numeric_claims: bool,
    /// Lets grant `as` act for a disabled user; its token works then too (`as_disabled`, default false).
    pub as_disabled: bool,
    /// Lets grant `as` act for a user with a TOTP device (`as_mfa`, default true).
    pub as_mfa: bool,
    /// Lets grant `as` act for a user whose company has no REST access; its token works then too
    /// (`as_rest_disabled`, default false).
    pub as_rest_disabled: bool,
    /// Grant `as` gives a token of another user than it was asked for (`as_confuses`, default false).
    pub as_confuses: bool,
    /// Impersonated tokens live on when the session they were lent on is revoked or replaced
    /// (`as_outlives_parent`, default true).
    pub as_outlives_parent: bool,
    /// What a new login does to the earlier sessions of its account (`parallel_sessions`).
    pub parallel_sessions: ParallelSessions,
    /// A new refresh token lives as long as the first one did, not only as long as it would have
    /// (`refresh_extends`, default true).
    pub refresh_extends: bool,
    /// What is in the body of a 401 (`unauthorized_body`).
    pub unauthorized_body: UnauthorizedBody,
    /// How a wrong password, code or key is refused (`password_refusal`).
    pub password_refusal: PasswordRefusal,
    /// In which form grant `public_key` takes the key (`public_key_form`).
    pub public_key_form: PublicKeyForm,
    /// How the challenge of a key-pair login is encrypted (`challenge_padding`).
    pub challenge_padding: ChallengePadding,
    /// How long a key-pair login waits for the decrypted code, in milliseconds
    /// (`key_challenge_life_ms`, default 30,000).
    pub key_challenge_life_ms: u64,
    /// Grant `as` needs the impersonator's access token as well (`as_requires_bearer`, default false).
    pub as_requires_bearer: bool,
    /// What an `Authorization` header on `/token` leads to (`token_authorization`).
    pub token_authorization: TokenAuthorization,
    /// Identities may be made without description and scopes (`lenient_logins`, default false).
    pub lenient_logins: bool,
    /// Sends a `Retry-After` header with a 429 as well (`retry_after_header`, default false).
    pub retry_after_header: bool,
    /// Refuses before it has read the request's body (`early_refusal`, default false).
    pub early_refusal: bool,
    /// The protocols that are spoken (`protocols`).
    pub protocols: Protocols,
    /// Signs tokens; without, the signature is random and tokens cost next to nothing
    /// (`sign_tokens`, default true).
    pub sign_tokens: bool,
    /// How many of the last requests are remembered whole, 0 for none (`keep_requests`, default 10,000).
    pub keep_requests: usize,
    /// Which calls are answered 202 and carried out as asynchronous actions (`async_mode`).
    pub async_mode: AsyncMode,
    /// How long an asynchronous action runs, in milliseconds; 0 for one that is over before its 202
    /// goes out (`async_duration_ms`, default 0).
    pub async_duration_ms: u64,
    /// The host that the `Location` of a 202 names, as in `vspc.example.com:1280`, or `own` for the
    /// address listened on (`location_host`, default `own`).
    pub location_host: String,
    /// The requests that one user may send in a second, all at once after a rest; more are answered
    /// 429, and 0 is no limit (`throttle_user_rate`, default 0).
    pub throttle_user_rate: u32,
    /// The same for one source address, token requests included (`throttle_address_rate`, default 0).
    pub throttle_address_rate: u32,
    /// The requests of one user that are worked on at a time; more are answered 429, and 0 is no limit
    /// (`throttle_user_parallel`, default 0).
    pub throttle_user_parallel: u32,
    /// The same for one source address, token requests included (`throttle_address_parallel`, default 0).
    pub throttle_address_parallel: u32,
    /// Takes the source address of a request from the end of `X-Forwarded-For` (`trust_forwarded_for`,
    /// default false).
    pub trust_forwarded_for: bool,
    /// What the user of an identity is called in it (`user_id_name`).
    pub user_id_name: UserIdName,
    /// Whose name the activity log gives to an impersonation (`activity_impersonation`).
    pub activity_impersonation: ActivityImpersonation,
    /// Renewals by a refresh token are logged as log-ins (`activity_refreshes`, default false).
    pub activity_refreshes: bool,
    /// How long an activity takes to be seen in the log, in milliseconds (`activity_delay_ms`, default 0).
    pub activity_delay_ms: u64,
    /// The activity log heeds `from` and `to` (`activity_times`, default true).
    pub activity_times: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            multipart: true,
            dead_refresh: DeadRefresh::InvalidGrant,
            rotation: Rotation::SingleUse,
            numeric_claims: false,
            as_disabled: false,
            as_mfa: true,
            as_rest_disabled: false,
            as_confuses: false,
            as_outlives_parent: true,
            parallel_sessions: ParallelSessions::Many,
            refresh_extends: true,
            unauthorized_body: UnauthorizedBody::Errors,
            password_refusal: PasswordRefusal::InvalidRequest,
            public_key_form: PublicKeyForm::Xml,
            challenge_padding: ChallengePadding::Pkcs1,
            key_challenge_life_ms: 30_000,
            as_requires_bearer: false,
            token_authorization: TokenAuthorization::Refuse,
            lenient_logins: false,
            retry_after_header: false,
            early_refusal: false,
            protocols: Protocols::Both,
            sign_tokens: true,
            keep_requests: 10_000,
            async_mode: AsyncMode::Never,
            async_duration_ms: 0,
            location_host: OWN.to_owned(),
            throttle_user_rate: 0,
            throttle_address_rate: 0,
            throttle_user_parallel: 0,
            throttle_address_parallel: 0,
            trust_forwarded_for: false,
            user_id_name: UserIdName::UserUid,
            activity_impersonation: ActivityImpersonation::Impersonator,
            activity_refreshes: false,
            activity_delay_ms: 0,
            activity_times: true,
        }
    }
}

impl Switches {
    /// Sets one switch by its name, as `--switch name=value` does.
    ///
    /// # Errors
    /// Names the switch that is unknown, or the value that does not fit it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SwitchError> {
        match name {
            "multipart" => self.multipart = plain(name, value)?,
            "dead_refresh" => self.dead_refresh = worded(name, value)?,
            "rotation" => self.rotation = worded(name, value)?,
            "numeric_claims" => self.numeric_claims = plain(name, value)?,
            "as_disabled" => self.as_disabled = plain(name, value)?,
            "as_mfa" => self.as_mfa = plain(name, value)?,
            "as_rest_disabled" => self.as_rest_disabled = plain(name, value)?,
            "as_confuses" => self.as_confuses = plain(name, value)?,
            "as_outlives_parent" => self.as_outlives_parent = plain(name, value)?,
            "parallel_sessions" => self.parallel_sessions = worded(name, value)?,
            "refresh_extends" => self.refresh_extends = plain(name, value)?,
            "unauthorized_body" => self.unauthorized_body = worded(name, value)?,
            "password_refusal" => self.password_refusal = worded(name, value)?,
            "public_key_form" => self.public_key_form = worded(name, value)?,
            "challenge_padding" => self.challenge_padding = worded(name, value)?,
            "key_challenge_life_ms" => self.key_challenge_life_ms = plain(name, value)?,
            "as_requires_bearer" => self.as_requires_bearer = plain(name, value)?,
            "token_authorization" => self.token_authorization = worded(name, value)?,
            "lenient_logins" => self.lenient_logins = plain(name, value)?,
            "retry_after_header" => self.retry_after_header = plain(name, value)?,
            "early_refusal" => self.early_refusal = plain(name, value)?,
            "protocols" => self.protocols = worded(name, value)?,
            "sign_tokens" => self.sign_tokens = plain(name, value)?,
            "keep_requests" => self.keep_requests = plain(name, value)?,
            "async_mode" => self.async_mode = worded(name, value)?,
            "async_duration_ms" => self.async_duration_ms = plain(name, value)?,
            "location_host" => self.location_host = host(name, value)?,
            "throttle_user_rate" => self.throttle_user_rate = plain(name, value)?,
            "throttle_address_rate" => self.throttle_address_rate = plain(name, value)?,
            "throttle_user_parallel" => self.throttle_user_parallel = plain(name, value)?,
            "throttle_address_parallel" => self.throttle_address_parallel = plain(name, value)?,
            "trust_forwarded_for" => self.trust_forwarded_for = plain(name, value)?,
            "user_id_name" => self.user_id_name = worded(name, value)?,
            "activity_impersonation" => self.activity_impersonation = worded(name, value)?,
            "activity_refreshes" => self.activity_refreshes = plain(name, value)?,
            "activity_delay_ms" => self.activity_delay_ms = plain(name, value)?,
            "activity_times" => self.activity_times = plain(name, value)?,
            _ => return Err(SwitchError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn plain<T: FromStr>(name: &str, value: &str) -> Result<T, SwitchError> {
    value.parse().map_err(|_| SwitchError::value(name, value))
}

fn worded<T: for<'de> Deserialize<'de>>(name: &str, value: &str) -> Result<T, SwitchError> {
    let word = serde_json::Value::String(value.to_owned());
    serde_json::from_value(word).map_err(|_| SwitchError::value(name, value))
}

/// Reads a host, which must be fit for a `Location`.
fn host(name: &str, value: &str) -> Result<String, SwitchError> {
    match value.parse::<http::uri::Authority>() {
        Ok(host) => Ok(host.to_string()),
        Err(_) => Err(SwitchError::value(name, value)),
    }
}

/// Why a switch could not be set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// No switch has this name.
    #[error("there is no switch {0:?}")]
    Unknown(String),
    /// The switch cannot take this value.
    #[error("switch {name} cannot be {value:?}")]
    Value {
        /// The name of the switch.
        name: String,
        /// The value that was refused.
        value: String,
    },
}

impl SwitchError {
    fn value(name: &str, value: &str) -> Self {
        Self::Value {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// How a dead or unknown refresh token is refused.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadRefresh {
    /// 400 with the error `invalid_grant` (default).
    InvalidGrant,
    /// 400 with the error `invalid_request`, as for a wrong password.
    InvalidRequest,
    /// 401 with the error body of the other operations.
    Unauthorized,
}

/// What a renewal does to the refresh token it was sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// A new one comes back and the old one stays valid.
    KeepOld,
    /// The same one comes back.
    Same,
    /// A new one comes back and the old one is dead (default).
    SingleUse,
}

/// What an `Authorization` header on `/token` leads to; it is counted either way.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenAuthorization {
    /// It is ignored, as clients that renew with a stale bearer on need it.
    Ignore,
    /// 400, so that a wrongly injected bearer is noticed (default).
    Refuse,
}

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocols {
    /// HTTP/1.1 and HTTP/2 (default).
    Both,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

/// Which calls are answered 202 and carried out as asynchronous actions.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AsyncMode {
    /// Every call with an `X-Request-id`, reading ones as well.
    Always,
    /// None (default).
    Never,
    /// Every call; one without an `X-Request-id` gets an id of the console's.
    Unasked,
    /// Every call with an `X-Request-id` that changes something.
    Writes,
}

/// Whose name the activity log gives to an impersonation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityImpersonation {
    /// That of the user who acts as another (default).
    Impersonator,
    /// That of the user who is acted as.
    Target,
}

/// What the user of an identity is called in it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserIdName {
    /// `userId`, as the printed samples have it.
    UserId,
    /// `userUid`, as the OpenAPI document has it (default).
    UserUid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_set_by_name() {
        let mut switches = Switches::default();
        switches.set("rotation", "keep_old").unwrap();
        switches.set("keep_requests", "0").unwrap();
        switches.set("multipart", "false").unwrap();
        assert_eq!(switches.rotation, Rotation::KeepOld);
        assert_eq!(switches.keep_requests, 0);
        assert!(!switches.multipart);
    }

    #[test]
    fn unknown_switches_and_values_are_named() {
        let mut switches = Switches::default();
        assert_eq!(
            switches.set("colour", "red"),
            Err(SwitchError::Unknown("colour".to_owned()))
        );
        assert_eq!(
            switches.set("rotation", "twice"),
            Err(SwitchError::value("rotation", "twice"))
        );
        assert_eq!(
            switches.set("location_host", "a b"),
            Err(SwitchError::value("location_host", "a b"))
        );
    }

    #[test]
    fn every_switch_can_be_set_by_name() {
        let defaults = serde_json::to_value(Switches::default()).unwrap();
        for (name, value) in defaults.as_object().unwrap() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Switches::default().set(name, &text).unwrap();
        }
    }
}
