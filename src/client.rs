//! Who is calling: API keys, as a header of their own, as a bearer, or as a Basic password.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use zeroize::Zeroizing;

use crate::secret::KeyDigest;

/// The header that carries an API key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The fewest characters of a key; a shorter one is nobody's, whatever the configuration says.
pub const KEY_LENGTH: usize = 32;

/// A tool that may call the gateway.
#[derive(Debug)]
pub struct Client {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its place among the clients; policies are kept by it.
    pub index: usize,
    /// The tenants it may act for.
    pub tenants: Tenants,
}

/// The tenants a client may act for.
#[derive(Debug)]
pub enum Tenants {
    /// Every tenant.
    All,
    /// The tenants of these names.
    Named(HashSet<Arc<str>>),
}

impl Client {
    /// Whether the client may act for a tenant.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        match &self.tenants {
            Tenants::All => true,
            Tenants::Named(names) => names.contains(tenant),
        }
    }

    /// The client's tenant, when it has exactly one.
    pub fn only_tenant(&self) -> Option<&str> {
        match &self.tenants {
            Tenants::Named(names) if names.len() == 1 => names.iter().next().map(AsRef::as_ref),
            Tenants::All | Tenants::Named(_) => None,
        }
    }
}

/// Which way a key came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// `X-Api-Key`
    ApiKey,
    /// The password of `Authorization: Basic`
    Basic,
    /// `Authorization: Bearer`
    Bearer,
}

/// A caller that proved who it is.
#[derive(Debug)]
pub struct Identified<'a> {
    /// The client.
    pub client: &'a Arc<Client>,
    /// How it proved it, as records name it: `api_key:`, `basic:` or `bearer:` and the first
    /// digits of the key's digest, which tell the keys of one client apart.
    pub credential: &'a Arc<str>,
    /// The tenant in the user name of Basic (`tenant\client`), if there was one.
    pub tenant: Option<String>,
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// A credential that no client has.
    #[error("the credential is not known here")]
    Bad,
    /// Two credentials that do not name the same client.
    #[error("the request carries credentials that do not name one client: send exactly one")]
    Conflicting,
    /// No credential at all.
    #[error("send the client's key in the X-Api-Key header (or as a bearer, or as Basic)")]
    Missing,
}

/// All clients by the digests of their keys.
#[derive(Debug, Default)]
pub struct Directory {
    keys: HashMap<KeyDigest, Known, BuildHasherDefault<DigestHasher>>,
}

#[derive(Debug)]
struct Known {
    client: Arc<Client>,
    /// As records name it, by the way it came: header, Basic, bearer.
    credentials: [Arc<str>; 3],
}

/// Two clients share one key.
#[derive(Debug, thiserror::Error)]
#[error("this key already belongs to client {0}")]
pub struct SharedKey(pub String);

impl Directory {
    /// Adds a key of a client.
    ///
    /// # Errors
    /// Refuses a key that is already there: it would not say who is calling.
    pub fn add(&mut self, digest: KeyDigest, client: &Arc<Client>) -> Result<(), SharedKey> {
        if let Some(known) = self.keys.get(&digest) {
            return Err(SharedKey(known.client.name.to_string()));
        }
        let credentials = ["api_key", "basic", "bearer"]
            .map(|way| Arc::from(format!("{way}:{}", digest.label())));
        let known = Known {
            client: Arc::clone(client),
            credentials,
        };
        self.keys.insert(digest, known);
        Ok(())
    }

    /// Finds out who is calling.
    ///
    /// A presented key is hashed and looked up by its digest, so that the time taken says nothing
    /// about how much of a key was right.
    ///
    /// # Errors
    /// Refuses missing and unknown credentials, and two that do not name the same client.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Identified<'_>, Unidentified> {
        let mut found: Option<Identified<'_>> = None;
        let mut presented = 0_usize;
        for value in headers.get_all(API_KEY) {
            presented += 1;
            let identified = self.look_up(value.as_bytes(), Way::ApiKey);
            found = agree(found, identified, presented)?;
        }
        for value in headers.get_all(AUTHORIZATION) {
            presented += 1;
            let identified = self.read_authorization(value.as_bytes());
            found = agree(found, identified, presented)?;
        }
        match found {
            Some(identified) => Ok(identified),
            None if presented == 0 => Err(Unidentified::Missing),
            None => Err(Unidentified::Bad),
        }
    }

    fn look_up(&self, key: &[u8], way: Way) -> Option<Identified<'_>> {
        // Hashed whatever its length, so that the time says nothing.
        let known = self
            .keys
            .get(&KeyDigest::of(key))
            .filter(|_| key.len() >= KEY_LENGTH)?;
        let [api_key, basic, bearer] = &known.credentials;
        let credential = match way {
            Way::ApiKey => api_key,
            Way::Basic => basic,
            Way::Bearer => bearer,
        };
        Some(Identified {
            client: &known.client,
            credential,
            tenant: None,
        })
    }

    fn read_authorization(&self, value: &[u8]) -> Option<Identified<'_>> {
        let blank = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = value.split_at(blank);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.look_up(rest, Way::Bearer);
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            return self.read_basic(rest);
        }
        None
    }

    /// Basic: the user name must be the client's own, or `tenant\client`.
    fn read_basic(&self, encoded: &[u8]) -> Option<Identified<'_>> {
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (user, key) = decoded.split_at(colon);
        let user = std::str::from_utf8(user).ok()?;
        let mut identified = self.look_up(key.get(1..)?, Way::Basic)?;
        let (tenant, name) = match user.split_once('\\') {
            Some((tenant, name)) => (Some(tenant), name),
            None => (None, user),
        };
        if name != identified.client.name.as_ref() {
            return None;
        }
        identified.tenant = tenant.map(str::to_owned);
        Some(identified)
    }
}

