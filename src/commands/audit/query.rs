//! `vspc-gateway audit query`.

use std::io::{self, Write as _};
use std::path::Path;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use vspc_gateway::audit::query::{
    self, Bound, Filter, Moment, Network, Order, Pattern, Query, Reach, Scan, Statuses, Step, index,
};
use vspc_gateway::audit::read::POLL;
use vspc_gateway::audit::{Action, Kind};
use vspc_gateway::clock::Timestamp;

use super::place::Place;
use super::{Printer, READ, RecordFormat, Stop};
use crate::commands::bar::Bar;
use crate::{BAD_USAGE, FAILED, Failure};

/// What holds for the values of many options.
pub(super) const VALUES: &str = "\
An option that is given several times takes the records that one of its values fits. In names, ids and other texts, \
`*` stands for any text, and upper and lower case are the same.";

/// The options of the query.
#[derive(Args)]
#[command(next_help_heading = "Which records")]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

/// Which records are meant.
#[derive(Args)]
#[command(next_help_heading = "Which records")]
pub(super) struct Which {
    /// From then on: a time (2026-03-04T05:06:07Z), a date (midnight UTC), or how long ago (30m, 2h, 7d).
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before then.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// From this number on.
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
    /// Up to this number, itself included.
    #[arg(long, value_name = "SEQ")]
    to_seq: Option<u64>,

    /// Who called.
    #[arg(long, value_name = "NAME")]
    client: Vec<Pattern>,
    /// By which credential, e.g. `api_key:59bc8e07` or `token:*`.
    #[arg(long, value_name = "LABEL")]
    credential: Vec<Pattern>,
    /// By a token of which subject of an identity provider, e.g. `entra|5c0e` or `entra|*`.
    #[arg(long, value_name = "ISSUER|SUBJECT")]
    principal: Vec<Pattern>,
    /// From where: an address, or a network such as 10.1.0.0/16.
    #[arg(long, value_name = "ADDRESS")]
    source: Vec<Network>,
    /// By which grant of the gateway's `/token`.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<Pattern>,
    /// By which login at the gateway: its calls have the same session.
    #[arg(long, value_name = "ID")]
    session: Vec<Pattern>,
    /// By which token of the console: its calls, and what obtained it, have the same fingerprint.
    #[arg(long, value_name = "FINGERPRINT")]
    lease: Vec<Pattern>,
    /// By which operator, e.g. `ann@host` or `ann@*`.
    #[arg(long, value_name = "NAME")]
    operator: Vec<Pattern>,
    /// For whom.
    #[arg(long, value_name = "NAME")]
    tenant: Vec<Pattern>,
    /// At which console.
    #[arg(long, value_name = "NAME")]
    console: Vec<Pattern>,
    /// As which user of the console: the uid or the name.
    #[arg(long, value_name = "USER")]
    target: Vec<Pattern>,
    /// The console's user name of a login that was passed through.
    #[arg(long, value_name = "NAME")]
    user: Vec<Pattern>,

    /// What: `*logins*`, `GET /users/me`, `process.started` …
    #[arg(long, value_name = "NAME")]
    operation: Vec<Pattern>,
    /// With which method.
    #[arg(long, value_name = "METHOD")]
    method: Vec<Pattern>,
    /// On which path; here `*` goes over slashes.
    #[arg(long, value_name = "PATH")]
    path: Vec<Pattern>,
    /// What was done to an identity.
    #[arg(long, value_name = "ACTION", value_parser = one_of(Action::ALL.map(Action::as_str)))]
    action: Vec<Pattern>,
    /// Whose identity (a user's uid), or its number.
    #[arg(long, value_name = "ID")]
    subject: Vec<Pattern>,

