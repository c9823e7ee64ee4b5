//! What the tests share; each uses some of it.

#![allow(dead_code)]

pub mod cache_store;
pub mod certificates;
pub mod lab;
pub mod mailbox_store;
