//! Which calls are known to change nothing on a server, and where it says so.
//!
//! A call that is not in the table is not known to change nothing, whatever its name.

mod table;

use super::{Call, Interface, Kind, Uuid};

/// A call that changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownCall {
    /// Its number.
    pub opnum: u16,
    /// Its name in the document.
    pub name: &'static str,
    /// The document and the section that say what it does.
    pub section: &'static str,
}

/// An interface of the table.
struct KnownInterface {
    /// The name that people know it by.
    name: &'static str,
    uuid: Uuid,
    major: u16,
    calls: &'static [KnownCall],
}

/// Why a call may not be sent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// It is not known to change nothing.
    Call,
    /// It carries a recorded token or signature, which would be a failed logon.
    Auth,
}

/// The known call `opnum` of `interface`, when it changes nothing. Of versions only the major one
/// counts: a minor one adds calls and changes none. [C706] 6.1.1.
#[must_use]
pub fn reads_only(interface: &Interface, opnum: u16) -> Option<&'static KnownCall> {
    let calls = known(interface)?.calls;
    let at = calls.binary_search_by_key(&opnum, |call| call.opnum).ok()?;
    calls.get(at)
}

/// The name of a well-known interface, such as `srvsvc`.
#[must_use]
pub fn interface_name(interface: &Interface) -> Option<&'static str> {
    known(interface).map(|it| it.name)
}

/// Why `call` may not be sent where only calls are sent that change nothing; none when it may.
///
/// Bindings change nothing, nor does it to give up a call. A PDU that has only begun calls nothing:
/// what it is will be told with the bytes that complete its head.
#[must_use]
pub fn refusal(call: &Call) -> Option<Refusal> {
    if call.auth {
        return Some(Refusal::Auth);
    }
    let is_query = || reads_only(&call.interface?, call.opnum?);
    match call.kind {
        Kind::Bind | Kind::AlterContext | Kind::Abandon | Kind::Begun => None,
        Kind::Request if is_query().is_some() => None,
        Kind::Request | Kind::Other(_) | Kind::Unreadable => Some(Refusal::Call),
    }
}

