//! CLOSE, and what goes with the last of a file's opens. [MS-SMB2] 3.3.5.10, [MS-FSA] 2.1.5.5.

use smbench_core::smb2::{CloseFlags, CloseRequest, CloseResponse};

use super::answer::{Answer, Cx, Handled};
use super::data::Data;
use super::fs::{NodeId, StreamId};
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
        if open.wrote {
            self.break_listing_above(open.node, open.parent_lease);
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
            file.delete_pending |= open.delete_on_close;
            if !file.is_open() {
                delete = file.delete_pending;
                if !delete {
                    self.files.remove(&open.stream);
                }
            }
        }
        if delete && open.stream != open.node {
            self.files.remove(&open.stream);
        }
        // A file that is to be deleted goes with the last open of any of its streams.
        let pending = self
            .files
            .get(&open.node)
            .is_some_and(|file| file.delete_pending);
        if pending && !self.is_open(open.node) {
            self.files.remove(&open.node);
            if !self.has(Plant::LostDeleteOnClose) {
                self.break_listing_above(open.node, deleter);
                self.delete(open.node, open.node);
            }
        } else if delete && open.stream != open.node && !self.has(Plant::LostDeleteOnClose) {
            self.delete(open.node, open.stream);
        }
        let orphan = self.fs.node(open.node).is_ok_and(|node| node.orphan);
        if orphan && !self.is_open(open.node) {
            let now = self.filetime();
            self.fs.remove(open.node, now);
        }
        self.finish_waiting_on(id);
        self.touch(open.stream);
    }

    /// Deletes a stream, or a file with its streams. A directory that is not empty stays.
    fn delete(&mut self, node: NodeId, stream: StreamId) {
        let Ok(found) = self.fs.node(node) else {
            return;
        };
        if stream != node {
            self.fs.remove_stream(node, stream);
            self.changed(node, Change::stream_removed());
            return;
        }
        let empty = found
            .children
            .as_ref()
            .is_none_or(|children| children.is_empty());
        if empty && found.parent != node {
            let is_dir = found.is_dir();
            // Told before, while there is still a path.
            self.changed(node, Change::removed(is_dir));
            let now = self.filetime();
            self.fs.remove(node, now);
        }
    }
}
