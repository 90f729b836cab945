use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;
const BOUNDS: Bounds = Bounds {
    from: 0,
    to: 100 * MINUTE,
    skew: 2 * MINUTE,
};

fn uid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The gateway's own account.
fn service() -> Uuid {
    uid(1)
}

fn entry(what: What, at: i64) -> Logged {
    Logged {
        what,
        at,
        by: Some(service()),
        organization: None,
        is_ours: true,
    }
}

fn record(what: What, at: i64) -> Done {
    Done {
        what,
        span: (at, at),
        by: vec![service()],
        organization: None,
        is_certain: true,
    }
}

fn told(logged: &[Logged], done: &[Done]) -> (Vec<usize>, Vec<usize>) {
    let compared = compare(logged, done, BOUNDS);
    (compared.strangers, compared.unlogged)
}

#[test]
fn what_both_have_matches_within_the_skew() {
    let what = What::Impersonation;
    for apart in [0, -2 * MINUTE, 2 * MINUTE] {
        let found = told(
            &[entry(what, 10 * MINUTE + apart)],
            &[record(what, 10 * MINUTE)],
        );
        assert_eq!(found, (vec![], vec![]));
    }
    let found = told(
        &[entry(what, 12 * MINUTE + 1)],
        &[record(what, 10 * MINUTE)],
    );
    assert_eq!(found, (vec![0], vec![0]));
    let found = told(&[entry(What::Login, 0)], &[record(what, 0)]);
    assert_eq!(found, (vec![0], vec![0]));
}

#[test]
fn a_request_may_have_been_logged_at_any_time_while_it_lasted() {
    let mut long = record(What::IdentityCreated, 0);
    long.span = (0, 10 * MINUTE);
    for (at, fits) in [(-2, true), (5, true), (12, true), (13, false)] {
        let found = told(
            &[entry(What::IdentityCreated, at * MINUTE)],
            std::slice::from_ref(&long),
        );
        assert_eq!(found.1.is_empty(), fits, "{at}");
    }
}

#[test]
fn one_record_stands_for_one_entry() {
    let what = What::Login;
    let entries = [entry(what, 0), entry(what, 1), entry(what, 2)];
    assert_eq!(told(&entries, &[record(what, 0)]).0.len(), 2);
    let records = [record(what, 0), record(what, 1), record(what, 2)];
    assert_eq!(told(&[entry(what, 1)], &records).1.len(), 2);
}

#[test]
fn one_request_may_be_behind_several_changes_of_users() {
    let entries = [
        entry(What::User, 0),
        entry(What::User, 1),
        entry(What::User, 9 * MINUTE),
    ];
    let mut writing = record(What::User, 0);
    writing.is_certain = false;
    assert_eq!(told(&entries, &[writing]), (vec![2], vec![]));
}

#[test]
fn organizations_tell_impersonations_apart_where_both_are_known() {
    let what = What::Impersonation;
    let of = |organization: u128| Some(uid(organization));
    let entries = [Logged {
        organization: of(8),
        ..entry(what, 0)
    }];
    let other = Done {
        organization: of(9),
        ..record(what, 0)
    };
    assert_eq!(
        told(&entries, std::slice::from_ref(&other)),
        (vec![0], vec![0])
    );
    let unknown = record(what, 0);
    assert_eq!(
        told(&entries, std::slice::from_ref(&unknown)),
        (vec![], vec![])
    );
    // The one that is not known is left for the entry that needs it.
    let same = Done {
        organization: of(8),
        ..record(what, 1)
    };
    let entries = [
        entries[0].clone(),
        Logged {
            organization: of(7),
            ..entry(what, 0)
        },
    ];
    assert_eq!(told(&entries, &[unknown, same]), (vec![], vec![]));
}

