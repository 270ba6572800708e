//! The table of [`super`]: what each message teaches.

use super::{Connection, SIGNING_REQUIRED, Setup};
use crate::seal::SealError;
use crate::seal::keys::{Cipher, Dialect, PreauthHash, SigningAlgorithm};
use crate::seal::wire::{
    Header, LOGOFF, NEGOTIATE, SESSION_SETUP, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
    TREE_CONNECT, TREE_DISCONNECT, slice_at, u16_at, u32_at,
};

impl Connection {
    /// Learns from one plain PDU of either direction, signature included.
    ///
    /// `session_id` is the header's, or the compound's when the PDU is related and says 2^64 - 1.
    pub(in crate::seal) fn note(
        &mut self,
        pdu: &[u8],
        header: &Header,
        session_id: u64,
    ) -> Result<(), SealError> {
        match (header.command, header.is_response()) {
            (NEGOTIATE, false) => self.negotiate_request(pdu),
            (NEGOTIATE, true) => self.negotiate_response(pdu, header),
            (SESSION_SETUP, false) => self.setup_request(pdu, header, session_id),
            (SESSION_SETUP, true) => self.setup_response(pdu, header, session_id)?,
            (TREE_CONNECT, true) if header.status == 0 => {
                let flags = u32_at(pdu, 68).unwrap_or(0);
                if let Some(session) = self.sessions.get_mut(&session_id)
                    && flags & SHAREFLAG_ENCRYPT_DATA != 0
                {
                    session.encrypted_trees.insert(header.tree_id);
                }
            }
            (TREE_DISCONNECT, true) if header.status == 0 => {
                if let Some(session) = self.sessions.get_mut(&session_id) {
                    session.encrypted_trees.remove(&header.tree_id);
                }
            }
            (LOGOFF, true) if header.status == 0 => self.forget(session_id),
            _ => {}
        }
        Ok(())
    }

    fn negotiate_request(&mut self, pdu: &[u8]) {
        self.client_mode = u16_at(pdu, 68).unwrap_or(0);
        self.offered = PreauthHash::default();
        self.offered.update(pdu);
    }

    fn negotiate_response(&mut self, pdu: &[u8], header: &Header) {
        let Some(dialect) = u16_at(pdu, 68).map(Dialect) else {
            return;
        };
        if header.status != 0 || dialect == Dialect::WILDCARD {
            return;
        }
        self.dialect = Some(dialect);
        self.server_mode = u16_at(pdu, 66).unwrap_or(0);
        self.server_capabilities = u32_at(pdu, 88).unwrap_or(0);
        self.signing = SigningAlgorithm::default_of(dialect);
        self.cipher = None;
        if dialect == Dialect::SMB311 {
            self.chain = self.offered;
            self.chain.update(pdu);
            self.negotiate_contexts(pdu);
        } else if dialect.is_3x() && self.server_capabilities & CAP_ENCRYPTION != 0 {
            self.cipher = Some(Cipher::Aes128Ccm); // [MS-SMB2] 3.2.5.2
        }
    }

    /// Reads the two contexts that matter here. [MS-SMB2] 2.2.4.1.
    fn negotiate_contexts(&mut self, pdu: &[u8]) {
        let count = u16_at(pdu, 70).unwrap_or(0);
        let mut at = u32_at(pdu, 124)
            .and_then(|at| usize::try_from(at).ok())
            .unwrap_or(0);
        for _ in 0..count {
            let (Some(kind), Some(len)) = (u16_at(pdu, at), u16_at(pdu, at.saturating_add(2)))
            else {
                return;
            };
            let data = slice_at(pdu, at.saturating_add(8), len.into()).unwrap_or_default();
            let chosen = u16_at(data, 2);
            match kind {
                2 => self.cipher = chosen.and_then(Cipher::from_wire),
                8 => {
                    if let Some(algorithm) = chosen.and_then(SigningAlgorithm::from_wire) {
                        self.signing = algorithm;
                    }
                }
                _ => {}
            }
            at = at
                .saturating_add(8)
                .saturating_add(len.into())
                .next_multiple_of(8);
        }
    }

    fn setup_request(&mut self, pdu: &[u8], header: &Header, session_id: u64) {
        if self.is_established(session_id) {
            return; // A re-authentication changes no key. [MS-SMB2] 3.2.5.3.2
        }
        let mode = pdu.get(67).copied().map_or(0, u16::from) | self.client_mode;
        let known = self.sessions.get(&session_id);
        let resumed = known.filter(|session| session.preauth != PreauthHash::default());
        let mut chain = resumed.map_or(self.chain, |session| session.preauth);
        if self.dialect == Some(Dialect::SMB311) {
            chain.update(pdu);
        }
        while self.setups.len() >= MAX_SETUPS && self.setups.pop_first().is_some() {
            self.forgotten_setups = self.forgotten_setups.saturating_add(1);
        }
        let signing_required = mode & SIGNING_REQUIRED != 0;
        self.setups.insert(
            header.message_id,
            Setup {
                chain,
                signing_required,
            },
        );
    }

    fn setup_response(
        &mut self,
        pdu: &[u8],
        header: &Header,
        session_id: u64,
    ) -> Result<(), SealError> {
        if header.status == STATUS_PENDING {
            return Ok(());
        }
        let setup = self.setups.remove(&header.message_id);
        let finished = header.status == 0;
        if !finished && header.status != STATUS_MORE_PROCESSING_REQUIRED {
            if !self.is_established(session_id) {
                self.sessions.remove(&session_id);
            }
            return Ok(());
        }
        if self.is_established(session_id) {
            return Ok(());
        }
        let algorithms = self.algorithms();
        let server_demands = self.server_requires_signing();
        let session = self.sessions.entry(session_id).or_default();
        if let Some(setup) = setup {
            session.preauth = setup.chain;
            session.signing_required = setup.signing_required || server_demands;
        }
        if !finished {
            session.preauth.update(pdu);
            return Ok(());
        }
        let flags = u16_at(pdu, 66).unwrap_or(0);
        session.established = true;
        session.keyless = flags & (SESSION_FLAG_GUEST | SESSION_FLAG_NULL) != 0;
        session.encrypt = flags & SESSION_FLAG_ENCRYPT_DATA != 0;
        match algorithms {
            Ok(algorithms) => session.settle(algorithms),
            Err(_) => Ok(()), // a capture that begins after NEGOTIATE: no key can be derived
        }
    }
}

const CAP_ENCRYPTION: u32 = 0x40;
const SESSION_FLAG_GUEST: u16 = 0x1;
const SESSION_FLAG_NULL: u16 = 0x2;
const SESSION_FLAG_ENCRYPT_DATA: u16 = 0x4;
const SHAREFLAG_ENCRYPT_DATA: u32 = 0x8000;
/// More unanswered SESSION_SETUP requests than any client keeps in flight.
const MAX_SETUPS: usize = 1024;
