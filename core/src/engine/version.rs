//! Which engine this is: what a journal names, so that a rerun by another one is told apart from a
//! nondeterministic one.

/// Version of the engine, raised whenever the same inputs lead to other effects than before.
///
/// | version | since                                                           |
/// |---------|-----------------------------------------------------------------|
/// | 1       | the first; journals that name no version are its                |
/// | 2       | what a run may send is confined, and overdue requests end sooner |
/// | 3       | answers whose data are not where they say are malformed; symbolic links in the way are none |
pub const ENGINE_VERSION: u32 = 3;
