//! Exit codes, from sysexits.h where it has a suitable one.

use std::{fmt::Display, process::ExitCode};

use super::output;

/// The result of a subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Success,
    /// 1
    Failed,
    /// 64: the command line is wrong.
    Usage,
    /// 69: the broker, the API, Redis or the daemon cannot be reached.
    Unreachable,
    /// 70: the drain timed out; the broker redelivers the remaining commands.
    DrainTimedOut,
    /// 78: the configuration is wrong.
    Configuration,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::DrainTimedOut => 70,
            Self::Configuration => 78,
        }
    }

    /// Prints the error and returns `self`, for `map_err`.
    pub(super) fn because(self, error: impl Display) -> Self {
        output::print_error(&error);
        self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Prints the error and returns [`Exit::Failed`], for `map_err`.
pub(super) fn failed(error: impl Display) -> Exit {
    Exit::Failed.because(error)
}
