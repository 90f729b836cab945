//! Of `[[consoles]]`: where the console is reached, and how that is checked.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::config::reader::{Item, Section};
use crate::upstream::{Address, Checks};
use crate::wire::is_plain_path;

/// The addresses, none for that of the URL, and how they are checked: several are, one only where it
/// is asked for. Without `plaintext_allowed` those of an `http://` URL must be loopback.
pub(super) fn addresses(
    section: &mut Section<'_>,
    plaintext_allowed: bool,
) -> Option<(Vec<Address>, Option<Checks>)> {
    let addresses = section.optional("addresses");
    let addresses = addresses.map_or(Some(Vec::new()), |item| list(&item, plaintext_allowed));
    let interval = section.optional("health_interval");
    let failures = section.optional("health_failures");
    let successes = section.optional("health_successes");
    let path = section.optional("health_path");
    let wanted = interval.is_some() || path.is_some();
    let interval = interval.map_or(Some(Duration::from_secs(5)), |item| {
        item.read_with(|time: Duration| {
            let fits = (SHORTEST..=LONGEST).contains(&time);
            fits.then_some(time).ok_or("must be between 100ms and 1h")
        })
    });
    let (failures, successes) = (count(failures), count(successes));
    let path = path.map_or(Some(None), |item| {
        item.read_with(|text: String| target(&text)).map(Some)
    });
    let addresses = addresses?;
    let checks = Checks {
        interval: interval?,
        failures: failures?,
        successes: successes?,
        path: path?,
    };
    let checked = wanted || addresses.len() > 1;
    Some((addresses, checked.then_some(checks)))
}

fn list(item: &Item<'_>, plaintext_allowed: bool) -> Option<Vec<Address>> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("needs at least one address; leave it out to connect to the host of `url`");
        return None;
    }
    let mut addresses = Vec::new();
    let mut sound = true;
    for element in &elements {
        match element.read_with(|text: String| Address::parse(&text)) {
            Some(address) if addresses.contains(&address) => {
                element.fault(format!("{address} stands there already"));
                sound = false;
            }
            Some(address) if !plaintext_allowed && !address.is_loopback() => {
                element.fault(PLAINTEXT);
                sound = false;
            }
            Some(address) => addresses.push(address),
            None => sound = false,
        }
    }
    sound.then_some(addresses)
}

fn count(item: Option<Item<'_>>) -> Option<NonZeroUsize> {
    item.map_or(NonZeroUsize::new(2), |item| {
        item.read_with(|count: usize| {
            let count = NonZeroUsize::new(count).filter(|count| count.get() <= MOST_IN_A_ROW);
            count.ok_or("must be between 1 and 100")
        })
    })
}

fn target(text: &str) -> Result<PathAndQuery, &'static str> {
    const WRONG: &str = "must be a path such as \"/api/v3/plugins/user/islogged\", percent-encoded \
                         where needed";
    if !is_plain_path(text) {
        return Err(WRONG);
    }
    text.parse().map_err(|_| WRONG)
}

pub(super) const PLAINTEXT: &str = "plain HTTP would show every token to the network: use https://, or set \
     danger_plaintext = true";
const MOST_IN_A_ROW: usize = 100;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60 * 60);
