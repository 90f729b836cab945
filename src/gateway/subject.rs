//! Which identity a call of the `/users/logins` family concerned.

use crate::audit::{Action, Subject};
use crate::request::LoginsCall;
use crate::upstream::BodyProgress;
use crate::vspc::logins::{Answered, Wanted, key_fingerprint, read_answer};

/// What the request itself says: known before anything is sent.
pub(super) fn of_request(call: &LoginsCall, query: Option<&str>) -> Subject {
    let (user, login) = call.named();
    let mut subject = Subject {
        action: Some(action(call)),
        user_uid: user.map(|user| user.to_string()),
        login_id: login,
        ..Subject::default()
    };
    if matches!(
        call,
        LoginsCall::CreateApiKey { .. }
            | LoginsCall::CreateKeyPair { .. }
            | LoginsCall::CreateTotp { .. }
    ) {
        let wanted = Wanted::read(query.unwrap_or_default());
        subject.description = wanted.description;
        subject.scopes = wanted.scopes;
        subject.read_only = wanted.read_only;
    }
    subject
}

/// Adds the fingerprint of a submitted public key.
pub(super) fn add_submitted_key(
    subject: &mut Subject,
    call: &LoginsCall,
    body: Option<&BodyProgress>,
) {
    let held = body.and_then(BodyProgress::held);
    if let (LoginsCall::CreateKeyPair { .. }, Some(key)) = (call, held) {
        subject.key_fingerprint = Some(key_fingerprint(&key));
    }
}

/// Adds what the console's answer says.
pub(super) fn add_answered(subject: &mut Subject, body: &[u8]) {
    match read_answer(body) {
        None => {}
        Some(Answered::Many(count)) => subject.count = u64::try_from(count).ok(),
        Some(Answered::One(identity)) => {
            subject.login_id = identity.id.or(subject.login_id);
            if let Some(user) = identity.user_uid {
                subject.user_uid = Some(user.to_string());
            }
            subject.provider = identity.identity_provider_name;
            subject.scopes = identity.scopes.unwrap_or_default();
            subject.read_only = identity.is_read_access_only;
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
