//! Who asks, for whom, and as whom: what of that is recorded, as soon as it is known.

use std::borrow::Cow;
use std::sync::Arc;

use super::Exchange;
use crate::audit::Target;
use crate::client::{Caller, Client, LoginId, Peer, Unfit};
use crate::policy::{Acting, Bearer, Permit};
use crate::roster::Roster;
use crate::tenant::{Named, Resolved};
use crate::token::Broker;
use crate::upstream::ConsoleId;
use crate::vspc::GrantType;

impl Exchange {
    pub(in crate::gateway) fn saw_caller(&mut self, who: &Caller<'_>, broker: &Broker) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.credential = Some(Arc::clone(who.credential()));
        record.session = who.login();
        match who {
            Caller::Client(who) => {
                record.client = Some(Arc::clone(&who.client().name));
                record.principal = who.principal().map(Arc::clone);
            }
            Caller::Login(_, session) => {
                record.user = broker.user_of(session);
                record.console = Some(session.console.shared());
            }
        }
    }

    /// What a log-in asks for.
    pub(in crate::gateway) fn saw_grant(&mut self, grant: GrantType) {
        if let Some(entry) = &mut self.entry {
            entry.record().grant = Some(grant.as_str());
        }
    }

    /// The log-in that tokens of this request belong to.
    pub(in crate::gateway) fn saw_login(&mut self, login: LoginId) {
        if let Some(entry) = &mut self.entry {
            entry.record().session = Some(login);
        }
    }

    /// The client that is logging in, and by which of its keys.
    pub(in crate::gateway) fn saw_login_of(&mut self, client: &Client, credential: &Arc<str>) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.client = Some(Arc::clone(&client.name));
        record.credential = Some(Arc::clone(credential));
    }

    /// A credential that is known, and does not suffice.
    pub(in crate::gateway) fn saw_unfit(&mut self, unfit: &Unfit) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.client.clone_from(&unfit.client);
        record.credential = Some(Arc::clone(&unfit.credential));
    }

    /// A client's name that came without a key of it.
    pub(in crate::gateway) fn saw_claim(&mut self, name: &str) {
        if let Some(entry) = &mut self.entry {
            entry.record().user = Some(Arc::from(name));
        }
    }

    /// A user of the console itself who is logging in, as far as its name is known.
    pub(in crate::gateway) fn saw_visitor(&mut self, console: &ConsoleId, user: Option<&Arc<str>>) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.console = Some(console.shared());
        record.user = user.map(Arc::clone);
    }

    pub(in crate::gateway) fn saw_tenant(&mut self, whom: &Resolved) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.mapping = whom.rule.as_ref().map(Arc::clone);
        if let Named::Known(tenant) = &whom.named {
            record.tenant = Some(Arc::clone(&tenant.name));
            record.console = Some(tenant.console.shared());
        }
    }

    /// As whom it acts, with what rights, and by which rule.
    pub(in crate::gateway) fn saw_permit(&mut self, permit: &Permit<'_>, roster: &Roster) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.rule = Some(Arc::clone(permit.rule()));
        if permit.bearer() == Bearer::Nobody {
            return;
        }
        let access = match permit.acting() {
            Acting::Account(_, access) => *access,
            Acting::For(key) => key.access,
            Acting::Itself(session) => session.access,
        };
        record.access = Some(access.as_str());
        if let Acting::For(key) = permit.acting() {
            let person = roster.person(&key.console, key.target);
            let (name, role) = person.map_or((None, None), |known| (known.name, known.role));
            record.target = Some(Target {
                uid: Some(key.target.0),
                name,
                role,
            });
        }
    }

    /// What else an operator should know of it.
    pub(in crate::gateway) fn saw_detail(&mut self, detail: String) {
        if let Some(entry) = &mut self.entry {
            entry.record().detail = Some(Cow::Owned(detail));
        }
    }
}

/// The certificate of a connection as records name it.
pub(super) fn certificate(peer: &Peer) -> Option<Arc<str>> {
    let certificate = peer.certificate.as_ref()?;
    Some(Arc::from(format!("sha256:{}", certificate.fingerprint)))
}
