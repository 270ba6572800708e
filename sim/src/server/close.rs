//! CLOSE, and what goes with the last of a file's opens. [MS-SMB2] 3.3.5.10, [MS-FSA] 2.1.5.5.

use smbench_core::smb2::{CloseFlags, CloseRequest, CloseResponse};

use super::answer::{Answer, Cx, Handled};
use super::data::Data;
use super::fs::Child;
use super::notify::Change;
use super::open::OpenId;
use super::waiting::Timer;
use super::{Plant, Server};

impl Server {
    pub(super) fn close(&mut self, cx: &Cx, body: &CloseRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        let mut response = CloseResponse::default();
        if body.flags.contains(CloseFlags::POSTQUERY_ATTRIB) {
            let found = self.fs.node(node)?;
            response = CloseResponse {
                flags: CloseFlags::POSTQUERY_ATTRIB,
                creation_time: found.times.created,
                last_access_time: found.times.accessed,
                last_write_time: found.times.written,
                change_time: found.times.changed,
                allocation_size: self.fs.allocation(node, stream),
                end_of_file: self.fs.data(node, stream).map_or(0, Data::size),
                file_attributes: found.reported_attributes(),
            };
        }
        self.close_open(id);
        Ok(Answer::ok(response))
    }

    /// Takes an open out of every table.
    pub(super) fn close_open(&mut self, id: OpenId) {
        self.unwatch(id);
        let Some(open) = self.opens.remove(&id) else {
            return;
        };
        match open.conn {
            Some(conn) => self.unattach(conn, open.session, id),
            None => self.disconnected = self.disconnected.saturating_sub(1),
        }
        self.volatile.remove(&open.volatile);
        self.clear_timer(Timer::Oplock(id));
        self.clear_timer(Timer::Durable(id));
        if let Some(lease) = open.lease {
            self.leave_lease(lease, id);
        }
        let child = Child {
            node: open.node,
            link: open.link,
        };
        if open.wrote {
            self.break_listing_above(child, open.parent_lease);
        }
        let mut delete = false;
        let mut deleter = None;
        if let Some(file) = self.files.get_mut(&open.stream) {
            file.leave(id, &open);
            if open.delete_on_close {
                file.deleter = open.parent_lease;
            }
            // As Samba: who closes last has to know the directory as well as who wants it deleted.
            deleter = file.deleter.filter(|it| Some(*it) == open.parent_lease);
            // [MS-FSA] 2.1.5.5: the open's own wish becomes the file's.
            if open.delete_on_close {
                file.pending.insert(open.deletes());
            }
            if !file.is_open() {
                delete = !file.pending.is_empty();
                if !delete {
                    self.files.remove(&open.stream);
                }
            }
        }
        if delete && open.stream != open.node {
            self.files.remove(&open.stream);
        }
        // A name that is to be deleted goes with the last open by it, of whatever stream.
        let file = self.files.get(&open.node);
        let pending = file.is_some_and(|file| file.pending.contains(&open.link));
        if pending && (open.posix_delete || !self.is_open_by(child)) {
            self.settle_pending(child);
            if !self.has(Plant::LostDeleteOnClose) {
                self.break_listing_above(child, deleter);
                self.delete_name(child);
            }
        } else if delete && open.stream != open.node && !self.has(Plant::LostDeleteOnClose) {
            self.fs.remove_stream(open.node, open.stream);
            self.changed(child, Change::stream_removed());
        }
        let orphan = self
            .fs
            .node(open.node)
            .is_ok_and(|node| node.links.is_empty());
        if orphan && !self.is_open(open.node) {
            let now = self.filetime();
            self.fs.remove(open.node, now);
        }
        self.finish_waiting_on(id);
        self.touch(open.stream);
    }

    /// A name is no longer about to be deleted.
    fn settle_pending(&mut self, child: Child) {
        if let Some(file) = self.files.get_mut(&child.node) {
            file.pending.remove(&child.link);
            if !file.is_open() && file.pending.is_empty() {
                self.files.remove(&child.node);
            }
        }
    }

    /// Deletes a name; what it named lives on as long as it is open or has another one. A directory that is not
    /// empty stays.
    pub(super) fn delete_name(&mut self, child: Child) {
        let Ok(found) = self.fs.node(child.node) else {
            return;
        };
        let children = found.children.as_ref();
        let empty = children.is_none_or(|children| children.is_empty());
        if empty && !self.fs.is_root(child.node) && found.link(child.link).is_some() {
            let is_dir = found.is_dir();
            // Told before, while there is still a path.
            self.changed(child, Change::removed(is_dir));
            let now = self.filetime();
            self.fs.remove_link(child.node, child.link, now);
        }
    }
}
