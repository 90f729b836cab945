//! Times of the week at which a rule holds.

use std::fmt;

use crate::clock::Timestamp;

/// Days of the week and a time of the day, in a zone of fixed distance to UTC.
///
/// A time that ends before it starts goes on past midnight, and belongs to the day on which it
/// started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hours {
    /// One bit each; Monday is the lowest.
    days: u8,
    /// The first minute of the day.
    from: u16,
    /// The first minute after it.
    to: u16,
    /// Minutes that the zone is ahead of UTC.
    ahead: i16,
}

/// Why something is not a time of the week.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HoursFault {
    /// Not a day.
    #[error("must be a day, mon tue wed thu fri sat sun, or several in a row such as mon-fri")]
    Day,
    /// No time at all.
    #[error("starts when it ends: there would be no time between")]
    Empty,
    /// Not a time of the day.
    #[error("must be a time of the day such as 08:00, up to 24:00")]
    Time,
    /// Not a zone.
    #[error(
        "must be UTC or a fixed distance to it such as +02:00; zones with summer time are not known here"
    )]
    Zone,
}

impl Hours {
    /// Puts it together from what the functions below read; no days are all days.
    ///
    /// # Errors
    /// Refuses a time that is none.
    pub fn new(days: u8, from: u16, to: u16, ahead: i16) -> Result<Self, HoursFault> {
        if from % DAY == to % DAY && (from, to) != (0, DAY) {
            return Err(HoursFault::Empty);
        }
        let days = if days == 0 { ALL_DAYS } else { days };
        Ok(Self {
            days,
            from,
            to,
            ahead,
        })
    }

    /// Reads `mon` or `mon-fri`; a row may go past Sunday.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn days(text: &str) -> Result<u8, HoursFault> {
        let day = |text| {
            let place = DAYS.iter().position(|day| *day == text);
            place.ok_or(HoursFault::Day)
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(text)?, day(text)?),
        };
        let count = (last + 7 - first) % 7 + 1;
        Ok((first..first + count).fold(0, |days, day| days | 1 << (day % 7)))
    }

    /// Reads `08:00` as minutes of the day.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn minute(text: &str) -> Result<u16, HoursFault> {
        let minute = minutes(text).ok_or(HoursFault::Time)?;
        if minute > DAY {
            return Err(HoursFault::Time);
        }
        Ok(minute)
    }

    /// Reads `UTC` or `+02:00` as minutes ahead of UTC.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn zone(text: &str) -> Result<i16, HoursFault> {
        if matches!(text, "UTC" | "Z") {
            return Ok(0);
        }
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            (None, None) => return Err(HoursFault::Zone),
        };
        let ahead = minutes(rest).filter(|minutes| *minutes <= FARTHEST);
        let ahead = ahead.and_then(|minutes| i16::try_from(minutes).ok());
        Ok(sign * ahead.ok_or(HoursFault::Zone)?)
    }

    /// Whether it is that time.
    pub fn hold(&self, now: Timestamp) -> bool {
        let minutes = now.0.div_euclid(60_000_000) + i64::from(self.ahead);
        let minute = minutes.rem_euclid(DAY.into());
        // The first of January 1970 was a Thursday.
        let day = (minutes.div_euclid(DAY.into()) + 3).rem_euclid(7);
        let is_on = |day: i64| self.days >> day.rem_euclid(7) & 1 == 1;
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            return is_on(day) && (from..to).contains(&minute);
        }
        (minute >= from && is_on(day)) || (minute < to && is_on(day - 1))
    }
}

