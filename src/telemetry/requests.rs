//! Requests by their outcome.

use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The outcome of almost all.
const PASSED: &str = "ok";

/// Counts the requests that came to their end.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_code: Family<CodeLabel, Counter>,
    /// The counter of those that passed, once there was one: to look it up took as long as all other
    /// counting of a request.
    passed: OnceLock<Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CodeLabel {
    code: &'static str,
}

impl Requests {
    /// Names the counter for `/metrics`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests by outcome: ok, a refusal code, aborted or upstream_cut",
            self.by_code.clone(),
        );
    }

    /// Counts one.
    pub(super) fn count(&self, code: &'static str) {
        let counter = || self.by_code.get_or_create_owned(&CodeLabel { code });
        if code == PASSED {
            self.passed.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_and_none_before_it_came() {
        let requests = Requests::default();
        let mut registry = Registry::default();
        requests.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let lines = text
                .lines()
                .filter(|line| line.starts_with("requests_total"));
            let mut lines: Vec<_> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(shown(), [] as [&str; 0]);
        for code in ["ok", "aborted", "ok", "ok"] {
            requests.count(code);
        }
        assert_eq!(
            shown(),
            [
                "requests_total{code=\"aborted\"} 1",
                "requests_total{code=\"ok\"} 3"
            ]
        );
    }
}
