//! `POST /token`: log-ins answered from the gateway's own sessions.

mod passed;

pub use passed::Passthrough;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::exchange::Exchange;
use super::reply::TokenReply;
use super::{Answer, Gateway, Rejection, refuse_source_of};
use crate::client::{
    Aim, Client, Holder, LoginId, Pair, Presented, TenantClaim, TokenFault, TurnError,
    Unidentified, split_user,
};
use crate::policy::{Acting, Denied, NOBODY};
use crate::request::{HeadFault, RequestHead};
use crate::secret::Secret;
use crate::tenant::{Asker, Claims, Named};
use crate::upstream::{BodyFault, Pace, RequestBody, UpstreamError};
use crate::vspc::grant::{Access, Subject};
use crate::vspc::{FormFault, GrantType, TokenForm};

/// A request for a token, read.
struct LogIn<'a> {
    head: &'a RequestHead<'a>,
    form: TokenForm,
}

impl Gateway {
    /// Answers `/token`. The form decides who is calling; whatever credentials the headers carry
    /// are not looked at, since tools send stale ones here.
    pub(super) async fn log_in(
        &self,
        exchange: &mut Exchange,
        head: &RequestHead<'_>,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Answer, Rejection> {
        if *head.method != Method::POST {
            return Err(Rejection::TokenMethod);
        }
        if parts.uri.query().is_some_and(names_a_secret) {
            return Err(HeadFault::KeyInQuery.into());
        }
        let raw = read_body(exchange, body, (parts.version, self.body_pace)).await?;
        let kind = head.headers.get(CONTENT_TYPE);
        let kind = kind.map(|kind| kind.to_str().unwrap_or_default());
        let form = TokenForm::read(kind, &raw)?;
        drop(raw);
        exchange.saw_grant(form.grant());
        let log_in = LogIn { head, form };
        let reply = match log_in.form.grant() {
            GrantType::Password => self.with_password(exchange, &log_in).await,
            GrantType::Refresh => self.with_refresh_token(exchange, &log_in).await,
            GrantType::As => self.as_another(exchange, &log_in).await,
            GrantType::AuthorizationCode | GrantType::Mfa | GrantType::PublicKey => {
                self.pass_step(exchange, &log_in).await
            }
        };
        reply
            .map(Answer::Token)
            .map_err(|refused| self.note_guess(exchange, refused))
    }

    /// `grant_type=password`: a client with its key, or else one of the console's own users.
    async fn with_password(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let user = log_in.form.field("username")?;
        log_in.form.field("password")?;
        let access = log_in.form.access()?;
        let name = std::str::from_utf8(user).ok().map(split_user);
        let of_key = |key| self.clients.of_key(key);
        let Some((client, key)) = log_in.form.passwords().find_map(of_key) else {
            if let Ok(()) = self.refuse_ours(log_in) {
                // Whose key somebody is guessing, has mistyped, or has forgotten to replace.
                exchange.saw_claim(&String::from_utf8_lossy(user));
            }
            let is_client = name.is_some_and(|(_, name)| self.clients.named(name).is_some());
            return self.pass_password(exchange, log_in, is_client).await;
        };
        // Whose key it is, also where the name is wrong: it may be stolen.
        self.welcomes(exchange, client, ("password", &key.id()))?;
        let name = name.filter(|(_, name)| *name == &*client.name);
        let (tenant, _) = name.ok_or(Unidentified::Bad)?;

        let claim = tenant.map(TenantClaim::NameOrAlias);
        let login = LoginId::new().map_err(|_| Rejection::Internal)?;
        exchange.saw_login(login);
        let as_own = (Aim::Own, access);
        let admitted = self.admitted(exchange, log_in.head, client, claim, as_own);
        let admitted = admitted.await?;
        let holder = Holder::Client {
            name: client.name.to_string(),
            key: key.id(),
            tenant: admitted.tenant,
            target: admitted.target,
            is_named: admitted.is_named,
        };
        let pair = self
            .tokens
            .issue(login, &holder, access, self.clock.now())?;
        Ok(self.reply(&pair.access, &pair.refresh))
    }

