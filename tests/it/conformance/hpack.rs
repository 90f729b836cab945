//! Header blocks of HTTP/2: written as literals that no table remembers, read in full.

/// Writes fields, each as a literal without indexing.
pub(super) fn encode(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            number(&mut block, 0, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// Writes a number behind the bits of a first byte.
pub(super) fn number(block: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        block.push(first | u8::try_from(value).unwrap());
        return;
    }
    block.push(first | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap());
}

type Field = (String, Vec<u8>);

/// Reads the blocks of a connection.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The entries that were added, newest first.
    added: Vec<Field>,
}

impl Decoder {
    /// Reads a block; `None` when it is malformed.
    pub(super) fn decode(&mut self, block: &[u8]) -> Option<Vec<Field>> {
        let mut rest = block;
        let mut fields = Vec::new();
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = take_number(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                take_number(&mut rest, 5)?;
                self.added.clear();
            } else {
                let indexed = first & 0x40 != 0;
                let index = take_number(&mut rest, if indexed { 6 } else { 4 })?;
                let name = match index {
                    0 => String::from_utf8(take_text(&mut rest)?).ok()?,
                    index => self.entry(index)?.0,
                };
                let field = (name, take_text(&mut rest)?);
                if indexed {
                    self.added.insert(0, field.clone());
                }
                fields.push(field);
            }
        }
        Some(fields)
    }

    fn entry(&self, index: usize) -> Option<Field> {
        let place = index.checked_sub(1)?;
        match NAMES.get(place) {
            Some(entry) => {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                Some((name.to_owned(), value.as_bytes().to_vec()))
            }
            None => self.added.get(place - NAMES.len()).cloned(),
        }
    }
}

fn take_number(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let (first, mut after) = rest.split_first()?;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in (0..28).step_by(7) {
            let (byte, behind) = after.split_first()?;
            after = behind;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = after;
    Some(value)
}

fn take_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let packed = rest.first()? & 0x80 != 0;
    let length = take_number(rest, 7)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    if packed {
        unpack(text)
    } else {
        Some(text.to_vec())
    }
}

/// Undoes the Huffman code, which is canonical: its lengths say it all.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut signs: Vec<usize> = (0..LENGTHS.len()).collect();
    signs.sort_by_key(|sign| (LENGTHS[*sign], *sign));
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u64, 0_u8);
    for bit in packed
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
    {
        code = code << 1 | u64::from(bit);
        length += 1;
        if let Some(sign) = sign_of(&signs, code, length) {
            text.push(u8::try_from(sign).ok()?);
            (code, length) = (0, 0);
        }
    }
    (length < 8).then_some(text)
}

fn sign_of(signs: &[usize], code: u64, length: u8) -> Option<usize> {
    let (mut next, mut before) = (0_u64, LENGTHS[signs[0]]);
    for sign in signs {
        next <<= LENGTHS[*sign] - before;
        before = LENGTHS[*sign];
        if before == length && next == code {
            return Some(*sign);
        }
        if before > length {
            return None;
        }
        next += 1;
    }
    None
}

/// The entries that every connection knows (RFC 7541, appendix A).
const NAMES: [&str; 61] = [
    ":authority",
    ":method=GET",
    ":method=POST",
    ":path=/",
    ":path=/index.html",
    ":scheme=http",
    ":scheme=https",
    ":status=200",
    ":status=204",
    ":status=206",
    ":status=304",
    ":status=400",
    ":status=404",
    ":status=500",
    "accept-charset",
    "accept-encoding=gzip, deflate",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// How many bits the code of each byte has (RFC 7541, appendix B).
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
