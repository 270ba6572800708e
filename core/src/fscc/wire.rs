//! A cursor over a buffer, and structures as lists of fields.

use crate::smb2::wire::{len32, read_at, slice_at, to_usize};
use crate::smb2::{AccessMask, FileAttributes, Guid, Name, WireError};
use zerocopy::little_endian::{U16, U32, U64};

/// Reads a buffer from its start on, and knows where it is.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    field: &'static str,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`; `field` names the structure in errors.
    pub(crate) fn new(bytes: &'a [u8], field: &'static str) -> Self {
        Self {
            bytes,
            at: 0,
            field,
        }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let bytes = slice_at(self.bytes, self.field, self.at, len)?;
        self.at = self.at.saturating_add(len);
        Ok(bytes)
    }

    /// The next fixed structure.
    pub(crate) fn fixed<T: crate::smb2::wire::Wire + Copy>(&mut self) -> Result<T, WireError> {
        let value = read_at::<T>(self.bytes, self.field, self.at)?;
        self.at = self.at.saturating_add(size_of::<T>());
        Ok(*value)
    }

    /// The next field.
    pub(crate) fn get<T: Field>(&mut self) -> Result<T, WireError> {
        T::read(self)
    }

    /// Everything not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// A name of as many bytes as the next 32 bits say.
    pub(crate) fn name32(&mut self) -> Result<Name, WireError> {
        let len = self.get::<u32>()?;
        Ok(Name::from_wire(self.take(to_usize(len))?))
    }
}

/// A field of a structure.
pub(crate) trait Field: Sized {
    /// Reads it.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, WireError>;
    /// Appends it to `out`.
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! field {
    ($($ty:ty = $raw:ty, $get:expr, $put:expr;)*) => {$(
        impl Field for $ty {
            fn read(cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
                let get: fn($raw) -> $ty = $get;
                cursor.fixed::<$raw>().map(get)
            }

            fn write(&self, out: &mut Vec<u8>) {
                let put: fn($ty) -> $raw = $put;
                out.extend_from_slice(zerocopy::IntoBytes::as_bytes(&put(*self)));
            }
        }
    )*};
}

field! {
    u8 = u8, |v| v, |v| v;
    u16 = U16, U16::get, U16::new;
    u32 = U32, U32::get, U32::new;
    u64 = U64, U64::get, U64::new;
    FileAttributes = U32, |v| FileAttributes::from_bits_retain(v.get()), |v| v.bits().into();
    AccessMask = U32, |v| AccessMask::from_bits_retain(v.get()), |v| v.bits().into();
    Guid = [u8; 16], Guid, |v| v.0;
    [u8; 3] = [u8; 3], |v| v, |v| v;
    [u8; 48] = [u8; 48], |v| v, |v| v;
}

/// Appends a name behind its length in bytes.
pub(crate) fn put_name32(name: &Name, out: &mut Vec<u8>) {
    len32(name.wire_len()).write(out);
    name.write_to(out);
}

/// Declares structures that are nothing but a list of fields.
macro_rules! records {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        impl $name {
            /// Reads the start of `bytes`.
            ///
            /// # Errors
            ///
            /// [`WireError::Truncated`] when `bytes` ends early.
            pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
                Self::read(&mut Cursor::new(bytes, stringify!($name)))
            }

            /// Appends the wire bytes to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                self.write(out);
            }
        }

        impl Field for $name {
            fn read(cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
                Ok(Self { $($field: cursor.get()?,)* })
            }

            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
        }
    )*};
}
pub(crate) use records;

/// Splits a list whose entries begin with the offset of the next one; 0 ends it.
///
/// # Errors
///
/// [`WireError::BadValue`] when an offset does not lead forward over at least `least` bytes, and
/// [`WireError::Truncated`] when it leads out of `bytes`.
pub(crate) fn entries<'a>(
    bytes: &'a [u8],
    field: &'static str,
    least: usize,
) -> impl Iterator<Item = Result<&'a [u8], WireError>> {
    let mut rest = (!bytes.is_empty()).then_some(0_usize);
    std::iter::from_fn(move || {
        // Behind the last entry, and behind an error, there is nothing.
        let at = rest.take()?;
        let entry = read_at::<U32>(bytes, field, at).and_then(|next| {
            let next = next.get();
            let len = to_usize(next);
            if next == 0 {
                return Ok(bytes.get(at..).unwrap_or_default());
            }
            if len < least {
                let got = u64::from(next);
                return Err(WireError::BadValue {
                    field,
                    offset: at,
                    got,
                    section: "[MS-FSCC] 2.4",
                });
            }
            let entry = slice_at(bytes, field, at, len)?;
            rest = Some(at.saturating_add(len));
            Ok(entry)
        });
        Some(entry)
    })
}

/// Begins an entry of a list: aligns `out`, links the entry at `last` to it, and leaves room for
/// its own link. Gives the entry's start.
pub(crate) fn link(out: &mut Vec<u8>, last: Option<usize>, align: usize) -> usize {
    if let Some(last) = last {
        let len = out.len().saturating_sub(last).next_multiple_of(align);
        out.resize(last.saturating_add(len), 0);
        if let Some(room) = out.get_mut(last..last.saturating_add(4)) {
            room.copy_from_slice(&len32(len).to_le_bytes());
        }
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}
