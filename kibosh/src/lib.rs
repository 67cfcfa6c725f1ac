//! Kibosh: a pass-through FUSE file system that injects disk faults.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod abi;
mod aligned;
mod channel;
pub mod fault;
mod follow;
mod fs;
pub mod fuzz;
mod gate;
mod mount;
mod nodes;
mod outside;
mod piped;
mod pool;
pub mod request;
pub mod serve;
pub mod sys;
mod timer;
mod undo;

#[cfg(feature = "python")]
mod python;
