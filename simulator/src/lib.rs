//! A stand-in Veeam Service Provider Console for demos, tests and benches.
//!
//! It speaks the part of the console's REST API v3 that a gateway in front of it meets, in the members
//! of the version asked for (3.5.1 to 3.7), at once or by asynchronous actions ([`AsyncMode`]):
//! `/token` with its six grants, users, companies, the whole family of `/users/logins`, the activity
//! log, and what monitoring tools read. It checks every bearer, acts with the rights of that token's
//! user, keeps to its limits of requests, remembers each request as it arrived and counts, so that
//! tests can judge what reached it. What is not known of the real console is a switch ([`Switches`]);
//! misbehaviour is scripted ([`Fault`]).
//!
//! Under `/api/v3/_test` there are operations that no console has, for tests of forwarding: `echo`,
//! `bytes?size=&chunk=&chunked=`, `sink`, `status?code=&location=` and `hop`. They need a bearer.
//! Under `/_simulator` the same control as by this library is had over HTTP, without any bearer.

mod actions;
mod activity;
mod answer;
mod bearer;
mod challenges;
mod clock;
mod companies;
mod control;
mod dispatch;
mod faults;
mod filter;
mod grant;
mod inbound;
mod page;
mod query;
mod random;
mod route;
mod routes;
mod rsa_key;
mod seen;
mod select;
mod server;
mod settings;
mod shape;
mod tally;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;
mod tokens;
mod totp;
mod visit;
mod wire;
mod world;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use crate::answer::ErrorKind;
pub use crate::bearer::Cause;
pub use crate::companies::CompanyChange;
pub use crate::faults::{Action, Fault};
pub use crate::rsa_key::public_key_xml;
pub use crate::seen::SeenRequest;
pub use crate::settings::{
    ActivityImpersonation, AsyncMode, ChallengePadding, DeadRefresh, ParallelSessions,
    PasswordRefusal, Protocols, PublicKeyForm, Rotation, Settings, SwitchError, Switches,
    TokenAuthorization, UnauthorizedBody, UserIdName,
};
pub use crate::tally::{GrantCount, State};
pub use crate::totp::totp_code;
pub use crate::world::seed;
pub use crate::world::seed::generated_owner;
pub use crate::world::{Account, Role};

use crate::actions::Actions;
use crate::activity::Activities;
use crate::challenges::Challenges;
use crate::dispatch::Outcomes;
use crate::faults::Faults;
use crate::seen::Seen;
use crate::tally::Tally;
use crate::throttle::Throttle;
use crate::tls::Identity;
use crate::tokens::{Revocation, Tokens};
use crate::world::World;

/// What all connections share.
struct Shared {
    switches: Switches,
    /// Where the console says it lives.
    origin: String,
    world: RwLock<World>,
    tokens: Tokens,
    challenges: Challenges,
    activities: Activities,
    faults: Faults,
    seen: Seen,
    tally: Tally,
    throttle: Throttle,
    outcomes: Outcomes,
    actions: Actions,
}

impl Shared {
    fn clear(&self) {
        self.tally.clear();
        self.seen.clear();
    }
}

/// A running simulator; it stops when it is dropped.
pub struct Simulator {
    shared: Arc<Shared>,
    addr: SocketAddr,
    tls: Option<Certificate>,
    serving: JoinHandle<()>,
    cut: watch::Sender<()>,
    stop: watch::Sender<()>,
}

