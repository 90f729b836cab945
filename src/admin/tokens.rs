//! Tokens in operators' hands: seen, renewed, dropped; and log-ins at the gateway ended.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json, parse};
use crate::audit::{Record, Target};
use crate::client::LoginId;
use crate::tenant::{AccountKey, TokenKey};
use crate::token::{SurveyFilter, TokenKind, TokenView, Which};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

/// What is to be renewed or dropped: exactly one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    tenant: Option<String>,
    console: Option<String>,
    target: Option<Uuid>,
    session: Option<Uuid>,
    reason: Option<String>,
}

enum Meant {
    Tokens(Which),
    LogIn(LoginId),
}

impl Admin {
    /// `GET /tokens`
    pub(super) async fn list_tokens(
        &self,
        who: &Operator,
        query: &str,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("tokens.list");
        let read = self.read_filter(query, &mut record);
        self.record_use(record, read.as_ref().err()).await;
        let (filter, limit) = read?;
        let mut views = self
            .gateway()
            .broker
            .survey(&filter, limit.saturating_add(1));
        let more = views.len() > limit;
        views.truncate(limit);
        let all = self.gateway().tenants.all();
        let mut tenants: HashMap<Arc<TokenKey>, Vec<&str>> = HashMap::new();
        for tenant in &all {
            if let Some(key) = tenant.key() {
                tenants.entry(key).or_default().push(&tenant.name);
            }
        }
        let tokens: Vec<Value> = views.iter().map(|view| told(view, &tenants)).collect();
        let body = json!({"tokens": tokens, "more": more});
        Ok(as_json(StatusCode::OK, &body))
    }

    /// `POST /tokens/renew`
    pub(super) async fn renew_tokens(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("tokens.renew");
        let picked = self.meant(body, &mut record).and_then(|meant| {
            let Meant::Tokens(which) = meant else {
                let message = "a log-in cannot be renewed, only dropped";
                return Err(Refusal::bad_request(message));
            };
            let picked = self.gateway().broker.to_renew(&which);
            if picked.is_empty() {
                return Err(Refusal::not_found(
                    "no token is known that acts as this user",
                ));
            }
            let counted = self.renewals.renewal(&picked);
            counted.map_err(|wait| Refusal::too_soon(TOO_SOON, wait))?;
            Ok(picked)
        });
        let picked = self.or_record(&record, picked).await?;
        self.record_first(&record).await?;
        tracing::warn!(%who, tokens = picked.len(), "an operator has tokens renewed");
        let deadline = Instant::now() + self.gateway().token_wait;
        let renewed = picked.renew(deadline).await;
        let new = renewed.iter().filter(|renewed| renewed.is_new).count();
        let outcome = format!("{new} of {} are new", renewed.len());
        self.record_done(&record, "tokens.renewed", outcome);
        let tokens = renewed.iter().map(|renewed| {
            let mut token = told(&renewed.view, &HashMap::new());
            if let Some(token) = token.as_object_mut() {
                token.insert("renewed".to_owned(), json!(renewed.is_new));
            }
            token
        });
        let tokens: Vec<Value> = tokens.collect();
        Ok(as_json(StatusCode::OK, &json!({"tokens": tokens})))
    }

