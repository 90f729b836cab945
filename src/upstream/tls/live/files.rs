//! The files that TLS is made of, read again when they change, and certificates that end soon.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ending, Live, Used, material};
use crate::upstream::tls::facts::Moment;

/// What a file looks like from outside; `None` where it is not there.
pub(super) type Look = Option<[i64; 6]>;

impl Live {
    /// Watches files and certificates. Never ends.
    pub(in crate::upstream) async fn watch(&self) {
        let mut read = self.looks.clone();
        let mut last = read.clone();
        let mut warned = Daily::default();
        loop {
            let looks = self.look_again(&last).await;
            // What is being written is left alone until it stays the same from one look to the next.
            if looks != read && looks == last {
                self.read_again().await;
                read.clone_from(&looks);
            }
            last = looks;
            self.warn_of_endings(&mut warned);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks at the files where a slow disk keeps nobody waiting.
    async fn look_again(&self, last: &[Look]) -> Vec<Look> {
        let files = self.tls.files();
        if files.is_empty() {
            return Vec::new();
        }
        let looked = tokio::task::spawn_blocking(move || looks(&files));
        looked.await.unwrap_or_else(|_| last.to_vec())
    }

    async fn read_again(&self) {
        let tls = self.tls.clone();
        let read = tokio::task::spawn_blocking(move || material::read(&tls)).await;
        let console = &*self.console;
        let error = match read {
            Ok(Ok(material)) => {
                self.used.store(Arc::new(Used::new(material, self.http)));
                self.edition.fetch_add(1, Ordering::Release);
                self.files_fail.store(false, Ordering::Relaxed);
                tracing::info!(
                    console,
                    "the console's TLS files were read again: new connections use them"
                );
                return;
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(error) => error.to_string(),
        };
        self.files_fail.store(true, Ordering::Relaxed);
        tracing::error!(
            console,
            error,
            "the console's TLS files have changed and cannot be used: those read before are used on"
        );
    }

    /// Warns of each certificate once a day.
    fn warn_of_endings(&self, warned: &mut Daily) {
        let now = Moment(self.clock.now().0.div_euclid(1_000_000));
        let console = &*self.console;
        for ending in self.endings() {
            let days = ending.ends.days_since(now);
            if days >= SOON_DAYS {
                continue;
            }
            let Ending {
                what,
                address,
                subject,
                ends,
            } = ending;
            let place = address.map_or_else(|| what.to_owned(), |address| address.to_string());
            if !warned.is_due((what, place.clone())) {
                continue;
            }
            tracing::warn!(console, what, place, subject, %ends, days, "a certificate ends soon, or has ended");
        }
    }
}

/// What was said, and when.
#[derive(Default)]
struct Daily(HashMap<(&'static str, String), Instant>);

impl Daily {
    /// Whether it was not said within a day. Then it is now.
    fn is_due(&mut self, what: (&'static str, String)) -> bool {
        let now = Instant::now();
        let recent = |at: &Instant| now.duration_since(*at) < A_DAY;
        if self.0.get(&what).is_some_and(recent) {
            return false;
        }
        self.0.insert(what, now);
        true
    }
}

/// How files look now.
pub(super) fn looks(files: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        let inode = i64::from_ne_bytes(about.ino().to_ne_bytes());
        let size = i64::try_from(about.size()).unwrap_or(i64::MAX);
        let (mtime, ctime) = (about.mtime(), about.ctime());
        Some([
            inode,
            size,
            mtime,
            about.mtime_nsec(),
            ctime,
            about.ctime_nsec(),
        ])
    };
    files.iter().map(look).collect()
}

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(2);

/// Certificates that end within so many days are warned of ...
pub(in crate::upstream) const SOON_DAYS: i64 = 14;
/// ... so often.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_certificate_is_warned_of_once_a_day() {
        let mut daily = Daily::default();
        let one = || ("console", "10.0.0.5:1280".to_owned());
        let other = || ("ca", "ca".to_owned());
        assert!(daily.is_due(one()));
        assert!(daily.is_due(other()));
        assert!(!daily.is_due(one()));
        tokio::time::advance(A_DAY - Duration::from_secs(1)).await;
        assert!(!daily.is_due(one()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(daily.is_due(one()));
        assert!(!daily.is_due(one()));
    }
}
