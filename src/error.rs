//! The one error type. `bind/` maps every variant to a Python exception, exhaustively.
//!
//! A message says what went wrong, what was found and expected, where, and the next step.

use std::path::{Path, PathBuf};

/// What can go wrong, by what the user has to look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A checkpoint's tensors do not fit: missing, unexpected, mis-shaped, unreadable.
    #[error("{0}")]
    Weights(String),
    /// Texts, labels or a tokenizer do not fit.
    #[error("{0}")]
    Data(String),
    /// The machine or this build cannot do what was asked.
    #[error("{0}")]
    Device(String),
    /// A training run cannot go on.
    #[error("{0}")]
    Training(String),
    /// An argument or a configuration field has a value that is not supported.
    #[error("{0}")]
    Value(String),
    /// A file or directory is not there.
    #[error("{}: no such file or directory{}", .path.display(), .hint)]
    NotFound { path: PathBuf, hint: String },
    /// The operating system refused to read or write.
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A monitor asked the run to stop (an interrupt, or an exception raised in a callback).
    #[error("stopped by the monitor: {0}")]
    Stopped(Box<dyn std::error::Error + Send + Sync>),
    /// The tensor library failed; a bug of this package if it reaches a user.
    #[error("internal tensor error: {0}")]
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(without_backtrace(error))
    }
}

/// The error itself: with RUST_BACKTRACE set candle wraps it in a backtrace that would reach the user's message.
pub fn without_backtrace(error: candle_core::Error) -> candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } | candle_core::Error::Context { inner, .. } => {
            without_backtrace(*inner)
        }
        other => other,
    }
}

/// A result with the one error type.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An operation was given what it cannot take; a bug of this package if it reaches a user.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Tensor(candle_core::Error::Msg(message.into()))
    }

    /// An I/O error at `path`; a missing file becomes [`Error::NotFound`].
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::NotFound { path: path.to_path_buf(), hint: String::new() };
        }
        Self::Io { path: path.to_path_buf(), source }
    }
}
