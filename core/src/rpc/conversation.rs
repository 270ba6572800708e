//! The client's side of one open pipe.
//!
//! | at | needs | then |
//! |---|---|---|
//! | Head | 16 bytes, [C706] 12.6.3.1 | Request, Bind or Body by its type |
//! | Request | 8 bytes, [C706] 12.6.4.9 | Body |
//! | Bind | 12 bytes, [C706] 12.6.4.3 | Element, or Body when there is none |
//! | Element | 24 bytes, [C706] 12.6.3.1 | Skip |
//! | Skip | its transfer syntaxes | Element, or Body behind the last |
//! | Body | the rest of the PDU | Head |
//! | Missed | a piece that begins with a bind | Head |
//! | Lost | | for ever |
//!
//! Lengths that PDUs claim are counted down and nothing is kept by them.

use super::{Call, Interface, Kind, Uuid};

/// So many presentation contexts of one pipe are remembered; more are [`Kind::Unreadable`].
pub const MAX_CONTEXTS: usize = 64;

/// So many calls of one piece are told; what follows is [`Kind::Unreadable`].
pub const MAX_CALLS: usize = 256;

/// What a client has sent over one open pipe, in order.
///
/// A server that does not get some bytes does not move on: who holds bytes back goes on with a
/// clone made before they were fed, as [`Conversation::feed_if`] does.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// By context id; none where bindings contradict each other.
    contexts: Vec<(u16, Option<Interface>)>,
    at: At,
    /// The beginning of what `at` needs.
    held: Vec<u8>,
    pdu: Pdu,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Head,
    Request,
    Bind,
    Element {
        more: u8,
    },
    Skip {
        more: u8,
        bytes: u16,
    },
    Body,
    Missed,
    Lost,
}

/// The PDU that is being read.
#[derive(Clone, Copy, Debug)]
struct Pdu {
    big_endian: bool,
    /// Bytes of it that are still to come.
    left: u16,
    /// What was told of it last.
    call: Call,
}

impl Default for Pdu {
    fn default() -> Self {
        Self {
            big_endian: false,
            left: 0,
            call: Call::of(Kind::Begun),
        }
    }
}

