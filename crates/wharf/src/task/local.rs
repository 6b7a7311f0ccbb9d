//! Values that belong to a task rather than to a thread.
//!
//! Owns the exchange: while the scoped future is polled, the value stands in a thread-local, and it
//! is taken out again when the poll returns or panics.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use pin_project_lite::pin_project;

/// A value of each task's own; declared by [`task_local!`](crate::task_local).
pub struct LocalKey<T: 'static> {
    #[doc(hidden)]
    pub inner: thread::LocalKey<RefCell<Option<T>>>,
}

/// Declares values of which each task has its own.
///
/// ```
/// wharf::task_local! {
///     /// Which request this task answers.
///     static REQUEST: u32;
/// }
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let answer = REQUEST.scope(7, async { REQUEST.with(|request| request + 1) });
/// assert_eq!(answer.await, 8);
/// # });
/// ```
#[macro_export]
macro_rules! task_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty);+ $(;)?) => {$(
        $(#[$attribute])*
        $visibility static $name: $crate::task::LocalKey<$type> = {
            ::std::thread_local! {
                static INNER: ::std::cell::RefCell<::std::option::Option<$type>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }
            $crate::task::LocalKey { inner: INNER }
        };
    )+};
}

impl<T: 'static> LocalKey<T> {
    /// Runs a future within which the value is `value`. Dropping it drops the value.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> Scope<T, F> {
        Scope {
            key: self,
            value: Some(value),
            future,
        }
    }

    /// Looks at the value.
    ///
    /// # Panics
    /// Outside a [`scope`](LocalKey::scope) of it.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f)
            .expect("the task-local value is set only within its scope")
    }

    /// Looks at the value; `None` outside a [`scope`](LocalKey::scope) of it.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.inner.with(|value| value.borrow().as_ref().map(f))
    }
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey")
    }
}

pin_project! {
    /// A future with a task-local value; made by [`LocalKey::scope`].
    pub struct Scope<T: 'static, F> {
        key: &'static LocalKey<T>,
        value: Option<T>,
        #[pin]
        future: F,
    }
}

/// Exchanges the values again when the poll is over, also by a panic.
struct Exchange<'a, T: 'static> {
    key: &'static LocalKey<T>,
    value: &'a mut Option<T>,
}

impl<T> Exchange<'_, T> {
    fn exchange(&mut self) {
        let exchanged = self.key.inner.try_with(|value| {
            std::mem::swap(&mut *value.borrow_mut(), self.value);
        });
        debug_assert!(exchanged.is_ok(), "polled while its thread ends");
    }
}

impl<T> Drop for Exchange<'_, T> {
    fn drop(&mut self) {
        self.exchange();
    }
}

impl<T, F: Future> Future for Scope<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut exchange = Exchange {
            key: this.key,
            value: this.value,
        };
        exchange.exchange();
        let _exchange = exchange;
        this.future.poll(cx)
    }
}

impl<T, F> fmt::Debug for Scope<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}
