//! How callers say why they ask: the part of `[mapping]` that policy needs.

use http::HeaderName;

use super::mapping::{letters, own_header};
use crate::config::reader::Section;
use crate::policy::Reasons;

/// Reads the keys of reasons; `taken` are the other headers of the section.
pub(super) fn reasons<'a>(
    section: &mut Section<'_>,
    taken: impl IntoIterator<Item = &'a HeaderName>,
) -> Option<Reasons> {
    let header = section.optional("reason_header");
    let pattern = section.optional("reason_pattern");
    let Some(header) = header else {
        if let Some(pattern) = pattern {
            pattern.fault("means nothing without reason_header");
        }
        return None;
    };
    let name = header.read_with(|text: String| own_header(&text))?;
    if taken
        .into_iter()
        .any(|other| letters(other) == letters(&name))
    {
        header.fault("is another header of this section already");
        return None;
    }
    let Some(pattern) = pattern else {
        return Reasons::new(name, None).ok();
    };
    pattern.read_with(|text: String| {
        Reasons::new(name, Some(&text)).map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let why = last.strip_prefix("error: ").unwrap_or(last);
            format!("is no regular expression that can be used: {why}")
        })
    })
}
