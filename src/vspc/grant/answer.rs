//! Reading the token endpoint's answer: strictly, because what is accepted here is injected later.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Challenge, IssueError, Outage};
use crate::secret::Secret;

/// A token that was issued.
#[derive(Debug)]
pub struct Issued {
    /// The access token: visible ASCII, fit for a header.
    pub access: Secret,
    /// The refresh token, when the answer has one. After `as` it is the impersonator's own.
    pub refresh: Option<Secret>,
    /// How long the access token lives, counted from the receipt of the answer.
    pub lifetime: Duration,
}

/// Reads an answer of the token endpoint.
///
/// `retry_after` is the value of the `Retry-After` header; the seconds in the body go before it. A
/// token lives for `assumed_life` where the answer does not say how long.
///
/// # Errors
/// Says why no token was issued; see [`IssueError`]. No error carries anything of a token.
pub fn parse_answer(
    status: u16,
    content_type: Option<&str>,
    retry_after: Option<&str>,
    body: &[u8],
    assumed_life: Duration,
) -> Result<Issued, IssueError> {
    match status {
        200 => issued(content_type, body, assumed_life),
        // A 400 whose body cannot be read still cools off as a refusal: trying a password again
        // too soon can lock the account.
        400 | 401 | 403 => Err(refused(body)),
        408 | 500..=599 => Err(IssueError::Unavailable(Outage::Status(status))),
        429 => Err(throttled(retry_after, body)),
        _ => Err(IssueError::Malformed("unexpected status")),
    }
}

fn issued(
    content_type: Option<&str>,
    body: &[u8],
    assumed_life: Duration,
) -> Result<Issued, IssueError> {
    if !content_type.is_none_or(is_json) {
        return Err(IssueError::Malformed("not JSON by its content type"));
    }
    // The decoder's own message may quote the body, so it is dropped.
    let answer: TokenBody = decode(body).ok_or(IssueError::Malformed("not a JSON token answer"))?;
    if answer.mfa_token.is_some_and(|token| !token.is_blank()) {
        return Err(IssueError::Challenge(Challenge::MfaRequired));
    }
    let Some(Hidden(access)) = answer.access_token else {
        return Err(match answer.encrypted_code {
            Some(code) if !code.is_blank() => IssueError::Challenge(Challenge::KeyChallenge),
            _ => IssueError::Malformed("no access token"),
        });
    };
    if !is_token(&access) {
        return Err(IssueError::Malformed("an access token no header can carry"));
    }
    if answer
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(IssueError::Malformed("not a bearer token"));
    }
    let refresh = match answer.refresh_token {
        None => None,
        Some(token) if token.is_blank() => None,
        Some(Hidden(token)) if is_token(&token) => Some(token),
        Some(_) => return Err(IssueError::Malformed("a refresh token that is not text")),
    };
    let lifetime = match answer.expires_in {
        None => assumed_life.min(MAX_LIFETIME),
        Some(value) => lifetime(&value).ok_or(IssueError::Malformed("no usable lifetime"))?,
    };
    Ok(Issued {
        access,
        refresh,
        lifetime,
    })
}

/// What an answer gives for the second step that it asks for; at least one of the two.
#[derive(Debug)]
pub struct SecondStep {
    /// The token that goes with the code of a second factor.
    pub mfa_token: Option<Secret>,
    /// The code that only the holder of the private key can read, in Base64.
    pub encrypted_code: Option<Secret>,
}

/// Reads an answer that asks for a second step and holds no token that acts.
pub fn parse_second_step(body: &[u8]) -> Option<SecondStep> {
    let answer: TokenBody = decode(body)?;
    let acts = |token: &Option<Hidden>| token.as_ref().is_some_and(|token| !token.is_blank());
    if acts(&answer.access_token) || acts(&answer.refresh_token) {
        return None;
    }
    let text = |member: Option<Hidden>| {
        let member = member.filter(|text| !text.is_blank())?;
        Some(member.0)
    };
    let step = SecondStep {
        mfa_token: text(answer.mfa_token),
        encrypted_code: text(answer.encrypted_code),
    };
    (step.mfa_token.is_some() || step.encrypted_code.is_some()).then_some(step)
}