fn known(interface: &Interface) -> Option<&'static KnownInterface> {
    let key = (interface.uuid, interface.major);
    let at = table::INTERFACES
        .binary_search_by_key(&key, |it| (it.uuid, it.major))
        .ok()?;
    table::INTERFACES.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_where() {
        let keys: Vec<_> = table::INTERFACES
            .iter()
            .map(|it| (it.uuid, it.major))
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        let mut calls = 0;
        for it in table::INTERFACES {
            assert!(
                it.calls.is_sorted_by(|a, b| a.opnum < b.opnum),
                "{}",
                it.name
            );
            for call in it.calls {
                assert!(call.section.starts_with("[MS-"), "{}", call.name);
                assert!(call.section.contains("] 2.") || call.section.contains("] 3."));
                let interface = of(&it.uuid.to_string(), it.major);
                assert_eq!(reads_only(&interface, call.opnum), Some(call));
                calls += 1;
            }
        }
        assert!(calls > 150, "{calls} calls");
    }

    #[test]
    fn what_changes_something_or_makes_a_server_connect_is_absent() {
        let srvsvc = "4b324fc8-1670-01d3-1278-5a47bf6ee188";
        let svcctl = "367abb81-9844-35f1-ad32-98f038001003";
        let winreg = "338cd001-2244-31f1-aaaa-900038001003";
        let samr = "12345778-1234-abcd-ef00-0123456789ac";
        let lsarpc = "12345778-1234-abcd-ef00-0123456789ab";
        let spoolss = "12345678-1234-abcd-ef00-0123456789ab";
        let netlogon = "12345678-1234-abcd-ef00-01234567cffb";
        let netdfs = "4fc742e0-4a10-11cf-8273-00aa004ae673";
        let atsvc = "1ff70682-0a51-30e8-076d-740be8cee98b";
        let tasks = "86d35949-83c9-4044-b424-db363231fd0c";
        let eventlog = "82273fdc-e32a-18c3-3f78-827929dc23ea";
        let wkssvc = "6bffd098-a112-3610-9833-46c3f87e345a";
        let cases: [(&str, u16, &[u16]); 12] = [
            // NetrFileClose, NetrSessionDel, NetrShareAdd to NetrShareDelSticky, NetrServerSetInfo,
            // transports, paths, NetrpSetFileSecurity, DFS, aliases, NetrShareDelEx.
            (
                srvsvc,
                3,
                &[
                    11, 13, 14, 17, 18, 19, 22, 25, 27, 30, 31, 32, 37, 38, 40, 41,
                ],
            ),
            (srvsvc, 3, &[44, 45, 46, 48, 49, 50, 51, 52, 53, 54, 56, 57]),
            // Control, delete, lock, change, create, start, 32-bit create, notifications, stop with reason.
            (
                svcctl,
                2,
                &[
                    1, 2, 3, 5, 7, 8, 11, 12, 19, 23, 24, 31, 36, 37, 44, 45, 50, 51, 60,
                ],
            ),
            // Create, delete, load, replace, restore, save, set, unload, shutdown.
            (
                winreg,
                1,
                &[6, 7, 8, 11, 13, 18, 19, 20, 21, 22, 23, 24, 25, 30, 31, 35],
            ),
            // Set, create, add, delete, remove, passwords.
            (
                samr,
                1,
                &[
                    2, 4, 9, 10, 12, 14, 21, 22, 23, 24, 26, 29, 30, 31, 32, 35, 37, 38,
                ],
            ),
            (samr, 1, &[45, 50, 52, 53, 54, 55, 58, 63, 66, 67, 73]),
            (
                lsarpc,
                0,
                &[
                    1, 4, 8, 10, 12, 16, 19, 20, 24, 27, 28, 29, 30, 34, 37, 38, 40, 41, 42, 43,
                ],
            ),
            // What names a printer or a server, jobs, printers, drivers, documents, forms, ports;
            // notifications to a listed server.
            (
                spoolss,
                1,
                &[
                    0, 1, 2, 5, 6, 7, 9, 10, 12, 13, 14, 15, 17, 19, 30, 33, 35, 36, 37, 51, 62,
                    65, 69, 70, 77, 81, 82, 88, 89,
                ],
            ),
            (
                netlogon,
                1,
                &[
                    2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 18, 20, 26, 27, 29, 30, 31, 34, 39, 41, 42,
                    45, 46,
                ],
            ),
            (
                netdfs,
                3,
                &[
                    1, 2, 3, 4, 6, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23,
                ],
            ),
            (tasks, 1, &[1, 3, 4, 10, 11, 12, 13, 14, 19]),
            (
                wkssvc,
                1,
                &[
                    1, 4, 6, 7, 8, 10, 12, 14, 16, 17, 18, 22, 23, 24, 25, 26, 27, 28, 29,
                ],
            ),
        ];
        for (uuid, major, opnums) in cases {
            let interface = of(uuid, major);
            assert!(interface_name(&interface).is_some(), "{interface}");
            for opnum in opnums {
                assert_eq!(reads_only(&interface, *opnum), None, "{interface} {opnum}");
            }
        }
        for opnum in [0, 1] {
            assert_eq!(reads_only(&of(atsvc, 1), opnum), None);
        }
        for opnum in [0, 1, 3, 8, 9, 11, 16] {
            assert_eq!(reads_only(&of(eventlog, 0), opnum), None);
        }
        // EfsRpcOpenFileRaw and all its kin, shadow copies, replication, shutdown.
        for (uuid, major) in [
            ("c681d488-d850-11d0-8c52-00c04fd90f7e", 1),
            ("df1941c5-fe89-4e79-bf10-463657acf44d", 1),
            ("a8e0653c-2744-4389-a61d-7373df8b2292", 1),
            ("e3514235-4b06-11d1-ab04-00c04fc2dcd2", 4),
            ("894de0c0-0d55-11d3-a322-00c04fa321a1", 1),
        ] {
            let interface = of(uuid, major);
            assert!(interface_name(&interface).is_some(), "{interface}");
            assert!((0..=u16::MAX).all(|opnum| reads_only(&interface, opnum).is_none()));
        }
    }

    #[test]
    fn another_major_version_is_another_interface() {
        let uuid = "4b324fc8-1670-01d3-1278-5a47bf6ee188";
        assert!(reads_only(&of(uuid, 3), 15).is_some());
        assert_eq!(reads_only(&of(uuid, 4), 15), None);
        assert_eq!(interface_name(&of(uuid, 3)), Some("srvsvc"));
    }

    #[test]
    fn calls_are_refused_by_what_they_are() {
        let query = Call {
            interface: Some(of("4b324fc8-1670-01d3-1278-5a47bf6ee188", 3)),
            opnum: Some(15),
            ..Call::of(Kind::Request)
        };
        assert_eq!(refusal(&query), None);
        let with = |change: fn(&mut Call)| {
            let mut call = query;
            change(&mut call);
            refusal(&call)
        };
        assert_eq!(with(|it| it.opnum = Some(14)), Some(Refusal::Call));
        assert_eq!(with(|it| it.interface = None), Some(Refusal::Call));
        assert_eq!(with(|it| it.auth = true), Some(Refusal::Auth));
        assert_eq!(with(|it| it.continues = true), None);
        for kind in [
            Kind::Unreadable,
            Kind::Other(2),
            Kind::Other(16),
            Kind::Other(20),
        ] {
            assert_eq!(refusal(&Call::of(kind)), Some(Refusal::Call), "{kind:?}");
        }
        for kind in [Kind::Bind, Kind::AlterContext, Kind::Abandon, Kind::Begun] {
            assert_eq!(refusal(&Call::of(kind)), None, "{kind:?}");
            let auth = Call {
                auth: true,
                ..Call::of(kind)
            };
            assert_eq!(refusal(&auth), Some(Refusal::Auth), "{kind:?}");
        }
    }

    fn of(uuid: &str, major: u16) -> Interface {
        format!("{uuid}:{major}.0").parse().unwrap()
    }
}
