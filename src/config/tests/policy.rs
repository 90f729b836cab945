//! Conditions of rules, and reasons.

use super::*;

const ALLOW: &str = "allow = [{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }]";
const HEADER: &str = "tenant_header = \"X-Tenant\"";
const OWNER: &str = "b3ffc78b-7982-44f3-ae66-1384415f2bea";

/// A file with rules of one's own, and a second tenant that the client has not.
fn with(rules: &str) -> String {
    let second = "[[tenants]]\nname = \"globex\"\nimpersonate = { user = \"c28df41e-5182-4668-b911-1987d4c9150f\" }\n";
    GOOD.replace("[mapping]", &format!("{second}[mapping]"))
        .replace("tenants = [\"*\"]", "tenants = [\"acme\"]")
        .replace(ALLOW, rules)
}

#[test]
fn rules_take_conditions() {
    let text = with(&format!(
        r#"
reason = "required"
deny = [{{ operations = ["GET /users/logins"], tenants = ["acme"], hours = {{ from = "22:00", to = "06:00" }} }}]
[[clients.allow]]
name = "work"
methods = ["*"]
paths = ["/api/v3/**"]
operations = ["GET /users/{{userUid}}/logins", "POST /alarms"]
tenants = ["acme"]
targets = ["{OWNER}"]
hours = {{ days = ["mon-wed", "fri"], from = "08:00", to = "18:00", zone = "+02:00" }}
read_only = true
reason = "required"
"#
    ))
    .replace(HEADER, &format!("{HEADER}\nreason_header = \"X-Audit-Reason\"\nreason_pattern = 'INC[0-9]+'"));
    assert_eq!(faults(&text), Vec::<String>::new());
    let folder = folder();
    let policy = Settings::parse(&text, folder.path()).unwrap().policy;
    assert_eq!(policy.reason_header().unwrap(), "x-audit-reason");
    assert_eq!(policy.asking(), Some("clients.zabbix.allow.work"));
    assert_eq!(policy.warnings(), [""; 0]);
}

#[test]
fn conditions_that_cannot_hold_are_faults() {
    for (rule, expected) in [
        (
            "tenants = [\"globex\"]",
            "allow[0].tenants[0]: the client may not act for \"globex\"",
        ),
        (
            "tenants = [\"1001\"]",
            "write the tenant's own name, \"acme\"",
        ),
        ("tenants = [\"nobody\"]", "no tenant is called \"nobody\""),
        ("tenants = [\"*\"]", "leave it out"),
        ("tenants = []", "an empty list would match nothing"),
        (
            "targets = [\"c28df41e-5182-4668-b911-1987d4c9150f\"]",
            "neither acts for a tenant",
        ),
        ("targets = [\"owner\"]", "must be the userUid"),
        ("operations = [\"POST /users\"]", "can never match"),
        ("operations = [\"GET /api/v3/users\"]", "leave /api/v3 out"),
        ("operations = [\"/users\"]", "must be a method and a path"),
        ("operations = [\"GET /token\"]", "answered by the gateway"),
        (
            "hours = { from = \"8\" }",
            "hours.from: must be a time of the day",
        ),
        (
            "hours = { days = [\"workdays\"] }",
            "hours.days[0]: must be a day",
        ),
        ("hours = { days = [] }", "an empty list"),
        (
            "hours = { zone = \"Europe/Berlin\" }",
            "zones with summer time are not known",
        ),
        (
            "hours = { from = \"08:00\", to = \"08:00\" }",
            "no time between",
        ),
        (
            "hours = { until = \"08:00\" }",
            "hours.until: is not known here",
        ),
        ("reason = \"maybe\"", "can only be \"required\""),
        ("name = \"a b\"", "allow[0].name:"),
    ] {
        let rule = format!("allow = [{{ methods = [\"GET\"], paths = [\"/api/v3/**\"], {rule} }}]");
        let found = faults(&with(&rule));
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert!(found[0].contains(expected), "{rule}: {found:?}");
    }
    for (rules, expected) in [
        (
            "allow = [{ methods = [\"POST\"], paths = [\"/api/v3/**\"], read_only = true }]",
            "can never match",
        ),
        (
            "deny = [{ paths = [\"/api/v3/**\"], read_only = true }]",
            "deny[0].read_only: belongs to a rule that allows",
        ),
        (
            "deny = [{ paths = [\"/api/v3/**\"], reason = \"required\" }]",
            "deny[0].reason: belongs to a rule that allows",
        ),
        (
            "allow = [{ operations = [\"GET /a\"], name = \"a\" }, { operations = [\"GET /b\"], name = \"a\" }]",
            "allow[1].name: another rule of this list is called \"a\"",
        ),
        (
            "allow = [{ methods = [\"GET\"] }]",
            "allow[0].paths: is missing",
        ),
        ("deny = [{}]", "deny[0].paths: is missing"),
        (
            &format!("reason = \"required\"\n{ALLOW}"),
            "mapping.reason_header: is missing: clients.zabbix.allow[0] needs reasons",
        ),
    ] {
        let found = faults(&with(rules));
        assert_eq!(found.len(), 1, "{rules}: {found:?}");
        assert!(found[0].contains(expected), "{rules}: {found:?}");
    }
}

