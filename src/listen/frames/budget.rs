//! What a connection of HTTP/2 may cost before it has to be of use.
//!
//! Every frame of the caller's costs something, and so does every stream that is given up before it
//! was answered. Answers, bytes of bodies and time pay it back. A caller that wants answers cannot
//! use its budget up; one that keeps the gateway busy with anything else has used it up soon.

use super::walk::{CONTINUATION, DATA, Frame, HEADERS, PRIORITY, RESET, WINDOW_UPDATE};

/// What a connection has left, and its open streams.
#[derive(Debug)]
pub(super) struct Budget {
    /// For frames, but for window updates, which bodies pay.
    frames: u32,
    windows: u32,
    resets: u32,
    /// Whether the gateway had to reset more streams than that pays.
    overdrawn: bool,
    /// The highest stream that was opened.
    newest: u32,
    open: Vec<Stream>,
    /// How many of them have the head of an answer and not its end.
    answering: u32,
    /// Whether the block of a head has begun and not ended.
    in_block: bool,
    /// Whole heads and other frames so far.
    units: u64,
    /// Up to when time has paid.
    paid_until: u64,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    /// When the caller opened it.
    opened: u64,
    /// Whether the caller's side of it has ended.
    ended: bool,
    /// Whether it has the head of its answer.
    answered: bool,
}

