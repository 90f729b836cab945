//! The gateway's own tokens: useless at a console, bound to what they were issued for.

mod lifetimes;
mod signing;
mod turns;

pub use lifetimes::Lifetimes;
pub use signing::{RotateError, Rotated};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use jsonwebtoken::{Algorithm, Header, Validation};
use parking_lot::RwLock;
use serde::Deserialize;

use super::claims::{Claims, Holder, LoginId, Purpose, WrittenHolder, random_uuid};
use super::keyring::{LONGEST_LIFE, seconds};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretError};
use crate::state::{State, StateError};
use crate::vspc::grant::Access;
use signing::Signing;

/// Issues tokens and reads them.
pub struct GatewayTokens {
    /// Log-ins that have ended before their tokens did.
    ended: DashMap<LoginId, i64>,
    lifetimes: RwLock<Lifetimes>,
    signing: Signing,
    state: Arc<State>,
    /// The second of the last time that what has ended was cleared away.
    swept: AtomicI64,
    validation: Validation,
}

/// What a log-in is answered with.
#[derive(Debug)]
pub struct Pair {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Secret,
}

/// A token that somebody presented.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presented {
    /// The log-in that it came from.
    pub login: LoginId,
    /// Whose it is.
    pub holder: Holder,
    /// What it may do.
    pub access: Access,
    /// When it ends.
    pub expires: Timestamp,
    /// How many refresh tokens of the log-in came before.
    turn: u32,
}

/// Why a token of the gateway is not good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenFault {
    /// The session behind it has ended.
    #[error("the session behind this token has ended: log in again")]
    Ended,
    /// It is too old.
    #[error("the token has expired")]
    Expired,
    /// It is none, or was changed, or was signed by somebody else.
    #[error("the token is not one of this gateway")]
    Invalid,
    /// The client or the key that it was issued for is not there any more.
    #[error("the client, or the key, of this token is not known any more")]
    Revoked,
    /// An access token where a refresh token is expected, or the other way round.
    #[error(
        "the token is of the other kind: the access token is the bearer, the refresh token is for \
         /token"
    )]
    Kind,
    /// A refresh token that was used already. The log-in has ended, since two hold its tokens.
    #[error("the refresh token was used before: log in again")]
    Used,
}

