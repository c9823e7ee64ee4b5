//! Exit statuses (sysexits), as the original's users and scripts know them.

/// The command line is wrong, or no socket was given.
pub const USAGE: u8 = 64;
/// What was given to be read is not of the right form.
pub const DATA: u8 = 65;
/// What was to be read does not exist or cannot be read.
pub const NO_INPUT: u8 = 66;
/// A user or mailbox does not exist.
pub const NO_USER: u8 = 67;
/// Something that should work does not, such as a store that cannot be opened.
pub const SOFTWARE: u8 = 70;
/// A file or directory cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed.
pub const INPUT_OUTPUT: u8 = 74;
/// Trying again later may help.
pub const TEMPORARY: u8 = 75;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
