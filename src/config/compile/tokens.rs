//! `[tokens]`: when tokens and sessions are renewed, and how a token endpoint is spared.

use std::time::Duration;

use crate::config::reader::Section;
use crate::config::value::{Time, at_least};
use crate::token::{RefreshPolicy, RefreshSettings};

/// `wait` is the most time a request waits for a token.
pub(super) fn tokens(root: &mut Section<'_>, wait: Option<Duration>) -> Option<RefreshPolicy> {
    let mut settings = RefreshSettings {
        follower_wait: wait?,
        ..RefreshSettings::default()
    };
    if let Some(item) = root.optional("tokens") {
        let mut section = item.section()?;
        let read = [
            lives(&mut section, &mut settings),
            pauses(&mut section, &mut settings),
            counts(&mut section, &mut settings),
        ];
        section.finish();
        if read.iter().any(Option::is_none) {
            return None;
        }
    }
    RefreshPolicy::try_new(settings)
        .map_err(|error| root.fault("tokens", error.to_string()))
        .ok()
}

fn lives(section: &mut Section<'_>, settings: &mut RefreshSettings) -> Option<()> {
    let s = settings;
    let renew = section.or("renew_percent", s.renew_percent);
    let jitter = section.or("jitter_percent", s.jitter_percent);
    let early = section.or("early_percent", s.pacing_percent);
    let margin = section.or("margin", s.start_margin);
    let margin_percent = section.or("margin_percent", s.start_margin_percent);
    let keep_alive = section.or("keep_alive_percent", s.keep_alive_percent);
    let refresh = section.or("refresh_lifetime", Time(s.chain_lifetime));
    let most = section.or("most_lifetime", Time(s.most_lifetime));
    let assumed = at_least(section, "assumed_life", s.expected.life, ASSUMED);
    s.renew_percent = renew?;
    s.jitter_percent = jitter?;
    s.pacing_percent = early?;
    s.start_margin = margin?;
    s.start_margin_percent = margin_percent?;
    s.keep_alive_percent = keep_alive?;
    s.chain_lifetime = refresh?.0;
    s.most_lifetime = most?.0;
    s.expected.life = assumed?;
    Some(())
}

fn pauses(section: &mut Section<'_>, settings: &mut RefreshSettings) -> Option<()> {
    let s = settings;
    let call = at_least(section, "call_timeout", s.call_limit, ANSWERED);
    let answer = s.expected.within.min(call.unwrap_or(s.call_limit));
    let answer = at_least(section, "answer_timeout", answer, ANSWERED);
    let refused = section.or("refused_pause", Time(s.refused_first));
    let refused_most = section.or("refused_pause_most", Time(s.refused_most));
    let outage = section.or("outage_pause", Time(s.unavailable_first));
    let outage_most = section.or("outage_pause_most", Time(s.unavailable_most));
    let forced = section.or("forced_gap", s.forced_gap);
    let pause = section.or("breaker_pause", Time(s.breaker_pause));
    s.call_limit = call?;
    s.expected.within = answer?;
    s.refused_first = refused?.0;
    s.refused_most = refused_most?.0;
    s.unavailable_first = outage?.0;
    s.unavailable_most = outage_most?.0;
    s.forced_gap = forced?;
    s.breaker_pause = pause?.0;
    Some(())
}

fn counts(section: &mut Section<'_>, settings: &mut RefreshSettings) -> Option<()> {
    let s = settings;
    let faults = section.or("breaker_faults", s.breaker_faults);
    let calls = section.or("calls", s.calls);
    let per_console = section.or("calls_per_console", s.calls_per_console);
    let spare = section.or("spare", s.spare_tokens);
    let own = section.or("own_subject", s.own_subject);
    s.own_subject = own?;
    s.breaker_faults = faults?;
    s.calls = calls?;
    s.calls_per_console = per_console?;
    s.spare_tokens = spare?;
    Some(())
}

/// No answer is there sooner.
const ANSWERED: (Duration, &str) = (
    Duration::from_secs(1),
    "what a console does whose answer is not awaited is lost, and the refresh token with it",
);

/// A token whose life is thought shorter is renewed all the time.
const ASSUMED: (Duration, &str) = (
    Duration::from_secs(10),
    "each token would be replaced as soon as it is there",
);
