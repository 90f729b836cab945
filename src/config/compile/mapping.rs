//! `[mapping]`

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::header::{self, HeaderName};

use super::consoles::name;
use super::reason::reasons;
use super::tenants::Tenants;
use crate::client::{API_KEY, Directory};
use crate::config::reader::{Item, Section};
use crate::policy::Reasons;
use crate::tenant::Mapping;
use crate::tenant::mapping::{
    Clash, Condition, Part, Pattern, Rule, Rules, Source, Test, VALUE_LIMIT, conflicts,
};
use crate::upstream::Fingerprint256;

/// The clients that rules name, to be looked for once the clients are known.
pub(super) type Scopes<'a> = Vec<(Item<'a>, String)>;

/// Reads the section.
pub(super) fn mapping<'a>(
    root: &mut Section<'a>,
    tenants: &Tenants,
) -> (Mapping, Scopes<'a>, Option<Reasons>) {
    let mut scopes = Scopes::new();
    let Some(mut section) = root.optional("mapping").and_then(|item| item.section()) else {
        return (Mapping::default(), scopes, None);
    };
    let tenant_header = section
        .optional("tenant_header")
        .and_then(|item| item.read_with(|text: String| own_header(&text)));
    let user_header = section
        .optional("user_header")
        .and_then(|item| item.read_with(|text: String| own_header(&text)));
    if let (Some(tenant), Some(user)) = (&tenant_header, &user_header)
        && letters(tenant) == letters(user)
    {
        section.fault("user_header", "names the tenant already: tenant_header");
    }
    let reasons = reasons(
        &mut section,
        [&tenant_header, &user_header].into_iter().flatten(),
    );
    let items = match section.optional("rules") {
        Some(item) => item.elements().unwrap_or_default(),
        None => Vec::new(),
    };
    let mut reader = Reader {
        tenants,
        scopes: &mut scopes,
        names: HashSet::new(),
        headers: HashMap::new(),
    };
    let of_reasons = reasons.as_ref().map(Reasons::header);
    let own = [tenant_header.as_ref(), user_header.as_ref(), of_reasons];
    for own in own.into_iter().flatten() {
        reader.headers.insert(letters(own), None);
    }
    let read = items.iter().enumerate().map(|(place, item)| {
        let rule = reader.rule(item, place)?;
        Some((item, rule))
    });
    let (items, rules): (Vec<_>, Vec<_>) = read.collect::<Vec<_>>().into_iter().flatten().unzip();
    refuse_conflicts(&items, &rules);
    section.finish();
    let mapping = Mapping {
        tenant_header,
        user_header,
        rules: Rules::new(rules),
    };
    (mapping, scopes, reasons)
}

/// Reports names of clients that there are not.
pub(super) fn check_scopes(scopes: &Scopes<'_>, clients: &Directory) {
    for (item, name) in scopes {
        if clients.named(name).is_none() {
            item.fault(format!("no client is called {name:?}"));
        }
    }
}

