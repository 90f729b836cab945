//! Of `[[consoles]]`: what the console and each of its tenants may use, and when it is left alone.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::reader::{Item, Section};
use crate::config::value::Time;
use crate::upstream::share::{Limits, Rate};
use crate::upstream::{Sharing, breaker};

pub(super) fn sharing(section: &mut Section<'_>) -> Option<Sharing> {
    let limits = limits(section);
    let turn_wait = section.or("turn_wait", Time(Duration::from_secs(10)));
    let throttle_wait = section.or("throttle_wait", Duration::from_secs(10));
    let faults = section
        .optional("breaker_faults")
        .map_or(NonZeroU32::new(5), |item| {
            item.read_with(|faults: usize| {
                let faults = u32::try_from(faults).ok().and_then(NonZeroU32::new);
                faults.ok_or("must be a number above zero")
            })
        });
    let pause = section.or("breaker_pause", Time(Duration::from_secs(30)));
    Some(Sharing {
        limits: limits?,
        turn_wait: turn_wait?.0,
        throttle_wait: throttle_wait?,
        breaker: breaker::Settings {
            faults: faults?,
            pause: pause?.0,
        },
    })
}

fn limits(section: &mut Section<'_>) -> Option<Limits> {
    let concurrency = places(section.optional("concurrency"), 1024);
    let half = (concurrency.unwrap_or(1024) / 2).max(1);
    let tenant_concurrency = places(section.optional("tenant_concurrency"), half);
    if tenant_concurrency.is_some_and(|one| concurrency.is_some_and(|all| one > all)) {
        section.fault("tenant_concurrency", MORE);
    }
    let rate = section.optional("rate").map(|item| item.read::<Rate>());
    let tenant_rate = section
        .optional("tenant_rate")
        .map(|item| item.read::<Rate>());
    if let (Some(Some(all)), Some(Some(one))) = (&rate, &tenant_rate)
        && one.exceeds(all)
    {
        section.fault("tenant_rate", MORE);
    }
    let waiting = section.or("waiting", WAITING);
    let most = waiting.unwrap_or(WAITING);
    let tenant_waiting = section.or("tenant_waiting", most - most / 4);
    if tenant_waiting.is_some_and(|one| waiting.is_some_and(|all| one > all)) {
        section.fault("tenant_waiting", MORE);
    }
    Some(Limits {
        concurrency: concurrency?,
        tenant_concurrency: tenant_concurrency?,
        rate: all_or_none(rate)?,
        tenant_rate: all_or_none(tenant_rate)?,
        waiting: waiting?,
        tenant_waiting: tenant_waiting?,
    })
}

/// Nothing where a value was faulty; the value, if there is one.
fn all_or_none<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

fn places(item: Option<Item<'_>>, default: usize) -> Option<usize> {
    item.map_or(Some(default), |item| {
        item.read_with(|places: usize| match places {
            0 => Err("must be above zero: nothing would ever be sent"),
            places => Ok(places),
        })
    })
}

/// Ten thousand at once for one tenant are no reason to refuse any of them.
const WAITING: usize = 20_000;

const MORE: &str = "is more than all tenants together may have";
