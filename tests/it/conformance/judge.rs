//! What crossed on both wires and in the log, held against what had to.

use serde_json::Value;

use super::caller::{Answer, End, Received};
use super::case::{BOTH, CANARY, Case, Expect, Gets, KEY, POISON, Seen, Step};
use super::purity::{Met, demand, is_as_sent, is_clean, is_pure};
use super::upstream::{Reached, Script, told};
use super::wire::{holds, shown};

/// How a case ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Best,
    /// Not as promised, but everybody has the same single reading of it, or none.
    Repaired(String),
    /// Two readings, a request lost or made up, a credential not ours, or nothing for ever.
    Bad(String),
}

/// All that is known of a case when it is over.
pub(super) struct Crossed<'a> {
    pub(super) case: &'a Case,
    pub(super) marker: &'a str,
    pub(super) received: &'a Received,
    pub(super) reached: Vec<Reached>,
    pub(super) records: &'a [Value],
    pub(super) console: String,
}

impl Crossed<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        if let Err(impure) = self
            .reached
            .iter()
            .try_for_each(|request| is_pure(request, self.case.acts_as, &self.console))
        {
            return Verdict::Bad(impure);
        }
        match self.meets(&self.case.expect) {
            Ok(()) => Verdict::Best,
            Err(why) if self.is_safe() => Verdict::Repaired(why),
            Err(why) => Verdict::Bad(why),
        }
    }

    /// Whether what came of it, although not as promised, has one reading.
    fn is_safe(&self) -> bool {
        let received = self.received;
        let one = |request: &Reached| request.complete && !request.target.ends_with("/follower");
        let mains = self.reached.iter().filter(|request| one(request)).count();
        let told =
            received.doubt.is_none() && (received.end != End::Open || !received.answers.is_empty());
        let refused = received
            .answers
            .first()
            .is_none_or(|answer| (400..500).contains(&answer.status));
        match self.case.expect {
            Expect::Passed(..) | Expect::Torn | Expect::Flooded(_) => false,
            Expect::Fault(_) => told && !holds(&received.raw, POISON.as_bytes()),
            _ => told && (mains == 1 || mains == 0 && refused) && !received.hung,
        }
    }

    fn meets(&self, expect: &Expect) -> Met {
        demand(!self.received.hung, || "a wait was in vain".to_owned())?;
        match expect {
            Expect::Refused(allowed) => self.is_refused(allowed),
            Expect::Answered(allowed) => self.is_answered(allowed),
            Expect::Dropped => self.is_dropped(),
            Expect::Cut(allowed) => self.is_cut(allowed),
            Expect::Passed(status, seen) => self.has_passed(*status, seen),
            Expect::Fault(allowed) => self.is_fault(allowed),
            Expect::Torn => self.is_torn(),
            Expect::Shut => self.is_shut(),
            Expect::Flooded(most) => self.is_flooded(*most),
            Expect::Either(several) => {
                let met = several.iter().map(|one| self.meets(one));
                let faults: Vec<String> = met.filter_map(Result::err).collect();
                demand(faults.len() < several.len(), || faults.join("; or "))
            }
        }
    }

    fn is_refused(&self, allowed: &[(u16, &str)]) -> Met {
        let answer = self.refusal(allowed)?;
        demand(self.reached.is_empty(), || {
            "it reached the console".to_owned()
        })?;
        demand(self.received.answers.len() == 1, || {
            "more than one answer".to_owned()
        })?;
        self.has_ended()?;
        self.is_recorded(answer, &answer.code())
    }

    fn is_answered(&self, allowed: &[(u16, &str)]) -> Met {
        let answer = self.refusal(allowed)?;
        let follower =
            |request: &Reached| request.complete && request.target.ends_with("/follower");
        demand(self.reached.iter().all(follower), || {
            "it reached the console".to_owned()
        })?;
        self.got(&self.case.gets)?;
        let rest = &self.received.answers[1..];
        demand(rest.len() == self.reached.len() && rest.len() < 2, || {
            "answers and requests do not tally".to_owned()
        })?;
        demand(rest.iter().all(|answer| answer.status == 200), || {
            "the next one failed".to_owned()
        })?;
        self.has_ended()?;
        self.is_recorded(answer, &answer.code())
    }

    /// The gateway's own answer, which tells nothing that the caller said.
    fn refusal(&self, allowed: &[(u16, &str)]) -> Result<&Answer, String> {
        let answer = self.received.answers.first();
        let answer = answer.ok_or("no answer")?;
        let code = answer.code();
        let fits = |(status, named): &(u16, &str)| *status == answer.status && *named == code;
        demand(allowed.iter().any(fits), || {
            format!("{} {code:?} instead of {allowed:?}", answer.status)
        })?;
        demand(answer.complete, || "an answer that breaks off".to_owned())?;
        demand(self.received.doubt.is_none(), || {
            format!("{:?}", self.received.doubt)
        })?;
        demand(answer.request_id().is_some(), || "no request id".to_owned())?;
        self.echoes_nothing()?;
        Ok(answer)
    }

    fn echoes_nothing(&self) -> Met {
        let first = self.received.raw.as_slice();
        for echo in [CANARY, KEY, BOTH, POISON] {
            demand(!holds(first, echo.as_bytes()), || {
                format!("the answer echoes {echo:?}")
            })?;
        }
        Ok(())
    }

    fn has_ended(&self) -> Met {
        demand(self.received.end != End::Open, || {
            "the connection stays open".to_owned()
        })
    }

    fn is_dropped(&self) -> Met {
        demand(self.reached.is_empty(), || {
            "it reached the console".to_owned()
        })?;
        let answers = &self.received.answers;
        let refused = answers
            .iter()
            .all(|answer| (400..500).contains(&answer.status));
        demand(answers.len() < 2 && refused, || {
            format!("answers {answers:?}")
        })?;
        // Whoever begins as HTTP/2 does is answered in its frames.
        let in_frames = self.received.raw.get(3) == Some(&SETTINGS);
        demand(self.received.doubt.is_none() || in_frames, || {
            format!("{:?}", self.received.doubt)
        })?;
        for step in &self.case.steps {
            if let Step::Send(sent) | Step::Trickle(sent) = step
                && let Some(start) = sent.get(..12)
            {
                demand(!holds(&self.received.raw, start), || "an echo".to_owned())?;
            }
        }
        self.has_ended()
    }

    fn is_cut(&self, allowed: &[(u16, &str)]) -> Met {
        let reached = &self.reached;
        demand(reached.len() < 2, || "more than one request".to_owned())?;
        let half = reached
            .iter()
            .all(|request| !request.complete && request.gone);
        demand(half, || {
            "a whole request, or one that is kept waiting".to_owned()
        })?;
        let Some(answer) = self.received.answers.first() else {
            if !self
                .case
                .steps
                .iter()
                .any(|step| matches!(step, Step::Reset))
            {
                self.has_ended()?;
            }
            let codes = allowed.iter().map(|(_, code)| *code).chain(["aborted"]);
            return self.is_on_record(&codes.collect::<Vec<_>>());
        };
        self.refusal(allowed)?;
        demand(self.received.answers.len() == 1, || {
            "more than one answer".to_owned()
        })?;
        self.has_ended()?;
        // Who has ended its side of the connection counts as gone, even if it listens still.
        self.is_recorded(answer, &answer.code())
            .or_else(|_| self.is_on_record(&["aborted"]))
    }

    fn has_passed(&self, status: u16, expected: &[Seen]) -> Met {
        let (reached, answers) = (&self.reached, &self.received.answers);
        demand(reached.len() == expected.len(), || {
            format!("{} requests", reached.len())
        })?;
        for (request, seen) in reached.iter().zip(expected) {
            is_as_sent(request, seen)?;
        }
        demand(answers.len() == expected.len(), || {
            format!("{} answers", answers.len())
        })?;
        demand(self.received.doubt.is_none(), || {
            format!("{:?}", self.received.doubt)
        })?;
        for (place, (answer, seen)) in answers.iter().zip(expected).enumerate() {
            let follower = seen.target.ends_with("/follower");
            let status = if follower { 200 } else { status };
            demand(answer.status == status && answer.complete, || {
                format!("answer {place} is {} {:?}", answer.status, answer.code())
            })?;
            let served = matches!(self.case.script, Script::Ok) || follower;
            let body = if seen.method == "HEAD" {
                String::new()
            } else {
                told(&seen.target)
            };
            demand(!served || answer.body == body.as_bytes(), || {
                format!("answer {place} says {}", shown(&answer.body))
            })?;
            self.is_recorded(answer, "ok")?;
        }
        self.has_ended()?;
        self.got(&self.case.gets)
    }

    fn got(&self, gets: &Gets) -> Met {
        let Some(answer) = self.received.answers.first() else {
            return Ok(());
        };
        for (name, value) in &gets.has {
            demand(answer.head.all(name) == [value.as_slice()], || {
                format!("the caller gets {name}: {:?}", answer.head.text(name))
            })?;
        }
        for name in &gets.lacks {
            demand(answer.head.all(name).is_empty(), || {
                format!("the caller gets {name}")
            })?;
        }
        if let Some(body) = &gets.body {
            demand(answer.body == *body, || {
                format!("the caller gets {}", shown(&answer.body))
            })?;
        }
        if let Some(interim) = gets.interim {
            let got = self.received.interim;
            demand(got == interim, || format!("{got} interim answers"))?;
        }
        if let Some(trailers) = gets.trailers {
            demand(answer.trailers.is_empty() != trailers, || {
                format!("trailers {:?}", answer.trailers)
            })?;
        }
        Ok(())
    }

    fn is_fault(&self, allowed: &[(u16, &str)]) -> Met {
        let answer = self.refusal(allowed)?;
        let (followers, own): (Vec<_>, Vec<_>) = self
            .reached
            .iter()
            .partition(|request| request.target.ends_with("/follower"));
        let most = if own.iter().all(|request| request.method == "GET") {
            2
        } else {
            1
        };
        demand((1..=most).contains(&own.len()), || {
            format!("{} requests", own.len())
        })?;
        let rest = &self.received.answers[1..];
        demand(rest.len() == followers.len() && rest.len() < 2, || {
            "answers and requests do not tally".to_owned()
        })?;
        demand(rest.iter().all(|answer| answer.status == 200), || {
            "the next one failed".to_owned()
        })?;
        self.has_ended()?;
        self.is_recorded(answer, &answer.code())
    }

    fn is_torn(&self) -> Met {
        const FAULT: (u16, &str) = (502, "upstream_invalid");
        let answers = &self.received.answers;
        if answers.first().is_some_and(|answer| answer.status == 502) {
            return self.is_fault(&[FAULT]);
        }
        demand(self.reached.len() == 1, || {
            format!("{} requests", self.reached.len())
        })?;
        let whole = answers.iter().filter(|answer| answer.complete).count();
        demand(whole == 0, || "an answer that looks whole".to_owned())?;
        demand(!holds(&self.received.raw, POISON.as_bytes()), || {
            "poison".to_owned()
        })?;
        self.has_ended()?;
        self.is_on_record(&["upstream_cut", FAULT.1])
    }

    fn is_shut(&self) -> Met {
        const REFUSALS: [&str; 8] = [
            "ambiguous_path",
            "bad_request",
            "bad_target",
            "body_too_large",
            "head_too_large",
            "method_refused",
            "wrong_host",
            // A head that is too large is answered before the gateway sees it.
            "",
        ];
        let received = self.received;
        let half = |request: &Reached| !request.complete && request.gone;
        demand(self.reached.iter().all(half), || {
            "a whole request, or one that is kept waiting".to_owned()
        })?;
        let answers = &received.answers;
        let is_refusal = |answer: &Answer| {
            (400..500).contains(&answer.status) && REFUSALS.contains(&answer.code().as_str())
        };
        demand(answers.iter().all(is_refusal), || {
            format!("answers {answers:?}")
        })?;
        let said = !answers.is_empty() || received.resets > 0 || received.told_to_go;
        let gave_up = !self
            .case
            .steps
            .iter()
            .any(|step| matches!(step, Step::Answers(_)));
        demand(said || gave_up, || "nothing was said of it".to_owned())?;
        self.echoes_nothing()?;
        self.has_ended()
    }

    fn is_flooded(&self, most: usize) -> Met {
        let reached = self.reached.len();
        demand(reached <= most, || format!("{reached} requests"))?;
        self.has_ended()
    }

    /// Whether exactly one record tells of an answer, and nothing that the caller said.
    fn is_recorded(&self, answer: &Answer, code: &str) -> Met {
        let id = answer.request_id().ok_or("no request id")?;
        let all = self.records.iter();
        let of_it: Vec<&Value> = all
            .filter(|record| record["request_id"] == *id && record["kind"] == "request")
            .collect();
        let [record] = of_it.as_slice() else {
            return Err(format!("{} records of {id}", of_it.len()));
        };
        demand(
            record["code"] == *code && record["status"] == answer.status,
            || format!("recorded as {} {}", record["code"], record["status"]),
        )?;
        is_clean(record)
    }

    /// Whether exactly one record tells of a request that was never answered.
    fn is_on_record(&self, codes: &[&str]) -> Met {
        let of_it = self.records.iter().filter(|record| {
            let path = record["path"].as_str().unwrap_or_default();
            record["kind"] == "request"
                && path.contains(self.marker)
                && !path.ends_with("/follower")
        });
        let of_it: Vec<&Value> = of_it.collect();
        let [record] = of_it.as_slice() else {
            return Err(format!("{} records of the request", of_it.len()));
        };
        let code = record["code"].as_str().unwrap_or_default();
        demand(codes.contains(&code), || format!("recorded as {code:?}"))?;
        is_clean(record)
    }
}

/// The type of the frame that a server of HTTP/2 begins with.
const SETTINGS: u8 = 4;