    /// What the record is about.
    #[arg(long, value_name = "KIND", value_parser = one_of(Kind::ALL.map(Kind::as_str)))]
    kind: Vec<Pattern>,
    /// How it ended: `ok`, `aborted`, a refusal's code …
    #[arg(long, value_name = "CODE")]
    code: Vec<Pattern>,
    /// Only what the gateway refused.
    #[arg(long)]
    refused: bool,
    /// What the caller got: 403, 4xx or 400-499.
    #[arg(long, value_name = "STATUS")]
    status: Vec<Statuses>,
    /// By which rule it was allowed or denied, e.g. `clients.zabbix.*`.
    #[arg(long, value_name = "RULE")]
    rule: Vec<Pattern>,
    /// The request, by the id that its caller got.
    #[arg(long, value_name = "ID")]
    request_id: Vec<Pattern>,
    /// What stands anywhere in the record's values, e.g. a part of a path, a name or an id.
    #[arg(long, value_name = "TEXT", value_parser = Pattern::within)]
    text: Vec<Pattern>,
}

#[derive(Args)]
#[command(next_help_heading = "How")]
struct Output {
    /// End after so many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u64>,
    /// Begin with the newest.
    #[arg(long, visible_alias = "reverse")]
    newest_first: bool,
    /// Print only how many there are.
    #[arg(long, conflicts_with = "format")]
    count: bool,
    /// Go on with new records as they are written.
    #[arg(long, short, conflicts_with_all = ["newest_first", "count", "until", "to_seq"])]
    follow: bool,
    /// As what; by default a table on a terminal, JSON lines elsewhere.
    #[arg(long, value_enum)]
    format: Option<RecordFormat>,
    /// Exit with 1 if lines cannot be read or records are missing.
    #[arg(long)]
    strict: bool,
    /// Read all files whole: also those that began more than a day after --until or ended as long
    /// before --since, and without their indexes, which no signature covers.
    #[arg(long)]
    all_files: bool,
}

fn one_of<const N: usize>(names: [&'static str; N]) -> impl TypedValueParser<Value = Pattern> {
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Pattern>())
}

impl Arguments {
    /// What is asked, if it is `now`.
    fn compile(self, now: Timestamp) -> Result<(Query, Output), Failure> {
        Ok((self.output.of(self.which.compile(now)?), self.output))
    }
}

impl Which {
    /// What is meant, if it is `now`.
    pub(super) fn compile(self, now: Timestamp) -> Result<Filter, Failure> {
        let resolve = |moment: Option<Moment>| moment.map(|moment| moment.resolve(now));
        let (since, until) = (resolve(self.since), resolve(self.until));
        if since
            .zip(until)
            .is_some_and(|(since, until)| since >= until)
        {
            let message = "--until must be later than --since: a record is before the one and not before the other";
            return Err(Failure(message.to_owned(), BAD_USAGE));
        }
        if self
            .from_seq
            .zip(self.to_seq)
            .is_some_and(|(from, to)| from > to)
        {
            let message = "--to-seq must not be below --from-seq";
            return Err(Failure(message.to_owned(), BAD_USAGE));
        }
        Ok(Filter {
            since: since.map(Bound::from),
            until: until.map(Bound::from),
            from_seq: self.from_seq,
            to_seq: self.to_seq,
            client: self.client,
            tenant: self.tenant,
            console: self.console,
            target: self.target,
            user: self.user,
            operation: self.operation,
            method: self.method,
            path: self.path,
            code: self.code,
            refused: self.refused,
            status: self.status,
            kind: self.kind,
            request_id: self.request_id,
            session: self.session,
            lease: self.lease,
            operator: self.operator,
            source: self.source,
            credential: self.credential,
            principal: self.principal,
            grant: self.grant,
            action: self.action,
            subject: self.subject,
            rule: self.rule,
            text: self.text,
        })
    }
}

impl Output {
    fn of(&self, filter: Filter) -> Query {
        Query {
            filter,
            order: if self.newest_first {
                Order::NewestFirst
            } else {
                Order::OldestFirst
            },
            limit: self.limit,
            reach: if self.all_files {
                Reach::AllFiles
            } else {
                Reach::Usual
            },
            counts: self.count,
        }
    }
}

