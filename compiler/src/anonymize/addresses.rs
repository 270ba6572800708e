//! IP addresses and their pseudonyms: by order of appearance, in the nets for tests and documents.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses and their pseudonyms.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    numbers: HashMap<IpAddr, usize>,
    order: Vec<IpAddr>,
    made: Vec<IpAddr>,
    taken: HashSet<IpAddr>,
    sealed: bool,
}

impl Addresses {
    /// Addresses that have these pseudonyms; others get new ones.
    pub(super) fn restored(pairs: impl Iterator<Item = (IpAddr, IpAddr)>) -> Self {
        let mut addresses = Self {
            sealed: true,
            ..Self::default()
        };
        for (address, made) in pairs {
            addresses.numbers.insert(address, addresses.order.len());
            addresses.order.push(address);
            addresses.made.push(made);
            addresses.taken.insert(made);
        }
        addresses
    }

    /// The pseudonym of `address`; before [`Addresses::seal`], `address` itself.
    pub(super) fn of(&mut self, address: IpAddr) -> IpAddr {
        let next = self.order.len();
        let number = *self.numbers.entry(address).or_insert(next);
        if number == next {
            self.order.push(address);
            if self.sealed {
                let made = self.make(address);
                self.made.push(made);
            }
        }
        if !self.sealed {
            return address;
        }
        self.made.get(number).copied().unwrap_or(NOWHERE)
    }

    /// All addresses are known: gives each its pseudonym.
    pub(super) fn seal(&mut self) {
        self.sealed = true;
        for address in self.order.clone() {
            let made = self.make(address);
            self.made.push(made);
        }
    }

    /// Addresses with their pseudonyms.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.order.iter().copied().zip(self.made.iter().copied())
    }

    fn make(&mut self, original: IpAddr) -> IpAddr {
        let mut number = u32::try_from(self.made.len()).unwrap_or(u32::MAX);
        loop {
            number = number.saturating_add(1);
            let made = match original {
                // 198.18.0.0/15, RFC 2544; beyond it, shared address space of RFC 6598.
                IpAddr::V4(_) => {
                    let base = if number < 1 << 17 {
                        0xc612_0000
                    } else {
                        0x6440_0000
                    };
                    IpAddr::V4(Ipv4Addr::from(base | number & 0x003f_ffff))
                }
                // RFC 3849.
                IpAddr::V6(_) => {
                    let base = 0x2001_0db8_u128 << 96;
                    IpAddr::V6(Ipv6Addr::from(base | u128::from(number)))
                }
            };
            let free = !self.numbers.contains_key(&made) && self.taken.insert(made);
            if free || number == u32::MAX {
                return made;
            }
        }
    }
}

const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_one_of_its_own_that_is_nobodys() {
        let mut addresses = Addresses::default();
        let originals: Vec<IpAddr> = ["10.0.0.1", "198.18.0.1", "fe80::1", "127.0.0.1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        for address in &originals {
            assert_eq!(addresses.of(*address), *address);
        }
        addresses.seal();
        let made: HashSet<IpAddr> = originals.iter().map(|it| addresses.of(*it)).collect();
        assert_eq!(made.len(), originals.len());
        assert!(originals.iter().all(|it| !made.contains(it)));
        assert!(addresses.of(originals[2]).is_ipv6());
    }
}
