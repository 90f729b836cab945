//! CloudEvents 1.0, in the JSON form. `data` is the record byte for byte, so that a proof of it
//! holds for what is in the event.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

use super::members::Members;
use super::{id, put};

/// Writes a record as an event.
pub(super) fn write(origin: &str, members: &Members, line: &[u8], out: &mut Vec<u8>) {
    let mut envelope = json!({
        "specversion": "1.0",
        "id": id(origin, members.seq),
        "source": source(origin),
        "type": type_of(members),
        "time": members.stamp(),
        "datacontenttype": "application/json",
    });
    if let (Some(subject), Some(envelope)) = (subject(members), envelope.as_object_mut()) {
        envelope.insert("subject".to_owned(), subject.into());
    }
    put(&envelope, out);
    // In place of the brace that closes the envelope.
    out.pop();
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(line);
    out.push(b'}');
}

/// The origin as a reference: it may have any character but space and `+`.
fn source(origin: &str) -> String {
    utf8_percent_encode(origin, NOT_IN_PATHS).to_string()
}

/// `vspc-gateway.audit.` and the kind.
fn type_of(members: &Members) -> String {
    let is_plain = |kind: &&str| {
        kind.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let kind = members.text("kind").filter(is_plain).unwrap_or("other");
    format!("vspc-gateway.audit.{kind}")
}

/// For whom, else at which console, else by which client.
fn subject(members: &Members) -> Option<String> {
    let mut all = ["tenant", "console", "client"].into_iter();
    all.find_map(|name| Some(format!("{name}/{}", members.text(name)?)))
}

/// What a path of a reference may not have as it is, and the colon, which would make a scheme of
/// what stands before it.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
