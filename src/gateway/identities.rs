//! What answers of consoles have said of identities, so that a record of a later call can say whose
//! and what an identity was that is named by its number alone: a deletion has no answer that tells.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::audit::Subject;
use crate::vspc::logins::Identity;

/// The identities that were seen last. Numbers are those of a console.
#[derive(Debug, Default)]
pub struct Identities(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    known: HashMap<Key, Identity>,
    /// As they were first seen; what was forgotten since is among them.
    order: VecDeque<Key>,
}

type Key = (Arc<str>, i64);

impl Identities {
    /// Takes note of what an answer says of an identity; what was known of it before, and the answer
    /// does not say, stays.
    pub(super) fn saw(&self, console: &Arc<str>, identity: &Identity) {
        let Some(id) = identity.id else { return };
        let key = (Arc::clone(console), id);
        let mut seen = self.0.lock();
        if let Some(known) = seen.known.get_mut(&key) {
            let before = std::mem::replace(known, identity.clone());
            known.user_uid = known.user_uid.or(before.user_uid);
            known.provider = known.provider.take().or(before.provider);
            known.key_fingerprint = known.key_fingerprint.take().or(before.key_fingerprint);
            known.description = known.description.take().or(before.description);
            return;
        }
        while seen.known.len() >= LIMIT {
            match seen.order.pop_front() {
                Some(oldest) => drop(seen.known.remove(&oldest)),
                None => seen.known.clear(),
            }
        }
        seen.order.push_back(key.clone());
        seen.known.insert(key, identity.clone());
    }

    /// Adds to a subject what it does not say itself and was seen before, and says that it does.
    pub(super) fn recall(&self, console: &Arc<str>, subject: &mut Subject) {
        let Some(id) = subject.login_id else { return };
        let known = self.0.lock().known.get(&(Arc::clone(console), id)).cloned();
        let Some(known) = known else { return };
        let user = known.user_uid.map(|user| user.to_string());
        // A number that is another user's is a mistake of the caller's, and not this identity.
        if subject.user_uid.is_some() && user.is_some() && subject.user_uid != user {
            return;
        }
        let mut added = false;
        let mut add = |member: &mut Option<String>, known: Option<String>| {
            if member.is_none() && known.is_some() {
                (*member, added) = (known, true);
            }
        };
        add(&mut subject.user_uid, user);
        add(&mut subject.provider, known.provider);
        add(&mut subject.key_fingerprint, known.key_fingerprint);
        add(&mut subject.description, known.description);
        if subject.scopes.is_empty() && !known.scopes.is_empty() {
            (subject.scopes, added) = (known.scopes, true);
        }
        if subject.read_only.is_none() && known.read_only.is_some() {
            (subject.read_only, added) = (known.read_only, true);
        }
        subject.remembered |= added;
    }

    /// The identity is gone.
    pub(super) fn forget(&self, console: &Arc<str>, id: i64) {
        let mut seen = self.0.lock();
        let key = (Arc::clone(console), id);
        if seen.known.remove(&key).is_some() && seen.order.len() > 2 * LIMIT {
            let Seen { known, order } = &mut *seen;
            order.retain(|key| known.contains_key(key));
        }
    }
}

/// How many are known: some hundred bytes each.
const LIMIT: usize = 16_384;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn identity(id: i64) -> Identity {
        Identity {
            id: Some(id),
            user_uid: Some(Uuid::from_u128(7)),
            provider: Some("AA".to_owned()),
            scopes: vec!["rest".to_owned()],
            read_only: Some(false),
            key_fingerprint: Some("sha256:00".to_owned()),
            ..Identity::default()
        }
    }

    fn recalled(all: &Identities, console: &str, subject: Subject) -> Subject {
        let mut subject = subject;
        all.recall(&Arc::from(console), &mut subject);
        subject
    }

    fn number(id: i64) -> Subject {
        Subject {
            login_id: Some(id),
            ..Subject::default()
        }
    }

    #[test]
    fn what_was_seen_of_an_identity_is_added_where_a_record_lacks_it() {
        let (all, main) = (Identities::default(), Arc::from("main"));
        all.saw(&main, &identity(3));
        let added = recalled(&all, "main", number(3));
        assert_eq!(added.provider.as_deref(), Some("AA"));
        assert_eq!(added.key_fingerprint.as_deref(), Some("sha256:00"));
        assert_eq!(added.read_only, Some(false));
        assert!(added.remembered);
        // What the request says stands.
        let own = Subject {
            read_only: Some(true),
            scopes: vec!["ui".to_owned()],
            ..number(3)
        };
        let own = recalled(&all, "main", own);
        assert_eq!(
            (own.read_only, &*own.scopes),
            (Some(true), &["ui".to_owned()][..])
        );
        // A less telling answer takes nothing away.
        let short = Identity {
            id: Some(3),
            ..Identity::default()
        };
        all.saw(&main, &short);
        let added = recalled(&all, "main", number(3));
        assert_eq!(added.provider.as_deref(), Some("AA"));
        all.forget(&main, 3);
        assert!(!recalled(&all, "main", number(3)).remembered);
    }

    #[test]
    fn another_number_console_or_user_is_another_identity() {
        let all = Identities::default();
        all.saw(&Arc::from("main"), &identity(3));
        let other_user = Subject {
            user_uid: Some(Uuid::from_u128(8).to_string()),
            ..number(3)
        };
        for (console, subject) in [
            ("main", number(4)),
            ("second", number(3)),
            ("main", other_user),
            ("main", Subject::default()),
        ] {
            assert!(!recalled(&all, console, subject).remembered);
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (all, main) = (Identities::default(), Arc::from("main"));
        let many = i64::try_from(LIMIT).unwrap();
        for id in 0..=many {
            all.saw(&main, &identity(id));
        }
        assert!(!recalled(&all, "main", number(0)).remembered);
        assert!(recalled(&all, "main", number(1)).remembered);
        assert!(recalled(&all, "main", number(many)).remembered);
        for id in 0..4 * many {
            all.saw(&main, &identity(id));
            all.forget(&main, id);
        }
        assert!(all.0.lock().order.len() <= 2 * LIMIT + 1);
    }
}
