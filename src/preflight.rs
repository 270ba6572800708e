//! What a server offers, asked before anything is replayed: a dialect, signing or encryption that is not
//! there would be told as a thousand divergences.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use smbench_core::engine::Plan;
use smbench_core::event::dialect_words;
use smbench_core::ids::OpId;
use smbench_core::seal::SigningPolicy;
use smbench_core::smb2::{
    Body, Capabilities, Cipher, Command, Dialect, Header, Message, NegotiateContext,
    NegotiateRequest, NegotiateResponse, NtStatus, Request, Response, SecurityMode,
};
use smbench_core::workload::{Action, Operation};

use crate::exit::{Failure, OrFail};
use crate::target::Target;

/// What the run needs of the server.
pub(crate) struct Needs {
    pub(crate) signing: SigningPolicy,
    /// Everything is to be encrypted.
    pub(crate) encrypt: bool,
    /// Another dialect than the recorded one will do.
    pub(crate) any_dialect: bool,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
}

/// Asks the server as the recorded clients did, a connection for each way they asked in.
/// `pick` gives operations of the plan.
pub(crate) fn check(
    plan: &Plan,
    target: &Target,
    needs: &Needs,
    pick: impl FnOnce(Vec<OpId>) -> Result<BTreeMap<OpId, Operation>, Failure>,
) -> Result<(), Failure> {
    if needs.any_dialect && needs.signing == SigningPolicy::IfRequired && !needs.encrypt {
        return Ok(()); // whatever it offers will do
    }
    for (request, recorded) in recorded_requests(plan, pick)? {
        let Some(offer) = ask(target, &request, needs.timeout)? else {
            return Ok(()); // what it says instead of an answer, the run will meet
        };
        let offered = match &offer {
            Ok(offer) => Some(offer.dialect_revision),
            // No dialect that both know. [MS-SMB2] 3.3.5.4.
            Err(NtStatus::NOT_SUPPORTED) => None,
            Err(status) => {
                return Err(Failure::environment(format!(
                    "the server refuses NEGOTIATE: {status}"
                ))
                .remedy("see in its settings and its log whom it refuses, and why"));
            }
        };
        if offered != Some(recorded) && !needs.any_dialect {
            let recorded = dialect_words(recorded.0);
            let instead = offered.map_or("none of those that were asked for".to_owned(), |it| {
                format!("{} instead", dialect_words(it.0))
            });
            return Err(Failure::environment(format!(
                "the server does not offer dialect {recorded}, which was recorded; it chooses {instead}"
            ))
            .remedy(
                "let the server offer it (Samba: server min protocol, server max protocol), or say \
                 --any-dialect",
            ));
        }
        let Ok(offer) = offer else { continue };
        check_signing(&offer, needs.signing)?;
        if needs.encrypt && !encrypts(&offer) {
            return Err(Failure::environment(
                "the server offers no encryption on what the recorded clients ask for",
            )
            .remedy(
                "leave --encrypt out, or let the server offer it (Samba: server smb encrypt)",
            ));
        }
    }
    Ok(())
}

fn check_signing(offer: &NegotiateResponse, signing: SigningPolicy) -> Result<(), Failure> {
    let mode = offer.security_mode;
    match signing {
        SigningPolicy::Always if !mode.intersects(SIGNS) => Err(Failure::environment(
            "the server does not offer signing",
        )
        .remedy("leave --signing always out, or let the server sign (Samba: server signing)")),
        SigningPolicy::Off if mode.contains(SecurityMode::SIGNING_REQUIRED) => {
            Err(Failure::environment("the server demands signing")
                .remedy("leave --signing off out"))
        }
        _ => Ok(()),
    }
}

fn encrypts(offer: &NegotiateResponse) -> bool {
    let context = offer.contexts.iter().any(|context| match context {
        NegotiateContext::Encryption { ciphers } => ciphers.iter().any(|it| *it != Cipher(0)),
        _ => false,
    });
    context || offer.capabilities.contains(Capabilities::ENCRYPTION)
}

