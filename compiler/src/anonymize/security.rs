//! Security descriptors and the identifiers in them. [MS-DTYP] 2.4.
//!
//! Identifiers that mean the same everywhere stay. Of those of a domain or machine, the domain and
//! large relative ids get pseudonyms; small relative ids are the same in every domain. What is not
//! reached by the structure is zero in the result.

use super::{Scrub, tally::Kind};

impl Scrub {
    /// A self-relative security descriptor, [MS-DTYP] 2.4.6, or bytes where it is none.
    pub(super) fn security_descriptor(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_empty() {
            return Vec::new();
        }
        match self.descriptor(bytes) {
            Some(made) => made,
            None => {
                self.tally
                    .lossy("security descriptors that do not parse: replaced as bytes");
                self.buffer("security descriptor", bytes)
            }
        }
    }

    fn descriptor(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; bytes.len()];
        copy(bytes, &mut out, 0, HEADER)?;
        let offset = |at: usize| word(bytes, at).and_then(|it| usize::try_from(it).ok());
        for at in [4, 8] {
            match offset(at)? {
                0 => {}
                sid => {
                    self.sid_at(bytes, &mut out, sid)?;
                }
            }
        }
        for at in [12, 16] {
            match offset(at)? {
                0 => {}
                list => self.access_list(bytes, &mut out, list)?,
            }
        }
        Some(out)
    }

    /// [MS-DTYP] 2.4.5.
    fn access_list(&mut self, bytes: &[u8], out: &mut [u8], start: usize) -> Option<()> {
        copy(bytes, out, start, 8)?;
        let count = half(bytes, start.checked_add(4)?)?;
        let mut at = start.checked_add(8)?;
        for _ in 0..count {
            let size = usize::from(half(bytes, at.checked_add(2)?)?);
            let end = at.checked_add(size).filter(|end| *end <= bytes.len())?;
            copy(bytes, out, at, 8)?; // type, flags, size, access mask
            let mut sid = at.checked_add(8)?;
            if OBJECT_TYPES.contains(bytes.get(at)?) {
                copy(bytes, out, sid, 4)?;
                let present = word(bytes, sid)?;
                sid = sid.checked_add(4)?;
                for bit in [1, 2] {
                    if present & bit != 0 {
                        let guid = bytes.get(sid..sid.checked_add(16)?)?;
                        let made = self.key.bytes("object type", guid);
                        put(out, sid, &made)?;
                        sid = sid.checked_add(16)?;
                    }
                }
            }
            let behind = self.sid_at(bytes, out, sid)?;
            // Conditions and claims of callback entries.
            let rest = bytes.get(behind..end)?;
            if rest.iter().any(|byte| *byte != 0) {
                let made = self.buffer("access condition", rest);
                put(out, behind, &made)?;
            }
            at = end;
        }
        Some(())
    }

    /// Replaces the identifier at `at`, and says where it ends. [MS-DTYP] 2.4.2.2.
    fn sid_at(&mut self, bytes: &[u8], out: &mut [u8], at: usize) -> Option<usize> {
        let count = usize::from(*bytes.get(at.checked_add(1)?)?);
        let end = at.checked_add(8)?.checked_add(count.checked_mul(4)?)?;
        let made = self.sid(bytes.get(at..end)?);
        put(out, at, &made)?;
        Some(end)
    }

    /// A whole security identifier.
    fn sid(&mut self, sid: &[u8]) -> Vec<u8> {
        let parts: Vec<u32> = sid
            .get(8..)
            .unwrap_or_default()
            .chunks_exact(4)
            .map(|part| u32::from_le_bytes(part.try_into().unwrap_or_default()))
            .collect();
        let authority = sid.get(2..8).unwrap_or_default();
        let stays = match (authority, parts.as_slice()) {
            ([0, 0, 0, 0, 0, 0..=4 | 16], _) => true,
            ([0, 0, 0, 0, 0, 5], [first, ..]) => {
                matches!(first, 1..=4 | 6..=20 | 32 | 64 | 80 | 90 | 96)
            }
            ([0, 0, 0, 0, 0, 15], [2, _]) => true,
            _ => parts.is_empty(),
        };
        if stays {
            self.tally.kept("well-known security ids");
            return sid.to_owned();
        }
        self.tally.replaced(Kind::Sids, sid.len());
        let mut out = sid.get(..8).unwrap_or_default().to_vec();
        // S-1-5-21-DOMAIN-DOMAIN-DOMAIN-RID; of others, what the first number is about.
        let (kind, rest) = parts.split_at_checked(1).unwrap_or_default();
        let domain_len = if kind == [21] { 3 } else { 0 };
        let (domain, ids) = rest.split_at_checked(domain_len).unwrap_or((rest, &[]));
        let bytes =
            |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|it| it.to_le_bytes()).collect() };
        out.extend(bytes(kind));
        out.extend(self.key.bytes("sid domain", &bytes(domain)));
        for id in ids {
            let made = match id {
                0..1000 if kind == [21] => *id,
                id => {
                    let noise = self.key.number("sid number", u64::from(*id));
                    1000 + u32::try_from(noise % (1 << 31)).unwrap_or_default()
                }
            };
            out.extend(made.to_le_bytes());
        }
        out
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    field.try_into().ok().map(u16::from_le_bytes)
}

