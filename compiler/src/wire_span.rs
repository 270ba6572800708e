//! When an operation was on the wire, in a count of frames that has no ties.

/// The life of an operation in capture order: each number counts frames over all connections,
/// strictly increasing, and no two events share one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WireSpan {
    /// Its request, or the event itself.
    pub request: u64,
    /// Its interim response.
    pub interim: Option<u64>,
    /// Its final response.
    pub response: Option<u64>,
}
