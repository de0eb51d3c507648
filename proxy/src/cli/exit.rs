//! How a command fails: one message that says what is wrong and what to do, and the right status.

use std::fmt::Display;
use std::process::ExitCode;

/// Result of a command that ran.
pub(super) type Outcome = Result<ExitCode, Exit>;

/// A command that could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub status: u8,
    pub message: String,
}

impl Exit {
    /// Usage, configuration, or input that cannot be read.
    pub fn usage(message: impl Display) -> Exit {
        Exit { status: 2, message: message.to_string() }
    }

    /// Something that should not happen.
    pub fn internal(message: impl Display) -> Exit {
        Exit { status: 3, message: message.to_string() }
    }

    pub(super) fn report(self) -> ExitCode {
        eprintln!("clyra: {}", self.message);
        ExitCode::from(self.status)
    }
}

/// The thing checked is bad.
pub(super) fn bad() -> ExitCode {
    ExitCode::from(1)
}
