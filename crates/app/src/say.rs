//! What the program says. A reader who has gone (`| head`) is no failure; a full disk under standard output is one.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use contract::Complaint;

/// A line on standard output.
pub fn line(text: impl Display) -> Result<(), Complaint> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Complaint::new(
            "output_unwritable",
            format!("standard output cannot be written: {error}"),
            "check where it goes",
        )),
        _ => Ok(()),
    }
}

/// A line on standard error; where that is closed, nobody is left to tell.
pub fn aside(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