/// The ways in which recorded clients asked for a dialect, with the one they got.
fn recorded_requests(
    plan: &Plan,
    pick: impl FnOnce(Vec<OpId>) -> Result<BTreeMap<OpId, Operation>, Failure>,
) -> Result<Vec<(NegotiateRequest, Dialect)>, Failure> {
    let recorded = plan.recorded();
    let all = (0u32..).map(OpId).zip(recorded.iter());
    let asked = all.filter(|(_, it)| it.command == Command::NEGOTIATE && it.is_answered);
    let asked: Vec<OpId> = asked.map(|(op, _)| op).take(LOOKED_AT).collect();
    let operations = pick(asked)?;
    let mut ways: BTreeMap<(Vec<u16>, u16), NegotiateRequest> = BTreeMap::new();
    for operation in operations.into_values() {
        let Operation { action, expect, .. } = operation;
        let dialect = expect.and_then(|it| it.dialect);
        if let (Action::Request(Request::Negotiate(request)), Some(dialect)) = (action, dialect) {
            let offered = request.dialects.iter().map(|it| it.0).collect();
            ways.entry((offered, dialect.0)).or_insert(request);
        }
    }
    let ways = ways.into_iter().take(ASKED);
    Ok(ways
        .map(|((_, dialect), request)| (request, Dialect(dialect)))
        .collect())
}

/// The answer to one request, on a connection of its own: an offer, a refusal, or nothing that could be
/// read.
fn ask(
    target: &Target,
    request: &NegotiateRequest,
    timeout: Duration,
) -> Result<Option<Result<NegotiateResponse, NtStatus>>, Failure> {
    let context = || {
        format!(
            "cannot reach the server {} ({})",
            target.host, target.address
        )
    };
    let connected = TcpStream::connect_timeout(&target.address, timeout);
    let mut stream = connected
        .or_environment(context())
        .map_err(|failure| failure.remedy("check --server, the port and the firewall"))?;
    stream
        .set_write_timeout(Some(timeout))
        .or_environment(context())?;
    let header = Header {
        command: Command::NEGOTIATE,
        credits: 1,
        ..Header::default()
    };
    let message = Message::new(header, Body::Request(Request::Negotiate(request.clone())));
    let mut frame = vec![0; 4];
    message.encode(&[], &mut frame);
    let len = u32::try_from(frame.len() - 4).or_defect("a NEGOTIATE request is too long")?;
    if let Some(head) = frame.first_chunk_mut() {
        *head = len.to_be_bytes();
    }
    let mut head = [0; 4];
    let until = Instant::now() + timeout;
    if stream.write_all(&frame).is_err() || !read_until(&mut stream, &mut head, until) {
        return Ok(None);
    }
    let len = usize::try_from(u32::from_be_bytes(head) & 0xff_ffff).unwrap_or(usize::MAX);
    let mut answer = vec![0; len.min(LONGEST_ANSWER)];
    if !read_until(&mut stream, &mut answer, until) {
        return Ok(None);
    }
    let Ok(decoded) = Message::decode_lossy(&answer) else {
        return Ok(None);
    };
    let status = decoded.message.header.nt_status();
    Ok(match decoded.message.body {
        _ if status.is_error() => Some(Err(status)),
        Body::Response(Response::Negotiate(offer)) => Some(Ok(offer)),
        _ => None,
    })
}

/// Fills `all` by `deadline`, however little comes at a time; whether it could.
fn read_until(stream: &mut TcpStream, mut all: &mut [u8], deadline: Instant) -> bool {
    while !all.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match stream.read(all) {
            Ok(0) | Err(_) => return false,
            Ok(len) => all = all.get_mut(len..).unwrap_or_default(),
        }
    }
    true
}

const SIGNS: SecurityMode = SecurityMode::SIGNING_ENABLED.union(SecurityMode::SIGNING_REQUIRED);
/// Recorded NEGOTIATE requests that are looked at, and ways of asking that are tried.
const LOOKED_AT: usize = 1_000;
const ASKED: usize = 8;
/// More than any NEGOTIATE response, in bytes.
const LONGEST_ANSWER: usize = 1 << 16;
