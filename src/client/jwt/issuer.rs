//! An issuer, and its keys as they are known now.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fetch::{FetchFault, Fetcher, read_file, read_file_aside};
use super::issuers::{KeyEvent, KeyWatch};
use super::keys::KeySet;
use super::read::Rules;
use crate::upstream::{Trust, TrustError};

/// An identity provider whose tokens are taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What its tokens must be like.
    pub rules: Rules,
    /// Where its keys are.
    pub source: KeySource,
    /// Whose certificates are believed where they are fetched.
    pub trust: Trust,
    /// How often they are fetched.
    pub refresh: Duration,
    /// The least time from one fetch to the next because of a key that is not known.
    pub refetch: Duration,
    /// For how long they are used when they can be fetched no more.
    pub max_stale: Duration,
}

impl IssuerSettings {
    fn uses_tls(&self) -> bool {
        match &self.source {
            KeySource::Discovery => !self.rules.issuer.starts_with("http:"),
            KeySource::File(_) => false,
            KeySource::Url(url) => url.scheme_str() != Some("http"),
        }
    }
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Where its discovery document says.
    Discovery,
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Url(Uri),
}

/// An issuer, and its keys.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    fetcher: Fetcher,
    held: ArcSwapOption<Held>,
    desk: Mutex<Desk>,
    asked: Notify,
}

/// Keys, and when they were fetched.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched: Instant,
}

/// What is known of fetches.
#[derive(Debug, Default)]
struct Desk {
    /// When the last began.
    begun: Option<Instant>,
    /// Whether one is under way, or is to begin at once.
    is_due: bool,
    /// When the next is planned.
    next: Option<Instant>,
}

impl KeySource {
    /// Whether the keys in a file can be used; all else is found out later. Blocks.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn check(&self) -> Result<(), FetchFault> {
        match self {
            Self::File(path) => read_file(path).map(drop),
            Self::Discovery | Self::Url(_) => Ok(()),
        }
    }
}

impl Issuer {
    /// Knows an issuer whose keys are not there yet; those in a file are read now, if they can be.
    /// Blocks.
    ///
    /// # Errors
    /// Fails when the trust material cannot be used.
    pub fn new(settings: IssuerSettings) -> Result<Self, TrustError> {
        let fetcher = match settings.uses_tls() {
            true => Fetcher::new(&settings.trust)?,
            // Nobody's certificate is believed, since nobody is to show one.
            false => Fetcher::new(&Trust::Pinned(Vec::new()))?,
        };
        let held = match &settings.source {
            // What is wrong with it is told when it is read again.
            KeySource::File(path) => read_file(path).ok(),
            KeySource::Discovery | KeySource::Url(_) => None,
        };
        let held = held.map(|keys| Held {
            keys: Arc::new(keys),
            fetched: Instant::now(),
        });
        Ok(Self {
            fetcher,
            held: ArcSwapOption::from_pointee(held),
            desk: Mutex::default(),
            asked: Notify::new(),
            settings,
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// What its tokens must be like.
    pub fn rules(&self) -> &Rules {
        &self.settings.rules
    }

    pub(super) fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// The keys, where they are there and not too old.
    ///
    /// # Errors
    /// Says after which time it makes sense to ask again.
    pub fn keys(&self) -> Result<Arc<KeySet>, Duration> {
        match &*self.held.load() {
            Some(held) if held.fetched.elapsed() <= self.settings.max_stale => {
                Ok(Arc::clone(&held.keys))
            }
            _ => Err(self.desk.lock().retry_after()),
        }
    }

    /// Has the keys fetched because one is not known; `None` where that was done only just now.
    /// Otherwise they are on their way, and it makes sense to ask again after the given time.
    pub(super) fn ask(&self) -> Option<Duration> {
        let mut desk = self.desk.lock();
        if !desk.is_due {
            let is_soon = |begun: Instant| begun.elapsed() < self.settings.refetch;
            if desk.begun.is_some_and(is_soon) {
                return None;
            }
            desk.is_due = true;
            self.asked.notify_one();
        }
        Some(desk.retry_after())
    }

    /// Keeps the keys fresh, for as long as it is polled. One fetch is under way at most.
    pub(super) async fn keep(&self, watch: &dyn KeyWatch) {
        let mut failures = 0_u32;
        let mut told = None;
        loop {
            {
                let mut desk = self.desk.lock();
                desk.begun = Some(Instant::now());
                desk.is_due = true;
            }
            let fetched = self.fetch().await;
            failures = match &fetched {
                Ok(_) => 0,
                Err(_) => failures.saturating_add(1),
            };
            let fault = fetched.as_ref().err().cloned();
            match fetched {
                Ok(keys) => self.take(keys, watch),
                Err(error) => watch.saw(KeyEvent::Failed {
                    issuer: self.name(),
                    // What was told is not told again.
                    is_new: told.as_ref() != Some(&error),
                    error: &error,
                    are_usable: self.keys().is_ok(),
                }),
            }
            told = fault;
            let pause = self.pause(failures);
            let next = Instant::now() + pause;
            {
                let mut desk = self.desk.lock();
                desk.is_due = false;
                desk.next = Some(next);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchFault> {
        match &self.settings.source {
            KeySource::Discovery => self.fetcher.discover(&self.rules().issuer).await,
            KeySource::File(path) => read_file_aside(path.clone()).await,
            KeySource::Url(url) => self.fetcher.keys(url.clone()).await,
        }
    }

    pub(super) fn take(&self, keys: KeySet, watch: &dyn KeyWatch) {
        let before = self.held.load_full();
        let before = before.as_ref().map(|held| &*held.keys);
        let change = keys.change(before);
        let passed_over = match change {
            None => None,
            Some(_) => keys.passed_over(),
        };
        self.held.store(Some(Arc::new(Held {
            keys: Arc::new(keys),
            fetched: Instant::now(),
        })));
        watch.saw(KeyEvent::Fetched {
            issuer: self.name(),
            change,
            passed_over,
        });
    }

    /// The time to the next fetch. All gateways of an issuer that were started at once do not ask
    /// at once.
    fn pause(&self, failures: u32) -> Duration {
        let refresh = match self.settings.source {
            KeySource::File(_) => self.settings.refresh.min(FILE_REFRESH),
            KeySource::Discovery | KeySource::Url(_) => self.settings.refresh,
        };
        let pause = match failures.checked_sub(1) {
            None => refresh,
            Some(before) => {
                let grown = FIRST_PAUSE.saturating_mul(1 << before.min(8));
                grown.min(LONGEST_PAUSE).min(refresh)
            }
        };
        let mut random = [0_u8];
        // Without randomness it is the whole time.
        aws_lc_rs::rand::fill(&mut random).ok();
        let [random] = random;
        pause.mul_f64(1.0 - f64::from(random) / 2560.0)
    }
}

impl Desk {
    fn retry_after(&self) -> Duration {
        let at_once = Duration::from_secs(1);
        match self.next {
            Some(next) if !self.is_due => {
                next.saturating_duration_since(Instant::now()).max(at_once)
            }
            _ => at_once,
        }
    }
}

/// How often a file is looked at.
const FILE_REFRESH: Duration = Duration::from_secs(5);

/// After the first failure, and then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
