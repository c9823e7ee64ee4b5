//! The replication server.
fn main() {}
