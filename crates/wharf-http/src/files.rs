//! The static file service: requests in, files and directory pages out.
//!
//! Owns the order of the steps, and which error of the file system becomes which status. What a
//! request means is decided in `target` and `plan`, what is on the disk found out in `disk`.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use hyper::service::Service;

use crate::body::FileBody;
use crate::disk::{File, Found, Root};
use crate::index;
use crate::os;
use crate::plan::{self, Content, Facts, Manner};
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
    pub async fn answer(&self, head: &http::request::Parts) -> Response<FileBody> {
        let method = &head.method;
        let planned = match self.plan(head).await {
            Ok(planned) => planned,
            Err(status) => (plan::error(method, status), None),
        };
        let (response, file) = planned;
        let (head, content) = response.into_parts();
        let mut body = FileBody::new(content, file);
        if let Err(error) = body.prime().await {
            let answer = plan::error(method, status_of(&error));
            return answer.map(|content| FileBody::new(content, None));
        }
        Response::from_parts(head, body)
    }

    async fn plan(
        &self,
        head: &http::request::Parts,
    ) -> Result<(Response<Content>, Option<File>), StatusCode> {
        if let Some(answer) = plan::without_file(&head.method) {
            return Ok((answer, None));
        }
        let target =
            Target::parse(head.uri.path(), self.shared.rules).map_err(|refusal| match refusal {
                Refusal::Malformed => StatusCode::BAD_REQUEST,
                Refusal::Nothing => StatusCode::NOT_FOUND,
            })?;
        let path = target.path();
        let root = &self.shared.root;
        match root.find(&path).await.map_err(|error| status_of(&error))? {
            // A file is not reached through an address that ends in a slash.
            Found::File(..) if target.wants_dir() => Err(StatusCode::NOT_FOUND),
            Found::File(file, facts) => Ok(self.file(head, &path, file, facts)),
            Found::Dir if !target.wants_dir() => {
                let answer = plan::redirect(&head.method, &target.dir_url(), head.uri.query());
                Ok((answer, None))
            }
            Found::Dir => self.dir(head, &target, path).await,
            Found::Other => Err(StatusCode::FORBIDDEN),
        }
    }

    fn file(
        &self,
        head: &http::request::Parts,
        path: &Path,
        file: File,
        facts: Facts,
    ) -> (Response<Content>, Option<File>) {
        let answer = plan::file(
            &head.method,
            &head.headers,
            path,
            &facts,
            &self.shared.manner,
        );
        (answer, Some(file))
    }

    async fn dir(
        &self,
        head: &http::request::Parts,
        target: &Target,
        path: PathBuf,
    ) -> Result<(Response<Content>, Option<File>), StatusCode> {
        let Shared {
            root,
            rules,
            manner,
            list,
        } = &*self.shared;
        let index = path.join(INDEX);
        match root.find(&index).await {
            Ok(Found::File(file, facts)) => return Ok(self.file(head, &index, file, facts)),
            // Whatever else has that name does not stand for the directory.
            Ok(Found::Dir | Found::Other) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(status_of(&error)),
        }
        if !list {
            return Err(StatusCode::NOT_FOUND);
        }
        let listed = root
            .list(&path, {
                let rules = *rules;
                move |name| rules.allow(name)
            })
            .await;
        let (mut entries, left_out) = listed.map_err(|error| status_of(&error))?;
        index::sort(&mut entries);
        let html = index::render(target, &entries, left_out);
        Ok((plan::listing(&head.method, html, manner), None))
    }
}

/// What an error of the file system is to a client.
fn status_of(error: &io::Error) -> StatusCode {
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
