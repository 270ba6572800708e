//! Journals as seeds of a fuzzer: the events of a run are changed, and the engine is fed what is left of
//! them by a driver that keeps its contract.
//!
//! | file         | holds                                                              |
//! |--------------|--------------------------------------------------------------------|
//! | `mutation`   | what a server, a network or the end of a run can do otherwise      |
//! | `player`     | feeds the engine changed events, as a faithful driver would        |
//! | `watch`      | what holds in every run, whatever comes                            |
//! | `hunt`       | many runs: outcomes, findings, the fewest changes that show one    |
//!
//! Everything follows from a journal and a number: the same two give the same.

mod hunt;
mod mutation;
mod player;
mod watch;

pub(crate) use self::mutation::key_of;
pub use self::{
    hunt::{Finding, Hunt, Hunted, Seedling},
    mutation::{Event, Mutation, mutated, mutations},
    player::{Played, Player, Zeros},
    watch::{Violation, Watch},
};
