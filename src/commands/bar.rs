//! How far a long reading is, for eyes.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Duration, Instant};

/// Shorter work needs no bar.
const SHORT: Duration = Duration::from_secs(1);
/// How often the bar may move.
const BEAT: Duration = Duration::from_millis(100);

/// A bar on stderr, if that is a terminal, once the work takes over a second.
pub(super) struct Bar {
    next: Option<Instant>,
    total: &'static str,
    shown: Option<ProgressBar>,
    /// Whether records are printed on a terminal, which is likely the same one.
    is_in_the_way: bool,
}

impl Bar {
    /// Of bytes that are read.
    pub(super) fn new() -> Self {
        Self::of("{total_bytes}")
    }

    /// Of work that is counted in `total`, as indicatif's templates have it.
    pub(super) fn of(total: &'static str) -> Self {
        let next = io::stderr().is_terminal().then(|| Instant::now() + SHORT);
        Self {
            next,
            total,
            shown: None,
            is_in_the_way: io::stdout().is_terminal(),
        }
    }

    /// Tells how much is done of how much.
    pub(super) fn tell(&mut self, (done, total): (u64, u64)) {
        let Some(next) = self.next else { return };
        if Instant::now() < next {
            return;
        }
        self.next = Some(Instant::now() + BEAT);
        let bar = self.shown.get_or_insert_with(|| {
            let template = format!("{{bar:40}} {{percent}}% of {}, {{eta}} to go", self.total);
            let style = ProgressStyle::with_template(&template);
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_position(done);
    }

    /// Makes way for a record.
    pub(super) fn step_aside(&mut self) {
        if self.is_in_the_way {
            self.clear();
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}
