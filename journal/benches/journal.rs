//! Figures of the journal (being measured).

fn main() {}
