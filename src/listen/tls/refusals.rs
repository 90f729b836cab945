//! The log of handshakes that came to nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::COMPLAIN_EVERY;

/// Refusals that are not in the log yet.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    by_reason: BTreeMap<&'static str, u64>,
    from: Option<IpAddr>,
    told: Option<Instant>,
}

impl Refusals {
    /// Logs a refusal: at once if nothing was logged for a while, otherwise with others.
    pub(super) fn add(
        &self,
        listener: &str,
        reason: &'static str,
        from: IpAddr,
        error: Option<&io::Error>,
    ) {
        let mut unsaid = self.0.lock();
        if unsaid.by_reason.is_empty() && unsaid.is_due() {
            unsaid.told = Some(Instant::now());
            drop(unsaid);
            let error = error.map(tracing::field::display);
            tracing::info!(listener, %from, reason, error, "a handshake was refused");
            return;
        }
        *unsaid.by_reason.entry(reason).or_default() += 1;
        unsaid.from = Some(from);
    }

    /// Logs what has gathered, if it is time.
    pub(super) fn tell(&self, listener: &str) {
        let Some((reasons, from)) = self.0.lock().take() else {
            return;
        };
        tracing::info!(
            listener,
            reasons,
            from = from.map(tracing::field::display),
            "more handshakes were refused"
        );
    }
}

impl Unsaid {
    fn is_due(&self) -> bool {
        self.told
            .is_none_or(|told| told.elapsed() >= COMPLAIN_EVERY)
    }

    /// How many for which reasons, and who was the last.
    fn take(&mut self) -> Option<(String, Option<IpAddr>)> {
        if self.by_reason.is_empty() || !self.is_due() {
            return None;
        }
        self.told = Some(Instant::now());
        let mut reasons = String::new();
        for (reason, count) in std::mem::take(&mut self.by_reason) {
            let separator = if reasons.is_empty() { "" } else { ", " };
            // Nothing fails that is written to a string.
            write!(reasons, "{separator}{reason}: {count}").ok();
        }
        Some((reasons, self.from.take()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_refusals_is_told_in_two_lines() {
        let refusals = Refusals::default();
        let from = IpAddr::from([192, 0, 2, 1]);
        let add = |reason| refusals.add("a", reason, from, None);
        add("expired");
        assert!(refusals.0.lock().by_reason.is_empty(), "it is told at once");
        for reason in ["expired", "timeout", "expired"] {
            add(reason);
        }
        assert_eq!(refusals.0.lock().take(), None, "it is too early");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (reasons, last) = refusals.0.lock().take().unwrap();
        assert_eq!(
            (reasons.as_str(), last),
            ("expired: 2, timeout: 1", Some(from))
        );
        assert_eq!(refusals.0.lock().take(), None);
    }
}