impl Conversation {
    /// Takes the next `bytes` that the client sends: one WRITE, or the input of one
    /// FSCTL_PIPE_TRANSCEIVE. Returns what they hold, in order; a binding is one [`Call`] an
    /// interface. Nothing only when `bytes` is empty.
    ///
    /// Never panics, whatever the bytes. Keeps less than 30 bytes and [`MAX_CONTEXTS`] contexts.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Call> {
        let mut calls = Vec::new();
        if bytes.is_empty() {
            return calls;
        }
        if self.at == At::Missed && begins_bind(bytes) {
            *self = Self::default();
        }
        // Pipes in message mode may take what arrives here for the beginning of a PDU.
        if self.is_inside() && may_begin_pdu(bytes) {
            self.give_up(&mut calls);
            return calls;
        }
        if matches!(self.at, At::Body | At::Skip { .. }) {
            calls.push(Call {
                continues: true,
                ..self.pdu.call
            });
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if calls.len() < MAX_CALLS {
                self.step(rest, &mut calls)
            } else {
                self.give_up(&mut calls)
            };
        }
        if matches!(self.at, At::Request | At::Bind | At::Element { .. }) || !self.held.is_empty() {
            calls.push(Call::of(Kind::Begun));
        }
        calls
    }

    /// As [`Self::feed`], but only when `refuse` has nothing against any of the calls; else it is
    /// as if the bytes had never been sent, and the first reason is returned.
    ///
    /// # Errors
    ///
    /// What `refuse` returned.
    pub fn feed_if<R>(
        &mut self,
        bytes: &[u8],
        refuse: impl FnMut(&Call) -> Option<R>,
    ) -> Result<(), R> {
        let mut next = self.clone();
        match next.feed(bytes).iter().find_map(refuse) {
            Some(reason) => Err(reason),
            None => {
                *self = next;
                Ok(())
            }
        }
    }

    /// Bytes that the client sent are not known: all is unreadable until a piece begins with a bind.
    pub fn lose(&mut self) {
        *self = Self {
            at: At::Missed,
            ..Self::default()
        };
    }

    /// Whether the next byte belongs to a PDU that has begun.
    fn is_inside(&self) -> bool {
        match self.at {
            At::Head => !self.held.is_empty(),
            At::Missed | At::Lost => false,
            _ => true,
        }
    }

    /// Takes some of `bytes`, which are not empty, and returns the rest.
    fn step<'a>(&mut self, bytes: &'a [u8], calls: &mut Vec<Call>) -> &'a [u8] {
        let need = match self.at {
            At::Head => HEAD,
            At::Request => REQUEST,
            At::Bind => BIND,
            At::Element { .. } => ELEMENT,
            At::Skip { more, bytes: skip } => return self.skip(bytes, skip, more),
            At::Body => {
                let (_, rest) = self.pass(bytes, self.pdu.left);
                self.end_of_pdu();
                return rest;
            }
            At::Missed | At::Lost => {
                calls.push(Call::UNREADABLE);
                return &[];
            }
        };
        let missing = need - self.held.len().min(need);
        let (taken, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.held.extend_from_slice(taken);
        let fits = if self.held.len() == need {
            let held = std::mem::take(&mut self.held);
            self.read(&held, calls).is_some()
        } else {
            self.at != At::Head || may_begin_pdu(&self.held)
        };
        if fits { rest } else { self.give_up(calls) }
    }

    /// What follows cannot be read.
    fn give_up<'a>(&mut self, calls: &mut Vec<Call>) -> &'a [u8] {
        self.at = At::Lost;
        self.held.clear();
        calls.push(Call::UNREADABLE);
        &[]
    }

    /// Reads what `at` has waited for; none when it is wrong.
    fn read(&mut self, held: &[u8], calls: &mut Vec<Call>) -> Option<()> {
        if self.at != At::Head {
            let len = u16::try_from(held.len()).ok()?;
            self.pdu.left = self.pdu.left.checked_sub(len)?;
        }
        match self.at {
            At::Head => self.head(held, calls)?,
            At::Request => {
                self.pdu.call.context = self.half(held, 4)?;
                self.pdu.call.opnum = Some(self.half(held, 6)?);
                self.pdu.call.interface = self.bound(self.pdu.call.context);
                calls.push(self.pdu.call);
                self.at = At::Body;
            }
            At::Bind => match *held.get(8)? {
                0 => {
                    calls.push(self.pdu.call);
                    self.at = At::Body;
                }
                more => self.at = At::Element { more },
            },
            At::Element { more } => {
                self.element(held)?;
                calls.push(self.pdu.call);
                let bytes = u16::from(*held.get(2)?).checked_mul(TRANSFER)?;
                self.pdu.left.checked_sub(bytes)?;
                self.skip(&[], bytes, more.checked_sub(1)?);
            }
            At::Skip { .. } | At::Body | At::Missed | At::Lost => return None,
        }
        self.end_of_pdu();
        Some(())
    }

    /// The header that all PDUs have. [C706] 12.6.3.1, [MS-RPCE] 2.2.2.1.
    fn head(&mut self, held: &[u8], calls: &mut Vec<Call>) -> Option<()> {
        let &[version, minor, kind, flags, drep, ..] = held else {
            return None;
        };
        // Only what every server reads alike: both byte orders, with ASCII. [C706] 14.1.
        if version != VERSION || minor > 1 || !matches!(drep, 0 | LITTLE_ENDIAN) {
            return None;
        }
        self.pdu.big_endian = drep == 0;
        self.pdu.left = self.half(held, 8)?.checked_sub(u16::try_from(HEAD).ok()?)?;
        let (kind, at, least) = match kind {
            0 => (Kind::Request, At::Request, REQUEST),
            11 => (Kind::Bind, At::Bind, BIND),
            14 => (Kind::AlterContext, At::Bind, BIND),
            18 | 19 => (Kind::Abandon, At::Body, 0),
            other => (Kind::Other(other), At::Body, 0),
        };
        if usize::from(self.pdu.left) < least {
            return None;
        }
        self.pdu.call = Call {
            auth: self.half(held, 10)? != 0,
            continues: kind == Kind::Request && flags & FIRST_FRAGMENT == 0,
            ..Call::of(kind)
        };
        if at == At::Body {
            calls.push(self.pdu.call);
        }
        self.at = at;
        Some(())
    }

    /// One interface of a binding.
    fn element(&mut self, held: &[u8]) -> Option<()> {
        let id = self.half(held, 0)?;
        let interface = Interface {
            uuid: self.uuid(held, 4)?,
            // [C706] 12.6.3.1: the major version is the low half. Both are of the sender's order.
            major: self.half(held, if self.pdu.big_endian { 22 } else { 20 })?,
            minor: self.half(held, if self.pdu.big_endian { 20 } else { 22 })?,
        };
        self.pdu.call.context = id;
        self.pdu.call.interface = Some(interface);
        let room = self.contexts.len() < MAX_CONTEXTS;
        match self.contexts.iter_mut().find(|(it, _)| *it == id) {
            // Whether the old or the new one holds depends on the server.
            Some((_, bound)) if *bound != Some(interface) => *bound = None,
            Some(_) => {}
            None if room => self.contexts.push((id, Some(interface))),
            None => return None,
        }
        Some(())
    }

    /// Leaves out transfer syntaxes: how arguments are encoded changes no call.
    fn skip<'a>(&mut self, bytes: &'a [u8], skip: u16, more: u8) -> &'a [u8] {
        let (passed, rest) = self.pass(bytes, skip);
        self.at = match (skip.saturating_sub(passed), more) {
            (0, 0) => At::Body,
            (0, more) => At::Element { more },
            (bytes, more) => At::Skip { more, bytes },
        };
        self.end_of_pdu();
        rest
    }

    /// Passes up to `most` bytes of the PDU: how many, and what follows.
    fn pass<'a>(&mut self, bytes: &'a [u8], most: u16) -> (u16, &'a [u8]) {
        let (taken, rest) = bytes
            .split_at_checked(usize::from(most))
            .unwrap_or((bytes, &[]));
        // What was taken is at most `most`.
        let taken = u16::try_from(taken.len()).unwrap_or(most);
        self.pdu.left = self.pdu.left.saturating_sub(taken);
        (taken, rest)
    }

    fn end_of_pdu(&mut self) {
        if self.at == At::Body && self.pdu.left == 0 {
            self.at = At::Head;
        }
    }

    fn bound(&self, context: u16) -> Option<Interface> {
        let found = self.contexts.iter().find(|(id, _)| *id == context);
        found.and_then(|(_, interface)| *interface)
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = *bytes.get(at..)?.first_chunk()?;
        Some(if self.pdu.big_endian {
            u16::from_be_bytes(raw)
        } else {
            u16::from_le_bytes(raw)
        })
    }

    /// A UUID: two fields and a half in the sender's byte order, then single bytes. [C706] A.1.
    fn uuid(&self, bytes: &[u8], at: usize) -> Option<Uuid> {
        let mut raw: [u8; 16] = *bytes.get(at..)?.first_chunk()?;
        if !self.pdu.big_endian {
            for field in [0..4, 4..6, 6..8] {
                raw.get_mut(field)?.reverse();
            }
        }
        Some(Uuid(u128::from_be_bytes(raw)))
    }
}

/// Whether a server that expects a PDU could take `bytes` for the beginning of one.
fn may_begin_pdu(bytes: &[u8]) -> bool {
    let &[VERSION, ref rest @ ..] = bytes else {
        return false;
    };
    rest.first().is_none_or(|minor| *minor <= 1)
        && rest.get(1).is_none_or(|kind| *kind <= LAST_KIND)
}

fn begins_bind(bytes: &[u8]) -> bool {
    may_begin_pdu(bytes) && bytes.get(2) == Some(&11)
}

const VERSION: u8 = 5;
/// The last type of PDU, RTS. [MS-RPCH] 2.2.3.2.
const LAST_KIND: u8 = 20;
const LITTLE_ENDIAN: u8 = 0x10;
const FIRST_FRAGMENT: u8 = 1;

/// Bytes of the parts of PDUs.
const HEAD: usize = 16;
const REQUEST: usize = 8;
const BIND: usize = 12;
const ELEMENT: usize = 24;
/// Bytes of a transfer syntax.
const TRANSFER: u16 = 20;

#[cfg(test)]
mod tests;
