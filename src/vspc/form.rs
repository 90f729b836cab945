//! The form of a log-in as tools really send it: encoded or not, with a type or without, and in the
//! multipart form of old documentation.

mod multipart;

use zeroize::Zeroizing;

use super::grant::{Access, FORM};
use multipart::Parts;

/// A log-in's form. Unknown fields are passed over.
pub struct TokenForm {
    grant: GrantType,
    fields: [Option<Value>; NAMES.len()],
    /// The password as it would be had it not been encoded at all.
    plain_password: Option<Value>,
}

type Value = Zeroizing<Vec<u8>>;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantType {
    /// `as`
    As,
    /// `authorization_code`: the second step of a log-in by key pair.
    AuthorizationCode,
    /// `mfa`: the second step of a log-in with a second factor.
    Mfa,
    /// `password`
    Password,
    /// `public_key`: the first step of a log-in by key pair.
    PublicKey,
    /// `refresh_token`
    Refresh,
}

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormFault {
    /// A grant that VSPC does not have.
    #[error(
        "grant_type must be password, refresh_token, as, mfa, public_key or authorization_code"
    )]
    Grant,
    /// It is JSON.
    #[error("send the fields as application/x-www-form-urlencoded, not as JSON")]
    Json,
    /// It is no form.
    #[error("the body is not a form: send it as application/x-www-form-urlencoded")]
    Malformed,
    /// A field that is needed is not there, or is empty.
    #[error("the field {0} is missing or empty")]
    Missing(&'static str),
    /// A grant for a console's own users, where those may not log in.
    #[error(
        "this grant is for the console's own users, who may not log in through this gateway \
         (passthrough_logins)"
    )]
    NotHere,
    /// A field comes twice.
    #[error("the field {0} comes more than once")]
    Repeated(&'static str),
    /// A field holds what it cannot hold.
    #[error("the field {0} is not what it must be")]
    Value(&'static str),
}

impl GrantType {
    /// As the form names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::AuthorizationCode => "authorization_code",
            Self::Mfa => "mfa",
            Self::Password => "password",
            Self::PublicKey => "public_key",
            Self::Refresh => "refresh_token",
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let all = [
            Self::As,
            Self::AuthorizationCode,
            Self::Mfa,
            Self::Password,
            Self::PublicKey,
            Self::Refresh,
        ];
        all.into_iter()
            .find(|grant| grant.as_str().as_bytes() == value)
    }
}

impl TokenForm {
    /// Reads a body; whatever does not say that it is something else is taken as URL-encoded.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, FormFault> {
        let essence = content_type
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default()
            .trim();
        // By what it is and not by what it says: tools label forms as JSON.
        if body.trim_ascii_start().starts_with(b"{") {
            return Err(FormFault::Json);
        }
        let mut fields = [const { None }; NAMES.len()];
        let mut plain_password = None;
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            read_multipart(content_type.unwrap_or_default(), body, &mut fields)?;
        } else {
            let body = body.trim_ascii_end();
            read_encoded(body, &mut fields)?;
            plain_password = unencoded_password(body).map(|plain| Zeroizing::new(plain.to_vec()));
        }
        let grant = find(&fields, "grant_type").ok_or(FormFault::Missing("grant_type"))?;
        let grant = GrantType::parse(grant).ok_or(FormFault::Grant)?;
        Ok(Self {
            grant,
            fields,
            plain_password,
        })
    }

    /// What is asked for.
    pub fn grant(&self) -> GrantType {
        self.grant
    }

    /// The value of a field that must be there.
    ///
    /// # Errors
    /// Says that it is not.
    pub fn field(&self, name: &'static str) -> Result<&[u8], FormFault> {
        find(&self.fields, name).ok_or(FormFault::Missing(name))
    }

    /// The value of a field that must be text.
    ///
    /// # Errors
    /// Says that it is not there, or no text.
    pub fn text(&self, name: &'static str) -> Result<&str, FormFault> {
        std::str::from_utf8(self.field(name)?).map_err(|_| FormFault::Value(name))
    }

    /// The form as a console gets it: what was read, written anew. Were the bytes passed on as they
    /// came, a console that reads them in another way would judge another name than the gateway.
    pub fn written(&self) -> Zeroizing<Vec<u8>> {
        let fields: &[&'static str] = match self.grant {
            GrantType::As => &[],
            GrantType::AuthorizationCode => &["code", "readOnly"],
            GrantType::Mfa => &["mfa_token", "mfa_code", "readOnly"],
            GrantType::Password => &["username", "password", "readOnly"],
            GrantType::PublicKey => &["public_key", "readOnly"],
            GrantType::Refresh => &["refresh_token", "readOnly"],
        };
        let present = || {
            let value = |name: &&'static str| Some((*name, find(&self.fields, name)?));
            fields.iter().filter_map(value)
        };
        // Reserved in full, so that growing leaves no copy of a secret behind.
        let length = present().map(|(name, value)| name.len() + 3 * value.len() + 2);
        let mut form = Zeroizing::new(Vec::with_capacity(64 + length.sum::<usize>()));
        form.extend_from_slice(b"grant_type=");
        form.extend_from_slice(self.grant.as_str().as_bytes());
        for (name, value) in present() {
            form.push(b'&');
            form.extend_from_slice(name.as_bytes());
            form.push(b'=');
            for piece in percent_encoding::percent_encode(value, FORM) {
                form.extend_from_slice(piece.as_bytes());
            }
        }
        form
    }

    /// Every value that there is, as it was read.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let plain = self.plain_password.iter();
        self.fields
            .iter()
            .flatten()
            .chain(plain)
            .map(|value| value.as_slice())
    }

    /// The password as the form's encoding says, and as it reads where the form was not encoded:
    /// tools write a form by hand and forget that `+`, `&` and `%` mean something in it.
    pub fn passwords(&self) -> impl Iterator<Item = &[u8]> {
        let encoded = find(&self.fields, "password");
        let plain = self.plain_password.as_deref().map(Vec::as_slice);
        encoded.into_iter().chain(plain)
    }

    /// Whether the token is to be read-only.
    ///
    /// # Errors
    /// Says that the field is neither yes nor no.
    pub fn access(&self) -> Result<Access, FormFault> {
        let value = find(&self.fields, "readOnly").unwrap_or(b"false");
        if value.eq_ignore_ascii_case(b"true") || value == b"1" {
            Ok(Access::ReadOnly)
        } else if value.eq_ignore_ascii_case(b"false") || value == b"0" {
            Ok(Access::Full)
        } else {
            Err(FormFault::Value("readOnly"))
        }
    }
}

