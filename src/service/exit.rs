//! Exit statuses (sysexits), as the original's users and scripts know them.

/// The command line is wrong, or no socket was given.
pub const USAGE: u8 = 64;
/// Something that should work does not, such as a store that cannot be opened.
pub const SOFTWARE: u8 = 70;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