    /// `grant_type=refresh_token`
    async fn with_refresh_token(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let token = log_in.form.field("refresh_token")?;
        let presented = match self.tokens.read_refresh(token, self.clock.now()) {
            // Perhaps one of the console's own, where callers have those.
            Err(TokenFault::Invalid) => return self.pass_refresh(exchange, log_in).await,
            read => read?,
        };
        let access = presented.access.max(log_in.form.access()?);
        exchange.saw_login(presented.login);
        // Nothing is done at the console for a token that was used; `exchange_token` has the say.
        let presented = self.check_token(presented).await?;
        match &presented.holder {
            Holder::Client {
                target, is_named, ..
            } => {
                let aim = Aim::of(*target, *is_named);
                self.admit_holder(exchange, log_in, &presented, aim, access)
                    .await?;
            }
            Holder::Login(session) => {
                let session = self.clients.session(session);
                let session = session.ok_or(TokenFault::Revoked)?;
                let user = self.broker.user_of(&session);
                exchange.saw_visitor(&session.console, user.as_ref());
                self.freezer.check_caller(None)?;
                let permit = self.policy.admit_itself(session);
                self.lease(exchange, &permit).await?;
                self.refuse_frozen_tenant(&Named::Nobody, &permit)?;
            }
        }
        let pair = self.exchange_token(presented, access).await?;
        Ok(self.reply(&pair.access, &pair.refresh))
    }

    /// `grant_type=as`: an access token for a user that the client may name. The refresh token is
    /// given back as it came.
    async fn as_another(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let token = log_in.form.text("refresh_token")?;
        let target = Uuid::try_parse(log_in.form.text("userUid")?)
            .ok()
            .filter(|uid| !uid.is_nil())
            .ok_or(FormFault::Value("userUid"))?;
        let target = Subject(target);
        let presented = self
            .tokens
            .read_refresh(token.as_bytes(), self.clock.now())?;
        let access = presented.access.max(log_in.form.access()?);
        exchange.saw_login(presented.login);
        match &presented.holder {
            // Whoever acts as a user that it named cannot name another from there.
            Holder::Client {
                target: bound,
                is_named: true,
                ..
            } if *bound != target => return Err(Denied::Target(target).into()),
            Holder::Client { .. } => {}
            Holder::Login(_) => return Err(Denied::Target(target).into()),
        }
        let presented = self.check_token(presented).await?;
        self.admit_holder(exchange, log_in, &presented, Aim::Named(target), access)
            .await?;
        let Holder::Client {
            name, key, tenant, ..
        } = presented.holder
        else {
            return Err(Rejection::Internal);
        };
        let holder = Holder::Client {
            name,
            key,
            tenant,
            target,
            is_named: true,
        };
        let now = self.clock.now();
        let narrowed = self
            .tokens
            .issue_access(presented.login, &holder, access, now)?;
        Ok(self.reply(&narrowed, &Secret::new(token.to_owned())))
    }

    /// Whether a client may log in, or stay logged in, by a key of this id. `way` says how the key
    /// came.
    fn welcomes(
        &self,
        exchange: &mut Exchange,
        client: &Arc<Client>,
        (way, key): (&str, &str),
    ) -> Result<(), Rejection> {
        let shown = self
            .clients
            .shown_key(client, key)
            .ok_or(TokenFault::Revoked)?;
        let credential: Arc<str> = Arc::from(format!("{way}:{shown}"));
        exchange.saw_login_of(client, &credential);
        let on = (&exchange.peer, self.clock.now());
        let named = || Arc::clone(&credential);
        if let Err(why) = self.clients.check_log_in(client, key, named, on) {
            if why == Unidentified::Conflicting {
                let told = (self.clients).contradiction_of_log_in(client, &credential, on);
                exchange.saw_detail(told);
            }
            return Err(why.into());
        }
        refuse_source_of(client, &exchange.peer)?;
        self.freezer.check_caller(Some(&client.name))?;
        self.meter(exchange, Some(client))
    }

    /// Whether the holder of a refresh token may still act, now as `target`.
    async fn admit_holder(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
        presented: &Presented,
        aim: Aim,
        access: Access,
    ) -> Result<(), Rejection> {
        let Holder::Client {
            name, key, tenant, ..
        } = &presented.holder
        else {
            return Err(Rejection::Internal);
        };
        let client = self.clients.named(name).ok_or(TokenFault::Revoked)?;
        self.welcomes(exchange, client, ("refresh", key))?;
        let claim = Some(TenantClaim::Name(tenant));
        self.admitted(exchange, log_in.head, client, claim, (aim, access))
            .await?;
        Ok(())
    }

