//! Looking a name up once for all requests that wait for it.
//!
//! Owns which requests share a look at the disk, and what is said of a file for as long as it stays
//! as it is. Nothing is ever stale: a request is answered by a look that began after the request had
//! come. But while one look is under way, all who come meanwhile wait for one more, together; so a file
//! that many ask for costs two looks at a time, however many they are.
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
//!
//! What the system has in its caches is looked at without waiting, and nobody can come meanwhile. So
//! the name stays until those have had their turn who were ready then: if one of them asks for it,
//! others may, too, and a task looks when all of them have asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_channel::oneshot;
use http::StatusCode;

use crate::disk::{File, Found, Root};
use crate::os;
use crate::plan::{Facts, Prepared};

/// Files up to this length are read together with the look at them.
pub(crate) const SMALL_BYTES: u64 = 64 * 1024;

/// Of how many files is remembered what is said of them.
const REMEMBERED: usize = 1024;

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
    pub(crate) prepared: Rc<Prepared>,
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
    /// A request did so just now, without waiting.
    JustNow,
    /// A task, and these wait for its next look.
    Task(Vec<Waiting>),
}

#[derive(Default)]
struct Tables {
    /// The looks that are under way below one root, by name.
    names: RefCell<HashMap<OsString, Looking>>,
    /// A task is going to forget the looks of just now.
    forgets: Cell<bool>,
    /// What was last said of a file, and of which state of it.
    prepared: RefCell<HashMap<OsString, (Facts, Rc<Prepared>)>>,
}

/// The looks below one root.
#[derive(Clone, Default)]
pub(crate) struct Lookups(Rc<Tables>);

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lookups({})", self.0.names.borrow().len())
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
            None => return self.find_alone(root, path, wants_bytes).await,
        };
        // Its task ends without an answer only by a panic, or with the runtime.
        let outcome = receiver.await;
        outcome.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR))
    }

    async fn find_alone(&self, root: &Root, path: &Path, wants_bytes: bool) -> Outcome {
        let mut look = pin!(self.look(root, path, wants_bytes));
        let at_once = poll_fn(|cx| {
            Poll::Ready(match look.as_mut().poll(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        });
        // Until here, nobody else can have come.
        let outcome = at_once.await;
        let looking = match outcome {
            Some(_) => Looking::JustNow,
            None => Looking::Alone,
        };
        self.0.names.borrow_mut().insert(path.into(), looking);
        if let Some(outcome) = outcome {
            self.forget_soon();
            return outcome;
        }
        let _named = Named {
            lookups: self,
            name: path.as_os_str(),
            is_task: false,
        };
        look.await
    }

    /// Waits for the next look of a task; `None` if nobody else asks for this name.
    fn join(
        &self,
        root: &Rc<Root>,
        path: &Path,
        wants_bytes: bool,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let mut names = self.0.names.borrow_mut();
        let looking = names.get_mut(path.as_os_str())?;
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            wants_bytes,
            answer,
        };
        match looking {
            Looking::Task(list) => list.push(waiting),
            Looking::Alone | Looking::JustNow => {
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
            name: path.as_os_str(),
            is_task: true,
        };
        loop {
            let waiting = match self.0.names.borrow_mut().get_mut(path.as_os_str()) {
                Some(Looking::Task(list)) if !list.is_empty() => std::mem::take(list),
                _ => return,
            };
            let wants_bytes = waiting.iter().any(|one| one.wants_bytes);
            let outcome = self.look(root, path, wants_bytes).await;
            for one in waiting {
                // Whoever has gone away wants no answer.
                drop(one.answer.send(outcome.clone()));
            }
        }
    }

    /// Has a task forget the looks of just now. It runs behind those that are ready.
    fn forget_soon(&self) {
        if self.0.forgets.replace(true) {
            return;
        }
        let lookups = self.clone();
        drop(wharf::spawn(async move {
            let Tables { names, forgets, .. } = &*lookups.0;
            forgets.set(false);
            let mut names = names.borrow_mut();
            names.retain(|_, looking| !matches!(looking, Looking::JustNow));
        }));
    }

    async fn look(&self, root: &Root, path: &Path, wants_bytes: bool) -> Outcome {
        let limit = if wants_bytes { SMALL_BYTES } else { 0 };
        match root.find(path, limit).await {
            Ok(Found::File { file, facts, whole }) => Ok(Seen::File(Rc::new(SeenFile {
                file,
                prepared: self.prepare(path, &facts),
                whole,
            }))),
            Ok(Found::Dir) => Ok(Seen::Dir),
            Ok(Found::Other) => Ok(Seen::Other),
            Err(error) => Err(status_of(&error)),
        }
    }

    /// What is said of a file. It follows from its name and these facts alone, so it is made once
    /// as long as they are the same.
    fn prepare(&self, path: &Path, facts: &Facts) -> Rc<Prepared> {
        let mut known = self.0.prepared.borrow_mut();
        if let Some((of, prepared)) = known.get(path.as_os_str()) {
            if of == facts {
                return Rc::clone(prepared);
            }
        }
        let prepared = Rc::new(Prepared::new(path, facts));
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.into(), (*facts, Rc::clone(&prepared)));
        prepared
    }
}

/// A name in the table; it leaves with whoever looks at it, also when that panics or goes away.
struct Named<'l> {
    lookups: &'l Lookups,
    name: &'l OsStr,
    is_task: bool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let mut names = self.lookups.0.names.borrow_mut();
        // What one began alone may have become a task's since.
        let left = match names.get(self.name) {
            Some(Looking::Task(_)) if !self.is_task => None,
            _ => names.remove(self.name),
        };
        drop(names);
        drop(left);
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