/// No value may fit two rules that name different tenants.
fn refuse_conflicts(items: &[&Item<'_>], rules: &[Rule]) {
    for conflict in conflicts(rules) {
        let (Some(item), Some(one)) = (items.get(conflict.other), rules.get(conflict.one)) else {
            continue;
        };
        let one = &one.name;
        item.fault(match conflict.clash {
            Clash::Both(values) => {
                let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
                let values = values.join(" with ");
                format!(
                    "{values} fits {one} too, and the two need not name one tenant: restrict one \
                     of them, or give them different clients"
                )
            }
            Clash::Unproven => format!(
                "it cannot be proven that no value fits {one} too, since the patterns are too \
                 large together: use exact values, narrower classes ([0-9] for \\d, [a-z] for \
                 \\w), no \\b and short repetitions"
            ),
        });
    }
}

/// What is known while rules are read.
struct Reader<'r, 'a> {
    tenants: &'r Tenants,
    scopes: &'r mut Scopes<'a>,
    names: HashSet<String>,
    /// The headers by their letters; `None` are those that have a key of their own.
    headers: HashMap<String, Option<HeaderName>>,
}

impl<'a> Reader<'_, 'a> {
    fn rule(&mut self, item: &Item<'a>, place: usize) -> Option<Rule> {
        let mut section = item.section()?;
        let called = section.optional("name");
        let called = called.map(|item| item.read_with(|text| self.called(text)));
        let clients = section.optional("clients").map(|item| self.clients(&item));
        let tenant = section.optional("tenant").map(|item| self.tenant(&item));
        let conditions = match section.optional("all") {
            Some(item) => self.all(&item),
            None => self.condition(&mut section).map(|one| vec![one]),
        };
        section.finish();
        let conditions = conditions?;
        let is_capture = |it: &&Condition| matches!(&it.test, Test::Fits(p) if p.captures());
        match (conditions.iter().filter(is_capture).count(), &tenant) {
            (1, None) | (0, Some(_)) => {}
            (0, None) => section.fault(
                "",
                "names no tenant: write tenant = \"…\", or a group (?<tenant>…) in a pattern",
            ),
            (_, Some(_)) => section.fault("tenant", "a pattern captures the tenant already"),
            (_, None) => section.fault("all", "only one pattern may capture the tenant"),
        }
        Some(Rule {
            name: match called {
                Some(name) => name?.into(),
                None => format!("mapping.rules[{place}]").into(),
            },
            clients: match clients {
                Some(clients) => Some(clients?),
                None => None,
            },
            conditions,
            tenant: match tenant {
                Some(tenant) => Some(tenant?),
                None => None,
            },
        })
    }

    fn called(&mut self, text: String) -> Result<String, String> {
        let name = name(text)?;
        if !self.names.insert(name.clone()) {
            return Err(format!("another rule is called {name:?} already"));
        }
        Ok(name)
    }

    fn clients(&mut self, item: &Item<'a>) -> Option<HashSet<Arc<str>>> {
        let mut clients = HashSet::new();
        for element in item.elements()? {
            let name = element.read::<String>()?;
            clients.insert(Arc::from(name.as_str()));
            self.scopes.push((element, name));
        }
        if clients.is_empty() {
            item.fault("an empty list is for nobody: leave it out for every client");
        }
        Some(clients)
    }

    fn tenant(&self, item: &Item<'_>) -> Option<Arc<str>> {
        item.read_with(|name: String| {
            match self.tenants.names.get(&name.to_lowercase()) {
                Some(own) if *own == name => Ok(Arc::from(name)),
                Some(own) => Err(format!("write the tenant's own name, {own:?}")),
                // Nobody knows before the console is asked.
                None if self.tenants.has_directory && !name.is_empty() => Ok(Arc::from(name)),
                None => Err(format!("no tenant is called {name:?}")),
            }
        })
    }

    fn all(&mut self, item: &Item<'a>) -> Option<Vec<Condition>> {
        let mut conditions: Vec<Condition> = Vec::new();
        for element in item.elements()? {
            let mut section = element.section()?;
            let condition = self.condition(&mut section);
            section.finish();
            let condition = condition?;
            if conditions.iter().any(|it| it.source == condition.source) {
                section.fault("", "another condition of this rule looks at the same");
                return None;
            }
            conditions.push(condition);
        }
        if conditions.is_empty() {
            item.fault("an empty list would always hold");
            return None;
        }
        Some(conditions)
    }

    /// Reads what a condition looks at, and what that must be.
    fn condition(&mut self, section: &mut Section<'a>) -> Option<Condition> {
        let header = section
            .optional("header")
            .map(|item| item.read_with(|text: String| self.header(&text)));
        let claim = section.optional("claim").map(|item| {
            item.read_with(|text: String| match text.as_str() {
                "" => Err("must not be empty"),
                claim => Ok(Source::Claim(claim.into())),
            })
        });
        let certificate = section
            .optional("certificate")
            .map(|item| item.read_with(|text: String| part(&text).map(Source::Certificate)));
        let mut sources = [header, claim, certificate].into_iter().flatten();
        let source = match (sources.next(), sources.next()) {
            (Some(source), None) => source,
            _ => {
                section.fault(
                    "",
                    "needs exactly one of header, claim and certificate, or all",
                );
                None
            }
        };
        let value = section.optional("value");
        let pattern = section.optional("pattern");
        let test = match (value, pattern) {
            (Some(item), None) => source.as_ref().and_then(|source| {
                item.read_with(|text: String| exact(source, text).map(Test::Exact))
            }),
            (None, Some(item)) => {
                item.read_with(|text: String| Pattern::parse(&text).map(Test::Fits))
            }
            _ => {
                section.fault("", "needs exactly one of value and pattern");
                None
            }
        };
        Some(Condition {
            source: source?,
            test: test?,
        })
    }

    fn header(&mut self, text: &str) -> Result<Source, String> {
        let name = header_name(text)?;
        if !Source::is_shared(&name) {
            own_header(text)?;
        }
        let count = self.headers.len();
        let known = self.headers.entry(letters(&name));
        match known.or_insert_with(|| Some(name.clone())) {
            None => Err(format!("{text} has a key of its own in [mapping]")),
            Some(other) if *other != name => {
                Err(format!("{text} and {other} are the same but for spelling"))
            }
            Some(_) if count > MOST_HEADERS => {
                Err(format!("rules look at {MOST_HEADERS} headers at most"))
            }
            Some(_) => Ok(Source::of_header(name)),
        }
    }
}

