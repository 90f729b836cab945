//! What would change a refusal.

mod path;
mod rules;

use http::header::{AUTHORIZATION, HeaderMap};

use super::{Plan, Question};
use crate::client::jwt::JwtFault;
use crate::client::{API_KEY, Client, KEY_LENGTH, Lack, Tenants, Unfit, Unidentified};
use crate::freeze::{Scope, Stopped};
use crate::gateway::Rejection;
use crate::policy::{Denied, Finding};
use crate::request::{HeadFault, METHODS};
use crate::tenant::{Tenant, Unresolved};

/// A refused request, and what is known of it.
pub(super) struct Case<'a> {
    pub(super) plan: &'a Plan,
    pub(super) question: &'a Question,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) client: Option<&'a Client>,
    /// What named the tenant, and how.
    pub(super) said: &'a [(String, Option<String>)],
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) rules: &'a [Finding],
}

impl Case<'_> {
    /// What would change it, each by itself.
    pub(super) fn changes(&self, rejection: &Rejection) -> Vec<String> {
        match rejection {
            Rejection::Denied(denied) => self.of_denied(denied),
            Rejection::Frozen(Stopped(hold)) => vec![match &hold.scope {
                Scope::Everything => "end the freeze: vspc-gateway thaw".to_owned(),
                Scope::Client(name) => {
                    format!("end the freeze: vspc-gateway thaw --client {name}")
                }
                Scope::Tenant(name) => {
                    format!("end the freeze: vspc-gateway thaw --tenant {name:?}")
                }
            }],
            Rejection::Head(fault) => self.of_head(*fault),
            Rejection::Reason(_) => vec![self.reason()],
            Rejection::Source => self.source(),
            Rejection::TokenMethod => vec!["send POST: log-ins are POST /api/v3/token".to_owned()],
            Rejection::Unidentified(why) => self.of_unidentified(why),
            Rejection::Unresolved(why) => self.of_unresolved(*why),
            Rejection::Untraceable(_) => vec![
                "have the trusted proxy write X-Forwarded-For as a list of addresses".to_owned(),
            ],
            Rejection::Wire(fault) => self.of_wire(fault.what),
            _ => Vec::new(),
        }
    }

    fn of_head(&self, fault: HeadFault) -> Vec<String> {
        let server = &self.plan.settings.server;
        let text = match fault {
            HeadFault::AmbiguousPath => return path::parts(&self.question.target),
            HeadFault::BodyTooLarge => format!(
                "send at most {} bytes, or raise server.body_limit",
                server.limits.body
            ),
            HeadFault::Expectation => "leave Expect out, or send 100-continue".to_owned(),
            HeadFault::HeadTooLarge => format!(
                "send at most {} bytes of headers, or raise server.header_limit",
                server.limits.head
            ),
            HeadFault::KeyInQuery => {
                "send the key in X-Api-Key, and take it out of the path and the query".to_owned()
            }
            HeadFault::Method => format!("send one of {METHODS}"),
            HeadFault::TargetTooLong => format!(
                "send at most {} bytes of path and query, or raise server.target_limit",
                server.limits.target
            ),
            HeadFault::Target => path::MALFORMED.to_owned(),
            HeadFault::WrongHost => format!(
                "ask for one of server.names: {}",
                server.limits.names.join(", ")
            ),
            HeadFault::Blank | HeadFault::Host | HeadFault::Length | HeadFault::Unannounced => {
                return Vec::new();
            }
        };
        vec![text]
    }

    fn of_wire(&self, what: crate::wire::What) -> Vec<String> {
        use crate::wire::What;
        match what {
            What::Method => vec![format!("send one of {METHODS}")],
            What::Target => vec![path::MALFORMED.to_owned()],
            What::TargetTooLong => self.of_head(HeadFault::TargetTooLong),
            What::HeadTooLarge => self.of_head(HeadFault::HeadTooLarge),
            _ => Vec::new(),
        }
    }

    fn source(&self) -> Vec<String> {
        let Some(client) = self.client else {
            return Vec::new();
        };
        let name = &client.name;
        let mut changes = vec![
            format!(
                "call from one of clients.{name}.networks: {}",
                client.terms.networks
            ),
            format!("add the caller's network to clients.{name}.networks"),
        ];
        if self.plan.settings.server.proxies.networks.is_empty() {
            changes
                .push("if a proxy stands in front, name it in server.trusted_proxies".to_owned());
        }
        changes
    }

    fn reason(&self) -> String {
        let policy = &self.plan.settings.policy;
        match (policy.reason_header(), policy.reason_pattern()) {
            (None, _) => "set mapping.reason_header, by which callers can give one".to_owned(),
            (Some(header), Some(pattern)) => {
                format!("send {header} once, with a reason that matches {pattern}")
            }
            (Some(header), None) => {
                format!("send {header} once, with one line of at most 200 characters")
            }
        }
    }

    fn of_unidentified(&self, why: &Unidentified) -> Vec<String> {
        match why {
            Unidentified::Missing => {
                let names = self.plan.settings.clients.client_names();
                vec![
                    "send a client's key as X-Api-Key, as a bearer, or as the password of Basic"
                        .to_owned(),
                    format!("or ask with --client, for one of: {}", some(&names)),
                ]
            }
            Unidentified::Conflicting => {
                vec!["send exactly one credential: these do not name the same client".to_owned()]
            }
            Unidentified::Bad => self.of_bad(),
            Unidentified::Jwt(JwtFault::NoTenant) => self.of_tenant_claim(),
            // Tokens of identity providers are not read here.
            Unidentified::Jwt(_) | Unidentified::NoKeys { .. } => Vec::new(),
            Unidentified::Token(_) => vec!["log in again at /api/v3/token".to_owned()],
            Unidentified::Unfit(unfit) => self.of_unfit(unfit),
        }
    }

    /// A token that does not name its tenant.
    fn of_tenant_claim(&self) -> Vec<String> {
        let Some(client) = self.client else {
            return Vec::new();
        };
        let claim = self.plan.settings.clients.tenant_claim(client);
        let claim = claim.unwrap_or_default();
        vec![
            format!(
                "have the issuer put the claim {claim} into its tokens: it is clients.{}.tenant_claim",
                client.name
            ),
            format!("or ask with --claim {claim}=TENANT, as in a token that has it"),
        ]
    }

    /// A credential that does not suffice.
    fn of_unfit(&self, unfit: &Unfit) -> Vec<String> {
        let whose = unfit.client.as_deref().unwrap_or("the client");
        match &unfit.lack {
            Lack::Certificate => vec![format!(
                "show the certificate of {whose} too: clients.{whose}.require is \"all\""
            )],
            Lack::Expired(what) => {
                let ends = self.plan.settings.clients.key_ends();
                let key = what.strip_prefix("key ");
                let end = ends
                    .iter()
                    .find(|end| &*end.client == whose && Some(&*end.key) == key);
                let on = end.map(|end| format!(" at {}", end.at.in_seconds()));
                let on = on.unwrap_or_default();
                vec![format!(
                    "{what} expired{on}: give the client another, made with `vspc-gateway keys new {whose}`"
                )]
            }
            Lack::Key => vec![format!(
                "send a key of {whose} too: clients.{whose}.require is \"all\""
            )],
            Lack::Owner(subject) => vec![
                format!("name the certificate of {subject:?} in `certificate` of a client"),
                "or send a client's key".to_owned(),
            ],
        }
    }

    /// A key, or what came in place of one, that nobody has.
    fn of_bad(&self) -> Vec<String> {
        let mut changes = Vec::new();
        let values = |name| {
            let headers = self.headers.into_iter();
            headers.flat_map(move |headers| headers.get_all(&name))
        };
        let lines: Vec<_> = values(API_KEY).chain(values(AUTHORIZATION)).collect();
        if lines.iter().any(|value| value.len() < KEY_LENGTH) {
            changes.push(format!(
                "a key has at least {KEY_LENGTH} characters: perhaps it was cut"
            ));
        }
        let is_basic = |value: &[u8]| {
            value
                .get(..6)
                .is_some_and(|s| s.eq_ignore_ascii_case(b"basic "))
        };
        if lines.iter().any(|value| is_basic(value.as_bytes())) {
            changes.push(
                "the user name of Basic must be the client's name, or tenant\\client".to_owned(),
            );
        }
        changes.push("add the digest of the key to api_keys of its client: `vspc-gateway keys new` prints both".to_owned());
        changes
    }

    fn of_unresolved(&self, why: Unresolved) -> Vec<String> {
        let header = self.plan.settings.mapping.tenant_header.as_ref();
        match (why, header) {
            (Unresolved::Required, Some(header)) => {
                vec![format!("send {header} with one of: {}", self.tenants())]
            }
            (Unresolved::Required, None) => {
                let rules = "have a rule of mapping.rules name it, or set mapping.tenant_header";
                vec![format!("{rules}: the client has {}", self.tenants())]
            }
            (Unresolved::Ambiguous, _) => {
                let header = header.map_or("the header", |header| header.as_str());
                vec![format!(
                    "send {header}, and each header of mapping.rules, once, with one value and no comma"
                )]
            }
            (Unresolved::Disagree | Unresolved::Mismatch, _) => {
                let said = self.said.iter().map(|(by, name)| match name {
                    Some(name) => format!("{by} says {name:?}"),
                    None => by.clone(),
                });
                let said = said.collect::<Vec<_>>().join(", ");
                vec![format!(
                    "have all name one tenant of the client, or leave some out: {said}"
                )]
            }
            (Unresolved::User, _) => {
                let header = self.plan.settings.mapping.user_header.as_ref();
                let header = header.map_or("the header", |header| header.as_str());
                vec![format!("send {header} once, with one userUid")]
            }
        }
    }

    fn of_denied(&self, denied: &Denied) -> Vec<String> {
        let client = self.client.map_or("", |client| &client.name);
        match denied {
            Denied::ForeignTenant(tenant) => {
                vec![format!("add {tenant:?} to clients.{client}.tenants")]
            }
            Denied::UnknownTenant => self.unknown_tenant(),
            Denied::Target(target) => vec![format!("add \"{target}\" to clients.{client}.targets")],
            Denied::Reason(..) => vec![self.reason()],
            Denied::Operation(_) | Denied::ReadOnly(_) | Denied::Road(_) | Denied::Unmet(_) => {
                self.of_rules(denied)
            }
            Denied::Token => vec!["send log-ins to POST /api/v3/token".to_owned()],
            Denied::Gone(_) | Denied::Moved | Denied::NotYet => Vec::new(),
        }
    }

    fn unknown_tenant(&self) -> Vec<String> {
        let tenants = &self.plan.settings.tenants;
        let mut said = self.said.iter().filter_map(|(_, name)| name.as_ref());
        let Some(said) = said.find(|name| tenants.get(name).is_none()) else {
            return vec![format!("name one of: {}", self.tenants())];
        };
        let alike = tenants
            .names()
            .find(|name| name.to_lowercase() == said.to_lowercase());
        if let Some(name) = alike {
            return vec![format!(
                "write {name:?}: names are compared letter for letter"
            )];
        }
        vec![
            format!("name one of: {}", self.tenants()),
            format!("or add a tenant, or an alias of one, called {said:?}"),
        ]
    }

    /// The tenants that the client may act for.
    fn tenants(&self) -> String {
        let configured = || self.plan.settings.tenants.configured();
        let mut names: Vec<String> = match self.client.map(|client| &client.tenants) {
            Some(Tenants::Named(names)) => names.iter().map(ToString::to_string).collect(),
            Some(Tenants::All) | None => configured().map(|it| it.name.to_string()).collect(),
        };
        names.sort_unstable();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        some(&names)
    }
}

/// Names in a row, not too many.
fn some(names: &[&str]) -> String {
    match names.split_at_checked(MOST) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}

const MOST: usize = 12;
