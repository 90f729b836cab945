//! What would have to change in rules.

use super::Case;
use crate::policy::{Denied, Effect, Finding, Road, Unmet};
use crate::request::CanonicalPath;

impl Case<'_> {
    /// Changes of rules that would let the request pass.
    pub(super) fn of_rules(&self, denied: &Denied) -> Vec<String> {
        match denied {
            Denied::Operation(Some(rule)) => {
                vec![format!(
                    "{rule} denies it, whatever allows it: make that rule narrower"
                )]
            }
            Denied::Operation(None) => vec![self.new_rule(None)],
            Denied::Road(road) => self.of_road(road),
            Denied::ReadOnly(rule) => self.of_read_only(rule),
            Denied::Unmet(nearest) => {
                let mut changes = self.of_unmet(nearest);
                let others = self.rules.iter().filter(|finding| {
                    finding.effect == Effect::Allow
                        && finding.unmet.len() == 1
                        && finding.covers_path()
                        && finding.rule != nearest.rule
                });
                let others = others.take(2).flat_map(|finding| self.of_unmet(finding));
                changes.extend(others.map(|change| format!("or {change}")));
                changes
            }
            _ => Vec::new(),
        }
    }

    fn of_unmet(&self, finding: &Finding) -> Vec<String> {
        let rule = &finding.rule;
        let method = &self.question.method;
        let unmet = finding.unmet.iter().map(|unmet| match unmet {
            Unmet::Hours(hours) => format!("ask while {rule} holds, {hours}, or change its hours"),
            Unmet::Methods(_) => {
                format!("add \"{method}\" to the methods (or operations) of {rule}")
            }
            Unmet::Path => format!("add the path to {rule}"),
            Unmet::Reading => format!("take read_only out of {rule}"),
            Unmet::Road(road) => match self.spelled(road) {
                Some(path) => format!("name the road in {rule}: add {path:?} to its paths"),
                None => NONE.to_owned(),
            },
            Unmet::Targets => format!("add the user to the targets of {rule}"),
            Unmet::Tenants => match self.tenant {
                Some(tenant) => format!("add {:?} to the tenants of {rule}", tenant.name),
                None => format!("add the tenant to the tenants of {rule}"),
            },
        });
        unmet.collect()
    }

    fn of_road(&self, road: &'static Road) -> Vec<String> {
        let by_wildcard = |finding: &&Finding| finding.unmet[..] == [Unmet::Road(road)];
        let why = format!(
            "the road {} is closed unless a rule names it: {}",
            road.road, road.why
        );
        let change = match self.rules.iter().find(by_wildcard) {
            Some(finding) => self.of_unmet(finding).concat(),
            None => self.new_rule(Some(road)),
        };
        vec![why, change]
    }

    fn of_read_only(&self, rule: &str) -> Vec<String> {
        let mut changes = vec!["send GET, HEAD or OPTIONS".to_owned()];
        changes.push(match self.tenant {
            Some(tenant) if tenant.access == crate::vspc::grant::Access::ReadOnly => {
                format!("take read_only out of the tenant {:?}", &*tenant.name)
            }
            _ => format!("log in without readOnly; {rule} would allow it"),
        });
        changes
    }

    fn new_rule(&self, road: Option<&'static Road>) -> String {
        let client = self.client.map_or("", |client| &client.name);
        let method = &self.question.method;
        let Some(path) = road.map_or_else(|| self.general(), |road| self.spelled(road)) else {
            return NONE.to_owned();
        };
        format!(
            "add {{ methods = [\"{method}\"], paths = [\"{path}\"] }} to clients.{client}.allow"
        )
    }

    /// The path as a rule would have it: with a wildcard for each id, but where a closed road is to
    /// be spelled out. None where no rule can.
    fn general(&self) -> Option<String> {
        let segments = self.segments();
        let spelled = self.to_be_spelled(&segments)?;
        let mut pattern = String::new();
        for (place, segment) in segments.iter().enumerate() {
            pattern.push('/');
            let is_id = uuid::Uuid::try_parse(segment).is_ok()
                || segment.bytes().all(|byte| byte.is_ascii_digit());
            pattern.push_str(if is_id && place >= spelled {
                "*"
            } else {
                segment
            });
        }
        Some(pattern)
    }

    /// How many segments of a path a rule must spell out; none where the path has fewer, so that no
    /// rule opens it.
    fn to_be_spelled(&self, segments: &[String]) -> Option<usize> {
        let count = match segments {
            [api, v3, ..] if api == "api" && v3 == "v3" => 0,
            [api, ..] if api == "api" => 2,
            _ => 1,
        };
        (segments.len() >= count).then_some(count)
    }

    /// A pattern that names a closed road; none where no rule can.
    fn spelled(&self, road: &'static Road) -> Option<String> {
        match road.road {
            "a path outside /api/v3" => {
                let segments = self.segments();
                let count = self.to_be_spelled(&segments)?;
                let first: Vec<_> = segments.into_iter().take(count).collect();
                Some(format!("/{}/**", first.join("/")))
            }
            written => Some(match written.split_once(' ') {
                Some((_, path)) => path.to_owned(),
                None => written.to_owned(),
            }),
        }
    }

    fn segments(&self) -> Vec<String> {
        let target = &self.question.target;
        let path = target.split_once('?').map_or(&**target, |(path, _)| path);
        let canonical = CanonicalPath::parse(path);
        let segments = canonical.iter().flat_map(CanonicalPath::segments);
        segments.map(str::to_owned).collect()
    }
}

/// What is said of a path that is too short to be spelled out.
const NONE: &str = "no rule can open it: it has no segment by which a rule could name it";
