//! How opens end without a CLOSE, and how durable ones go on.

use smbench_core::ids::OpenRef;

use super::{Asked, FileNo, Held, Holder, Key, Model, NameState};
use crate::opens::{Home, Scope};

impl Asked<'_> {
    /// The open that it makes.
    pub(super) fn holder(&self) -> Option<Holder> {
        Some(Holder {
            open: self.it.open?,
            access: self.it.access,
            share: self.it.share,
            delete_on_close: self.it.delete_on_close,
            detached: false,
            name: self.name,
            parent: self.parent.filter(|_| self.file.is_none()),
            by_stream: false,
        })
    }

    /// What the open that it makes ends with.
    pub(super) fn home(&self) -> Home {
        Home {
            conn: Some(self.row.conn()),
            session: self.row.session(),
            tree: self.row.tree(),
        }
    }
}

impl Model {
    /// The handles of a connection, a session or a tree are given up. Durable ones are kept for
    /// whoever reclaims them, but for those of a tree. [MS-SMB2] 3.3.5.6, 3.3.5.8, 3.3.7.1
    pub(super) fn end(&mut self, scope: Scope) -> bool {
        for open in self.opens.within(scope) {
            match self.opens.get(open) {
                Some(held) if held.durable && !matches!(scope, Scope::Tree(_)) => {
                    self.detach(open, held);
                }
                _ => {
                    self.close(open);
                }
            }
        }
        true
    }

    fn detach(&mut self, open: OpenRef, held: Held) {
        self.set_open(open, Some((held, Home::default())));
        let mut holder = None;
        self.change_open(open, held, |it| {
            it.detached = true;
            holder = holder.or(Some(*it));
        });
        for file in held.files() {
            self.touches.push((Key::Share(file), true));
        }
        // Whether the file is deleted now, or with whoever reclaims it, is for the server to say.
        if let Some(held) = holder.filter(|held| held.delete_on_close) {
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
        let before = self.opens.get(old);
        let file = match (before, self.state(asked.name)) {
            (Some(held), _) => held.file,
            (None, NameState::Present(file)) => file,
            (None, _) => return true,
        };
        let new = asked.it.open.filter(|_| !asked.it.status.is_error());
        self.touches.push((Key::Share(file), new.is_some()));
        let Some(new) = new else { return true };
        if self.state(asked.name) == NameState::Unknown {
            self.learn(asked.name, NameState::Present(file));
        }
        let held = before.unwrap_or(Held {
            file,
            stream_of: None,
            durable: asked.it.durable,
        });
        let mut was_detached = true;
        self.change_open(old, held, |holder| {
            was_detached = holder.detached;
            (holder.detached, holder.open) = (false, new);
        });
        self.set_open(old, None);
        self.set_open(new, Some((held, asked.home())));
        was_detached
    }

    /// Changes what is known of an open, also where the file of its stream knows it.
    fn change_open(&mut self, open: OpenRef, held: Held, mut change: impl FnMut(&mut Holder)) {
        for file in held.files() {
            self.save_file(file);
            let slot = self.files.get_mut(file.0 as usize);
            let mut holders = slot.into_iter().flat_map(|file| &mut file.holders);
            let holder = holders.find(|holder| holder.open == open);
            holder.into_iter().for_each(&mut change);
        }
    }
}

impl Held {
    /// What is open: of a stream also its file.
    fn files(self) -> impl Iterator<Item = FileNo> {
        std::iter::once(self.file).chain(self.stream_of)
    }
}
