//! Exit codes, after sysexits.h where it has one.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 64: the arguments.
    Usage,
    /// 69: the broker or the API.
    Unreachable,
    /// 70: the drain ran out of time; what was left is redelivered.
    OutOfTime,
    /// 78: the configuration.
    Configuration,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::OutOfTime => 70,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