/// Hours and minutes of two digits each.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| -> Option<u16> {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != ALL_DAYS {
            let on = DAYS.iter().enumerate();
            for (_, day) in on.filter(|(day, _)| self.days >> day & 1 == 1) {
                write!(f, "{day} ")?;
            }
        }
        let time = |f: &mut fmt::Formatter<'_>, minute: u16| {
            write!(f, "{:02}:{:02}", minute / 60, minute % 60)
        };
        time(f, self.from)?;
        f.write_str(" to ")?;
        time(f, self.to)?;
        if self.ahead == 0 {
            return f.write_str(" UTC");
        }
        f.write_str(if self.ahead < 0 { " -" } else { " +" })?;
        time(f, self.ahead.unsigned_abs())
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ALL_DAYS: u8 = 0b111_1111;
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// No zone is farther from UTC.
const FARTHEST: u16 = 14 * 60;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(days: &str, from: &str, to: &str, zone: &str) -> Hours {
        let (from, to) = (Hours::minute(from).unwrap(), Hours::minute(to).unwrap());
        let zone = Hours::zone(zone).unwrap();
        Hours::new(Hours::days(days).unwrap(), from, to, zone).unwrap()
    }

    /// Minutes and seconds after Monday, the 5th of January 1970, at midnight UTC.
    fn at(day: i64, time: &str, second: i64) -> Timestamp {
        let minute = i64::from(Hours::minute(time).unwrap());
        Timestamp((((day + 4) * 24 * 60 + minute) * 60 + second) * 1_000_000)
    }

    #[test]
    fn a_time_holds_from_its_first_second_to_before_its_last() {
        let work = hours("mon-fri", "08:00", "18:00", "UTC");
        assert!(!work.hold(at(0, "07:59", 59)));
        assert!(work.hold(at(0, "08:00", 0)));
        assert!(work.hold(at(4, "17:59", 59)));
        assert!(!work.hold(at(4, "18:00", 0)));
        assert!(!work.hold(at(5, "12:00", 0)));
        assert!(!work.hold(at(-1, "12:00", 0)), "a Sunday before");
        assert_eq!(work.to_string(), "mon tue wed thu fri 08:00 to 18:00 UTC");
    }

    #[test]
    fn a_zone_moves_days_too() {
        let east = hours("mon", "00:00", "02:00", "+02:00");
        assert!(east.hold(at(-1, "22:00", 0)));
        assert!(!east.hold(at(0, "00:00", 0)));
        let west = hours("sun", "23:00", "24:00", "-03:30");
        assert!(west.hold(at(0, "02:30", 0)));
        assert!(!west.hold(at(0, "03:30", 0)));
        assert_eq!(west.to_string(), "sun 23:00 to 24:00 -03:30");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_starts() {
        let night = hours("fri", "22:00", "06:00", "UTC");
        for (day, time, holds) in [
            (4, "21:59", false),
            (4, "22:00", true),
            (5, "05:59", true),
            (5, "06:00", false),
            (4, "05:59", false),
            (5, "22:00", false),
        ] {
            assert_eq!(night.hold(at(day, time, 0)), holds, "{day} {time}");
        }
        // Until midnight is not past it.
        let evening = hours("sun", "18:00", "00:00", "UTC");
        assert!(evening.hold(at(6, "23:59", 59)) && !evening.hold(at(7, "00:00", 0)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "8:00", "08.00", "24:01", "08:60", "+8:00", "", "0800", "08:0x",
        ] {
            assert_eq!(Hours::minute(bad), Err(HoursFault::Time), "{bad}");
        }
        for bad in ["", "monday", "mon-", "-fri", "MON", "mon-fri-sun"] {
            assert_eq!(Hours::days(bad), Err(HoursFault::Day), "{bad}");
        }
        for bad in [
            "",
            "CET",
            "Europe/Berlin",
            "02:00",
            "+2",
            "+14:01",
            "++02:00",
        ] {
            assert_eq!(Hours::zone(bad), Err(HoursFault::Zone), "{bad}");
        }
        assert_eq!(Hours::new(1, 60, 60, 0), Err(HoursFault::Empty));
        assert_eq!(Hours::new(1, DAY, 0, 0), Err(HoursFault::Empty));
        assert!(Hours::new(0, 0, DAY, 0).unwrap().hold(Timestamp(0)));
        assert_eq!(Hours::days("sat-mon"), Ok(0b110_0001));
    }

    proptest! {
        /// A week, minute by minute, counted out.
        #[test]
        fn times_agree_with_a_calendar_that_is_counted_out(
            days in 1_u8..128,
            from in 0_u16..=DAY,
            to in 0_u16..=DAY,
            minute in 0_i64..7 * 24 * 60,
        ) {
            let Ok(hours) = Hours::new(days, from, to, 0) else {
                prop_assert!(from % DAY == to % DAY);
                return Ok(());
            };
            let span = if from < to { to - from } else { DAY - from + to };
            let mut on = vec![false; 7 * usize::from(DAY)];
            for day in (0..7).filter(|day| days >> day & 1 == 1) {
                for offset in 0..usize::from(span) {
                    let length = on.len();
                    on[(day * usize::from(DAY) + usize::from(from) + offset) % length] = true;
                }
            }
            let now = Timestamp((minute + 4 * 24 * 60) * 60_000_000);
            prop_assert_eq!(hours.hold(now), on[usize::try_from(minute).unwrap()]);
        }
    }
}
