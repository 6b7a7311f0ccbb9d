//! Looking a name up once for all requests that wait for it.
//!
//! Owns which requests share a look at the disk. There is no cache here and nothing is ever stale:
//! a request is answered by a look that began after the request had come. But while one look is
//! under way, all who come meanwhile wait for one more, together; so a file that many ask for costs
//! two looks at a time, however many they are.
//!
//! ```text
//! request a ---> looks by itself ---> a
//!    request b ---> a task's look 1 ---> b
//!       requests c, d, e .............. look 2 ---> c, d, e
//! ```
//!
//! Who is alone with a name looks by itself, for itself only. As soon as there are two, a task looks
//! for the second and for all who come then: what several wait for must not hang on one of them,
//! who may go away, or rest.

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

/// Who looks at a name.
enum Looking {
    /// A request, by itself.
    Alone,
    /// A task, and these wait for its next look.
    Task(Vec<Waiting>),
}

/// The looks that are under way below one root, by name.
#[derive(Clone, Default)]
pub(crate) struct Lookups {
    names: Rc<RefCell<HashMap<PathBuf, Looking>>>,
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lookups({})", self.names.borrow().len())
    }
}

impl Lookups {
    /// Looks `path` up below `root`, in a look that begins from now on.
    ///
    /// # Errors
    /// The status that the file system's error is to a client.
    pub(crate) async fn find(&self, root: &Rc<Root>, path: &Path, wants_bytes: bool) -> Outcome {
        let receiver = match self.join(root, path, wants_bytes) {
            Some(receiver) => receiver,
            None => {
                let _alone = Named {
                    lookups: self,
                    path,
                    is_task: false,
                };
                return look(root, path, wants_bytes).await;
            }
        };
        // Its task ends without an answer only by a panic, or with the runtime.
        let outcome = receiver.await;
        outcome.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// Waits for the next look of a task; `None` if nobody else asks for this name.
    fn join(
        &self,
        root: &Rc<Root>,
        path: &Path,
        wants_bytes: bool,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let mut names = self.names.borrow_mut();
        let Some(looking) = names.get_mut(path) else {
            names.insert(path.to_owned(), Looking::Alone);
            return None;
        };
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            wants_bytes,
            answer,
        };
        match looking {
            Looking::Task(list) => list.push(waiting),
            Looking::Alone => {
                *looking = Looking::Task(vec![waiting]);
                let (lookups, root, path) = (self.clone(), Rc::clone(root), path.to_owned());
                drop(wharf::spawn(async move { lookups.run(&root, &path).await }));
            }
        }
        Some(receiver)
    }

    /// Looks until nobody waits for another look.
    async fn run(&self, root: &Root, path: &Path) {
        let _named = Named {
            lookups: self,
            path,
            is_task: true,
        };
        loop {
            let waiting = match self.names.borrow_mut().get_mut(path) {
                Some(Looking::Task(list)) if !list.is_empty() => std::mem::take(list),
                _ => return,
            };
            let wants_bytes = waiting.iter().any(|one| one.wants_bytes);
            let outcome = look(root, path, wants_bytes).await;
            for one in waiting {
                // Whoever has gone away wants no answer.
                drop(one.answer.send(outcome.clone()));
            }
        }
    }
}

/// A name in the table; it leaves with whoever looks at it, also when that panics or goes away.
struct Named<'l> {
    lookups: &'l Lookups,
    path: &'l Path,
    is_task: bool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let mut names = self.lookups.names.borrow_mut();
        // What one began alone may have become a task's since.
        let left = match names.get(self.path) {
            Some(Looking::Task(_)) if !self.is_task => None,
            _ => names.remove(self.path),
        };
        drop(names);
        drop(left);
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