    /// `POST /tokens/drop`
    pub(super) async fn drop_tokens(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("tokens.drop");
        let meant = self.meant(body, &mut record);
        let which = match self.or_record(&record, meant).await? {
            Meant::LogIn(login) => return self.end_log_in(who, record, login).await,
            Meant::Tokens(which) => which,
        };
        let picked = self.gateway().broker.to_drop(&which);
        let is_session = matches!(which, Which::Session(_));
        if is_session {
            let counted = self.renewals.login(&picked);
            let counted = counted.map_err(|wait| Refusal::too_soon(TOO_SOON, wait));
            self.or_record(&record, counted).await?;
        }
        self.record_first(&record).await?;
        let forgotten = picked.forget();
        tracing::warn!(%who, "an operator has dropped tokens");
        let settled = match tokio::time::timeout(DISK_TIME, forgotten.settled()).await {
            Ok(settled) => settled.map_err(|error| error.to_string()),
            Err(_) => Err("the disk does not answer".to_owned()),
        };
        let still_there = |error: String| {
            let message = format!(
                "this process serves them no more, but they are on the disk and may come back at \
                 the next start: {error}"
            );
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "state_unavailable",
                message,
            )
        };
        let count = self
            .or_record(&record, settled.map_err(still_there))
            .await?;
        self.record_done(&record, "tokens.dropped", format!("{count} tokens"));
        let note = match (is_session, count) {
            (true, _) => {
                "the gateway logs in at the console again, now; tokens that were obtained with the \
                 old session are dropped as well"
            }
            (false, 0) => "no such token was held",
            (false, _) => "the next request has a new token obtained",
        };
        let body = json!({"dropped": count, "note": note});
        Ok(as_json(StatusCode::OK, &body))
    }

    /// Ends a log-in at the gateway, with all tokens that it was answered with.
    async fn end_log_in(
        &self,
        who: &Operator,
        record: Record,
        login: LoginId,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        self.record_first(&record).await?;
        let gateway = self.gateway();
        let (tokens, now) = (Arc::clone(&gateway.tokens), gateway.clock.now());
        let ended = tokio::task::spawn_blocking(move || tokens.end(login, now)).await;
        let ended = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let unavailable = |error: String| {
            let message = format!("the log-in was not ended: {error}");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "state_unavailable",
                message,
            )
        };
        self.or_record(&record, ended.map_err(unavailable)).await?;
        if let Some(passthrough) = &gateway.passthrough {
            passthrough.logins.end(login);
        }
        tracing::warn!(%who, %login, "an operator has ended a log-in");
        self.record_done(&record, "session.ended", "by an operator".to_owned());
        let note = "whatever tokens of this log-in are about, none is accepted from now on";
        let body = json!({"ended": login.to_string(), "note": note});
        Ok(as_json(StatusCode::OK, &body))
    }

    /// What a body means, and that in the record.
    fn meant(&self, body: &[u8], record: &mut Record) -> Result<Meant, Refusal> {
        let asked: Asked = parse(body)?;
        record.reason = super::freeze::checked_reason(asked.reason)?;
        let which = match (asked.tenant, asked.console, asked.target, asked.session) {
            (Some(tenant), None, None, None) => match self.account(&tenant, record) {
                Some(account) => Which::Account(account),
                None => Which::Tenant(self.tenant(&tenant, record)?),
            },
            (None, Some(console), None, None) => Which::Session(self.console(&console, record)?),
            (None, None, Some(target), None) => Which::Target(saw_target(target, record)),
            (None, None, None, Some(session)) => {
                record.session = Some(LoginId(session));
                return Ok(Meant::LogIn(LoginId(session)));
            }
            _ => {
                let message = "name exactly one of tenant, console, target and session";
                return Err(Refusal::bad_request(message));
            }
        };
        Ok(Meant::Tokens(which))
    }

    /// The own account of a tenant, where it has one.
    fn account(&self, name: &str, record: &mut Record) -> Option<Arc<AccountKey>> {
        let tenant = self.gateway().tenants.get(name)?;
        let account = tenant.account()?;
        record.tenant = Some(Arc::clone(&tenant.name));
        record.console = Some(tenant.console.shared());
        Some(account)
    }

    fn tenant(&self, name: &str, record: &mut Record) -> Result<TokenKey, Refusal> {
        let Some(tenant) = self.gateway().tenants.get(name) else {
            let message = format!("no tenant has the name or alias {name:?}");
            return Err(Refusal::not_found(message));
        };
        record.tenant = Some(Arc::clone(&tenant.name));
        record.console = Some(tenant.console.shared());
        let Some(key) = tenant.key() else {
            let message = format!("nobody can act for {name:?} at present, so it has no token");
            return Err(Refusal::not_found(message));
        };
        saw_target(key.target.0, record);
        Ok(TokenKey::clone(&key))
    }

    fn console(&self, name: &str, record: &mut Record) -> Result<ConsoleId, Refusal> {
        let gateway = self.gateway();
        let named = gateway.consoles.keys().find(|id| id.as_str() == name);
        let Some(console) = named.cloned() else {
            let message = format!("no console is called {name:?}");
            return Err(Refusal::not_found(message));
        };
        record.console = Some(console.shared());
        Ok(console)
    }

    fn read_filter(
        &self,
        query: &str,
        record: &mut Record,
    ) -> Result<(SurveyFilter, usize), Refusal> {
        let (mut filter, mut limit) = (SurveyFilter::default(), LIMIT);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            let wrong = || Refusal::bad_request(format!("{value:?} is no {name}"));
            match name {
                "tenant" => match self.account(&value, record) {
                    Some(account) => filter.account = account.identity.tenant().cloned(),
                    None => {
                        let key = self.tenant(&value, record)?;
                        filter.console = Some(key.console);
                        filter.target = Some(key.target);
                    }
                },
                "console" => filter.console = Some(self.console(&value, record)?),
                "target" => {
                    let target = Uuid::try_parse(&value).map_err(|_| wrong())?;
                    filter.target = Some(saw_target(target, record));
                }
                "kind" => filter.kind = Some(TokenKind::of(&value).ok_or_else(wrong)?),
                "limit" => limit = value.parse().map_err(|_| wrong())?,
                _ => {
                    let known = "tenant, console, target, kind and limit";
                    let message = format!("{name:?} is not known here; known are {known}");
                    return Err(Refusal::bad_request(message));
                }
            }
        }
        Ok((filter, limit))
    }
}

