//! Another program in this one's place: the same process, terminal and exit code, for what only the other one can do.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Returns only where `program` could not be started.
pub fn give_way(program: &Path, args: impl Iterator<Item = OsString>) -> io::Error {
    Command::new(program).args(args).exec()
}
