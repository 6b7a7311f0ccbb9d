//! Channels, locks and events between tasks.
//!
//! wharf writes none: these crates are runtime-independent and well kept, and any other of that kind
//! works as well, because a waker of wharf's may be called from any thread. What is waited for on
//! another worker costs one system call a sleep at most.
//!
//! | for | take |
//! |---|---|
//! | a channel, bounded or not, with any number of senders and receivers | [`channel`] |
//! | a `Mutex`, `RwLock`, `Semaphore`, `Barrier`, `OnceCell` that is held across an await | [`lock`] |
//! | something that happens and that many wait for | [`event`] |
//!
//! A value that stays on one worker needs none of them: `Rc<RefCell<_>>` is enough.
//!
//! ```
//! # wharf::Runtime::builder().workers(2).build().unwrap().block_on(async {
//! use wharf::sync::channel;
//! let (sender, receiver) = channel::bounded(1);
//! drop(wharf::spawn_on(1, move || async move { sender.send("from there").await }));
//! assert_eq!(receiver.recv().await, Ok("from there"));
//! # });
//! ```

pub use async_channel as channel;
pub use async_lock as lock;
pub use event_listener as event;
