//! From one configuration to the next: what outlives it, and what becomes of those who are gone.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::connect::connect;
use super::{RunError, gateway};
use crate::audit::Auditor;
use crate::client::jwt::{Issuer, Issuers};
use crate::client::{GatewayTokens, Lifetimes};
use crate::clock::Clock;
use crate::config::Settings;
use crate::freeze::Freezer;
use crate::gateway::{Actions, Gateway, Identities, Live};
use crate::quota::{self, Quotas};
use crate::reconcile::Last;
use crate::telemetry::Telemetry;
use crate::tenant::{AccountKey, IdentityId, TokenKey};
use crate::token::{Accounts, Broker, Leaving, VspcIssuer};
use crate::upstream::ConsoleId;

/// What outlives a configuration. Everything in it is kept by names and shared by all gateways of
/// the process, one after the other.
pub(super) struct Lasting {
    pub(super) freezer: Arc<Freezer>,
    pub(super) broker: Broker,
    pub(super) issuer: Arc<VspcIssuer>,
    pub(super) tokens: Arc<GatewayTokens>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) quotas: Quotas,
    pub(super) actions: Arc<Actions>,
    pub(super) identities: Arc<Identities>,
    pub(super) reconciled: Arc<Last>,
    pub(super) auditor: Auditor,
    pub(super) telemetry: Telemetry,
    pub(super) clock: Clock,
}

impl Lasting {
    /// Of a new field the compiler asks here: is it made from the file, as those are of which
    /// nothing is taken (`_`), or does it outlive the file?
    fn of(before: &Gateway, quotas: quota::Settings) -> Self {
        let Gateway {
            freezer,
            broker,
            issuer,
            tokens,
            issuers,
            quotas: counted,
            actions,
            identities,
            reconciler,
            auditor,
            telemetry,
            clock,
            // Consoles that are as they were are taken over by `connect`, with the log-ins of the
            // console whose own users may log in; what clients and roster knew, by `prepare`.
            consoles: _,
            passthrough: _,
            clients: _,
            roster: _,
            version: _,
            proxies: _,
            forwarded: _,
            limits: _,
            mapping: _,
            tenants: _,
            policy: _,
            vspc_errors: _,
            owned: _,
            public_url: _,
            replay_limit: _,
            body_pace: _,
            token_wait: _,
        } = before;
        Self {
            freezer: Arc::clone(freezer),
            broker: broker.clone(),
            issuer: Arc::clone(issuer),
            tokens: Arc::clone(tokens),
            issuers: Arc::clone(issuers),
            quotas: Quotas::new(quotas, Some(counted)),
            actions: Arc::clone(actions),
            identities: Arc::clone(identities),
            reconciled: reconciler.last(),
            auditor: auditor.clone(),
            telemetry: telemetry.clone(),
            clock: clock.clone(),
        }
    }
}

/// A configuration that is ready to take the place of the present one. Until it does, nothing is
/// different.
#[derive(Debug)]
pub struct Next {
    gateway: Gateway,
    accounts: Accounts,
    lifetimes: Lifetimes,
    issuers: Vec<Arc<Issuer>>,
    leaving: Leaving,
    /// Tenants whose own accounts log in otherwise than before.
    anew: HashSet<IdentityId>,
    /// The console whose own users may log in from now on.
    opened: Option<ConsoleId>,
}

impl Next {
    /// Prepares a configuration in place of another. Reads files.
    ///
    /// # Errors
    /// Fails when the trust material of a console cannot be used.
    pub fn prepare(before: &Gateway, mut settings: Settings) -> Result<Self, RunError> {
        let lifetimes = settings.server.lifetimes;
        let connected = connect(&mut settings, Some(before))?;
        let accounts = connected.accounts.clone();
        let issuers = std::mem::take(&mut settings.issuers);
        let issuers = before.issuers.prepare(issuers);
        let issuers = issuers.map_err(RunError::IssuerTrust)?;
        settings.clients.trust(&issuers);
        let lasting = Lasting::of(before, std::mem::take(&mut settings.quotas));
        let mut next = gateway(settings, connected, lasting);
        next.clients.take_over(&before.clients);
        next.roster.take_over(&before.roster);
        let former = before.issuer.accounts();
        let is_other = |identity: &&IdentityId| {
            let login = former.tenants.get(*identity);
            login.is_some_and(|login| Some(login) != accounts.tenants.get(*identity))
        };
        let anew = accounts.tenants.keys().filter(is_other).cloned().collect();
        let open = |gateway: &Gateway| {
            let passthrough = gateway.passthrough.as_ref();
            passthrough.map(|to| to.console.id().clone())
        };
        let opened = open(&next).filter(|console| open(before).as_ref() != Some(console));
        Ok(Self {
            leaving: leaving(before, &next),
            gateway: next,
            accounts,
            lifetimes,
            issuers,
            anew,
            opened,
        })
    }

