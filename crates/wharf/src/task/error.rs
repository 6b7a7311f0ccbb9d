//! Why a task gave no output.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Mutex;

/// What a panic carried.
pub(super) type Payload = Box<dyn Any + Send + 'static>;

/// Why a task gave no output: it was cancelled, or it panicked.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let error = wharf::spawn(async { panic!("oh no") }).await.unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "the task panicked: oh no");
/// # });
/// ```
pub struct JoinError {
    /// `None` if the task was cancelled.
    payload: Option<Mutex<Payload>>,
}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError { payload: None }
    }

    pub(super) fn panicked(payload: Payload) -> JoinError {
        JoinError {
            payload: Some(Mutex::new(payload)),
        }
    }

    /// Whether the task was aborted, or dropped with its runtime.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.payload.is_none()
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.payload.is_some()
    }

    /// What the panic carried, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// The error itself, if the task was cancelled.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match self.payload {
            Some(payload) => Ok(payload
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner)),
            None => Err(self),
        }
    }

    /// What the panic carried, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If the task was cancelled.
    #[must_use]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic()
            .expect("the task was cancelled and did not panic")
    }

    /// The panic's message, if it is text.
    fn message(&self) -> Option<String> {
        let payload = self.payload.as_ref()?.lock().ok()?;
        if let Some(message) = payload.downcast_ref::<&'static str>() {
            return Some((*message).to_owned());
        }
        payload.downcast_ref::<String>().cloned()
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_panic(), self.message()) {
            (false, _) => f.write_str("the task was cancelled"),
            (true, Some(message)) => write!(f, "the task panicked: {message}"),
            (true, None) => f.write_str("the task panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
