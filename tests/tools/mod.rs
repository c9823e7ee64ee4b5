//! What the tests share.

pub mod cache_store;
pub mod lab;
