//! Which records are meant.

use crate::audit::read::Line;
use crate::audit::record::Code;
use crate::audit::segment::stamp_of;

use super::text;
use super::value::{self, Bound, Network, Pattern, Statuses};
use super::view::{Scalar, View};

/// Which records are meant: those that fit every member here that is set, a list by one of its
/// entries. A record without a member fits nothing that is asked of it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From this time on.
    pub since: Option<Bound>,
    /// Before this time.
    pub until: Option<Bound>,
    /// From this `seq` on.
    pub from_seq: Option<u64>,
    /// Up to this `seq`, itself included.
    pub to_seq: Option<u64>,
    /// Who called.
    pub client: Vec<Pattern>,
    /// For whom.
    pub tenant: Vec<Pattern>,
    /// Which console.
    pub console: Vec<Pattern>,
    /// The uid or name of the user that was acted as.
    pub target: Vec<Pattern>,
    /// The console's user name of a login that was passed through.
    pub user: Vec<Pattern>,
    /// The class of the operation, or the name of an event.
    pub operation: Vec<Pattern>,
    /// The method.
    pub method: Vec<Pattern>,
    /// The path as typed.
    pub path: Vec<Pattern>,
    /// How it ended.
    pub code: Vec<Pattern>,
    /// Whether the gateway refused.
    pub refused: bool,
    /// What the caller got.
    pub status: Vec<Statuses>,
    /// What the record is about.
    pub kind: Vec<Pattern>,
    /// The correlation id.
    pub request_id: Vec<Pattern>,
    /// The id of the gateway login.
    pub session: Vec<Pattern>,
    /// The fingerprint of the console's token.
    pub lease: Vec<Pattern>,
    /// Which operator.
    pub operator: Vec<Pattern>,
    /// From where.
    pub source: Vec<Network>,
    /// By which credential.
    pub credential: Vec<Pattern>,
    /// The issuer and the subject of a token.
    pub principal: Vec<Pattern>,
    /// By which grant.
    pub grant: Vec<Pattern>,
    /// What was done to an identity.
    pub action: Vec<Pattern>,
    /// The user whom an identity belongs to, or its number.
    pub subject: Vec<Pattern>,
    /// The rule that allowed or denied.
    pub rule: Vec<Pattern>,
    /// What stands in any of the record's values.
    pub text: Vec<Pattern>,
}

/// Says that a line is no JSON object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoRecord;

impl Filter {
    /// Whether a record is one of those that are meant. One that cannot be read is not.
    pub fn takes(&self, line: &Line) -> bool {
        !self.is_outside(line.seq, &line.json) && self.fits(&line.json) == Ok(true)
    }

    /// Whether a line is outside the numbers or times, as far as its start says.
    pub(super) fn is_outside(&self, seq: u64, line: &[u8]) -> bool {
        self.from_seq.is_some_and(|from| seq < from)
            || self.to_seq.is_some_and(|to| seq > to)
            || (self.since.is_some() || self.until.is_some())
                && stamp_of(line).is_some_and(|stamp| !self.is_in_time(stamp))
    }

    /// Whether a stamp of the form that the log is written in is in the times.
    fn is_in_time(&self, stamp: &[u8]) -> bool {
        self.since
            .is_none_or(|since| stamp >= since.text.as_slice())
            && self.until.is_none_or(|until| stamp < until.text.as_slice())
    }

    /// Whether a record that is not outside fits all the rest.
    pub(super) fn fits(&self, json: &[u8]) -> Result<bool, NoRecord> {
        let view: View<'_> = serde_json::from_slice(json).map_err(|_| NoRecord)?;
        let fits_time = stamp_of(json).is_some() || self.fits_time(&view.time);
        let fits = fits_time && self.fits_result(&view) && self.fits_texts(&view);
        Ok(fits && (self.text.is_empty() || text::has(json, &self.text)?))
    }

    /// Whether nothing but numbers and times is asked for.
    pub(super) fn is_range(&self) -> bool {
        // Each by its name, so that none is forgotten here.
        let Self {
            since: _,
            until: _,
            from_seq: _,
            to_seq: _,
            refused,
            status,
            source,
            client,
            tenant,
            console,
            target,
            user,
            operation,
            method,
            path,
            code,
            kind,
            request_id,
            session,
            lease,
            operator,
            credential,
            principal,
            grant,
            action,
            subject,
            rule,
            text,
        } = self;
        let texts = [
            client, tenant, console, target, user, operation, method, path, code, kind, request_id,
            session, lease, operator, credential, principal, grant, action, subject, rule, text,
        ];
        !refused && status.is_empty() && source.is_empty() && texts.into_iter().all(Vec::is_empty)
    }

    /// Whether a stamp of another form, or in another place, is in the times.
    fn fits_time(&self, time: &Scalar<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        time.text()
            .and_then(value::timestamp)
            .is_some_and(|time| self.is_in_time(&time.text()))
    }

    fn fits_result(&self, view: &View<'_>) -> bool {
        let status = || match view.status {
            Scalar::Number(status) => self.status.iter().any(|statuses| statuses.has(status)),
            Scalar::Other | Scalar::Text(_) => false,
        };
        let source = || {
            let source = view.source.text().and_then(|source| source.parse().ok());
            source.is_some_and(|source| self.source.iter().any(|network| network.has(source)))
        };
        (!self.refused || view.code.text().is_some_and(Code::is_refusal))
            && (self.status.is_empty() || status())
            && (self.source.is_empty() || source())
    }

    fn fits_texts(&self, view: &View<'_>) -> bool {
        let (target, subject) = (&view.target.0, &view.subject.0);
        one(&self.kind, &[&view.kind])
            && one(&self.client, &[&view.client])
            && one(&self.tenant, &[&view.tenant])
            && one(&self.console, &[&view.console])
            && one(&self.target, &[&target.uid, &target.name])
            && one(&self.user, &[&view.user])
            && one(&self.operation, &[&view.operation])
            && one(&self.method, &[&view.method])
            && one(&self.path, &[&view.path])
            && one(&self.code, &[&view.code])
            && one(&self.request_id, &[&view.request_id])
            && one(&self.session, &[&view.session])
            && one(&self.lease, &[&view.lease])
            && one(&self.operator, &[&view.operator])
            && one(&self.credential, &[&view.credential])
            && one(&self.principal, &[&view.principal])
            && one(&self.grant, &[&view.grant])
            && one(&self.action, &[&subject.action])
            && one(&self.subject, &[&subject.user_uid, &subject.login_id])
            && one(&self.rule, &[&view.rule])
    }
}

/// Whether one of the members fits one of the patterns, if there are any.
fn one(patterns: &[Pattern], members: &[&Scalar<'_>]) -> bool {
    patterns.is_empty()
        || members.iter().any(|member| match member {
            Scalar::Number(number) => {
                let text = number.to_string();
                patterns.iter().any(|pattern| pattern.fits(&text))
            }
            Scalar::Other => false,
            Scalar::Text(text) => patterns.iter().any(|pattern| pattern.fits(text)),
        })
}

#[cfg(test)]
mod tests;
