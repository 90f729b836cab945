//! Log-ins of a console's own users, passed through.

use std::sync::Arc;

use http::HeaderName;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;

use super::{Exchange, Gateway, LogIn, Rejection, TokenReply};
use crate::client::{Holder, LoginId, TokenFault, Unidentified};
use crate::clock::Timestamp;
use crate::request::KEY_START;
use crate::token::{Known, Logins, Place};
use crate::upstream::{Console, UpstreamError};
use crate::vspc::grant::Access;
use crate::vspc::{Form, FormFault, Relayed, Verdict, relay};

/// The console whose own users may log in through the gateway.
#[derive(Debug)]
pub struct Passthrough {
    /// The console.
    pub console: Arc<Console>,
    /// Whether callers get the console's own tokens.
    pub expose: bool,
    /// What is known of log-ins there.
    pub logins: Logins,
}

/// Somebody who is logging in at the console.
struct Visitor {
    access: Access,
    login: LoginId,
    user: Option<Arc<str>>,
}

impl Gateway {
    /// A name and a password that are no client's. The console is asked once for all who come with
    /// the same; what it said of a wrong password holds for a moment.
    pub(super) async fn pass_password(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
        is_client: bool,
    ) -> Result<TokenReply, Rejection> {
        let form = &log_in.form;
        let (name, secret) = (form.field("username")?, form.field("password")?);
        // A client's name, or what looks like a key of one, is never shown to a console.
        let ours = is_client || form.passwords().any(|key| key.starts_with(KEY_START));
        let passthrough = self.passthrough.as_ref().filter(|_| !ours);
        let passthrough = passthrough.ok_or(Unidentified::Bad)?;
        self.refuse_tenant(log_in)?;
        let user: Arc<str> = Arc::from(String::from_utf8_lossy(name));
        exchange.saw_visitor(passthrough.console.id(), Some(&user));

        let access = form.access()?;
        let place = passthrough.logins.place(name, secret, access);
        if let Some(reply) = self.reply_known(exchange, &place).await? {
            return Ok(reply);
        }
        let _turn = place.turn().await;
        // Whoever had the turn before may have found it out.
        if let Some(reply) = self.reply_known(exchange, &place).await? {
            return Ok(reply);
        }
        let answer = self.ask(exchange, passthrough, log_in).await?;
        let visitor = Visitor {
            access,
            login: LoginId::new().map_err(|_| Rejection::Internal)?,
            user: Some(user),
        };
        if matches!(answer.read(), Verdict::Refused) {
            place.wrong(Arc::clone(&answer));
        }
        self.welcome(exchange, passthrough, &answer, visitor, Some(&place))
            .await
    }

    /// A second step, or the first of a log-in by key pair: passed on, never answered from memory.
    pub(super) async fn pass_step(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let passthrough = self.passthrough.as_ref().ok_or(FormFault::Grant)?;
        self.refuse_tenant(log_in)?;
        let step = log_in.form.field("mfa_token").ok();
        let user = step.and_then(|step| passthrough.logins.of_second_step(step));
        exchange.saw_visitor(passthrough.console.id(), user.as_ref());
        let answer = self.ask(exchange, passthrough, log_in).await?;
        let visitor = Visitor {
            access: log_in.form.access()?,
            login: LoginId::new().map_err(|_| Rejection::Internal)?,
            user,
        };
        self.welcome(exchange, passthrough, &answer, visitor, None)
            .await
    }

    /// A refresh token of the console itself, which callers have only where they are given it.
    pub(super) async fn pass_refresh(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let passthrough = self.passthrough.as_ref().filter(|to| to.expose);
        let passthrough = passthrough.ok_or(TokenFault::Invalid)?;
        self.refuse_tenant(log_in)?;
        exchange.saw_visitor(passthrough.console.id(), None);
        let answer = self.ask(exchange, passthrough, log_in).await?;
        passthrough.logins.used(log_in.form.field("refresh_token")?);
        let visitor = Visitor {
            access: log_in.form.access()?,
            login: LoginId::new().map_err(|_| Rejection::Internal)?,
            user: None,
        };
        self.welcome(exchange, passthrough, &answer, visitor, None)
            .await
    }

    /// Whoever acts as itself has no tenant: to name one is a mistake that must not pass unseen.
    fn refuse_tenant(&self, log_in: &LogIn<'_>) -> Result<(), Rejection> {
        Ok(self.mapping.refuse_named(log_in.head.headers)?)
    }