#[test]
fn what_others_do_is_no_finding_and_hides_none() {
    let what = What::IdentityCreated;
    let owner = uid(5);
    let by = |by: Uuid, at| Logged {
        by: Some(by),
        is_ours: by == service(),
        ..entry(what, at)
    };
    assert_eq!(told(&[by(owner, 0)], &[]), (vec![], vec![]));
    // Done as the owner; the console may name either.
    let acted = Done {
        by: vec![owner, service()],
        ..record(what, 0)
    };
    for named in [owner, service()] {
        assert_eq!(
            told(&[by(named, 0)], std::slice::from_ref(&acted)),
            (vec![], vec![])
        );
    }
    // One of these was not done by way of the gateway.
    for entries in [
        [by(owner, 0), by(service(), 1)],
        [by(service(), 0), by(owner, 1)],
    ] {
        let (strangers, unlogged) = told(&entries, std::slice::from_ref(&acted));
        assert_eq!((strangers.len(), unlogged.len()), (1, 0), "{entries:?}");
    }
}

#[test]
fn what_is_done_by_somebody_unknown_is_no_entry_of_our_account() {
    let unknown = Done {
        by: Vec::new(),
        ..record(What::Login, 0)
    };
    let ours = entry(What::Login, 0);
    assert_eq!(
        told(std::slice::from_ref(&ours), std::slice::from_ref(&unknown)),
        (vec![0], vec![0])
    );
    let theirs = Logged {
        by: Some(uid(9)),
        is_ours: false,
        ..ours
    };
    assert_eq!(told(&[theirs], &[unknown]), (vec![], vec![]));
}

#[test]
fn what_may_have_been_logged_gives_way_to_what_must_have_been() {
    let what = What::Login;
    let perhaps = Done {
        is_certain: false,
        ..record(what, 0)
    };
    assert_eq!(
        told(&[entry(what, 0)], &[perhaps.clone(), record(what, MINUTE)]),
        (vec![], vec![])
    );
    assert_eq!(
        told(&[entry(what, 0)], &[record(what, MINUTE), perhaps.clone()]),
        (vec![], vec![])
    );
    assert_eq!(told(&[], std::slice::from_ref(&perhaps)), (vec![], vec![]));
    assert_eq!(told(&[entry(what, 0)], &[perhaps]), (vec![], vec![]));
}

#[test]
fn what_is_out_of_bounds_is_a_partner_only() {
    let what = What::Login;
    let (before, after) = (-MINUTE, 101 * MINUTE);
    assert_eq!(
        told(&[entry(what, before)], &[record(what, after)]),
        (vec![], vec![])
    );
    assert_eq!(
        told(&[entry(what, 0)], &[record(what, before)]),
        (vec![], vec![])
    );
    assert_eq!(
        told(&[entry(what, after)], &[record(what, 99 * MINUTE)]),
        (vec![], vec![])
    );
}

#[test]
fn a_hundred_thousand_of_each_are_compared() {
    let what = What::Impersonation;
    let one = |n: u128| Some(uid(n % 1000));
    let at = |n: u128| i64::try_from(n).unwrap() * 50_000;
    let logged: Vec<_> = (0..100_000_u128)
        .map(|n| Logged {
            organization: one(n),
            ..entry(what, at(n))
        })
        .collect();
    let done: Vec<_> = (0..100_000_u128)
        .map(|n| Done {
            organization: one(n),
            ..record(what, at(n) + MINUTE)
        })
        .collect();
    assert_eq!(told(&logged, &done), (vec![], vec![]));
    // Each is given another one, up to the last.
    let (strangers, unlogged) = told(&logged, &done[1..]);
    assert_eq!((strangers.len(), unlogged.len()), (1, 0));
}

fn done() -> impl Strategy<Value = Done> {
    let what = prop::sample::select(vec![
        What::Impersonation,
        What::Login,
        What::IdentityCreated,
    ]);
    let by = prop_oneof![Just(vec![service()]), Just(vec![uid(5), service()])];
    let organization = prop::option::of((7..9_u128).prop_map(uid));
    (
        what,
        0..100 * MINUTE,
        0..MINUTE,
        by,
        organization,
        any::<bool>(),
    )
        .prop_map(|(what, at, took, by, organization, is_certain)| Done {
            what,
            span: (at - took, at),
            by,
            organization,
            is_certain,
        })
}

