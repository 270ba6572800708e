//! Facts as they wait on disk.

use std::num::NonZeroU32;

use smbench_core::{
    ids::{ConnId, OpenRef, SessionRef, TreeRef},
    smb2::NtStatus,
};

use super::{Deed, Facts, NameId, Opening};
use crate::{
    opens::Scope,
    paged::{Bytes, Record},
};

impl Record for Facts {
    fn write(&self, out: &mut Vec<u8>) {
        put_name(self.name, out);
        put_name(self.parent, out);
        self.deed.write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        Self {
            name: name(from),
            parent: name(from),
            deed: Deed::read(from),
        }
    }
}

/// The name of an open and of its folder.
impl Record for Option<(NameId, Option<NameId>)> {
    fn write(&self, out: &mut Vec<u8>) {
        put_name(self.map(|it| it.0), out);
        put_name(self.and_then(|it| it.1), out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        let (name, parent) = (name(from), name(from));
        Some((name?, parent))
    }
}

impl Record for Deed {
    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Nothing => out.push(0),
            Self::Open(opening) => {
                out.push(1);
                opening.write(out);
            }
            Self::Close(open) => put(2, open, false, out),
            Self::End(scope) => {
                let (tag, number) = match scope {
                    Scope::Conn(it) => (3, it.0),
                    Scope::Session(it) => (4, it.0),
                    Scope::Tree(it) => (5, it.0),
                };
                out.push(tag);
                number.write(out);
            }
            Self::Read {
                open,
                offset,
                asked,
                got,
                at_end,
            } => {
                put(6, open, at_end, out);
                offset.write(out);
                asked.write(out);
                got.write(out);
            }
            Self::Write { open, end, done } => {
                put(7, open, done, out);
                end.write(out);
            }
            Self::Resize { open, size, done } => {
                put(8, open, done, out);
                size.write(out);
            }
            Self::Change { open, done } => put(9, open, done, out),
            Self::Look { open } => put(10, open, false, out),
            Self::Rename {
                open,
                to,
                to_parent,
                done,
                denied,
            } => {
                put(11, open, done, out);
                out.push(denied.into());
                put_name(Some(to), out);
                put_name(to_parent, out);
            }
            Self::Dispose { open, delete, done } => {
                put(12, open, done, out);
                out.push(delete.into());
            }
            Self::List { open } => put(13, open, false, out),
        }
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        let tag = from.u8();
        match tag {
            1 => return Self::Open(Opening::read(from)),
            3 => return Self::End(Scope::Conn(ConnId(from.u32()))),
            4 => return Self::End(Scope::Session(SessionRef(from.u32()))),
            5 => return Self::End(Scope::Tree(TreeRef(from.u32()))),
            2 | 6..=13 => {}
            _ => return Self::Nothing,
        }
        let (open, done) = (OpenRef(from.u32()), from.u8() != 0);
        match tag {
            2 => Self::Close(open),
            6 => Self::Read {
                open,
                offset: from.u64(),
                asked: from.u32(),
                got: from.u32(),
                at_end: done,
            },
            7 => Self::Write {
                open,
                end: from.u64(),
                done,
            },
            8 => Self::Resize {
                open,
                size: from.u64(),
                done,
            },
            9 => Self::Change { open, done },
            10 => Self::Look { open },
            11 => {
                let denied = from.u8() != 0;
                let (to, to_parent) = (name(from), name(from));
                to.map_or(Self::Nothing, |to| Self::Rename {
                    open,
                    to,
                    to_parent,
                    done,
                    denied,
                })
            }
            12 => Self::Dispose {
                open,
                delete: from.u8() != 0,
                done,
            },
            _ => Self::List { open },
        }
    }
}

