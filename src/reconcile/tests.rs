use super::ours::{Act, Who};
use super::side_by_side::problems;
use super::*;
use crate::audit::Named;
use crate::vspc::grant::Subject;

fn uid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn theirs(activities: Vec<Activity>) -> Theirs {
    let user = User {
        uid: Subject(uid(5)),
        organization: Some(uid(50)),
        name: Some("Acme\\Ann".into()),
        is_enabled: true,
        is_owner: true,
        role: None,
        needs_mfa: None,
    };
    Theirs {
        me: Me {
            uid: uid(1),
            name: Some("VSPC\\svc".into()),
            role: None,
        },
        activities,
        users: Some(HashMap::from([(uid(5), user)])),
        keyed: HashSet::new(),
    }
}

fn activity(kind: &str, at: i64, by: u128, of: u128) -> Activity {
    Activity {
        at: Timestamp(at),
        kind: kind.to_owned(),
        user: Some(uid(by)),
        organization: Some(uid(of)),
        message: "told".to_owned(),
    }
}

fn act(what: What, at: i64, who: Who) -> Act {
    Act {
        seq: 9,
        what,
        console: "main".into(),
        at: Timestamp(at),
        took: 0,
        who,
        operation: "as".into(),
        request_id: None,
        is_certain: true,
    }
}

fn report(acts: Vec<Act>, theirs: &Theirs, change: impl FnOnce(&mut ReconcileSettings)) -> Report {
    let mut settings = ReconcileSettings::default();
    change(&mut settings);
    let span = Span {
        from: Timestamp(0),
        to: Timestamp(3_600_000_000),
        margin: 0,
        skew: 0,
    };
    let ours = Ours {
        acts,
        ..Ours::default()
    };
    side_by_side("main".to_owned(), &ours, theirs, (span, settings))
}

#[test]
fn an_impersonation_matches_by_the_organization_of_the_user() {
    let impersonation = "UserImpersonationSuccessful";
    let as_ann = || vec![act(What::Impersonation, 60_000_000, Who::As(uid(5)))];
    let same = theirs(vec![activity(impersonation, 60_000_000, 1, 50)]);
    let found = report(as_ann(), &same, |_| {});
    assert!(found.reconciled && found.matched == 1, "{found:?}");
    assert_eq!(found.failure(), None);
    let other = theirs(vec![activity(impersonation, 60_000_000, 1, 51)]);
    let found = report(as_ann(), &other, |_| {});
    assert_eq!(found.failure(), Some("unreconciled"));
    assert_eq!(found.past_gateway["impersonation"], 1);
    assert_eq!(found.not_logged["impersonation"], 1);
    let [stranger, unlogged] = &found.findings[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (stranger.side, stranger.user),
        ("past_gateway", Some(uid(1)))
    );
    assert_eq!(stranger.what, "UserImpersonationSuccessful: told");
    assert_eq!((unlogged.side, unlogged.seq), ("not_logged", Some(9)));
    assert_eq!(unlogged.user, Some(uid(5)));
}

#[test]
fn what_was_before_the_log_began_is_left_out_and_a_log_that_is_too_young_is_not_compared() {
    let second = |seconds: i64| Timestamp(seconds * 1_000_000);
    let begins = |begin: Option<i64>| {
        let mut span = Span {
            from: second(100),
            to: second(200),
            margin: 0,
            skew: 0,
        };
        let noted = within(&mut span, begin.map(second), 10_000_000);
        (span.from, noted)
    };
    for before in [None, Some(0), Some(100)] {
        let (from, noted) = begins(before);
        assert_eq!((from, noted.unwrap()), (second(100), None));
    }
    let (from, noted) = begins(Some(150));
    assert_eq!(from, second(160));
    let noted = noted.unwrap().unwrap();
    assert!(noted.contains("since 1970-01-01T00:02:40"), "{noted}");
    // With the clocks' skew nothing is left that could be compared.
    for young in [190, 199, 200, 5000] {
        let (from, refused) = begins(Some(young));
        assert_eq!(from, second(100));
        assert!(
            matches!(refused, Err(ReconcileError::TooNew { .. })),
            "{young}"
        );
    }
}

#[test]
fn a_console_that_names_the_target_is_understood_when_the_setting_says_so() {
    let entry = || theirs(vec![activity("UserImpersonationSuccessful", 0, 5, 50)]);
    let as_ann = || vec![act(What::Impersonation, 0, Who::As(uid(5)))];
    let by_target = |settings: &mut ReconcileSettings| settings.impersonation_by = Named::Target;
    assert!(!report(as_ann(), &entry(), |_| {}).reconciled);
    assert!(report(as_ann(), &entry(), by_target).reconciled);
    let found = report(Vec::new(), &entry(), by_target);
    assert_eq!(found.past_gateway["impersonation"], 1);
}

#[test]
fn users_are_known_by_their_names_in_any_case() {
    let login = || theirs(vec![activity("LoginSuccessful", 0, 5, 50)]);
    let by = |name: &str| vec![act(What::Login, 0, Who::User(name.into()))];
    assert!(report(by("acme\\ANN"), &login(), |_| {}).reconciled);
    // Somebody who is not known may be anybody but our account.
    assert!(report(by("nobody"), &login(), |_| {}).reconciled);
    let ours = theirs(vec![activity("LoginSuccessful", 0, 1, 50)]);
    assert!(!report(by("nobody"), &ours, |_| {}).reconciled);
}

#[test]
fn nobody_logs_in_with_a_permanent_key() {
    let mut of_keys = theirs(Vec::new());
    let logins = || {
        let tenant = Who::Tenant("acme".into());
        vec![
            act(What::Login, 0, Who::Service),
            act(What::Login, 0, tenant),
        ]
    };
    assert_eq!(report(logins(), &of_keys, |_| {}).not_logged["login"], 2);
    of_keys.keyed = HashSet::from([None, Some("acme".into())]);
    assert!(report(logins(), &of_keys, |_| {}).reconciled);
}

#[test]
fn nothing_is_well_where_something_could_not_be_understood() {
    let unnamed = theirs(vec![activity("unknown", 0, 1, 50)]);
    let found = report(Vec::new(), &unnamed, |_| {});
    assert_eq!(found.failure(), Some("not_compared"));
    assert!(found.problems[0].contains("client_version"), "{found:?}");
    let of_others = theirs(vec![activity("unknown", 0, 5, 50)]);
    assert!(report(Vec::new(), &of_others, |_| {}).reconciled);
    let ours = Ours {
        unreadable: 2,
        damage: vec!["a gap".to_owned()],
        ..Ours::default()
    };
    assert_eq!(problems(&ours, 0).len(), 2);
    let failed = Report::failed("main", "down".to_owned());
    assert_eq!(failed.failure(), Some("not_compared"));
    assert_eq!(failed.summary(), "down");
}

#[test]
fn a_finding_is_told_once() {
    let last = Last::default();
    let entry = theirs(vec![activity("LoginSuccessful", 0, 1, 50)]);
    let found = report(Vec::new(), &entry, |_| {});
    assert_eq!(last.news(&found).len(), 1);
    assert_eq!(last.news(&found).len(), 0);
}
