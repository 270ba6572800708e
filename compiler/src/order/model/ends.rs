//! How opens end without a CLOSE, and how durable ones go on.

use smbench_core::ids::OpenRef;

use super::{Asked, FileNo, Holder, Key, Model, NameState, Undo};
use crate::order::access::Scope;

impl Asked<'_> {
    /// The open that it makes. `stream_of` is the file, where it opens a stream.
    pub(super) fn holder(&self, stream_of: Option<FileNo>) -> Option<Holder> {
        Some(Holder {
            open: self.it.open?,
            conn: self.row.conn(),
            session: self.row.session(),
            tree: self.row.tree(),
            access: self.it.access,
            share: self.it.share,
            delete_on_close: self.it.delete_on_close,
            durable: self.it.durable,
            detached: false,
            name: self.name,
            parent: self.parent.filter(|_| stream_of.is_none()),
            stream_of,
            by_stream: false,
        })
    }
}

impl Model {
    /// The handles of a connection, a session or a tree are given up. Durable ones are kept for
    /// whoever reclaims them, but for those of a tree. [MS-SMB2] 3.3.5.6, 3.3.5.8, 3.3.7.1
    pub(super) fn end(&mut self, scope: Scope) -> bool {
        let files = &self.files;
        self.held.retain(|file| {
            let file = files.get(file.0 as usize);
            file.is_some_and(|file| !file.holders.is_empty())
        });
        let within = |holder: &Holder| match scope {
            Scope::Conn(conn) => holder.conn == conn,
            Scope::Session(session) => holder.session == Some(session),
            Scope::Tree(tree) => holder.tree == Some(tree),
        };
        let held = (self.held.iter())
            .filter_map(|file| files.get(file.0 as usize))
            .flat_map(|file| &file.holders)
            .filter(|holder| within(holder) && !holder.detached && !holder.by_stream);
        let held: Vec<(OpenRef, bool)> = held.map(|it| (it.open, it.durable)).collect();
        for (open, durable) in held {
            if durable && !matches!(scope, Scope::Tree(_)) {
                self.detach(open);
            } else {
                self.close(open);
            }
        }
        true
    }

    fn detach(&mut self, open: OpenRef) {
        let mut held = None;
        let files = self.change_open(open, |holder| {
            holder.detached = true;
            held = held.or(Some(*holder));
        });
        for file in files {
            self.touches.push((Key::Share(file), true));
        }
        // Whether the file is deleted now, or with whoever reclaims it, is for the server to say.
        if let Some(held) = held.filter(|held| held.delete_on_close) {
            self.touches.push((Key::Name(held.name), true));
            self.touches
                .extend(held.parent.map(|parent| (Key::Children(parent), true)));
            self.learn(held.name, NameState::Unknown);
        }
    }

    /// A durable open goes on, or not. It can only once its connection or session has ended, and
    /// whether it does tells nothing of names. [MS-SMB2] 3.3.5.9.7, 3.3.5.9.12
    pub(super) fn reclaim(&mut self, asked: &Asked<'_>, old: OpenRef) -> bool {
        self.touches.push((Key::Name(asked.name), false));
        let file = match (self.opens.get(&old), self.state(asked.name)) {
            (Some(file), _) => *file,
            (None, NameState::Present(file)) => file,
            (None, _) => return true,
        };
        let new = asked.it.open.filter(|_| !asked.it.status.is_error());
        self.touches.push((Key::Share(file), new.is_some()));
        let Some(new) = new else { return true };
        if self.state(asked.name) == NameState::Unknown {
            self.learn(asked.name, NameState::Present(file));
        }
        let mut was_detached = true;
        self.change_open(old, |holder| {
            was_detached = holder.detached;
            holder.detached = false;
            (holder.open, holder.conn) = (new, asked.row.conn());
            (holder.session, holder.tree) = (asked.row.session(), asked.row.tree());
        });
        self.undo
            .push_back(Undo::Open(old, self.opens.remove(&old)));
        self.undo
            .push_back(Undo::Open(new, self.opens.insert(new, file)));
        was_detached
    }

    /// Changes what is known of an open, also where the file of its stream knows it. These files.
    fn change_open(&mut self, open: OpenRef, mut change: impl FnMut(&mut Holder)) -> Vec<FileNo> {
        let mut changed = Vec::new();
        let mut next = self.opens.get(&open).copied();
        while let Some(file) = next {
            self.save_file(file);
            let slot = self.files.get_mut(file.0 as usize);
            let mut holders = slot.into_iter().flat_map(|file| &mut file.holders);
            let holder = holders.find(|holder| holder.open == open);
            next = holder.and_then(|holder| {
                change(holder);
                holder.stream_of
            });
            changed.push(file);
        }
        changed
    }
}
