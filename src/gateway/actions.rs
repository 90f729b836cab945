//! Whose asynchronous actions are. A console answers almost any call with 202 and goes on with it;
//! what became of it is asked for under `/asyncActions/{id}`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, LOCATION};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Gateway, Rejection};
use crate::client::SessionKey;
use crate::policy::{Acting, Permit};
use crate::request::{Line, Lines, RequestHead};
use crate::tenant::{IdentityId, Named};
use crate::token::Broker;
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

/// The actions that are known, by their ids. They stay known when the configuration is read anew, not
/// when the process ends: what is not known is the console's to judge, as the tenant's user.
#[derive(Debug, Default)]
pub struct Actions {
    /// Those that a console has told of, and so has begun.
    begun: Mutex<Book>,
    /// The ids that callers gave to their requests. A caller can make up any number of them, which must
    /// not displace what others have begun.
    given: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    owners: HashMap<Uuid, Entry>,
    /// Every time an entry was made or seen again, the oldest first.
    seen: VecDeque<(Instant, Uuid)>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    seen: Instant,
}

/// Whose an action is: the console's user that it was started as, for a tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    console: ConsoleId,
    /// The tenant's lasting id; none of those who act as themselves.
    tenant: Option<Arc<str>>,
    acting: As,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum As {
    Account(IdentityId),
    Itself(SessionKey),
    User(Subject),
}

impl Owner {
    pub(super) fn of(broker: &Broker, whom: &Named, permit: &Permit<'_>) -> Self {
        let tenant = match whom {
            Named::Known(tenant) => Some(Arc::clone(&tenant.id)),
            Named::Nobody | Named::Unknown => None,
        };
        let acting = match permit.acting() {
            Acting::Account(account, _) => As::Account(account.identity.clone()),
            Acting::For(key) => As::User(key.target),
            // Whoever logs in anew has another session.
            Acting::Itself(session) => match broker.subject_of(session) {
                Some(user) => As::User(user),
                None => As::Itself(session.clone()),
            },
        };
        Self {
            console: permit.console().clone(),
            tenant,
            acting,
        }
    }
}

impl Actions {
    /// The tenant whose action it is.
    fn tenant_of(&self, id: Uuid) -> Option<Arc<str>> {
        let of = |book: &Mutex<Book>| Some(book.lock().owners.get(&id)?.owner.clone());
        let owner = of(&self.begun).or_else(|| of(&self.given))?;
        owner.tenant
    }

    /// Whether an id may be used by somebody: it is theirs, or nobody's as far as is known.
    fn is_free_for(&self, id: Uuid, owner: &Owner) -> bool {
        [&self.begun, &self.given].into_iter().all(|book| {
            let book = book.lock();
            let known = book.owners.get(&id);
            known.is_none_or(|entry| entry.owner == *owner)
        })
    }
}

impl Book {
    /// Notes whose an action is. The first owner stays.
    fn note(&mut self, id: Uuid, owner: Owner, now: Instant) {
        self.forget(now);
        let entry = self.owners.entry(id).or_insert(Entry { owner, seen: now });
        entry.seen = now;
        self.seen.push_back((now, id));
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, id)) = self.seen.front().copied() {
            let is_old = now.saturating_duration_since(at) >= KEPT;
            if !is_old && self.seen.len() < MOST {
                break;
            }
            self.seen.pop_front();
            if self.owners.get(&id).is_some_and(|entry| entry.seen == at) {
                self.owners.remove(&id);
            }
        }
    }
}

impl Gateway {
    /// The tenant that started the action that a request asks for: who follows a `Location` need not
    /// name it again.
    pub(super) fn tenant_of_action(&self, head: &RequestHead<'_>) -> Option<Arc<str>> {
        self.actions.tenant_of(asked_for(head)?)
    }

    /// Refuses a request about another one's action, by path or by request id. A new request id is
    /// the caller's from now on.
    pub(super) fn claim_action(
        &self,
        head: &RequestHead<'_>,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<(), Rejection> {
        let segment = segment(head);
        if segment.is_none() && !head.lines.has(Line::RequestId) {
            return Ok(());
        }
        let asked = segment.and_then(id);
        // Whose it is cannot be told, and the console could.
        let mut lines = head.lines.all(Line::RequestId);
        if segment.is_some_and(is_odd)
            || lines.any(|line| str::from_utf8(line.as_bytes()).map_or(true, is_odd))
        {
            return Err(Rejection::ForeignAction);
        }
        let owner = Owner::of(&self.broker, whom, permit);
        let given: Vec<Uuid> = given(&head.lines).collect();
        if !asked
            .iter()
            .chain(&given)
            .all(|id| self.actions.is_free_for(*id, &owner))
        {
            return Err(Rejection::ForeignAction);
        }
        for id in given {
            let mut book = self.actions.given.lock();
            book.note(id, owner.clone(), Instant::now());
        }
        Ok(())
    }

    /// Notes the action that a console has answered with.
    pub(super) fn note_action(&self, headers: &HeaderMap, whom: &Named, permit: &Permit<'_>) {
        if let Some(id) = headers.get(LOCATION).and_then(|it| named_in(it.as_bytes())) {
            let owner = Owner::of(&self.broker, whom, permit);
            self.actions.begun.lock().note(id, owner, Instant::now());
        }
    }
}

/// The action that a request is about.
fn asked_for(head: &RequestHead<'_>) -> Option<Uuid> {
    id(segment(head)?)
}

/// How a request names the action that it is about.
fn segment<'h>(head: &'h RequestHead<'_>) -> Option<&'h str> {
    if !head.path.is_below(PREFIX) {
        return None;
    }
    head.path.segments().nth(3)
}