/// A value that can come as it is written.
fn exact(source: &Source, text: String) -> Result<Box<str>, String> {
    let value = match source {
        Source::Certificate(Part::Fingerprint) => {
            let digest = Fingerprint256::parse(&text);
            let digest = digest.ok_or("must be a SHA-256 digest, 64 hex digits")?;
            return Ok(format!("{digest:?}").into());
        }
        Source::Certificate(_) | Source::Claim(_) | Source::Header(_) | Source::Host => text,
    };
    let is_text = |c: char| !c.is_control();
    let never = if value.is_empty() || value.len() > VALUE_LIMIT {
        Some("has 1 to 1024 bytes")
    } else if !value.chars().all(is_text) || value.trim_matches([' ', '\t']) != value {
        Some("has no controls, and no blanks around it")
    } else if source.owned().is_some() && value.contains(',') {
        Some("has no comma: a list is refused")
    } else if *source == Source::Host && value != value.to_lowercase() {
        Some("of Host is in lower case")
    } else if *source == Source::Host && !value.ends_with(']') && value.contains(':') {
        Some("of Host is without its port")
    } else if *source == Source::Certificate(Part::SanDns) && value != value.to_lowercase() {
        Some("of san_dns is in lower case")
    } else {
        None
    };
    match never {
        Some(why) => Err(format!("can never come: a value {why}")),
        None => Ok(value.into()),
    }
}

fn part(text: &str) -> Result<Part, &'static str> {
    match text {
        "fingerprint" => Ok(Part::Fingerprint),
        "san_dns" => Ok(Part::SanDns),
        "san_uri" => Ok(Part::SanUri),
        "subject" => Ok(Part::Subject),
        _ => Err(r#"must be "san_dns", "san_uri", "subject" or "fingerprint""#),
    }
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not a header name"))
}

/// A header that the mapping may take from every request: not one that means something to HTTP, to
/// the console or to the gateway.
pub(super) fn own_header(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if TAKEN.iter().any(|other| letters(other) == letters(&name)) {
        return Err(format!(
            "{text} has another meaning and would be taken from every request"
        ));
    }
    Ok(name)
}

/// What is left of a name where spelling is disregarded.
pub(super) fn letters(name: &HeaderName) -> String {
    let letters = name.as_str().chars().filter(char::is_ascii_alphanumeric);
    letters.collect()
}

/// Each request's headers are compared with those of the rules.
const MOST_HEADERS: usize = 32;

static TAKEN: [HeaderName; 33] = [
    API_KEY,
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::FROM,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::REFERER,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("x-client-version"),
    HeaderName::from_static("x-request-id"),
];