/// Why a refresh token could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// It is not good.
    #[error(transparent)]
    Fault(#[from] TokenFault),
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl GatewayTokens {
    /// Opens the keys in the state; the first are made at the first start. Blocks.
    ///
    /// # Errors
    /// Fails when the state does.
    pub fn open(
        state: Arc<State>,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, StateError> {
        let signing = Signing::open(Arc::clone(&state), lifetimes, now)?;
        let ended = turns::ended(&state)?.into_iter().collect();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[NAME]);
        validation.set_issuer(&[NAME]);
        validation.set_required_spec_claims(&["aud", "exp", "iss"]);
        // Judged here, by the gateway's clock and without leeway.
        validation.validate_exp = false;
        Ok(Self {
            ended,
            lifetimes: RwLock::new(lifetimes),
            signing,
            state,
            swept: AtomicI64::new(i64::MIN),
            validation,
        })
    }

    /// The tokens of a new log-in.
    ///
    /// # Errors
    /// Fails when the state does, or there is no randomness.
    pub fn issue(
        &self,
        login: LoginId,
        holder: &Holder,
        access: Access,
        now: Timestamp,
    ) -> Result<Pair, StateError> {
        self.pair(login, holder, access, 0, now)
    }

    /// An access token alone, e.g. a narrower one.
    ///
    /// # Errors
    /// Fails when there is no randomness.
    pub fn issue_access(
        &self,
        login: LoginId,
        holder: &Holder,
        access: Access,
        now: Timestamp,
    ) -> Result<Secret, StateError> {
        self.sign(Purpose::Access, login, holder, access, 0, now)
    }

    /// Reads an access token.
    ///
    /// # Errors
    /// Says why it is not good.
    pub fn read_access(&self, token: &[u8], now: Timestamp) -> Result<Presented, TokenFault> {
        self.read(token, Purpose::Access, now)
    }

    /// Reads a refresh token. Whether it was used before is for [`Self::exchange`] to say.
    ///
    /// # Errors
    /// Says why it is not good.
    pub fn read_refresh(&self, token: &[u8], now: Timestamp) -> Result<Presented, TokenFault> {
        self.read(token, Purpose::Refresh, now)
    }

    /// Exchanges a refresh token for the next pair; the use of it is on the disk when this
    /// returns. The predecessor of the newest is good for a minute more: an answer may be lost,
    /// and its repeat gets a token of the same turn. Anything older ends the log-in. Blocks.
    ///
    /// # Errors
    /// Says why it is not good, or that the state failed.
    pub fn exchange(
        &self,
        presented: &Presented,
        access: Access,
        now: Timestamp,
    ) -> Result<Pair, TurnError> {
        let turn = self.take(presented, now)?;
        Ok(self.pair(presented.login, &presented.holder, access, turn, now)?)
    }

    /// Ends a log-in before its tokens do; that is on the disk when this returns. Whether there ever
    /// was such a log-in is not known here. Blocks.
    ///
    /// # Errors
    /// Fails when the state does.
    pub fn end(&self, login: LoginId, now: Timestamp) -> Result<(), StateError> {
        let now = seconds(now);
        // Its tokens may have been issued under longer lifetimes than are set now.
        let ends = now.saturating_add(LONGEST_LIFE);
        turns::end(&self.state, login, now, ends)?;
        self.ended.retain(|_, ends| *ends >= now);
        self.ended.insert(login, ends);
        Ok(())
    }

    /// Whether a log-in has ended before its tokens did, because two hold them, or an operator
    /// wanted it.
    pub fn has_ended(&self, login: LoginId) -> bool {
        !self.ended.is_empty() && self.ended.contains_key(&login)
    }

    /// Whether a text is one of the gateway's tokens, or was, or claims to be: whatever its
    /// signature is worth, it is nobody else's business.
    pub fn is_own(text: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        let payload = text.split(|byte| *byte == b'.').nth(1).unwrap_or_default();
        let decoded = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        serde_json::from_slice(&decoded).is_ok_and(|Issuer { iss }| iss == NAME)
    }

    /// Says whether a refresh token is still good, and leaves it so. One that was used before ends
    /// its log-in. Reads the disk.
    ///
    /// # Errors
    /// Says why it is not good, or that the state failed.
    pub fn check(&self, presented: &Presented, now: Timestamp) -> Result<(), TurnError> {
        if turns::look(&self.state, presented.login, presented.turn, seconds(now))? {
            return Ok(());
        }
        self.take(presented, now).map(|_| ())
    }

    /// Uses a refresh token; one that is not good ends its log-in.
    fn take(&self, presented: &Presented, now: Timestamp) -> Result<u32, TurnError> {
        let now = seconds(now);
        let life = whole_seconds(self.lifetimes().refresh);
        let ends = now.saturating_add(life).max(seconds(presented.expires));
        let (login, turn) = (presented.login, presented.turn);
        if let Some(next) = turns::take(&self.state, login, turn, now, ends, &self.swept)? {
            return Ok(next);
        }
        self.ended.retain(|_, ends| *ends >= now);
        self.ended.insert(login, ends);
        Err(TokenFault::Used.into())
    }

    fn pair(
        &self,
        login: LoginId,
        holder: &Holder,
        access: Access,
        turn: u32,
        now: Timestamp,
    ) -> Result<Pair, StateError> {
        Ok(Pair {
            access: self.sign(Purpose::Access, login, holder, access, turn, now)?,
            refresh: self.sign(Purpose::Refresh, login, holder, access, turn, now)?,
        })
    }

    fn sign(
        &self,
        purpose: Purpose,
        login: LoginId,
        holder: &Holder,
        access: Access,
        turn: u32,
        now: Timestamp,
    ) -> Result<Secret, StateError> {
        let lifetimes = self.lifetimes();
        let keyring = self.signing.keys(lifetimes, now);
        let key = keyring.signer(now, lifetimes.longest());
        let key = key.ok_or(SecretError::NoRandomness)?;
        let lifetime = match purpose {
            Purpose::Access => lifetimes.access,
            Purpose::Refresh => lifetimes.refresh,
        };
        let issued = seconds(now);
        let claims = Claims {
            iss: NAME.to_owned(),
            aud: NAME.to_owned(),
            iat: issued,
            exp: issued.saturating_add(whole_seconds(lifetime)),
            jti: random_uuid()?,
            sid: login.0,
            purpose,
            turn,
            read_only: access == Access::ReadOnly,
            holder: WrittenHolder::of(holder),
        };
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        // Claims and key are of kinds that can always be written and used.
        jsonwebtoken::encode(&header, &claims, &key.signs)
            .map(Secret::new)
            .map_err(|_| SecretError::NoRandomness.into())
    }

    fn read(
        &self,
        token: &[u8],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Presented, TokenFault> {
        // Anything else is not worth a look.
        if !token.starts_with(b"eyJ") || token.len() > LONGEST {
            return Err(TokenFault::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenFault::Invalid)?;
        let kid = header.kid.ok_or(TokenFault::Invalid)?;
        let keyring = self.signing.keys_with(&kid, now);
        let keyring = keyring.ok_or(TokenFault::Invalid)?;
        let key = keyring.get(&kid).ok_or(TokenFault::Invalid)?;
        if key.has_ended(seconds(now)) {
            return Err(TokenFault::Invalid);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &self.validation)
            .map_err(|_| TokenFault::Invalid)?
            .claims;
        if claims.purpose != purpose {
            return Err(TokenFault::Kind);
        }
        if claims.exp <= seconds(now) {
            return Err(TokenFault::Expired);
        }
        let access = if claims.read_only {
            Access::ReadOnly
        } else {
            Access::Full
        };
        Ok(Presented {
            login: LoginId(claims.sid),
            holder: claims.holder.read(access),
            access,
            expires: Timestamp(claims.exp.saturating_mul(1_000_000)),
            turn: claims.turn,
        })
    }

    /// The id of the key that signs, as far as this process has seen.
    pub fn signing_key(&self) -> Option<String> {
        self.signing.newest()
    }

    /// Has another key sign from now on. Nobody is logged out: the others verify until the last
    /// token ends that they can have signed. It is on the disk when this returns. Blocks.
    ///
    /// # Errors
    /// Fails when the state does, or the newest key is younger than a minute.
    pub fn rotate(&self, now: Timestamp) -> Result<Rotated, RotateError> {
        self.signing.rotate(self.lifetimes(), now)
    }
}

impl fmt::Debug for GatewayTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayTokens")
            .field("lifetimes", &self.lifetimes())
            .finish_non_exhaustive()
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Issuer and audience.
const NAME: &str = "vspc-gateway";
/// Longer than any token that is issued.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests;
