//! One connection: dialect, seal, credits. [MS-SMB2] 3.3.1.7.

use std::collections::BTreeSet;

use smbench_core::seal::ServerSecurity;
use smbench_core::smb2::{
    Capabilities, Cipher, Dialect, Guid, NegotiateContext, NegotiateResponse, SecurityMode,
    SigningAlgorithm,
};

/// What a connection has negotiated that all channels of a session have to have in common.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) dialect: Dialect,
    pub(super) cipher: Option<Cipher>,
    pub(super) signing: SigningAlgorithm,
    pub(super) client: Guid,
}

impl Terms {
    /// What a NEGOTIATE response to that client says. [MS-SMB2] 3.2.5.2.
    pub(super) fn of(response: &NegotiateResponse, client: Guid) -> Self {
        let dialect = response.dialect_revision;
        let encrypts = response.capabilities.contains(Capabilities::ENCRYPTION);
        let mut terms = Self {
            dialect,
            cipher: encrypts.then_some(Cipher::AES_128_CCM),
            signing: if dialect >= Dialect::SMB_3_0 && dialect != Dialect::WILDCARD {
                SigningAlgorithm::AES_CMAC
            } else {
                SigningAlgorithm::HMAC_SHA256
            },
            client,
        };
        for context in &response.contexts {
            match context {
                NegotiateContext::Encryption { ciphers } => {
                    terms.cipher = ciphers.first().copied().filter(|it| *it != Cipher(0));
                }
                NegotiateContext::Signing { algorithms } => {
                    terms.signing = algorithms.first().copied().unwrap_or(terms.signing);
                }
                _ => {}
            }
        }
        terms
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) seal: ServerSecurity,
    pub(super) window: Window,
    /// None before NEGOTIATE; WILDCARD after a multi-protocol one.
    pub(super) dialect: Option<Dialect>,
    pub(super) client_guid: Guid,
    pub(super) client_capabilities: Capabilities,
    pub(super) client_mode: SecurityMode,
    /// Dialects the client offered, for VALIDATE_NEGOTIATE_INFO.
    pub(super) client_dialects: Vec<Dialect>,
    pub(super) server_capabilities: Capabilities,
    pub(super) terms: Terms,
    pub(super) max_io: u32,
    /// A session was set up here.
    pub(super) logged_in: bool,
    /// Frames in the output queue.
    pub(super) queued: usize,
    /// Requests that wait.
    pub(super) pending: usize,
    /// Bytes of them.
    pub(super) pending_bytes: usize,
    /// Sessions that it is a channel of, unfinished ones too.
    pub(super) sessions: BTreeSet<u64>,
    /// Opens of these sessions.
    pub(super) opens: usize,
    /// Open directories that are watched.
    pub(super) watches: usize,
    /// Responses sent, for the planted credit leak.
    pub(super) responses: u64,
}

impl Conn {
    pub(super) fn new(nonce_seed: u32) -> Self {
        Self {
            seal: ServerSecurity::new(nonce_seed),
            window: Window::default(),
            dialect: None,
            client_guid: Guid::default(),
            client_capabilities: Capabilities::empty(),
            client_mode: SecurityMode::empty(),
            client_dialects: Vec::new(),
            server_capabilities: Capabilities::empty(),
            terms: Terms::default(),
            max_io: 65_536,
            logged_in: false,
            queued: 0,
            pending: 0,
            pending_bytes: 0,
            sessions: BTreeSet::new(),
            opens: 0,
            watches: 0,
            responses: 0,
        }
    }

    /// The dialect, once it is one.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect.unwrap_or(Dialect::SMB_2_0_2)
    }

    /// Whether CreditCharge counts. [MS-SMB2] 3.3.5.2.5.
    pub(super) fn multi_credit(&self) -> bool {
        self.server_capabilities.contains(Capabilities::LARGE_MTU)
    }
}

/// The message ids a client may use: `Connection.CommandSequenceWindow`. [MS-SMB2] 3.3.1.1.
#[derive(Debug)]
pub(super) struct Window {
    low: u64,
    range: u64,
    used: BTreeSet<u64>,
}

impl Default for Window {
    /// Message id 0 alone. [MS-SMB2] 3.3.5.1.
    fn default() -> Self {
        Self {
            low: 0,
            range: 1,
            used: BTreeSet::new(),
        }
    }
}

impl Window {
    /// Takes `charge` ids from `id` on; false when one of them was not granted or is used up.
    pub(super) fn take(&mut self, id: u64, charge: u16) -> bool {
        let charge = u64::from(charge.max(1));
        let (Some(end), Some(limit)) = (id.checked_add(charge), self.low.checked_add(self.range))
        else {
            return false;
        };
        if id < self.low || end > limit || self.used.range(id..end).next().is_some() {
            return false;
        }
        self.used.extend(id..end);
        while self.used.remove(&self.low) {
            self.low = self.low.saturating_add(1);
            self.range = self.range.saturating_sub(1);
        }
        true
    }

    /// Grants what a response to a request of `charge` that asks for `asked` credits may, and
    /// returns it. `generous` is false where only what was used is given back.
    /// [MS-SMB2] 3.3.1.2; at least one, at most `most` outstanding, as Samba.
    pub(super) fn grant(&mut self, charge: u16, asked: u16, generous: bool, most: u16) -> u16 {
        let charge = charge.max(1);
        let extra = if generous {
            asked.saturating_sub(1).min(most.saturating_sub(charge))
        } else {
            0
        };
        let room = u64::from(most).saturating_sub(self.range);
        let granted = u64::from(charge.saturating_add(extra)).min(room);
        self.range = self.range.saturating_add(granted);
        u16::try_from(granted).unwrap_or(most)
    }

    /// Takes granted credits back: the planted leak.
    pub(super) fn leak(&mut self, credits: u16) {
        self.range = self.range.saturating_sub(u64::from(credits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_moves_and_refuses() {
        let mut window = Window::default();
        assert!(window.take(0, 0));
        assert!(!window.take(0, 1), "used up");
        assert!(!window.take(1, 1), "not granted");
        assert_eq!(window.grant(1, 10, true, 8192), 10);
        assert!(window.take(3, 2));
        assert!(!window.take(4, 1));
        assert!(window.take(1, 1));
        assert!(window.take(2, 1));
        assert_eq!(window.low, 5);
        assert!(!window.take(u64::MAX, 2));
        assert_eq!(window.grant(1, 0xffff, true, 8192), 8186);
    }
}
