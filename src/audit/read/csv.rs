//! Records as lines of a spreadsheet: RFC 4180, and nothing that a spreadsheet takes for a formula.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Deserialize;

use super::visible;
use crate::audit::query::view::{Object, Scalar};

/// Writes records as comma-separated values.
///
/// Lines end in CR LF. A text with a comma or quote is in quotes; hidden characters are written as
/// `\u{…}`; one that begins with `=`, `+`, `-` or `@` has a `'` before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Csv;

/// Declares the columns, in their order, with the members that they show.
macro_rules! columns {
    ($($name:ident)*; $($nested:literal = $object:ident.$member:ident)*) => {
        #[derive(Default, Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a"))]
        struct Row<'a> {
            $($name: Scalar<'a>,)*
            target: Object<Target<'a>>,
            subject: Object<Subject<'a>>,
        }

        impl<'a> Row<'a> {
            const NAMES: &'static [&'static str] = &[$(stringify!($name),)* $($nested,)*];

            fn cells(&self) -> Vec<&Scalar<'a>> {
                vec![$(&self.$name,)* $(&self.$object.0.$member,)*]
            }
        }
    };
}

columns! {
    seq time kind request_id config client credential principal session user source operator peer
    tenant mapping console operation grant method path query rule reason code status bytes_in
    bytes_out duration_us attempts lease detail;
    "target_uid" = target.uid
    "target_name" = target.name
    "subject_action" = subject.action
    "subject_user_uid" = subject.user_uid
    "subject_login_id" = subject.login_id
    "subject_provider" = subject.provider
    "subject_description" = subject.description
    "subject_key_fingerprint" = subject.key_fingerprint
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Target<'a> {
    uid: Scalar<'a>,
    name: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Subject<'a> {
    action: Scalar<'a>,
    user_uid: Scalar<'a>,
    login_id: Scalar<'a>,
    provider: Scalar<'a>,
    description: Scalar<'a>,
    key_fingerprint: Scalar<'a>,
}

impl Csv {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// Fails when `out` does.
    pub fn header(self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}\r\n", Row::NAMES.join(","))
    }

    /// Writes one record as one line. Of one that cannot be read only the number is written, and
    /// that it cannot.
    ///
    /// # Errors
    /// Fails when `out` does.
    pub fn row(self, seq: u64, json: &[u8], out: &mut impl Write) -> io::Result<()> {
        let row = serde_json::from_slice(json).unwrap_or_else(|_| Row {
            seq: Scalar::Number(seq),
            detail: Scalar::Text(Cow::Borrowed("cannot be read")),
            ..Row::default()
        });
        for (index, cell) in row.cells().into_iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            match cell {
                Scalar::Number(number) => write!(out, "{number}")?,
                Scalar::Other => {}
                Scalar::Text(text) => write_text(out, text)?,
            }
        }
        out.write_all(b"\r\n")
    }
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let text = visible(text);
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    if text.contains([',', '"']) || text.starts_with(' ') || text.ends_with(' ') {
        write!(out, "\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        write!(out, "{guard}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> String {
        let mut out = Vec::new();
        Csv.row(7, json.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The cells of a line as RFC 4180 reads them.
    fn cells(line: &str) -> Vec<String> {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        let mut chars = line.strip_suffix("\r\n").unwrap().chars().peekable();
        while let Some(char) = chars.next() {
            let cell = cells.last_mut().unwrap();
            match char {
                '"' if quoted && chars.peek() == Some(&'"') => cell.push(chars.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                other => cell.push(other),
            }
        }
        cells
    }

    #[test]
    fn a_record_has_as_many_cells_as_there_are_columns() {
        let mut out = Vec::new();
        Csv.header(&mut out).unwrap();
        let names = cells(&String::from_utf8(out).unwrap());
        let text = row(
            r#"{"seq":7,"time":"t","client":"a,\"b\"","status":null,"duration_us":12,"target":{"name":"Ann"},"more":[1]}"#,
        );
        let found: Vec<_> = names
            .iter()
            .zip(cells(&text))
            .filter(|(_, cell)| !cell.is_empty())
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(name, cell)| (name.as_str(), cell.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("seq", "7"),
                ("time", "t"),
                ("client", "a,\"b\""),
                ("duration_us", "12"),
                ("target_name", "Ann")
            ]
        );
        assert_eq!(cells(&text).len(), names.len());
    }

    #[test]
    fn no_cell_is_a_formula_or_a_second_line() {
        for (value, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@sum", "'@sum"),
            ("=a,b", "'=a,b"),
            (r"\t=1", r"\u{9}=1"),
            (r"a\r\nb", r"a\u{d}\u{a}b"),
            ("\u{202e}x", r"\u{202e}x"),
            (" x", " x"),
        ] {
            let text = row(&format!("{{\"seq\":7,\"detail\":\"{value}\"}}"));
            assert_eq!(text.matches('\n').count(), 1);
            assert!(cells(&text).contains(&expected.to_owned()), "{text}");
        }
        assert!(row("{\"seq\":7,").starts_with("7,"));
    }
}