/// Runs the query.
pub(super) fn run(arguments: Arguments) -> Result<(), Stop> {
    let log = arguments.place.find()?;
    let settings = &log.settings;
    let (mut query, output) = arguments.compile(settings.clock.now())?;
    let own = log.reading(READ);
    // What is asked is what was there before it was asked.
    if let Some(before) = own.and_then(|own| own.checked_sub(1))
        && !output.follow
    {
        let to = query.filter.to_seq.unwrap_or(u64::MAX);
        query.filter.to_seq = Some(to.min(before));
    }
    if output.limit.is_none() && log.is_ours {
        index_files(&settings.directory, &query)?;
    }
    let mut scan = Scan::new(&settings.directory, query).map_err(Failure::from)?;
    if output.count {
        read(&mut scan, None)?;
        writeln!(io::stdout(), "{}", scan.found())?;
        return Ok(warn(&scan, output.strict)?);
    }
    let mut printer = Printer::new(output.format)?;
    read(&mut scan, Some(&mut printer))?;
    warn(&scan, output.strict)?;
    if output.follow {
        follow(scan, output.limit, &mut printer)?;
    }
    Ok(())
}

/// Indexes the finished files that the query reads, as the gateway does while it runs. Where that may
/// not be, all of them is read.
fn index_files(directory: &Path, query: &Query) -> Result<(), Failure> {
    let missing = query::unindexed(directory, query)?;
    let total = missing.iter().map(|(.., bytes)| bytes).sum();
    let mut bar = Bar::new();
    let mut before = 0;
    for (first, end, bytes) in missing {
        let mut tell = |done| {
            bar.tell((before + done, total));
            false
        };
        if index::build(directory, first, end, &mut tell).is_err() {
            break;
        }
        before += bytes;
    }
    bar.clear();
    Ok(())
}

/// Comes to the end of the scan, and prints what it finds.
fn read(scan: &mut Scan, mut printer: Option<&mut Printer>) -> Result<(), Stop> {
    let mut bar = Bar::new();
    loop {
        match (scan.step().map_err(Failure::from)?, &mut printer) {
            (Step::End, _) => break,
            (Step::Found(found), Some(printer)) => {
                bar.step_aside();
                printer.print(found.seq, found.json)?;
            }
            (Step::Found(_), None) => {}
            (Step::Working, printer) => {
                // What was found is shown though more of it may take long.
                if let Some(printer) = printer {
                    printer.flush()?;
                }
                bar.tell(scan.progress());
            }
        }
    }
    bar.clear();
    Ok(printer.map_or(Ok(()), Printer::flush)?)
}

pub(super) fn warn(scan: &Scan, is_strict: bool) -> Result<(), Failure> {
    let damage = scan.damage();
    for fault in &damage {
        // Nothing is left to be told if stderr is gone.
        drop(writeln!(io::stderr(), "vspc-gateway: warning: {fault}"));
    }
    if is_strict && !damage.is_empty() {
        let message = "the log is damaged, see the warnings above";
        return Err(Failure(message.to_owned(), FAILED));
    }
    Ok(())
}

/// Prints what comes after the scan, until there is as much as was asked for.
fn follow(scan: Scan, limit: Option<u64>, printer: &mut Printer) -> Result<(), Stop> {
    let mut left = limit.map(|limit| limit.saturating_sub(scan.found()));
    let (mut follow, filter) = scan.follow();
    while left != Some(0) {
        let lines = follow.poll().map_err(Failure::from)?;
        for line in lines.iter().filter(|line| filter.takes(line)) {
            if left == Some(0) {
                break;
            }
            left = left.map(|left| left - 1);
            printer.print(line.seq, &line.json)?;
        }
        printer.flush()?;
        if lines.is_empty() {
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}
