//! Of `[server]`: how many connections there may be, and how slow callers may be on them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Console;
use crate::config::reader::{Item, Section};
use crate::config::value::{Size, Time};
use crate::listen::{Limits, Shortage, descriptors, room};
use crate::upstream::Pace;

/// The bounds, and whether they are lower than what is written for want of descriptors. That is no
/// fault of the file: who checks it may have another limit than the service will, and a start that
/// fails for it would cost more than the connections that are missing.
pub(super) fn connections(
    section: &mut Section<'_>,
    consoles: &[Console],
) -> Option<(Limits, Vec<Shortage>)> {
    let number = |item: Item<'_>| {
        item.read_with(|number: usize| match number {
            1..=MOST => Ok(number),
            _ => Err("must be between 1 and 1000000"),
        })
    };
    let wanted = section.optional("connections").map(number);
    let share = section.optional("connections_per_source").map(number);
    let default = Limits::default();
    let unread_timeout = within(section, "unread_timeout", default.unread_timeout, UNREAD);
    let idle_timeout = within(section, "idle_timeout", default.idle_timeout, IDLE);
    let head_timeout = within(section, "head_timeout", default.head_timeout, HEAD);
    let handshake_timeout = within(
        section,
        "handshake_timeout",
        default.handshake_timeout,
        HEAD,
    );
    if let (Some(Some(all)), Some(Some(share))) = (wanted, share)
        && share > all
    {
        section.fault("connections_per_source", "is more than server.connections");
    }

    let (connections, mut shortages) = match wanted {
        None => {
            let connections = Limits::connections_by_default(room_of(consoles).1);
            (connections, Vec::new())
        }
        Some(wanted) => fit(wanted?, room_of(consoles)),
    };
    let share = match share {
        None => (connections / 2).max(1),
        Some(share) => fit_share(share?, connections, &mut shortages),
    };
    let limits = Limits {
        connections,
        connections_per_source: share,
        unread_timeout: unread_timeout?,
        idle_timeout: idle_timeout?,
        head_timeout: head_timeout?,
        handshake_timeout: handshake_timeout?,
    };
    Some((limits, shortages))
}

/// The bounds of a time, and how they are told.
type Range = (RangeInclusive<Duration>, &'static str);

fn within(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    (range, told): Range,
) -> Option<Duration> {
    section.optional(key).map_or(Some(default), |item| {
        item.read_with(|time: Time| Some(time.0).filter(|time| range.contains(time)).ok_or(told))
    })
}

/// How slowly the body of a request may come.
pub(super) fn body_pace(section: &mut Section<'_>) -> Option<Pace> {
    let Some(item) = section.optional("min_body_rate") else {
        return Some(Pace::default());
    };
    item.read_with(|rate: Size| match rate.0 {
        0..=FASTEST => Ok(Pace::of(rate.0)),
        _ => Err("must be at most 1MiB (a second): whoever has a slower line could send nothing"),
    })
}

/// The descriptors that the process may have, and how many connections they suffice for.
fn room_of(consoles: &[Console]) -> (usize, usize) {
    let upstream = consoles
        .iter()
        .map(|console| console.upstream.most_connections())
        .fold(0, usize::saturating_add);
    // Where the system does not tell, what every system allows.
    let descriptors = descriptors::most().unwrap_or(1024);
    (descriptors, room(descriptors, upstream))
}

fn fit(wanted: usize, (descriptors, room): (usize, usize)) -> (usize, Vec<Shortage>) {
    if wanted <= room {
        return (wanted, Vec::new());
    }
    let shortage = Shortage::Descriptors {
        wanted,
        descriptors,
        room,
    };
    (room, vec![shortage])
}

fn fit_share(wanted: usize, connections: usize, shortages: &mut Vec<Shortage>) -> usize {
    if wanted > connections {
        shortages.push(Shortage::Share {
            wanted,
            connections,
        });
    }
    wanted.min(connections)
}

const MOST: usize = 1_000_000;

const IDLE: Range = (
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60),
    "must be between 1s and 24h",
);
const UNREAD: Range = (
    Duration::from_millis(100)..=Duration::from_secs(10 * 60),
    "must be between 100ms and 10m",
);
const HEAD: Range = (
    Duration::from_millis(100)..=Duration::from_secs(10 * 60),
    "must be between 100ms and 10m",
);

/// In bytes a second.
const FASTEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_descriptors_suffice_for_are_told_and_not_served() {
        assert_eq!(fit(1000, (20_000, 18_592)), (1000, Vec::new()));
        let (served, shortages) = fit(20_000, (20_000, 18_592));
        assert_eq!(served, 18_592);
        let told = shortages[0].to_string();
        assert!(told.starts_with("server.connections is 20000, but 20000 descriptors"));
        assert!(told.contains("suffice for 18592"), "{told}");
    }

    #[test]
    fn a_share_of_more_connections_than_there_are_is_told() {
        let mut told = Vec::new();
        assert_eq!(fit_share(40, 40, &mut told), 40);
        assert_eq!(told, Vec::new());
        assert_eq!(fit_share(41, 40, &mut told), 40);
        let told = told[0].to_string();
        assert_eq!(
            told,
            "server.connections_per_source is 41, but there are 40 connections in all: 40 it is"
        );
    }
}