    /// Whether a client may act for a tenant, and whether the console lets it: a log-in that could
    /// not be used must not succeed. Gives what its tokens are bound to.
    async fn admitted(
        &self,
        exchange: &mut Exchange,
        head: &RequestHead<'_>,
        client: &Client,
        claim: Option<TenantClaim<'_>>,
        (aim, access): (Aim, Access),
    ) -> Result<Admitted, Rejection> {
        let certificate = exchange.peer.certificate.clone();
        let asker = Asker {
            client,
            tenant: claim,
            aim,
            certificate: certificate.as_deref(),
            claims: Claims::None,
        };
        let (whom, permit) = self.admit(exchange, head, &asker, access).await?;
        let is_named = matches!(whom.aim, Aim::Named(_));
        let whom = whom.named;
        self.refuse_frozen_tenant(&whom, &permit)?;
        self.meter_tenant(exchange, Some(client), &whom)?;
        self.lease(exchange, &permit).await?;
        // It may have been a wait.
        self.freezer.check_caller(Some(&client.name))?;
        self.refuse_frozen_tenant(&whom, &permit)?;
        let (tenant, target) = match (whom, permit.acting()) {
            (Named::Known(tenant), Acting::For(key)) => (tenant, key.target),
            (Named::Known(tenant), Acting::Account(..)) => (tenant, NOBODY),
            _ => return Err(Rejection::Internal),
        };
        Ok(Admitted {
            tenant: tenant.id.to_string(),
            target,
            is_named,
        })
    }

    async fn exchange_token(
        &self,
        presented: Presented,
        access: Access,
    ) -> Result<Pair, Rejection> {
        let (tokens, now) = (Arc::clone(&self.tokens), self.clock.now());
        let exchanged = blocking(move || tokens.exchange(&presented, access, now)).await?;
        Ok(exchanged?)
    }

    async fn check_token(&self, presented: Presented) -> Result<Presented, Rejection> {
        let (tokens, now) = (Arc::clone(&self.tokens), self.clock.now());
        let checked = blocking(move || tokens.check(&presented, now).map(|()| presented)).await?;
        Ok(checked?)
    }

    fn reply(&self, access: &Secret, refresh: &Secret) -> TokenReply {
        TokenReply::tokens(access, refresh, self.tokens.lifetimes().access)
    }
}

/// What the tokens of a log-in are bound to.
struct Admitted {
    tenant: String,
    target: Subject,
    /// Whether the caller named the user itself.
    is_named: bool,
}

/// Whether a query names a field that holds a secret.
fn names_a_secret(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name);
        let name: Vec<u8> = name.map(|byte| byte.to_ascii_lowercase()).collect();
        SECRETS.iter().any(|secret| secret.as_bytes() == name)
    })
}

/// Reads a form to its end, within bounds.
async fn read_body(
    exchange: &mut Exchange,
    body: Incoming,
    (version, pace): (Version, Pace),
) -> Result<Bytes, Rejection> {
    let fault = |fault: BodyFault| Rejection::Upstream(UpstreamError::Body(fault));
    let limits = (FORM_LIMIT as u64, pace);
    let (mut body, replay) = RequestBody::streaming(body, version, 0, limits);
    exchange.follow_body(&replay);
    // Reserved in full, so that growing leaves no copy of a secret behind.
    let mut form = Zeroizing::new(Vec::with_capacity(FORM_USUAL));
    let read = async {
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if form.len() + data.len() > form.capacity() {
                    let mut larger = Zeroizing::new(Vec::with_capacity(FORM_LIMIT));
                    larger.extend_from_slice(&form);
                    form = larger;
                }
                form.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(FORM_TIME, read).await {
        Ok(Ok(())) => Ok(Bytes::from_owner(form)),
        Ok(Err(error)) => Err(fault(error)),
        Err(_) => Err(fault(BodyFault::Stalled)),
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Rejection> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Rejection::Internal)
}

impl From<TokenFault> for Rejection {
    fn from(fault: TokenFault) -> Self {
        Self::Unidentified(Unidentified::Token(fault))
    }
}

impl From<TurnError> for Rejection {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Fault(fault) => fault.into(),
            TurnError::State(error) => Self::State(error),
        }
    }
}

/// The most bytes of a form.
const FORM_LIMIT: usize = 64 * 1024;
const FORM_USUAL: usize = 4 * 1024;
/// The most time for a form to come.
const FORM_TIME: Duration = Duration::from_secs(10);
/// The fields of a form that hold secrets.
const SECRETS: [&str; 5] = ["code", "mfa_code", "mfa_token", "password", "refresh_token"];
