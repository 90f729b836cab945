//! Log-ins of a console's own users, passed through.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::{Exchange, Gateway, LogIn, Rejection, TokenReply};
use crate::client::{
    GatewayTokens, Holder, KEY_LENGTH, LoginId, SessionKey, TokenFault, Unidentified,
};
use crate::clock::Timestamp;
use crate::quota::Attempt;
use crate::request::KEY_START;
use crate::token::{Given, Known, Logins, Place, TokenError, Turn};
use crate::upstream::{Console, UpstreamError};
use crate::vspc::grant::{Access, Issued};
use crate::vspc::{FormFault, Manner, Relayed, Verdict, relay};

/// The console whose own users may log in through the gateway.
#[derive(Debug)]
pub struct Passthrough {
    /// The console.
    pub console: Arc<Console>,
    /// The name of the gateway's own account there, in lower case: nobody else logs in with it.
    pub own_name: String,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<HeaderValue>,
    /// Whether callers get the console's own tokens.
    pub expose: bool,
    /// What is known of log-ins there.
    pub logins: Arc<Logins>,
}

/// The console's answer, and the turn to ask for it, which ends when all is done.
type Asked = (Arc<Relayed>, Option<(Arc<Place>, Turn)>);

/// Somebody who is logging in at the console.
struct Visitor {
    access: Access,
    login: LoginId,
    user: Option<Arc<str>>,
    place: Weak<Place>,
}

impl Visitor {
    fn new(access: Access, user: Option<Arc<str>>) -> Result<Self, Rejection> {
        Ok(Self {
            access,
            login: LoginId::new().map_err(|_| Rejection::Internal)?,
            user,
            place: Weak::new(),
        })
    }
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
        let access = form.access()?;
        let text = String::from_utf8_lossy(name);
        let passthrough = self.passthrough.as_ref().filter(|to| {
            // Anybody could lock it out, and all tenants with it.
            !is_client && text.to_lowercase() != to.own_name
        });
        let passthrough = passthrough.ok_or(Unidentified::Bad)?;
        self.refuse_ours(log_in)?;
        let user: Arc<str> = Arc::from(text);
        exchange.saw_visitor(passthrough.console.id(), Some(&user));
        self.freezer.check_caller(None)?;
        self.refuse_tenant(log_in)?;