    /// Takes the place of the present configuration. Requests that are under way end under that.
    pub async fn take_effect(self, live: &Arc<Live>) {
        let Self {
            gateway,
            accounts,
            lifetimes,
            issuers,
            leaving,
            anew,
            opened,
        } = self;
        let before = Arc::downgrade(&live.now());
        let (broker, issuer) = (gateway.broker.clone(), Arc::clone(&gateway.issuer));
        // Whoever is under way may still ask for those who leave.
        let mut all = Accounts::clone(&issuer.accounts());
        all.consoles.extend(accounts.consoles);
        all.tenants.extend(accounts.tenants);
        issuer.replace(all);
        gateway.tokens.let_live(lifetimes);
        gateway.issuers.keep(issuers);
        if let Some(console) = opened {
            let broker = broker.clone();
            let restoring = move || broker.restore_sessions(&console);
            drop(tokio::task::spawn_blocking(restoring).await);
        }
        gateway.auditor.by_config(&gateway.version);
        live.replace(Arc::new(gateway));
        broker.part_with(&leaving);
        broker.forget_names(&leaving).await;
        broker.look_at_credentials(&anew).await;
        tokio::spawn(settle(Arc::downgrade(live), before, leaving));
    }
}

/// Who is in a configuration and not in the next.
fn leaving(before: &Gateway, next: &Gateway) -> Leaving {
    let consoles = before.consoles.keys();
    let consoles = consoles.filter(|console| !next.consoles.contains_key(*console));
    let [former, present] = [before, next].map(Acting::of);
    let names: HashSet<String> = present.identities.iter().map(ToString::to_string).collect();
    let gone = |identity: &&IdentityId| !names.contains(&identity.to_string());
    Leaving {
        consoles: consoles.cloned().collect(),
        users: former.users.difference(&present.users).cloned().collect(),
        names: former.identities.iter().filter(gone).cloned().collect(),
        accounts: former
            .accounts
            .difference(&present.accounts)
            .cloned()
            .collect(),
    }
}

/// By whom the tenants of a configuration act, and as whom the gateway logs in.
struct Acting {
    users: HashSet<TokenKey>,
    accounts: HashSet<Arc<AccountKey>>,
    identities: HashSet<IdentityId>,
}

impl Acting {
    fn of(gateway: &Gateway) -> Self {
        let tenants = gateway.tenants.all();
        let users = tenants.iter().filter_map(|tenant| tenant.key());
        let accounts = tenants.iter().filter_map(|tenant| tenant.account());
        let accounts: HashSet<_> = accounts.collect();
        let own = gateway.consoles.keys().map(IdentityId::service);
        let theirs = accounts.iter().map(|account| account.identity.clone());
        Self {
            users: users.map(|key| TokenKey::clone(&key)).collect(),
            identities: own.chain(theirs).collect(),
            accounts,
        }
    }
}

/// Once nobody is under way any more under a configuration, gives up what they had obtained for
/// those who left, and the accounts for that. Whoever is back by then stays.
async fn settle(live: Weak<Live>, before: Weak<Gateway>, mut leaving: Leaving) {
    while before.strong_count() > 0 {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let Some(live) = live.upgrade() else { return };
    let present = live.now();
    let acting = Acting::of(&present);
    leaving
        .consoles
        .retain(|console| !present.consoles.contains_key(console));
    leaving.users.retain(|key| !acting.users.contains(key));
    leaving
        .accounts
        .retain(|key| !acting.accounts.contains(key));
    present.broker.part_with(&leaving);
    let mut accounts = Accounts::clone(&present.issuer.accounts());
    accounts
        .consoles
        .retain(|console, _| present.consoles.contains_key(console));
    accounts
        .tenants
        .retain(|identity, _| acting.identities.contains(identity));
    present.issuer.replace(accounts);
}

/// How often it is looked whether somebody is still under way.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
