//! A journal's inputs given to an engine whose requests go to another server than the one that made them: so
//! what a client does upon answers that were changed, connections that were cut and breaks that were forged
//! is done to a server that is there.
//!
//! | file      | holds                                                                       |
//! |-----------|-----------------------------------------------------------------------------|
//! | `script`  | a journal's inputs, and which request each answer is one to                   |
//! | `actor`   | the machine: gives the engine one input after the other, each when it may come |
//! | `orders`  | what the engine orders, and when it may go out                                |
//! | `wire`    | what went to the server, and what it has said                                 |
//! | `names`   | ids of the journal made those that this server gave                           |
//! | `heard`   | what came of it, and in what two servers differ                               |
//!
//! The engine hears the journal, not the server. Of what the server says it is told three things: the ids that
//! it gave, that it refused what the journal's server gave, and that it ended a connection. All else is
//! compared, with what another server (the model) said to the same requests.

mod actor;
mod heard;
mod names;
mod orders;
mod script;
mod wire;

pub use self::{
    actor::{Actor, Patience},
    heard::{Difference, Fate, Heard, Kind, differences},
    script::{Line, RequestKey, Script},
};
