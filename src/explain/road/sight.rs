//! What can be seen of a request's way by the file, and what only the running gateway or the console
//! knows.

use super::Journey;
use crate::client::Caller;
use crate::explain::SOMEBODY;
use crate::explain::told::Sent;
use crate::gateway::inject;
use crate::policy::{Acting, Bearer, Denied, Effect, Finding, Permit, Unmet};
use crate::request::RequestHead;
use crate::tenant::{Resolved, Whom};
use crate::vspc::grant::Access;

impl Journey<'_> {
    /// Whether a denial says what only the console can know.
    pub(super) fn hangs_on_console(&self, denied: &Denied, is_supposed: bool) -> bool {
        match denied {
            Denied::ForeignTenant(_) => is_supposed,
            Denied::Target(_) => self.acts_as_somebody(),
            Denied::Operation(None) | Denied::Road(_) | Denied::Unmet(_) => {
                let mut rules = self.told.rules.iter();
                rules.any(|it| it.effect == Effect::Allow && self.may_apply(it, is_supposed))
            }
            _ => false,
        }
    }

    fn acts_as_somebody(&self) -> bool {
        let user = self.tenant.as_ref().and_then(|tenant| tenant.user());
        user == Some(SOMEBODY)
    }

    /// Whether a rule does not match for nothing but what only the console can know.
    fn may_apply(&self, finding: &Finding, is_supposed: bool) -> bool {
        let hangs = |unmet: &Unmet| match unmet {
            Unmet::Targets => self.acts_as_somebody(),
            Unmet::Tenants => is_supposed,
            _ => false,
        };
        !finding.applies() && finding.unmet.iter().all(hangs)
    }

    pub(super) fn find_rules(
        &mut self,
        who: &Caller<'_>,
        (whom, is_supposed): (&Resolved, bool),
        head: &RequestHead<'_>,
    ) {
        let policy = &self.plan.settings.policy;
        self.told.rules = policy.explain(who, whom, head, self.question.at);
        let rules = self.told.rules.iter();
        let open = rules.filter(|finding| self.may_apply(finding, is_supposed));
        let open = open.map(|finding| match finding.effect {
            Effect::Allow => format!("whether {} allows it", finding.rule),
            Effect::Deny => format!("whether {} denies it", finding.rule),
        });
        let open: Vec<String> = open.collect();
        self.told.at_run_time.extend(open);
    }

    pub(super) fn saw_permit(&mut self, permit: &Permit<'_>, head: &RequestHead<'_>) {
        self.told.rule = Some(permit.rule().to_string());
        let (authorization, access) = match (permit.bearer(), permit.acting()) {
            (Bearer::Nobody, _) => (
                "none: the console serves this without a token",
                Access::Full,
            ),
            (Bearer::Target, Acting::For(key)) => {
                if key.target == SOMEBODY {
                    let whom = self.tenant.as_ref().map(|tenant| tenant.whom.clone());
                    self.told.acts_as = Some(format!("the {}", owner(whom.as_ref())));
                    self.open("which user that is");
                } else {
                    self.told.target = Some(key.target.0);
                    self.told.acts_as = Some(format!("user {}", key.target));
                }
                ("the token of that user", key.access)
            }
            (Bearer::Target, Acting::Account(_, access)) => {
                self.told.acts_as = Some("the tenant's own account".to_owned());
                ("the token of that account", *access)
            }
            (Bearer::Target, Acting::Itself(session)) => ("the caller's own", session.access),
        };
        self.told.sent = Some(self.sent(permit, head, authorization, access));
    }

    /// What the console would get.
    fn sent(
        &self,
        permit: &Permit<'_>,
        head: &RequestHead<'_>,
        authorization: &str,
        access: Access,
    ) -> Sent {
        let consoles = self.plan.settings.consoles.iter();
        let console = consoles.map(|console| &console.upstream);
        let to = console
            .filter(|upstream| upstream.id == *permit.console())
            .map(|upstream| format!("{}://{}", upstream.scheme, upstream.authority));
        let passed = inject(&head.lines, &self.plan.owned, None);
        let names = |is_passed: bool| {
            let mut names: Vec<String> = (head.headers.keys())
                .filter(|name| {
                    **name != http::header::HOST && passed.contains_key(*name) == is_passed
                })
                .map(ToString::to_string)
                .collect();
            names.sort_unstable();
            names
        };
        Sent {
            url: format!("{}{}", to.last().unwrap_or_default(), self.question.target),
            headers: names(true),
            stripped: names(false),
            authorization: authorization.to_owned(),
            read_only: access == Access::ReadOnly,
        }
    }

    /// What else the running gateway asks.
    pub(super) fn note_run_time(&mut self, head: &RequestHead<'_>) {
        let quotas = &self.plan.settings.quotas;
        let client = self.client.as_ref().map(|client| &*client.name);
        let of_client = client.and_then(|name| Some((name, quotas.clients.get(name)?)));
        let tenant = self.tenant.as_ref().map(|tenant| &*tenant.id);
        let of_tenant = tenant.and_then(|id| Some((id, quotas.tenants.get(id)?)));
        let limited: Vec<String> = [("client", of_client), ("tenant", of_tenant)]
            .into_iter()
            .filter_map(|(kind, of)| Some((kind, of?)))
            .filter(|(_, (_, allowance))| !allowance.is_unlimited())
            .map(|(kind, (name, _))| format!("whether {kind} {name} has had its share"))
            .collect();
        self.told.at_run_time.extend(limited);
        if head.path.as_str().starts_with("/api/v3/asyncactions/") {
            self.open("whether the action was started for this tenant, as this user");
        }
        if self.told.sent.is_some() {
            self.open("whether the console gives a token, takes the request, and what it answers");
        }
    }
}

fn owner(whom: Option<&Whom>) -> String {
    match whom {
        Some(Whom::Company(uid)) if *uid != SOMEBODY.0 => format!("owner of company {uid}"),
        Some(Whom::CompanyNamed(name)) => format!("owner of the company {name:?}"),
        _ => "owner of that company".to_owned(),
    }
}
