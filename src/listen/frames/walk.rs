//! The heads of frames, read in place from bytes that come in any pieces.

/// Reads the heads of frames in one direction of a connection and steps over what they carry.
#[derive(Debug)]
pub(super) struct Walk {
    head: [u8; HEAD + WORD],
    /// How much of the head is there.
    have: usize,
    /// How much of what the frame carries has not passed yet.
    left: usize,
    kind: u8,
}

/// The head of a frame, and the first four bytes of what some kinds carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The stream it belongs to; 0 for the connection.
    pub(super) stream: u32,
    /// The bytes that it carries.
    pub(super) length: usize,
    /// Of a reset the code, of a window update the increment, of a priority the parent stream;
    /// otherwise 0.
    pub(super) word: u32,
}

/// What is to come of a frame, of what is small and sent in one piece by whoever means well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing, or bytes of a body.
    Nothing,
    /// The rest of its own head.
    Head,
    /// The rest of what it carries.
    Rest,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_padded(&self) -> bool {
        self.flags & PADDED != 0
    }
}

impl Walk {
    /// Begins with the first frame, or with bytes before it that are no frame.
    pub(super) fn after(preface: usize) -> Self {
        Self {
            head: [0; HEAD + WORD],
            have: 0,
            left: preface,
            kind: PREFACE,
        }
    }

    /// Goes on through the bytes that follow and tells of each frame as soon as its head is there.
    ///
    /// # Errors
    /// Stops at the first frame that `met` finds fault with, and gives that fault.
    pub(super) fn walk<E>(
        &mut self,
        mut bytes: &[u8],
        mut met: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            // What is wanted is known anew once the kind is.
            let taken = (self.wanted() - self.have).min(bytes.len());
            let (new, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if let Some(room) = self.head.get_mut(self.have..self.have + taken) {
                room.copy_from_slice(new);
            }
            self.have += taken;
            bytes = rest;
            if self.have == self.wanted() {
                met(self.begin())?;
            }
        }
    }

    /// Whether the next byte is the first of a frame.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// What is to come of a frame that has begun.
    pub(super) fn due(&self) -> Due {
        if self.have > 0 {
            Due::Head
        } else if self.left > 0 && self.kind != DATA {
            Due::Rest
        } else {
            Due::Nothing
        }
    }

    fn wanted(&self) -> usize {
        let carries_word = matches!(self.head[3], PRIORITY | RESET | WINDOW_UPDATE);
        if self.have >= HEAD && carries_word && self.length() >= WORD {
            HEAD + WORD
        } else {
            HEAD
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    /// The frame whose head is whole.
    fn begin(&mut self) -> Frame {
        let [_, _, _, kind, flags, s0, s1, s2, s3, w0, w1, w2, w3] = self.head;
        let has_word = self.have == HEAD + WORD;
        let length = self.length();
        let word = u32::from_be_bytes([w0, w1, w2, w3]);
        let word = if kind == RESET { word } else { word & ID };
        self.left = length - (self.have - HEAD);
        self.have = 0;
        self.kind = kind;
        Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & ID,
            length,
            word: if has_word { word } else { 0 },
        }
    }
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// No kind of frame that is known.
const PREFACE: u8 = u8::MAX;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The bytes of the head of a frame.
const HEAD: usize = 9;
const WORD: usize = 4;
/// A stream's id without the bit before it that means nothing.
const ID: u32 = u32::MAX >> 1;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        let length = u32::try_from(frame.length).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], frame.kind, frame.flags];
        bytes.extend(frame.stream.to_be_bytes());
        let mut carried = vec![0xEE; frame.length];
        if matches!(frame.kind, PRIORITY | RESET | WINDOW_UPDATE) && frame.length >= WORD {
            carried[..WORD].copy_from_slice(&frame.word.to_be_bytes());
        }
        bytes.extend(carried);
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let frame = (0..12_u8, any::<u8>(), 0..=ID, 0..300_usize, 0..=ID);
        let frame = frame.prop_map(|(kind, flags, stream, length, word)| {
            let has_word = matches!(kind, PRIORITY | RESET | WINDOW_UPDATE) && length >= WORD;
            let word = if has_word { word } else { 0 };
            Frame {
                kind,
                flags,
                stream,
                length,
                word,
            }
        });
        prop::collection::vec(frame, 0..20)
    }

    fn read(walk: &mut Walk, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut seen = Vec::new();
        for piece in pieces {
            let met = |frame| {
                seen.push(frame);
                Ok::<_, Infallible>(())
            };
            walk.walk(piece, met).unwrap();
        }
        seen
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_reading(
            frames in frames(),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            bytes.extend(frames.iter().flat_map(bytes_of));
            cuts.sort_by_key(|cut| cut.index(bytes.len()));
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in &cuts {
                let to = cut.index(bytes.len());
                pieces.push(&bytes[from..to]);
                from = to;
            }
            pieces.push(&bytes[from..]);
            let mut walk = Walk::after(24);
            prop_assert_eq!(read(&mut walk, &pieces), frames);
            prop_assert!(walk.is_between());
        }
    }

    #[test]
    fn what_is_still_to_come_is_known() {
        let headers = Frame {
            kind: HEADERS,
            flags: 0,
            stream: 1,
            length: 5,
            word: 0,
        };
        let data = Frame {
            kind: DATA,
            ..headers
        };
        let mut walk = Walk::after(0);
        assert!(walk.is_between() && walk.due() == Due::Nothing);
        let headers = bytes_of(&headers);
        assert!(read(&mut walk, &[&headers[..8]]).is_empty() && walk.due() == Due::Head);
        assert_eq!(read(&mut walk, &[&headers[8..12]]).len(), 1);
        assert_eq!(walk.due(), Due::Rest);
        read(&mut walk, &[&headers[12..]]);
        assert!(walk.is_between());
        let data = bytes_of(&data);
        assert_eq!(read(&mut walk, &[&data[..10]]).len(), 1);
        assert!(!walk.is_between() && walk.due() == Due::Nothing);
    }

    #[test]
    fn a_reset_without_its_code_is_a_frame_all_the_same() {
        let mut walk = Walk::after(0);
        let short = [0, 0, 2, RESET, 0, 0, 0, 0, 3, 0, 1];
        assert_eq!(read(&mut walk, &[&short]).len(), 1);
        assert!(walk.is_between());
    }
}