/// The ids that a caller gives to its request, however many times it does: VSPC answers a repeated id
/// as it answered the first, and an asynchronous action gets it as its own.
fn given(lines: &Lines<'_>) -> impl Iterator<Item = Uuid> {
    let texts = lines
        .all(Line::RequestId)
        .filter_map(|value| str::from_utf8(value.as_bytes()).ok());
    texts.flat_map(|text| text.split(',').filter_map(id))
}

/// The action in a `Location`.
fn named_in(location: &[u8]) -> Option<Uuid> {
    let location = std::str::from_utf8(location).ok()?;
    let path = location.split(['?', '#']).next()?;
    let mut segments = path.split('/');
    segments.find(|segment| segment.eq_ignore_ascii_case(ACTIONS))?;
    id(segments.next()?)
}

/// Whether a text may be an id to .NET in a form that nobody writes, and that is not read here:
/// `{0x0b04b3a1,0x5a6c,…}`, or with signs and `0x` within the usual form.
fn is_odd(text: &str) -> bool {
    let is_sign = |c: char| matches!(c, '+' | 'x' | 'X');
    let letters = |c: &char| !c.is_whitespace() && !matches!(c, '{' | '}' | '(' | ')');
    let bare: String = text.chars().filter(letters).collect();
    let may_be = |c: char| c.is_ascii_hexdigit() || is_sign(c) || matches!(c, '-' | ',');
    bare.len() >= 32 && bare.contains(is_sign) && bare.chars().all(may_be)
}

/// Reads an id in any form that .NET takes for one and somebody writes.
fn id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let bare = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    Uuid::try_parse(bare.unwrap_or(text)).ok()
}

const ACTIONS: &str = "asyncactions";
const PREFIX: &str = "/api/v3/asyncactions";

/// How long an action is known after it was last heard of. A console keeps results for five minutes
/// and failures for an hour, unless it is set up otherwise.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The most that are known; beyond, the oldest are forgotten.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: u128) -> Owner {
        Owner {
            console: ConsoleId::new("main"),
            tenant: Some(Arc::from("acme")),
            acting: As::User(Subject(Uuid::from_u128(user))),
        }
    }

    #[test]
    fn the_first_owner_stays() {
        let (actions, now, one) = (Actions::default(), Instant::now(), Uuid::from_u128(1));
        assert!(actions.is_free_for(one, &owner(7)));
        actions.begun.lock().note(one, owner(7), now);
        actions.begun.lock().note(one, owner(8), now);
        assert!(actions.is_free_for(one, &owner(7)));
        assert!(!actions.is_free_for(one, &owner(8)));
        assert_eq!(actions.tenant_of(one).as_deref(), Some("acme"));
    }

    #[test]
    fn what_was_not_heard_of_for_a_day_is_forgotten_and_the_oldest_of_too_many() {
        let (actions, start) = (Actions::default(), Instant::now());
        let id = Uuid::from_u128;
        let note = |id, at| actions.begun.lock().note(id, owner(7), at);
        note(id(1), start);
        note(id(2), start);
        note(id(1), start + KEPT / 2);
        note(id(3), start + KEPT);
        assert!(actions.tenant_of(id(1)).is_some());
        assert!(actions.tenant_of(id(2)).is_none());

        for number in 0..MOST as u128 {
            note(id(10 + number), start + KEPT);
        }
        let book = actions.begun.lock();
        assert!(book.owners.len() <= MOST && book.seen.len() <= MOST);
        assert!(!book.owners.contains_key(&id(1)));
        assert!(book.owners.contains_key(&id(10 + MOST as u128 - 1)));
    }

    #[test]
    fn ids_that_one_caller_makes_up_displace_nobodys_action() {
        let (actions, now, id) = (Actions::default(), Instant::now(), Uuid::from_u128);
        actions.begun.lock().note(id(1), owner(7), now);
        for number in 0..2 * MOST as u128 {
            let mut given = actions.given.lock();
            given.note(id(10 + number), owner(8), now);
        }
        assert!(!actions.is_free_for(id(1), &owner(8)));
        assert!(actions.tenant_of(id(1)).is_some());
    }

    #[test]
    fn ids_are_read_as_the_console_reads_them() {
        let plain = "0b04b3a1-5a6c-4b57-9b7a-000000000001";
        for text in [
            plain.to_owned(),
            plain.to_uppercase(),
            plain.replace('-', ""),
            format!("{{{plain}}}"),
            format!("({plain})"),
            format!(" {plain} "),
        ] {
            assert_eq!(id(&text), plain.parse().ok(), "{text}");
        }
        assert_eq!(id("7"), None);
        for text in [
            "{0x0b04b3a1,0x5a6c,0x4b57,{0x9b,0x7a,0x00,0x00,0x00,0x00,0x00,0x01}}",
            "{ 0XB04B3A1, 0x5a6c,0x4b57,{0x9b,0x7a,0x0,0x0,0x0,0x0,0x0,0x1}}",
            "0xb4b3a1-5a6c-4b57-9b7a-000000000001",
            "+b04b3a1-5a6c-4b57-9b7a-000000000001",
        ] {
            assert!(id(text).is_none() && is_odd(text), "{text}");
        }
        for text in [
            plain,
            "7",
            "x",
            "trace-0x12",
            "0b04b3a1-5a6c-4b57-9b7a-00000000000g",
        ] {
            assert!(!is_odd(text), "{text}");
        }
        for location in [
            format!("https://console:1280/api/v3/asyncActions/{plain}"),
            format!("/api/v3/AsyncActions/{plain}/result?x=/asyncActions/y#z"),
        ] {
            assert_eq!(named_in(location.as_bytes()), plain.parse().ok());
        }
        assert_eq!(named_in(b"/api/v3/users/1"), None);
    }
}
