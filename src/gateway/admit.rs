//! For whom, and may they; where a console's directory was never read, once it has been.

use tokio::time::Instant;

use super::{Exchange, Gateway, Rejection};
use crate::client::{Caller, Client, TenantClaim};
use crate::policy::{Denied, Moment, Permit, Reason};
use crate::request::RequestHead;
use crate::tenant::{Asker, Named, Resolved, Unresolved};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Access;

/// For whom a request acts, and whether it may.
type Judged<'a> = Result<(Resolved, Result<Permit<'a>, Denied>), Unresolved>;

/// What a directory that was never read might say otherwise.
enum Open {
    /// Whether there is such a tenant, and whose it is.
    Name,
    /// Who acts for a tenant of this console.
    Target(ConsoleId),
}

impl Gateway {
    /// Finds out for whom a request acts, and whether it may.
    pub(super) async fn authorize<'a>(
        &'a self,
        exchange: &mut Exchange,
        who: &Caller<'_>,
        head: &RequestHead<'_>,
        reason: Reason<'_>,
    ) -> Result<(Named, Permit<'a>), Rejection> {
        let followed = self.tenant_of_action(head);
        let judge = || {
            let whom = match (
                self.mapping.resolve(head, who, &self.tenants),
                who,
                &followed,
            ) {
                (Err(Unresolved::Required), Caller::Client(who), Some(tenant)) => {
                    let tenant = Some(TenantClaim::Name(tenant));
                    let asker = Asker {
                        tenant,
                        ..Asker::of(who)
                    };
                    self.mapping.resolve_for(head, &asker, &self.tenants)?
                }
                (resolved, ..) => resolved?,
            };
            let now = self.clock.now();
            let moment = Moment { now, reason };
            let permit = self.policy.authorize(who, &whom, head, moment);
            Ok((whom, permit))
        };
        let client = match who {
            Caller::Client(who) => Some(&**who.client()),
            Caller::Login(..) => None,
        };
        let settled = self.settle(exchange, client, judge).await;
        if let Err(Rejection::Unresolved(why)) = &settled {
            exchange.saw_detail(match who {
                Caller::Client(who) => {
                    self.mapping
                        .told(*why, head, &Asker::of(who), &self.tenants)
                }
                Caller::Login(..) => self.mapping.told_of_own(*why, head.headers),
            });
        }
        let (whom, permit) = settled?;
        reason.refuse_faulty().map_err(Rejection::Reason)?;
        Ok((whom.named, permit))
    }

    /// The same for a log-in.
    pub(super) async fn admit<'a>(
        &'a self,
        exchange: &mut Exchange,
        head: &RequestHead<'_>,
        asker: &Asker<'_>,
        access: Access,
    ) -> Result<(Resolved, Permit<'a>), Rejection> {
        let judge = || {
            let whom = self.mapping.resolve_for(head, asker, &self.tenants)?;
            let permit = self.policy.admit(asker.client, &whom, access);
            Ok((whom, permit))
        };
        let settled = self.settle(exchange, Some(asker.client), judge).await;
        if let Err(Rejection::Unresolved(why)) = &settled {
            exchange.saw_detail(self.mapping.told(*why, head, asker, &self.tenants));
        }
        settled
    }

    /// Judges, and once more after the first reading of a directory that might say otherwise. While
    /// there is none, what is unknown and what is another client's cannot be told apart either.
    async fn settle<'a>(
        &'a self,
        exchange: &mut Exchange,
        client: Option<&Client>,
        judge: impl Fn() -> Judged<'a>,
    ) -> Result<(Resolved, Permit<'a>), Rejection> {
        let mut judged = judge();
        if let Some(open) = self.open(client, &judged) {
            let started = Instant::now();
            let console = match &open {
                Open::Name => None,
                Open::Target(console) => Some(console),
            };
            let deadline = started + self.token_wait;
            let waited = Box::pin(self.roster.wait(console, deadline)).await;
            exchange.times.token += started.elapsed();
            judged = judge();
            if let (Err(retry_after), Some(_)) = (waited, self.open(client, &judged)) {
                if let Ok((whom, _)) = &judged {
                    exchange.saw_tenant(whom);
                }
                self.roster.ask(console);
                return Err(Rejection::Directory { retry_after });
            }
        }
        let (whom, permit) = judged?;
        exchange.saw_tenant(&whom);
        match permit {
            Ok(permit) => {
                exchange.saw_permit(&permit, &self.roster);
                Ok((whom, permit))
            }
            Err(denied) => {
                self.doubt(client, &whom.named, &denied);
                Err(denied.into())
            }
        }
    }

    /// What is open about a judgement, if anything is.
    fn open(&self, client: Option<&Client>, judged: &Judged<'_>) -> Option<Open> {
        match judged {
            Ok((whom, Err(Denied::NotYet))) => match &whom.named {
                Named::Known(tenant) => Some(Open::Target(tenant.console.clone())),
                Named::Nobody | Named::Unknown => None,
            },
            Ok((_, Err(Denied::ForeignTenant(_) | Denied::UnknownTenant)))
            | Err(Unresolved::Disagree | Unresolved::Mismatch) => {
                let is_open = self.roster.leaves_open()
                    && client.is_some_and(|client| self.tenants.leaves_open(client));
                is_open.then_some(Open::Name)
            }
            Ok(_) | Err(Unresolved::Ambiguous | Unresolved::Required | Unresolved::User) => None,
        }
    }

    /// Has a directory read again that might say otherwise by now. The request does not wait.
    fn doubt(&self, client: Option<&Client>, whom: &Named, denied: &Denied) {
        match (whom, denied) {
            (Named::Known(tenant), Denied::Gone(_)) => self.roster.ask(Some(&tenant.console)),
            (_, Denied::UnknownTenant)
                if client.is_some_and(|client| self.tenants.leaves_open(client)) =>
            {
                self.roster.ask(None);
            }
            _ => {}
        }
    }
}