/// An empty field is as good as none.
fn find<'a>(fields: &'a [Option<Value>], name: &str) -> Option<&'a [u8]> {
    let index = NAMES.iter().position(|known| *known == name)?;
    let value = fields.get(index)?.as_deref()?;
    (!value.is_empty()).then_some(value)
}

fn put(fields: &mut [Option<Value>], name: &[u8], value: Value) -> Result<(), FormFault> {
    let known = NAMES
        .iter()
        .zip(fields)
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
    let Some((known, slot)) = known else {
        return Ok(());
    };
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FormFault::Repeated(known)),
    }
}

fn read_encoded(body: &[u8], fields: &mut [Option<Value>]) -> Result<(), FormFault> {
    for pair in body.split(|byte| *byte == b'&') {
        let (name, value) = split_pair(pair);
        put(fields, &decode(name), decode(value))?;
    }
    Ok(())
}

fn read_multipart(
    content_type: &str,
    body: &[u8],
    fields: &mut [Option<Value>],
) -> Result<(), FormFault> {
    let mut parts = Parts::new(content_type, body)?;
    while let Some((name, value)) = parts.next()? {
        put(fields, name, Zeroizing::new(value.to_vec()))?;
    }
    Ok(())
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, value) = pair.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (pair, &[]),
    }
}

/// What the encoding means; a `%` that begins nothing is itself.
fn decode(text: &[u8]) -> Value {
    // Reserved in full, so that growing leaves no copy of a secret behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let blanks = Zeroizing::new(
        text.iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect::<Vec<u8>>(),
    );
    decoded.extend(percent_encoding::percent_decode(&blanks));
    decoded
}

/// What stands behind `password=`, up to the next field that is known.
fn unencoded_password(body: &[u8]) -> Option<&[u8]> {
    let mut start = 0;
    let mut from = None;
    for pair in body.split(|byte| *byte == b'&') {
        let (name, value) = split_pair(pair);
        let is_known = NAMES
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        match from {
            Some(from) if is_known => return body.get(from..start.max(from + 1) - 1),
            None if name.eq_ignore_ascii_case(b"password") => {
                from = Some(start + pair.len() - value.len());
            }
            _ => {}
        }
        start += pair.len() + 1;
    }
    from.and_then(|from| body.get(from..))
}