/// How a console may have logged it.
fn logged(done: &Done, (late, whom, of): (i64, usize, bool)) -> Logged {
    let by = done.by[whom % done.by.len()];
    Logged {
        what: done.what,
        at: done.span.0 + late.rem_euclid(done.span.1 - done.span.0 + BOUNDS.skew + 1),
        by: Some(by),
        organization: done.organization.filter(|_| of),
        is_ours: by == service(),
    }
}

type Way = (i64, usize, bool);

fn both() -> impl Strategy<Value = Vec<(Done, Way, bool)>> {
    let way = (0..i64::MAX, 0..2_usize, any::<bool>());
    prop::collection::vec((done(), way, any::<bool>()), 0..60)
}

proptest! {
    #[test]
    fn what_a_true_console_logs_has_no_finding(all in both()) {
        // What is not certain may be missing.
        let kept = all.iter().filter(|(done, _, kept)| done.is_certain || *kept);
        let entries: Vec<_> = kept.map(|(done, way, _)| logged(done, *way)).collect();
        let records: Vec<_> = all.iter().map(|(done, ..)| done.clone()).collect();
        let compared = compare(&entries, &records, BOUNDS);
        prop_assert_eq!(compared.strangers, Vec::<usize>::new());
        prop_assert_eq!(compared.unlogged, Vec::<usize>::new());
    }

    #[test]
    fn as_many_are_told_at_least_as_there_are_more_on_one_side(
        all in both(),
        strangers in 0..5_usize,
        lost in 0..5_usize,
    ) {
        let certain: Vec<_> = all.iter().filter(|(done, ..)| done.by.len() == 1).collect();
        let records: Vec<_> = certain.iter().map(|(done, ..)| done.clone()).collect();
        let mut entries: Vec<_> = certain.iter().map(|(done, way, _)| logged(done, *way)).collect();
        let in_bounds = |entry: &&Logged| BOUNDS.have(entry.at);
        entries.extend((0..strangers).map(|n| entry(What::Login, i64::try_from(n).unwrap())));
        let compared = compare(&entries, &records, BOUNDS);
        let count = |what| {
            let ours = entries.iter().filter(in_bounds).filter(|entry| entry.what == what);
            let theirs = records.iter().filter(|done| done.what == what);
            ours.count().saturating_sub(theirs.count())
        };
        let more: usize = What::ALL.into_iter().map(count).sum();
        prop_assert!(compared.strangers.len() >= more);

        let mut records = records;
        records.extend((0..lost).map(|n| record(What::Impersonation, i64::try_from(n).unwrap())));
        let compared = compare(&entries, &records, BOUNDS);
        let owed = records.iter().filter(|done| done.is_certain && done.what == What::Impersonation);
        let had = entries.iter().filter(|entry| entry.what == What::Impersonation);
        prop_assert!(compared.unlogged.len() >= owed.count().saturating_sub(had.count()));
    }

    #[test]
    fn the_order_of_reading_does_not_matter(all in both(), more in prop::collection::vec(done(), 0..5)) {
        let mut entries: Vec<_> = all.iter().map(|(done, way, _)| logged(done, *way)).collect();
        let mut records: Vec<_> = all.iter().filter(|(.., kept)| *kept).map(|(done, ..)| done.clone()).collect();
        records.extend(more);
        records.retain(|done| done.by.len() == 1);
        let one = compare(&entries, &records, BOUNDS);
        entries.reverse();
        records.reverse();
        let other = compare(&entries, &records, BOUNDS);
        prop_assert_eq!(one.strangers.len(), other.strangers.len());
        prop_assert_eq!(one.unlogged.len(), other.unlogged.len());
    }
}
