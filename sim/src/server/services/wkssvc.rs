//! The workstation. [MS-WKST] 3.2.4.1.

use super::Facts;
use super::ndr::{Reader, Syntax, Writer};
use super::pdu::{Called, Fault};
use super::srvsvc::PLATFORM_NT;

/// The result of a call, as it is on the wire.
pub(super) fn answer(facts: &Facts<'_>, call: &Called<'_>) -> Result<Vec<u8>, Fault> {
    let syntax = call.syntax;
    let mut arguments = Reader::of(call.arguments, syntax);
    match call.opnum {
        0 => get_info(facts, syntax, &mut arguments).ok_or(Fault::BAD_ARGUMENTS),
        _ => Err(Fault::UNKNOWN_CALL),
    }
}

/// NetrWkstaGetInfo. [MS-WKST] 3.2.4.1, WKSTA_INFO_100 to _102.
fn get_info(facts: &Facts<'_>, syntax: Syntax, arguments: &mut Reader<'_>) -> Option<Vec<u8>> {
    arguments.pointer(Reader::string)?;
    let level = arguments.u32()?;
    let mut out = Writer::of(syntax);
    out.u32(level);
    if !matches!(level, 100..=102) {
        return Some(out.word(0).u32(INVALID_LEVEL).end());
    }
    out.pointer()
        .u32(PLATFORM_NT)
        .text(facts.name)
        .text("WORKGROUP");
    out.u32(10).u32(0);
    if level > 100 {
        out.text("");
    }
    if level > 101 {
        out.u32(0);
    }
    Some(out.strings().u32(0).end())
}

/// ERROR_INVALID_LEVEL. [MS-ERREF] 2.2.
const INVALID_LEVEL: u32 = 124;