/// Puts a further credential beside those before it: all must name the same client.
fn agree<'a>(
    found: Option<Identified<'a>>,
    next: Option<Identified<'a>>,
    presented: usize,
) -> Result<Option<Identified<'a>>, Unidentified> {
    match (found, next) {
        (None, next) if presented == 1 => Ok(next),
        (Some(mut found), Some(next)) if Arc::ptr_eq(found.client, next.client) => {
            match (&found.tenant, next.tenant) {
                (Some(one), Some(other)) if *one != other => return Err(Unidentified::Conflicting),
                (None, other) => found.tenant = other,
                _ => {}
            }
            Ok(Some(found))
        }
        // Two unknown ones are just unknown.
        (None, None) => Ok(None),
        _ => Err(Unidentified::Conflicting),
    }
}

/// Digests are uniform already: their first bytes serve as the hash.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ZABBIX: &str = "vgk_zabbix_key_of_more_than_32_characters";
    const BILLING: &str = "vgk_billing_key_of_more_than_32_characters";

    fn directory() -> Directory {
        let mut directory = Directory::default();
        for (index, (name, key)) in [("zabbix", ZABBIX), ("billing", BILLING)]
            .iter()
            .enumerate()
        {
            let client = Arc::new(Client {
                name: Arc::from(*name),
                index,
                tenants: Tenants::All,
            });
            directory
                .add(KeyDigest::of(key.as_bytes()), &client)
                .unwrap();
        }
        directory
    }

    fn identify(
        lines: &[(&'static str, String)],
    ) -> Result<(String, Option<String>), Unidentified> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        directory().identify(&headers).map(|who| {
            (
                format!(
                    "{} {}",
                    who.client.name,
                    who.credential.split(':').next().unwrap()
                ),
                who.tenant,
            )
        })
    }

    fn basic(user: &str, key: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{key}")))
    }

    #[test]
    fn a_key_is_known_in_each_of_its_three_places() {
        let yes = |name: &str| Ok((name.to_owned(), None));
        assert_eq!(
            identify(&[("x-api-key", ZABBIX.into())]),
            yes("zabbix api_key")
        );
        assert_eq!(
            identify(&[("authorization", format!("bearer {ZABBIX}"))]),
            yes("zabbix bearer")
        );
        assert_eq!(
            identify(&[("authorization", basic("zabbix", ZABBIX))]),
            yes("zabbix basic")
        );
        assert_eq!(
            identify(&[("authorization", basic("acme\\zabbix", ZABBIX))]),
            Ok(("zabbix basic".into(), Some("acme".into())))
        );
    }

    #[test]
    fn what_is_wrong_is_bad_and_what_is_absent_is_missing() {
        let one_off = ZABBIX.replace("zab", "zaB");
        assert_eq!(identify(&[]), Err(Unidentified::Missing));
        for line in [
            ("x-api-key", one_off.clone()),
            ("x-api-key", String::new()),
            ("x-api-key", format!("{ZABBIX}x")),
            ("authorization", format!("Bearer {one_off}")),
            ("authorization", ZABBIX.to_owned()),
            ("authorization", format!("Digest {ZABBIX}")),
            ("authorization", "Basic ???".to_owned()),
            ("authorization", basic("billing", ZABBIX)),
            ("authorization", basic("acme\\billing", ZABBIX)),
        ] {
            assert_eq!(
                identify(std::slice::from_ref(&line)),
                Err(Unidentified::Bad),
                "{line:?}"
            );
        }
    }

    #[test]
    fn two_credentials_must_name_one_client() {
        let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
        let key = |key: &str| ("x-api-key", key.to_owned());
        assert!(identify(&[key(ZABBIX), bearer(ZABBIX)]).is_ok());
        for lines in [
            [key(ZABBIX), bearer(BILLING)],
            [key(ZABBIX), bearer("unknown")],
            [key("unknown"), bearer(ZABBIX)],
            [key(ZABBIX), key(BILLING)],
            [bearer(ZABBIX), bearer(BILLING)],
        ] {
            assert_eq!(
                identify(&lines),
                Err(Unidentified::Conflicting),
                "{lines:?}"
            );
        }
        assert_eq!(identify(&[key("a"), bearer("b")]), Err(Unidentified::Bad));
    }

    #[test]
    fn one_key_cannot_belong_to_two_clients() {
        let mut directory = directory();
        let other = Arc::new(Client {
            name: "other".into(),
            index: 2,
            tenants: Tenants::All,
        });
        let refused = directory
            .add(KeyDigest::of(ZABBIX.as_bytes()), &other)
            .unwrap_err();
        assert_eq!(refused.0, "zabbix");
    }
}
