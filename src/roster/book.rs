//! What every name stands for that directories tell. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::tenant::{Names, Tenant, Whom};
use crate::upstream::ConsoleId;
use crate::vspc::directory::Company;

/// The companies of all consoles whose companies are tenants.
///
/// A UID stands for its company, whatever others are called. A name or alias stands for the one
/// company that has it; for none where several do. A company that vanished keeps its names until
/// another has them, so that whoever asks for it is told what became of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The names and aliases of the file, which go before all others.
    reserved: HashSet<Box<str>>,
    listed: BTreeMap<ConsoleId, HashMap<Uuid, Listed>>,
    ambiguous: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Listed {
    name: Option<Arc<str>>,
    aliases: Vec<Arc<str>>,
    is_there: bool,
    configured: Configured,
    /// As whom it is known; none where the file has it.
    tenant: Option<Arc<Tenant>>,
}

/// Whether the file has a tenant for a company: what it says of it, e.g. that it is read-only,
/// must hold by whatever name it is called.
#[derive(Clone, Debug)]
enum Configured {
    Not,
    Once(Arc<Tenant>),
    Several,
}

/// What came of a reading.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// All names there are now, where they have changed.
    pub(super) names: Option<Names>,
    /// Companies whose name is another one.
    pub(super) renamed: Vec<Renamed>,
    /// Names that several companies have from now on.
    pub(super) ambiguous: Vec<Arc<str>>,
}

/// A company whose name is another one.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Renamed {
    pub(super) company: Uuid,
    pub(super) before: Option<Arc<str>>,
    pub(super) now: Option<Arc<str>>,
}

/// Whose a name is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Claim<'a> {
    One(&'a ConsoleId, Uuid),
    Several,
}

type Claims<'a> = HashMap<Arc<str>, Claim<'a>>;

impl Book {
    pub(super) fn new<'a>(reserved: impl Iterator<Item = &'a str>) -> Self {
        Self {
            reserved: reserved.map(Box::from).collect(),
            ..Self::default()
        }
    }

    /// Takes the companies of a console in; `configured` are the tenants of the file that stand
    /// for one of them.
    pub(super) fn turn(
        &mut self,
        console: &ConsoleId,
        companies: &HashMap<Uuid, Company>,
        configured: &HashMap<Uuid, Vec<Arc<Tenant>>>,
    ) -> Turned {
        let mut turned = Turned::default();
        if self.note(console, companies, configured, &mut turned.renamed) {
            let (names, ambiguous) = self.names();
            turned.names = Some(names);
            turned.ambiguous = ambiguous.difference(&self.ambiguous).cloned().collect();
            self.ambiguous = ambiguous;
        }
        turned
    }

    /// Goes on with the companies of a console, whose directory was read for the file before;
    /// `configured` are the tenants of the present file there. [`Self::settle`] comes after all.
    pub(super) fn take_over(
        &mut self,
        before: &Self,
        console: &ConsoleId,
        configured: &[Arc<Tenant>],
    ) {
        let Some(former) = before.listed.get(console) else {
            return;
        };
        let mut owned: HashMap<Uuid, Vec<Arc<Tenant>>> = HashMap::new();
        for tenant in configured {
            let company = match &tenant.whom {
                Whom::Company(uid) => Some(*uid),
                Whom::CompanyNamed(name) => only_one(former, name),
                Whom::Account | Whom::User(_) => None,
            };
            if let Some(company) = company {
                owned.entry(company).or_default().push(Arc::clone(tenant));
            }
        }
        let listed = former.iter().map(|(uid, listed)| {
            let listed = Listed {
                name: listed.name.clone(),
                aliases: listed.aliases.clone(),
                is_there: listed.is_there,
                configured: Configured::by(owned.get(uid)),
                tenant: listed.tenant.clone(),
            };
            (*uid, listed)
        });
        self.listed.insert(console.clone(), listed.collect());
    }

    /// All names there are after what was taken over.
    pub(super) fn settle(&mut self) -> Names {
        let (names, ambiguous) = self.names();
        self.ambiguous = ambiguous;
        names
    }

    /// The companies of a console that are tenants by themselves.
    pub(super) fn tenants(&self, console: &ConsoleId) -> impl Iterator<Item = &Arc<Tenant>> {
        let listed = self
            .listed
            .get(console)
            .into_iter()
            .flat_map(HashMap::values);
        listed.filter_map(|listed| listed.tenant.as_ref())
    }

    /// Names that several companies have.
    pub(super) fn ambiguous(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ambiguous.iter()
    }

    /// Tells whether anything is different from what is noted.
    fn note(
        &mut self,
        console: &ConsoleId,
        companies: &HashMap<Uuid, Company>,
        configured: &HashMap<Uuid, Vec<Arc<Tenant>>>,
        renamed: &mut Vec<Renamed>,
    ) -> bool {
        let mut is_new = !self.listed.contains_key(console);
        let listed = self.listed.entry(console.clone()).or_default();
        for (uid, listed) in listed.iter_mut() {
            if listed.is_there && !companies.contains_key(uid) {
                (listed.is_there, is_new) = (false, true);
            }
        }
        for company in companies.values() {
            let by = Configured::by(configured.get(&company.uid));
            let Some(known) = listed.get_mut(&company.uid) else {
                is_new = true;
                listed.insert(company.uid, Listed::new(company, by));
                continue;
            };
            if known.name != company.name {
                renamed.push(Renamed {
                    company: company.uid,
                    before: known.name.take(),
                    now: company.name.clone(),
                });
                is_new = true;
            }
            if !(known.is_there && known.aliases == company.aliases && known.configured.is(&by)) {
                is_new = true;
            }
            let tenant = known.tenant.take();
            *known = Listed::new(company, by);
            known.tenant = tenant;
        }
        is_new
    }

    /// Finds out what every name stands for, and which stand for nothing.
    fn names(&mut self) -> (Names, BTreeSet<Arc<str>>) {
        let (claims, ambiguous) = claims(&self.listed);
        let mut chosen: Vec<(ConsoleId, Uuid, Arc<str>)> = Vec::new();
        for (console, uid, listed) in entries(&self.listed) {
            let own = listed.name.as_ref().filter(|name| {
                claims.get(*name) == Some(&Claim::One(console, uid))
                    && !self.reserved.contains(&***name)
            });
            let name = own.map_or_else(|| Arc::from(uid.to_string()), Arc::clone);
            chosen.push((console.clone(), uid, name));
        }
        let claims: Vec<(Arc<str>, ConsoleId, Uuid)> = claims
            .into_iter()
            .filter_map(|(text, claim)| match claim {
                Claim::One(console, uid) => Some((text, console.clone(), uid)),
                Claim::Several => None,
            })
            .collect();
        for (console, uid, name) in chosen {
            let listed = self.listed.get_mut(&console);
            if let Some(listed) = listed.and_then(|listed| listed.get_mut(&uid)) {
                listed.call(&console, uid, name);
            }
        }
        let mut names = Names::with_capacity_and_hasher(claims.len(), RandomState::default());
        for (text, console, uid) in claims {
            let listed = self.listed.get(&console).and_then(|all| all.get(&uid));
            if let Some(tenant) = listed.and_then(Listed::stands_for) {
                names.insert(text, Arc::clone(tenant));
            }
        }
        (names, ambiguous)
    }
}