fn refused(body: &[u8]) -> IssueError {
    let Some(answer) = decode::<RefusalBody>(body) else {
        return IssueError::Refused {
            error: Arc::from(super::UNREADABLE),
            description: Arc::from(""),
        };
    };
    let message = answer
        .errors
        .into_iter()
        .flatten()
        .find_map(|error| error.message);
    let code: String = printable(answer.error.as_deref().unwrap_or_default(), MAX_CODE)
        .chars()
        .filter(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.'))
        .collect();
    let description = answer.error_description.or(message).unwrap_or_default();
    IssueError::Refused {
        error: Arc::from(if code.is_empty() {
            "unnamed"
        } else {
            code.as_str()
        }),
        description: Arc::from(printable(&description, MAX_DESCRIPTION)),
    }
}

fn throttled(header: Option<&str>, body: &[u8]) -> IssueError {
    let in_body = decode::<RefusalBody>(body)
        .and_then(|answer| answer.errors)
        .into_iter()
        .flatten()
        .find_map(|error| seconds(&error.retry_after?));
    let in_header = || header.and_then(|text| digits(text.trim()));
    let retry_after = in_body
        .or_else(in_header)
        .map_or(DEFAULT_RETRY, Duration::from_secs)
        .clamp(MIN_RETRY, MAX_RETRY);
    IssueError::Throttled { retry_after }
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: Option<Hidden>,
    encrypted_code: Option<Hidden>,
    expires_in: Option<Value>,
    mfa_token: Option<Hidden>,
    refresh_token: Option<Hidden>,
    token_type: Option<String>,
}

/// Both error shapes at once: OAuth2's, and the one of the rest of the API.
#[derive(Deserialize)]
struct RefusalBody {
    error: Option<String>,
    error_description: Option<String>,
    errors: Option<Vec<ApiError>>,
}

#[derive(Deserialize)]
struct ApiError {
    message: Option<String>,
    #[serde(rename = "retryAfter")]
    retry_after: Option<Value>,
}

/// A text that is wiped even when the rest of its message turns out to be unreadable.
struct Hidden(Secret);

impl Hidden {
    fn is_blank(&self) -> bool {
        self.0.expose().is_empty()
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// Decodes a JSON object. An array would be taken for a struct by position, hence the first look.
fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if body.len() > MAX_BODY || !is_object || !is_shallow(body) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// Whether nothing is nested deeper than any answer of the endpoint: the decoder itself does not
/// mind how deep the members are that it skips.
fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Whether a text can be a token: visible ASCII, fit for a header.
pub fn is_token(token: &Secret) -> bool {
    let text = token.expose();
    !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = seconds(value).filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(MAX_LIFETIME))
}

/// Whole seconds from a number or a text of digits; what is too large saturates.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number
                .as_f64()
                .filter(|float| float.is_finite() && *float >= 0.0)?;
            // The cast saturates.
            Some(float as u64)
        }),
        Value::String(text) => digits(text),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// One line of harmless characters. A word with a long run of token characters is cut, because a
/// server may well quote the token that it refuses.
fn printable(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        if has_token_run(word) {
            line.push_str("[cut]");
        } else {
            line.extend(word.chars().filter(|sign| !is_invisible(*sign)));
        }
    }
    line.chars().take(limit).collect()
}

fn has_token_run(word: &str) -> bool {
    let in_token = |sign: char| sign.is_ascii_alphanumeric() || "-._~+/=%".contains(sign);
    word.split(|sign| !in_token(sign))
        .any(|run| run.len() >= TOKEN_RUN)
}

/// Controls, and the format characters that reorder or hide what is around them.
fn is_invisible(sign: char) -> bool {
    sign.is_control()
        || matches!(
            sign,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

const DEFAULT_RETRY: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 64 * 1024;
const MAX_CODE: usize = 64;
const MAX_DEPTH: usize = 8;
const MAX_DESCRIPTION: usize = 256;
/// Guards against a lifetime in the wrong unit.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_RETRY: Duration = Duration::from_secs(5 * 60);
const MAX_TOKEN: usize = 16 * 1024;
const MIN_RETRY: Duration = Duration::from_secs(1);
/// Longer than a UUID, shorter than any token.
const TOKEN_RUN: usize = 40;
