//! Arguments and results as they are on the wire: NDR and NDR64, little-endian. [C706] 14, [MS-RPCE] 2.2.5.

/// How wide pointers and counts are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Syntax {
    /// NDR: 4 bytes.
    Ndr,
    /// NDR64: 8 bytes, and so aligned; structures that hold some are aligned so too.
    Ndr64,
}

impl Syntax {
    const fn word(self) -> usize {
        match self {
            Self::Ndr => 4,
            Self::Ndr64 => 8,
        }
    }
}

/// Reads arguments. What is not there is none: whoever asked is told that the call was bad.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    syntax: Syntax,
}

impl<'a> Reader<'a> {
    pub(super) const fn of(bytes: &'a [u8], syntax: Syntax) -> Self {
        let at = 0;
        Self { bytes, at, syntax }
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.at = self.at.next_multiple_of(4);
        let four = self.bytes.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4;
        Some(u32::from_le_bytes(*four))
    }

    /// A structure or a union with pointers in it begins.
    pub(super) fn structure(&mut self) {
        self.at = self.at.next_multiple_of(self.syntax.word());
    }

    /// A count, or a pointer's referent.
    fn word(&mut self) -> Option<u64> {
        self.structure();
        match self.syntax {
            Syntax::Ndr => self.u32().map(u64::from),
            Syntax::Ndr64 => {
                let eight = self.bytes.get(self.at..)?.first_chunk::<8>()?;
                self.at += 8;
                Some(u64::from_le_bytes(*eight))
            }
        }
    }

    /// What stands behind a pointer that may be null.
    pub(super) fn pointer<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.word()? {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }

    /// A conformant and varying string of UTF-16, without its end. [C706] 14.3.4.2.
    pub(super) fn string(&mut self) -> Option<String> {
        let (_most, offset, count) = (self.word()?, self.word()?, self.word()?);
        let len = usize::try_from(count).ok()?.checked_mul(2)?;
        if offset != 0 {
            return None;
        }
        let bytes = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        let units = bytes
            .chunks_exact(2)
            .filter_map(|two| two.first_chunk::<2>());
        let units: Vec<u16> = units.map(|two| u16::from_le_bytes(*two)).collect();
        let text = String::from_utf16_lossy(&units);
        Some(text.trim_end_matches('\0').to_owned())
    }
}

/// Writes results. What pointers point at follows the structure that they are in, in their order.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    referents: u32,
    deferred: Vec<String>,
    syntax: Syntax,
}

impl Writer {
    pub(super) const fn of(syntax: Syntax) -> Self {
        Self {
            bytes: Vec::new(),
            referents: 0,
            deferred: Vec::new(),
            syntax,
        }
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A count of elements, or a pointer's referent: 0 is null.
    pub(super) fn word(&mut self, value: u32) -> &mut Self {
        self.align(self.syntax.word());
        match self.syntax {
            Syntax::Ndr => self.bytes.extend(value.to_le_bytes()),
            Syntax::Ndr64 => self.bytes.extend(u64::from(value).to_le_bytes()),
        }
        self
    }

    /// A structure or a union with pointers in it begins.
    pub(super) fn structure(&mut self) -> &mut Self {
        self.align(self.syntax.word());
        self
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// A pointer that is not null; what it points at is written next.
    pub(super) fn pointer(&mut self) -> &mut Self {
        // A unique pointer needs no number of its own; in NDR64 some clients take the usual one alone.
        let referent = 0x0002_0000 + self.referents * 4;
        self.referents += u32::from(self.syntax == Syntax::Ndr);
        self.word(referent)
    }

    /// A pointer to a string, which [`Self::strings`] writes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.deferred.push(text.to_owned());
        self.pointer()
    }

    /// The strings that were pointed at since the last time.
    pub(super) fn strings(&mut self) -> &mut Self {
        for text in std::mem::take(&mut self.deferred) {
            let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
            let count = u32::try_from(units.len()).unwrap_or(u32::MAX);
            self.word(count).word(0).word(count);
            let bytes = units.iter().flat_map(|unit| unit.to_le_bytes());
            self.bytes.extend(bytes);
        }
        self
    }

    pub(super) fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_nothing_is_read_behind_the_end() {
        for (syntax, word) in [(Syntax::Ndr, 4), (Syntax::Ndr64, 8)] {
            let mut writer = Writer::of(syntax);
            let bytes = writer.text("größe").u32(7).strings().u32(9).end();
            let mut reader = Reader::of(&bytes, syntax);
            assert_eq!(reader.word(), Some(0x0002_0000));
            let name = Some("größe".to_owned());
            assert_eq!((reader.u32(), reader.string()), (Some(7), name));
            assert_eq!((reader.u32(), reader.u32()), (Some(9), None));
            let mut endless = vec![0; 3 * word];
            endless[2 * word..].fill(0xff);
            endless.extend([65, 0]);
            assert_eq!(Reader::of(&endless, syntax).string(), None);
        }
    }
}
