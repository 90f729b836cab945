//! How many connections operators may have.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use super::Peer;

/// Places for connections: so many in all, and no more than half of them for one source.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Option<IpAddr>, usize>>);

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    source: Option<IpAddr>,
}

impl Places {
    /// A place for one more, if there is one.
    pub(super) fn take(&self, peer: Peer) -> Option<Place<'_>> {
        let source = match peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix { .. } => None,
        };
        let mut taken = self.0.lock();
        if taken.values().sum::<usize>() >= MOST {
            return None;
        }
        let of_source = taken.entry(source).or_default();
        if source.is_some() && *of_source >= MOST / 2 {
            return None;
        }
        *of_source += 1;
        Some(Place {
            places: self,
            source,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

/// The most connections that operators have at once. Descriptors are kept for twice as many.
pub(super) const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(last: u8) -> Peer {
        Peer::Tcp(([192, 0, 2, last], 5000).into())
    }

    #[test]
    fn one_source_has_half_of_the_places_and_all_together_no_more_than_there_are() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..MOST / 2).map(|_| places.take(of(1)).unwrap()).collect();
        assert!(places.take(of(1)).is_none());
        taken.extend((0..MOST / 2).map(|_| places.take(of(2)).unwrap()));
        assert!(places.take(of(3)).is_none());
        let unix = Peer::Unix { uid: 0, pid: None };
        assert!(places.take(unix).is_none());
        drop(taken.pop());
        assert!(places.take(of(3)).is_some());
        drop(taken);
        assert!(places.0.lock().is_empty());
        let local: Vec<_> = (0..MOST).map(|_| places.take(unix).unwrap()).collect();
        assert_eq!(local.len(), MOST);
    }
}
