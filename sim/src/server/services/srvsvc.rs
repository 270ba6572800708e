//! Shares and the server. [MS-SRVS] 3.1.4.

use super::Facts;
use super::ndr::{Reader, Syntax, Writer};
use super::pdu::{Called, Fault};

/// The result of a call, as it is on the wire.
pub(super) fn answer(facts: &Facts<'_>, call: &Called<'_>) -> Result<Vec<u8>, Fault> {
    let syntax = call.syntax;
    let mut arguments = Reader::of(call.arguments, syntax);
    match call.opnum {
        15 => share_enum(facts, syntax, &mut arguments),
        16 => share_get_info(facts, syntax, &mut arguments),
        21 => server_get_info(facts, syntax, &mut arguments),
        _ => return Err(Fault::UNKNOWN_CALL),
    }
    .ok_or(Fault::BAD_ARGUMENTS)
}

/// NetrShareEnum. [MS-SRVS] 3.1.4.8.
fn share_enum(facts: &Facts<'_>, syntax: Syntax, arguments: &mut Reader<'_>) -> Option<Vec<u8>> {
    arguments.pointer(Reader::string)?;
    arguments.structure();
    let level = arguments.u32()?;
    let mut out = Writer::of(syntax);
    out.u32(level).structure().u32(level);
    if !is_known(level) {
        // No container, no shares.
        return Some(out.word(0).u32(0).word(0).u32(INVALID_LEVEL).end());
    }
    let count = u32::try_from(facts.shares.len()).ok()?;
    out.pointer().u32(count).pointer().word(count);
    for (name, is_pipe) in &facts.shares {
        share(&mut out, level, name, *is_pipe);
    }
    // All fit: there is nothing to go on with.
    Some(out.strings().u32(count).word(0).u32(SUCCESS).end())
}

/// NetrShareGetInfo. [MS-SRVS] 3.1.4.10.
fn share_get_info(
    facts: &Facts<'_>,
    syntax: Syntax,
    arguments: &mut Reader<'_>,
) -> Option<Vec<u8>> {
    arguments.pointer(Reader::string)?;
    let asked = arguments.string()?;
    let level = arguments.u32()?;
    let mut out = Writer::of(syntax);
    out.u32(level);
    let mut shares = facts.shares.iter();
    let found = shares.find(|(name, _)| name.eq_ignore_ascii_case(&asked));
    match found.filter(|_| is_known(level)) {
        Some((name, is_pipe)) => {
            out.pointer();
            share(&mut out, level, name, *is_pipe);
            out.strings().u32(SUCCESS);
        }
        None if is_known(level) => {
            out.word(0).u32(NO_SUCH_SHARE);
        }
        None => {
            out.word(0).u32(INVALID_LEVEL);
        }
    }
    Some(out.end())
}

/// NetrServerGetInfo. [MS-SRVS] 3.1.4.17.
fn server_get_info(
    facts: &Facts<'_>,
    syntax: Syntax,
    arguments: &mut Reader<'_>,
) -> Option<Vec<u8>> {
    arguments.pointer(Reader::string)?;
    let level = arguments.u32()?;
    let mut out = Writer::of(syntax);
    out.u32(level);
    match level {
        100 => {
            out.pointer().u32(PLATFORM_NT).text(facts.name);
        }
        101 => {
            out.pointer().u32(PLATFORM_NT).text(facts.name);
            out.u32(10).u32(0).u32(SERVER_TYPE).text(REMARK);
        }
        _ => return Some(out.word(0).u32(INVALID_LEVEL).end()),
    }
    Some(out.strings().u32(SUCCESS).end())
}

const fn is_known(level: u32) -> bool {
    matches!(level, 0..=2 | 501 | 502)
}

/// SHARE_INFO_0, _1, _2, _501 and _502. [MS-SRVS] 2.2.4.22 to 2.2.4.26.
fn share(out: &mut Writer, level: u32, name: &str, is_pipe: bool) {
    out.text(name);
    if level == 0 {
        return;
    }
    let remark = if is_pipe { "IPC Service" } else { "" };
    out.u32(if is_pipe { TYPE_IPC } else { TYPE_DISK })
        .text(remark);
    if level == 501 {
        // Flags: nothing is cached.
        out.u32(0);
    }
    if matches!(level, 2 | 502) {
        // Permissions, which share-level servers have; as many users as will come, of whom none is counted.
        out.u32(0).u32(u32::MAX).u32(0).text("C:\\").word(0);
    }
    if level == 502 {
        // No security descriptor, of no length.
        out.u32(0).word(0);
    }
}

const SUCCESS: u32 = 0;
/// ERROR_INVALID_LEVEL. [MS-ERREF] 2.2.
const INVALID_LEVEL: u32 = 124;
/// NERR_NetNameNotFound. [MS-ERREF] 2.2.
const NO_SUCH_SHARE: u32 = 2310;
/// STYPE_DISKTREE; STYPE_IPC and STYPE_SPECIAL. [MS-SRVS] 2.2.2.4.
const TYPE_DISK: u32 = 0;
const TYPE_IPC: u32 = 0x8000_0003;
/// SV_PLATFORM_ID_NT. [MS-SRVS] 2.2.2.6.
pub(super) const PLATFORM_NT: u32 = 500;
/// SV_TYPE_SERVER and SV_TYPE_WORKSTATION. [MS-SRVS] 2.2.2.7.
const SERVER_TYPE: u32 = 0x3;
const REMARK: &str = "SMBench model server";