impl Listed {
    fn new(company: &Company, configured: Configured) -> Self {
        Self {
            name: company.name.clone(),
            aliases: company.aliases.clone(),
            is_there: true,
            configured,
            tenant: None,
        }
    }

    /// Makes it a tenant of this name, unless the file has it.
    fn call(&mut self, console: &ConsoleId, uid: Uuid, name: Arc<str>) {
        let before = self.tenant.take();
        if !matches!(self.configured, Configured::Not) {
            return;
        }
        self.tenant = Some(match before {
            Some(before) if before.name == name => before,
            before => {
                let found = Tenant::found(name, console.clone(), uid, before.as_deref());
                Arc::new(found)
            }
        });
    }

    fn stands_for(&self) -> Option<&Arc<Tenant>> {
        match &self.configured {
            Configured::Not => self.tenant.as_ref(),
            Configured::Once(tenant) => Some(tenant),
            Configured::Several => None,
        }
    }
}

impl Configured {
    fn by(tenants: Option<&Vec<Arc<Tenant>>>) -> Self {
        match tenants.map(Vec::as_slice) {
            None | Some([]) => Self::Not,
            Some([tenant]) => Self::Once(Arc::clone(tenant)),
            Some(_) => Self::Several,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Not, Self::Not) | (Self::Several, Self::Several) => true,
            (Self::Once(one), Self::Once(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// The company of a name, if one alone has it.
fn only_one(listed: &HashMap<Uuid, Listed>, name: &str) -> Option<Uuid> {
    let has_it = |listed: &Listed| listed.is_there && listed.name.as_deref() == Some(name);
    let mut having = listed.iter().filter(|(_, listed)| has_it(listed));
    match (having.next(), having.next()) {
        (Some((uid, _)), None) => Some(*uid),
        _ => None,
    }
}

type Listing = BTreeMap<ConsoleId, HashMap<Uuid, Listed>>;

fn entries(listed: &Listing) -> impl Iterator<Item = (&ConsoleId, Uuid, &Listed)> {
    let of = |(console, all)| {
        let all: &HashMap<Uuid, Listed> = all;
        all.iter().map(move |(uid, listed)| (console, *uid, listed))
    };
    listed.iter().flat_map(of)
}

/// Whose each name is, and which are of several companies that are there.
fn claims(listed: &Listing) -> (Claims<'_>, BTreeSet<Arc<str>>) {
    let mut claims = Claims::new();
    for (console, uid, _) in entries(listed) {
        let claim = Claim::One(console, uid);
        let text = Arc::from(uid.to_string());
        // Two consoles have it where one is a copy of the other.
        claims
            .entry(text)
            .and_modify(|claim| *claim = Claim::Several)
            .or_insert(claim);
    }
    let uids = claims.clone();
    let mut ambiguous = BTreeSet::new();
    for are_there in [true, false] {
        let before = claims.clone();
        for (console, uid, listed) in entries(listed).filter(|(.., l)| l.is_there == are_there) {
            let own = Claim::One(console, uid);
            for text in listed.name.iter().chain(&listed.aliases) {
                // Those that are gone take what is left.
                let taken = if are_there { &uids } else { &before };
                if let Some(other) = taken.get(text) {
                    if *other != own && are_there {
                        ambiguous.insert(Arc::clone(text));
                    }
                    continue;
                }
                let claim = claims.entry(Arc::clone(text)).or_insert(own);
                if *claim != own {
                    *claim = Claim::Several;
                    if are_there {
                        ambiguous.insert(Arc::clone(text));
                    }
                }
            }
        }
    }
    (claims, ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vspc::grant::Access;

    fn company(number: u128, name: &str, aliases: &[&str]) -> Company {
        Company {
            uid: Uuid::from_u128(number),
            name: Some(Arc::from(name)),
            aliases: aliases.iter().map(|alias| Arc::from(*alias)).collect(),
            is_active: true,
            has_rest_access: None,
        }
    }

    fn uid(number: u128) -> String {
        Uuid::from_u128(number).to_string()
    }

    fn turn(book: &mut Book, console: &str, companies: &[Company]) -> Turned {
        let companies = companies
            .iter()
            .map(|company| (company.uid, company.clone()));
        book.turn(
            &ConsoleId::new(console),
            &companies.collect(),
            &HashMap::new(),
        )
    }

    /// By what id a name is known.
    fn id(names: &Names, name: &str) -> Option<String> {
        names.get(name).map(|tenant| tenant.id.to_string())
    }

    fn called(names: &Names, name: &str) -> String {
        names.get(name).unwrap().name.to_string()
    }

    #[test]
    fn a_company_is_known_by_name_alias_and_uid() {
        let mut book = Book::default();
        let turned = turn(
            &mut book,
            "main",
            &[company(1, "Böhm & Co", &["boehm", "4711"])],
        );
        let names = turned.names.unwrap();
        for name in ["Böhm & Co", "boehm", "4711", &uid(1)] {
            assert_eq!(id(&names, name), Some(uid(1)), "{name}");
        }
        assert_eq!(id(&names, "böhm & co"), None);
        assert!(turned.renamed.is_empty() && turned.ambiguous.is_empty());
        // Nothing new is nothing to publish.
        let same = turn(
            &mut book,
            "main",
            &[company(1, "Böhm & Co", &["boehm", "4711"])],
        );
        assert!(same.names.is_none());
    }

    #[test]
    fn a_name_of_two_companies_stands_for_neither_and_says_so_once() {
        let mut book = Book::default();
        let two = [company(1, "Acme", &["a"]), company(2, "Acme", &["b"])];
        let turned = turn(&mut book, "main", &two);
        assert_eq!(turned.ambiguous, [Arc::from("Acme")]);
        let names = turned.names.unwrap();
        assert_eq!(id(&names, "Acme"), None);
        for (name, of) in [("a", 1), ("b", 2), (&uid(1), 1), (&uid(2), 2)] {
            assert_eq!(id(&names, name), Some(uid(of)), "{name}");
            // Else a client of one "Acme" might act for both.
            assert_eq!(called(&names, name), uid(of));
        }
        let third = [two[0].clone(), two[1].clone(), company(3, "New", &[])];
        let turned = turn(&mut book, "main", &third);
        assert!(turned.ambiguous.is_empty() && turned.names.is_some());
        let names = turn(&mut book, "main", &third[1..]).names.unwrap();
        assert_eq!(id(&names, "Acme"), Some(uid(2)));
        assert_eq!(called(&names, "b"), "Acme");
    }

    #[test]
    fn two_consoles_share_no_name() {
        let mut book = Book::default();
        let first = turn(&mut book, "one", &[company(1, "Acme", &[])]);
        assert!(id(&first.names.unwrap(), "Acme").is_some());
        let second = turn(
            &mut book,
            "two",
            &[company(2, "Acme", &[]), company(3, "acme", &[])],
        );
        let names = second.names.unwrap();
        assert_eq!(id(&names, "Acme"), None);
        assert_eq!(id(&names, "acme"), Some(uid(3)));
        // A restored copy of a console has the same UIDs.
        let copied = turn(&mut book, "three", &[company(1, "Copy", &[])]);
        let names = copied.names.unwrap();
        assert_eq!(id(&names, &uid(1)), None);
        assert!(id(&names, "Copy").is_some());
    }

    #[test]
    fn nobody_takes_anothers_uid_as_a_name() {
        let mut book = Book::default();
        let two = [company(1, "Acme", &[]), company(2, &uid(1), &[])];
        let turned = turn(&mut book, "main", &two);
        let names = turned.names.unwrap();
        assert_eq!(id(&names, &uid(1)), Some(uid(1)));
        assert_eq!(called(&names, &uid(2)), uid(2));
        assert_eq!(turned.ambiguous.len(), 1);
    }

    #[test]
    fn a_name_of_the_file_is_not_a_companys() {
        let mut book = Book::new(["acme"].into_iter());
        let names = turn(&mut book, "main", &[company(1, "acme", &["a"])])
            .names
            .unwrap();
        assert_eq!(called(&names, "a"), uid(1));
    }

    #[test]
    fn what_the_file_says_of_a_company_holds_by_every_name() {
        let tenant = |name: &str| {
            let whom = Whom::Company(Uuid::from_u128(1));
            let main = ConsoleId::new("main");
            Arc::new(Tenant::configured(name, main, Access::ReadOnly, whom))
        };
        let companies = HashMap::from([(Uuid::from_u128(1), company(1, "Acme", &["a"]))]);
        let mut book = Book::new(["viewed"].into_iter());
        let main = ConsoleId::new("main");
        let mut turn = |tenants: &[Arc<Tenant>]| {
            let configured = HashMap::from([(Uuid::from_u128(1), tenants.to_vec())]);
            let names = book.turn(&main, &companies, &configured).names.unwrap();
            (names, book.tenants(&main).count())
        };
        let (names, by_themselves) = turn(&[tenant("viewed")]);
        for name in ["Acme", "a", &uid(1)] {
            assert_eq!(called(&names, name), "viewed");
        }
        assert_eq!(by_themselves, 0);
        let (names, _) = turn(&[tenant("one"), tenant("two")]);
        assert!(names.is_empty());
        let (names, by_themselves) = turn(&[]);
        assert_eq!(called(&names, "Acme"), "Acme");
        assert_eq!(by_themselves, 1);
    }

    #[test]
    fn a_renamed_company_is_known_by_its_new_name_and_keeps_its_target() {
        let mut book = Book::default();
        let main = ConsoleId::new("main");
        let before = turn(&mut book, "main", &[company(1, "Acme", &[])])
            .names
            .unwrap();
        let user = crate::vspc::grant::Subject(Uuid::from_u128(7));
        before.get("Acme").unwrap().aim(Ok(user));
        let turned = turn(&mut book, "main", &[company(1, "Acme GmbH", &[])]);
        let names = turned.names.unwrap();
        assert_eq!(id(&names, "Acme"), None);
        assert_eq!(id(&names, "Acme GmbH"), Some(uid(1)));
        assert_eq!(names.get("Acme GmbH").unwrap().user(), Some(user));
        assert_eq!(turned.renamed.len(), 1);
        assert_eq!(turned.renamed[0].before.as_deref(), Some("Acme"));
        assert_eq!(book.tenants(&main).count(), 1);
    }

    #[test]
    fn a_vanished_company_keeps_its_names_until_another_has_them() {
        let mut book = Book::default();
        turn(&mut book, "main", &[company(1, "Acme", &["a"])]);
        let gone = turn(&mut book, "main", &[]).names.unwrap();
        assert_eq!(id(&gone, "Acme"), Some(uid(1)));
        assert!(turn(&mut book, "main", &[]).names.is_none());
        let turned = turn(&mut book, "main", &[company(2, "Acme", &[])]);
        assert!(turned.ambiguous.is_empty());
        let names = turned.names.unwrap();
        assert_eq!(id(&names, "Acme"), Some(uid(2)));
        assert_eq!(id(&names, "a"), Some(uid(1)));
        assert_eq!(called(&names, "a"), uid(1));
        let back = turn(&mut book, "main", &[company(1, "Acme", &["a"])])
            .names
            .unwrap();
        assert_eq!(id(&back, "Acme"), Some(uid(1)));
    }
}
