//! Tests of the model server, through a client that speaks the codec.

mod basics;
mod binding;
mod client;
mod denials;
mod files;
mod floods;
mod functions;
mod hardlinks;
mod hostile;
mod links;
mod login;
mod parents;
mod pipes;
mod posix;
mod replay;
mod sharing;
mod tables;
mod versions;
mod waits;
