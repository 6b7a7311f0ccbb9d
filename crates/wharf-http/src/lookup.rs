//! Looking a name up once for all requests that wait for it.
//!
//! Owns which requests share a look at the disk. There is no cache here and nothing is ever stale:
//! a request is answered by a look that began after the request had come. But while one look is
//! under way, all who come meanwhile wait for one more, together; so a file that many ask for costs
//! two looks at a time, however many they are.
//!
//! ```text
//! request a ---> look 1 ---> a
//!    requests b, c, d ..... look 2 ---> b, c, d
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;
use http::StatusCode;

use crate::disk::{File, Found, Root};
use crate::os;
use crate::plan::Prepared;

/// Files up to this length are read together with the look at them.
pub(crate) const SMALL_BYTES: u64 = 64 * 1024;

/// What a name was found to be.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    File(Rc<SeenFile>),
    Dir,
    /// A device, a pipe, a socket.
    Other,
}

/// A file that is open, and what is said of it.
#[derive(Debug)]
pub(crate) struct SeenFile {
    pub(crate) file: File,
    pub(crate) prepared: Prepared,
    /// All of its bytes, if they are few and somebody wanted them.
    pub(crate) whole: Option<Bytes>,
}

type Outcome = Result<Seen, StatusCode>;

/// A request that waits.
struct Waiting {
    wants_bytes: bool,
    answer: oneshot::Sender<Outcome>,
}

/// The looks that are under way below one root: by name, who waits for the next one.
#[derive(Clone, Default)]
pub(crate) struct Lookups {
    waiting: Rc<RefCell<HashMap<PathBuf, Vec<Waiting>>>>,
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lookups({})", self.waiting.borrow().len())
    }
}

impl Lookups {
    /// Looks `path` up below `root`, in a look that begins from now on.
    ///
    /// # Errors
    /// The status that the file system's error is to a client.
    pub(crate) async fn find(&self, root: &Rc<Root>, path: &Path, wants_bytes: bool) -> Outcome {
        // Its task ends without an answer only by a panic, or with the runtime.
        let outcome = self.join(root, path, wants_bytes).await;
        outcome.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// Waits for the next look, and sees to it that there will be one.
    fn join(&self, root: &Rc<Root>, path: &Path, wants_bytes: bool) -> oneshot::Receiver<Outcome> {
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            wants_bytes,
            answer,
        };
        let mut all = self.waiting.borrow_mut();
        if let Some(list) = all.get_mut(path) {
            list.push(waiting);
        } else {
            all.insert(path.to_owned(), vec![waiting]);
            let (lookups, root, path) = (self.clone(), Rc::clone(root), path.to_owned());
            // In a task of its own: a client that goes away must not take the look from the others.
            drop(wharf::spawn(async move { lookups.run(&root, path).await }));
        }
        receiver
    }

    /// Looks until nobody waits for another look.
    async fn run(&self, root: &Root, path: PathBuf) {
        let mut name = Named {
            lookups: self,
            path: Some(path),
        };
        while let Some(path) = &name.path {
            let waiting = match self.waiting.borrow_mut().get_mut(path) {
                Some(list) if !list.is_empty() => std::mem::take(list),
                _ => break,
            };
            let wants_bytes = waiting.iter().any(|one| one.wants_bytes);
            let outcome = look(root, path, wants_bytes).await;
            for one in waiting {
                // Whoever has gone away wants no answer.
                drop(one.answer.send(outcome.clone()));
            }
        }
        name.forget();
    }
}

/// A name in the table; it leaves with its task, also when that panics.
struct Named<'l> {
    lookups: &'l Lookups,
    path: Option<PathBuf>,
}

impl Named<'_> {
    fn forget(&mut self) {
        if let Some(path) = self.path.take() {
            let list = self.lookups.waiting.borrow_mut().remove(&path);
            drop(list);
        }
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

async fn look(root: &Root, path: &Path, wants_bytes: bool) -> Outcome {
    let limit = if wants_bytes { SMALL_BYTES } else { 0 };
    match root.find(path, limit).await {
        Ok(Found::File { file, facts, whole }) => Ok(Seen::File(Rc::new(SeenFile {
            file,
            prepared: Prepared::new(path, &facts),
            whole,
        }))),
        Ok(Found::Dir) => Ok(Seen::Dir),
        Ok(Found::Other) => Ok(Seen::Other),
        Err(error) => Err(status_of(&error)),
    }
}

/// What an error of the file system is to a client.
pub(crate) fn status_of(error: &io::Error) -> StatusCode {
    use io::ErrorKind as Kind;
    match error.kind() {
        // Names that are too long, or lead through a file, or in a circle, name nothing.
        Kind::NotFound | Kind::NotADirectory | Kind::InvalidInput => StatusCode::NOT_FOUND,
        Kind::PermissionDenied => StatusCode::FORBIDDEN,
        _ if os::is_no_name(error) => StatusCode::NOT_FOUND,
        _ if os::is_no_file(error) => StatusCode::FORBIDDEN,
        _ if os::is_want(error) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
