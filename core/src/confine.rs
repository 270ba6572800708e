//! What a run may reach: nothing outside its root, and nothing that is no file.

use thiserror::Error;

use crate::{engine::RunConfig, frame::Frame, ids::ConnId};

/// A frame that was to leave reaches what its run may not reach. Planning should have refused it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Breach {}

/// Looks at every frame that leaves, knowing nothing of the plan.
#[derive(Clone, Debug, Default)]
pub struct Gate {}

impl Gate {
    /// A gate that lets everything pass: for runs that reach nothing but a model.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// The gate of a run.
    #[must_use]
    pub fn of(_config: &RunConfig) -> Self {
        Self::default()
    }

    /// Learns from a frame that came.
    pub fn received(&mut self, _conn: ConnId, _frame: &Frame) {}

    /// Whether `plain` may leave on `conn`.
    ///
    /// # Errors
    ///
    /// [`Breach`] when it must not.
    pub fn pass(&mut self, _conn: ConnId, _plain: &[u8]) -> Result<(), Breach> {
        Ok(())
    }
}
