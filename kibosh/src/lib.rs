//! Kibosh: a pass-through FUSE file system that injects disk faults.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod abi;
pub mod fault;
pub mod request;
pub mod sys;
