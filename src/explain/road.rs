//! The road of a request, as the gateway goes it, as far as a configuration leads.

mod sight;

use std::sync::Arc;

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};
use http::request::Parts;

use super::told::{Outcome, Refusal, Told, Verdict};
use super::{BadQuestion, Plan, Question, remedy};
use crate::client::jwt::JwtFault;
use crate::client::{Caller, Client, Identified, Peer, TenantClaim, Unidentified};
use crate::gateway::Rejection;
use crate::policy::{Denied, Moment, Permit};
use crate::request::{HeadFault, Operation, RequestHead};
use crate::tenant::{Asker, Claims, Named, Resolved, Tenant, Unresolved};
use crate::wire::{Bounds, HeadReader};

/// A request on its way.
struct Journey<'a> {
    plan: &'a Plan,
    question: &'a Question,
    told: Told,
    client: Option<Arc<Client>>,
    /// What named the tenant, and how.
    said: Vec<(String, Option<String>)>,
    tenant: Option<Arc<Tenant>>,
}

/// For whom a request acts, and whether it may.
type Judged<'a> = Result<(Resolved, Result<Permit<'a>, Denied>), Unresolved>;

/// Where the road ends that can be seen.
enum End {
    /// At the console.
    Allowed,
    /// Where only the running gateway sees on.
    Open,
}

pub(super) fn go(
    plan: &Plan,
    question: &Question,
    parts: &Option<Parts>,
) -> Result<Told, BadQuestion> {
    let mut journey = Journey {
        plan,
        question,
        told: Told::new(&question.method, &question.target),
        client: None,
        said: Vec::new(),
        tenant: None,
    };
    if let Err(error) = &plan.frozen {
        let told = format!("what is frozen: {error}");
        journey.told.not_looked_at.push(told);
    }
    let ended = match parts {
        Some(parts) => journey.pass(parts),
        None => Err(journey.unreadable()),
    };
    journey.told.verdict = match ended {
        Ok(End::Allowed) => Verdict::Allowed,
        Ok(End::Open) => Verdict::Open,
        Err(rejection) => journey.refused(&rejection, parts.as_ref()),
    };
    Ok(journey.told)
}

impl<'a> Journey<'a> {
    /// The same steps in the same order as [`Gateway`](crate::gateway::Gateway) has them.
    fn pass(&mut self, parts: &Parts) -> Result<End, Rejection> {
        let plan = self.plan;
        self.read_wire(&parts.headers)?;
        let (peer, traced) = self.trace(&parts.headers);
        let head = RequestHead::parse(parts, &plan.settings.server.limits)?;
        let operation = head.operation.name(head.method, &head.path);
        self.told.operation = Some(operation.into_owned());
        traced?;
        if head.operation == Operation::Token {
            return self.log_in(&head);
        }
        let who = match &self.question.client {
            Some(name) => plan.settings.clients.suppose(name, &peer),
            None => match self.identify(&head, &peer)? {
                Some(who) => Some(who),
                None => return Ok(End::Open),
            },
        };
        let who = who.ok_or(Unidentified::Missing)?;
        self.saw_caller(&who);
        self.check_tenant_claim()?;
        self.check_source(&peer)?;
        if let Ok(freezer) = &plan.frozen {
            freezer.check_caller(self.client.as_ref().map(|client| &*client.name))?;
        }
        let end = self.authorize(&who, &head)?;
        if let (Ok(freezer), Some(tenant)) = (&plan.frozen, &self.tenant) {
            freezer.check_tenant(&tenant.name)?;
            freezer.check_tenant(&tenant.id)?;
        }
        self.note_run_time(&head);
        Ok(end)
    }

    /// What stands in front of the parser.
    fn read_wire(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let limits = &self.plan.settings.server.limits;
        let bounds = Bounds {
            head: limits.head,
            target: limits.target,
            body: limits.body,
        };
        let bytes = self.question.wire(headers);
        match HeadReader::new(bounds).read(&bytes)? {
            Some(head) if head.size == bytes.len() => Ok(()),
            _ => Err(HeadFault::Target.into()),
        }
    }

    /// Why nothing can be made of the method and the target.
    fn unreadable(&self) -> Rejection {
        let read = self.read_wire(&HeaderMap::new());
        read.err().unwrap_or(Rejection::Head(HeadFault::Target))
    }

    /// Where the request comes from, behind proxies in front.
    fn trace(&self, headers: &HeaderMap) -> (Peer, Result<(), Rejection>) {
        let peer = self.question.peer();
        match self.plan.settings.server.proxies.sender(headers, &peer) {
            Ok(sender) => (sender.unwrap_or(peer), Ok(())),
            Err(untraceable) => (peer, Err(untraceable.into())),
        }
    }