impl Record for Opening {
    fn write(&self, out: &mut Vec<u8>) {
        let flags = [
            self.delete_on_close,
            self.directory,
            self.durable,
            self.open.is_some(),
            self.action.is_some(),
            self.size.is_some(),
        ];
        let bits = flags.iter().zip(0..);
        out.push(bits.fold(0, |all, (flag, at)| all | u8::from(*flag) << at));
        self.access.write(out);
        self.share.write(out);
        self.status.0.write(out);
        self.open.map_or(0, |it| it.0).write(out);
        self.action.unwrap_or_default().write(out);
        self.size.unwrap_or_default().write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        let flags = from.u8();
        let flag = |at: u8| flags >> at & 1 != 0;
        Self {
            access: from.u32(),
            share: from.u32(),
            status: NtStatus(from.u32()),
            open: Some(OpenRef(from.u32())).filter(|_| flag(3)),
            action: Some(from.u32()).filter(|_| flag(4)),
            size: Some(from.u64()).filter(|_| flag(5)),
            delete_on_close: flag(0),
            directory: flag(1),
            durable: flag(2),
        }
    }
}

fn put(tag: u8, open: OpenRef, flag: bool, out: &mut Vec<u8>) {
    out.push(tag);
    open.0.write(out);
    out.push(flag.into());
}

fn put_name(name: Option<NameId>, out: &mut Vec<u8>) {
    name.map_or(0, |NameId(it)| it.get()).write(out);
}

fn name(from: &mut Bytes<'_>) -> Option<NameId> {
    NonZeroU32::new(from.u32()).map(NameId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paged::{List, Scratch};

    fn deeds() -> Vec<Deed> {
        let open = OpenRef(7);
        let to = NonZeroU32::new(9).map(NameId).expect("not zero");
        let mut deeds = vec![
            Deed::Nothing,
            Deed::Close(open),
            Deed::End(Scope::Conn(ConnId(3))),
            Deed::End(Scope::Session(SessionRef(4))),
            Deed::End(Scope::Tree(TreeRef(5))),
            Deed::Look { open },
            Deed::List { open },
        ];
        for flag in [false, true] {
            let (done, at_end, number) = (flag, flag, u64::MAX - u64::from(flag));
            let to_parent = flag.then_some(to);
            deeds.extend([
                Deed::Read {
                    open,
                    offset: number,
                    asked: 1,
                    got: u32::MAX,
                    at_end,
                },
                Deed::Write {
                    open,
                    end: number,
                    done,
                },
                Deed::Resize {
                    open,
                    size: number,
                    done,
                },
                Deed::Change { open, done },
                Deed::Rename {
                    open,
                    to,
                    to_parent,
                    done,
                    denied: !flag,
                },
                Deed::Dispose {
                    open,
                    delete: !flag,
                    done,
                },
                Deed::Open(Opening {
                    open: flag.then_some(open),
                    access: 1,
                    share: 2,
                    delete_on_close: flag,
                    directory: !flag,
                    status: NtStatus::SHARING_VIOLATION,
                    action: (!flag).then_some(3),
                    size: flag.then_some(number),
                    durable: flag,
                }),
            ]);
        }
        deeds
    }

    #[test]
    fn facts_come_back_from_disk_as_they_were() {
        let name = NonZeroU32::new(1).map(NameId);
        let path = format!("smbench-facts-{}", std::process::id());
        let scratch = Scratch::tight(std::env::temp_dir().join(path), 2);
        let mut list = List::new(Some(&scratch));
        let mut all = Vec::new();
        for round in 0..100 {
            for deed in deeds() {
                let facts = Facts {
                    name: name.filter(|_| round % 2 == 0),
                    parent: name.filter(|_| round % 3 == 0),
                    deed,
                };
                list.push(facts);
                all.push(facts);
            }
        }
        assert!(scratch.len() > 10_000, "{} bytes on disk", scratch.len());
        let view = list.view();
        let read: Vec<Facts> = view.iter(0..view.len()).collect();
        assert!(read == all);
        // A change of what is on disk is kept as well.
        if let Some(slot) = list.get_mut(3) {
            *slot = all[20];
        }
        let (far, changed) = (list.get(all.len() - 1), list.get(3));
        assert_eq!((far, changed), (all.last().copied(), Some(all[20])));
        scratch.check().expect("all is written and read");
    }
}
