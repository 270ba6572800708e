//! The secret that everything is made with: a keyed function of seed and original.
//!
//! The key takes in the whole text of the original workload beside the seed. So the same workload
//! and seed give the same result, and who has the result and even guesses the seed can make
//! nothing of it without having the original already.

/// What a run is made from: chance, or a number for runs that can be repeated.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed of random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A seed that people can write down.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(blake3::derive_key(
            "smbench anonymize seed 1",
            &number.to_le_bytes(),
        ))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Takes in a seed and an original.
pub(super) struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    pub(super) fn new(seed: &Seed) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("smbench anonymize key 1");
        hasher.update(&seed.0);
        Self(hasher)
    }

    /// Takes in one file of the original.
    pub(super) fn take(&mut self, from: impl std::io::Read) -> std::io::Result<()> {
        self.0.update_reader(from)?;
        self.0.update(&[0xff]); // no byte of UTF-8: files do not run into each other
        Ok(())
    }

    pub(super) fn finish(self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

/// A pseudorandom function, split into domains that know nothing of each other.
#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of a secret that is there already.
    pub(super) const fn of_secret(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Fills `out` with bytes that are a function of `domain` and `parts`.
    pub(super) fn fill(&self, domain: &str, parts: &[&[u8]], out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
            let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
            hasher.update(&len.to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize_xof().fill(out);
    }

    /// As many bytes as `bytes` has, made of them.
    pub(super) fn bytes(&self, domain: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bytes.len()];
        self.fill(domain, &[bytes], &mut out);
        out
    }

    /// A number made of one.
    pub(super) fn number(&self, domain: &str, number: u64) -> u64 {
        let mut out = [0; 8];
        self.fill(domain, &[&number.to_le_bytes()], &mut out);
        u64::from_le_bytes(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u64, text: &[u8]) -> Key {
        let mut maker = KeyMaker::new(&Seed::from_number(seed));
        maker.take(text).unwrap();
        maker.finish()
    }

    #[test]
    fn seed_original_and_domain_each_matter() {
        let number = |seed, text: &[u8], domain| key(seed, text).number(domain, 7);
        let one = number(1, b"a", "x");
        assert_eq!(one, number(1, b"a", "x"));
        assert_ne!(one, number(2, b"a", "x"));
        assert_ne!(one, number(1, b"b", "x"));
        assert_ne!(one, number(1, b"a", "y"));
    }
}