/// The fields that mean something.
const NAMES: [&str; 10] = [
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "userUid",
    "mfa_token",
    "mfa_code",
    "code",
    "public_key",
    "readOnly",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Option<&str>, body: &str) -> Result<TokenForm, FormFault> {
        TokenForm::read(kind, body.as_bytes())
    }

    fn passwords(form: &TokenForm) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        form.passwords().map(text).collect()
    }

    #[test]
    fn encoded_and_unencoded_forms_are_read() {
        let encoded = r"grant_type=password&username=acme%5Ctool&password=a%26b%2Bc%25d";
        for kind in [
            None,
            Some("application/x-www-form-urlencoded"),
            Some("application/x-www-form-urlencoded; charset=UTF-8"),
            Some("APPLICATION/X-WWW-FORM-URLENCODED;charset=UTF-8"),
            Some("text/plain"),
        ] {
            let form = read(kind, encoded).unwrap();
            assert_eq!(form.grant(), GrantType::Password);
            assert_eq!(form.text("username"), Ok(r"acme\tool"));
            assert_eq!(passwords(&form)[0], "a&b+c%d");
            assert_eq!(form.access(), Ok(Access::Full));
        }
        let unencoded =
            "grant_type=password&username=acme\\tool&password=a&b+c%d&readOnly=true\r\n";
        let form = read(None, unencoded).unwrap();
        assert_eq!(form.text("username"), Ok(r"acme\tool"));
        assert_eq!(passwords(&form), ["a", "a&b+c%d"]);
        assert_eq!(form.access(), Ok(Access::ReadOnly));
        let last = read(None, "username=u&grant_type=password&password=x%y=z&");
        assert_eq!(passwords(&last.unwrap()), ["x%y=z", "x%y=z&"]);
    }

    #[test]
    fn multipart_is_read_raw() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\npassword\r\n\
                    --X\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nacme\\tool\r\n\
                    --X\r\nContent-Disposition: form-data; name=password\r\n\r\na+b%&\r\n--X--\r\n";
        let form = read(Some("multipart/form-data; boundary=\"X\""), body).unwrap();
        assert_eq!(form.text("username"), Ok(r"acme\tool"));
        assert_eq!(passwords(&form), ["a+b%&"]);
    }

    #[test]
    fn a_form_is_written_anew_from_what_was_read() {
        let body = b"grant_type=password&username=A\\b&password=a+b%26c\xff&x=y&mfa_token=z\r\n";
        let form = TokenForm::read(None, body).unwrap();
        let written = String::from_utf8(form.written().to_vec()).unwrap();
        assert_eq!(
            written,
            "grant_type=password&username=A%5Cb&password=a%20b%26c%FF"
        );
        let again = TokenForm::read(None, written.as_bytes()).unwrap();
        assert_eq!(again.field("password"), form.field("password"));
        assert_eq!(again.field("username"), form.field("username"));
    }

    #[test]
    fn unknown_fields_are_passed_over_and_names_have_no_case() {
        let body = "client_id=None&allow_redirects=True&Grant_Type=as&USERUID=x&scope=&a&=&&";
        let form = read(None, body).unwrap();
        assert_eq!(form.grant(), GrantType::As);
        assert_eq!(form.text("userUid"), Ok("x"));
        assert_eq!(
            form.field("refresh_token"),
            Err(FormFault::Missing("refresh_token"))
        );
    }

    #[test]
    fn what_is_no_form_is_named() {
        let fault = |kind, body| read(kind, body).err().unwrap();
        let missing = FormFault::Missing("grant_type");
        assert_eq!(fault(None, ""), missing);
        assert_eq!(fault(None, "grant_type="), missing);
        assert_eq!(
            fault(None, "grant_type=client_credentials"),
            FormFault::Grant
        );
        assert_eq!(fault(None, "grant_type=Password"), FormFault::Grant);
        assert_eq!(
            fault(None, "grant_type=as&grant_type=as"),
            FormFault::Repeated("grant_type")
        );
        assert_eq!(
            fault(None, "grant_type=password&password=a&password=b"),
            FormFault::Repeated("password")
        );
        let json = r#"{"grant_type":"password"}"#;
        let labelled = "grant_type=refresh_token";
        assert!(read(Some("application/json"), labelled).is_ok());
        assert_eq!(fault(Some("application/json"), json), FormFault::Json);
        assert_eq!(fault(None, json), FormFault::Json);
        for (kind, body) in [
            ("multipart/form-data", "grant_type=password"),
            ("multipart/form-data; boundary=X", "grant_type=password"),
            ("multipart/form-data; boundary=X", "--X\r\nContent-Disp"),
        ] {
            let fault = fault(Some(kind), body);
            assert_eq!(fault, FormFault::Malformed, "{kind} {body}");
        }
        let form = read(None, "grant_type=as&readOnly=perhaps&username=%ff").unwrap();
        assert_eq!(form.access(), Err(FormFault::Value("readOnly")));
        assert_eq!(form.text("username"), Err(FormFault::Value("username")));
    }
}