/// What a connection has had too much of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Excess {
    /// Frames that serve nothing.
    #[error("more frames than its requests and answers need")]
    Frames,
    /// Streams that came to nothing by the caller's doing.
    #[error("more streams than answers")]
    Resets,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            frames: FRAMES,
            windows: FRAMES,
            resets: RESETS,
            overdrawn: false,
            newest: 0,
            open: Vec::new(),
            answering: 0,
            in_block: false,
            units: 0,
            paid_until: 0,
        }
    }

    /// Lets time pay. Times are milliseconds of the connection's life.
    pub(super) fn pass(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.paid_until) / 1000;
        if seconds == 0 {
            return;
        }
        self.paid_until += seconds * 1000;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let frames = seconds.saturating_mul(FRAMES_A_SECOND);
        self.pay_frames(frames);
        self.pay_windows(frames, FRAMES);
        self.pay_resets(seconds.saturating_mul(RESET_COST));
    }

    /// Takes in a frame of the caller's.
    ///
    /// # Errors
    /// Fails when there is nothing left that could pay it.
    pub(super) fn came(&mut self, frame: Frame, now: u64) -> Result<(), Excess> {
        if self.overdrawn || self.open.len() > MOST_OPEN {
            return Err(Excess::Resets);
        }
        match frame.kind {
            DATA => {
                // Padding is hidden behind the flag: what could be nothing else counts as nothing.
                let empty = frame.length == 0 && !frame.ends_stream();
                if empty || (frame.is_padded() && frame.length <= MOST_PADDING) {
                    self.spend_frame()?;
                } else {
                    self.pay_frames(pieces(frame.length));
                }
                self.goes_on(&frame)?;
            }
            HEADERS => {
                self.spend_frame()?;
                if frame.stream > self.newest {
                    self.newest = frame.stream;
                    self.open.push(Stream {
                        id: frame.stream,
                        opened: now,
                        ended: frame.ends_stream(),
                        answered: false,
                    });
                } else {
                    self.goes_on(&frame)?;
                }
            }
            RESET => {
                self.spend_frame()?;
                if let Some(stream) = self.close(frame.stream)
                    && !stream.answered
                    && now < stream.opened + YOUNG
                {
                    self.spend_reset()?;
                }
            }
            WINDOW_UPDATE => {
                self.windows = self.windows.checked_sub(1).ok_or(Excess::Frames)?;
                if frame.word == 0 && self.find(frame.stream).is_some() {
                    self.spend_reset()?;
                }
            }
            PRIORITY => {
                self.spend_frame()?;
                if frame.word == frame.stream {
                    self.spend_reset()?;
                }
            }
            _ => self.spend_frame()?,
        }
        self.in_block = matches!(frame.kind, HEADERS | CONTINUATION) && !frame.ends_headers();
        self.units += u64::from(!self.in_block);
        Ok(())
    }

    /// Takes in a frame that goes to the caller, and gives how much of a body it carries.
    pub(super) fn went(&mut self, frame: Frame) -> usize {
        match frame.kind {
            HEADERS if !frame.ends_stream() => {
                if let Some(stream) = self.find(frame.stream)
                    && !stream.answered
                {
                    stream.answered = true;
                    self.answering += 1;
                }
            }
            DATA if frame.length >= NOT_TRIVIAL => {
                let updates = UPDATES_A_FRAME + pieces(frame.length);
                self.pay_windows(updates, MOST_UPDATES);
            }
            RESET => {
                let was_open = self.close(frame.stream).is_some();
                let is_callers = was_open && is_callers_fault(frame.word);
                // The caller's next frame finds out.
                self.overdrawn |= is_callers && self.spend_reset().is_err();
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.ends_stream() {
            self.answer(frame.stream);
        }
        if frame.kind == DATA { frame.length } else { 0 }
    }

    /// How many answers have begun and not ended.
    pub(super) fn answering(&self) -> u32 {
        self.answering
    }

    /// Whether there is a request that is not answered to the end, nor given up.
    pub(super) fn is_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// How many heads and other frames there were.
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// Whether the frames so far ask for another at once.
    pub(super) fn awaits_more(&self) -> bool {
        self.in_block || self.units == 0
    }

    /// The highest stream that the caller has opened.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// A frame that goes on with a stream. One after the end of it makes the gateway reset the
    /// stream, whose request is under way: a caller that does so is to pay for that.
    fn goes_on(&mut self, frame: &Frame) -> Result<(), Excess> {
        let Some(stream) = self.find(frame.stream) else {
            return Ok(());
        };
        let has_ended = stream.ended;
        stream.ended |= frame.ends_stream();
        if has_ended {
            self.spend_reset()
        } else {
            Ok(())
        }
    }

    /// The newest first: what there is to tell is of those, mostly.
    fn find(&mut self, id: u32) -> Option<&mut Stream> {
        self.open.iter_mut().rev().find(|stream| stream.id == id)
    }

    fn close(&mut self, id: u32) -> Option<Stream> {
        let at = self.open.iter().rposition(|stream| stream.id == id)?;
        let stream = self.open.swap_remove(at);
        self.answering -= u32::from(stream.answered);
        Some(stream)
    }

    /// An answer is whole, which pays for its request.
    fn answer(&mut self, id: u32) {
        if self.close(id).is_some() {
            self.pay_frames(FRAMES_A_REQUEST);
            self.pay_windows(UPDATES_A_REQUEST, FRAMES);
            self.pay_resets(1);
        }
    }

    fn spend_frame(&mut self) -> Result<(), Excess> {
        self.frames = self.frames.checked_sub(1).ok_or(Excess::Frames)?;
        Ok(())
    }

    fn spend_reset(&mut self) -> Result<(), Excess> {
        let left = self.resets.checked_sub(RESET_COST);
        self.resets = left.ok_or(Excess::Resets)?;
        Ok(())
    }

    fn pay_frames(&mut self, frames: u32) {
        self.frames = self.frames.saturating_add(frames).min(FRAMES);
    }

    /// Pays up to `most`, and takes nothing away where there is more.
    fn pay_windows(&mut self, updates: u32, most: u32) {
        let paid = self.windows.saturating_add(updates).min(most);
        self.windows = self.windows.max(paid);
    }

    fn pay_resets(&mut self, parts: u32) {
        self.resets = self.resets.saturating_add(parts).min(RESETS);
    }
}

/// Whether a code tells that the caller broke the rules, unlike those for what a console did.
fn is_callers_fault(code: u32) -> bool {
    matches!(
        code,
        PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR
    )
}

/// How many frames the bytes of a body pay.
fn pieces(length: usize) -> u32 {
    u32::try_from(length / PIECE).unwrap_or(u32::MAX)
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;

/// The most frames in a row that serve nothing.
const FRAMES: u32 = 256;

/// What time pays: enough for pings, acknowledged and sent.
const FRAMES_A_SECOND: u32 = 2;

/// What a whole answer pays: its request's frames, and priorities, pings and settings besides.
const FRAMES_A_REQUEST: u32 = 8;

/// The window updates that a whole answer pays besides.
const UPDATES_A_REQUEST: u32 = 4;

/// The window updates that a caller sends for every DATA frame, if it keeps no account of its own:
/// one for the stream, one for the connection.
const UPDATES_A_FRAME: u32 = 2;

/// The bytes of DATA from which a frame is worth a window update.
const NOT_TRIVIAL: usize = 64;

/// The bytes of a body that pay one frame more.
const PIECE: usize = 512;

/// The most window updates that bodies pay: those for all that a fast network holds.
const MOST_UPDATES: u32 = 16 * 1024;

/// The most bytes of a padded frame that carry nothing.
const MOST_PADDING: usize = 256;

/// What a stream costs that came to nothing, in whole answers that pay it.
const RESET_COST: u32 = 4;

/// The most that is there for these: 16 of them in a row.
const RESETS: u32 = 16 * RESET_COST;

/// How old a stream is, in milliseconds, whose reset costs nothing: its caller has waited.
const YOUNG: u64 = 1000;

/// The most streams that may be open; what is refused for being too many is so at once.
const MOST_OPEN: usize = 512;

#[cfg(test)]
mod tests;
