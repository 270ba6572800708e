//! Memory for records that are not in a file.

use std::io;

use memmap2::MmapMut;

/// A stretch of memory that comes from the system as it is filled: in large pages where there are,
/// as the small ones of 20 MB would take as long to come as a fourth of what is written there.
#[derive(Debug)]
pub(super) struct Room {
    capacity: usize,
    /// Made when it is first needed.
    map: Option<MmapMut>,
    len: usize,
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            map: None,
            len: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        let map = self.map.as_ref();
        map.and_then(|map| map.get(..self.len)).unwrap_or_default()
    }

    /// The bytes from a place on.
    pub(super) fn behind(&mut self, at: usize) -> Option<&mut [u8]> {
        self.map.as_mut()?.get_mut(at..self.len)
    }

    /// Appends both; false where there is no room.
    ///
    /// # Errors
    ///
    /// [`io::Error`] where the system has no memory.
    pub(super) fn append(&mut self, first: &[u8], second: &[u8]) -> io::Result<bool> {
        let middle = self.len.saturating_add(first.len());
        let end = middle.saturating_add(second.len());
        if end > self.capacity {
            return Ok(false);
        }
        let map = match &mut self.map {
            Some(map) => map,
            None => self.map.insert(memory(self.capacity)?),
        };
        let places = map.get_mut(self.len..end);
        if let Some((before, behind)) = places.and_then(|it| it.split_at_mut_checked(first.len())) {
            before.copy_from_slice(first);
            behind.copy_from_slice(second);
        }
        self.len = end;
        Ok(true)
    }

    /// Forgets what it holds.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

fn memory(len: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(len)?;
    // Small pages do as well.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}