    /// A request for a token: its form decides, which is not here.
    fn log_in(&mut self, head: &RequestHead<'_>) -> Result<End, Rejection> {
        if *head.method != Method::POST {
            return Err(Rejection::TokenMethod);
        }
        self.open(
            "the gateway answers /token itself, by the form that is sent: nothing is forwarded",
        );
        Ok(End::Open)
    }

    /// Who is calling; nobody where only the running gateway can say.
    fn identify(
        &mut self,
        head: &RequestHead<'_>,
        peer: &Peer,
    ) -> Result<Option<Caller<'a>>, Rejection> {
        let plan = self.plan;
        let clients = &plan.settings.clients;
        match clients.identify(head.headers, peer, self.question.at) {
            Ok(who) => Ok(Some(who)),
            Err(Unidentified::Bad) if head.headers.get_all(AUTHORIZATION).iter().any(is_token) => {
                self.open(
                    "a token: only the running gateway can read it. Ask with --client, and --claim",
                );
                Ok(None)
            }
            Err(unidentified) => {
                if let Unidentified::Unfit(unfit) = &unidentified {
                    self.told.client = unfit.client.as_ref().map(ToString::to_string);
                    self.told.credential = Some(unfit.credential.to_string());
                }
                Err(unidentified.into())
            }
        }
    }

    fn saw_caller(&mut self, who: &Caller<'_>) {
        let Caller::Client(who) = who else { return };
        let client = who.client();
        self.told.client = Some(client.name.to_string());
        if self.question.client.is_none() {
            self.told.credential = Some(who.credential().to_string());
        }
        self.client = Some(Arc::clone(client));
    }

    /// A token of an identity provider must name its tenant, where its client has a claim for that.
    fn check_tenant_claim(&self) -> Result<(), Rejection> {
        let (Some(client), Some(_)) = (&self.client, &self.question.client) else {
            return Ok(());
        };
        let clients = &self.plan.settings.clients;
        let claims = &self.question.claims;
        // Without claims it is a key that is supposed, where there may be one.
        let is_token = !claims.is_empty() || clients.has_only_tokens(client);
        match clients.tenant_claim(client).filter(|_| is_token) {
            Some(claim)
                if !claims
                    .iter()
                    .any(|(name, value)| name == claim && !value.is_empty()) =>
            {
                Err(Unidentified::Jwt(JwtFault::NoTenant).into())
            }
            _ => Ok(()),
        }
    }

    fn check_source(&mut self, peer: &Peer) -> Result<(), Rejection> {
        let Some(client) = self.client.as_ref().map(Arc::clone) else {
            return Ok(());
        };
        let networks = &client.terms.networks;
        if self.question.source.is_some() {
            return match networks.have(peer.address) {
                true => Ok(()),
                false => Err(Rejection::Source),
            };
        }
        if networks.are_limited() {
            let told = format!("the source: {} may call from {networks} only", client.name);
            self.told.not_looked_at.push(told);
        }
        Ok(())
    }

    /// For whom, and may they. Where a directory might know the tenant, it is taken to.
    fn authorize(&mut self, who: &Caller<'_>, head: &RequestHead<'_>) -> Result<End, Rejection> {
        let judged = self.judge(who, head);
        self.hear(who, head);
        let is_supposed = self.is_open(&judged) && self.suppose_company();
        let (whom, permit) = match is_supposed {
            true => self.judge(who, head)?,
            false => judged?,
        };
        self.told.mapping = whom.rule.as_ref().map(ToString::to_string);
        if let Named::Known(tenant) = &whom.named {
            self.told.tenant = Some(tenant.name.to_string());
            self.told.console = Some(tenant.console.to_string());
            self.tenant = Some(Arc::clone(tenant));
        }
        self.find_rules(who, (&whom, is_supposed), head);
        let permit = match permit {
            Ok(permit) => permit,
            Err(denied) if self.hangs_on_console(&denied, is_supposed) => {
                self.open(&denied.detail());
                return Ok(End::Open);
            }
            Err(denied) => return Err(denied.into()),
        };
        self.saw_permit(&permit, head);
        let reason = self.plan.settings.policy.reason(head.headers);
        reason.refuse_faulty().map_err(Rejection::Reason)?;
        Ok(End::Allowed)
    }

    fn judge(&self, who: &Caller<'_>, head: &RequestHead<'_>) -> Judged<'a> {
        let plan = self.plan;
        let settings = &plan.settings;
        let whom = match who {
            Caller::Client(who) => {
                let asker = self.asker(who);
                (settings.mapping).resolve_for(head, &asker, &settings.tenants)?
            }
            Caller::Login(..) => (settings.mapping).resolve(head, who, &settings.tenants)?,
        };
        let moment = Moment {
            now: self.question.at,
            reason: settings.policy.reason(head.headers),
        };
        let permit = settings.policy.authorize(who, &whom, head, moment);
        Ok((whom, permit))
    }

    /// The client, with the claims of the question where that names it.
    fn asker<'w>(&'w self, who: &'w Identified<'_>) -> Asker<'w> {
        let asker = Asker::of(who);
        match &self.question.client {
            None => asker,
            Some(_) => {
                let claims = &self.question.claims;
                let named = self.plan.settings.clients.tenant_claim(who.client());
                let tenant = named.and_then(|named| {
                    let claimed = claims.iter().find(|(claim, _)| claim == named);
                    claimed.map(|(_, tenant)| TenantClaim::NameOrAlias(tenant))
                });
                Asker {
                    tenant: tenant.or(asker.tenant),
                    claims: Claims::Listed(claims),
                    ..asker
                }
            }
        }
    }

    /// Keeps what names the tenant, and how.
    fn hear(&mut self, who: &Caller<'_>, head: &RequestHead<'_>) {
        let Caller::Client(who) = who else { return };
        let settings = &self.plan.settings;
        let asker = self.asker(who);
        let explained = settings.mapping.explain(head, &asker, &settings.tenants);
        let said = explained.said.iter().map(|said| {
            let name = said
                .name
                .as_ref()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            (said.by.to_string(), name)
        });
        self.said = said.collect();
    }

    /// Whether a console's directory might say otherwise.
    fn is_open(&self, judged: &Judged<'_>) -> bool {
        let is_about_name = matches!(
            judged,
            Ok((_, Err(Denied::ForeignTenant(_) | Denied::UnknownTenant)))
                | Err(Unresolved::Disagree | Unresolved::Mismatch)
        );
        let leaves_open = |client: &Arc<Client>| self.plan.settings.tenants.leaves_open(client);
        is_about_name
            && self.plan.directories().next().is_some()
            && self.client.as_ref().is_some_and(leaves_open)
    }

    /// Takes a directory for knowing what the request calls its tenant.
    fn suppose_company(&mut self) -> bool {
        let plan = self.plan;
        let mut names = self.said.iter().filter_map(|(_, name)| name.as_ref());
        let Some(name) = names.find(|name| plan.settings.tenants.get(name).is_none()) else {
            return false;
        };
        let name = name.clone();
        let consoles: Vec<_> = plan
            .directories()
            .map(|it| it.upstream.id.to_string())
            .collect();
        let told = format!(
            "whether {} has a company {name:?}, and its UID",
            consoles.join(" or ")
        );
        self.open(&told);
        plan.suppose_company(&name);
        true
    }

    fn open(&mut self, told: &str) {
        self.told.at_run_time.push(told.to_owned());
    }

    fn refused(&mut self, rejection: &Rejection, parts: Option<&Parts>) -> Verdict {
        // What would have been sent is not.
        self.told.sent = None;
        let rule = rejection.rule().map(|rule| rule.to_string());
        self.told.rule = rule.or(self.told.rule.take());
        let case = remedy::Case {
            plan: self.plan,
            question: self.question,
            headers: parts.map(|parts| &parts.headers),
            client: self.client.as_deref(),
            said: &self.said,
            tenant: self.tenant.as_deref(),
            rules: &self.told.rules,
        };
        let (code, status) = rejection.code();
        Verdict::Refused(Refusal {
            code,
            status: status.as_u16(),
            message: rejection.message().into_owned(),
            detail: rejection.detail(),
            changes: case.changes(rejection),
        })
    }
}

impl Told {
    /// Whether the request goes on to the console, as far as a configuration says.
    pub fn outcome(&self) -> Outcome {
        match self.verdict {
            Verdict::Allowed => Outcome::Allowed,
            Verdict::Open => Outcome::Open,
            Verdict::Refused(_) => Outcome::Refused,
        }
    }
}

/// Whether it looks like a token, of the gateway or of somebody else.
fn is_token(value: &http::HeaderValue) -> bool {
    let (scheme, token) = value.as_bytes().split_at_checked(7).unwrap_or_default();
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    scheme.eq_ignore_ascii_case(b"bearer ") && dots == 2
}
