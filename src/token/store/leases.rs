//! Impersonated tokens, kept so that a restart costs the console nothing.
//!
//! They are written a moment later and many at once: losing one costs a call to the console.

use std::time::Duration;

use zeroize::Zeroizing;

use super::super::lease::Lease;
use super::access::StoredAccess;
use super::{SessionStore, report};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::state::Table;
use crate::tenant::TokenKey;
use crate::vspc::grant::Access;

impl SessionStore {
    /// Keeps a token that was issued just now, on the strength of credentials with that `print`.
    pub(in super::super) fn shelve(
        &self,
        key: &TokenKey,
        lease: &Lease,
        lifetime: Duration,
        print: Option<u64>,
    ) {
        if let Some(state) = &self.state {
            let value = write(lease, self.clock.now(), lifetime, print);
            report(state.change_lazily(Table::Leases, |change| change.put(&name(key), &value)));
        }
    }

    /// Forgets a token whose life is over. What is dropped goes by [`SessionStore::doom`].
    pub(in super::super) fn unshelve(&self, key: &TokenKey) {
        if let Some(state) = &self.state {
            report(state.change_lazily(Table::Leases, |change| {
                change.remove(&name(key));
                Ok(())
            }));
        }
    }

    /// The token of a key, if one is kept that was obtained with the credentials of now.
    pub(in super::super) async fn shelved(
        &self,
        key: &TokenKey,
        print: Option<u64>,
    ) -> Option<StoredAccess> {
        let state = self.state.clone()?;
        if self.is_doomed(key) {
            return None;
        }
        let name = name(key);
        let load = move || report(state.get(Table::Leases, &name)).flatten();
        let value = tokio::task::spawn_blocking(load).await.ok()??;
        let (stored, of) = read(&value)?;
        // It may have been dropped while it was read.
        (of == print && !self.is_doomed(key)).then_some(stored)
    }

    /// Writes what waits now. Blocks.
    pub(in super::super) fn write_now(&self) {
        if let Some(state) = &self.state {
            report(self.carry_out());
            report(state.flush());
        }
    }

    /// Takes what is over off the disk. Blocks.
    pub(in super::super) fn sweep(&self) {
        let Some(state) = &self.state else { return };
        report(self.carry_out());
        let now = self.clock.now();
        let is_over = |value: &[u8]| read(value).is_none_or(|(it, _)| it.span(now).is_none());
        let mut over = Vec::new();
        let swept = state.for_each(Table::Leases, |name, value| {
            if is_over(&value) {
                over.push(name.to_vec());
            }
        });
        report(swept);
        for some in over.chunks(AT_ONCE) {
            // Looked at again: it may have been replaced.
            report(state.change(Table::Leases, |change| {
                some.iter().try_for_each(|name| match change.get(name)? {
                    Some(value) if is_over(&value) => change.remove(name),
                    _ => Ok(()),
                })
            }));
        }
    }
}

fn write(
    lease: &Lease,
    issued: Timestamp,
    lifetime: Duration,
    print: Option<u64>,
) -> Zeroizing<Vec<u8>> {
    let token = lease.token();
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    let mut value = Zeroizing::new(Vec::with_capacity(HEAD + token.len()));
    value.push(FORMAT);
    value.extend(issued.0.to_be_bytes());
    value.extend(seconds.to_be_bytes());
    value.push(u8::from(print.is_some()));
    value.extend(print.unwrap_or_default().to_be_bytes());
    value.extend(token);
    value
}

fn read(value: &[u8]) -> Option<(StoredAccess, Option<u64>)> {
    let (format, rest) = value.split_first()?;
    let (issued, rest) = rest.split_first_chunk()?;
    let (lifetime, rest) = rest.split_first_chunk()?;
    let (has_print, rest) = rest.split_first()?;
    let (print, token) = rest.split_first_chunk()?;
    if *format != FORMAT {
        return None;
    }
    let stored = StoredAccess {
        access: Secret::new(std::str::from_utf8(token).ok()?.to_owned()),
        issued: Timestamp(i64::from_be_bytes(*issued)),
        lifetime: Duration::from_secs(u64::from(u32::from_be_bytes(*lifetime))),
    };
    let print = (*has_print == 1).then(|| u64::from_be_bytes(*print));
    Some((stored, print))
}

/// The user and the access have fixed lengths, so that no two keys have one name.
fn name(key: &TokenKey) -> Vec<u8> {
    let access = match key.access {
        Access::Full => b"f",
        Access::ReadOnly => b"r",
    };
    let console = key.console.as_str().as_bytes();
    [key.target.0.as_bytes(), &access[..], console].concat()
}

/// The console in a name.
pub(super) fn console_of(name: &[u8]) -> Option<&[u8]> {
    name.get(USER_AND_ACCESS..)
}

const AT_ONCE: usize = 512;
const FORMAT: u8 = 1;
const HEAD: usize = 22;
/// Their bytes in a name.
const USER_AND_ACCESS: usize = 17;
