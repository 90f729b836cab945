//! All issuers of a process, whatever its configuration is at the moment.

use std::collections::HashMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::fetch::FetchFault;
use super::issuer::{Issuer, IssuerSettings};
use crate::upstream::TrustError;

/// Something that happened to an issuer's keys.
#[derive(Clone, Debug)]
pub enum KeyEvent<'a> {
    /// They could not be fetched.
    Failed {
        /// The issuer.
        issuer: &'a Arc<str>,
        /// Why.
        error: &'a FetchFault,
        /// Whether that is another reason than before.
        is_new: bool,
        /// Whether those that are held can still be used.
        are_usable: bool,
    },
    /// They were fetched.
    Fetched {
        /// The issuer.
        issuer: &'a Arc<str>,
        /// What is different, where something is.
        change: Option<String>,
        /// The keys that cannot be used, where something is different.
        passed_over: Option<String>,
    },
}

/// Is told what happens to keys.
pub trait KeyWatch: fmt::Debug + Send + Sync {
    /// Something happened.
    fn saw(&self, event: KeyEvent<'_>);
}

/// All issuers whose keys are kept fresh. They stay when the configuration is read again, so that
/// an issuer whose settings are the same keeps its keys.
#[derive(Debug)]
pub struct Issuers {
    kept: Mutex<Vec<Arc<Issuer>>>,
    changed: Notify,
    watch: Arc<dyn KeyWatch>,
}

impl Issuers {
    /// Knows no issuer.
    pub fn new(watch: Arc<dyn KeyWatch>) -> Self {
        Self {
            kept: Mutex::default(),
            changed: Notify::new(),
            watch,
        }
    }

    /// The issuers of a configuration: those that are kept already, where their settings are the
    /// same, and new ones. Nothing is different until they are kept. Blocks.
    ///
    /// # Errors
    /// Fails when trust material cannot be used.
    pub fn prepare(&self, settings: Vec<IssuerSettings>) -> Result<Vec<Arc<Issuer>>, TrustError> {
        let kept = self.kept.lock().clone();
        let find = |settings: IssuerSettings| {
            let known = kept.iter().find(|issuer| *issuer.settings() == settings);
            match known {
                Some(issuer) => Ok(Arc::clone(issuer)),
                None => Issuer::new(settings).map(Arc::new),
            }
        };
        settings.into_iter().map(find).collect()
    }

    /// From now on keeps these, and no others.
    pub fn keep(&self, issuers: Vec<Arc<Issuer>>) {
        *self.kept.lock() = issuers;
        self.changed.notify_one();
    }

    /// Keeps the keys of all issuers fresh until `stop`.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut tasks = JoinSet::new();
        let mut running: HashMap<usize, AbortHandle> = HashMap::new();
        loop {
            let kept = self.kept.lock().clone();
            running.retain(|at, task| {
                let stays = kept.iter().any(|issuer| place(issuer) == *at);
                if !stays {
                    task.abort();
                }
                stays
            });
            for issuer in kept {
                running.entry(place(&issuer)).or_insert_with(|| {
                    let watch = Arc::clone(&self.watch);
                    tasks.spawn(async move { issuer.keep(&*watch).await })
                });
            }
            tokio::select! {
                () = &mut stop => return,
                () = self.changed.notified() => {}
                Some(Err(ended)) = tasks.join_next(), if !tasks.is_empty() => {
                    // An issuer whose keys are not kept fresh any more must not be relied on.
                    if let Ok(panic) = ended.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            }
        }
    }
}

/// What tells issuers apart. Its task holds an issuer, so that no other can take its place.
fn place(issuer: &Arc<Issuer>) -> usize {
    Arc::as_ptr(issuer).addr()
}