#[test]
fn faulty_reasons_are_told() {
    for (lines, expected) in [
        (
            "reason_header = \"X-Tenant\"",
            "is another header of this section already",
        ),
        (
            "reason_header = \"x_tenant\"",
            "is another header of this section already",
        ),
        ("reason_header = \"Authorization\"", "has another meaning"),
        (
            "reason_pattern = 'x'",
            "means nothing without reason_header",
        ),
        (
            "reason_header = \"X-Reason\"\nreason_pattern = 'a)|(b'",
            "is no regular expression that can be used: unopened group",
        ),
    ] {
        let found = faults(&GOOD.replace(HEADER, &format!("{HEADER}\n{lines}")));
        assert_eq!(found.len(), 1, "{lines}: {found:?}");
        assert!(found[0].contains(expected), "{lines}: {found:?}");
    }
}

#[test]
fn rules_of_the_consoles_own_users_know_no_tenants() {
    let console = |rule: &str| {
        let rules = format!("passthrough_rules = {{ allow = [{{ {rule} }}] }}");
        GOOD.replace(
            "[[tenants]]",
            &format!("passthrough_logins = true\n{rules}\n[[tenants]]"),
        )
    };
    for (rule, expected) in [
        (
            "operations = [\"GET /users\"], tenants = [\"acme\"]",
            "act for no tenant",
        ),
        (
            "operations = [\"GET /users\"], targets = [\"b3ffc78b-7982-44f3-ae66-1384415f2bea\"]",
            "act as nobody else",
        ),
        (
            "operations = [\"GET /users\"], read_only = true",
            "choose that with readOnly",
        ),
        (
            "operations = [\"GET /users\"], reason = \"required\"",
            "consoles.main.passthrough_rules.allow[0] needs reasons",
        ),
    ] {
        let found = faults(&console(rule));
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert!(found[0].contains(expected), "{rule}: {found:?}");
    }
    let hours = "operations = [\"GET /users\"], hours = { days = [\"mon-fri\"] }";
    assert_eq!(faults(&console(hours)), Vec::<String>::new());
}

/// What only the console knows to be one must not be two to a rule.
#[test]
fn a_rule_cannot_miss_a_tenant_that_is_given_by_the_name_of_its_company() {
    let uid = "49dcc517-a32c-438e-b53d-ee0084dc7feb";
    let text = |companies: &str| {
        let rules =
            format!("{ALLOW}\ndeny = [{{ tenants = [{companies}], paths = [\"/api/v3/users\"] }}]");
        GOOD.replacen("[[tenants]]", "tenants = \"directory\"\n[[tenants]]", 1)
            .replace(
                "[mapping]",
                "[[tenants]]\nname = \"globex\"\nimpersonate = { company_name = \"Globex Ltd\" }\n[mapping]",
            )
            .replace(ALLOW, &rules)
    };
    for company in [format!("\"{uid}\""), "\"Globex Ltd\"".to_owned()] {
        let found = faults(&text(&company));
        assert!(found[0].contains("may be tenant \"globex\""), "{found:?}");
    }
    assert_eq!(
        faults(&text("\"globex\", \"Other Ltd\"")),
        Vec::<String>::new()
    );
    let by_uid = text(&format!("\"{uid}\"")).replace(
        "company_name = \"Globex Ltd\"",
        "company = \"49dcc517-a32c-438e-b53d-ee0084dc7fec\"",
    );
    assert_eq!(faults(&by_uid), Vec::<String>::new());
}