fn copy(from: &[u8], to: &mut [u8], at: usize, len: usize) -> Option<()> {
    put(to, at, from.get(at..at.checked_add(len)?)?)
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    let room = to.get_mut(at..at.checked_add(bytes.len())?)?;
    room.copy_from_slice(bytes);
    Some(())
}

const HEADER: usize = 20;
/// Entries with object types before the identifier. [MS-DTYP] 2.4.4.1.
const OBJECT_TYPES: [u8; 7] = [5, 6, 7, 8, 0xb, 0xc, 0xf];

#[cfg(test)]
mod tests {
    use super::super::testing::scrub;

    fn sid(parts: &[u32]) -> Vec<u8> {
        let mut out = vec![1, u8::try_from(parts.len()).unwrap(), 0, 0, 0, 0, 0, 5];
        out.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        out
    }

    #[test]
    fn domains_and_large_ids_are_replaced_and_the_rest_stays() {
        let mut it = scrub();
        it.seal();
        let alice = sid(&[21, 0x1111_1111, 0x2222_2222, 0x3333_3333, 1104]);
        let admin = sid(&[21, 0x1111_1111, 0x2222_2222, 0x3333_3333, 512]);
        let (one, two) = (it.sid(&alice), it.sid(&admin));
        assert_eq!(one.len(), alice.len());
        assert_eq!(one[..12], alice[..12]);
        assert_eq!(one[12..24], two[12..24]);
        assert_ne!(one[12..24], alice[12..24]);
        assert_ne!(one[24..], alice[24..]);
        assert_eq!(two[24..], admin[24..]);
        let builtin = sid(&[32, 544]);
        assert_eq!(it.sid(&builtin), builtin);
    }

    #[test]
    fn a_descriptor_keeps_its_structure() {
        let mut it = scrub();
        it.seal();
        let owner = sid(&[21, 7_000_000, 8_000_000, 9_000_000, 1001]);
        let mut bytes = vec![1, 0, 4, 0x80];
        let len = u32::try_from(owner.len()).unwrap();
        for offset in [20, 0, 0, 20 + len] {
            bytes.extend(offset.to_le_bytes());
        }
        bytes.extend(&owner);
        let ace_len = 8 + u16::try_from(len).unwrap();
        bytes.extend([2, 0]);
        bytes.extend((8 + ace_len).to_le_bytes());
        bytes.extend([1, 0, 0, 0, 0, 3]);
        bytes.extend(ace_len.to_le_bytes());
        bytes.extend(0x001f_01ff_u32.to_le_bytes());
        bytes.extend(&owner);
        let made = it.security_descriptor(&bytes);
        assert_eq!(made.len(), bytes.len());
        assert_eq!(made[..32], bytes[..32]);
        assert!(!made.windows(12).any(|it| it == &owner[12..24]));
        assert_eq!(
            made[20..20 + owner.len()],
            made[bytes.len() - owner.len()..]
        );
        for cut in 0..bytes.len() {
            let made = it.security_descriptor(&bytes[..cut]);
            assert_eq!(made.len(), cut);
            assert!(!made.windows(12).any(|it| it == &owner[12..24]));
        }
    }
}
