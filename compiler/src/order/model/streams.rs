//! What a file and its streams have to do with each other.
//!
//! Each stream with a name is a file of its own here: it has its size, its data and its opens. But
//! it is made with its file, goes with it, and keeps it from being moved or deleted. [MS-FSA] 2.1.5.

use super::{Asked, FileNo, Holder, Key, Model, NameId, NameState};

impl Model {
    /// A stream was opened, which opens its file as well, or makes it. The file, and whether that
    /// makes sense.
    pub(super) fn stream_opened(
        &mut self,
        asked: &Asked<'_>,
        created: bool,
    ) -> (Option<FileNo>, bool) {
        let Some(name) = asked.file else {
            return (None, true);
        };
        let state = self.state(name);
        let file = self.existing(name);
        let known = self.streams.entry(name).or_default();
        if known.len() < STREAMS {
            known.insert(asked.name);
        }
        if created && !matches!(state, NameState::Present(_)) {
            self.touches.push((Key::Name(name), true));
            self.touches
                .extend(asked.parent.map(|parent| (Key::Children(parent), true)));
        }
        self.touches.push((Key::Share(file), true));
        self.save_file(file);
        let holder = asked.holder().map(|holder| Holder {
            name,
            parent: asked.parent,
            delete_on_close: false,
            by_stream: true,
            ..holder
        });
        if let Some((slot, holder)) = self.files.get_mut(file.0 as usize).zip(holder) {
            slot.held_by(holder);
        }
        (Some(file), created || state != NameState::Absent)
    }

    /// The file of a stream that was refused, when it is there.
    pub(super) fn touch_file_of_stream(&mut self, asked: &Asked<'_>) -> Option<FileNo> {
        match self.state(asked.file?) {
            NameState::Present(file) => {
                self.touches.push((Key::Share(file), false));
                Some(file)
            }
            _ => None,
        }
    }

    pub(super) fn has_open_streams(&self, file: FileNo) -> bool {
        self.file(file)
            .is_some_and(|file| file.holders.iter().any(|holder| holder.by_stream))
    }

    /// A name is no more, and with it what streams it had.
    pub(super) fn gone(&mut self, name: NameId) {
        self.learn(name, NameState::Absent);
        for stream in self.streams.get(&name).cloned().unwrap_or_default() {
            self.learn(stream, NameState::Absent);
        }
    }

    /// Another file has the name: whether it has the same streams is not known.
    pub(super) fn forget_streams(&mut self, name: NameId) {
        for stream in self.streams.get(&name).cloned().unwrap_or_default() {
            self.learn(stream, NameState::Unknown);
        }
    }
}

/// Streams of one file that go with it: each time that it goes, all are looked at.
const STREAMS: usize = 256;
