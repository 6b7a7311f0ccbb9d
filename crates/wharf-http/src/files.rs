//! The static file service: requests in, files and directory pages out.
//!
//! Owns the order of the steps, and which error of the file system becomes which status. What a
//! request means is decided in `target` and `plan`, what is on the disk found out in `disk`.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::header::{HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::service::Service;

use crate::body::FileBody;
use crate::disk::Root;
use crate::index;
use crate::lookup::{Lookups, Seen, SeenFile, status_of};
use crate::plan::{self, Content, Manner};
use crate::target::{Refusal, Rules, Target};

/// The file that stands for its directory.
const INDEX: &str = "index.html";

/// Serves the files below a directory.
///
/// GET and HEAD are answered, with conditions and ranges as RFC 9110 says; OPTIONS says so, and
/// everything else is 405. A directory is answered with its `index.html`, or else with a page that
/// lists it; without a slash at the end it is redirected to the address that has one.
///
/// What is not served:
///
/// - names that begin with a dot, except `.well-known`, unless [`Files::dot_files`] says so: 404,
///   and they are not listed;
/// - paths with `.` or `..`, with a zero byte, or with an encoded slash or backslash: 400;
/// - what a symbolic link leads to outside of the directory, unless [`Files::links_out`] says so:
///   403. Links that stay inside are followed;
/// - devices, pipes and sockets: 403;
/// - on Windows, names of devices and other names that do not mean a file of that name: 404.
///
/// The directory itself is looked at once a second: if its name leads to another one by then, that is
/// served. Files are looked up for each request, or for all that ask for the same one meanwhile.
///
/// A path is decoded once; on Unix its bytes need not be UTF-8.
///
/// It is cheap to clone. It belongs to the worker that it was made on.
#[derive(Clone, Debug)]
pub struct Files {
    shared: Rc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    root: Rc<Root>,
    lookups: Lookups,
    rules: Rules,
    manner: Manner,
    list: bool,
}

impl Files {
    /// The files below `dir`.
    ///
    /// # Errors
    /// When `dir` is no directory, or cannot be opened.
    pub async fn new(dir: impl AsRef<Path>) -> io::Result<Files> {
        let root = Root::open(dir.as_ref()).await?;
        let shared = Shared {
            root: Rc::new(root),
            lookups: Lookups::default(),
            rules: Rules::new(false),
            manner: Manner {
                cache_control: Some(HeaderValue::from_static("no-cache")),
            },
            list: true,
        };
        Ok(Files {
            shared: Rc::new(shared),
        })
    }