        let place = passthrough.logins.place(name, secret, access);
        if let Some(reply) = self.reply_known(exchange, &place).await? {
            return Ok(reply);
        }
        let deadline = Instant::now() + self.token_wait;
        let turn = tokio::time::timeout_at(deadline, place.turn()).await;
        let turn = turn.map_err(|_| TokenError::TimedOut {
            retry_after: Duration::from_secs(1),
        })?;
        // Whoever had the turn before may have found it out.
        if let Some(reply) = self.reply_known(exchange, &place).await? {
            return Ok(reply);
        }
        let attempt = self.attempt(exchange, Some(&user))?;
        let mut visitor = Visitor::new(access, Some(user))?;
        visitor.place = Arc::downgrade(&place);
        let asked = (Some((Arc::clone(&place), turn)), attempt);
        let asking = self.ask(exchange, passthrough, log_in, deadline, asked);
        let (answer, _turn) = asking.await?;
        self.welcome(exchange, passthrough, &answer, visitor).await
    }

    /// A second step, or the first of a log-in by key pair: passed on, never answered from memory.
    pub(super) async fn pass_step(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let passthrough = self.passthrough.as_ref().ok_or(FormFault::NotHere)?;
        let access = log_in.form.access()?;
        self.refuse_ours(log_in)?;
        self.refuse_tenant(log_in)?;
        let step = log_in.form.field("mfa_token").ok();
        let user = step.and_then(|step| passthrough.logins.of_second_step(step));
        exchange.saw_visitor(passthrough.console.id(), user.as_ref());
        self.freezer.check_caller(None)?;
        let attempt = self.attempt(exchange, user.as_deref())?;
        let visitor = Visitor::new(access, user)?;
        let deadline = Instant::now() + self.token_wait;
        let asking = self.ask(exchange, passthrough, log_in, deadline, (None, attempt));
        let (answer, _turn) = asking.await?;
        self.welcome(exchange, passthrough, &answer, visitor).await
    }

    /// A refresh token of the console itself, which callers have only where they are given it.
    pub(super) async fn pass_refresh(
        &self,
        exchange: &mut Exchange,
        log_in: &LogIn<'_>,
    ) -> Result<TokenReply, Rejection> {
        let passthrough = self.passthrough.as_ref().filter(|to| to.expose);
        let passthrough = passthrough.ok_or(TokenFault::Invalid)?;
        let access = log_in.form.access()?;
        self.refuse_ours(log_in)?;
        self.refuse_tenant(log_in)?;
        let refresh = log_in.form.field("refresh_token")?;
        // One that nobody was given here is none.
        let given = passthrough.logins.use_given(refresh);
        let given = given.ok_or(TokenFault::Invalid)?;
        exchange.saw_visitor(passthrough.console.id(), given.user.as_ref());
        self.freezer.check_caller(None)?;
        let visitor = Visitor {
            access: access.max(given.access),
            login: given.login,
            user: given.user,
            place: Weak::new(),
        };
        let deadline = Instant::now() + self.token_wait;
        let asking = self.ask(exchange, passthrough, log_in, deadline, (None, None));
        let (answer, _turn) = asking.await?;
        self.welcome(exchange, passthrough, &answer, visitor).await
    }

    /// Refuses what must not be shown to a console: keys and tokens of the gateway, in whatever
    /// field somebody put them, and whatever stands around them.
    pub(super) fn refuse_ours(&self, log_in: &LogIn<'_>) -> Result<(), Rejection> {
        let is_ours = |text: &[u8]| {
            // Whatever is shorter is neither, and there may be many of them.
            text.len() >= KEY_LENGTH
                && (self.clients.of_key(text).is_some() || GatewayTokens::is_own(text))
        };
        // A key may have blanks of its own: it is looked for beside a backslash alone, too.
        let beside = |byte: &u8| *byte == b'\\';
        let around = |byte: &u8| !byte.is_ascii_graphic() || AROUND.contains(byte);
        let holds_ours = |value: &[u8]| {
            holds_key_start(value)
                || is_ours(value)
                || value.split(beside).any(is_ours)
                || value.split(around).any(is_ours)
        };
        if log_in.form.values().any(holds_ours) {
            return Err(Unidentified::Bad.into());
        }
        Ok(())
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
                place.forget(session.id);
                return Ok(None);
            }
            Err(rejection) => return Err(rejection),
        }
        self.refuse_frozen_visitor(&session)?;
        if let Some(answer) = answer {
            exchange.saw_login(login);
            return Ok(Some(TokenReply::shared(&answer, place.remaining())));
        }
        let login = LoginId::new().map_err(|_| Rejection::Internal)?;
        exchange.saw_login(login);
        self.own_tokens(login, session).map(Some)
    }

    /// Asks the console, when it is its turn. That somebody tries to log in there is on the disk
    /// before.
    async fn ask(
        &self,
        exchange: &mut Exchange,
        passthrough: &Passthrough,
        log_in: &LogIn<'_>,
        deadline: Instant,
        (place, attempt): (Option<(Arc<Place>, Turn)>, Option<Attempt>),
    ) -> Result<Asked, Rejection> {
        let (console, logins) = (&passthrough.console, &passthrough.logins);
        let visit = self.broker.visitor_turn(console.id(), deadline).await?;
        if let Some(answer) = logins.paused() {
            return Ok((answer, None));
        }
        self.freezer.check_caller(None)?;
        exchange.intend().await?;
        self.freezer.check_caller(None)?;
        exchange.sending()?;
        let started = Instant::now();
        let (console, logins) = (Arc::clone(console), Arc::clone(logins));
        let version = passthrough.client_version.clone();
        let expected = self.broker.expected();
        let form = log_in.form.written();
        // Goes on when the caller goes away: what the console says is remembered all the same, or
        // an impatient tool would lock its user out. The turns are over when the call is.
        let asked = tokio::spawn(async move {
            let manner = Manner {
                client_version: version.as_ref(),
                expected,
            };
            let answer = Arc::new(relay(&console, form, manner).await?);
            drop(visit);
            match (answer.read(), &place) {
                (Verdict::Throttled(so_long), _) => logins.pause(Arc::clone(&answer), so_long),
                (Verdict::Refused, place) => {
                    if let Some(attempt) = attempt {
                        attempt.was_wrong();
                    }
                    if let Some((place, _)) = place {
                        place.wrong(Arc::clone(&answer));
                    }
                }
                _ => {}
            }
            Ok::<_, UpstreamError>((answer, place))
        });
        let asked = asked.await.map_err(|_| Rejection::Internal)?;
        exchange.times.upstream += started.elapsed();
        Ok(asked?)
    }

    /// Answers the caller as the console answered, but for tokens: those stay here, unless the
    /// configuration says otherwise.
    async fn welcome(
        &self,
        exchange: &mut Exchange,
        passthrough: &Passthrough,
        answer: &Arc<Relayed>,
        visitor: Visitor,
    ) -> Result<TokenReply, Rejection> {
        let issued = match answer.read() {
            Verdict::Issued(issued) => issued,
            Verdict::SecondStep(step) => {
                if let (Some(step), Some(user)) = (step, visitor.user) {
                    let step = step.expose().as_bytes();
                    passthrough.logins.expect_second_step(step, user);
                }
                return Ok(TokenReply::relayed(answer));
            }
            Verdict::Failed | Verdict::Refused | Verdict::Throttled(_) => {
                return Ok(TokenReply::relayed(answer));
            }
            Verdict::Unfit(what) => {
                return Err(UpstreamError::Invalid(what.to_owned()).into());
            }
        };
        exchange.saw_login(visitor.login);
        if passthrough.expose {
            return self
                .expose(exchange, passthrough, answer, visitor, issued)
                .await;
        }
        let (access, lifetime) = (visitor.access, issued.lifetime);
        let console = passthrough.console.id();
        let adopted = self.broker.adopt(console, visitor.user, issued, access);
        let (session, lease) = adopted.await?;
        exchange.saw_lease(&lease);
        // Known before it is refused: who comes with the same again costs the console nothing.
        if let Some(place) = visitor.place.upgrade() {
            place.right(session.clone(), visitor.login, None, lifetime);
        }
        self.refuse_frozen_visitor(&session)?;
        self.own_tokens(visitor.login, session)
    }

    /// Gives the console's own answer, and remembers it: its token to know the caller by, and its
    /// refresh token to know whose that is.
    async fn expose(
        &self,
        exchange: &mut Exchange,
        passthrough: &Passthrough,
        answer: &Arc<Relayed>,
        visitor: Visitor,
        mut issued: Issued,
    ) -> Result<TokenReply, Rejection> {
        let Visitor {
            access,
            login,
            user,
            place,
        } = visitor;
        let (token, lifetime) = (issued.access.duplicate(), issued.lifetime);
        // The caller renews it itself; two would take the token from one another.
        let refresh = issued.refresh.take();
        // It is the caller's to use to its end, and not to be given up a little before.
        issued.lifetime += TO_ITS_END;
        let console = passthrough.console.id();
        let adopted = self.broker.adopt(console, user.clone(), issued, access);
        let (session, lease) = adopted.await?;
        exchange.saw_lease(&lease);
        if let Some(refresh) = refresh {
            let given = Given {
                user,
                login,
                access,
                place: place.clone(),
            };
            passthrough.logins.gave(refresh.expose().as_bytes(), given);
        }
        if let Some(place) = place.upgrade() {
            let answer = Some(Arc::clone(answer));
            place.right(session.clone(), login, answer, lifetime);
        }
        let now = self.clock.now();
        let micros = i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX);
        let expires = Timestamp(now.0.saturating_add(micros));
        self.clients.expose(&token, &session, login, expires, now);
        // Known before it is refused, as above.
        self.refuse_frozen_visitor(&session)?;
        Ok(TokenReply::relayed(answer))
    }

    fn own_tokens(&self, login: LoginId, session: SessionKey) -> Result<TokenReply, Rejection> {
        let access = session.access;
        let holder = Holder::Login(session);
        let pair = self
            .tokens
            .issue(login, &holder, access, self.clock.now())?;
        Ok(self.reply(&pair.access, &pair.refresh))
    }
}

/// Whether a word in a text begins as the keys do that `keys new` makes, in any case.
fn holds_key_start(text: &[u8]) -> bool {
    let mut before = b' ';
    text.windows(KEY_START.len()).any(|window| {
        let begins = window.eq_ignore_ascii_case(KEY_START) && !before.is_ascii_alphanumeric();
        before = window.first().copied().unwrap_or(before);
        begins
    })
}

/// What may stand around a key or a token that somebody put in a wrong place.
const AROUND: &[u8] = b"\\/:;,@\"'<>()[]{}=&|#?!*+";
/// How long before its end a token is not used any more.
const TO_ITS_END: Duration = Duration::from_secs(30);