fn saw_target(target: Uuid, record: &mut Record) -> Subject {
    record.target = Some(Target {
        uid: Some(target),
        ..Target::default()
    });
    Subject(target)
}

/// A token as operators are told of it.
fn told(view: &TokenView, tenants: &HashMap<Arc<TokenKey>, Vec<&str>>) -> Value {
    let mut token = Map::new();
    let mut tell = |name: &'static str, value: Value| drop(token.insert(name.to_owned(), value));
    tell("console", json!(view.console.as_str()));
    tell("kind", json!(view.kind.as_str()));
    if let Some(target) = view.target {
        tell("target", json!(target.to_string()));
        let key = TokenKey {
            console: view.console.clone(),
            target,
            access: view.access,
        };
        if let Some(names) = tenants.get(&key) {
            tell("tenants", json!(names));
        }
    }
    if let Some(tenant) = &view.tenant {
        tell("tenants", json!([&**tenant]));
    }
    if let Some(user) = &view.user {
        tell("user", json!(**user));
    }
    tell("access", json!(view.access.as_str()));
    tell("state", json!(view.state.as_str()));
    if let Some(held) = &view.held {
        tell("generation", json!(held.generation.to_string()));
        tell("fingerprint", json!(held.fingerprint.to_string()));
        tell("age_seconds", json!(held.age));
        tell("renew_in_seconds", json!(held.renew_in));
        tell("served_for_seconds", json!(held.served_for));
        tell("dead_in_seconds", json!(held.dead_in));
    }
    if let Some(idle) = view.idle {
        tell("idle_seconds", json!(idle));
    }
    if let Some((error, retry_in)) = &view.trouble {
        tell("error", Cow::<str>::Owned(error.to_string()).into());
        tell("retry_in_seconds", json!((*retry_in).max(0)));
    }
    Value::Object(token)
}

const TOO_SOON: &str = "one token is renewed by hand once in 10 s, a session dropped once in a \
    minute, and ten tokens a minute in all";
/// How many tokens are told where nothing is said.
const LIMIT: usize = 1000;
/// How long the disk is waited for.
const DISK_TIME: std::time::Duration = std::time::Duration::from_secs(6);
