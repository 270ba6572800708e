//! Names as a mapping has them, for what was said about the same files elsewhere: by a server, in a run.

use super::{Mapping, Scrub, addresses::Addresses, key::Key, words::Words};

/// Gives names the pseudonyms that a mapping has, and others where it has none. A name is as long in
/// UTF-16 as its pseudonym.
pub struct Pseudonyms(Scrub);

impl Pseudonyms {
    /// Those of `mapping`; what it lacks is made with `secret`.
    #[must_use]
    pub fn of(mapping: &Mapping, secret: [u8; 32]) -> Self {
        let key = Key::of_secret(secret);
        let words = mapping.words.iter();
        let words = words.map(|(from, to)| (from.as_str(), to.as_str()));
        let addresses = mapping.addresses.iter();
        let addresses =
            addresses.filter_map(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        Self(Scrub {
            words: Words::restored(key.clone(), words),
            addresses: Addresses::restored(addresses),
            sealed: true,
            ..Scrub::new(key)
        })
    }

    /// A path below a share.
    pub fn path(&mut self, path: &str) -> String {
        self.0.path(path)
    }

    /// `\\host\share\path`.
    pub fn unc(&mut self, path: &str) -> String {
        self.0.unc(path)
    }

    /// `address:port` or `host:port`; the port stays.
    pub fn endpoint(&mut self, text: &str) -> String {
        self.0.endpoint(text, None)
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(..)")
    }
}
