//! Why a kernel refuses: lengths that do not fit the shapes, shapes that cannot be, machines that lack an instruction set.

/// A call that cannot be right, found before any memory is touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{what} holds {got} values, its shape needs {need}; pass a slice of exactly that length")]
    Length { what: &'static str, got: usize, need: usize },
    #[error("{what} is {got}, the limit is {limit}; {remedy}")]
    Shape { what: &'static str, got: usize, limit: &'static str, remedy: &'static str },
    #[error("{what} reaches value {reach} of a slice of {got}; lower the strides or pass a longer slice")]
    Reach { what: &'static str, reach: usize, got: usize },
    #[error("the strides of the {what} put two values in one place; raise them")]
    Overlap { what: &'static str },
    #[error("this cpu runs instruction sets up to {best}, {asked} was asked for; ask for {best} or less")]
    Isa { asked: &'static str, best: &'static str },
    #[error("variant {asked} cannot compute this layer ({why}); take one of {able}")]
    Variant { asked: &'static str, why: &'static str, able: String },
    #[error("the thread pool of {threads} threads did not start ({why}); ask for fewer threads")]
    Pool { threads: usize, why: String },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Refuses a slice whose length is not what its shape needs.
pub(crate) fn check_len(what: &'static str, got: usize, need: usize) -> Result<()> {
    if got == need { Ok(()) } else { Err(Error::Length { what, got, need }) }
}

/// Refuses a shape whose number is zero.
pub(crate) fn check_positive(what: &'static str, got: usize) -> Result<()> {
    if got > 0 {
        Ok(())
    } else {
        Err(Error::Shape { what, got, limit: "at least 1", remedy: "check the shape" })
    }
}