struct Certificate {
    ca_pem: String,
    fingerprint: String,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulator")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Simulator {
    /// Starts a simulator on the current runtime.
    ///
    /// # Errors
    /// The address cannot be listened on, or the system cannot make keys.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let no_key = || io::Error::other("the system cannot make a signing key");
        let listener = TcpListener::bind(settings.listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            origin: match settings.switches.location_host.as_str() {
                settings::OWN => own_origin(addr, settings.tls),
                host => format!("https://{host}"),
            },
            world: RwLock::new(World::seeded(settings.companies)),
            tokens: Tokens::new(&settings.switches).ok_or_else(no_key)?,
            challenges: Challenges::default(),
            activities: Activities::default(),
            faults: Faults::default(),
            seen: Seen::new(settings.switches.keep_requests),
            tally: Tally::default(),
            throttle: Throttle::new(&settings.switches),
            outcomes: Outcomes::default(),
            actions: Actions::default(),
            switches: settings.switches,
        });
        let identity = match settings.tls {
            true => Some(Identity::new(shared.switches.protocols)?),
            false => None,
        };
        let (cut, cuts) = watch::channel(());
        let (stop, stops) = watch::channel(());
        let acceptor = identity.as_ref().map(|identity| identity.acceptor.clone());
        let serving = server::serve(listener, shared.clone(), acceptor, cuts, stops);
        let serving = tokio::spawn(serving);
        Ok(Self {
            shared,
            addr,
            tls: identity.map(|identity| Certificate {
                ca_pem: identity.ca_pem,
                fingerprint: identity.fingerprint,
            }),
            serving,
            cut,
            stop,
        })
    }

    /// Stops the simulator: its socket and all its connections are closed when this returns.
    pub async fn stop(mut self) {
        self.stop.send_replace(());
        // An error means that the runtime is going down, which ends the connections as well.
        (&mut self.serving).await.unwrap_or_default();
    }

    /// Returns the address that is listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the origin of the simulator, without a path.
    pub fn url(&self) -> String {
        own_origin(self.addr, self.tls.is_some())
    }

    /// Returns the certificate of the authority in PEM, when the simulator speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// Returns the hex SHA-256 of the server's certificate, when the simulator speaks TLS.
    pub fn certificate_sha256(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.fingerprint.clone())
    }

    /// Returns the key that tokens are signed with, as an X.509 `SubjectPublicKeyInfo` in DER.
    pub fn token_key(&self) -> Option<Vec<u8>> {
        tokens::jwt::public_key()
    }

    /// Returns the counters as they stand.
    pub fn state(&self) -> State {
        tally::state(&self.shared)
    }

    /// Returns the last requests as they arrived, oldest first; those being worked on are among them.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.seen.all()
    }

    /// Sets the counters back and forgets the requests; tokens, users and faults stay.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// Queues a fault.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.push(fault);
    }

    /// Takes all waiting faults away.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Returns the faults that still wait for a request.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults.waiting()
    }

    /// Revokes the access tokens that act as one user, or all; their next use answers 401. Refresh
    /// tokens and API keys live on. Returns how many were revoked.
    pub fn revoke_access_tokens(&self, of: Option<Uuid>) -> usize {
        self.shared.tokens.revoke(Revocation {
            user: of,
            login: None,
            sessions: false,
            lent: false,
        })
    }

    /// Ends the sessions of one user, or all: refresh tokens and every access token lent on them.
    /// Returns how many tokens were revoked.
    pub fn end_sessions(&self, of: Option<Uuid>) -> usize {
        self.shared.tokens.revoke(Revocation {
            user: of,
            login: None,
            sessions: true,
            lent: true,
        })
    }

    /// Sets the lives of tokens issued from now on. `expires_in` is the first in seconds, rounded up.
    pub fn set_lifetimes(&self, access: Duration, refresh: Duration) {
        self.shared.tokens.set_lifetimes(access, refresh);
    }

    /// Closes all connections that are open now, idle or not, and goes on accepting.
    pub fn drop_connections(&self) {
        self.cut.send_replace(());
    }

    /// Has the activity log forget its last entry of a type, e.g. `UserImpersonationSuccessful`; tells
    /// whether there was one.
    pub fn forget_activity(&self, activity_log_type: &str) -> bool {
        self.shared.activities.forget(activity_log_type)
    }

    /// Adds a user with a new UID; `None` when the name is taken or the organization not there.
    pub fn user(
        &self,
        organization: Uuid,
        user_name: &str,
        password: &str,
        role: Role,
    ) -> Option<Uuid> {
        let account = world::account(organization, user_name, password, role);
        let uid = account.uid;
        self.add_user(account).then_some(uid)
    }

    /// Adds a user; tells whether its name and UID were free and its organization there.
    pub fn add_user(&self, account: Account) -> bool {
        self.shared.world.write().add_user(account)
    }

    /// Removes a user; its tokens answer 401 from now on.
    pub fn remove_user(&self, uid: Uuid) -> bool {
        self.shared.world.write().remove_user(uid)
    }

    /// Enables or disables a user; the tokens of a disabled one answer 401.
    pub fn set_user_enabled(&self, uid: Uuid, enabled: bool) -> bool {
        let mut world = self.shared.world.write();
        world
            .user_mut(uid)
            .map(|user| user.account.enabled = enabled)
            .is_some()
    }

    /// Changes the password of a user.
    pub fn set_password(&self, uid: Uuid, password: &str) -> bool {
        let mut world = self.shared.world.write();
        world
            .user_mut(uid)
            .map(|user| user.account.password = password.to_owned())
            .is_some()
    }

    /// Switches the access of a company's users and keys to the REST API on or off.
    pub fn set_rest_access(&self, company: Uuid, enabled: bool) -> bool {
        let mut world = self.shared.world.write();
        world
            .organization_mut(company)
            .map(|organization| organization.rest = enabled)
            .is_some()
    }

    /// Registers a public key, `<RSAKeyValue>` XML, for key-pair logins of a user, with all scopes;
    /// returns the identity's id, or `None` when the user is not there or the key cannot be read.
    pub fn add_public_key(&self, user: Uuid, xml: &str, read_only: bool) -> Option<u64> {
        self.shared
            .world
            .write()
            .add_public_key(user, xml, read_only)
    }
}

/// Returns the origin of an address that is listened on.
fn own_origin(addr: SocketAddr, tls: bool) -> String {
    match tls {
        true => format!("https://localhost:{}", addr.port()),
        false => format!("http://{addr}"),
    }
}
