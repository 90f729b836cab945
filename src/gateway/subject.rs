//! Which identity a call of the `/users/logins` family concerned.

use std::sync::Arc;

use super::identities::Identities;
use crate::audit::{Action, Subject};
use crate::request::LoginsCall;
use crate::upstream::BodyProgress;
use crate::vspc::logins::{Answered, Changed, Identity, Wanted, key_fingerprint, read_answer};

/// A call of the family that is under way.
#[derive(Debug)]
pub(super) struct Logins {
    pub(super) call: LoginsCall,
    pub(super) seen: Arc<Identities>,
}

/// What the request itself says: known before anything is sent.
pub(super) fn of_request(call: &LoginsCall, query: Option<&str>) -> Subject {
    let (user, login) = call.named();
    let mut subject = Subject {
        action: Some(action(call)),
        user_uid: user.map(|user| user.to_string()),
        login_id: login,
        ..Subject::default()
    };
    let wanted = || Wanted::read(query.unwrap_or_default());
    match call {
        LoginsCall::CreateApiKey { .. }
        | LoginsCall::CreateKeyPair { .. }
        | LoginsCall::CreateTotp { .. } => {
            let wanted = wanted();
            subject.provider = provider(call).map(str::to_owned);
            subject.description = wanted.description;
            subject.scopes = wanted.scopes;
            subject.read_only = wanted.read_only;
        }
        LoginsCall::RevokeTokens { .. } => subject.login_id = wanted().login,
        LoginsCall::Change { .. }
        | LoginsCall::Delete { .. }
        | LoginsCall::ListAll
        | LoginsCall::ListOfUser { .. }
        | LoginsCall::OrganizationKeys
        | LoginsCall::Read { .. } => {}
    }
    subject
}

/// Adds what the body said: the fingerprint of a submitted public key, or what a change sets.
pub(super) fn add_submitted(subject: &mut Subject, call: &LoginsCall, body: Option<&BodyProgress>) {
    let Some(held) = body.and_then(BodyProgress::held) else {
        return;
    };
    match call {
        LoginsCall::CreateKeyPair { .. } => subject.key_fingerprint = Some(key_fingerprint(&held)),
        LoginsCall::Change { .. } => {
            let changed = Changed::read(&held);
            subject.status = changed.status.or(subject.status.take());
            subject.description = changed.description.or(subject.description.take());
        }
        _ => {}
    }
}

impl Logins {
    /// Adds what answers before have said of the identity.
    pub(super) fn recall(&self, console: Option<&Arc<str>>, subject: &mut Subject) {
        if let Some(console) = console {
            self.seen.recall(console, subject);
        }
    }

    /// Adds what the console's answer says, and takes note of it.
    pub(super) fn add_answered(
        &self,
        console: Option<&Arc<str>>,
        subject: &mut Subject,
        body: &[u8],
    ) {
        let saw = |identity: &Identity| {
            if let Some(console) = console {
                self.seen.saw(console, identity);
            }
        };
        match read_answer(body) {
            None => {}
            Some(Answered::Many {
                identities,
                is_whole,
            }) => {
                identities.iter().for_each(saw);
                let count = u64::try_from(identities.len()).ok();
                subject.count = count.filter(|_| is_whole);
                subject.login_ids = identities.iter().filter_map(|one| one.id).collect();
            }
            Some(Answered::One(identity)) => {
                let user_uid = identity.user_uid.map(|user| user.to_string());
                // A number alone says whose it is once its user is known.
                subject.login_id = identity.id.or(subject.login_id);
                subject.user_uid = user_uid.or(subject.user_uid.take());
                subject.provider = identity.provider.clone().or(subject.provider.take());
                subject.scopes.clone_from(&identity.scopes);
                subject.read_only = identity.read_only;
                subject.status = identity.status.clone().or(subject.status.take());
                subject.description = identity.description.clone().or(subject.description.take());
                let print = identity.key_fingerprint.clone();
                subject.key_fingerprint = print.or(subject.key_fingerprint.take());
                subject.remembered = false;
                saw(&Identity {
                    key_fingerprint: subject.key_fingerprint.clone(),
                    ..identity
                });
            }
        }
    }

    /// The console said yes: an identity that was deleted is not known any more.
    pub(super) fn succeeded(&self, console: Option<&Arc<str>>) {
        if let (LoginsCall::Delete { login, .. }, Some(console)) = (&self.call, console)
            && let Some(login) = login
        {
            self.seen.forget(console, *login);
        }
    }
}

fn action(call: &LoginsCall) -> Action {
    match call {
        LoginsCall::Change { .. } => Action::Changed,
        LoginsCall::CreateApiKey { .. }
        | LoginsCall::CreateKeyPair { .. }
        | LoginsCall::CreateTotp { .. } => Action::Created,
        LoginsCall::Delete { .. } | LoginsCall::RevokeTokens { .. } => Action::Deleted,
        LoginsCall::ListAll | LoginsCall::ListOfUser { .. } | LoginsCall::OrganizationKeys => {
            Action::Listed
        }
        LoginsCall::Read { .. } => Action::Read,
    }
}

/// The provider of what a call makes, in the console's word.
fn provider(call: &LoginsCall) -> Option<&'static str> {
    match call {
        LoginsCall::CreateApiKey { .. } => Some("AK"),
        LoginsCall::CreateKeyPair { .. } => Some("AA"),
        LoginsCall::CreateTotp { .. } => Some("TOTP"),
        _ => None,
    }
}
