//! Clients that are known by tokens of identity providers.

use std::sync::Arc;

use super::caller::Proof;
use super::jwt::{Conditions, Issuer, Untaken};
use super::{Client, Directory, GatewayTokens, Identified, Unidentified};
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

impl Directory {
    /// Tokens of an issuer that fit the conditions are a client; there is one that it is known by
    /// at most.
    pub fn add_jwt(&mut self, client: &Arc<Client>, conditions: Conditions) {
        self.fits.add(client, conditions);
    }

    /// The claim that names the tenant in tokens of a client, if one does.
    pub fn tenant_claim(&self, client: &Client) -> Option<&str> {
        self.fits.tenant_claim(client)
    }

    /// From now on knows clients by tokens of these issuers.
    pub fn trust(&mut self, issuers: &[Arc<Issuer>]) {
        self.fits.trust(issuers);
    }

    /// Reads a token of an issuer; `None` where a bearer is to be read as one of the gateway's own.
    pub(super) fn read_issued(
        &self,
        bearer: &[u8],
        digest: KeyDigest,
        now: Timestamp,
    ) -> Option<Result<Identified<'_>, Unidentified>> {
        if self.fits.are_none() {
            return None;
        }
        let read = match self.issued.get(&digest) {
            Some(known) => known.check(now).map(|()| known),
            None if GatewayTokens::is_own(bearer) => return None,
            None => self.fits.verify(bearer, digest, now).map(|issued| {
                let issued = Arc::new(issued);
                self.issued.insert(digest, Arc::clone(&issued), now);
                issued
            }),
        };
        Some(match read {
            Ok(issued) => Ok(Identified {
                proof: Proof::Issued(issued),
                tenant: None,
                certificate: None,
            }),
            Err(Untaken::Fault(fault)) => Err(Unidentified::Jwt(fault)),
            Err(Untaken::NoKeys(retry_after)) => Err(Unidentified::NoKeys { retry_after }),
        })
    }
}