    /// The answer, where it is known without asking the console.
    async fn reply_known(
        &self,
        exchange: &mut Exchange,
        place: &Place,
    ) -> Result<Option<TokenReply>, Rejection> {
        let (session, login, answer) = match place.known() {
            None => return Ok(None),
            Some(Known::Wrong(answer)) => return Ok(Some(TokenReply::relayed(&answer))),
            Some(Known::Right {
                session,
                login,
                answer,
            }) => (session, login, answer),
        };
        let permit = self.policy.admit_itself(session.clone());
        match self.lease(exchange, &permit).await {
            Ok(_) => {}
            // The console has ended the session: it is to be asked again.
            Err(Rejection::Unidentified(Unidentified::Token(TokenFault::Ended))) => {
                place.forget();
                return Ok(None);
            }
            Err(rejection) => return Err(rejection),
        }
        if let Some(answer) = answer {
            exchange.saw_login(login);
            return Ok(Some(TokenReply::shared(&answer, place.remaining())));
        }
        let login = LoginId::new().map_err(|_| Rejection::Internal)?;
        exchange.saw_login(login);
        self.own_tokens(login, &Holder::Login(session)).map(Some)
    }

    /// Sends the form to the console as it came. That somebody tries to log in there is on the disk
    /// before.
    async fn ask(
        &self,
        exchange: &mut Exchange,
        passthrough: &Passthrough,
        log_in: &LogIn<'_>,
    ) -> Result<Arc<Relayed>, Rejection> {
        exchange.intend().await?;
        exchange.sending();
        let header = |name: HeaderName| log_in.head.headers.get(name).cloned();
        let target = log_in.parts.uri.query().map_or_else(
            || Ok(PathAndQuery::from_static(TOKEN_PATH)),
            |query| PathAndQuery::try_from(format!("{TOKEN_PATH}?{query}")),
        );
        let form = Form {
            body: log_in.raw.clone(),
            content_type: header(CONTENT_TYPE),
            client_version: header(HeaderName::from_static("x-client-version")),
            target: target.map_err(|_| Rejection::Internal)?,
        };
        let started = tokio::time::Instant::now();
        let answer = relay(&passthrough.console, form).await;
        exchange.times.upstream += started.elapsed();
        Ok(Arc::new(answer?))
    }

    /// Answers the caller as the console answered, but for tokens: those stay here, unless the
    /// configuration says otherwise.
    async fn welcome(
        &self,
        exchange: &mut Exchange,
        passthrough: &Passthrough,
        answer: &Arc<Relayed>,
        visitor: Visitor,
        place: Option<&Place>,
    ) -> Result<TokenReply, Rejection> {
        let Visitor {
            access,
            login,
            user,
        } = visitor;
        let mut issued = match answer.read() {
            Verdict::Issued(issued) => issued,
            Verdict::SecondStep(step) => {
                if let (Some(step), Some(user)) = (step, user) {
                    let step = step.expose().as_bytes();
                    passthrough.logins.expect_second_step(step, user);
                }
                return Ok(TokenReply::relayed(answer));
            }
            Verdict::Failed | Verdict::Refused => return Ok(TokenReply::relayed(answer)),
            Verdict::Unfit(what) => {
                return Err(UpstreamError::Invalid(what.to_owned()).into());
            }
        };
        exchange.saw_login(login);
        let lifetime = issued.lifetime;
        let given = passthrough.expose.then(|| issued.access.duplicate());
        if given.is_some() {
            // The caller renews it itself; two would take the token from one another.
            issued.refresh = None;
        }
        let console = passthrough.console.id();
        let (session, lease) = self.broker.adopt(console, user, issued, access).await?;
        exchange.saw_lease(&lease);
        if let Some(place) = place {
            let shared = given.is_some().then(|| Arc::clone(answer));
            place.right(session.clone(), login, shared, lifetime);
        }
        let Some(given) = given else {
            return self.own_tokens(login, &Holder::Login(session));
        };
        let now = self.clock.now();
        let micros = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
        let expires = Timestamp(now.0.saturating_add(micros));
        self.clients.expose(&given, &session, login, expires, now);
        Ok(TokenReply::relayed(answer))
    }

    fn own_tokens(&self, login: LoginId, holder: &Holder) -> Result<TokenReply, Rejection> {
        let access = match holder {
            Holder::Client { .. } => Access::Full,
            Holder::Login(session) => session.access,
        };
        let pair = self.tokens.issue(login, holder, access, self.clock.now())?;
        Ok(self.reply(&pair.access, &pair.refresh))
    }
}

const TOKEN_PATH: &str = "/api/v3/token";
