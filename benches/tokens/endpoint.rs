//! A token endpoint in this process: it issues tokens as long as a console's, and keeps books.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};
use vspc_gateway::secret::Secret;
use vspc_gateway::tenant::IdentityId;
use vspc_gateway::token::{Lease, TokenEvent, TokenIssuer, TokenObserver};
use vspc_gateway::upstream::ConsoleId;
use vspc_gateway::vspc::grant::{Access, IssueError, Issued, Subject};

/// Answers after a pause, rotates refresh tokens, and refuses one that is not the newest when the
/// pause is over.
pub(crate) struct Endpoint {
    began: Instant,
    books: Mutex<Books>,
    pause: Duration,
}

/// What it saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    busy: HashSet<Option<Subject>>,
    /// Calls for a user, or for the session, while another one was under way for it.
    pub(crate) collisions: u32,
    pub(crate) impersonations: u32,
    pub(crate) logins: u32,
    pub(crate) most_at_once: usize,
    /// Calls that began in each second.
    pub(crate) per_second: Vec<u32>,
    pub(crate) refreshes: u32,
    pub(crate) refused: u32,
    /// The number of the refresh token that is good.
    refresh: u32,
}

impl Endpoint {
    pub(crate) fn new(pause: Duration) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            books: Mutex::default(),
            pause,
        })
    }

    pub(crate) fn books(&self) -> Books {
        self.books.lock().clone()
    }

    /// The second since its start.
    pub(crate) fn second(&self) -> usize {
        usize::try_from(self.began.elapsed().as_secs()).unwrap()
    }

    /// Whether the console takes the token of a lease no longer.
    pub(crate) fn is_over(&self, lease: &Lease) -> bool {
        let value = lease.authorization();
        let text = value.to_str().unwrap();
        let end = text.get(text.len() - STAMP..).unwrap();
        self.began.elapsed() >= Duration::from_millis(end.parse().unwrap())
    }

    async fn answer(
        &self,
        target: Option<Subject>,
        sent: Option<&Secret>,
        count: impl Fn(&mut Books) -> &mut u32,
    ) -> Result<Issued, IssueError> {
        self.begin(target, count);
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        let refresh = {
            let mut books = self.books.lock();
            books.busy.remove(&target);
            let good = format!("refresh-{}", books.refresh);
            if sent.is_some_and(|sent| sent.expose() != good) {
                books.refused += 1;
                return Err(IssueError::Refused {
                    error: "invalid_grant".into(),
                    description: "".into(),
                });
            }
            // The answer to `as` gives the impersonator's own back.
            books.refresh += u32::from(target.is_none());
            format!("refresh-{}", books.refresh)
        };
        let dead = self.began.elapsed() + LIFE;
        Ok(Issued {
            access: Secret::new(token(target, dead)),
            refresh: Some(Secret::new(refresh)),
            lifetime: LIFE,
        })
    }

    fn begin(&self, target: Option<Subject>, count: impl Fn(&mut Books) -> &mut u32) {
        let second = self.second();
        let mut books = self.books.lock();
        *count(&mut books) += 1;
        if !books.busy.insert(target) {
            books.collisions += 1;
        }
        books.most_at_once = books.most_at_once.max(books.busy.len());
        if books.per_second.len() <= second {
            books.per_second.resize(second + 1, 0);
        }
        *books.per_second.get_mut(second).unwrap() += 1;
    }
}

#[async_trait]
impl TokenIssuer for Endpoint {
    async fn login(&self, _: &IdentityId) -> Result<Issued, IssueError> {
        self.answer(None, None, |books| &mut books.logins).await
    }

    async fn refresh(
        &self,
        _: &ConsoleId,
        refresh: &Secret,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(None, Some(refresh), |books| &mut books.refreshes)
            .await
    }

    async fn impersonate(
        &self,
        _: &ConsoleId,
        refresh: &Secret,
        target: Subject,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(Some(target), Some(refresh), |books| {
            &mut books.impersonations
        })
        .await
    }
}

/// Takes no note of anything.
pub(crate) struct Silent;

impl TokenObserver for Silent {
    fn observe(&self, _: &TokenEvent<'_>) {}
}

/// A token with the parts of a JWT that is signed by RS256, 900 characters in all. The last of them
/// tell when it ends.
fn token(target: Option<Subject>, dead: Duration) -> String {
    let sub = target.map_or_else(|| "svc-gateway".to_owned(), |target| target.to_string());
    let iat = (dead - LIFE).as_secs();
    let exp = dead.as_secs();
    let claims = format!(r#"{{"sub":"{sub}","iat":{iat},"exp":{exp},"role":""#);
    let role = "x".repeat(CLAIMS - claims.len() - 2);
    let claims = URL_SAFE_NO_PAD.encode(format!("{claims}{role}\"}}"));
    let signature = "s".repeat(SIGNATURE - STAMP);
    format!("{HEAD}.{claims}.{signature}{:0STAMP$}", dead.as_millis())
}

/// `{"alg":"RS256","typ":"JWT"}`
const HEAD: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
const CLAIMS: usize = 390;
const SIGNATURE: usize = 342;
const STAMP: usize = 16;
pub(crate) const LIFE: Duration = Duration::from_secs(3600);