    /// The directory, as the system names it: absolute, and without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.shared.root.path()
    }

    /// Whether names that begin with a dot are served; they are not by default.
    #[must_use]
    pub fn dot_files(mut self, yes: bool) -> Files {
        Rc::make_mut(&mut self.shared).rules.dot_files = yes;
        self
    }

    /// Whether symbolic links may lead out of the directory; they may not by default.
    #[must_use]
    pub fn links_out(mut self, yes: bool) -> Files {
        let shared = Rc::make_mut(&mut self.shared);
        shared.root = Rc::new(shared.root.links_out(yes));
        // The looks of others go by their own rule.
        shared.lookups = Lookups::default();
        self
    }

    /// Whether directories without an `index.html` are listed; they are by default. Otherwise they
    /// are 404.
    #[must_use]
    pub fn list(mut self, yes: bool) -> Files {
        Rc::make_mut(&mut self.shared).list = yes;
        self
    }

    /// The Cache-Control of files and directory pages; `no-cache` by default, which makes clients
    /// ask each time whether what they have is still good. `None` leaves it out.
    #[must_use]
    pub fn cache_control(mut self, value: Option<HeaderValue>) -> Files {
        Rc::make_mut(&mut self.shared).manner.cache_control = value;
        self
    }

    /// This service for [`Server::serve`](crate::Server::serve).
    #[must_use]
    pub fn service<B: 'static>(
        &self,
    ) -> impl Service<
        Request<B>,
        Response = Response<FileBody>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<FileBody>, Infallible>> + use<B>,
    > + Clone
    + use<B> {
        let files = self.clone();
        CloneService(move |request: Request<B>| {
            let files = files.clone();
            // A file is asked for by the head alone.
            let (head, _) = request.into_parts();
            async move { Ok(files.answer(&head).await) }
        })
    }

    /// Answers one request. Errors of the file system are answers too.
    pub async fn answer(&self, head: &Parts) -> Response<FileBody> {
        let planned = self.plan(head).await;
        let (response, file) =
            planned.unwrap_or_else(|status| (plan::error(&head.method, status), None));
        let (parts, content) = response.into_parts();
        let mut body = FileBody::new(content, file);
        if let Err(error) = body.prime().await {
            let answer = plan::error(&head.method, status_of(&error));
            return answer.map(|content| FileBody::new(content, None));
        }
        Response::from_parts(parts, body)
    }

    async fn plan(&self, head: &Parts) -> Result<Planned, StatusCode> {
        if let Some(answer) = plan::without_file(&head.method) {
            return Ok((answer, None));
        }
        let target = Target::parse(head.uri.path(), self.shared.rules);
        let target = target.map_err(|refusal| match refusal {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::Nothing => StatusCode::NOT_FOUND,
        })?;
        let path = target.path();
        match self.find(head, &path).await? {
            // A file is not reached through an address that ends in a slash.
            Seen::File(_) if target.wants_dir() => Err(StatusCode::NOT_FOUND),
            Seen::File(file) => Ok(self.file(head, &file)),
            Seen::Dir if !target.wants_dir() => {
                let answer = plan::redirect(&head.method, &target.dir_url(), head.uri.query());
                Ok((answer, None))
            }
            Seen::Dir => self.dir(head, &target, path).await,
            Seen::Other => Err(StatusCode::FORBIDDEN),
        }
    }

    async fn find(&self, head: &Parts, path: &Path) -> Result<Seen, StatusCode> {
        // Those who have a condition have the bytes, most often.
        let is_plain = head.method == Method::GET && !head.headers.contains_key(IF_NONE_MATCH);
        let Shared { root, lookups, .. } = &*self.shared;
        lookups.find(root, path, is_plain).await
    }

    fn file(&self, head: &Parts, seen: &Rc<SeenFile>) -> Planned {
        let manner = &self.shared.manner;
        let mut answer = plan::file(&head.method, &head.headers, &seen.prepared, manner);
        if let (Content::File(range), Some(whole)) = (answer.body(), &seen.whole) {
            // The range lies within the length, and that is within what memory can hold.
            let range = range.start as usize..range.end as usize;
            *answer.body_mut() = Content::Bytes(whole.slice(range));
        }
        (answer, Some(Rc::clone(seen)))
    }

    async fn dir(
        &self,
        head: &Parts,
        target: &Target,
        path: PathBuf,
    ) -> Result<Planned, StatusCode> {
        let Shared {
            root,
            rules,
            manner,
            list,
            ..
        } = &*self.shared;
        match self.find(head, &path.join(INDEX)).await {
            Ok(Seen::File(file)) => return Ok(self.file(head, &file)),
            // Whatever else has that name does not stand for the directory.
            Ok(Seen::Dir | Seen::Other) | Err(StatusCode::NOT_FOUND) => {}
            Err(status) => return Err(status),
        }
        if !list {
            return Err(StatusCode::NOT_FOUND);
        }
        let rules = *rules;
        let listed = root.list(&path, move |name| rules.allow(name)).await;
        let (mut entries, left_out) = listed.map_err(|error| status_of(&error))?;
        index::sort(&mut entries);
        let html = index::render(target, &entries, left_out);
        Ok((plan::listing(&head.method, html, manner), None))
    }
}

/// What to answer, and the file that its body is about.
type Planned = (Response<Content>, Option<Rc<SeenFile>>);

/// A function as a service that can be cloned.
#[derive(Clone)]
struct CloneService<F>(F);

impl<F, B, R> Service<Request<B>> for CloneService<F>
where
    F: Fn(Request<B>) -> R,
    R: Future<Output = Result<Response<FileBody>, Infallible>>,
{
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = R;

    fn call(&self, request: Request<B>) -> R {
        (self.0)(request)
    }
}
