//! Clients that are known by tokens of identity providers.

use std::sync::Arc;

use super::caller::Proof;
use super::jwt::{Conditions, Issuer, Untaken};
use super::{Caller, Client, Directory, GatewayTokens, Identified, Unidentified};
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

impl Directory {
    /// Tokens of an issuer that fit the conditions are a client; there is one that it is known by
    /// at most.
    pub fn add_jwt(&mut self, client: &Arc<Client>, conditions: Conditions) {
        self.fits.add(client, conditions);
    }

    /// From now on knows clients by tokens of these issuers.
    pub fn trust(&mut self, issuers: &[Arc<Issuer>]) {
        self.fits.trust(issuers);
    }

    /// Whether a bearer is to be read as a token of an issuer.
    pub(super) fn is_issued(&self, bearer: &[u8], digest: &KeyDigest) -> bool {
        let is_known = || self.issued.get(digest).is_some();
        !self.fits.are_none() && (is_known() || !GatewayTokens::is_own(bearer))
    }

    /// Reads a token of an issuer.
    pub(super) fn read_issued(
        &self,
        bearer: &[u8],
        digest: KeyDigest,
        now: Timestamp,
    ) -> Result<Caller<'_>, Unidentified> {
        let read = match self.issued.get(&digest) {
            Some(known) => known.check(now).map(|()| known),
            None => self.fits.verify(bearer, digest, now).map(|issued| {
                let issued = Arc::new(issued);
                self.issued.insert(digest, Arc::clone(&issued), now);
                issued
            }),
        };
        let issued = read.map_err(|untaken| match untaken {
            Untaken::Fault(fault) => Unidentified::Jwt(fault),
            Untaken::NoKeys(retry_after) => Unidentified::NoKeys { retry_after },
        })?;
        Ok(Caller::Client(Identified {
            proof: Proof::Issued(issued),
            tenant: None,
            certificate: None,
        }))
    }
}
