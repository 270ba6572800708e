//! Responses: to whom they belong, what they give, and what follows.
//!
//! [MS-SMB2] 3.2.5.1.

use super::{
    Engine, EngineError, OpEvent, Slot, compare,
    config::{Headers, Patience},
    conn::{Flight, Owner},
    issue::patch,
    unsolicited::{is_notification, is_server_notice},
    view::{View, create},
};
use crate::{
    event::{Divergence, Effect, Milestone, Outcome, Report, Seal},
    frame::{Cut, Frame},
    ids::{ConnId, LogicalTime, OpId},
    smb2::{Command, FileId, Fsctl, HEADER_LEN, Header, NtStatus},
    workload::ShareKind,
};

/// One response PDU of a frame.
#[derive(Clone, Copy)]
pub(super) struct Pdu<'a> {
    pub(super) header: &'a Header,
    /// From its header on, without bulk data.
    pub(super) bytes: &'a [u8],
    pub(super) cut: Option<&'a Cut>,
}

impl Engine {
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        seal: Seal,
    ) -> Result<(), EngineError> {
        let (mut malformed, mut belongs) = (false, false);
        for pdu in frame.pdus() {
            let Ok((header, bytes, cut)) = pdu else {
                malformed = true;
                break;
            };
            let pdu = Pdu {
                header: &header,
                bytes,
                cut,
            };
            if self.belongs(conn, pdu)? {
                belongs = true;
                self.heard(conn, header.is_interim())?;
            } else {
                self.conn_mut(conn)?.unsolicited.add(bytes.len());
            }
            self.response(conn, pdu, seal)?;
        }
        if malformed {
            self.conn_mut(conn)?.unsolicited.add(frame.bytes.len());
            self.malformed(conn)?;
        }
        if belongs {
            self.check_share(conn)?;
        }
        self.drain(conn)
    }

    fn response(&mut self, conn: ConnId, pdu: Pdu<'_>, seal: Seal) -> Result<(), EngineError> {
        let Pdu { header, .. } = pdu;
        if is_notification(header) {
            return self.break_arrived(conn, pdu);
        }
        if is_server_notice(header) && self.config.headers == Headers::Checked {
            return Ok(()); // it asks for nothing, and answers nothing
        }
        let interim = header.is_interim();
        let mid = header.message_id.0;
        let it = self.conn_mut(conn)?;
        let flight = if interim {
            it.flights.get(&mid).copied()
        } else {
            it.flights.remove(&mid)
        };
        let late = flight.is_none() && !interim;
        let late = late.then(|| it.given_up.remove(&mid)).flatten();
        // What a request gave back when it was given up is granted already.
        let granted = late.map_or(0, |late| late.charge);
        it.grant(header.credits.saturating_sub(granted));
        let Some(Flight {
            owner,
            sent_at,
            sent,
        }) = flight
        else {
            if late.is_none() || self.config.headers == Headers::Lax {
                self.stray(conn, header);
            }
            return late.map_or(Ok(()), |late| self.came_late(conn, late.op, pdu));
        };
        let Owner::Op(op) = owner else { return Ok(()) };
        if seal == Seal::BadSignature {
            self.diverged(op, Divergence::BadSignature);
        }
        let misfit = sent.and_then(|sent| sent.misfit(header));
        let wrong = misfit.is_some();
        if let Some(misfit) = misfit {
            self.diverged(op, misfit);
        }
        if interim {
            // Only an asynchronous header is interim.
            self.interim(op, header.async_id().unwrap_or_default())
        } else {
            self.answered(conn, op, sent_at, pdu, wrong)
        }
    }

    /// The answer to `op` came after it was given up: a handle that it gives is in nobody's hands.
    fn came_late(&mut self, conn: ConnId, op: OpId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        let opened = self.planned(op)?.cmd == Command::CREATE && self.fits(op, pdu.header)?;
        let opened = opened && !pdu.header.nt_status().is_error();
        match View(pdu.bytes).file_id(create::FILE_ID) {
            Some(id) if opened => self.close_unasked(conn, op, id),
            _ => Ok(()),
        }
    }

    /// What belongs to nothing is told.
    pub(super) fn stray(&mut self, conn: ConnId, header: &Header) {
        let (command, status) = (header.command.0, header.nt_status());
        self.report(Report::Stray {
            conn,
            command,
            status,
        });
    }

    /// STATUS_PENDING: the request is the server's to finish. [MS-SMB2] 3.2.5.1.5.
    fn interim(&mut self, op: OpId, async_id: u64) -> Result<(), EngineError> {
        let unknown = EngineError::unknown_op(op);
        if self.runs.live_mut(op).ok_or(unknown)?.reached_interim {
            return Ok(());
        }
        self.step(op, OpEvent::Interim { async_id })?;
        let unknown = EngineError::unknown_op(op);
        self.runs.live_mut(op).ok_or(unknown)?.reached_interim = true;
        self.reach(op, Milestone::Interim)
    }

    fn answered(
        &mut self,
        conn: ConnId,
        op: OpId,
        sent_at: LogicalTime,
        pdu: Pdu<'_>,
        wrong: bool,
    ) -> Result<(), EngineError> {
        let Pdu { header, bytes, cut } = pdu;
        let status = header.nt_status();
        let fits = self.fits(op, header)?;
        if fits && !self.login_answered(conn, op, status, header.session_id.0)? {
            return Ok(());
        }
        let outcome = compare::outcome(header, bytes, cut).filter(|_| fits);
        let malformed = outcome.is_none();
        let outcome = outcome.unwrap_or(Outcome {
            status,
            ..Outcome::default()
        });
        let latency_ns = self.now.nanos_since(sent_at);
        self.report(Report::Finished {
            op,
            outcome,
            latency_ns,
        });
        if malformed && wrong {
            // That its header is wrong says why.
        } else if malformed {
            self.diverged(op, Divergence::Malformed);
        } else if !self.is_absorbed_difference(op, status)? {
            self.report_differences(op, &outcome)?;
        }
        // Nothing is believed that a response of another's gives.
        self.take_what_it_gives(conn, op, pdu, malformed || wrong)?;
        self.step(op, OpEvent::Final)?;
        self.schedule.forget(&self.runs);
        let interim = self.runs.get(op).is_some_and(|run| run.reached_interim);
        if !interim {
            self.reach(op, Milestone::Interim)?;
        }
        self.reach(op, Milestone::Response)
    }

    /// Whether a response with `header` can be one to `op`: to the same command, and of a
    /// TREE_CONNECT with the id of the tree, which an asynchronous header has no place for.
    fn fits(&self, op: OpId, header: &Header) -> Result<bool, EngineError> {
        let cmd = self.planned(op)?.cmd;
        let gives = cmd != Command::TREE_CONNECT || header.nt_status().is_error();
        let fits = header.command == cmd && (gives || header.tree_id().is_some());
        Ok(fits || self.config.patience == Patience::Twice)
    }

    fn report_differences(&mut self, op: OpId, outcome: &Outcome) -> Result<(), EngineError> {
        let planned = self.plan.op(op).ok_or(EngineError::unknown_op(op))?;
        let (out, grants) = (&mut self.out, self.config.grants);
        compare::differences(&self.plan, &planned, outcome, grants, |divergence| {
            out.push_back(Effect::Report(Report::Diverged { op, divergence }));
        });
        Ok(())
    }

    /// Remembers the ids that a response gives, or that it will not give them.
    fn take_what_it_gives(
        &mut self,
        conn: ConnId,
        op: OpId,
        pdu: Pdu<'_>,
        malformed: bool,
    ) -> Result<(), EngineError> {
        let status = pdu.header.nt_status();
        if status.is_error() || malformed {
            self.fail_what_it_gives(op, op);
            if !self.fits(op, pdu.header)? {
                self.login_lost(op, op)?;
            }
            return Ok(());
        }
        let planned = self.plan.op(op).ok_or(EngineError::unknown_op(op))?;
        match planned.cmd {
            Command::TREE_CONNECT => self.connected_tree(op, pdu)?,
            Command::CREATE => return self.opened(conn, op, pdu),
            Command::IOCTL => {
                let key = resume_key(pdu.bytes);
                if let Some(key) = key {
                    self.resume_keys.insert(op, key);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A TREE_CONNECT gave a tree. What was planned for a share of another kind is not sent: its names
    /// were put below a root, or were not.
    fn connected_tree(&mut self, op: OpId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        // A TREE_CONNECT of a workload that people edited may set up no tree of it. Older engines took
        // an asynchronous answer, which has no place for an id.
        let tree = self.planned(op)?.tree;
        let Some((tree, id)) = tree.zip(pdu.header.tree_id()) else {
            return Ok(());
        };
        let unknown = EngineError::Unknown {
            what: "tree",
            number: tree.0,
        };
        let kinds = &self.plan.resources.tree_kinds;
        let planned = *kinds.get(tree.index()).ok_or_else(|| unknown.clone())?;
        let given = View(pdu.bytes).u8(SHARE_TYPE_AT).map(ShareKind::of_wire);
        let given = given.unwrap_or(ShareKind::Unknown);
        let policy = &self.config.policy;
        let prints = given == ShareKind::Printer && !policy.printers;
        let other = given.is_confined() != planned.is_confined();
        let refused = policy.confined && (prints || other);
        let slot = self.trees.get_mut(tree.index()).ok_or(unknown)?;
        *slot = if refused {
            Slot::Failed(op)
        } else {
            Slot::Held(id.0)
        };
        if refused {
            self.report(Report::TreeRefused { op });
        }
        Ok(())
    }

    /// A CREATE gave a handle. One that the recording does not have is closed at once, lest it
    /// stand in the way of what comes.
    fn opened(&mut self, conn: ConnId, op: OpId, pdu: Pdu<'_>) -> Result<(), EngineError> {
        let view = View(pdu.bytes);
        // `compare::outcome` has looked: a body without them is malformed.
        let lost = || EngineError::unknown_op(op);
        let id = view.file_id(create::FILE_ID).ok_or_else(lost)?;
        let oplock = view.u8(create::OPLOCK).ok_or_else(lost)?;
        let planned = self.planned(op)?;
        let (open, client, tree) = (planned.open, planned.client, planned.tree);
        if let Some((key, _)) = view.lease() {
            self.breaks.leased(client, key, op);
        }
        let kinds = &self.plan.resources.tree_kinds;
        let kind = tree.and_then(|tree| kinds.get(tree.index()));
        let on_pipe = self.config.policy.confined && kind == Some(&ShareKind::Pipe);
        if let Some(open) = open.filter(|_| on_pipe)
            && let Some(other) = self.pipes.insert(id, open)
            && other != open
        {
            // The server's two are one to it: what is said on either is said on both.
            self.pipes.insert(id, other);
            self.diverged(op, Divergence::Malformed);
            self.fail_what_it_gives(op, op);
            return Ok(());
        }
        match open.and_then(|open| Some((open, self.opens.get_mut(open.index())?))) {
            Some((open, slot)) => {
                *slot = Slot::Held(id);
                self.breaks.granted(open, op, id, oplock);
                Ok(())
            }
            None => self.close_unasked(conn, op, id),
        }
    }

    fn close_unasked(&mut self, conn: ConnId, op: OpId, id: FileId) -> Result<(), EngineError> {
        let mut body = Vec::with_capacity(24);
        body.extend_from_slice(&[24, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&id.to_bytes());
        self.send_beside(conn, op, Command::CLOSE, &body)
    }

    /// Sends a request of the engine's own, in the session and tree of `op`.
    pub(super) fn send_beside(
        &mut self,
        conn: ConnId,
        op: OpId,
        command: Command,
        body: &[u8],
    ) -> Result<(), EngineError> {
        let planned = self.planned(op)?;
        let (session, tree, charge) = (planned.session, planned.tree, planned.charge.min(1));
        let held_session = session.and_then(|it| self.sessions.get(it.index()));
        let held_tree = tree.and_then(|it| self.trees.get(it.index()));
        let (session, tree) = match (held_session, held_tree) {
            (Some(Slot::Held(session)), Some(Slot::Held(tree))) => (*session, *tree),
            _ => return Ok(()), // where there is no session, the server has nothing to be told
        };
        if self.conn(conn)?.credits == 0 {
            return Ok(()); // what the recording sends comes first
        }
        let mut header = Header {
            credit_charge: charge,
            command,
            credits: 1,
            ..Header::default()
        };
        header.session_id.0 = session;
        header.set_tree_id(crate::smb2::TreeId(tree));
        self.send_own(conn, header, body)
    }

    /// Sends a request of the engine's own. The caller has seen that there is a credit for it.
    pub(super) fn send_own(
        &mut self,
        conn: ConnId,
        mut header: Header,
        body: &[u8],
    ) -> Result<(), EngineError> {
        let now = self.now;
        let it = self.conn_mut(conn)?;
        let mid = it.take(1);
        it.flights.insert(
            mid,
            Flight {
                owner: Owner::Engine,
                sent_at: now,
                sent: None,
            },
        );
        header.message_id.0 = mid;
        let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
        header.encode(&mut bytes);
        bytes.extend_from_slice(body);
        patch(&mut bytes, 4, &64u16.to_le_bytes());
        let frame = Frame {
            bytes,
            cuts: Vec::new(),
        };
        self.out.push_back(Effect::Send {
            conn,
            frame,
            login: None,
        });
        Ok(())
    }

    /// A frame that does not parse: the oldest request in flight is told.
    fn malformed(&mut self, conn: ConnId) -> Result<(), EngineError> {
        let mut flights = self.conn(conn)?.flights.values();
        let oldest = flights.find_map(|flight| match flight.owner {
            Owner::Op(op) => Some(op),
            Owner::Engine => None,
        });
        match oldest {
            Some(op) => self.diverged(op, Divergence::Malformed),
            None => {
                let status = NtStatus::default();
                self.report(Report::Stray {
                    conn,
                    command: u16::MAX,
                    status,
                });
            }
        }
        Ok(())
    }
}

/// The key in a FSCTL_SRV_REQUEST_RESUME_KEY response. [MS-SMB2] 2.2.32.3.
fn resume_key(pdu: &[u8]) -> Option<[u8; 24]> {
    let view = View(pdu);
    if view.u32(HEADER_LEN + 4)? != Fsctl::SRV_REQUEST_RESUME_KEY.0 {
        return None;
    }
    let at = view.u32(HEADER_LEN + 32)? as usize;
    pdu.get(at..at.checked_add(24)?)?.try_into().ok()
}

/// ShareType in a TREE_CONNECT response. [MS-SMB2] 2.2.10.
const SHARE_TYPE_AT: usize = HEADER_LEN + 2;
