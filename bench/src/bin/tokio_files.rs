//! `tokio_files`: files by HTTP with hyper on tokio, as their documentation would write it.
//!
//! One thread for the connections, and tokio's pool for the files, since `tokio::fs` has no other way. It
//! serves what lies in one directory and is built with the feature `peers` only.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use wharf_bench::args::Args;
use wharf_bench::sys;

const USAGE: &str = "\
The files of a directory by HTTP, with hyper on tokio's current-thread runtime.

Usage: tokio_files --directory DIR [--listen ADDR]

  --directory DIR   what is served
  --listen ADDR     default 127.0.0.1:0";

/// What is read at once; tokio's own limit for a read of a file is 2 MiB.
const CHUNK: u64 = 128 * 1024;

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let address: String = args.value("--listen", "127.0.0.1:0".to_owned());
    let directory: PathBuf = args.value("--directory", PathBuf::from("."));
    args.finish();
    sys::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(&address, directory.into()))
}

async fn serve(address: &str, directory: Rc<Path>) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let directory = Rc::clone(&directory);
        let service = service_fn(move |request| answer(Rc::clone(&directory), request));
        tokio::task::spawn_local(async move {
            // A connection that fails ends; the others do not care.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    directory: Rc<Path>,
    request: Request<Incoming>,
) -> Result<Response<FileBody>, Infallible> {
    let name = request.uri().path().trim_start_matches('/');
    // It is for a load that asks for files with plain names.
    let opened = if name.contains("..") {
        Err(io::ErrorKind::InvalidInput.into())
    } else {
        open(&directory.join(name)).await
    };
    Ok(opened.map_or_else(
        |_| {
            let mut response = Response::new(FileBody::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        },
        Response::new,
    ))
}

async fn open(path: &Path) -> io::Result<FileBody> {
    let file = File::open(path).await?;
    let left = file.metadata().await?.len();
    let mut body = FileBody {
        left,
        reading: None,
        first: None,
    };
    // So that a small file leaves together with the head.
    if left > 0 {
        let (file, bytes) = read(file, left.min(CHUNK)).await?;
        body.first = Some(bytes);
        body.reading = Some((Some(file), None));
    }
    Ok(body)
}

async fn read(mut file: File, len: u64) -> io::Result<(File, Bytes)> {
    let mut bytes = Vec::with_capacity(len as usize);
    let count = (&mut file).take(len).read_to_end(&mut bytes).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((file, bytes.into()))
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(File, Bytes)>>>>;

/// The rest of a file, read in pieces.
#[derive(Default)]
struct FileBody {
    left: u64,
    first: Option<Bytes>,
    /// The file while it rests, or the read that has it.
    reading: Option<(Option<File>, Option<Reading>)>,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let bytes = if let Some(first) = this.first.take() {
            first
        } else {
            let Some((file, reading)) = this.reading.as_mut().filter(|_| this.left > 0) else {
                return Poll::Ready(None);
            };
            if let Some(file) = file.take() {
                *reading = Some(Box::pin(read(file, this.left.min(CHUNK))));
            }
            let Some(under_way) = reading else {
                return Poll::Ready(None);
            };
            let (back, bytes) = ready!(under_way.as_mut().poll(cx))?;
            *reading = None;
            *file = Some(back);
            bytes
        };
        this.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
